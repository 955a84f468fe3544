"""The higher-order SVD: exact Gram matrices, certificates, and the error of truncations."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

import laws
from refbilinear import BilinearLayer, forward, homogeneous, interaction_tensor, unpack
from refbilinear.analysis import grams, hosvd
from refbilinear.analysis.hosvd import (
    direct_hosvd,
    gram_matrices,
    input_unfolding,
    output_unfolding,
    truncated_layer,
    truncation_error,
)
from refbilinear.analysis.layers import homogeneous_layer
from refbilinear.oracle.bounds import gamma
from refbilinear.oracle.decompositions import certify_hosvd
from strategies import FLOATS, OPTIONAL, layers, random_layer

BOTH = pytest.mark.parametrize("dtype", FLOATS)
WAYS = pytest.mark.parametrize("way", [hosvd.gram_hosvd, direct_hosvd])


@pytest.fixture(autouse=True, scope="module")
def _small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grams, "BLOCK", 2)
        yield


def grams_are_of_the_tensor(layer):
    whole, found = unpack(interaction_tensor(layer)), gram_matrices(layer)
    laws.exact_numbers(*found)
    flat = whole.reshape(len(whole), -1) if whole.size else np.full((len(whole), 1), Fraction(0))
    laws.same(found.out, flat @ flat.T)
    laws.same(found.inputs, sum((b @ b for b in whole), np.full(whole.shape[1:], Fraction(0))))


@settings(max_examples=40)
@given(layers(largest=6))
def test_grams_are_of_the_tensor(layer):
    grams_are_of_the_tensor(layer)


def test_grams_of_nothing():
    for sizes in ((2, 0, 3), (2, 3, 0), (0, 3, 2)):
        grams_are_of_the_tensor(random_layer(np.random.default_rng(1), ("w_out",), sizes))


def judged(layer, found):
    """Return what the oracle proves about a decomposition."""
    core = unpack(interaction_tensor(found.core))
    return certify_hosvd(interaction_tensor(layer), found.u_out, found.u_in, core)


@BOTH
@WAYS
@pytest.mark.parametrize("sizes", [(3, 7, 4), (5, 4, 2), (2, 5, 6), (4, 1, 3)])
def test_decompositions_are_certified(way, dtype, sizes):
    for names in (("w_out",), OPTIONAL):
        layer = random_layer(np.random.default_rng(sum(sizes)), names, sizes, dtype)
        for ranks in ((None, None), (1, 2), (2, 1), (0, 0)):
            found = way(layer, *ranks)
            proof = judged(layer, found)
            assert proof.certified, proof.reasons
            assert {part.dtype for part in found[:4]} == {np.dtype(dtype)}
            assert found.core.dtype == dtype
            for values, noise, places in (
                (found.singular_out, found.noise_out, proof.squares_out),
                (found.singular_in, found.noise_in, proof.squares_in),
            ):
                for value, about, place in zip(values, noise, places, strict=False):
                    low, high = (
                        Fraction(float(value)) + sign * Fraction(about) for sign in (-1, 1)
                    )
                    assert max(low, 0) ** 2 <= place.high
                    assert high**2 >= place.low


@WAYS
def test_the_whole_decomposition_is_the_layer(way):
    layer = random_layer(np.random.default_rng(3), sizes=(3, 5, 4), dtype=np.float64)
    again = truncated_layer(way(layer))
    x = np.random.default_rng(4).standard_normal((6, 3))
    want = forward(layer, x)
    assert np.allclose(forward(again, homogeneous(x)), want, rtol=0, atol=1e-12 * abs(want).max())


def truncation_slack(found, size):
    """Return what the core, the factors and a product with them can add to an error, in norm.

    Each entry of the core is three projections of the weights and the sum over units; the truncated
    tensor is as many again. `UUᵀ` is a projector to within `‖UᵀU − I‖`, which is measured, for each
    of three modes.
    """
    roundings = 4 * (len(found.u_out) + 2 * len(found.u_in) + found.core.d_hidden + 4)
    apart = [np.linalg.norm(u.T @ u - np.eye(u.shape[1])) for u in (found.u_out, found.u_in)]
    return (gamma(roundings, found.core.dtype) + apart[0] + 2 * apart[1]) * size


def absolute_size(layer):
    """Return the norm of the tensor of absolute values, turned by absolute orthonormal factors."""
    plain = homogeneous_layer(layer)
    return plain.d_out * plain.d_in**2 * hosvd._size(plain)


@WAYS
@pytest.mark.parametrize("power", [0, -700, 640])
def test_the_error_of_a_truncation(way, power):
    layer = random_layer(np.random.default_rng(5), ("w_out", "b_left"), (4, 7, 3), np.float64)
    far = replace(layer, w_out=np.ldexp(layer.w_out, power))
    tensor = unpack(interaction_tensor(layer))
    size = np.linalg.norm(tensor)
    for r_out, r_in in ((1, 2), (2, 4), (3, 3), (0, 5), (3, 0), (3, 5)):
        found = way(far, r_out, r_in)
        again = np.ldexp(unpack(interaction_tensor(truncated_layer(found))), -power)
        error, slack = np.linalg.norm(tensor - again), truncation_slack(found, absolute_size(layer))
        low, high = np.ldexp(found.error_bounds, -power)
        assert low - slack <= error <= high + slack
        assert high - low <= size
        square = np.ldexp(truncation_error(far, found), -power) ** 2
        assert abs(square - error**2) <= 4 * slack * size
        assert error <= np.ldexp(judged(far, found).error, -power) + slack


@BOTH
@pytest.mark.parametrize("known", [(3, 2, 1e-3), (3, 2, 1e-6), (3, 2, 1e-10), (3, 2, 0)])
def test_bounds_hold_for_tails_below_the_noise(dtype, known):
    """Of diagonal forms `σ_o x_o²`, turned; the errors are known."""
    rng = np.random.default_rng(12)
    turn, turn_out = (np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(dtype) for _ in "ab")
    layer = BilinearLayer(turn, turn, turn_out * np.array(known, dtype))
    whole = unpack(interaction_tensor(layer)).astype(float)
    for way in (hosvd.gram_hosvd, direct_hosvd):
        found = way(layer, 2)
        u = np.linalg.qr(found.u_out.astype(float))[0]
        error = np.linalg.norm(whole - np.einsum("op,qp,qij->oij", u, u, whole))
        low, high = found.error_bounds
        beside = truncation_slack(found, absolute_size(layer))
        assert low - beside <= error <= high + beside
    assert direct_hosvd(layer, 2).error_bounds[1] < 1e4 * np.finfo(dtype).eps + 2 * known[2]


@WAYS
def test_noise_is_in_the_bounds(way):
    """A tail that is wrong by less than its noise is in the bounds, and with no noise it is not."""
    layer = random_layer(np.random.default_rng(13), ("w_out",), (4, 6, 3), np.float64)
    found = way(layer, 2)
    value, noise, none = found.singular_out[2], found.noise_out[2], np.zeros(4)
    assert noise > 0
    low, high = found._replace(singular_in=none).error_bounds
    assert low == value - noise
    assert high == value + noise
    bare = found._replace(singular_in=none, noise_in=none, noise_out=none[:3])
    assert bare.error_bounds == (value, value)
    assert low < value < high


def test_the_gram_squares_the_condition_number():
    """A singular value of 1e-10 beside 1 is there directly, and rounding by the Gram matrix."""
    rng = np.random.default_rng(6)
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    layer = BilinearLayer(
        turn,
        turn * np.array([[1], [1], [1], [1e-10]]),
        np.linalg.qr(rng.standard_normal((4, 4)))[0],
    )
    directly, by_gram = direct_hosvd(layer), hosvd.gram_hosvd(layer)
    for values in (directly.singular_out, directly.singular_in):
        assert abs(values[-1] / 1e-10 - 1) < 1e-4
    assert by_gram.singular_out[-1] < 1e-7
    assert np.allclose(by_gram.singular_out[:3], 1, rtol=1e-13)


def test_known_forms():
    """Outputs x₀² − x₁² and 2x₀x₁, rotations of each other: both singular values are √2."""
    layer = BilinearLayer([[1, 1], [1, 0]], [[1, -1], [0, 1]], [[1, 0], [0, 2]])
    for found in (hosvd.gram_hosvd(layer), direct_hosvd(layer)):
        assert np.allclose(found.singular_out, np.sqrt(2))
        assert np.allclose(found.singular_in, np.sqrt(2))


@BOTH
@WAYS
def test_huge_and_tiny_layers(way, dtype):
    """Powers of two change the singular values by powers of two, and nothing else."""
    layer = random_layer(np.random.default_rng(7), ("w_out",), (3, 5, 4), dtype)
    base, far = way(layer), 100 if dtype == np.float32 else 1000
    for left, right, out in (
        (-far, far // 2, far // 2),
        (far, -far, -20),
        (20 - far, 0, 0),
        (0, 0, far),
    ):
        moved = BilinearLayer(
            np.ldexp(layer.w_left, left), np.ldexp(layer.w_right, right), np.ldexp(layer.w_out, out)
        )
        found = way(moved)
        laws.same(found.singular_out, np.ldexp(base.singular_out, left + right + out))
        laws.same(found.u_in, base.u_in)
        laws.same(found.u_out, base.u_out)


UNEVEN = [
    ([1e200, 1], [1e-200, 1], [1, 1]),
    ([1e160, 1e-160], [1e-160, 1e160], [1, 1]),
    ([1e160, 1e-160], [1, 1], [1e-160, 1e160]),
    ([1e-160, 1], [1e-160, 1], [2.0**1022, 1]),
]


@WAYS
@pytest.mark.parametrize(("left", "right", "out"), UNEVEN)
def test_units_of_uneven_scale(way, left, right, out):
    """Forms `l_h r_h d_h x_h²`, of which singular values are the magnitudes."""
    layer = BilinearLayer(np.diag(left), np.diag(right), np.diag(out))
    size = np.array(left) * np.array(out) * np.array(right)
    want = sorted(size, reverse=True)
    for rank in (None, 1):
        found = way(layer, rank)
        assert np.allclose(found.singular_out, want, rtol=1e-14, atol=0)
        assert np.allclose(found.singular_in, want, rtol=1e-14, atol=0)
        low, high = found.error_bounds
        tail = np.linalg.norm(want[len(found.u_out.T) :])
        assert low <= tail <= high
        assert abs(truncation_error(layer, found) - tail) <= 1e-7 * want[0]


@WAYS
def test_scales_within_units_change_nothing(way):
    layer = random_layer(np.random.default_rng(14), ("w_out",), (3, 5, 4), np.float64)
    one, two = np.array([[900, -900, 30, 0, 500], [-400, 500, -900, 0, 480]])
    moved = BilinearLayer(
        np.ldexp(layer.w_left, one[:, None]),
        np.ldexp(layer.w_right, two[:, None]),
        np.ldexp(layer.w_out, -one - two),
    )
    for part, same in zip(way(moved)[:4], way(layer)[:4], strict=True):
        laws.same(part, same)
    for part, same in zip(gram_matrices(moved), gram_matrices(layer), strict=True):
        laws.same(part, same)


def test_units_that_are_zero_have_no_scale():
    layer = BilinearLayer(
        [[1e300], [0], [1e300], [1]], [[1e300], [1e300], [0], [1]], [[0, 1, 1, 2]]
    )
    for way in (hosvd.gram_hosvd, direct_hosvd):
        assert way(layer).singular_out == 2
        nothing = BilinearLayer(layer.w_left[:3], layer.w_right[:3], layer.w_out[:, :3])
        assert way(nothing).singular_out == 0
        assert way(nothing, 0).error_bounds == (0, 0)


# ---- planted mistakes


def packed_without_root(tensor):
    return np.asarray(tensor)


def doubled(tensor):
    return output_unfolding(output_unfolding(tensor))


@pytest.mark.parametrize("mistake", [packed_without_root, doubled])
def test_an_unfolding_without_its_root_is_refused(monkeypatch, mistake):
    layer = random_layer(np.random.default_rng(8), ("w_out",), (3, 5, 4), np.float64)
    assert judged(layer, direct_hosvd(layer)).certified
    monkeypatch.setattr(hosvd, "output_unfolding", mistake)
    assert not judged(layer, direct_hosvd(layer)).certified


def unsymmetrised(layer):
    found = gram_matrices_of(lambda ll, lr, rl, rr: ll * rr, layer)
    return hosvd.Grams(found, gram_matrices(layer).inputs)


def crossed(layer):
    found = gram_matrices_of(lambda ll, lr, rl, rr: lr * rl, layer)
    return hosvd.Grams(found, gram_matrices(layer).inputs)


def one_of_four(layer):
    left, right, out = layer.w_left, layer.w_right, layer.w_out
    k = out.T @ out
    return hosvd.Grams(gram_matrices(layer).out, left.T @ (k * (right @ right.T)) @ left)


def gram_matrices_of(units, layer):
    left, right = layer.w_left, layer.w_right
    return (
        layer.w_out
        @ units(left @ left.T, left @ right.T, right @ left.T, right @ right.T)
        @ layer.w_out.T
    )


@pytest.mark.parametrize("mistake", [unsymmetrised, crossed, one_of_four])
def test_mistaken_grams_are_refused(monkeypatch, mistake):
    layer = random_layer(np.random.default_rng(9), ("w_out",), (3, 5, 4), np.float64)
    wrong = mistake(layer)
    wrong = hosvd.Grams(*((g + g.T) / 2 for g in wrong))
    monkeypatch.setattr(hosvd, "gram_matrices", lambda _: wrong)
    assert not judged(layer, hosvd.gram_hosvd(layer)).certified


# ---- bad input


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda one: hosvd.gram_hosvd(laws.exact_layer(one)), TypeError, "layer must be float32 or float64"),
        (lambda one: direct_hosvd(laws.exact_layer(one)), TypeError, "layer must be float32 or float64"),
        (lambda _: output_unfolding(laws.exact([[1]])), TypeError, "tensor must be float32 or float64"),
        (lambda _: input_unfolding([[1, 2]]), ValueError, "n_pairs must be"),
        (lambda one: hosvd.gram_hosvd(one, 3), ValueError, "r_out must be at most 1; got 3"),
        (lambda one: hosvd.gram_hosvd(one, 1, 3), ValueError, "r_in must be at most 2; got 3"),
        (lambda one: direct_hosvd(one, -1), ValueError, "r_out must be at least 0; got -1"),
        (lambda _: hosvd.gram_hosvd(BilinearLayer([[np.nan]], [[1]])), ValueError, "w_left must be finite"),
        (lambda _: direct_hosvd(BilinearLayer([[1]], [[np.inf]])), ValueError, "w_right must be finite"),
        (lambda _: hosvd.gram_hosvd(BilinearLayer([[1e200]], [[1e200]])), OverflowError, "singular values exceed the largest float64"),
        (lambda _: direct_hosvd(BilinearLayer([[1e200]], [[1e200]])), OverflowError, "singular values exceed"),
        (lambda one: truncation_error(BilinearLayer([[1]], [[1]]), direct_hosvd(one)), ValueError, r"found must be a decomposition of the layer; its modes are \(1, 2\)"),
        (lambda _: gram_matrices(BilinearLayer([[1e200]], [[1e200]])), OverflowError, "exceed the largest float64"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(BilinearLayer([[1, 0]], [[0, 1]]))
