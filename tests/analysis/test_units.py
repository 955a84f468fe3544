"""The eigenpairs of one hidden unit, by certificates and against the exact roots."""

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import BilinearLayer, output_form, symmetric_part
from refbilinear.analysis.eigenpairs import reconstruct
from refbilinear.analysis.units import unit_spectra, unit_spectrum
from refbilinear.oracle import certify
from strategies import FLOATS, random_array, random_layer

BOTH = pytest.mark.parametrize("dtype", FLOATS)


def exact_eigenvalues(left, right, weight):
    """Return λ± to 60 digits: (w/2)(l·r ± √(‖l‖²‖r‖²)), as fractions."""
    left, right, weight = laws.exact(left), laws.exact(right), Fraction(float(weight))
    square = (left @ left) * (right @ right)
    scale = 10**60
    root = Fraction(
        math.isqrt(square.numerator * square.denominator * scale**2), square.denominator * scale
    )
    dot = left @ right
    # The difference is computed from the sum: (dot² − square)/(dot ± root) cancels nothing.
    large = dot + root if dot >= 0 else dot - root
    return sorted(
        (weight * large / 2, weight * (dot * dot - square) / large / 2), key=abs, reverse=True
    )


@BOTH
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_units_are_certified(dtype, seed):
    rng = np.random.default_rng(seed)
    left, right = random_array(rng, (2, 5), dtype)
    found = unit_spectrum(left, right)
    assert found.eigenvalues.dtype == found.eigenvectors.dtype == dtype
    assert (found.eigenvalues[0] * found.eigenvalues[1]) < 0
    # The form in integers is exact; a certificate asks for all pairs, or the leading ones.
    whole_left, whole_right = (rng.integers(-5, 6, 5).astype(dtype) for _ in range(2))
    whole_left[0] = whole_right[1] = 7
    Q = symmetric_part(np.outer(whole_left, whole_right) * 2)
    pairs = unit_spectrum(whole_left, whole_right, 2)
    judged = certify(pairs, Q)
    assert judged.certified, judged.reasons


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), power=st.integers(0, 26), sign=st.sampled_from([1, -1]))
def test_nearly_parallel_factors_lose_little(seed, power, sign):
    """Each of l̂ and r̂ is off by at most d + 6 roundings, their difference by twice that, over θ."""
    rng = np.random.default_rng(seed)
    left = random_array(rng, (4,), np.float64)
    right = sign * left + np.ldexp(rng.standard_normal(4), -power)
    found, wanted = unit_spectrum(left, right, 3.0).eigenvalues, exact_eigenvalues(left, right, 3.0)
    theta = 2 * math.sqrt(abs(wanted[1] / wanted[0]))
    for value, exact in zip(found, wanted, strict=True):
        relative = abs(Fraction(float(value)) / exact - 1)
        assert relative <= 100 * 2.0**-53 * max(1, 1 / theta)


def test_the_textbook_formula_would_be_seen():
    left = np.array([1.0, 2.0, -1.0])
    right = left + np.array([0.0, 1e-7, 2e-7])
    small = exact_eigenvalues(left, right, 1.0)[1]
    naive = (left @ right - np.linalg.norm(left) * np.linalg.norm(right)) / 2
    assert abs(Fraction(float(naive)) / small - 1) > 1e-4
    assert abs(Fraction(float(unit_spectrum(left, right).eigenvalues[1])) / small - 1) < 1e-8


def test_unnormalised_sums_are_no_eigenvectors():
    left, right = np.array([3.0, 0.0]), np.array([1.0, 1.0])
    Q = symmetric_part(np.outer(left, right))
    pairs = unit_spectrum(left, right)
    assert np.allclose(Q @ pairs.eigenvectors, pairs.eigenvectors * pairs.eigenvalues, atol=1e-14)
    wrong = (left + right) / np.linalg.norm(left + right)
    assert np.linalg.norm(Q @ wrong - wrong * (wrong @ Q @ wrong)) > 0.1


