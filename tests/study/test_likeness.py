from dataclasses import replace

import numpy as np
import pytest

from refbilinear import BilinearLayer, init_mlp
from refbilinear.analysis import cosine, principal_angles
from refbilinear.analysis.eigenpairs import EIGH_RATIO
from refbilinear.oracle.bounds import gamma
from refbilinear.spec.mlp import fold
from refbilinear.study.findings import examine
from refbilinear.study.likeness import likeness, mutual

LAYERS = [fold(init_mlp(seed, 12, 11, 5, 3, bias=True, residual=True)) for seed in range(3)]
FOUND = [examine(layer, range(3)) for layer in LAYERS]


def doubled(layer):
    """The same function by other weights: powers of two, which round nothing."""
    scale = 2.0 ** np.arange(layer.d_hidden)
    return replace(
        layer, w_left=layer.w_left * scale[:, None], b_left=layer.b_left * scale,
        w_out=layer.w_out / scale,
    )  # fmt: skip


def test_a_model_is_as_like_as_can_be_to_itself_in_another_gauge():
    other = doubled(LAYERS[0])
    found = likeness(LAYERS[0], other, FOUND[0], examine(other, range(3)))
    assert found.ranks == [1, 2, 3, 5, 10]
    assert found.outputs == [0, 1, 2]
    assert np.abs(np.array([found.cosine, *found.cosines]) - 1).max() <= 2**-50
    # The same forms to the bit, so what is left is how far eigh's vectors are from orthonormal.
    assert np.abs(np.array(found.overlaps) - 1).max() <= EIGH_RATIO * 12 * 2**-52


def test_the_parts_are_those_of_the_analysis():
    a, b, of_a, of_b = LAYERS[0], LAYERS[1], FOUND[0], FOUND[1]
    found = likeness(a, b, of_a[1:], of_b[1:])
    assert found.cosine == cosine(a, b)
    expected = cosine(a, b, outputs="each")[1:]
    # Two sums of squares and one of products, of 12 · 13 + 1 terms each.
    assert np.abs(found.cosines - expected).max() <= 8 * gamma(12 * 13 + 1, np.float64)
    assert found.outputs == [1, 2]
    for k, share, chance in zip(found.ranks, found.overlaps[0], found.chance, strict=True):
        V1, V2 = (of[1].spectrum.eigenvectors[:, :k] for of in (of_a, of_b))
        angles = principal_angles(V1, V2)
        assert share == pytest.approx(np.mean(np.cos(angles) ** 2), abs=1e-12)
        assert chance == k / 12


def test_random_subspaces_overlap_as_chance_says():
    """The mean over 200 pairs of forms that have nothing to do with each other."""
    rng = np.random.default_rng(1)
    shares, chance = [], None
    for _ in range(200):
        a, b = (BilinearLayer(*rng.standard_normal((2, 40, 6)), np.ones((1, 40))) for _ in "ab")
        found = likeness(a, b, examine(a, [0]), examine(b, [0]))
        shares.append(found.overlaps[0])
        chance = found.chance
    # The overlap lies in 0..1, so its mean over 200 is within 5 standard errors, 5 · ½ / √200.
    assert np.abs(np.mean(shares, axis=0) - chance).max() < 5 * 0.5 / 200**0.5


def test_every_two_of_several_are_compared_none_with_itself():
    found = mutual(LAYERS, FOUND)
    expected = [
        likeness(LAYERS[i], LAYERS[j], FOUND[i], FOUND[j]) for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    assert found == expected


def test_beyond_the_rank_of_a_form_nothing_is_said():
    """Two products on inputs of their own, of nine: the rest of both is an arbitrary basis."""
    a, b = (BilinearLayer(np.eye(9)[i : i + 1], np.eye(9)[i + 1 : i + 2]) for i in (0, 5))
    found = likeness(a, b, examine(a, [0]), examine(b, [0]))
    assert found.overlaps == [[0, 0, None, None]]
    assert (found.cosine, found.cosines) == (0, [0])


def test_a_form_that_is_zero_is_like_nothing():
    a = BilinearLayer(np.ones((2, 6)), np.ones((2, 6)), [[0, 0], [1, 2]])
    b = BilinearLayer(np.ones((2, 6)), np.eye(2, 6), [[3, 4], [1, 2]])
    found = likeness(a, b, examine(a, [0, 1]), examine(b, [0, 1]))
    assert found.cosines[0] is None
    of_a, of_b = (replace(layer, w_out=layer.w_out[1:]) for layer in (a, b))
    assert found.cosines[1] == pytest.approx(cosine(of_a, of_b))
    assert found.overlaps[0] == [None] * 4
    zero = BilinearLayer(np.zeros((2, 6)), np.ones((2, 6)), [[1, 2], [3, 4]])
    assert likeness(zero, b, examine(zero, [0]), examine(b, [0])).cosine is None


def test_one_input_has_one_direction():
    a = BilinearLayer([[2.0]], [[3.0]])
    found = likeness(a, a, examine(a, [0]), examine(a, [0]))
    assert (found.ranks, found.overlaps, found.chance, found.cosines) == ([1], [[1]], [1], [1])
