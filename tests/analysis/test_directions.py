"""Spectra straight from the weights: every way against the dense one, by certificates."""

import importlib
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
import proofs
from refbilinear import BilinearLayer, BilinearMLP, homogeneous_matrix, output_form
from refbilinear.analysis import directions as module
from refbilinear.analysis import lanczos
from refbilinear.analysis.directions import (
    NotConvergedError,
    homogeneous_spectrum,
    input_spectrum,
    model_spectrum,
    spectra,
    spectrum,
)
from refbilinear.analysis.eigenpairs import Spectrum
from refbilinear.oracle.bounds import gamma
from refbilinear.oracle.certificates import ACCEPTED, certify
from refbilinear.oracle.rationals import norm
from strategies import FLOATS, LAYOUTS, layers, plain, random_array, random_layer


def tight(d, dtype=np.float64):
    """Return the residual, in units of |λ₁|, that certificates accept of an exact method."""
    return ACCEPTED * d * float(np.finfo(dtype).eps)


def normal_layer(seed, d_in, d_hidden, d_out, dtype=np.float64):
    rng = np.random.default_rng(seed)
    shapes = (d_hidden, d_in), (d_hidden, d_in), (d_out, d_hidden)
    return BilinearLayer(*(rng.standard_normal(shape).astype(dtype) for shape in shapes))


def planted(values, d, seed=0):
    """Return the layer W = V = Hᵀ, P = λ, H orthogonal and dyadic: its form is HΛHᵀ, exactly."""
    rng = np.random.default_rng(seed)
    size = 1 << (d.bit_length() - 1)
    supports = [np.zeros(d) for _ in range(3)]
    for v in supports:
        v[rng.permutation(d)[:size]] = rng.choice([-1, 1], size)
    basis = laws.dyadic_basis(supports, d)
    known = [*values, *[0] * (d - len(values))]
    H = basis.astype(np.float64)
    layer = BilinearLayer(H.T.copy(), H.T.copy(), np.array([known], float))
    laws.same(output_form(layer, [1]).matrix, laws.float_matrix(known, basis))
    return layer


def ranks(d):
    return sorted({0, 1, min(2, d), d})


# ---- one direction


@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=30)
@given(data=st.data())
def test_every_method_finds_the_dense_spectrum(dtype, data):
    layer = data.draw(layers(dtype))
    u = random_array(np.random.default_rng(layer.d_in), layer.d_out, dtype)
    form = proofs.forms_of(layer, [u])
    known = proofs.known_magnitudes(form)
    methods = ["auto", "dense", "lanczos"] + ["factored"] * (2 * layer.d_hidden <= layer.d_in)
    k = data.draw(st.sampled_from(ranks(layer.d_in)))
    for method in methods:
        pairs = spectrum(layer, u, k, method)
        assert pairs.eigenvectors.shape == (layer.d_in, k)
        assert pairs.eigenvalues.dtype == pairs.eigenvectors.dtype == dtype
        proofs.leading(form, pairs, known=known)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sizes", [(9, 2), (8, 3), (5, 1), (7, 0), (1, 0)])
def test_few_units_leave_exact_zeros(sizes, dtype):
    d, h = sizes
    layer = normal_layer(1, d, h, 4, dtype)
    u = np.ones(4, dtype)
    values, vectors = spectrum(layer, u)
    assert (values[2 * h :] == 0).all()
    proofs.leading(proofs.forms_of(layer, [u]), Spectrum(values, vectors))
    assert module._choice(d, h, d) == "factored"


def test_dependent_units_are_no_harm():
    """Parallel, equal and zero rows: [L; R] has rank 2 of 8, and the QR still an orthonormal Z."""
    a, b, z = np.eye(9)[2], np.full(9, 0.5), np.zeros(9)
    layer = BilinearLayer([a, 2 * a, b, z], [b, b, b, a], [[1, -3, 2, 5]])
    proofs.leading(proofs.forms_of(layer, [[1]]), spectrum(layer, [1], method="factored"))


