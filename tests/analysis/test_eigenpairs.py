"""The spectrum, by certificates that never compare single eigenvectors of a cluster."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear.analysis.eigenpairs import (
    Spectrum,
    contributions,
    eigendecompose,
    reconstruct,
)
from refbilinear.analysis.ranks import effective_rank
from refbilinear.oracle.bounds import gamma
from strategies import FLOATS, LAYOUTS, plain

OF = laws.package()


@st.composite
def symmetric(draw, dtype, largest=8):
    """Draw a symmetric matrix, some of low rank and some diagonal."""
    n = draw(st.integers(1, largest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    columns = draw(st.sampled_from([n, max(1, n // 2)]))
    factors = rng.standard_normal((n, columns))
    matrix = (factors * rng.choice([-2, -1, 1, 2], columns)) @ factors.T
    matrix = np.diag(matrix.diagonal()) if draw(st.booleans()) else (matrix + matrix.T) / 2
    return matrix.astype(dtype)


@st.composite
def known_spectra(draw, largest=6):
    """Draw integer eigenvalues with ties and ties of sign, and a dyadic orthogonal basis."""
    known = draw(st.lists(st.sampled_from([0, 1, -1, 2, -2, 5, -7]), min_size=1, max_size=largest))
    n = len(known)
    supports = []
    for _ in range(draw(st.integers(0, 3))):
        places = draw(st.permutations(range(n)))[
            : draw(st.sampled_from([s for s in (1, 2, 4) if s <= n]))
        ]
        v = np.zeros(n)
        v[places] = draw(
            st.lists(st.sampled_from([1, -1]), min_size=len(places), max_size=len(places))
        )
        supports.append(v)
    return known, laws.dyadic_basis(supports, n)


@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=25)
@given(data=st.data())
def test_eigenpairs_are_accurate(dtype, data):
    matrix = data.draw(symmetric(dtype))
    laws.eigenpairs_are_accurate(OF, matrix)
    laws.eigenvalues_keep_trace_and_norm(OF, matrix)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [16, 25])
def test_larger_eigenpairs_are_accurate(dtype, n):
    factors = np.random.default_rng(n).standard_normal((n, n))
    laws.eigenpairs_are_accurate(OF, (factors + factors.T).astype(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_order_sign_and_the_first_k(dtype, data):
    laws.pairs_are_in_order(OF, data.draw(symmetric(dtype)))


@settings(max_examples=40)
@given(known_spectra())
def test_known_spectra(case):
    laws.spectrum_is_known(OF, *case)


@settings(max_examples=40)
@given(known_spectra())
def test_truncation_is_the_best(case):
    laws.truncation_is_the_best(OF, *case)


@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=25)
@given(data=st.data())
def test_contributions_sum_to_the_form(dtype, data):
    matrix = data.draw(symmetric(dtype))
    x = np.random.default_rng(len(matrix)).standard_normal(len(matrix)).astype(dtype)
    laws.contributions_sum_to_the_form(OF, matrix, x)


def test_ties_put_the_positive_one_first():
    values, vectors = eigendecompose(np.diag([-3.0, 1.0, 3.0, -1.0, 0.0]))
    laws.same(values, [3.0, -3.0, 1.0, -1.0, 0.0])
    laws.same(vectors, np.eye(5)[:, [2, 0, 1, 3, 4]])


def test_the_first_largest_entry_is_positive():
    pairs = eigendecompose([[0, 2], [2, 0]])
    assert (pairs.eigenvectors[0] > 0).all()
    assert pairs.eigenvectors[1, 1] < 0


def test_contributions_keep_leading_axes_and_the_first_k():
    pairs = eigendecompose(np.diag([3.0, -4.0, 1.0]), 2)
    x = np.arange(12.0).reshape(2, 2, 3)
    terms = contributions(pairs, x)
    laws.same(terms, np.stack([-4 * x[..., 1] ** 2, 3 * x[..., 0] ** 2], axis=-1))


@pytest.mark.parametrize("dtype", FLOATS)
def test_no_dimension_at_all(dtype):
    pairs = eigendecompose(np.zeros((0, 0), dtype))
    assert (pairs.eigenvalues.shape, pairs.eigenvectors.shape) == ((0,), (0, 0))
    assert pairs.eigenvalues.dtype == dtype
    assert reconstruct(pairs).shape == (0, 0)
    assert contributions(pairs, np.zeros((3, 0), dtype)).shape == (3, 0)
    assert effective_rank(pairs.eigenvalues) == 0


def test_no_pair_at_all():
    pairs = eigendecompose(np.eye(3), 0)
    assert pairs.eigenvectors.shape == (3, 0)
    laws.same(reconstruct(pairs), np.zeros((3, 3)))
    assert contributions(pairs, np.ones((2, 3))).shape == (2, 0)


def test_the_zero_matrix():
    values, vectors = eigendecompose(np.zeros((4, 4)))
    laws.same(values, np.zeros(4))
    laws.same(abs(vectors), np.eye(4)[:, abs(vectors).argmax(axis=0)])


@pytest.mark.parametrize(
    ("values", "rank"),
    [
        ([], 0), ([0, 0], 0), ([5], 1), ([1, -1], 2), ([2, -2, 2, 0], 3), ([3, 1], 1.6),
        ([1e300] * 3, 3), ([5e-324] * 2, 2), ([1e-300, -1e-300], 2),
    ],
)  # fmt: skip
def test_effective_rank(values, rank):
    # Each over the largest, three added: 3 on the sum, 7 on its square, 5 on that of squares, 1.
    exact = Fraction(rank).limit_denominator(10)
    allowed = Fraction(gamma(13, np.float64)) * exact
    assert abs(Fraction(effective_rank(values)) - exact) <= allowed
    assert effective_rank(np.array(values, np.float64)[::-1]) == effective_rank(values)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_layout_gives_the_same(layout, dtype):
    factors = np.random.default_rng(1).integers(-4, 5, (4, 4))
    matrix = LAYOUTS[layout]((factors + factors.T).astype(dtype))
    if layout == "broadcast":
        matrix = np.broadcast_to(np.ones((1, 1), dtype), (4, 4))
    before = matrix.tobytes()
    pairs, twin = eigendecompose(matrix), eigendecompose(plain(matrix))
    laws.same(pairs.eigenvalues, twin.eigenvalues)
    laws.same(pairs.eigenvectors, twin.eigenvectors)
    laid = Spectrum(*(LAYOUTS[layout](part) for part in twin)) if layout != "broadcast" else twin
    # BLAS sums in an order that depends on the layout: k + 2 roundings on either side.
    sizes = reconstruct(Spectrum(*(np.abs(part).astype(np.float64) for part in twin)))
    error = np.abs(reconstruct(laid).astype(np.float64) - reconstruct(twin))
    assert (error <= 2 * gamma(6, dtype) * sizes).all()
    assert matrix.tobytes() == before


def test_eigenvalues_too_large_are_an_overflow():
    with (
        np.errstate(all="ignore"),
        pytest.raises(OverflowError, match="beyond the largest float64"),
    ):
        eigendecompose(np.full((10, 10), 1e308))


def test_huge_and_tiny_matrices_have_spectra():
    for scale in (2.0**1000, 2.0**-1000):
        values, _ = eigendecompose(np.array([[2, 1], [1, 2]]) * scale)
        # Within the residual ratio of an accurate solver: 10 n eps ‖Q‖_F.
        allowed = 10 * 2 * 2.0**-52 * math.sqrt(10)
        assert abs(values[0] / scale - 3) <= allowed
        assert abs(values[1] / scale - 1) <= allowed


def test_contributions_too_large_are_an_overflow():
    for x, largest in (([1e160, 0.0], 3.0), ([1e200, 1e200], 0.0)):
        with pytest.raises(OverflowError, match=r"contributions exceeds .* float64 at \(0,\)"):
            contributions(Spectrum(np.array([largest]), np.array([[1.0], [0.0]])), x)


@pytest.mark.parametrize(
    ("matrix", "kind", "words"),
    [
        ([1.0, 2.0], ValueError, r"Q must have shape \(d, d\); got \(2,\)"),
        (laws.exact(np.eye(2)), TypeError, "Q must be float32 or float64"),
        ([[1.0, 2.0], [0.0, 1.0]], ValueError, "Q must equal its transpose exactly"),
        ([[np.nan, 0.0], [0.0, 1.0]], ValueError, r"Q must be finite; got nan at \(0, 0\)"),
    ],
)
def test_what_has_no_spectrum_is_refused(matrix, kind, words):
    with pytest.raises(kind, match=words):
        eigendecompose(matrix)
