"""Comparing spectra: angles, distances, clusters, and a matching against all permutations."""

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
import proofs
from refbilinear.analysis.comparison import (
    assignment,
    clusters,
    compare,
    match,
    principal_angles,
    projector_distance,
)
from refbilinear.analysis.eigenpairs import Spectrum
from refbilinear.oracle.bounds import gamma
from refbilinear.oracle.certificates import ACCEPTED
from refbilinear.oracle.rationals import integers, norm, root
from strategies import FLOATS


def columns(rng, d, k):
    return np.linalg.qr(rng.standard_normal((d, k)))[0]


def exact_columns(k, seed):
    """Return k columns of an orthogonal matrix of small dyadics, of which no product is rounded."""
    supports = np.random.default_rng(seed).choice([-1, 1], (2, 6)) * [
        [1, 1, 0, 1, 0, 1],
        [0, 1, 1, 1, 1, 0],
    ]
    return laws.dyadic_basis(supports, 6).astype(float)[:, :k]


def angle_error(A, B):
    """Return how far computed angles may be from those of the planes, a ≥ b columns.

    By sines or by cosines, whichever is at most √½, so an error of them counts √2 times. Products
    of unit vectors of d round d times, of all entries √(ab) or less; so does A (AᵀB), and once the
    subtraction. The SVD of a matrix of norm at most √b leaves `ACCEPTED n · 2u √b`. Columns whose
    defect is S have the angles of orthonormal ones but for ‖S‖. Inverse functions: two roundings.
    """
    (d, a), b, dtype = A.shape, B.shape[1], A.dtype
    defects = sum(float(norm(proofs.defect(columns))) for columns in (A, B))
    products = (gamma(d, dtype) + gamma(d + a + 1, dtype)) * math.sqrt(a * b) * (1 + math.sqrt(a))
    svd = ACCEPTED * d * float(np.finfo(dtype).eps) * math.sqrt(b)
    return math.sqrt(2) * (products + svd + defects) + gamma(2, dtype) * math.pi / 2


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("angle", [0.0, 2.0**-30, 2.0**-12, 0.5, 1.0, 1.5707963, np.pi / 2])
def test_one_angle_is_that_of_the_planes(angle, dtype):
    """Rotate one of two columns out of the plane by a known angle."""
    A = np.eye(5, 3, dtype=dtype)
    B = A[:, :2] * 1
    B[:, 1] = np.cos(angle) * A[:, 1] + np.sin(angle) * np.eye(5, dtype=dtype)[:, 4]
    got = principal_angles(A, B)
    # A cosine and a sine off by 2u each turn the column by no more than √2 · 2u.
    error = angle_error(A, B) + gamma(4, dtype)
    assert got.shape == (2,)
    assert got.dtype == dtype
    assert abs(got[0]) <= error
    assert abs(got[1] - angle) <= error
    assert (abs(principal_angles(B, A) - got) <= 2 * error).all()


def test_angles_do_not_depend_on_the_basis():
    """An exact rotation of the basis; and one that is as orthonormal as its defect says."""
    A, B = exact_columns(3, 0), columns(np.random.default_rng(0), 6, 2)
    turn = laws.dyadic_basis([[1, -1, 0], [0, 1, 1]], 3).astype(float)
    turned = A @ turn
    laws.same(laws.exact(turned), laws.exact(A) @ laws.exact(turn))
    off = abs(principal_angles(A, B) - principal_angles(turned, B))
    assert (off <= angle_error(A, B) + angle_error(turned, B)).all()


