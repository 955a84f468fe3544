"""A covariance must be positive semidefinite: exactly in rationals, up to rounding in floats."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import BilinearLayer, symmetric_part
from refbilinear.analysis import products as module
from refbilinear.analysis.products import covariance, gaussian
from refbilinear.oracle.bounds import gamma
from strategies import FLOATS, random_array

WORDS = "covariance must be positive semidefinite; some combination of the inputs has a variance"


def refused(spread):
    """Whether both products refuse a covariance, with the same words."""
    spread = np.asarray(spread)
    layer = BilinearLayer(*[spread[:0]] * 2, spread[:0, :0])
    found = []
    for product in (gaussian, covariance):
        try:
            product(layer, layer, covariance=spread)
            found.append(False)
        except ValueError as error:
            assert WORDS in str(error)
            found.append(True)
    assert found[0] == found[1]
    return found[0]


def determinant(matrix):
    if not len(matrix):
        return Fraction(1)
    minors = (np.delete(matrix[1:], j, axis=1) for j in range(len(matrix)))
    return sum((-1) ** j * matrix[0, j] * determinant(m) for j, m in enumerate(minors))


@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_rationals_are_decided_by_their_minors(d, rank, seed):
    """Semidefinite if and only if no principal minor is negative."""
    rng = np.random.default_rng(seed)
    root = random_array(rng, (d, rank), object)
    spread = root @ root.T + laws.exact(np.zeros((d, d)))
    spread[0, 0] -= Fraction(int(rng.integers(0, 3)), 1000)
    spread[0, 0] = abs(spread[0, 0])
    minors = (
        determinant(spread[np.ix_(of, of)])
        for size in range(1, d + 1)
        for of in combinations(range(d), size)
    )
    assert refused(spread) == any(minor < 0 for minor in minors)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("least", [-(2.0**-8), 0, 2.0**-8])
def test_known_spectra_are_told_apart(least, dtype):
    basis = laws.dyadic_basis([[1, -1, 0, 1, 1, 0], [0, 1, 1, 0, 0, 0]], 6)
    values = [3, 2, 1, 0, 1, 5]
    if least:
        values[3] = Fraction(least)
    spread = laws.float_matrix(values, basis).astype(dtype)
    assert refused(spread) == (least < 0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [1, 3, 59, 60, 400])
def test_covariances_of_samples_are_accepted(n, dtype):
    """Of fewer samples than inputs too, whose zeros rounding makes negative; at any scale."""
    rng, d = np.random.default_rng(n), 60
    scales = [1e-150, 1e-3, 1, 1e140] if dtype == np.float64 else [1e-15, 1e-3, 1, 1e14]
    for scale in (np.ones(d), rng.choice(scales, d)):
        x = rng.standard_normal((n, d)).astype(dtype) * scale.astype(dtype)
        spread = symmetric_part(x.T @ x / n)
        assert n >= d or np.linalg.eigvalsh(spread).min() < 0
        assert not refused(spread)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_bounds_are_those_that_are_stated(dtype):
    """Of equal correlations ρ the least eigenvalue is 1 + (d − 1) ρ, of the ρ that is stored."""
    d = 7
    accepted, least = (Fraction(count * d * gamma(d + 1, dtype)) for count in (1, 3))
    for epsilon, wanted in ((0, False), (accepted / 2, False), (2 * least, True), (0.5, True)):
        spread = np.full((d, d), -(1 + float(epsilon)) / (d - 1)).astype(dtype)
        np.fill_diagonal(spread, 1)
        eigenvalue = 1 + (d - 1) * Fraction(float(spread[0, 1]))
        assert eigenvalue < -least if wanted else eigenvalue > -accepted
        assert refused(spread) == wanted


def test_coordinates_that_do_not_vary_are_correlated_with_none():
    assert refused([[0.0, 1e-300], [1e-300, 1]])
    assert not refused([[0.0, 0], [0, 1]])
    assert not refused(np.zeros((3, 3)))
    assert not refused(np.zeros((0, 0)))


def test_no_scale_hides_what_is_refused():
    assert refused([[1e-300, 1e300], [1e300, 1e-300]])
    graded = np.array([1e-150, 1e150, 1])
    correlations = np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]])
    assert refused(correlations * graded * graded[:, None])
    assert not refused(abs(correlations) * graded * graded[:, None])


def test_a_breakdown_is_what_refuses(monkeypatch):
    """Without the rounding that is allowed for, singular covariances of samples would be refused."""
    x = np.random.default_rng(0).standard_normal((5, 60))
    spread = symmetric_part(x.T @ x)
    assert not refused(spread)
    monkeypatch.setattr(module, "gamma", lambda *_: 0.0)
    assert refused(spread)
