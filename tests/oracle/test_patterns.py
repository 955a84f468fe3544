"""What an error looks like, in words: one test a phrase, and none for noise."""

import numpy as np
import pytest

from refbilinear.oracle.patterns import agree, describe, relative_error

RNG = np.random.default_rng(0)
RIGHT = RNG.uniform(1, 2, (4, 6)) * RNG.choice([-1, 1], (4, 6))
SQUARE = RNG.uniform(1, 2, (2, 5, 5))
NOISE = RNG.uniform(0.5, 1, RIGHT.shape) * RNG.choice([-1, 1], RIGHT.shape)


def only(part, size=5):
    """A square matrix that is wrong in one part."""
    return np.where(part(np.ones((size, size))) != 0, SQUARE + 7 * RNG.random(SQUARE.shape), SQUARE)


def line(axis, index):
    wrong = RIGHT.copy()
    wrong[(index, ...) if axis == 0 else (..., index)] *= NOISE[
        (index, ...) if axis == 0 else (..., index)
    ]
    return wrong


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (2 * RIGHT, "every entry is 2 times what it should be"),
        (-RIGHT, "the sign is reversed"),
        (RIGHT / 3, "every entry is 1/3 times what it should be"),
        (np.pi * RIGHT, "every entry is 3.142 times what it should be"),
        (1e-7 * RIGHT, "every entry is 1e-07 times what it should be"),
        (-1e9 * RIGHT, "every entry is -1000000000 times what it should be"),
        (0 * RIGHT, "every entry is zero"),
        (2.0**-26 * RIGHT, "every entry is 1.49e-08 times what it should be"),
        (2.0**-26.5 * RIGHT, "every entry is zero"),
        (RIGHT[::-1], "the right numbers, in reversed order along axis 0"),
        (RIGHT[:, ::-1], "the right numbers, in reversed order along axis 1"),
        (RIGHT.T.reshape(4, 6), "the right numbers, transposed"),
        (RIGHT.reshape(6, 4).T, "the right numbers, transposed"),
        (np.roll(RIGHT, 1, 1), "the right numbers, in other places"),
        (np.full((4, 6), np.nan), "NaN where numbers should be"),
        (np.where(NOISE > 0, RIGHT, np.nan), "NaN where numbers should be"),
        (np.where(NOISE > 0, RIGHT, 0), "the wrong entries are zero"),
        (RIGHT + NOISE[:1], "off by the same amount in every row"),
        (RIGHT + np.array([0, 3, 0, 0, 0, 0]), "off by the same amount in every row; only column 1 is wrong"),
        (line(0, 2), "only row 2 is wrong"),
        (line(1, 5), "only column 5 is wrong"),
        (RIGHT * (1 + NOISE / 256), "as bfloat16 is"),
        (RIGHT * (1 + NOISE / 2048), "as TF32 or float16 is"),
        (RIGHT * (1 + NOISE / 2**24), "as float32 is"),
        (RIGHT * (1 + NOISE / 2**26), "as float32 is"),
    ],
)  # fmt: skip
def test_each_phrase(got, words):
    assert describe(got, RIGHT).endswith(words)
    if words not in {"as bfloat16 is", "as TF32 or float16 is", "as float32 is"}:
        assert describe(got, RIGHT) == words


@pytest.mark.parametrize(
    ("exponent", "name"),
    [
        (-4.9, ""), (-5, "bfloat16"), (-9.4, "bfloat16"), (-9.6, "TF32 or float16"),
        (-14, "TF32 or float16"), (-14.1, ""), (-20.9, ""), (-21, "float32"), (-27, "float32"),
        (-27.1, ""),
    ],
)  # fmt: skip
def test_of_formats_the_nearest_is_named(exponent, name):
    words = describe(np.array([1 + 2.0**exponent, 0.5]), np.array([1, 0.5]))
    assert words.partition(" entry, as ")[2] == (name and f"{name} is")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (np.diag, "the diagonal"),
        (lambda one: np.triu(one, 1), "the upper triangle"),
        (lambda one: np.tril(one, -1), "the lower triangle"),
        (lambda one: one - np.eye(5), "what is off the diagonal"),
        (lambda one: one * (np.add.outer(np.arange(5) == 4, np.arange(5) == 4)), "the last row and column"),
    ],
)  # fmt: skip
def test_a_part_of_a_square_matrix(part, name):
    mask = (lambda one: np.diag(part(one))) if part is np.diag else part
    got = only(mask)
    assert describe(got, SQUARE) == f"only {name} is wrong"
    assert describe(got[0], SQUARE[0]) == f"only {name} is wrong"