@pytest.mark.parametrize("sizes", [(3, 3), (4, 2), (2, 4), (3, 0)])
def test_the_distance_is_that_of_the_projectors(sizes):
    """The root of a sum is off by no more than the norm of what its terms are off, √2 sin θ each."""
    rng = np.random.default_rng(1)
    A, B = (columns(rng, 6, k) for k in sizes)
    a, b = map(laws.exact, (A, B))
    want = norm(integers(a @ a.T - b @ b.T)) if sizes[1] else norm(integers(a @ a.T))
    least = min(sizes)
    first, second = (A, B) if sizes[0] >= sizes[1] else (B, A)
    for got, true, error in (
        (projector_distance(A, B), float(want), angle_error(first, second)),
        (projector_distance(A, -A[:, ::-1]), 0.0, angle_error(A, A)),
    ):
        of_terms = math.sqrt(2 * max(least, sizes[0])) * error
        # Columns of defect S make a projector but for ‖S‖, which is part of `error`.
        assert abs(got - true) <= of_terms + gamma(2 * 6, np.float64) * (1 + true)


def test_columns_that_are_not_orthonormal_are_refused():
    with pytest.raises(ValueError, match="A must have orthonormal columns"):
        principal_angles([[1], [1]], [[1], [0]])
    with pytest.raises(ValueError, match="B must be finite"):
        principal_angles([[1], [0]], [[np.nan], [0]])
    with pytest.raises(ValueError, match="B must have shape"):
        principal_angles([[1], [0]], [[1], [0], [0]])


def test_clusters_are_separated_by_gaps():
    values = [4.0, -4.0, 4.0 - 2.0**-40, 1.0, -4.0 + 2.0**-40, 0.0]
    assert clusters(values, 2.0**-41) == ((0, 2), (1, 4), (3,), (5,))
    assert clusters(values, 0) == ((0,), (1,), (2,), (3,), (4,), (5,))
    assert clusters([0, 0], 0) == ((0, 1),)
    assert clusters([], 1) == ()
    with pytest.raises(ValueError, match="finite"):
        clusters([np.nan], 1)


@settings(max_examples=60)
@given(st.integers(0, 5), st.integers(0, 2), st.integers(0, 2**32 - 1), st.booleans())
def test_the_assignment_is_the_best_of_all(n, more, seed, tied):
    rng = np.random.default_rng(seed)
    gains = (
        rng.integers(-3, 4, (n, n + more)) if tied else rng.integers(-(2**20), 2**20, (n, n + more))
    )
    got = assignment(gains)
    assert len(set(got.tolist())) == n
    best = max(gains[range(n), list(p)].sum() for p in permutations(range(n + more), n))
    assert gains[range(n), got].sum() == best


def test_a_larger_assignment_has_prices_that_prove_it():
    """By duality no matching gains more than the prices: against a planted one, gains 1 above 0."""
    rng = np.random.default_rng(2)
    order = rng.permutation(60)[:50]
    gains = rng.uniform(0, 1, (50, 60))
    gains[range(50), order] = rng.uniform(1, 2, 50)
    laws.same(assignment(gains), order)


def test_more_rows_than_columns_are_refused():
    with pytest.raises(ValueError, match="at most as many rows as columns"):
        assignment(np.zeros((3, 2)))


def planted(values, basis):
    return Spectrum(np.array(values, float), basis)


def test_the_same_features_at_other_ranks_are_found():
    basis = exact_columns(4, 3)
    first = planted([4, -3, 2, 1], basis)
    second = planted([9, 8, -7, 6], -basis[:, [2, 3, 1, 0]])
    found = {(one.first, one.second) for one in match(first, second, 1e-9)}
    assert found == {((0,), (3,)), ((1,), (2,)), ((2,), (0,)), ((3,), (1,))}
    assert all(one.overlap == 1 for one in match(first, second, 1e-9))