@pytest.mark.parametrize("method", ["dense", "factored", "lanczos"])
def test_units_that_cancel_leave_what_rounding_leaves_of_them(method):
    """A form of zero, exactly, from units of length 1: what is found is within its residuals of 0."""
    a, b = np.random.default_rng(27).integers(-99, 99, (2, 9)) / 64
    layer = BilinearLayer([a, b, 3 * a], [b, a, b], [[3, 3, -2]])
    form = proofs.forms_of(layer, [[1]])
    assert not proofs.matrix_of(form).any()
    found = spectra(layer, [[1.0]], 4, method=method).spectrum(0)
    proofs.near(found.eigenvalues, [0] * 4, proofs.radius(form, found))


def test_units_without_weight_are_left_out():
    """One unit of seven counts, so the factored problem is of size 2 of 4."""
    layer = normal_layer(2, 4, 7, 1)
    layer = replace(layer, w_out=[[0, 0, 3.0, 0, 0, 0, 0]])
    proofs.leading(proofs.forms_of(layer, [[1]]), spectrum(layer, [1], method="factored"))
    with pytest.raises(ValueError, match="must not be factored for 2 · 7 units"):
        spectrum(replace(layer, w_out=np.ones((1, 7))), [1], method="factored")


def test_one_unit_has_the_two_eigenvalues_of_the_formula():
    """λ± = (w/2)(l·r ± ‖l‖‖r‖), of lengths and a dot product that are integers; v± ∝ l/5 ± r/13."""
    layer = BilinearLayer([[3, 4, 0, 0, 0]], [[0, 5, 12, 0, 0]], [[2]])
    pairs = spectrum(layer, [1])
    far = proofs.radius(proofs.forms_of(layer, [[1]]), pairs)
    for value, known in zip(pairs.eigenvalues, [20 + 65, 20 - 65, 0, 0, 0], strict=True):
        assert abs(Fraction(value) - known) <= far
    left, right = laws.exact(layer.w_left[0]) / 5, laws.exact(layer.w_right[0]) / 13
    proof = certify(pairs, output_form(layer, [1]))  # of integers, so the form is not rounded
    for number, want in enumerate((left + right, left - right)):
        v = laws.exact(pairs.eigenvectors[:, number])
        (bound,) = (c.projector for c in proof.clusters if c.pairs == (number,))
        off = np.outer(v, v) - np.outer(want, want) / (want @ want)
        assert np.sum(off * off) <= Fraction(bound) ** 2


@pytest.mark.parametrize("method", ["auto", "embedded", "dense", "lanczos"])
@pytest.mark.parametrize("sizes", [(3, 7), (7, 3), (5, 5)])
def test_behind_an_embedding_the_spectrum_is_that_of_input_space(sizes, method):
    d_model, d_in = sizes
    layer = normal_layer(3, d_model, 6, 2)
    E = np.random.default_rng(4).standard_normal((d_model, d_in))
    form = proofs.forms_of(BilinearMLP(E, [layer], None), [[1, -2]])
    known = proofs.known_magnitudes(form)
    for k in ranks(d_in):
        pairs = spectrum(layer, [1, -2], k, method, E)
        assert pairs.eigenvectors.shape == (d_in, k)
        proofs.leading(form, pairs, known=known)


def test_few_units_behind_an_embedding_are_factored():
    layer = normal_layer(5, 6, 1, 1)
    E = np.random.default_rng(6).standard_normal((6, 4))
    pairs = spectrum(layer, [1], embed=E)
    proofs.leading(proofs.forms_of(BilinearMLP(E, [layer], None), [[1]]), pairs)
    assert not pairs.eigenvalues[2:].any()


