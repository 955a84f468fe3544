"""Refits: the gradient exactly, and known layers found again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import BilinearLayer, interaction_tensor, output_form, unpack
from refbilinear.analysis import grams, refit
from refbilinear.analysis.layers import subtract
from refbilinear.analysis.products import frobenius
from refbilinear.analysis.refit import frobenius_gradient
from strategies import FLOATS, OPTIONAL, random_layer

NAMES = ("w_left", "w_right", "w_out")


@pytest.fixture(autouse=True, scope="module")
def _small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grams, "BLOCK", 2)
        yield


def pair(seed):
    rng = np.random.default_rng(seed)
    return tuple(random_layer(rng, ("w_out",), sizes) for sizes in ((3, 4, 2), (3, 5, 2)))


def moved(layer, name, index, step):
    values = {part: getattr(layer, part).copy() for part in NAMES}
    values[name][index] += step
    return BilinearLayer(**values)


def gradient_is_the_differences(gradient, first, second):
    """Two points are exact: the product is linear in each array, half a squared norm quadratic."""
    step = laws.Fraction(1, 3)

    def squared(layer):
        rest = subtract(layer, first)
        return frobenius(rest, rest) / 2

    cases = (
        (first, lambda layer: frobenius(first, layer)),
        (subtract(second, first), squared),
    )
    for other, value in cases:
        found = gradient(other, second)
        laws.exact_numbers(*found)
        for name, array in zip(NAMES, found, strict=True):
            for index in np.ndindex(array.shape):
                ahead, back = (value(moved(second, name, index, s)) for s in (step, -step))
                assert array[index] == (ahead - back) / (2 * step)


@settings(max_examples=3)
@given(st.integers(0, 2**32 - 1))
def test_the_gradient_is_the_differences(seed):
    gradient_is_the_differences(frobenius_gradient, *pair(seed))


def test_the_gradient_without_output_weights():
    first, second = pair(1)
    square = [BilinearLayer(layer.w_left[:2], layer.w_right[:2]) for layer in (first, second)]
    written = [BilinearLayer(one.w_left, one.w_right, laws.exact(np.eye(2))) for one in square]
    for got, want in zip(frobenius_gradient(*square), frobenius_gradient(*written), strict=True):
        laws.same(got, want)


MISTAKES = {
    "halved twice": lambda found: found._replace(w_left=found.w_left / 2),
    "left and right swapped": lambda found: found._replace(
        w_left=found.w_right, w_right=found.w_left
    ),
    "outputs doubled": lambda found: found._replace(w_out=2 * found.w_out),
    "the sign": lambda found: found._replace(w_right=-found.w_right),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistaken_gradients_are_seen(mistake):
    def wrong(first, second):
        return MISTAKES[mistake](frobenius_gradient(first, second))

    with pytest.raises(AssertionError):
        gradient_is_the_differences(wrong, *pair(2))


def test_a_dropped_cross_term_is_seen(monkeypatch):
    monkeypatch.setattr(
        refit, "_pulled", lambda e, other, left, right: (e * (other @ right.T)) @ left * 2
    )
    with pytest.raises(AssertionError):
        gradient_is_the_differences(frobenius_gradient, *pair(3))


# ---- fits


def redundant_layer(dtype, names=("w_out",)):
    """Return a layer of six units of which two would do."""
    few = random_layer(np.random.default_rng(4), names, (4, 2, 3), dtype)
    rng = np.random.default_rng(5)
    split = rng.uniform(0.2, 0.8, (1, 2))
    parts = {name: np.concatenate([getattr(few, name)] * 2) for name in ("w_left", "w_right")}
    parts["w_out"] = np.concatenate([few.w_out * split, few.w_out * (1 - split)], axis=1)
    for name in names[1:]:
        part = getattr(few, name)
        parts[name] = np.concatenate([part] * 2) if name in ("b_left", "b_right") else part
    return BilinearLayer(**{name: part.astype(dtype) for name, part in parts.items()})


@pytest.mark.parametrize("dtype", FLOATS)
def test_two_units_are_found_again(dtype):
    layer = redundant_layer(dtype)
    found = list(refit.refit_layer(layer, 2, rng=2, steps=1500, every=600))
    assert [one.step for one in found] == [600, 1200, 1500]
    last = found[-1]
    assert last.layer.d_hidden == 2
    assert last.layer.dtype == dtype
    tensors = [unpack(interaction_tensor(one)).astype(float) for one in (last.layer, layer)]
    off = np.linalg.norm(tensors[0] - tensors[1]) / np.linalg.norm(tensors[1])
    assert off < 1e-3
    assert last.distance < 1e-3
    assert found[0].distance > last.distance


def test_linear_and_constant_parts_are_kept():
    layer = redundant_layer(np.float64, ("w_out", *OPTIONAL[1:]))
    *_, last = refit.refit_layer(layer, 2, rng=3, steps=3, every=2)
    for o, u in enumerate(np.eye(3)):
        got, want = output_form(last.layer, u), output_form(layer, u)
        laws.same(got.linear.round(9), want.linear.round(9))
        assert abs(got.constant - want.constant) < 1e-9, o
    assert layer.has_constant
    assert last.layer.b_left is None


def test_distances_are_those_of_the_tensors_and_seeds_repeat():
    layer = redundant_layer(np.float64)
    *_, last = refit.refit_layer(layer, 1, rng=7, steps=20)
    *_, again = refit.refit_layer(layer, 1, rng=np.random.default_rng(7), steps=20)
    laws.same(again.layer.w_left, last.layer.w_left)
    tensors = [unpack(interaction_tensor(one)) for one in (last.layer, layer)]
    off = np.linalg.norm(tensors[0] - tensors[1]) / np.linalg.norm(tensors[1])
    assert abs(off - last.distance) < 1e-12


def test_a_step_too_far_is_refused():
    with pytest.raises(FloatingPointError, match="not finite after step 2"):
        list(refit.refit_layer(redundant_layer(np.float64), 1, rng=0, steps=2, learning_rate=1e200))
    with pytest.raises(FloatingPointError, match="not finite after step 2"):
        list(
            refit.refit_layer(redundant_layer(np.float64), 2, rng=0, steps=20, learning_rate=1e300)
        )


ONE = BilinearLayer([[1, 2]], [[3, 4]])
V, T = ValueError, TypeError
HUGE = BilinearLayer([[1e200, 0]], [[1e200, 0]])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: refit.refit_layer(laws.exact_layer(ONE), 1, rng=0), T, "layer must be float32 or float64"),
        (lambda: refit.refit_layer(ONE, 0, rng=0), V, "d_hidden must be at least 1; got 0"),
        (lambda: refit.refit_layer(ONE, 1, rng=0, steps=0), V, "steps must be at least 1"),
        (lambda: refit.refit_layer(ONE, 1, rng=0, every=0), V, "every must be at least 1"),
        (lambda: refit.refit_layer(ONE, 1, rng=0, learning_rate=-1), V, "learning_rate must be"),
        (lambda: refit.refit_layer(BilinearLayer([[np.nan]], [[1]]), 1, rng=0), V, "w_left must be finite"),
        (lambda: refit.refit_layer(BilinearLayer([[0]], [[1]]), 1, rng=0), V, "quadratic part of moderate norm .* got the squared norm 0.0"),
        (lambda: refit.refit_layer(BilinearLayer([[1e200]], [[1e200]]), 1, rng=0), V, "got the squared norm inf"),
        (lambda: refit.refit_layer(ONE, 1, rng=None), T, "rng must be an integer; got NoneType"),
        (lambda: refit.refit_layer(ONE, 1, rng=-1), V, "rng must be at least 0; got -1"),
        (lambda: frobenius_gradient(HUGE, HUGE), OverflowError, r"the gradient of w_left exceeds the largest float64 at \(0, 0\)"),
        (lambda: frobenius_gradient(ONE, BilinearLayer([[1]], [[1]])), V, "second must have d_in = 2"),
        (lambda: frobenius_gradient(ONE, BilinearLayer([[1, 2]], [[3, 4]], b_left=[1])), V, "second must have no bias"),
        (lambda: frobenius_gradient(BilinearLayer([[1, 2]], [[3, 4]], b_out=[1]), ONE), V, "first must have no bias"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
