"""Truncated layers: exactly the reconstruction in rationals, and within bounds in floats."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
import proofs
from refbilinear import (
    BilinearLayer,
    BilinearMLP,
    accuracy,
    forward,
    mlp_forward,
    output_form,
    parameters,
    with_parameters,
)
from refbilinear.analysis.eigenpairs import Spectrum
from refbilinear.analysis.truncation import (
    AffineParts,
    Forms,
    affine_parts,
    forms,
    input_error_bound,
    input_space_forms,
    model_space_forms,
    norm_errors,
    truncate,
    truncated_outputs,
    truncation_curve,
)
from refbilinear.oracle.bounds import forward_bound, forward_roundings, gamma, output_form_bound
from refbilinear.oracle.rationals import integers, norm, root
from strategies import FLOATS, layers, random_array, random_layer


@settings(max_examples=40)
@given(layers(), st.integers(0, 2**32 - 1))
def test_affine_parts_are_those_of_the_form(layer, seed):
    U = random_array(np.random.default_rng(seed), (3, layer.d_out), object)
    parts = affine_parts(layer, U)
    laws.exact_numbers(*parts)
    for number, u in enumerate(U):
        form = output_form(layer, u)
        laws.same(parts.linear[number], form.linear)
        assert parts.constant[number] == form.constant


def exact_forms(seed, with_affine):
    """Return forms of rational eigenpairs, dyadic and orthonormal, with ties."""
    rng = np.random.default_rng(seed)
    spectra = []
    for known in ([5, -5, 2, 0], [-3, 1, 1, -1]):
        v = rng.choice([-1, 1], 4)
        values = np.array([Fraction(value) for value in known], dtype=object)
        spectra.append(Spectrum(values, laws.dyadic_basis([v], 4)))
    linear, constants = random_array(rng, (2, 4), object), random_array(rng, 2, object)
    return Forms(tuple(spectra), AffineParts(linear, constants) if with_affine else None)


@pytest.mark.parametrize("with_affine", [True, False])
@pytest.mark.parametrize("k", range(5))
def test_the_truncated_layer_is_the_reconstruction(k, with_affine):
    given_forms = exact_forms(k, with_affine)
    layer = truncate(given_forms, k)
    assert (layer.d_hidden, layer.d_out, layer.has_constant) == (2 * k, 2, with_affine)
    for o, (values, vectors) in enumerate(given_forms.spectra):
        u = np.array([Fraction(o == i) for i in range(2)], dtype=object)
        form = output_form(layer, u)
        want = (vectors[:, :k] * values[:k]) @ vectors[:, :k].T
        laws.same(form.matrix, want)
        if with_affine:
            laws.same(form.linear, given_forms.affine.linear[o])
            assert form.constant == given_forms.affine.constant[o]


def exactly(layer, x):
    """Return the outputs of a layer of floats, in rationals."""
    return forward(laws.exact_layer(layer), laws.exact(x))


def squares(x):
    return np.sum(laws.exact(x) ** 2, axis=-1)


def affine_error(layer, u, x):
    """Return how far rounding takes the linear and the constant part, at every x."""
    bound = output_form_bound(layer, u)
    return abs(laws.exact(x)) @ laws.exact(bound.linear) + Fraction(float(bound.constant))


@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=25)
@given(data=st.data())
def test_all_pairs_make_the_layer_again(dtype, data):
    """Within what the exact residuals of the pairs leave, and the roundings of the affine parts."""
    layer = data.draw(layers(dtype))
    of, U = forms(layer), np.eye(layer.d_out, dtype=dtype)
    again, form = truncate(of, layer.d_in), proofs.forms_of(layer, U)
    assert again.dtype == dtype
    x = random_array(np.random.default_rng(1), (3, layer.d_in), dtype)
    off = abs(exactly(again, x) - exactly(layer, x))
    for o, pairs in enumerate(of.spectra):
        allowed = proofs.distance(form, pairs, o) * squares(x) + affine_error(layer, U[o], x)
        assert (off[:, o] <= allowed).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_outputs_are_those_of_the_truncated_layer(dtype):
    """A term meets 2d + 2 roundings and the k + 1 sums of the steps: no more than in its layer."""
    layer = random_layer(np.random.default_rng(2), sizes=(4, 5, 3), dtype=dtype)
    x = random_array(np.random.default_rng(3), (2, 6, 4), dtype)
    U = random_array(np.random.default_rng(4), (2, 3), dtype)
    of = forms(layer, U)
    for k, y in enumerate(truncated_outputs(of, x, range(5))):
        twin = truncate(of, k)
        assert y.shape == (2, 6, 2)
        assert 2 * 4 + 2 + k + 1 <= forward_roundings(twin) + (k == 0)
        laws.in_bound(y, exactly(twin, x), forward_bound(twin, x), dtype)


def test_the_error_is_bounded_per_input_and_in_norm():
    """For the pairs as they are, E = Q − VΛVᵀ and S = I − VᵀV being what they leave, exactly."""
    d, layer = 5, random_layer(np.random.default_rng(5), sizes=(5, 4, 3), dtype=np.float64)
    x = np.random.default_rng(6).standard_normal((20, d))
    of, exact, form = forms(layer), exactly(layer, x), proofs.forms_of(layer, np.eye(3))
    for o, pairs in enumerate(of.spectra):
        matrix, far = proofs.matrix_of(form, o), proofs.distance(form, pairs, o)
        defect = root(proofs.proof(form, pairs, o).squares()[1])
        lam, v = map(laws.exact, pairs)
        affine, largest = affine_error(layer, np.eye(3)[o], x), max(abs(lam))
        for k in range(d + 1):
            bound, norms = input_error_bound(of, k, x), norm_errors(of, k)
            assert bound.shape == exact.shape
            off = abs(exact - exactly(truncate(of, k), x))[:, o]
            # The sum of d squares, its product; ‖V_>ᵀx‖² ≤ (1 + ‖S‖) ‖x‖².
            grown = laws.exact(bound)[:, o] * (1 + Fraction(gamma(d + 2, np.float64)))
            assert (off <= grown * (1 + defect) + far * squares(x) + affine).all()
            left = matrix - (v[:, :k] * lam[:k]) @ v[:, :k].T
            # VΛVᵀ of the others has the norm of Λ but for this.
            skew = far + largest * defect * (2 + defect)
            rounding = Fraction(gamma(d + 2, np.float64)) * Fraction(norms[o])
            assert abs(norm(integers(left)) - Fraction(norms[o])) <= skew + rounding
            if k < d:  # and the bound is reached
                reached = abs(v[:, k] @ left @ v[:, k])
                at = Fraction(input_error_bound(of, k, pairs.eigenvectors[:, k])[o])
                slack = skew * (1 + defect) + largest * defect
                assert abs(reached - at) <= slack + Fraction(gamma(d + 2, np.float64)) * at


@pytest.mark.parametrize("e", [-600, 600])
def test_bounds_neither_overflow_nor_vanish_on_the_way(e):
    """Powers of two move through norms and bounds, where squares would not."""
    layer = random_layer(np.random.default_rng(11), ("w_out",), sizes=(4, 5, 3), dtype=np.float64)
    of, x = forms(layer), np.random.default_rng(12).standard_normal((2, 4))
    scaled = Forms(tuple(Spectrum(np.ldexp(lam, e), v) for lam, v in of.spectra), None)
    laws.same(norm_errors(scaled, 1), np.ldexp(norm_errors(of, 1), e))
    bound = input_error_bound(of, 1, x)
    laws.same(input_error_bound(scaled, 1, np.ldexp(x, -e)), np.ldexp(bound, -e))
    assert not norm_errors(scaled, 4).any()
    assert not input_error_bound(scaled, 4, np.full(4, 1e300)).any()
    with pytest.raises(OverflowError, match=r"the bound exceeds .* float64 at \(0,\)"):
        input_error_bound(of, 1, np.full(4, 1e300))


def test_both_spaces_by_name():
    rng = np.random.default_rng(7)
    layer = random_layer(rng, ("w_out", "b_left", "w_skip"), sizes=(3, 5, 3), dtype=np.float64)
    E, head = rng.standard_normal((3, 6)), rng.standard_normal((4, 3))
    model = BilinearMLP(E, [layer], head, residual=True)
    x = rng.standard_normal((8, 6))
    want = mlp_forward(laws.exact_model(model), laws.exact(x))
    inner, outer = model_space_forms(model), input_space_forms(model)
    behind, whole = truncate(inner, 3), truncate(outer, 3)
    assert (behind.d_in, behind.d_out) == (3, 4)
    assert (whole.d_in, whole.d_hidden) == (6, 12)
    assert not any(pairs.eigenvalues[3:].any() for pairs in outer.spectra)
    z = laws.exact(x) @ laws.exact(E).T
    of_model = laws.exact_model(model)
    twin = with_parameters(of_model, {n: abs(w) for n, w in parameters(of_model).items()})
    sizes = mlp_forward(twin, abs(laws.exact(x)))
    for truncated, of, embed, at in ((behind, inner, None, z), (whole, outer, E, laws.exact(x))):
        form = proofs.forms_of(BilinearMLP(embed, [layer], head), np.eye(4))
        off = abs(forward(laws.exact_layer(truncated), at) - want)
        # The affine parts: no more roundings than the form, and four where head and skip fold in.
        rounding = Fraction(gamma(form.roundings + 4, np.float64)) * sizes
        for o, pairs in enumerate(of.spectra):
            drift = proofs.distance(form, pairs, o) * squares(at)
            assert (off[:, o] <= drift + rounding[:, o]).all()
    first = [truncate(inner, 1).w_left @ E, truncate(outer, 1).w_left]
    assert np.linalg.norm(first[0] - first[1]) > 0.1


def test_the_curve_is_the_measure_of_each_rank():
    rng = np.random.default_rng(8)
    layer = random_layer(rng, sizes=(4, 6, 3), dtype=np.float64)
    x = rng.standard_normal((40, 4))
    labels = forward(layer, x).argmax(axis=1)
    of = forms(layer)
    curve = truncation_curve(of, x, lambda y: accuracy(y, labels), [0, 2, 4])
    want = [accuracy(forward(truncate(of, k), x), labels) for k in (0, 2, 4)]
    laws.same(curve, want)
    assert curve[-1] == 1


def test_forms_without_a_constant_have_none():
    layer = random_layer(np.random.default_rng(9), ("w_out",), dtype=np.float64)
    assert forms(layer).affine is None
    assert not truncate(forms(layer), 1).has_constant
    *_, y = truncated_outputs(forms(layer), np.ones(layer.d_in), [layer.d_in])
    whole = truncate(forms(layer), layer.d_in)
    laws.in_bound(y, exactly(whole, np.ones(layer.d_in)), forward_bound(whole, np.ones(layer.d_in)))
    biased = replace(layer, b_out=np.ones(layer.d_out))
    laws.same(truncate(forms(biased), 0).b_out, biased.b_out)


def test_parts_that_are_not_finite_or_too_large_are_refused():
    layer = random_layer(np.random.default_rng(13), sizes=(4, 5, 2), dtype=np.float64)
    for name in ("b_left", "b_right", "b_out", "w_skip"):
        bad = getattr(layer, name).copy()
        bad.flat[1] = np.nan
        with pytest.raises(ValueError, match=f"{name} must be finite; got nan at"):
            forms(replace(layer, **{name: bad}))
    with pytest.raises(ValueError, match="U must be finite; got inf"):
        affine_parts(layer, [[1, np.inf]])
    with pytest.raises(OverflowError, match="constant parts exceed the largest float64"):
        forms(replace(layer, b_left=np.full(5, 1e200), b_right=np.full(5, 1e200)))
    squares, far = forms(layer), np.full(4, 1e160)
    huge = Forms((Spectrum(np.full(2, 1.5e308), np.eye(2)),), None)
    plane = forms(BilinearLayer(np.eye(2), np.eye(2), [[1, 1]]))
    wide = forms(BilinearLayer([[1, 0]], [[1, 0]], w_skip=[[1e200, 0]]))
    for call, words in (
        (lambda: list(truncated_outputs(squares, far, [1])), "contributions exceeds"),
        (lambda: list(truncated_outputs(plane, [1e154, 1e154], [2])), r"y exceeds .* at \(0,\)"),
        (lambda: list(truncated_outputs(wide, [1e200, 0], [0])), r"y exceeds .* at \(0,\)"),
        (lambda: norm_errors(huge, 0), r"the norm exceeds .* float64 at \(0,\)"),
    ):
        with pytest.raises(OverflowError, match=words):
            call()
    with pytest.raises(OverflowError, match="constant parts exceed the largest float64"):
        forms(replace(layer, w_skip=np.full((2, 4), 1e300)), embed=np.full((4, 3), 1e20))


def test_what_is_not_known_is_refused():
    layer = random_layer(np.random.default_rng(10), sizes=(4, 5, 2), dtype=np.float64)
    few, all_of_them, x = forms(layer, k=2), forms(layer), np.ones(4)
    pairs = few.spectra[0]
    nan = (np.full(2, np.nan), np.full((4, 2), np.inf))
    other = forms(random_layer(np.random.default_rng(10), sizes=(3, 5, 2), dtype=np.float64))
    with pytest.raises(TypeError, match="forms must be Forms; got Spectrum"):
        truncate(pairs, 1)
    assert input_error_bound(few, 1, x).shape == (2,)
    for call, words in (
        (lambda: input_error_bound(few, 2, x), "more than k = 2 eigenvalues, or all 4; got 2"),
        (lambda: input_error_bound(all_of_them, 5, x), "more than k = 5"),
        (lambda: norm_errors(few, 1), "must have all 4 eigenvalues; got 2"),
        (lambda: norm_errors(all_of_them, 5), "k must be at most 4"),
        (lambda: truncate(few, 3), "k must be at most 2"),
        (lambda: truncate(few, -1), "k must be at least 0"),
        (lambda: list(truncated_outputs(few, x, [0, 3])), "ks must be at most 2"),
        (lambda: list(truncated_outputs(few, x, [2, 1])), "ks must ascend; got 1 after 2"),
        (lambda: list(truncated_outputs(few, x[:3], [1])), "x must have shape"),
        (lambda: input_error_bound(few, 1, x[:3]), "x must have shape"),
        (
            lambda: input_error_bound(few, 1, [1, 2, np.nan, 4]),
            r"x must be finite; got nan at \(2,\)",
        ),
        (
            lambda: truncate(Forms((Spectrum(nan[0], pairs.eigenvectors),), None), 2),
            r"eigenvalues must be finite; got nan at \(0,\)",
        ),
        (
            lambda: norm_errors(Forms((Spectrum(pairs.eigenvalues, nan[1]),), None), 1),
            "eigenvectors must be finite; got inf",
        ),
        (
            lambda: truncate(Forms((pairs, other.spectra[0]), None), 1),
            r"forms must be over one space; got eigenvectors of sizes \[3, 4\]",
        ),
        (lambda: truncate(Forms((), None), 0), "forms must have at least one spectrum"),
        (lambda: norm_errors(Forms((), None), 0), "forms must have at least one spectrum"),
        (lambda: forms(layer, [1, 2]), "U must have shape"),
        (lambda: forms(layer, np.zeros((0, 2))), "U must have at least one"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_layers_and_models_are_told_apart():
    layer = BilinearLayer([[1, 2]], [[3, 4]])
    model = BilinearMLP(None, [layer], None)
    for call, words in (
        (lambda: forms(model), "layer must be a BilinearLayer; got BilinearMLP: see the functions"),
        (lambda: affine_parts(model, [[1]]), "layer must be a BilinearLayer; got BilinearMLP"),
        (
            lambda: input_space_forms(layer),
            "model must be a BilinearMLP; got BilinearLayer: for a layer, spectrum",
        ),
    ):
        with pytest.raises(TypeError, match=words):
            call()