def test_a_model_has_two_spectra_by_name():
    layer = replace(normal_layer(7, 3, 6, 3), b_left=np.ones(6), w_skip=np.eye(3))
    rng = np.random.default_rng(8)
    E, head = rng.standard_normal((3, 5)), rng.standard_normal((4, 3))
    model, u = BilinearMLP(E, [layer], head, residual=True), np.array([1.0, 0, -1, 2])
    in_inputs, in_model = input_spectrum(model, u, 2), model_spectrum(model, u)
    assert in_inputs.eigenvectors.shape == (5, 2)
    proofs.leading(proofs.forms_of(model, [u]), in_inputs)
    proofs.leading(proofs.forms_of(BilinearMLP(None, [layer], head), [u]), in_model)
    bare = BilinearMLP(None, [layer], None)
    proofs.leading(proofs.forms_of(bare, [u[:3]]), input_spectrum(bare, u[:3]))
    with pytest.raises(ValueError, match="model must have one layer to have a spectrum; got 2"):
        input_spectrum(BilinearMLP(None, [layer, layer], None), u[:3])


def test_the_homogeneous_spectrum_holds_all_parts():
    layer = random_layer(np.random.default_rng(9), dtype=np.float64)
    u = np.ones(layer.d_out)
    form = homogeneous_matrix(output_form(layer, u))
    pairs = homogeneous_spectrum(layer, u)
    assert (proof := certify(pairs, form)).certified, proof.reasons
    assert homogeneous_spectrum(layer, u, 1).eigenvectors.shape == (layer.d_in + 1, 1)


# ---- Lanczos against what is planted

KNOWN = {
    "a tie": [3, 3, 3, 1, -1],
    "ties of sign": [4, -4, 4, -4, 2],
    "a tiny gap": [2, 2 - 2.0**-30, -2 + 2.0**-30, 1],
    "all alike": [5] * 32,
    "low rank": [1],
    "nothing": [],
    "a spread": [(-1) ** i * (40 - i) for i in range(32)],
    "a tie at the end": [*range(9, 4, -1), *[4] * 27],
}


@pytest.mark.parametrize("formed", [True, False])
@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
def test_planted_spectra_are_found_with_their_multiplicities(known, formed, monkeypatch):
    """Bases of 2k + 20 vectors at most, so that they are restarted before they hold all."""
    monkeypatch.setattr(lanczos, "KEPT", 10)
    monkeypatch.setattr(lanczos, "CYCLE", 10)
    monkeypatch.setattr(module, "FORMED", 2**60 if formed else 0)
    layer = planted(known, 32)
    U, accepted = [[1.0], [-2.0]], tight(32)
    form = proofs.forms_of(layer, U)
    first = sorted([*known, *[0] * 32], key=abs, reverse=True)
    for k in (1, 4):
        found = spectra(layer, U, k, accepted, method="lanczos")
        for number, u in enumerate(U):
            pairs = found.spectrum(number)
            far = proofs.radius(form, pairs, accepted, number)
            proofs.near(pairs.eigenvalues, [value * int(u[0]) for value in first[:k]], far)


@pytest.mark.parametrize("multiplicity", [2, 3, 5])
def test_ties_before_a_long_tail_are_found_whole(multiplicity):
    """One start vector sees one copy of a tie, and has converged before rounding brings another."""
    d, apart = 300, [1.7, -1.5, 1.3, 1.1, -0.9]
    tail = np.linspace(-0.5, 0.5, d - multiplicity - len(apart))
    values = np.r_[[2.0] * multiplicity, apart, tail]
    layer = BilinearLayer(np.eye(d), np.eye(d), values[None])
    form = proofs.forms_of(layer, [[1.0]])
    for tolerance in (1e-10, 1e-4):
        found = spectra(layer, [[1.0]], multiplicity, tolerance, method="lanczos").spectrum(0)
        far = proofs.radius(form, found, tolerance)
        proofs.near(found.eigenvalues, [2] * multiplicity, far)


@pytest.mark.parametrize("tolerance", [1e-10, 1e-6, 1e-3])
@pytest.mark.parametrize("copies", [1, 2, 5, 8])
def test_ties_near_a_dense_tail_are_found_whole(copies, tolerance):
    """Pairs converge long before rounding brings a copy: only a vector that was sent to look does.

    Each value is within its residual of one of the form, and as many are there.
    """
    d = 300
    values = np.r_[[1.1] * copies, [-1.08] * copies, np.linspace(-1, 1, d - 2 * copies)]
    layer = BilinearLayer(np.eye(d), np.eye(d), values[None])
    found = spectra(layer, [[1.0]], copies, tolerance, method="lanczos", seed=copies)
    far = np.linalg.norm(found.residuals) + 8 * d * 2.0**-53
    assert abs(found.eigenvalues[0] - 1.1).max() <= far <= 0.01


