"""Masks from weights: exact change of every output, one eigenvector excited, controls beside."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import (
    BilinearLayer,
    BilinearMLP,
    accuracy,
    fold,
    mlp_forward,
    output_form,
)
from refbilinear.analysis.directions import spectrum
from refbilinear.analysis.masks import (
    Change,
    attack,
    input_space_masks,
    mask_change,
    model_space_masks,
    permuted_mask,
    scaled_mask,
)
from refbilinear.oracle.bounds import gamma
from strategies import FLOATS, layers, models_with_batch, random_array, random_layer

SEEDS = st.integers(0, 2**32 - 1)
BOTH = pytest.mark.parametrize("dtype", FLOATS)


# ---- the change


def change_is_the_difference(of_change, model, x, mask):
    """At strengths that determine a polynomial of degree two, and at one more."""
    found = of_change(model, x, mask)
    laws.exact_numbers(*found)
    before = mlp_forward(model, x)
    for t in (-1, 1, 2, Fraction(7, 3)):
        laws.same(before + found.at(t), mlp_forward(model, x + t * mask))


@settings(max_examples=40)
@given(models_with_batch(depth=1), SEEDS)
def test_the_change_is_the_difference_of_outputs(case, seed):
    model, x, _ = case
    mask = random_array(np.random.default_rng(seed), model.d_in, object)
    change_is_the_difference(mask_change, model, x, mask)
    found, layer = mask_change(model, x, mask), fold(model)
    for o in range(model.d_out):
        form = output_form(layer, laws.exact(np.eye(model.d_out)[o]))
        laws.same(found.slope[:, o], (2 * (x @ form.matrix) + form.linear) @ mask)
        assert found.curvature[o] == mask @ form.matrix @ mask
    mean = x.sum(axis=0) / len(x)
    laws.same(mask_change(model, mean, mask).slope, found.slope.sum(axis=0) / len(x))


def test_the_change_from_one_input():
    layer = random_layer(np.random.default_rng(0), sizes=(3, 4, 2))
    x, mask = laws.exact([[1, 2, 3], [5, 7, 11]]), laws.exact([1, -1, 2])
    one, both = mask_change(layer, x[1], mask), mask_change(layer, x, mask)
    laws.same(one.slope, both.slope[1])
    laws.same(one.at(3), both.at(3)[1])
    laws.same(one.curvature, both.curvature)


def without(name):
    """Return the change of a layer, a parameter of it left out."""

    def mistaken(model, x, mask):
        layer = model.layers[0]
        changed = BilinearMLP(None, [replace(layer, **{name: None})], None, model.residual)
        return mask_change(changed, x, mask)

    return mistaken


def altered(slope, curvature):
    def mistaken(model, x, mask):
        found = mask_change(model, x, mask)
        return Change(found.slope * slope, found.curvature * curvature)

    return mistaken


def without_residual(model, x, mask):
    return mask_change(BilinearMLP(None, model.layers, None), x, mask)


@pytest.mark.parametrize(
    "mistaken",
    [
        *map(without, ("b_left", "b_right", "w_skip")),
        without_residual,
        altered(0, 1),
        altered(Fraction(1, 2), 1),
        altered(1, 0),
        altered(1, 2),
    ],
)
def test_what_is_not_counted_is_seen(mistaken):
    rng = np.random.default_rng(1)
    model = BilinearMLP(None, [random_layer(rng, sizes=(3, 4, 3))], None, residual=True)
    x, mask = random_array(rng, (2, 3), object), random_array(rng, 3, object)
    change_is_the_difference(mask_change, model, x, mask)
    with pytest.raises(AssertionError):
        change_is_the_difference(mistaken, model, x, mask)


@BOTH
@settings(max_examples=20)
@given(data=st.data())
def test_the_change_in_floats_is_within_its_bound(dtype, data):
    layer = data.draw(layers(dtype))
    rng = np.random.default_rng(data.draw(SEEDS))
    x, mask = random_array(rng, (2, layer.d_in), dtype), random_array(rng, layer.d_in, dtype)
    exact = mask_change(laws.exact_layer(layer), laws.exact(x), laws.exact(mask))
    sizes = BilinearLayer(
        **{name: abs(laws.exact(w)) for name, w in laws.refbilinear.parameters(layer).items()}
    )
    twins = mask_change(sizes, abs(laws.exact(x)), abs(laws.exact(mask)))
    # Two factors of d_in roundings, a bias, their product, their sum, d_hidden, and a skip.
    bound = gamma(2 * layer.d_in + layer.d_hidden + 4, dtype) * (1 + 2.0**-50)
    for got, want, twin in zip(mask_change(layer, x, mask), exact, twins, strict=True):
        laws.in_bound(got, want, twin.astype(float) * bound, dtype)


# ---- the pseudo-inverse


def solved(A, B):
    """Return A⁻¹B in Fractions, by Gauss and Jordan."""
    n = len(A)
    rows = np.concatenate([A, B], axis=1)
    for i in range(n):
        pivot = next(j for j in range(i, n) if rows[j, i])
        rows[[i, pivot]] = rows[[pivot, i]]
        rows[i] = rows[i] / rows[i, i]
        for j in range(n):
            if j != i:
                rows[j] = rows[j] - rows[j, i] * rows[i]
    return rows[:, n:]


def exact_masks(readers):
    """Return (AAᵀ)⁻¹A, whose rows are the columns of A⁺."""
    A = laws.exact(readers)
    return solved(A @ A.T, A)


def random_model(seed, dtype=np.float64, sizes=(6, 4, 5, 3)):
    """Return a model with embedding, head and residual; sizes are d_in, d_model, d_hidden, d_out."""
    rng = np.random.default_rng(seed)
    d_in, d_model, d_hidden, d_out = sizes
    layer = random_layer(rng, ("w_out", "b_left", "w_skip"), (d_model, d_hidden, d_model), dtype)
    E, head = random_array(rng, (d_model, d_in), dtype), random_array(rng, (d_out, d_model), dtype)
    return BilinearMLP(E, [layer], head, residual=True)


def excites_one_alone(found, masks):
    """The exact pseudo-inverse, to what an SVD of backward error 10 d · 2u leaves (Wedin, 1973)."""
    readers = found.readers.astype(float)
    want = exact_masks(found.readers).astype(float)
    sizes = np.linalg.norm(readers, axis=1)[:, None]
    singular = np.linalg.svd(readers / sizes, compute_uv=False)
    moved = 10 * max(readers.shape) * np.finfo(found.readers.dtype).eps * singular[0]
    allowed = 4 * moved / singular[-1] ** 2 / sizes
    assert (np.linalg.norm(masks - want, axis=1)[:, None] <= allowed).all()


SPACES = pytest.mark.parametrize("of_masks", [model_space_masks, input_space_masks])


@BOTH
@SPACES
@pytest.mark.parametrize("seed", range(6))
def test_a_mask_excites_one_eigenvector_alone(of_masks, dtype, seed):
    model = random_model(seed, dtype)
    found = of_masks(model, [2, 0], k=1)
    assert found.masks.dtype == found.readers.dtype == dtype
    assert found.masks.shape == found.readers.shape == (2, 6)
    laws.same(found.outputs, [2, 0])
    assert (found.eigenvalues > 0).all()
    excites_one_alone(found, found.masks)


def test_readers_are_eigenvectors_as_they_act_on_the_input():
    model = random_model(3)
    inner = fold(BilinearMLP(None, model.layers, model.w_head, model.residual))
    for number, layer, embed in ((0, inner, model.w_embed), (1, fold(model), np.eye(6))):
        found = (model_space_masks, input_space_masks)[number](model, [1], k=2)
        Q = output_form(layer, [0, 1, 0]).matrix
        vectors = np.linalg.lstsq(embed.T, found.readers.T, rcond=None)[0]
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(2), atol=1e-12)
        np.testing.assert_allclose(Q @ vectors, vectors * found.eigenvalues, atol=1e-10)
        largest = np.linalg.eigvalsh(Q)[:-3:-1]
        np.testing.assert_allclose(found.eigenvalues, largest, rtol=1e-12)


def test_a_pseudo_inverse_before_the_embedding_is_seen():
    model = random_model(4)
    found = model_space_masks(model, [0, 1, 2])
    V = np.linalg.lstsq(model.w_embed.T, found.readers.T, rcond=None)[0]
    np.testing.assert_allclose(V.T @ model.w_embed, found.readers, atol=1e-10)
    for mistaken in (np.linalg.pinv(V) @ model.w_embed, found.readers):
        with pytest.raises(AssertionError):
            excites_one_alone(found, mistaken)
    excites_one_alone(found, found.masks)


def test_what_rounding_makes_of_zero_is_not_taken_for_positive():
    """The form of two units that cancel has a positive eigenvalue in floats."""
    assert spectrum(CANCELLED, [1]).eigenvalues.max() > 0
    with pytest.raises(ValueError, match="k must be at most 0"):
        model_space_masks(CANCELLED, [0])


def test_without_an_embedding_both_spaces_are_the_same():
    layer = random_layer(np.random.default_rng(5), sizes=(4, 6, 3), dtype=np.float64)
    for model in (layer, BilinearMLP(None, [layer], None)):
        for one, two in zip(
            *(f(model, [0, 2]) for f in (model_space_masks, input_space_masks)), strict=True
        ):
            laws.same(one, two)


def test_eigenvectors_of_one_output_are_their_own_masks():
    found = input_space_masks(random_model(6), [0], k=2)
    np.testing.assert_allclose(found.masks, found.readers, atol=1e-13)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_embeddings_of_any_size_reach(size):
    embed = np.array([[3, 1], [1, 2]])
    found, large = (
        model_space_masks(BilinearMLP(embed * by, [ONE], None), [0, 1]) for by in (1.0, size)
    )
    np.testing.assert_allclose(large.masks * size, found.masks, rtol=1e-12, atol=1e-12)


def test_nearly_dependent_readers_are_a_matter_of_rcond():
    near = np.array([[1, 0], [1, 1e-3]])
    layer = BilinearLayer(near, near)
    found = model_space_masks(layer, [0, 1])
    np.testing.assert_allclose(found.readers @ found.masks.T, np.eye(2), atol=1e-11)
    with pytest.raises(
        ValueError, match=r"independently; of these 2 only 1 do, at rcond = 1.0e-02"
    ):
        model_space_masks(layer, [0, 1], rcond=0.01)


# ---- strength


@BOTH
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_strength_is_the_standard_deviation(dtype, size):
    mask = (np.random.default_rng(7).standard_normal(101) * size).astype(dtype)
    for strength in (0, 0.25, 3):
        scaled = scaled_mask(mask, strength)
        assert scaled.dtype == dtype
        wide = scaled.astype(float)
        # The mean of squares and its root in float64, one rounding of each entry.
        assert abs(wide.std() - strength) <= 200 * np.finfo(dtype).eps * strength
        if strength:
            ratio = wide / mask
            assert np.ptp(ratio) <= 4 * np.finfo(dtype).eps * ratio.mean()  # not centred


def test_permuted_masks_are_as_strong_and_repeatable():
    mask = np.arange(50.0)
    copy = permuted_mask(mask, 3)
    laws.same(copy, permuted_mask(mask, np.random.default_rng(3)))
    laws.same(np.sort(copy), mask)
    assert (copy != mask).any()
    rng = np.random.default_rng(3)
    assert (permuted_mask(mask, rng) != permuted_mask(mask, rng)).any()
    laws.exact_numbers(permuted_mask(laws.exact([1, 2]), 0))


# ---- attack


def looped_curve(model, x, labels, mask, target, strengths):
    """Return accuracy and success from a forward pass for each strength."""
    outputs = [mlp_forward(model, x + scaled_mask(mask, sigma)) for sigma in strengths]
    others = [n for n, label in enumerate(labels) if label != target]
    taken = [sum(y[n].argmax() == target for n in others) / len(others) for y in outputs]
    return [accuracy(y, labels) for y in outputs], taken


@BOTH
def test_an_attack_is_a_forward_pass_for_each_strength(dtype):
    model = random_model(8, dtype)
    rng = np.random.default_rng(9)
    x = random_array(rng, (60, 6), dtype)
    labels = mlp_forward(model, x).argmax(axis=1)
    labels[:7] = rng.integers(0, 3, 7)
    mask, strengths = model_space_masks(model, [1]).masks[0], [0, 0.1, 0.7, 4]
    found = attack(model, x, labels, mask, 1, strengths, controls=3, rng=5)
    copies = np.random.default_rng(5)
    copies = [permuted_mask(mask, copies) for _ in range(3)]
    for curve, one in zip((found.mask, *found.controls), (mask, *copies), strict=True):
        right, taken = looped_curve(model, x, labels, one, 1, strengths)
        laws.same(curve.accuracy, right)
        laws.same(curve.success, taken)
    assert attack(model, x, labels, mask, 1, [], controls=0).controls == ()


def test_a_planted_mask_takes_every_example_and_its_controls_none():
    """Class c is (v_c · x)², of orthonormal v: the mask of class 2 is v₂, and only v₂ excites it."""
    rng = np.random.default_rng(10)
    basis = np.linalg.qr(rng.standard_normal((100, 3)))[0].T
    layer = BilinearLayer(basis, basis)
    labels = np.arange(40) % 2
    x = 10 * basis[labels]
    found = model_space_masks(layer, [2])
    result = attack(layer, x, labels, found.masks[0], 2, [0, 0.5, 2], controls=5)
    laws.same(result.mask.success, [0, 0, 1])  # its norm is σ√100 up to its mean: 5, 20 against 10
    laws.same(result.mask.accuracy, [1, 1, 0])
    for control in result.controls:
        assert control.success[-1] == 0
        assert control.accuracy[-1] == 1


# ---- bad input

ONE = BilinearLayer([[1, 0], [0, 1]], [[1, 0], [0, 1]], [[1, 0], [0, 1], [-1, 2]])
DEEP = BilinearMLP(None, [BilinearLayer([[1]], [[1]])] * 2, None)
SHARED = BilinearLayer([[1, 0], [1, 0]], [[1, 0], [1, 0]], [[1, 0], [0, 2]])
NEGATIVE = BilinearLayer([[1, 0]], [[1, 0]], [[-1]])
DEAD = BilinearMLP([[0, 0], [1, 2]], [ONE], None)
# v ∝ (3, −1) against rows (0.1, 0.2), (0.3, 0.6): nothing but rounding is left.
ROUNDED = BilinearMLP([[0.1, 0.2], [0.3, 0.6]], [BilinearLayer([[3, -1]], [[3, -1]])], None)
WIDE = BilinearMLP([[1, 0], [0, 1], [1, 1]], [BilinearLayer(np.eye(3), np.eye(3))], None)
# Two units of opposite signs, the same up to the rounding of their gauge.
CANCELLED = BilinearLayer([[0.1, 0.7], [0.1 / 3, 0.7 / 3]], [[0.3, 0.8], [0.9, 2.4]], [[1, -1]])
X, LABELS = [[1, 2], [2, 1]], [1, 0]
V, T, O = ValueError, TypeError, OverflowError  # noqa: E741


@SPACES
@pytest.mark.parametrize(
    ("model", "outputs", "options", "error", "words"),
    [
        (3, [0], {}, T, "model must be a BilinearLayer or a BilinearMLP; got int"),
        (DEEP, [0], {}, V, "model must have one layer to be one bilinear layer; got 2"),
        (laws.exact_layer(ONE), [0], {}, T, "layer must be float32 or float64"),
        (BilinearLayer([[np.nan]], [[1]]), [0], {}, V, "w_left must be finite"),
        (ONE, [], {}, V, r"outputs must hold at least one output, each once; got \[\]"),
        (ONE, [0, 1, 0], {}, V, r"each once; got \[0, 1, 0\]"),
        (ONE, [3], {}, V, r"outputs must lie in 0..2; got 3"),
        (ONE, [-1], {}, V, "outputs must be at least 0; got -1"),
        (ONE, [True], {}, T, "outputs must be an integer; got bool"),
        (ONE, 0, {}, T, "outputs must be a sequence; got int"),
        (ONE, [0], {"k": 0}, V, "k must be at least 1"),
        (ONE, [0], {"k": 2}, V, "k must be at most 1, the number of positive eigenvalues of output 0; got 2"),
        (NEGATIVE, [0], {}, V, "k must be at most 0, the number of positive eigenvalues of output 0"),
        (ONE, [0], {"rcond": -1}, V, "rcond must be finite and at least 0"),
        (ONE, [0], {"rcond": np.nan}, V, "rcond must be finite"),
        (ONE, [0], {"rcond": 1}, V, "only 0 do, at rcond"),
        (SHARED, [0, 1], {}, V, "must give eigenvectors that act on the input independently; of these 2 only 1 do"),
    ],
)  # fmt: skip
def test_masks_that_are_none_are_refused(of_masks, model, outputs, options, error, words):
    with pytest.raises(error, match=words):
        of_masks(model, outputs, **options)


@pytest.mark.parametrize(
    ("model", "outputs", "words"),
    [
        (DEAD, [1, 0], "outputs must have eigenvectors that the embedding reaches; of output 0 vᵀE is zero"),
        (ROUNDED, [0], "of output 0 vᵀE is zero, up to rounding"),
        (BilinearMLP([[np.inf]], [BilinearLayer([[1]], [[1]])], None), [0], "w_embed must be finite; got inf"),
        (WIDE, [0, 1, 2], "of these 3 only 2 do"),
    ],
)  # fmt: skip
def test_eigenvectors_that_the_embedding_loses_are_refused(model, outputs, words):
    with pytest.raises(ValueError, match=words):
        model_space_masks(model, outputs)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mask_change(DEEP, [1], [1]), V, "model must have one layer"),
        (lambda: mask_change(ONE, [1, 2, 3], [1, 2]), V, "x must have shape"),
        (lambda: mask_change(ONE, [1, 2], [[1, 2]]), V, r"mask must have shape \(d_in,\) = \(2,\) to match the model"),
        (lambda: mask_change(ONE, [1, 2], np.float32([1, 2])), T, "mask must have dtype float64"),
        (lambda: mask_change(ONE, [1, np.inf], [1, 2]), V, "x must be finite"),
        (lambda: mask_change(ONE, [1, 2], [1, np.nan]), V, "mask must be finite"),
        (lambda: mask_change(ONE, [1, 2], [1e200, 0]), O, "curvature exceeds the largest float64"),
        (lambda: mask_change(ONE, [1e200, 2], [1e150, 0]), O, "slope exceeds the largest float64"),
        (lambda: scaled_mask([1, 2], -1), V, "strength must be finite and at least 0"),
        (lambda: scaled_mask([1, 2], np.nan), V, "strength must be finite"),
        (lambda: scaled_mask([1, np.inf], 1), V, "mask must be finite"),
        (lambda: scaled_mask(laws.exact([1, 2]), 1), T, "mask must be float32 or float64"),
        (lambda: scaled_mask([0, 0], 1), V, "mask must have entries that differ"),
        (lambda: scaled_mask([], 1), V, "mask must have entries that differ"),
        (lambda: scaled_mask([7], 1), V, "mask must have entries that differ"),
        (lambda: scaled_mask(np.full(1001, 0.1), 1), V, "mask must have entries that differ"),
        (lambda: scaled_mask(np.float32([0.1, 0.1, 0.1 + 1e-8]), 1), V, "mask must have entries that differ"),
        (lambda: scaled_mask([[1, 2]], 1), V, "mask must have shape"),
        (lambda: scaled_mask(np.float32([1, 2]), 1e39), O, "mask exceeds the largest float32"),
        (lambda: permuted_mask([1, 2], None), T, "rng must be an integer; got NoneType"),
        (lambda: permuted_mask([1, 2], -1), V, "rng must be at least 0"),
        (lambda: permuted_mask([[1, 2]], 0), V, "mask must have shape"),
        (lambda: attack(DEEP, X, LABELS, [1, 2], 0, [1]), V, "model must have one layer"),
        (lambda: attack(ONE, [1, 2], LABELS, [1, 2], 0, [1]), V, r"x must have shape \(n, d_in\)"),
        (lambda: attack(ONE, [[1, np.nan], [1, 2]], LABELS, [1, 2], 0, [1]), V, "x must be finite"),
        (lambda: attack(laws.exact_layer(ONE), laws.exact(X), LABELS, laws.exact([1, 2]), 0, [1]), T, "mask must be float32 or float64"),
        (lambda: attack(ONE, np.zeros((0, 2)), np.zeros(0, int), [1, 2], 0, [1]), V, "labels must hold another class"),
        (lambda: attack(ONE, X, [1], [1, 2], 0, [1]), V, "labels must have shape"),
        (lambda: attack(ONE, X, [1, 3], [1, 2], 0, [1]), V, "labels must lie in 0..2"),
        (lambda: attack(ONE, X, LABELS, [1, 2], 3, [1]), V, "target must lie in 0..2; got 3"),
        (lambda: attack(ONE, X, [1, 1], [1, 2], 1, [1]), V, "labels must hold another class than the target, 1"),
        (lambda: attack(ONE, X, LABELS, [1, 1], 0, [1]), V, "mask must have entries that differ"),
        (lambda: attack(ONE, X, LABELS, [1, 2, 3], 0, [1]), V, "mask must have shape"),
        (lambda: attack(ONE, X, LABELS, [1, 2], 0, 3), T, "strengths must be a sequence; got int"),
        (lambda: attack(ONE, X, LABELS, [1, 2], 0, [-1]), V, "strengths must be finite and at least 0"),
        (lambda: attack(ONE, X, LABELS, [1, 2], 0, [1], controls=-1), V, "controls must be at least 0"),
        (lambda: attack(ONE, X, LABELS, [1, 2], 0, [1], rng=None), T, "rng must be an integer"),
        (lambda: attack(ONE, X, LABELS, [1, 2], 0, [1e200]), O, "y exceeds the largest float64"),
        (lambda: attack(ONE, [[1e200, 1], [1, 2]], LABELS, [1, 2], 0, [1]), O, "y exceeds the largest"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