@BOTH
def test_parallel_and_zero_units(dtype):
    third = np.array([1, 1 / 3, -2], dtype)
    for factor in (2, -0.5):
        pairs = unit_spectrum(third, factor * third)
        assert pairs.eigenvectors.shape == (3, 1)
        assert np.sign(pairs.eigenvalues[0]) == np.sign(factor)
        Q = symmetric_part(np.outer(third, factor * third))
        assert np.allclose(reconstruct(pairs), Q, rtol=1e-5 if dtype == np.float32 else 1e-14)
    zero = np.zeros(3, dtype)
    for case in ((third, zero, 1), (zero, third, 1), (third, third, 0), (zero[:0], zero[:0], 1)):
        pairs = unit_spectrum(*case)
        assert pairs.eigenvalues.shape == (0,)
        assert pairs.eigenvectors.shape == (len(case[0]), 0)
        assert pairs.eigenvalues.dtype == dtype


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1))
def test_exactly_parallel_factors_leave_one_pair(seed):
    rng = np.random.default_rng(seed)
    base = rng.integers(-(2**20), 2**20, 5)
    base[0] = 1
    left, right = (base * rng.integers(1, 2**30) * sign for sign in (1, rng.choice([-1, 1])))
    pairs = unit_spectrum(left * 0.5, right * 0.25)
    assert len(pairs.eigenvalues) == 1
    exact = exact_eigenvalues(left * 0.5, right * 0.25, 1.0)
    assert exact[1] == 0
    assert abs(Fraction(float(pairs.eigenvalues[0])) / exact[0] - 1) < 1e-14


def test_huge_and_tiny_units():
    for scale in (1e150, 1e-150):
        pairs = unit_spectrum([3 * scale, 0], [0, 4 * scale])
        assert np.allclose(pairs.eigenvalues / scale**2, [6, -6], rtol=1e-14)
    # Three numbers whose product is moderate, in whichever order they come.
    for left, right, w in permutations((1e-200, 1e300, 1e-200)):
        assert abs(unit_spectrum([left], [right], w).eigenvalues[0] / 1e-100 - 1) < 1e-14
    with pytest.raises(OverflowError, match="beyond the largest float64"):
        unit_spectrum([1e200], [1e200])
    with pytest.raises(OverflowError, match="beyond the largest float32"):
        unit_spectrum(*np.float32([[1e30, 1], [1e30, 0]]))


def test_units_sum_to_the_form():
    layer = random_layer(np.random.default_rng(1), sizes=(4, 5, 2), dtype=np.float64)
    u = np.array([1.0, -2.0])
    total = sum(reconstruct(pairs) for pairs in unit_spectra(layer, u))
    want = output_form(layer, u).matrix
    assert np.allclose(total, want, atol=1e-12 * np.abs(want).max())
    plain = BilinearLayer(layer.w_left, layer.w_right)
    assert len(unit_spectra(plain, np.ones(5))) == 5


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: unit_spectrum([1, 2], [1]), ValueError, r"right must have shape \(d_in,\) = \(2,\) to match left"),
        (lambda: unit_spectrum([1, np.inf], [1, 2]), ValueError, "left must be finite"),
        (lambda: unit_spectrum([1, 2], [1, np.nan]), ValueError, "right must be finite"),
        (lambda: unit_spectrum([1], [2], np.nan), ValueError, "weight must be finite"),
        (lambda: unit_spectrum([1], [2], [1, 2]), ValueError, "weight must have shape"),
        (lambda: unit_spectrum(laws.exact([1]), laws.exact([1])), TypeError, "left must be float32 or float64"),
        (lambda: unit_spectrum([1], np.float32([1])), TypeError, "right must have dtype float64"),
        (lambda: unit_spectra(BilinearLayer([[1]], [[1]], [[1e200]]), [1e200]), OverflowError, r"w_outᵀu exceeds the largest float64 at \(0,\)"),
        (lambda: unit_spectra(BilinearLayer([[1]], [[1]], [[np.nan]]), [1]), ValueError, "w_out must be finite"),
        (lambda: unit_spectra(BilinearLayer([[1]], [[1]]), [np.inf]), ValueError, "weight must be finite"),
        (lambda: unit_spectra(BilinearLayer([[1]], [[1]]), [1, 2]), ValueError, "u must have shape"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
