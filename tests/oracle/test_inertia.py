"""Exact inertia: known spectra, two ways that must agree, and squares that anyone can multiply."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear.oracle import inertia as module
from refbilinear.oracle.inertia import (
    Inertia,
    expand,
    inertia,
    inertias,
    require_fraction,
    sum_of_squares,
)
from refbilinear.oracle.rationals import integers
from strategies import FLOATS, LAYOUTS

TINY, HUGE = 5e-324, 1.7e308


def count(known, shift=0):
    """Return the inertia of a list of eigenvalues."""
    signs = [(value > shift) - (value < shift) for value in known]
    return Inertia(signs.count(1), signs.count(-1), signs.count(0))


@st.composite
def known_spectra(draw, largest=7):
    """Draw integer eigenvalues with ties, zeros and ties of sign, and a dyadic basis."""
    known = draw(st.lists(st.sampled_from([0, 1, -1, 3, -3, 6]), min_size=1, max_size=largest))
    n, supports = len(known), []
    for _ in range(draw(st.integers(0, 3))):
        size = draw(st.sampled_from([s for s in (1, 2, 4) if s <= n]))
        v = np.zeros(n)
        v[draw(st.permutations(range(n)))[:size]] = draw(
            st.lists(st.sampled_from([1, -1]), min_size=size, max_size=size)
        )
        supports.append(v)
    return known, laws.dyadic_basis(supports, n)


@st.composite
def small_integers(draw, largest=6):
    """Draw a symmetric matrix of small integers, half of them with an empty diagonal."""
    n = draw(st.integers(0, largest))
    values = draw(st.lists(st.integers(-2, 2), min_size=n * n, max_size=n * n))
    lower = np.tril(np.array(values, np.float64).reshape(n, n), -draw(st.integers(0, 1)))
    return lower + np.tril(lower, -1).T


@settings(max_examples=40)
@given(known_spectra())
def test_known_spectra_at_and_beside_each_eigenvalue(case):
    known, basis = case
    matrix = laws.float_matrix(known, basis)
    shifts = [value + side for value in sorted(set(known)) for side in (0, 1e-300, -0.5)]
    shifts += [Fraction(value) - Fraction(1, 10**400) for value in known]
    for shift, found in zip(shifts, inertias(matrix, shifts), strict=True):
        assert found == inertia(matrix, shift) == count(known, shift)


@settings(max_examples=40)
@given(small_integers())
def test_elimination_congruence_and_squares_agree(matrix):
    squares = sum_of_squares(matrix)
    negative = sum(weight < 0 for weight in squares.weights)
    rank = len(squares.weights)
    found = Inertia(rank - negative, negative, len(matrix) - rank)
    assert found == inertia(matrix) == inertias(matrix, [0])[0]
    assert found == inertia(laws.exact(matrix) / 3)
    assert Inertia(found.negative, found.positive, found.zero) == inertia(-matrix)


@settings(max_examples=40)
@given(small_integers(largest=5), st.integers(0, 2**32 - 1))
def test_a_congruence_changes_nothing(matrix, seed):
    n = len(matrix)
    rng = np.random.default_rng(seed)
    lower = np.tril(rng.integers(-3, 4, (n, n)), -1) + np.diag(rng.choice([-2, 1, 3], n))
    turned = laws.exact(lower)[rng.permutation(n)]
    assert inertia(turned @ laws.exact(matrix) @ turned.T) == inertia(matrix)


@settings(max_examples=40)
@given(small_integers(largest=5))
def test_squares_multiply_back_and_are_independent(matrix):
    squares = sum_of_squares(matrix)
    laws.exact_numbers(*squares, expand(squares))
    laws.same(expand(squares), laws.exact(matrix))
    triangle = squares.vectors.T @ squares.witnesses
    laws.same(np.tril(triangle), laws.exact(np.eye(len(squares.weights))))
    assert all(squares.weights != 0)


def descartes(matrix):
    """Return the inertia by sign changes of the characteristic polynomial, whose roots are real."""
    n, power, coefficients = len(matrix), laws.exact(np.eye(len(matrix))), [Fraction(1)]
    for k in range(1, n + 1):  # Faddeev and Le Verrier
        power = matrix @ power
        coefficients.append(-sum(power.diagonal()) / k)
        power = power + laws.exact(np.eye(n)) * coefficients[-1]

    def changes(numbers):
        signs = [number > 0 for number in numbers if number]
        return sum(a != b for a, b in pairwise(signs))

    positive = changes(coefficients)
    negative = changes([c * (-1) ** k for k, c in enumerate(coefficients)])
    return Inertia(positive, negative, n - positive - negative)


@settings(max_examples=40)
@given(small_integers(largest=7), st.integers(-2, 2))
def test_the_rule_of_descartes_agrees(matrix, shift):
    shifted = laws.exact(matrix) - laws.exact(np.eye(len(matrix))) * shift
    assert inertia(matrix, shift) == descartes(shifted)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_random_floats_agree_with_the_squares(seed, n):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n, n)) * 10.0 ** rng.integers(-150, 150)
    matrix = matrix + matrix.T
    shift = float(rng.choice(matrix.ravel()))
    found = inertia(matrix, shift)
    assert inertias(matrix, [shift]) == [found]
    weights = sum_of_squares(laws.exact(matrix) - laws.exact(np.eye(n) * shift)).weights
    assert found == count([*weights, *[0] * (n - len(weights))])


@pytest.mark.parametrize(
    ("matrix", "want"),
    [
        (np.zeros((0, 0)), (0, 0, 0)),
        ([[0]], (0, 0, 1)),
        ([[-TINY]], (0, 1, 0)),
        ([[TINY, HUGE], [HUGE, TINY]], (1, 1, 0)),
        ([[HUGE, HUGE], [HUGE, HUGE]], (1, 0, 1)),
        ([[HUGE, 0], [0, -TINY]], (1, 1, 0)),
        (np.zeros((4, 4)), (0, 0, 4)),
        (np.ones((5, 5)), (1, 0, 4)),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 0]], (1, 1, 1)),
        # All principal minors of two rows are 0, and the rank is 3: pivots one by one.
        ([[1, 1, 1], [1, 1, -1], [1, -1, 1]], (2, 1, 0)),
        # Positive definite in floats of any order, and exactly not: the determinant is −2⁻¹⁰⁴.
        ([[1, 1 + 2.0**-52], [1 + 2.0**-52, 1 + 2.0**-51]], (1, 1, 0)),
        ([[1, 1 + 2.0**-52], [1 + 2.0**-52, 1 + 2.0**-50]], (2, 0, 0)),
        (np.array([[1, 0], [0, -2]]), (1, 1, 0)),
        (np.array([[Fraction(1, 3), 1], [1, 3]], dtype=object), (1, 0, 1)),
        ([[0.0, 2.0], [2.0, -0.0]], (1, 1, 0)),
    ],
)
def test_special_matrices(matrix, want):
    assert inertia(matrix) == want
    assert inertias(matrix, [0, 0]) == [want, want]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_and_dtype(layout, dtype):
    matrix = np.array([[2, 1, 0], [1, 2, 1], [0, 1, -3]], dtype)
    if layout == "broadcast":
        matrix = np.ones((3, 3), dtype)
    before = matrix.tobytes()
    laid = LAYOUTS[layout](matrix)
    assert inertia(laid, 1) == inertia(matrix, 1)
    assert inertias(laid, [1.5]) == inertias(matrix, [1.5])
    assert matrix.tobytes() == before


def test_shifts_of_all_kinds():
    matrix = np.diag([1.0, 2.0, 4.0])
    for shift in (2, 2.0, Fraction(2), np.float32(2), np.int64(2)):
        assert inertia(matrix, shift) == (1, 1, 1)
    assert inertia(matrix, Fraction(1, 3)).positive == 3


@pytest.mark.parametrize("n", [16, 33])
def test_larger_matrices_with_ties_and_zeros(n):
    """Repeated eigenvalues through reflections, and a Gram matrix of low rank."""
    rng = np.random.default_rng(n)
    known = rng.choice([-3, 0, 0, 1, 2], n).tolist()
    supports = np.zeros((3, n))
    for v in supports:
        v[rng.permutation(n)[:4]] = rng.choice([-1, 1], 4)
    matrix = laws.float_matrix(known, laws.dyadic_basis(supports, n))
    shifts = [0, 1, 1.5, -3, 2 + 1e-15]
    assert inertias(matrix, shifts) == [count(known, shift) for shift in shifts]
    factor = rng.integers(-9, 10, (n, 5)).astype(float)
    assert inertia(factor @ factor.T) == (5, 0, n - 5)


def test_many_shifts_need_no_elimination(monkeypatch):
    """Where the diagonal dominates it decides, however near the shift is to an eigenvalue."""
    rng = np.random.default_rng(5)
    matrix = rng.standard_normal((40, 40))
    matrix = matrix + matrix.T
    near = np.linalg.eigvalsh(matrix)
    monkeypatch.setattr(module, "_eliminate", None)
    found = inertias(matrix, np.concatenate([near - 1e-13, near + 1e-13]))
    assert [one.negative for one in found] == [*range(40), *range(1, 41)]


def test_a_basis_is_never_trusted(monkeypatch):
    """With a wrong or singular basis the counts are still right: elimination decides."""
    matrix = np.array([[2.0, 1, 0], [1, 2, 5], [0, 5, -7]])
    want = [inertia(matrix, shift) for shift in (0, 1, 2)]
    rng = np.random.default_rng(0)
    for vectors in (np.ones((3, 3)), np.zeros((3, 3)), rng.standard_normal((3, 3)), np.eye(3)):
        monkeypatch.setattr(np.linalg, "eigh", lambda _, found=vectors: (np.zeros(3), found))
        assert inertias(matrix, [0, 1, 2]) == want


@pytest.mark.parametrize(
    ("rows", "dominant"),
    [
        ([[5, 4], [4, -5]], Inertia(1, 1, 0)),
        ([[1, 2], [2, 3]], None),
        ([[1, 1], [1, 1]], None),
        ([[0]], None),
        ([[2**40, 2**20], [2**20, 4]], Inertia(2, 0, 0)),
    ],
)
def test_dominance(rows, dominant):
    matrix = np.array(rows, dtype=object)
    assert module._signs_of_the_diagonal(matrix) == dominant


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=6))
def test_integers_are_the_floats(values):
    array = np.array(values, np.float64)
    numbers, unit = integers(array)
    assert all(type(number) is int for number in numbers)
    laws.same(numbers * unit, laws.exact(array))
    assert all(number == 0 for number in numbers) or any(number % 2 for number in numbers)


def test_integers_of_rationals_and_of_nothing():
    numbers, unit = integers(np.array([[Fraction(1, 6), Fraction(-3, 4)]], dtype=object))
    assert (numbers.tolist(), unit) == ([[2, -9]], Fraction(1, 12))
    for empty in (np.zeros((0, 3)), np.zeros((0, 3), dtype=object)):
        numbers, unit = integers(empty)
        assert (numbers.shape, unit) == ((0, 3), 1)


@pytest.mark.parametrize("function", [inertia, sum_of_squares, lambda q: inertias(q, [0])])
@pytest.mark.parametrize(
    ("matrix", "error", "words"),
    [
        (np.zeros(3), ValueError, "matrix must have shape"),
        (np.zeros((2, 3)), ValueError, "matrix must have shape"),
        (np.zeros((2, 2, 2)), ValueError, r"matrix must have shape \(d, d\)"),
        ([[0, 1], [2, 0]], ValueError, "matrix must equal its transpose"),
        ([[np.nan]], ValueError, "matrix must be finite"),
        ([[0, np.inf], [np.inf, 0]], ValueError, "matrix must be finite"),
        ([[2**53 + 2]], ValueError, "at most"),
        (np.zeros((1, 1), np.float16), TypeError, "got float16"),
        (np.array([[1.5]], dtype=object), TypeError, "exact rationals"),
        (None, TypeError, "matrix must be an array"),
    ],
)
def test_bad_matrices_are_refused(function, matrix, error, words):
    with pytest.raises(error, match=words):
        function(matrix)


@pytest.mark.parametrize(
    ("shift", "error"),
    [
        (np.nan, ValueError), (np.inf, ValueError), (-np.inf, ValueError), ("0", TypeError),
        (None, TypeError), (1j, TypeError), (np.longdouble(1), TypeError), ([1], TypeError),
    ],
)  # fmt: skip
def test_bad_shifts_are_refused(shift, error):
    with pytest.raises(error, match="shift must be"):
        inertia([[1]], shift)
    with pytest.raises(error, match="shift must be"):
        inertias([[1]], [shift])
    with pytest.raises(error, match="gap must be"):
        require_fraction("gap", shift)


# ---- planted mistakes


def test_mistakes_are_seen(monkeypatch):
    """Each step of the elimination, done wrongly, gives a wrong count somewhere."""
    matrices = [
        laws.float_matrix([3, -1, 0, 2], laws.dyadic_basis([np.array([1, 1, -1, 1])], 4)),
        np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]),
        np.array([[1.0, 1, 1], [1, 1, -1], [1, -1, 1]]),
        -np.eye(3),
        np.array([[2.0, 3, 1], [3, 1, 4], [1, 4, -2]]),
    ]
    right = [inertia(matrix) for matrix in matrices]

    def replaced(name, wrong):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, wrong)
            assert [inertia(matrix) for matrix in matrices] != right

    one, two, pivots = module._one_pivot, module._two_pivots, module._pivots
    replaced("_one_pivot", lambda *a: (*one(*a)[:2], int(a[0][0][0] > 0)))
    replaced("_two_pivots", lambda *a: (*two(*a)[:2], 1))
    replaced("_two_pivots", lambda *a: (*two(*a)[:2], 2 * (a[0][0][0] > 0)))
    replaced("_pivots", lambda rows: pivots(rows) if any(r[-1] for r in rows) else ())
    replaced(
        "_two_pivots",
        lambda block, columns, rest, before: (rest, *two(block, columns, rest, before)[1:]),
    )
