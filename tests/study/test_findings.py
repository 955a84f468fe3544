from types import SimpleNamespace

import numpy as np
import pytest

from refbilinear import (
    BilinearLayer,
    BilinearMLP,
    form_value,
    init_mlp,
    interaction_tensor,
    mlp_forward,
    quadratic_form,
)
from refbilinear.analysis import attack, model_space_masks
from refbilinear.oracle.bounds import gamma
from refbilinear.spec.mlp import fold
from refbilinear.study import findings

RNG = np.random.default_rng(5)
MODEL = init_mlp(1, 7, 5, 6, 3, bias=True, residual=True)
X = RNG.standard_normal((11, 7))
LABELS = mlp_forward(MODEL, X).argmax(axis=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [False, True])
def test_the_tensor_of_an_honest_model_passes(dtype, bias):
    model = init_mlp(1, 7, 5, 6, 3, bias=bias, dtype=dtype)
    check = findings.check_tensor(model, X.astype(dtype))
    assert check.passed
    assert 0 < check.worst_ratio <= 1
    assert check.worst_error <= check.allowed_there
    assert check.examples == 11


def kernel_off_by(factor):
    """Return a kernel that is right but for a factor of the tensor."""
    return SimpleNamespace(
        interaction_tensor=lambda layer: interaction_tensor(layer) * factor,
        quadratic_form=quadratic_form,
    )


def test_a_wrong_tensor_does_not_pass():
    check = findings.check_tensor(MODEL, X, kernel_off_by(1 + 1e-9))
    assert not check.passed
    assert check.worst_ratio > 1


def test_a_tensor_with_nan_does_not_pass():
    assert not findings.check_tensor(MODEL, X, kernel_off_by(np.nan)).passed


def test_zero_weights_are_exactly_right_and_any_error_beyond_is_infinitely_wrong():
    zero = BilinearMLP(None, [BilinearLayer(np.zeros((2, 7)), np.zeros((2, 7)))], None)
    assert findings.check_tensor(zero, X).worst_ratio == 0
    wrong = findings._check(1, np.array([[1e-300]]), np.zeros((1, 1)))
    assert not wrong.passed
    assert wrong.worst_ratio == np.inf


def test_all_eigenvectors_give_the_model_and_fewer_are_counted_once():
    found = findings.examine(fold(MODEL), range(3))
    curve = findings.truncated_accuracy(found, X, LABELS)
    assert [k for k, _ in curve] == [1, 2, 3, 5, 7]
    assert curve[-1][1] == 1.0


def test_behind_the_embedding_fewer_eigenvectors_are_all():
    curve = findings.truncated_behind_embedding(MODEL, X, LABELS)
    assert [k for k, _ in curve] == [1, 2, 3, 5]
    assert curve[-1][1] == 1.0
    bare = BilinearMLP(None, MODEL.layers, MODEL.w_head, MODEL.residual)
    behind = X @ MODEL.w_embed.T
    assert findings.truncated_behind_embedding(bare, behind, LABELS) == curve


def test_the_first_right_and_the_first_wrong_example_are_explained():
    found = findings.examine(fold(MODEL), range(3))
    wrong = LABELS.copy()
    wrong[4] = (wrong[4] + 1) % 3
    assert [(e.example, e.output) for e in findings.explained(MODEL, found, X, LABELS)] == [
        (0, LABELS[0])
    ]
    explained = findings.explained(MODEL, found, X, wrong)
    assert [(e.example, e.output, e.label) for e in explained] == [
        (0, LABELS[0], LABELS[0]),
        (4, wrong[4], wrong[4]),
        (4, LABELS[4], wrong[4]),
    ]
    chosen = findings.explained(MODEL, found[:2], X, LABELS, [5, 6, 7])
    assert [(e.example, e.output) for e in chosen] == [
        (n, LABELS[n] if LABELS[n] < 2 else 0) for n in (5, 6, 7)
    ]
    with pytest.raises(ValueError, match="at most 6 examples are explained; got 7"):
        findings.explained(MODEL, found, X, LABELS, [4] * 7)
    for number in (-1, 11):
        with pytest.raises(ValueError, match=rf"examples must lie in 0\.\.10; got {number}"):
            findings.explained(MODEL, found, X, LABELS, [3, number])


def test_masks_are_those_of_the_analysis():
    x = np.tile(X, (100, 1))
    labels = mlp_forward(MODEL, x).argmax(axis=1)
    of = findings.examine(fold(MODEL), [0, 2], ["shirt", "coat", "bag"])
    masks = model_space_masks(MODEL, [0, 2]).masks
    for found, mask in zip(findings.attacks(MODEL, of, x, labels), masks, strict=True):
        sigmas = [strength * x.std() for strength in findings.STRENGTHS]
        attacked = attack(MODEL, x, labels, mask, found.output, sigmas, 3)
        assert np.array_equal(found.mask, mask)
        assert found.name == ("shirt" if found.output == 0 else "bag")
        assert np.array_equal(found.curve.success, attacked.mask.success)
        assert len(found.controls) == 3
        assert np.array_equal(found.controls[2].accuracy, attacked.controls[2].accuracy)


def test_truncation_keeps_the_linear_and_the_constant_part():
    layer = BilinearLayer(
        np.zeros((2, 3)), np.zeros((2, 3)), b_out=[1.0, 0.0], w_skip=[[0, 0, 0], [1, 2, 3]]
    )
    found = findings.examine(layer, range(2))
    x = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert findings.truncated_accuracy(found, x, np.array([1, 0])) == [(1, 1.0), (2, 1.0), (3, 1.0)]


def test_both_explanations_sum_to_the_output():
    found = findings.examine(fold(MODEL), [2])[0]
    parts = findings.explain(found, X[0], label=1)
    value = float(form_value(found.form, X[0]))
    size = np.abs(parts.of_inputs).sum() + abs(parts.of_constant)
    allowed = gamma(4 * 7 + 10, np.float64) * size * 10
    assert abs(parts.of_inputs.sum() + parts.of_constant - value) <= allowed
    spectral = parts.of_eigenvectors.sum() + parts.of_linear + parts.of_constant
    weight = np.abs(found.spectrum.eigenvalues).sum() * (X[0] @ X[0])
    assert abs(spectral - value) <= 10 * 7 * 2**-52 * weight
    assert abs(parts.value - value) <= allowed


def test_signs_that_rounding_made_are_not_counted():
    v = RNG.standard_normal(40)
    layer = BilinearLayer([v], [v])
    row = findings.summary(findings.examine(layer, [0]))[0]
    assert (row["positive"], row["negative"]) == (1, 0)
    assert len(row["eigenvalues"]) == 5


def test_weights_that_are_not_finite_are_refused_by_name():
    layer = BilinearLayer([[1.0, np.inf]], [[1.0, 1.0]])
    with pytest.raises(ValueError, match=r"w_left must be finite; got inf at \(0, 1\)"):
        findings.examine(layer, [0])


def test_an_output_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"output must lie in 0\.\.2; got 3"):
        findings.examine(fold(MODEL), [3])
