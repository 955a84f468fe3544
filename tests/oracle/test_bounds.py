"""No float result is further from the exact one than its bound allows."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import BilinearLayer, BilinearMLP, n_pairs
from refbilinear.oracle.bounds import (
    forward_roundings,
    gamma,
    mlp_forward_roundings,
    quadratic_form_roundings,
    tensor_roundings,
)
from refbilinear.oracle.twins import magnitude
from strategies import FLOATS, arrays, layers_with_batch, models_with_batch, random_layer

OF = laws.package()
BOTH = pytest.mark.parametrize("dtype", FLOATS)


@BOTH
@settings(max_examples=50)
@given(data=st.data())
def test_forward_and_backward(dtype, data):
    layer, x, dy = data.draw(layers_with_batch(dtype))
    laws.forward_is_in_bound(OF, layer, x)
    laws.backward_is_in_bound(OF, layer, x, dy)


@BOTH
@settings(max_examples=50)
@given(data=st.data())
def test_tensor_and_output_form(dtype, data):
    layer, _, dy = data.draw(layers_with_batch(dtype))
    laws.tensor_is_in_bound(OF, layer)
    laws.output_form_is_in_bound(OF, layer, dy[0])


@BOTH
@settings(max_examples=50)
@given(data=st.data())
def test_values_of_a_form(dtype, data):
    layer, x, dy = data.draw(layers_with_batch(dtype))
    laws.form_value_is_in_bound(OF, OF.output_form(layer, dy[0]), x)


@BOTH
@settings(max_examples=50)
@given(data=st.data(), d=st.integers(1, 6))
def test_forms_of_a_tensor(dtype, data, d):
    tensor = data.draw(arrays((3, n_pairs(d)), dtype))
    x, z, dy = (data.draw(arrays((4, size), dtype)) for size in (d, d, 3))
    laws.quadratic_form_is_in_bound(OF, tensor, x)
    laws.bilinear_form_is_in_bound(OF, tensor, x, z)
    laws.matrix_is_in_bound(OF, tensor, dy)
    laws.tensor_gradient_is_in_bound(OF, x, dy)
    laws.squared_error_is_in_bound(OF, x, z)


@BOTH
@settings(max_examples=25)
@given(data=st.data())
def test_models(dtype, data):
    model, x, dy = data.draw(models_with_batch(dtype, largest=4))
    laws.mlp_forward_is_in_bound(OF, model, x)
    laws.mlp_backward_is_in_bound(OF, model, x, dy)


@BOTH
@settings(max_examples=50)
@given(data=st.data())
def test_the_form_of_a_folded_model(dtype, data):
    model, x, _ = data.draw(models_with_batch(dtype, depth=1))
    laws.folded_form_is_in_bound(OF, model, x)
    laws.fold_is_in_bound(OF, model)


@BOTH
def test_larger_sizes(dtype):
    rng = np.random.default_rng(17)
    layer = random_layer(rng, sizes=(23, 31, 5), dtype=dtype)
    x, dy = (rng.standard_normal((11, d)).astype(dtype) for d in (23, 5))
    laws.forward_is_in_bound(OF, layer, x)
    laws.backward_is_in_bound(OF, layer, x, dy)
    laws.tensor_is_in_bound(OF, layer)
    laws.folded_form_is_in_bound(OF, laws.small_mlp(layer), x)


@BOTH
def test_an_empty_batch_has_an_empty_bound(dtype):
    layer = random_layer(np.random.default_rng(0), dtype=dtype)
    x, dy = np.zeros((0, 3), dtype), np.zeros((0, 2), dtype)
    laws.forward_is_in_bound(OF, layer, x)
    laws.backward_is_in_bound(OF, layer, x, dy)


def test_gamma():
    u = Fraction(1, 2**24)
    assert abs(Fraction(gamma(5, np.float32)) - 5 * u / (1 - 5 * u)) <= Fraction(1, 2**70)
    assert gamma(0, np.float64) == 0
    assert gamma(10**9, object) == 0
    with pytest.raises(ValueError, match="no bound holds after 16777216 roundings"):
        gamma(2**24, np.float32)


def test_exact_numbers_are_allowed_no_error():
    layer = random_layer(np.random.default_rng(1))
    x = laws.exact(np.ones((2, 3)))
    assert (OF.forward_bound(layer, x) == 0).all()
    assert (OF.tensor_bound(layer) == 0).all()
    of_form = OF.form_value_bound(OF.output_form(layer, x[0, :2]), x)
    assert of_form.dtype == np.float64
    assert (of_form == 0).all()


def test_counts_of_roundings():
    """As the table of the design says: 2 d + h + 4 with all biases, one more with a skip."""
    rng = np.random.default_rng(2)
    of_names = [(("w_out",), 12), (("w_out", "b_left", "b_right", "b_out"), 15), ((), 7)]
    for names, count in of_names:
        assert forward_roundings(random_layer(rng, names)) == count
    assert forward_roundings(random_layer(rng)) == 16
    assert tensor_roundings(random_layer(rng)) == 8
    assert tensor_roundings(random_layer(rng, ("w_out",))) == 7
    assert tensor_roundings(random_layer(rng, ())) == 2
    assert quadratic_form_roundings(65, of_tensor=3, of_x=1) == 135
    assert quadratic_form_roundings(1) == 3
    residual = BilinearMLP(None, [BilinearLayer([[1]], [[1]])], [[1]], residual=True)
    assert mlp_forward_roundings(residual) == 5


def test_absolute_values():
    thirds = magnitude(np.array([Fraction(-1, 3)], dtype=object))
    assert thirds.dtype == np.float64
    assert thirds[0] == 1 / 3
