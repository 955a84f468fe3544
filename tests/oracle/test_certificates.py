"""Spectra, truncations: honest ones pass, mistakes are refused with the reason, bounds hold."""

from fractions import Fraction
from math import inf, isqrt
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear.analysis.eigenpairs import Spectrum, eigendecompose, reconstruct
from refbilinear.oracle import certificates as module
from refbilinear.oracle.certificates import (
    ACCEPTED,
    accepted_defect,
    certify,
    enclose,
    projector_bound,
    residuals,
)
from refbilinear.oracle.inertia import inertia
from refbilinear.oracle.rationals import root
from refbilinear.oracle.truncations import certify_truncated_form, certify_truncation
from refbilinear.spec.tensor import QuadraticForm
from strategies import FLOATS

BOTH = pytest.mark.parametrize("dtype", FLOATS)
REFLECTIONS = [np.array([1.0, -1, 0, 1, 1, 0]), np.array([0, 1.0, 1, 0, 0, 0])]
BASIS = laws.dyadic_basis(REFLECTIONS, 6)
KNOWN = [5, -4, 4, 1, 1, 0]


def random_symmetric(rng, n, dtype=np.float64):
    """Return a symmetric matrix: dense, of low rank, of integers, graded, or of subnormals."""
    a = rng.standard_normal((n, n))
    kind = rng.integers(6)
    if kind == 1:
        a = a[:, : max(1, n // 2)] @ a[:, : max(1, n // 2)].T
    elif kind == 2:
        a = np.round(a)
    elif kind == 3:
        scale = 10.0 ** rng.uniform(-12, 0, n)
        a = a * scale * scale[:, None]
    elif kind == 4:
        a = np.ldexp(a, -145 if dtype == np.float32 else -1070)
    elif kind == 5:
        a = np.diag(np.round(2 * a.diagonal()))
    return (np.tril(a) + np.tril(a, -1).T).astype(dtype)


@st.composite
def matrices(draw, dtype=np.float64, largest=7):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random_symmetric(rng, draw(st.integers(0, largest)), dtype)


@st.composite
def known_spectra(draw, largest=6):
    """Draw integer eigenvalues with ties, and ties of sign, and a dyadic basis."""
    known = draw(st.lists(st.sampled_from([0, 1, -1, 2, -2, 5, -7]), min_size=1, max_size=largest))
    n, supports = len(known), []
    for _ in range(draw(st.integers(0, 3))):
        size = draw(st.sampled_from([s for s in (1, 2, 4) if s <= n]))
        v = np.zeros(n)
        v[draw(st.permutations(range(n)))[:size]] = draw(
            st.lists(st.sampled_from([1, -1]), min_size=size, max_size=size)
        )
        supports.append(v)
    return known, laws.dyadic_basis(supports, n)


def pairs(values, vectors):
    return Spectrum(np.asarray(values), np.asarray(vectors))


def at_most(square, bound):
    """The root of an exact square is at most a float."""
    return bound >= 0 and square <= Fraction(bound) ** 2


def square_of(array):
    return sum((Fraction(number) ** 2 for number in np.asarray(array).flat), Fraction(0))


# ---- honest answers


@BOTH
@settings(max_examples=25)
@given(data=st.data())
def test_honest_spectra_are_certified(dtype, data):
    matrix = data.draw(matrices(dtype))
    k = data.draw(st.integers(0, len(matrix)))
    for spectrum in (eigendecompose(matrix), eigendecompose(matrix, k)):
        found = certify(spectrum, matrix)
        assert (found.certified, found.reasons) == (True, ())
        assert max(found.residual_ratio, found.defect_ratio) < ACCEPTED
    values, vectors = np.linalg.eigh(matrix)
    assert certify(pairs(values[:k], vectors[:, :k]), matrix, "ascending").certified
    down = pairs(values[::-1][:k], vectors[:, ::-1][:, :k])
    assert certify(down, matrix, "descending").certified


@BOTH
@settings(max_examples=25)
@given(data=st.data())
def test_honest_truncations_are_certified(dtype, data):
    matrix = data.draw(matrices(dtype))
    spectrum = eigendecompose(matrix, data.draw(st.integers(0, len(matrix))))
    found = certify_truncation(reconstruct(spectrum), spectrum, matrix)
    assert found.certified, found.reasons


@BOTH
@pytest.mark.parametrize("n", [25, 26, 40])
def test_larger_spectra(dtype, n):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((n, n)).astype(dtype)
    matrix = np.tril(a) + np.tril(a, -1).T
    spectrum = eigendecompose(matrix)
    assert certify(spectrum, matrix).certified
    part = Spectrum(spectrum.eigenvalues[:7], spectrum.eigenvectors[:, :7])
    found = certify_truncation(reconstruct(part), part, matrix)
    assert found.certified
    assert not found.tied


def test_vectors_may_be_orthonormal_to_less():
    """An honest defect can be hundreds of units, of graded matrices or robust representations."""
    rng = np.random.default_rng(29)
    rows = rng.standard_normal((29, 29)) * 10.0 ** -rng.uniform(0, 300, (29, 29))
    matrix = np.tril(rows) + np.tril(rows, -1).T
    values, vectors = np.linalg.eigh(matrix)
    loose = vectors * (1 + 1e-9)
    found = certify(pairs(values, loose), matrix, "ascending")
    assert found.defect_ratio > ACCEPTED
    assert found.certified, found.reasons
    found = certify(pairs(values, vectors * (1 + 1e-7)), matrix, "ascending")
    assert "‖I − XᵀX‖_F" in found.reasons[0]


@BOTH
def test_the_accepted_defect(dtype):
    u = Fraction(float(np.finfo(dtype).eps)) / 2
    assert accepted_defect(25, dtype) == 1000 * 25 * 2 * u
    assert 26 * 26 * u <= accepted_defect(26, dtype) ** 2 < 26 * 26 * u * (1 + u)


SOLVERS = {
    "torch": lambda torch, q: [part.numpy() for part in torch.linalg.eigh(torch.tensor(q))],
    "scipy.linalg": lambda linalg, q: linalg.eigh(q),
}


@BOTH
@pytest.mark.parametrize("name", SOLVERS)
def test_other_solvers_are_certified(dtype, name):
    """PyTorch divides and conquers in the given precision; SciPy takes robust representations."""
    library = pytest.importorskip(name)
    rng = np.random.default_rng(8)
    for n in (1, 2, 3, 7, 20, 31):
        matrix = random_symmetric(rng, n, dtype)
        found = certify(pairs(*SOLVERS[name](library, matrix)), matrix, "ascending")
        assert found.certified, found.reasons


# ---- what is certified is true


@settings(max_examples=25)
@given(known_spectra())
def test_known_spectra_are_enclosed(case):
    known, basis = case
    matrix = laws.float_matrix(known, basis)
    places = enclose(matrix)
    assert [place.place for place in places] == list(range(len(known)))
    for place, value in zip(places, sorted(known), strict=True):
        assert place.low <= value <= place.high
        assert place.high - place.low < 1e-12
    assert places == enclose(QuadraticForm(matrix, np.zeros(len(known)), np.float64(0)))


@settings(max_examples=25)
@given(known_spectra())
def test_clusters_gaps_and_kahan_against_known_spectra(case):
    known, basis = case
    matrix = laws.float_matrix(known, basis)
    spectrum = eigendecompose(matrix)
    found = certify(spectrum, matrix)
    for mine, true in zip(sorted(spectrum.eigenvalues), sorted(known), strict=True):
        assert abs(Fraction(mine) - true) <= Fraction(found.radius)
    for cluster in found.clusters:
        (value,) = {value for value in known if cluster.low <= value <= cluster.high}
        assert cluster.multiplicity == len(cluster.pairs) == known.count(value)
        mine = laws.exact(spectrum.eigenvectors[:, list(cluster.pairs)])
        true = basis[:, [i for i, one in enumerate(known) if one == value]]
        assert at_most(square_of(mine @ mine.T - true @ true.T), cluster.projector)
        assert cluster.projector < 1e-12
    sizes = sorted(map(abs, known), reverse=True)
    assert found.gaps[0] == found.gaps[-1] == inf
    for gap, here, after in zip(found.gaps[1:-1], sizes[:-1], sizes[1:], strict=True):
        assert gap <= here - after <= gap + 1e-12
        assert (gap == 0) == (here == after)


@settings(max_examples=25)
@given(known_spectra(), st.integers(0, 6))
def test_truncations_of_known_spectra(case, k):
    known, basis = case
    k = min(k, len(known))
    matrix = laws.float_matrix(known, basis)
    spectrum = eigendecompose(matrix, k)
    dense = reconstruct(spectrum)
    found = certify_truncation(dense, spectrum, matrix)
    rest = sorted(map(abs, known), reverse=True)[k:]
    assert found.certified, found.reasons
    assert found.tied == (0 < k < len(known) and sorted(map(abs, known))[-k] == rest[0])
    assert found.left >= max(rest, default=0) >= found.left - 1e-12
    assert found.excess < 1e-12
    assert found.tied or found.distance < 1e-11
    truncation_is_true(found, dense, case, k)


def truncation_is_true(found, dense, case, k):
    """Excess and distance are no less than they are, by the known spectrum."""
    known, basis = case
    order = sorted(range(len(known)), key=lambda i: -abs(known[i]))
    tail = sum(known[i] ** 2 for i in order[k:])
    root = Fraction(isqrt(tail * 4**200), 2**200) + Fraction(1, 2**190)
    matrix, dense = laws.exact(laws.float_matrix(known, basis)), laws.exact(dense)
    assert square_of(matrix - dense) <= (root + Fraction(found.excess)) ** 2
    assert (found.distance is None) or not found.tied
    if found.distance is not None:
        top = order[:k]
        best = (basis[:, top] * laws.exact([known[i] for i in top])) @ basis[:, top].T
        assert at_most(square_of(dense - best - laws.exact(np.zeros(dense.shape))), found.distance)


@settings(max_examples=25)
@given(known_spectra(), st.integers(0, 6), st.integers(0, 2**32 - 1), st.integers(-9, -2))
def test_truncations_of_perturbed_pairs(case, k, seed, exponent):
    """What is refused is still bounded truly."""
    known, basis = case
    k, rng = min(k, len(known)), np.random.default_rng(seed)
    matrix = laws.float_matrix(known, basis)
    noise = 10.0**exponent * rng.standard_normal(matrix.shape) / 64
    noise = noise + noise.T
    values, vectors = eigendecompose(matrix + noise, k)
    near = pairs(values, vectors * (1 + 10.0**exponent * rng.standard_normal(k)))
    dense = reconstruct(near) + noise[::-1, ::-1]
    truncation_is_true(certify_truncation(dense, near, matrix), dense, case, k)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(-14, 0))
def test_kahan_holds_for_wrong_pairs_too(seed, n, exponent):
    """Constant 1, for all pairs and for some, counted exactly; the vectors are far from eigen."""
    rng = np.random.default_rng(seed)
    matrix = random_symmetric(rng, n)
    values, vectors = np.linalg.eigh(matrix)
    k = int(rng.integers(1, n + 1))
    chosen = np.sort(rng.permutation(n)[:k])
    noise = 10.0**exponent / (8 * n)
    x = vectors[:, chosen] + noise * rng.standard_normal((n, k))
    lam = values[chosen] + noise * np.abs(matrix).max() * rng.standard_normal(k)
    found = certify(pairs(lam, x), matrix)
    if found.radius is None:
        return
    # Some k eigenvalues, in order, each within the radius: take the lowest that are free.
    least = 0
    for value in sorted(map(Fraction, lam)):
        low, high = value - Fraction(found.radius), value + Fraction(found.radius)
        below, above = inertia(matrix, low), inertia(matrix, high)
        least = max(least, below.negative)
        assert least < above.negative + above.zero
        least += 1


def test_kahans_bound_is_attained():
    """Without its denominator it would say ½ of a value that is off by 1."""
    assert certify(pairs([1.0], [[0.5]]), [[2.0]]).radius == 1
    assert certify(pairs([1.0], [[0.0]]), [[2.0]]).radius is None


@settings(max_examples=25)
@given(known_spectra(), st.integers(0, 2**32 - 1), st.integers(-9, -2))
def test_davis_and_kahan_hold_for_perturbed_pairs(case, seed, exponent):
    known, basis = case
    matrix, rng = laws.float_matrix(known, basis), np.random.default_rng(seed)
    noise = 10.0**exponent * rng.standard_normal(matrix.shape)
    spectrum = eigendecompose(matrix + (noise + noise.T) / 64)
    found = certify(spectrum, matrix)
    for cluster in found.clusters:
        (value,) = {value for value in known if cluster.low <= value <= cluster.high}
        mine = laws.exact(spectrum.eigenvectors[:, list(cluster.pairs)])
        true = basis[:, [i for i, one in enumerate(known) if one == value]]
        assert at_most(square_of(mine @ mine.T - true @ true.T), cluster.projector)


def test_bounds_by_hand():
    """Of diag(2, 0), λ = 3/2 with x = (1/2, 0): ‖R‖ = 1/4, ‖S‖ = 3/4, δ = 3/2.

    1e-15 is nine units of roundoff, for at most seven roundings on this side.
    """
    pair, Q = pairs([1.5], [[0.5], [0]]), np.diag([2.0, 0])
    found = certify(pair, Q)
    projector = 2**0.5 * 0.25 / (1.5 * 0.25**0.5) + 0.75
    assert found.clusters[0].projector == pytest.approx(projector, rel=1e-15)
    assert found.radius == 0.5
    unit = 2 * 2.0**-52
    assert found.residual_ratio == pytest.approx(0.25 / (2 * unit), rel=1e-15)
    assert found.defect_ratio == pytest.approx(0.75 / unit, rel=1e-15)
    found = certify_truncation([[0.375, 0], [0, 0]], pair, Q)
    assert found.distance == pytest.approx(2 * projector + 0.25 * 1.75**0.5, rel=1e-15)
    assert (found.excess, found.left, found.tied) == (1.625, 0, False)
    found = certify_truncation([[0.875, 0], [0, 0]], pair, Q)
    assert found.distance == pytest.approx(0.5 + 2 * projector + 0.25 * 1.75**0.5, rel=1e-15)


@pytest.mark.parametrize(
    ("low", "high", "want"), [(-1, 2, (0, 2)), (-3, 2, (0, 3)), (1, 2, (1, 2)), (-2, -1, (1, 2))]
)
def test_magnitudes_of_an_interval(low, high, want):
    assert module._magnitude(module.Group(Fraction(low), Fraction(high), 0, 1)) == want


def test_residuals_are_exact():
    spectrum = pairs([2.5, 1], [[1, 0.5], [0, 0.5]])
    found = residuals(spectrum, [[2, 0], [0, 3]])
    assert found == (Fraction(1, 4) + Fraction(1, 4) + 1, 2 * Fraction(1, 4) + Fraction(1, 4), 13)


# ---- planted mistakes: numbers 43 to 55 of the catalogue


MATRIX = laws.float_matrix(KNOWN, BASIS)
DISTINCT = laws.float_matrix([9, -7, 5, -3, 2, 1], BASIS)
TRUE = eigendecompose(DISTINCT)
DENSE = np.random.default_rng(6).standard_normal((6, 6))
DENSE = DENSE + DENSE.T


def single_precision(matrix):
    """The answer of a solver that works in float32, cast up."""
    spectrum = eigendecompose(matrix.astype(np.float32))
    return pairs(*(part.astype(np.float64) for part in spectrum))


def by_value(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return pairs(values[::-1], vectors[:, ::-1])


def one_triangle():
    """The eigh of a matrix that was not symmetrised reads its lower triangle."""
    w = np.random.default_rng(0).standard_normal((6, 6))
    spectrum = eigendecompose(np.tril(w) + np.tril(w, -1).T)
    return spectrum, (w + w.T) / 2


def duplicated(spectrum):
    values, vectors = spectrum
    return pairs(np.r_[values[0], values[:-1]], np.c_[vectors[:, 0], vectors[:, :-1]])


def per_sign(matrix, k=4):
    """The first k/2 of each sign."""
    values, vectors = np.linalg.eigh(matrix)
    chosen = np.r_[values.argsort()[: k // 2], values.argsort()[-(k // 2) :]]
    chosen = chosen[np.lexsort((-values[chosen], -abs(values[chosen])))]
    return pairs(values[chosen], vectors[:, chosen])


SKEWED = laws.float_matrix([9, 7, 5, 3, -2, 1], BASIS)
ORTHONORMAL, RESIDUAL, STANDS, ORDER, MISSING = (
    "‖I − XᵀX‖_F is", "‖QX − XΛ‖_F is", "stands for eigenvalue", "must stand by", "has no pair",
)  # fmt: skip
values, vectors = TRUE
MISTAKES = {
    "43 by value": (by_value(DISTINCT), DISTINCT, {ORDER}),
    "44 ascending magnitude": (pairs(values[::-1], vectors[:, ::-1]), DISTINCT, {ORDER}),
    "45 vectors as rows": (pairs(values, vectors.T), DISTINCT, {RESIDUAL}),
    "46 values permuted, vectors not": (
        pairs(values, np.roll(vectors, 1, axis=1)), DISTINCT, {RESIDUAL},
    ),
    "47 singular values": (pairs(abs(values), vectors), DISTINCT, {RESIDUAL, STANDS}),
    "48 twice as long": (pairs(values, 2 * vectors), DISTINCT, {ORTHONORMAL}),
    "48 a little too long": (pairs(values, vectors * (1 + 1e-12)), DISTINCT, {ORTHONORMAL}),
    "49 float32 solver": (single_precision(DENSE), DENSE, {ORTHONORMAL, RESIDUAL}),
    "49 float32 values": (
        pairs(values * (1 + 2.0**-24), vectors), DISTINCT, {RESIDUAL, STANDS},
    ),
    "50 duplicated vector": (duplicated(TRUE), DISTINCT, {ORTHONORMAL, STANDS}),
    "50 duplicated in a cluster": (
        pairs(np.ones(2), np.c_[BASIS[:, 3], BASIS[:, 3]].astype(float)),
        laws.float_matrix([1, 1, 1, 1, 1, 1], BASIS), {ORTHONORMAL},
    ),
    "51 unsymmetrised": (*one_triangle(), {RESIDUAL, STANDS}),
    "53 shifted by 1e-9": (pairs(values + 1e-9, vectors), DISTINCT, {RESIDUAL, STANDS}),
    "55 the first of each sign": (per_sign(SKEWED), SKEWED, {MISSING, STANDS}),
    "the second and third": (pairs(values[1:3], vectors[:, 1:3]), DISTINCT, {STANDS}),
    "a larger one of the other sign left out": (
        pairs(values[[0, 2]], vectors[:, [0, 2]]), DISTINCT, {MISSING},
    ),
    "negative": (pairs(-values, vectors), DISTINCT, {RESIDUAL, STANDS}),
    "of another matrix": (TRUE, DISTINCT + np.eye(6), {RESIDUAL, STANDS}),
    "not zero, of zero": (pairs([5e-324], np.eye(6)[:, :1]), np.zeros((6, 6)), {RESIDUAL, STANDS}),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_refused_with_the_reason(name):
    spectrum, matrix, want = MISTAKES[name]
    found = certify(spectrum, matrix)
    assert not found.certified
    for words in want:
        assert any(words in reason for reason in found.reasons), found.reasons


def test_the_mistakes_are_mistakes():
    """What the mistakes were made from is certified, so it is the mistake that is refused."""
    assert certify(TRUE, DISTINCT).certified
    assert certify(eigendecompose(SKEWED), SKEWED).certified
    assert certify(eigendecompose(DENSE), DENSE).certified
    assert certify(by_value(DISTINCT), DISTINCT, "descending").certified
    tied = pairs(np.ones(2), BASIS[:, 2:4].astype(float))
    assert certify(tied, np.eye(6)).certified


@pytest.mark.parametrize("n", [30, 45])
@pytest.mark.parametrize("mistake", ["shift", "float32", "long", "rows", "missing", "duplicate"])
def test_mistakes_in_larger_spectra_are_refused(n, mistake):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((n, n))
    matrix = np.tril(a) + np.tril(a, -1).T
    values, vectors = eigendecompose(matrix)
    wrong = {
        "shift": (values + 1e-9, vectors),
        "float32": (values, vectors.astype(np.float32).astype(float)),
        "long": (values, vectors * (1 + 1e-7)),
        "rows": (values, vectors.T),
        "missing": (values[1:], vectors[:, 1:]),
        "duplicate": duplicated(pairs(values, vectors)),
    }[mistake]
    assert certify(pairs(values, vectors), matrix).certified
    assert not certify(pairs(*wrong), matrix).certified


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_a_list_by_value_must_start_at_its_end(order):
    values, vectors = np.linalg.eigh(DISTINCT)
    if order == "descending":
        values, vectors = values[::-1], vectors[:, ::-1]
    assert certify(pairs(values[:3], vectors[:, :3]), DISTINCT, order).certified
    found = certify(pairs(values[1:3], vectors[:, 1:3]), DISTINCT, order)
    assert STANDS in found.reasons[0]
    found = certify(pairs(values[::-1], vectors[:, ::-1]), DISTINCT, order)
    assert ORDER in found.reasons[0]


def test_ties_of_sign():
    """+4 and −4 are two clusters by value and a tie of magnitude; the positive one goes first."""
    spectrum = eigendecompose(MATRIX)
    found = certify(spectrum, MATRIX)
    assert [cluster.multiplicity for cluster in found.clusters] == [1, 1, 2, 1, 1]
    assert found.gaps[2] == found.gaps[4] == 0
    assert min(found.gaps[1], found.gaps[3], found.gaps[5]) > 0.9
    exact = pairs(np.array(KNOWN, float)[[0, 2, 1]], BASIS[:, [0, 2, 1]].astype(float))
    assert certify(exact, MATRIX).certified
    assert (
        ORDER
        in certify(
            pairs(exact.eigenvalues[[0, 2, 1]], exact.eigenvectors[:, [0, 2, 1]]), MATRIX
        ).reasons[0]
    )
    # Either of the two may be the second of a truncation: both are optimal.
    for second in (1, 2):
        kept = pairs(np.array(KNOWN, float)[[0, second]], BASIS[:, [0, second]].astype(float))
        found = certify_truncation(reconstruct(kept), kept, MATRIX)
        assert (found.certified, found.tied, found.distance) == (True, True, None)
        assert found.excess < 1e-13


def test_a_list_that_ends_inside_a_cluster_has_no_projector():
    found = certify(eigendecompose(MATRIX, 4), MATRIX)
    assert found.certified
    cluster = next(one for one in found.clusters if 3 in one.pairs)
    assert (cluster.multiplicity, cluster.pairs, cluster.projector) == (2, (3,), None)


def test_vectors_too_far_from_orthonormal_have_no_radius():
    found = certify(pairs(values, 2 * vectors), DISTINCT)
    assert found.radius is None
    assert all(cluster.projector is None for cluster in found.clusters)
    kept = pairs(values[:2], 2 * vectors[:, :2])
    assert certify_truncation(reconstruct(kept), kept, DISTINCT).distance is None


def test_no_dimension_and_no_pair():
    nothing = pairs(np.zeros(0), np.zeros((0, 0)))
    found = certify(nothing, np.zeros((0, 0)))
    assert (found.certified, found.intervals, found.clusters) == (True, (), ())
    assert certify_truncation(np.zeros((0, 0)), nothing, np.zeros((0, 0))).certified
    none = pairs(np.zeros(0), np.zeros((3, 0)))
    assert certify(none, np.eye(3)).certified
    found = certify_truncation(np.zeros((3, 3)), none, np.eye(3))
    assert (found.certified, found.tied, found.left) == (True, False, 1)
    assert enclose(np.zeros((0, 0))) == ()


def test_zero_and_huge_matrices():
    assert certify(eigendecompose(np.zeros((3, 3))), np.zeros((3, 3))).certified
    huge = np.array([[1.7e308, 0, 0], [0, -1e308, 5e-324], [0, 5e-324, 1]])
    assert certify(eigendecompose(huge), huge).certified
    with np.errstate(over="ignore"):
        # Its eigenvalue 3.4e308 is beyond the largest float, and is enclosed all the same.
        assert enclose([[1.7e308, 1.7e308], [1.7e308, 1.7e308]])[1][:2] == (
            np.finfo(float).max,
            inf,
        )


def test_a_solver_that_lies_is_found_out(monkeypatch):
    """`enclose` proves what NumPy's solver says; what it cannot prove is an error."""
    answers = {
        "not orthonormal": (np.zeros(2), np.zeros((2, 2))),
        "counts contradict": (np.array([1.0, 5.0]), np.eye(2)),
    }
    for words, answer in answers.items():
        monkeypatch.setattr(np.linalg, "eigh", lambda _, found=answer: found)
        monkeypatch.setattr(module, "_kahan", lambda r, s: None if s > 1 else Fraction(0))
        with pytest.raises(ArithmeticError, match=words):
            enclose([[1, 0], [0, 2]])


# ---- planted mistakes of truncations: numbers 56 to 60


@pytest.mark.parametrize(
    ("name", "choose"),
    [
        ("56 the wrong end", lambda lam: np.argsort(abs(lam))[:3]),
        ("57 the top by value", lambda lam: np.argsort(-lam)[:3]),
        ("58 one more", lambda lam: np.argsort(-abs(lam))[:4]),
        ("60 the positive part", lambda lam: [i for i in np.argsort(-abs(lam))[:3] if lam[i] > 0]),
    ],
)
def test_mistaken_truncations_are_refused(name, choose):
    kept = pairs(values[:3], vectors[:, :3])
    chosen = choose(values)
    wrong = pairs(values[chosen], vectors[:, chosen])
    assert certify_truncation(reconstruct(kept), kept, DISTINCT).certified
    found = certify_truncation(reconstruct(wrong), kept, DISTINCT)
    assert "matrix must be" in found.reasons[-1]
    assert not found.certified
    assert found.excess > 0.1 or len(chosen) > 3
    assert (
        name.startswith("58")
        or not certify_truncation(reconstruct(wrong), wrong, DISTINCT).certified
    )


@pytest.mark.parametrize(
    "wrong",
    [
        pairs(abs(values[:3]), vectors[:, :3]),  # 59: |λ| in the reconstruction
        pairs(values[:3] + 1e-9, vectors[:, :3]),
        pairs(values[:3], vectors[:, :3] * (1 + 1e-9)),
    ],
)
def test_a_dense_matrix_that_is_not_of_its_pairs_is_refused(wrong):
    kept = pairs(values[:3], vectors[:, :3])
    found = certify_truncation(reconstruct(wrong), kept, DISTINCT)
    assert [reason for reason in found.reasons if "matrix must be" in reason] == list(found.reasons)
    assert not found.certified
    assert found.distance > 1e-10


@BOTH
@settings(max_examples=25)
@given(data=st.data())
def test_truncated_forms(dtype, data):
    matrix = data.draw(matrices(dtype))
    spectrum = eigendecompose(matrix, data.draw(st.integers(0, len(matrix))))
    x = np.random.default_rng(len(matrix)).standard_normal((3, 2, len(matrix))).astype(dtype)
    value = ((x @ spectrum.eigenvectors) ** 2 @ spectrum.eigenvalues).astype(dtype)
    found = certify_truncated_form(value, x, spectrum)
    assert found.certified, found.reasons
    assert found.ratio <= 1
    largest = np.abs(spectrum.eigenvalues).max(initial=0)
    if largest > 1e-30:
        wrong = value.copy()
        wrong[2, 1] += largest * 1e-3 * (1 + abs(x[2, 1]).sum()) ** 2
        assert "values must be" in certify_truncated_form(wrong, x, spectrum).reasons[0]
        assert "at (2, 1)" in certify_truncated_form(wrong, x, spectrum).reasons[0]


# ---- bad input


EYE = pairs(np.ones(2), np.eye(2))
NAN = np.full((2, 2), np.nan)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: certify(EYE, np.zeros((2, 3))), ValueError, "form must have shape"),
        (lambda: certify(EYE, np.zeros(2)), ValueError, "form must have shape"),
        (lambda: certify(EYE, NAN), ValueError, "form must be finite"),
        (lambda: certify(EYE, [[1, 2], [3, 4]]), ValueError, "form must equal its transpose"),
        (lambda: certify(EYE, laws.exact(np.eye(2))), TypeError, "form must be float32"),
        (lambda: certify(EYE, np.eye(2, dtype=np.float32)), TypeError, "eigenvalues must have dtype"),
        (lambda: certify(EYE, np.eye(3)), ValueError, "eigenvectors must have shape"),
        (lambda: certify(EYE, np.eye(2), "largest"), ValueError, "order must be one of"),
        (lambda: certify(pairs([1.0], np.eye(2)), np.eye(2)), ValueError, "eigenvectors must have"),
        (lambda: certify(pairs([1, np.nan], np.eye(2)), np.eye(2)), ValueError, "eigenvalues must be"),
        (lambda: certify(pairs([1, np.inf], np.eye(2)), np.eye(2)), ValueError, "eigenvalues must be"),
        (lambda: certify(pairs([1, 1], NAN), np.eye(2)), ValueError, "eigenvectors must be finite"),
        (lambda: certify(pairs(np.ones(3), np.ones((2, 3))), np.eye(2)), ValueError, "at most 2"),
        (lambda: enclose(NAN), ValueError, "form must be finite"),
        (lambda: residuals(EYE, NAN), ValueError, "form must be finite"),
        (lambda: certify_truncation(np.eye(3), EYE, np.eye(2)), ValueError, "matrix must have shape"),
        (lambda: certify_truncation(NAN, EYE, np.eye(2)), ValueError, "matrix must be finite"),
        (lambda: certify_truncated_form([1.0], [1, 2], EYE), ValueError, "values must have shape"),
        (lambda: certify_truncated_form(1.0, [1], EYE), ValueError, "x must have shape"),
        (lambda: certify_truncated_form(np.nan, [1, 2], EYE), ValueError, "values must be finite"),
        (lambda: certify_truncated_form(1.0, [1, np.nan], EYE), ValueError, "x must be finite"),
        (lambda: certify_truncated_form(
            1.0, [1, 2], pairs(laws.exact(np.ones(2)), laws.exact(np.eye(2)))),
         TypeError, "eigenvalues must be float32"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_inputs_are_left_alone_and_may_be_any_object():
    matrix, spectrum = DISTINCT.copy(), SimpleNamespace(**TRUE._asdict())
    before = matrix.tobytes(), TRUE.eigenvectors.tobytes()
    certify(spectrum, matrix)
    certify_truncation(reconstruct(TRUE), spectrum, matrix)
    assert (matrix.tobytes(), TRUE.eigenvectors.tobytes()) == before


def test_integers_may_be_given():
    found = certify(pairs([4, 3], [[0, 1], [1, 0]]), [[3, 0], [0, 4]])
    assert found.certified


def test_a_value_on_the_edge_of_another_cluster_has_no_projector():
    proof = SimpleNamespace(squares=lambda pairs: (Fraction(1, 4), Fraction(0)))
    for low, bound in ((Fraction(2), None), (Fraction(5, 2), root(Fraction(2)))):
        others = [SimpleNamespace(low=low, high=Fraction(9))]
        assert projector_bound(np.array([2.0]), proof, [0], others) == bound
