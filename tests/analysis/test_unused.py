"""Mass on inputs that never vary: against loops, invariant in clusters, near chance at random."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import BilinearMLP
from refbilinear.analysis.directions import input_spectrum, model_spectrum
from refbilinear.analysis.eigenpairs import Spectrum
from refbilinear.analysis.unused import constant_inputs, unused_mass
from strategies import FLOATS, random_array, random_layer

SEEDS = st.integers(0, 2**32 - 1)
BOTH = pytest.mark.parametrize("dtype", FLOATS)


def planted(seed, k=None):
    """Return rational eigenpairs of dyadic vectors, and data of which some inputs are constant."""
    rng = np.random.default_rng(seed)
    V = laws.dyadic_basis(rng.choice([-1, 1], (2, 4)), 4)
    values = laws.exact([5, -5, 2, 1][:k])
    x = rng.integers(0, 3, (5, 4))
    x[:, rng.random(4) < 0.5] = 7
    return Spectrum(values, V[:, :k]), x


def mass_is_the_definition(of_mass, pairs, x):
    found = of_mass(pairs, x)
    d = len(pairs.eigenvectors)
    constant = [i for i in range(d) if all(row[i] == x[0][i] for row in x)]
    mass = [sum((v[i] ** 2 for i in constant), Fraction(0)) for v in pairs.eigenvectors.T]
    sizes = [abs(value) for value in pairs.eigenvalues]
    weighted = sum(size * m for size, m in zip(sizes, mass, strict=True)) / sum(sizes)
    laws.same(found.constant, [i in constant for i in range(d)])
    laws.exact_numbers(found.mass, found.weighted, found.by_chance)
    laws.same(found.mass, mass)
    assert (found.weighted, found.by_chance) == (weighted, Fraction(len(constant), d))


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 4))
def test_mass_is_the_definition(seed, k):
    mass_is_the_definition(unused_mass, *planted(seed, k))


@settings(max_examples=10)
@given(SEEDS)
def test_all_vectors_have_the_mass_of_chance_together(seed):
    """Σ_k v_ki² = 1: what one eigenvector has more, others have less."""
    pairs, x = planted(seed)
    found = unused_mass(pairs, x)
    assert found.mass.sum() == found.constant.sum() == 4 * found.by_chance


@pytest.mark.parametrize(
    "mistaken",
    [
        lambda mass, found: found._replace(mass=1 - mass),
        lambda mass, found: found._replace(weighted=mass.sum() / len(mass)),
        lambda mass, found: found._replace(by_chance=Fraction(1, 2) + found.by_chance / 3),
        lambda mass, found: found._replace(constant=~found.constant),
    ],
)
def test_mistakes_are_seen(mistaken):
    pairs, x = planted(3, 3)
    mass_is_the_definition(unused_mass, pairs, x)
    assert 0 < unused_mass(pairs, x).by_chance < 1
    with pytest.raises(AssertionError):
        mass_is_the_definition(
            lambda *case: mistaken(unused_mass(*case).mass, unused_mass(*case)), pairs, x
        )


@BOTH
def test_floats_are_near_the_exact_mass(dtype):
    rng = np.random.default_rng(1)
    vectors = np.linalg.qr(rng.standard_normal((20, 6)))[0].astype(dtype)
    pairs = Spectrum(random_array(rng, 6, dtype), vectors)
    x = np.zeros((4, 20), dtype)
    x[0, :15] = 1
    found = unused_mass(pairs, x)
    exact = (laws.exact(vectors)[15:] ** 2).sum(axis=0)
    weights = abs(laws.exact(pairs.eigenvalues))
    # All terms are positive: as many roundings as there are, relatively.
    few = 30 * np.finfo(dtype).eps
    assert (found.mass.dtype, found.weighted.dtype, found.by_chance) == (dtype, dtype, 0.25)
    np.testing.assert_allclose(found.mass, exact.astype(float), rtol=few)
    assert abs(found.weighted - float(weights @ exact / weights.sum())) <= few


@BOTH
def test_huge_eigenvalues_weight_too(dtype):
    huge = np.array([np.finfo(dtype).max, -np.finfo(dtype).max], dtype)
    found = unused_mass(Spectrum(huge, np.eye(2, dtype=dtype)), [[1, 0], [1, 1]])
    assert found.weighted == 0.5


def test_random_directions_have_the_mass_of_chance():
    """Beta(|constant|/2, rest/2): a mean over 400 draws is within 6 of its standard deviations."""
    rng = np.random.default_rng(2)
    d, constant, draws = 30, 12, 400
    x = np.arange(2)[:, None] * (np.arange(d) >= constant)
    masses = []
    for _ in range(draws):
        v = rng.standard_normal((d, 1))
        found = unused_mass(Spectrum(np.ones(1), v / np.linalg.norm(v)), x)
        masses.append(found.mass[0])
    assert found.by_chance == constant / d
    deviation = np.sqrt(2 * constant * (d - constant) / (d**2 * (d + 2)) / draws)
    assert abs(np.mean(masses) - constant / d) <= 6 * deviation


def test_a_model_that_ignores_an_input_has_no_mass_there():
    rng = np.random.default_rng(4)
    E = rng.standard_normal((3, 6))
    E[:, [1, 4]] = 0
    model = BilinearMLP(E, [random_layer(rng, ("w_out",), (3, 5, 2), np.float64)], None)
    x = rng.standard_normal((5, 6))
    x[:, [1, 4]] = 0.5
    pairs = input_spectrum(model, [1, -1], k=3)
    assert unused_mass(pairs, x).weighted <= 1e-25
    projected = Spectrum(pairs.eigenvalues, E.T @ model_spectrum(model, [1, -1]).eigenvectors)
    with pytest.raises(ValueError, match="eigenvectors must be orthonormal columns"):
        unused_mass(projected, x)


def test_constant_means_equal_to_the_last_bit():
    x = np.full((3, 4), 0.1)
    x[1, 2] = np.nextafter(0.1, 1)
    x[2, 3] = -0.0
    x[:2, 3] = 0.0
    laws.same(constant_inputs(x), [True, True, False, True])
    laws.same(constant_inputs(np.array([[1, 2], [1, 3]], np.uint8)), [True, False])
    laws.same(constant_inputs(laws.exact([[1, 2], [1, 3]])), [True, False])
    assert constant_inputs(np.zeros((2, 0))).shape == (0,)


# ---- bad input

PAIRS = Spectrum(np.ones(2), np.eye(2))
EXACT = Spectrum(laws.exact([1]), laws.exact([[1], [1]]))
V, T = ValueError, TypeError


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: constant_inputs([[1, 2]]), V, "x must have at least two examples, which may differ; got 1"),
        (lambda: constant_inputs(np.zeros((0, 2))), V, "x must have at least two examples"),
        (lambda: constant_inputs([1, 2]), V, r"x must have shape \(n, d_in\); got \(2,\)"),
        (lambda: constant_inputs([[1, np.nan], [1, np.nan]]), V, "x must be finite"),
        (lambda: constant_inputs(None), T, "x must be an array"),
        (lambda: unused_mass(PAIRS, [[1, 2]]), V, "x must have at least two examples"),
        (lambda: unused_mass(PAIRS, [[1, 2, 3]] * 2), V, r"x must have shape \(n, d_in\) = \(n, 2\) to match the eigenvectors"),
        (lambda: unused_mass(PAIRS, [[1, np.inf]] * 2), V, "x must be finite"),
        (lambda: unused_mass(PAIRS._replace(eigenvalues=np.zeros(2)), [[1, 2]] * 2), V, "eigenvalues must not be all zero"),
        (lambda: unused_mass(Spectrum(np.zeros(0), np.zeros((2, 0))), [[1, 2]] * 2), V, "eigenvalues must not be all zero"),
        (lambda: unused_mass(PAIRS._replace(eigenvalues=np.ones(3)), [[1, 2]] * 2), V, "eigenvalues must have shape"),
        (lambda: unused_mass(PAIRS._replace(eigenvectors=np.ones((2, 2))), [[1, 2]] * 2), V, "eigenvectors must be orthonormal"),
        (lambda: unused_mass(PAIRS._replace(eigenvectors=2 * np.eye(2)), [[1, 2]] * 2), V, "eigenvectors must be orthonormal"),
        (lambda: unused_mass(PAIRS._replace(eigenvectors=np.full((2, 2), np.nan)), [[1, 2]] * 2), V, "eigenvectors must be finite"),
        (lambda: unused_mass(PAIRS._replace(eigenvectors=np.full((2, 2), 1e200)), [[1, 2]] * 2), V, "eigenvectors must be orthonormal"),
        (lambda: unused_mass(EXACT, [[1, 2]] * 2), V, "eigenvectors must be orthonormal"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