def test_every_number_of_a_square_matrix_is_in_no_part():
    assert describe(SQUARE + RNG.random(SQUARE.shape), SQUARE) == ""
    row = SQUARE[0].copy()
    row[2] += RNG.random(5)
    assert describe(row, SQUARE[0]) == "only row 2 is wrong"
    assert describe(only(np.triu), SQUARE) == ""
    row[4] += RNG.random(5)
    assert describe(row, SQUARE[0]) == ""


@pytest.mark.parametrize("scale", [1, 0.4, 1e-12, 1e-16])
def test_nothing_is_said_of_noise(scale):
    assert describe(RIGHT + scale * NOISE, RIGHT) == ""
    assert describe(RIGHT[0] + scale * NOISE[0], RIGHT[0]) == ""


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 0), (0, 0)])
def test_nothing_is_said_of_nothing(shape):
    assert describe(np.zeros(shape), np.zeros(shape)) == ""
    assert agree(np.zeros(shape), np.zeros(shape))
    assert relative_error(np.zeros(shape), np.zeros(shape)) == np.inf


def test_nothing_is_said_of_other_shapes():
    assert describe(RIGHT, RIGHT.T) == ""
    assert not agree(RIGHT, RIGHT.T)
    assert relative_error(RIGHT, RIGHT.T) == np.inf


def test_of_one_number_no_factor_is_known():
    assert describe(np.array([6.0]), np.array([2.0])) == ""
    assert describe(np.array(6.0), np.array(2.0)) == ""
    assert describe(np.array([5.0, 5.0]), np.zeros(2)) == ""


@pytest.mark.parametrize("first", [np.nan, np.inf, -np.inf, 1e308, -1.7e308, 5e-324])
@pytest.mark.parametrize("second", [np.nan, np.inf, -np.inf, 1.0, -1.7e308, 1e-300])
def test_whatever_the_numbers_nothing_warns(first, second):
    for got, want in [
        (np.array([[first, 1], [2, 3]]), np.array([[second, 5], [9, 11]])),
        (np.full((2, 3), first), np.full((2, 3), second)),
    ]:
        assert isinstance(describe(got, want), str)
        agree(got, want)
        relative_error(got, want)


def test_agreeing_is_up_to_half_of_the_digits():
    for dtype, digits in ((np.float64, 2.0**-26), (np.float32, 2.0**-11.5)):
        one = np.array([1.0, 1024.0], dtype)
        assert agree(one, one + dtype(1000 * digits))
        assert not agree(one, one + dtype(1100 * digits))
    assert agree(np.array([np.nan, np.inf, 1]), np.array([np.nan, np.inf, 1]))
    assert not agree(np.array([np.nan, 1]), np.array([1, np.nan]))
    assert not agree(np.array([np.inf, 1]), np.array([-np.inf, 1]))
    assert agree(np.array([1, 2]), np.array([1.0, 2.0]))


def test_a_relative_error_is_of_the_largest_entry():
    assert relative_error(np.array([32.0, 1.0]), np.array([32.0, 0.0])) == 1 / 32
    assert relative_error(np.array([np.inf]), np.array([1.0])) == np.inf
    assert relative_error(np.array([1.0]), np.array([0.0])) == np.inf
    assert relative_error(np.array([-1.7e308]), np.array([1.7e308])) > 1