def test_a_flat_top_is_not_searched_but_solved():
    """Sixty values in a hundredth, four copies of each: nothing that V keeps is below them."""
    values = np.r_[np.repeat(1 - np.arange(60) / 6000, 4), np.linspace(-0.8, 0.8, 160)]
    layer = BilinearLayer(np.eye(400), np.eye(400), values[None])
    with pytest.raises(NotConvergedError, match="too many values near the last"):
        spectra(layer, [[1.0]], 5, method="lanczos")
    assert module._choice(400, 400, 5) == "lanczos"
    found = spectra(layer, np.ones((2, 1)), 5)
    proofs.near(found.eigenvalues[0], sorted(values)[:-6:-1], 400 * 8 * 2.0**-53)
    laws.same(found.eigenvalues[0], spectrum(layer, [1.0], 5).eigenvalues)


@pytest.mark.parametrize("dtype", FLOATS)
def test_restarts_lose_nothing(dtype, monkeypatch):
    """Bases of a few vectors and many restarts."""
    monkeypatch.setattr(lanczos, "KEPT", 4)
    monkeypatch.setattr(lanczos, "CYCLE", 4)
    layer = normal_layer(10, 40, 50, 3, dtype)
    U = np.eye(3, dtype=dtype)
    tolerance, form = tight(40, dtype), proofs.forms_of(layer, U)
    found = spectra(layer, U, 3, tolerance, method="lanczos")
    assert found.residuals.dtype == dtype
    for number in range(3):
        proofs.leading(form, found.spectrum(number), tolerance, number)


def test_a_larger_form_is_found_by_its_residuals():
    """Kahan: as many eigenvalues within ‖R‖_F; and none that is larger was left out."""
    layer, U = normal_layer(11, 300, 200, 4), np.eye(4)
    form = proofs.forms_of(layer, U)
    found = spectra(layer, U, 5, method="lanczos")
    proofs.same(form, found, spectra(layer, U, 5, method="dense"))
    floor = 4 * 2.0**-53 * form.sizes[:, None]
    assert (found.residuals <= 1e-10 * abs(found.eigenvalues[:, :1]) + floor).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("method", ["dense", "factored", "lanczos", "lanczos, formed"])
def test_the_residuals_are_those_of_the_pairs(method, dtype, monkeypatch):
    """What is returned is the exact ‖Qv − λv‖ but for the roundings of Q, Qv and the norm."""
    method, *formed = method.split(", ")
    monkeypatch.setattr(module, "FORMED", 2**60 if formed else 0)
    layer, U = normal_layer(28, 60, 30, 3, dtype), np.eye(2, 3, dtype=dtype)
    form = proofs.forms_of(layer, U)
    found = spectra(layer, U, 4, method=method)
    for number, sizes in enumerate(found.residuals):
        residual, _ = proofs.proof(form, found.spectrum(number), number)
        # The product with v and the subtraction, each of at most Φ; a norm of d squares.
        off = gamma(form.roundings + 60 + 2, dtype) * float(form.sizes[number])
        of_norm = gamma(60 + 3, dtype)
        for column, size in zip(residual[0].T, sizes.tolist(), strict=True):
            exact = norm((column, residual[1]))
            slack = 2 * Fraction(off) + Fraction(of_norm) * exact
            assert abs(Fraction(size) - exact) <= slack


