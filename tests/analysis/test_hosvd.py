"""The higher-order SVD: exact Gram matrices, certificates, and the error of truncations."""

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
            for values, places in (
                (found.singular_out, proof.squares_out),
                (found.singular_in, proof.squares_in),
            ):
                largest = float(values[0]) ** 2
                for value, place in zip(values.astype(float) ** 2, places, strict=False):
                    width = 1e3 * np.finfo(dtype).eps * largest
                    assert place.low - width <= value <= place.high + width


@WAYS
def test_the_whole_decomposition_is_the_layer(way):
    layer = random_layer(np.random.default_rng(3), sizes=(3, 5, 4), dtype=np.float64)
    again = truncated_layer(way(layer))
    x = np.random.default_rng(4).standard_normal((6, 3))
    want = forward(layer, x)
    assert np.allclose(forward(again, homogeneous(x)), want, rtol=0, atol=1e-12 * abs(want).max())


@WAYS
def test_the_error_of_a_truncation(way):
    layer = random_layer(np.random.default_rng(5), ("w_out", "b_left"), (4, 7, 3), np.float64)
    tensor = unpack(interaction_tensor(layer))
    size = np.linalg.norm(tensor)
    for r_out, r_in in ((1, 2), (2, 5), (3, 3), (0, 5), (3, 0), (3, 5)):
        found = way(layer, r_out, r_in)
        error = np.linalg.norm(tensor - unpack(interaction_tensor(truncated_layer(found))))
        low, high = found.error_bounds
        assert low - 1e-7 * size <= error <= high + 1e-7 * size
        assert abs(truncation_error(layer, found) ** 2 - error**2) <= 1e-13 * size**2
        proof = judged(layer, found)
        assert error <= proof.error * (1 + 1e-12) + 1e-13 * size


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
