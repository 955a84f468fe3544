"""Truncated layers: exactly the reconstruction in rationals, and within bounds in floats."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import (
    BilinearMLP,
    accuracy,
    fold,
    forward,
    mlp_forward,
    output_form,
)
from refbilinear.analysis.eigenpairs import Spectrum, reconstruct
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
from refbilinear.oracle.bounds import forward_bound
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


@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=25)
@given(data=st.data())
def test_all_pairs_make_the_layer_again(dtype, data):
    """Of the same outputs, within the residuals of the pairs and the roundings of both layers."""
    layer = data.draw(layers(dtype))
    again = truncate(forms(layer), layer.d_in)
    assert again.dtype == dtype
    x = random_array(np.random.default_rng(1), (3, layer.d_in), dtype)
    # An eigensolver's residual is at most 10·n·2u‖Q‖_F, and so is the drift of orthonormality.
    sizes = np.array(
        [np.linalg.norm(output_form(layer, u).matrix) for u in np.eye(layer.d_out, dtype=dtype)]
    )
    drift = 100 * layer.d_in**2 * np.finfo(dtype).eps * sizes * np.sum(x * x, axis=-1)[:, None]
    allowed = forward_bound(layer, x) + forward_bound(again, x) + drift
    assert (abs(forward(again, x).astype(float) - forward(layer, x)) <= allowed).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_outputs_are_those_of_the_truncated_layer(dtype):
    layer = random_layer(np.random.default_rng(2), sizes=(4, 5, 3), dtype=dtype)
    x = random_array(np.random.default_rng(3), (2, 6, 4), dtype)
    U = random_array(np.random.default_rng(4), (2, 3), dtype)
    of = forms(layer, U)
    for k, y in enumerate(truncated_outputs(of, x, range(5))):
        twin = truncate(of, k)
        # The same products in another order: twice the bound of one.
        assert y.shape == (2, 6, 2)
        assert y.dtype == dtype
        assert (abs(y - forward(twin, x)) <= 2 * forward_bound(twin, x)).all()


def test_the_error_is_bounded_per_input_and_in_norm():
    layer = random_layer(np.random.default_rng(5), sizes=(5, 4, 3), dtype=np.float64)
    x = np.random.default_rng(6).standard_normal((50, 5))
    of, exact = forms(layer), forward(layer, x)
    for k, y in enumerate(truncated_outputs(of, x, range(6))):
        bound = input_error_bound(of, k, x)
        rounding = 2.0**-40 * (1 + abs(exact))
        assert bound.shape == y.shape
        assert (abs(exact - y) <= bound + rounding).all()
        norms = norm_errors(of, k)
        for o, (u, pairs) in enumerate(zip(np.eye(3), of.spectra, strict=True)):
            left = output_form(layer, u).matrix - reconstruct(pairs, k)
            assert abs(np.linalg.norm(left) - norms[o]) <= 2.0**-40 * (1 + norms[0])
            if k < 5:  # and the bound is reached
                v = pairs.eigenvectors[:, k]
                assert abs(abs(v @ left @ v) - input_error_bound(of, k, v)[o]) <= 2.0**-40


def test_both_spaces_by_name():
    rng = np.random.default_rng(7)
    layer = random_layer(rng, ("w_out", "b_left", "w_skip"), sizes=(3, 5, 3), dtype=np.float64)
    E, head = rng.standard_normal((3, 6)), rng.standard_normal((4, 3))
    model = BilinearMLP(E, [layer], head, residual=True)
    x = rng.standard_normal((20, 6))
    want = mlp_forward(model, x)
    inner, outer = model_space_forms(model), input_space_forms(model)
    behind = truncate(inner, 3)
    assert (behind.d_in, behind.d_out) == (3, 4)
    np.testing.assert_allclose(
        mlp_forward(BilinearMLP(E, [behind], None), x), want, rtol=0, atol=1e-10
    )
    whole = truncate(outer, 3)
    assert (whole.d_in, whole.d_hidden) == (6, 12)
    np.testing.assert_allclose(forward(whole, x), want, rtol=0, atol=1e-10)
    for o, u in enumerate(np.eye(4)):
        matrix = output_form(fold(model), u).matrix
        np.testing.assert_allclose(reconstruct(outer.spectra[o]), matrix, atol=1e-11)
        gram = outer.spectra[o].eigenvectors.T @ outer.spectra[o].eigenvectors
        np.testing.assert_allclose(gram, np.eye(6), atol=1e-13)
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
    x = np.ones(layer.d_in)
    *_, y = truncated_outputs(forms(layer), x, [layer.d_in])
    assert (abs(y - forward(layer, x)) <= 2.0**-40).all()
    assert not truncate(forms(layer), 1).has_constant
    biased = replace(layer, b_out=np.ones(layer.d_out))
    laws.same(truncate(forms(biased), 0).b_out, biased.b_out)


def test_what_is_not_known_is_refused():
    layer = random_layer(np.random.default_rng(10), sizes=(4, 5, 2), dtype=np.float64)
    few, all_of_them, x = forms(layer, k=2), forms(layer), np.ones(4)
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
        (lambda: forms(layer, [1, 2]), "U must have shape"),
        (lambda: forms(layer, np.zeros((0, 2))), "U must have at least one"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
