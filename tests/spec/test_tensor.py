"""The interaction tensor and the forms it gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
import refbilinear
from refbilinear import (
    bilinear_form,
    form_value,
    homogeneous,
    homogeneous_matrix,
    interaction_matrix,
    interaction_tensor,
    n_pairs,
    output_form,
    quadratic_form,
    tensor_gradient,
)
from strategies import (
    FLOATS,
    LAYOUTS,
    OPTIONAL,
    arrays,
    distinct_sizes,
    integer_arrays,
    layers,
    layers_with_x,
    plain,
    random_array,
    random_layer,
)

OF = laws.package()


@st.composite
def tensors(draw, count=2, dtype=object):
    """Draw a packed tensor, `count` batches of inputs, and a gradient in its outputs."""
    d, d_out, n = draw(distinct_sizes(3, 4))
    tensor = draw(arrays((d_out, n_pairs(d)), dtype))
    batches = [draw(arrays((n, d), dtype)) for _ in range(count)]
    return tensor, *batches, draw(arrays((n, d_out), dtype))


@settings(max_examples=100)
@given(layers())
def test_the_tensor_is_its_definition(layer):
    laws.tensor_is_the_definition(OF, layer)


@settings(max_examples=100)
@given(layers_with_x())
def test_the_form_equals_the_forward_pass(case):
    laws.form_equals_forward(OF, *case)


@settings(max_examples=100)
@given(layers_with_x(), st.data())
def test_the_forms_of_an_output_agree(case, data):
    laws.forms_agree(OF, *case, data.draw(arrays((case[0].d_out,))))


@settings(max_examples=100)
@given(layers(), st.data())
def test_linear_in_the_direction(layer, data):
    u, v = (data.draw(arrays((layer.d_out,))) for _ in range(2))
    laws.linear_in_the_direction(OF, layer, u, v)


@settings(max_examples=100)
@given(tensors())
def test_polarisation(case):
    tensor, x, z, _ = case
    laws.polarisation(OF, tensor, x, z)


@settings(max_examples=100)
@given(tensors())
def test_the_form_is_its_definition(case):
    tensor, x, _, _ = case
    laws.quadratic_form_is_the_definition(OF, tensor, x)


@settings(max_examples=25)
@given(tensors())
def test_the_gradient_in_the_tensor(case):
    tensor, x, _, dy = case
    laws.tensor_gradient_is_the_differences(OF, tensor, x, dy)


def test_a_row_is_quadratic_then_half_linear_then_constant():
    layer = random_layer(np.random.default_rng(2))
    u = np.eye(layer.d_out, dtype=int).astype(object)[0]
    form, packed = output_form(layer, u), interaction_tensor(layer)[0]
    laws.same(packed[:-4], refbilinear.pack(form.matrix))
    laws.same(packed[-4:-1], form.linear / 2)
    laws.same(packed[-1], form.constant)


def test_bilinear_form_broadcasts_its_leading_axes():
    rng = np.random.default_rng(8)
    tensor = random_array(rng, (2, 6), object)
    x, z = random_array(rng, (4, 1, 3), object), random_array(rng, (5, 3), object)
    got = bilinear_form(tensor, x, z)
    assert got.shape == (4, 5, 2)
    laws.same(got[3, 1], bilinear_form(tensor, x[3, 0], z[1]))


def test_tensor_gradient_sums_over_all_leading_axes():
    rng = np.random.default_rng(9)
    x, dy = random_array(rng, (2, 4, 3), object), random_array(rng, (2, 4, 5), object)
    laws.same(tensor_gradient(x, dy), tensor_gradient(x.reshape(8, 3), dy.reshape(8, 5)))


@pytest.mark.parametrize("dtype", [object, *FLOATS], ids=["object", "float32", "float64"])
@pytest.mark.parametrize(("d", "d_out", "n"), [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_zero_sizes(dtype, d, d_out, n):
    tensor = np.full((d_out, n_pairs(d)), 1).astype(dtype)
    x, dy = np.full((n, d), 1).astype(dtype), np.full((n, d_out), 1).astype(dtype)
    y, polar = quadratic_form(tensor, x), bilinear_form(tensor, x, x)
    matrix, gradient = interaction_matrix(tensor, dy), tensor_gradient(x, dy)
    assert y.shape == polar.shape == (n, d_out)
    assert matrix.shape == (n, d, d)
    assert gradient.shape == tensor.shape
    for result in (y, polar, matrix, gradient):
        assert result.dtype == dtype
        if dtype is object:
            laws.exact_numbers(result)


@pytest.mark.parametrize("dtype", [object, *FLOATS], ids=["object", "float32", "float64"])
@pytest.mark.parametrize("zero", range(3), ids=["d_in", "d_hidden", "d_out"])
@pytest.mark.parametrize("names", [OPTIONAL, ("w_out",), ("b_left",), ()])
def test_forms_of_layers_with_zero_sizes(dtype, zero, names):
    sizes = [3, 5, 2]
    sizes[zero] = 0
    rng = np.random.default_rng(zero)
    layer = random_layer(rng, names, sizes, dtype)
    u, x = random_array(rng, (layer.d_out,), dtype), random_array(rng, (4, layer.d_in), dtype)
    form = output_form(layer, u)
    whole, value = homogeneous_matrix(form), form_value(form, x)
    assert whole.dtype == value.dtype == form.matrix.dtype == form.linear.dtype == dtype
    assert np.asarray(form.constant).dtype == dtype
    assert value.shape == (4,)
    if dtype is object:
        laws.exact_numbers(interaction_tensor(layer), whole, value, *form)
        laws.same(value, refbilinear.forward(layer, x) @ u)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=10)
@given(data=st.data())
def test_every_layout_gives_the_same(layout, dtype, data):
    shapes = {"tensor": (2, 10), "x": (3, 4), "z": (3, 4), "dy": (3, 2), "u": (5, 2)}
    values = {
        name: LAYOUTS[layout](data.draw(integer_arrays(shape)).astype(dtype))
        for name, shape in shapes.items()
    }
    before = {name: value.tobytes() for name, value in values.items()}
    for function, names in [
        (quadratic_form, ("tensor", "x")),
        (bilinear_form, ("tensor", "x", "z")),
        (tensor_gradient, ("x", "dy")),
        (interaction_matrix, ("tensor", "u")),
        (homogeneous, ("x",)),
    ]:
        got = function(*(values[name] for name in names))
        assert got.dtype == dtype
        laws.same(got, function(*(plain(values[name]) for name in names)))
    assert {name: value.tobytes() for name, value in values.items()} == before


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_nan_stays_in_its_row(dtype):
    rng = np.random.default_rng(4)
    tensor, x = random_array(rng, (2, 10), dtype), random_array(rng, (5, 4), dtype)
    dirty = x.copy()
    dirty[2, 1] = np.nan
    y, clean = quadratic_form(tensor, dirty), quadratic_form(tensor, x)
    assert np.isnan(y[2]).all()
    laws.same(np.delete(y, 2, 0), np.delete(clean, 2, 0))
