import numpy as np
import pytest

from refbilinear import BilinearLayer
from refbilinear.study import plots
from refbilinear.study.findings import examine
from refbilinear.study.tiles import Tile, tiles

pytest.importorskip("matplotlib")
RNG = np.random.default_rng(0)
SHAPE = (2, 3)


def drawn(axes):
    """The images of an axes with their places, and the words with theirs."""
    images = [(np.asarray(one.get_array()), one.get_extent()) for one in axes.images]
    return images, {text.get_text(): text.get_position() for text in axes.texts if text.get_text()}


def axes_of(*arguments):
    axes = plots._figure(4, 3).subplots()
    tiles(axes, *arguments)
    return axes


def test_every_tile_stands_in_its_row_and_column_on_its_own_scale():
    a, b, c = RNG.standard_normal((3, *SHAPE)) * [[[1]], [[5]], [[0.1]]]
    images, words = drawn(
        axes_of([[Tile(a, "a"), None], [Tile(b, "b"), Tile(c)]], ["first", "second"])
    )
    for (shown, _), values in zip(images, (a, b, c), strict=True):
        assert np.array_equal(shown, values / np.abs(values).max())
    (left_a, _, bottom_a, top_a), (left_b, _, _, top_b), (left_c, right_c, _, top_c) = (
        place for _, place in images
    )
    assert left_a == left_b < left_c < right_c
    assert top_b == top_c < bottom_a < top_a
    assert words["a"][1] > top_a
    assert bottom_a > words["b"][1] > top_b
    assert words["first"][0] < left_a
    assert bottom_a < words["first"][1] < top_a
    assert words["second"][1] < bottom_a


def test_zeros_are_white_and_all_is_within_the_axes():
    axes = axes_of([[Tile(np.zeros(SHAPE))] * 4] * 2)
    images, _ = drawn(axes)
    assert all((shown == 0).all() for shown, _ in images)
    (low, high), (down, up) = axes.get_xlim(), axes.get_ylim()
    for _, (left, right, bottom, top) in images:
        assert low <= left < right <= high + 1e-12
        assert down - 1e-12 <= bottom < top <= up


def test_positive_eigenvectors_stand_left_negative_ones_right_the_strongest_outside():
    layer = BilinearLayer(np.eye(6), np.eye(6), [[5, -4, 3, -2, 1, 0], [1, 1, 1, 1, 1, 1]])
    first, second = (plots._of_both_signs(found, SHAPE) for found in examine(layer, [0, 1]))
    assert [tile and tile.title for tile in first] == [
        "λ = +5", "λ = +3", "λ = +1", None, "λ = -2", "λ = -4",
    ]  # fmt: skip
    assert [tile is not None for tile in second] == [True] * 3 + [False] * 3
    assert np.array_equal(np.abs(first[5].values), [[0, 1, 0], [0, 0, 0]])


def test_two_inputs_have_two_eigenvectors_to_show():
    found = examine(BilinearLayer([[1.0, 2.0]], [[3.0, 4.0]]), [0])
    assert plots.side_by_side(found, found, ("$_$", "b"), (1, 2)).startswith(b"\x89PNG")
