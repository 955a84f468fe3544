"""Comparing spectra: angles, distances, clusters, and a matching against all permutations."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear.analysis.comparison import (
    assignment,
    clusters,
    compare,
    match,
    principal_angles,
    projector_distance,
)
from refbilinear.analysis.eigenpairs import Spectrum
from strategies import FLOATS


def columns(rng, d, k):
    return np.linalg.qr(rng.standard_normal((d, k)))[0]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("angle", [0.0, 2.0**-30, 2.0**-12, 0.5, 1.0, 1.5707963, np.pi / 2])
def test_one_angle_is_that_of_the_planes(angle, dtype):
    """Rotate one of two columns out of the plane by a known angle."""
    A = np.eye(5, 3, dtype=dtype)
    B = A[:, :2] * 1
    B[:, 1] = np.cos(angle) * A[:, 1] + np.sin(angle) * np.eye(5, dtype=dtype)[:, 4]
    got = principal_angles(A, B)
    # Cosine and sine are each rounded once and the svd of two columns errs by some u: 64 u is ample.
    u = np.finfo(dtype).eps
    assert got.shape == (2,)
    assert got.dtype == dtype
    assert abs(got[0]) <= 64 * u
    assert abs(got[1] - angle) <= 64 * u
    assert principal_angles(B, A)[1] == pytest.approx(got[1], abs=64 * float(u))


def test_angles_do_not_depend_on_the_basis():
    rng = np.random.default_rng(0)
    A, B = columns(rng, 7, 3), columns(rng, 7, 2)
    turned = A @ columns(rng, 3, 3)
    np.testing.assert_allclose(principal_angles(A, B), principal_angles(turned, B), atol=1e-14)


@pytest.mark.parametrize("sizes", [(3, 3), (4, 2), (2, 4), (3, 0)])
def test_the_distance_is_that_of_the_projectors(sizes):
    rng = np.random.default_rng(1)
    A, B = (columns(rng, 6, k) for k in sizes)
    want = np.linalg.norm(A @ A.T - B @ B.T)
    assert abs(projector_distance(A, B) - want) <= 64 * 2.0**-52
    assert projector_distance(A, -A[:, ::-1]) <= 64 * 2.0**-52


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
    basis = columns(np.random.default_rng(3), 6, 4)
    first = planted([4, -3, 2, 1], basis)
    second = planted([9, 8, -7, 6], -basis[:, [2, 3, 1, 0]])
    found = {(one.first, one.second) for one in match(first, second, 1e-9)}
    assert found == {((0,), (3,)), ((1,), (2,)), ((2,), (0,)), ((3,), (1,))}
    assert all(one.overlap >= 1 - 2.0**-40 for one in match(first, second, 1e-9))


def test_a_tie_is_compared_as_a_whole():
    rng = np.random.default_rng(4)
    basis = columns(rng, 6, 3)
    turned = np.c_[basis[:, :2] @ columns(rng, 2, 2), basis[:, 2]]
    one, two = planted([3, 3, 1], basis), planted([2, 2, 1], turned)
    assert [(m.first, m.second) for m in match(one, two, 1e-9)] in (
        [((0, 1), (0, 1)), ((2,), (2,))],
        [((2,), (2,)), ((0, 1), (0, 1))],
    )
    assert match(one, two, 1e-9)[-1].overlap >= 1 - 2.0**-40


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


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="second must have shape"):
        match(planted([1], np.eye(2)[:, :1]), planted([1], np.eye(3)[:, :1]), 0)


def test_no_spectrum_meets_itself():
    spectra = [planted([1], np.eye(3)[:, [i]]) for i in (0, 1, 0)]
    found = [(c.first, c.second, c.matches[0].overlap) for c in compare(spectra, 0)]
    assert found == [(0, 1, 0.0), (0, 2, 1.0), (1, 2, 0.0)]
    assert list(compare(spectra[:1], 0)) == []