def test_a_tie_is_compared_as_a_whole():
    """The tie is turned within its plane, exactly: 1 as a whole, where no two vectors are alike."""
    basis = exact_columns(6, 4)
    turned = np.c_[basis[:, :4] @ laws.dyadic_basis([[1, 1, -1, 1]], 4).astype(float), basis[:, 4]]
    one, two = planted([3, 3, 3, 3, 1], basis[:, :5]), planted([2, 2, 2, 2, 1], turned)
    found = [(m.first, m.second, m.overlap) for m in match(one, two, 1e-9)]
    assert found == [((0, 1, 2, 3), (0, 1, 2, 3), 1.0), ((4,), (4,), 1.0)]
    assert (abs(basis[:, :4].T @ turned[:, :4]) == 0.5).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_overlaps_are_those_of_the_projectors(dtype):
    """‖AᵀB‖² / √(ab): d roundings of each product, squared and summed, a root and a quotient."""
    rng = np.random.default_rng(5)
    A, B = (columns(rng, 7, k).astype(dtype) for k in (3, 2))
    (only,) = match(Spectrum(np.full(3, 2, dtype), A), Spectrum(np.full(2, 3, dtype), B), 0)
    a, b = map(laws.exact, (A, B))
    square, twin = (np.sum((x.T @ y) ** 2) for x, y in ((a, b), (abs(a), abs(b))))
    allowed = Fraction(gamma(2 * 7 + 1 + 6 + 3, dtype)) * twin
    assert abs(Fraction(only.overlap) * root(Fraction(6)) - square) <= allowed


def test_eigenvalues_near_zero_have_no_sign():
    """Rounding decides which of them are positive: they are matched with their like."""
    basis = np.eye(3)
    one, two = planted([1, 1e-17, -1e-17], basis), planted([2, -1e-17, -1e-18], basis)
    assert [(m.first, m.second) for m in match(one, two, 1e-9)] == [((0,), (0,)), ((1, 2), (1, 2))]


def test_opposite_signs_are_no_match():
    basis = np.eye(3)[:, :2]
    assert match(planted([3, 2], basis), planted([-3, -2], basis), 1e-9) == ()
    (only,) = match(planted([3, 2], basis), planted([-3, 2], basis), 1e-9)
    assert (only.first, only.second) == ((1,), (1,))


def test_clusters_in_different_numbers():
    basis = np.eye(4)
    one, two = planted([4, 3, 2], basis[:, :3]), planted([2, 1], basis[:, [2, 0]])
    want = {((0,), (1,)), ((2,), (0,))}
    assert {(m.first, m.second) for m in match(one, two, 1e-9)} == want
    assert {(m.second, m.first) for m in match(two, one, 1e-9)} == want
    assert match(planted([], basis[:, :0]), one, 1e-9) == ()


def test_spectra_that_do_not_fit_are_refused():
    good = planted([1], np.eye(2)[:, :1])
    for other, kind, words in (
        (planted([1], np.eye(3)[:, :1]), ValueError, "second must have shape"),
        (planted([1, 2], np.eye(2)[:, :1]), ValueError, "eigenvalues must have shape"),
        (planted([np.nan], np.eye(2)[:, :1]), ValueError, "eigenvalues must be finite"),
        (planted([1], np.full((2, 1), 1e200)), ValueError, "second must have orthonormal columns"),
        (
            Spectrum(*(part.astype(np.float32) for part in good)),
            TypeError,
            "second must have dtype",
        ),
        (Spectrum(*map(laws.exact, good)), TypeError, "second must be float32 or float64"),
    ):
        with pytest.raises(kind, match=words):
            match(good, other, 0)
    (found,) = match(Spectrum([1], [[1], [0]]), good, 0)
    assert found.overlap == 1


def test_the_largest_and_smallest_numbers_are_compared():
    assert clusters([1e308, -1e308], 1.0) == ((0,), (1,))
    assert clusters([1e308, -1e308], 10.0) == ((0, 1),)
    for size in (1e308, 5e-324):
        laws.same(assignment(np.array([[1, 1], [1, 0]]) * size), [1, 0])


def test_no_spectrum_meets_itself():
    spectra = [planted([1], np.eye(3)[:, [i]]) for i in (0, 1, 0)]
    found = [(c.first, c.second, c.matches[0].overlap) for c in compare(spectra, 0)]
    assert found == [(0, 1, 0.0), (0, 2, 1.0), (1, 2, 0.0)]
    assert list(compare(spectra[:1], 0)) == []