def test_a_product_that_errs_is_not_believed():
    """The estimate says converged, the product says no: its residual is what is worked on next."""
    rng, d = np.random.default_rng(12), 60
    Q = np.diag(np.r_[9.0, 8.0, rng.uniform(-1, 1, d - 2)])
    calls = []

    def product(rows, places):
        calls.append(len(rows))
        return rows @ Q + (1e-3 if calls.count(2) == 1 and len(rows) == 2 else 0)

    found = lanczos.leading_pairs(product, (1, d), 2, 1e-10, np.zeros(1), 2000, 0)
    assert calls.count(2) == 2
    assert (found.residuals <= 1e-10 * found.eigenvalues[:, :1]).all()
    diagonal = BilinearLayer(np.eye(d), np.eye(d), Q.diagonal()[None])
    pairs = Spectrum(found.eigenvalues[0], found.eigenvectors[0].T)
    far = proofs.radius(proofs.forms_of(diagonal, [[1.0]]), pairs, 1e-10)
    proofs.near(pairs.eigenvalues, [9, 8], far)


MISTAKES = {
    "shifted": lambda values, vectors: (values + 1e-9, vectors),
    "a value of the wrong sign": lambda values, vectors: (values * [1, -1, 1], vectors),
    "the wrong end": lambda values, vectors: (values[1:], vectors[:, 1:]),
    "in another order": lambda values, vectors: (values[::-1], vectors[:, ::-1]),
    "not normalised": lambda values, vectors: (values, 2 * vectors),
    "one vector twice": lambda values, vectors: (values[[0, 0]], vectors[:, [0, 0]]),
    "the other sign": lambda values, vectors: (values, -vectors),
    "inputs in another order": lambda values, vectors: (values, vectors[::-1]),
    "a rotation": lambda values, vectors: (values, vectors @ [[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_the_proofs_refuse_mistakes(mistake):
    layer = normal_layer(29, 5, 7, 2)
    form, pairs = proofs.forms_of(layer, [[1, 2]]), spectrum(layer, [1, 2], 3)
    proofs.leading(form, pairs)
    with pytest.raises(AssertionError):
        proofs.leading(form, Spectrum(*mistake(*pairs)))


def test_the_proofs_tell_spectra_apart():
    layer = normal_layer(30, 6, 7, 2)
    form, found = proofs.forms_of(layer, np.eye(2)), spectra(layer, np.eye(2), 6, method="dense")
    second = type(found)(*(part[..., 1:] for part in found))
    with pytest.raises(AssertionError):
        proofs.same(form, type(found)(*(part[..., :-1] for part in found)), second)
    with pytest.raises(AssertionError):
        proofs.same(form, found, found._replace(eigenvalues=found.eigenvalues + 1e-9))


# ---- what did not converge


def test_non_convergence_says_so_and_keeps_the_rest():
    d = 330
    layer = BilinearLayer(np.eye(d), np.eye(d), np.stack([np.linspace(1, 2, d), np.eye(d)[5]]))
    with pytest.raises(
        NotConvergedError, match=r"1 of 2 directions did not.* first is 0"
    ) as caught:
        spectra(layer, np.eye(2), 3, method="lanczos", products=160)
    found = caught.value.spectra
    assert np.isnan(found.eigenvalues[0]).all()
    assert np.isnan(found.eigenvectors[0]).all()
    assert np.isnan(found.residuals[0]).all()
    far = proofs.radius(proofs.forms_of(layer, np.eye(2)), found.spectrum(1), 1e-10, 1)
    proofs.near(found.eigenvalues[1], [1, 0, 0], far)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    laws.same(again.spectra.eigenvalues[1], found.eigenvalues[1])


def test_a_tolerance_below_rounding_is_what_rounding_leaves():
    layer = normal_layer(14, 50, 60, 2)
    found = spectra(layer, np.eye(2), 1, 0, method="lanczos")
    floor = 4 * 2.0**-53 * proofs.forms_of(layer, np.eye(2)).sizes
    assert (found.residuals <= floor[:, None]).all()


# ---- many directions


def executors():
    spawn = multiprocessing.get_context("spawn")
    return {
        "threads": lambda: ThreadPoolExecutor(2),
        "processes": lambda: ProcessPoolExecutor(2, mp_context=spawn),
    }


@pytest.mark.parametrize("name", executors())
def test_executors_give_the_same(name):
    layer, U = normal_layer(15, 70, 80, 5), np.eye(5)
    alone = spectra(layer, U, 3, method="lanczos")
    with executors()[name]() as executor:
        shared = spectra(layer, U, 3, executor=executor, method="lanczos", group=2)
        with pytest.raises(NotConvergedError):
            spectra(layer, U, 3, executor=executor, method="lanczos", group=2, products=1)
    proofs.same(proofs.forms_of(layer, U), shared, alone)


def test_a_cluster_gives_the_same():
    """Two worker processes, through a scheduler: the layer, the results and the error travel."""
    if "CI" not in os.environ:
        pytest.importorskip("distributed")
    distributed = importlib.import_module("distributed")
    layer, U = normal_layer(15, 70, 80, 5), np.eye(5)
    alone = spectra(layer, U, 3, method="lanczos")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        executor = client.get_executor()
        shared = spectra(layer, U, 3, executor=executor, method="lanczos", group=1)
        with pytest.raises(NotConvergedError, match="5 of 5 directions did not converge"):
            spectra(layer, U, 3, executor=executor, method="lanczos", group=2, products=1)
        workers = client.run(os.getpid)
    assert len(set(workers.values())) == 2
    assert os.getpid() not in workers.values()
    proofs.same(proofs.forms_of(layer, U), shared, alone)
    assert not multiprocessing.active_children()


def test_progress_counts_directions():
    seen = []
    spectra(normal_layer(16, 4, 3, 5), np.eye(5), 2, group=2, progress=lambda *a: seen.append(a))
    assert seen == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("method", ["auto", "dense", "factored", "lanczos"])
def test_spectra_are_those_of_each_direction(method):
    layer = replace(normal_layer(17, 9, 4, 3), w_out=None, b_out=np.ones(4), w_skip=np.ones((4, 9)))
    U = np.array([[1.0, 0, 2, 0], [0, 0, 0, 0], [0, 3, 0, -1]])
    found = spectra(layer, U, 4, method=method)
    assert found.residuals.shape == (3, 4)
    form = proofs.forms_of(layer, U)
    for number in range(3):
        proofs.leading(form, found.spectrum(number), number=number)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("k", [0, 2])
def test_no_direction_at_all(k, dtype):
    found = spectra(normal_layer(18, 4, 3, 2, dtype), np.zeros((0, 2), dtype), k)
    assert [part.shape for part in found] == [(0, k), (0, 4, k), (0, k)]
    assert {part.dtype for part in found} == {np.dtype(dtype)}


@pytest.mark.parametrize("method", ["auto", "dense", "factored", "lanczos"])
def test_no_input_at_all(method):
    layer = BilinearLayer(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros((2, 0)))
    assert spectrum(layer, [1, 2], method=method).eigenvectors.shape == (0, 0)
    layer = BilinearLayer(np.zeros((3, 0)), np.zeros((3, 0)), np.ones((2, 3)))
    if method != "factored":
        assert spectra(layer, np.eye(2), 0, method=method).eigenvectors.shape == (2, 0, 0)


@pytest.mark.parametrize("method", ["dense", "factored", "lanczos"])
def test_no_pair_is_asked_for(method):
    found = spectra(normal_layer(19, 8, 3, 2), np.eye(2), 0, method=method)
    assert found.eigenvectors.shape == (2, 8, 0)


@pytest.mark.parametrize("e", [-300, -160, 0, 160, 300])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("method", ["lanczos", "dense", "factored"])
def test_scale_changes_nothing_but_the_exponent(e, dtype, method):
    """Weights times powers of two that cancel: the same form, through what would over- or underflow."""
    e = e if dtype == np.float64 else e // 10
    layer, U = (
        normal_layer(20, 60, 70 if method == "lanczos" else 20, 2, dtype),
        np.eye(2, dtype=dtype),
    )
    scaled = replace(layer, w_left=np.ldexp(layer.w_left, e), w_right=np.ldexp(layer.w_right, -e))
    larger = replace(layer, w_left=np.ldexp(layer.w_left, e))
    same, other, plain_pairs = (
        spectra(one, U, 2, method=method) for one in (scaled, larger, layer)
    )
    laws.same(same.eigenvalues, plain_pairs.eigenvalues)
    laws.same(np.ldexp(other.eigenvalues, -e), plain_pairs.eigenvalues)
    laws.same(np.ldexp(other.residuals, -e), plain_pairs.residuals)


def test_eigenvalues_too_large_are_an_overflow():
    layer = BilinearLayer(np.full((50, 60), 1e160), np.full((50, 60), 1e160))
    with pytest.raises(OverflowError, match="beyond the largest float64"):
        spectrum(layer, np.ones(50), 1, "lanczos")
    with pytest.raises(OverflowError, match="products with Q are beyond the largest float64"):
        spectrum(BilinearLayer(*[np.full((50, 60), 1e308)] * 2), np.ones(50), 1, "lanczos")
    for method in ("dense", "factored", "embedded", "auto"):
        embed = np.eye(60, 130) if method == "embedded" else None
        few = replace(layer, w_left=layer.w_left[:7], w_right=layer.w_right[:7])
        with pytest.raises(OverflowError, match="Q has entries beyond the largest float64"):
            spectrum(few, np.ones(7), 1, method, embed)
    square = BilinearLayer(np.full((1, 3), 8.9e153), np.full((1, 3), 8.9e153))
    with pytest.raises(OverflowError, match="Q has eigenvalues beyond the largest float64"):
        spectrum(square, [1.0], method="dense")
    with pytest.raises(OverflowError, match="w_left embed or w_right embed is beyond"):
        spectrum(square, [1.0], embed=np.full((3, 4), 1e300))
    with pytest.raises(OverflowError, match="the form has entries beyond the largest float64"):
        homogeneous_spectrum(few, np.ones(7))
    model = BilinearMLP(None, [normal_layer(20, 3, 4, 2)], np.full((1, 2), 1e300))
    with pytest.raises(OverflowError, match="u w_head has entries beyond"):
        input_spectrum(model, [1e300])
    with pytest.raises(OverflowError, match="u w_out has entries beyond"):
        spectrum(replace(layer, w_out=np.full((2, 50), 1e300)), [1e200, 1e200])


def test_the_seed_decides():
    layer = normal_layer(21, 60, 70, 1)
    one, two = (spectra(layer, [[1.0]], 2, method="lanczos", seed=s) for s in (0, 0))
    laws.same(one.eigenvectors, two.eigenvectors)
    other = spectra(layer, [[1.0]], 2, method="lanczos", seed=5)
    assert (other.eigenvectors != one.eigenvectors).any()
    proofs.same(proofs.forms_of(layer, [[1.0]]), one, other)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "broadcast"])
def test_every_layout_is_read_alike(layout):
    layer = normal_layer(22, 60, 70, 2)
    laid = BilinearLayer(*(LAYOUTS[layout](w) for w in (layer.w_left, layer.w_right, layer.w_out)))
    before = [w.tobytes() for w in (laid.w_left, laid.w_right, laid.w_out)]
    U = LAYOUTS[layout](np.eye(2))
    pair = (spectra(one, V, 2, method="lanczos") for one, V in ((laid, U), (layer, plain(U))))
    proofs.same(proofs.forms_of(layer, plain(U)), *pair)
    assert [w.tobytes() for w in (laid.w_left, laid.w_right, laid.w_out)] == before


# ---- what is chosen, and what is refused


def test_the_smallest_exact_problem_is_chosen_or_lanczos():
    assert module._choice(768, 3072, 10) == "lanczos"
    assert module._choice(768, 3072, 768) == "dense"
    assert module._choice(768, 383, 768) == "factored"
    assert module._choice(768, 384, 768) == "dense"
    assert module._choice(4096, 50, 4) == "factored"


def test_auto_takes_what_is_chosen():
    layer = normal_layer(23, 330, 400, 1)
    assert module._choice(330, 400, 1) == "lanczos"
    pairs, many = spectrum(layer, [1], 1), spectra(layer, [[1.0]], 1)
    laws.same(many.eigenvalues[0], pairs.eigenvalues)
    dense = spectra(layer, [[1.0]], 1, method="dense")
    assert (many.eigenvectors != dense.eigenvectors).any()
    proofs.same(proofs.forms_of(layer, [[1.0]]), many, dense)


@pytest.mark.parametrize("name", ["w_left", "w_right", "w_out"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(name, bad):
    layer = normal_layer(24, 4, 3, 2)
    array = getattr(layer, name).copy()
    array[1, 2] = bad
    with pytest.raises(ValueError, match=rf"{name} must be finite; got {bad} at \(1, 2\)"):
        spectra(replace(layer, **{name: array}), np.eye(2), 1)


def test_a_bias_that_is_not_finite_is_refused_where_it_counts():
    layer = replace(normal_layer(24, 4, 3, 2), b_left=np.array([1.0, np.nan, 2.0]))
    spectrum(layer, [1, 2])
    with pytest.raises(ValueError, match=r"b_left must be finite; got nan at \(1,\)"):
        homogeneous_spectrum(layer, [1, 2])


def test_bad_arguments_are_refused_by_name():
    layer = normal_layer(25, 4, 3, 2)
    for call, kind, words in (
        (lambda: spectrum(BilinearMLP(None, [layer], None), [1, 2]), TypeError, "got BilinearMLP: see .* input_spectrum"),
        (lambda: spectra(BilinearMLP(None, [layer], None), np.eye(2), 1), TypeError, "got BilinearMLP"),
        (lambda: homogeneous_spectrum(None, [1, 2]), TypeError, "layer must be a BilinearLayer; got NoneType"),
        (lambda: model_spectrum(layer, [1, 2]), TypeError, "model must be a BilinearMLP; got BilinearLayer"),
        (lambda: spectrum(layer, [1, 2], method="qr"), ValueError, "method must be one of auto,"),
        (lambda: spectrum(layer, [1, 2], method="embedded"), ValueError, "without embed"),
        (lambda: spectrum(layer, [1, np.nan]), ValueError, "u must be finite"),
        (lambda: spectrum(layer, [1]), ValueError, r"u must have shape \(d_out,\) = \(2,\)"),
        (lambda: spectrum(layer, [1, 2], 5), ValueError, "k must be at most 4"),
        (lambda: spectrum(layer, [1, 2], -1), ValueError, "k must be at least 0"),
        (lambda: spectrum(layer, [1, 2], embed=np.ones((3, 2))), ValueError, "embed must have"),
        (lambda: spectrum(layer, [1, 2], embed=np.full((4, 2), np.nan)), ValueError, "embed must be"),
        (lambda: spectrum(layer, [1, 2], method="embedded", embed=np.ones((3, 2))), ValueError, "embed"),
        (lambda: spectra(layer, np.eye(2), 1, method="embedded"), ValueError, "auto, dense"),
        (lambda: spectra(layer, [[1, np.inf]], 1), ValueError, "U must be finite"),
        (lambda: spectra(layer, [1, 2], 1), ValueError, r"U must have shape \(n, d_out\)"),
        (lambda: spectra(layer, np.eye(2), 1, -1.0), ValueError, "tolerance must be finite"),
        (lambda: spectra(layer, np.eye(2), 1, group=0), ValueError, "group must be at least 1"),
        (lambda: spectra(layer, np.eye(2), 1, products=0), ValueError, "products must be at least"),
        (lambda: spectra(layer, np.eye(2, dtype=np.float32), 1), TypeError, "U must have dtype"),
        (lambda: spectra(layer, np.eye(2), 1, seed=None), TypeError, "seed must be an integer; got None"),
        (lambda: spectrum(layer, [1, 2], 1, seed=-1), ValueError, "seed must be at least 0; got -1"),
        (lambda: spectrum(layer, [1, 2], 1, tolerance=-1), ValueError, "tolerance must be finite"),
    ):  # fmt: skip
        with pytest.raises(kind, match=words):
            call()


def test_exact_numbers_are_refused():
    layer = random_layer(np.random.default_rng(26), ("w_out",))
    with pytest.raises(TypeError, match="layer must be float32 or float64"):
        spectrum(layer, np.array([Fraction(1)] * layer.d_out))
