"""The layer: its definition, its symmetries, and its gradient."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
import refbilinear
from refbilinear import BilinearLayer, Projections, backward, forward, project
from strategies import (
    FLOATS,
    LAYOUTS,
    OPTIONAL,
    arrays,
    integer_arrays,
    layer_shapes,
    layers,
    layers_with_batch,
    layers_with_x,
    plain,
    random_array,
    random_layer,
)

OF = laws.package()


@given(layers_with_x())
def test_forward_is_the_definition(case):
    laws.forward_is_the_definition(OF, *case)


@pytest.mark.parametrize(
    "law",
    [
        laws.identity_output_is_no_output,
        laws.swap_changes_nothing,
        laws.unit_order_changes_nothing,
        laws.outputs_permute,
        laws.inputs_permute,
        laws.hidden_blocks_add,
        laws.zero_unit_changes_nothing,
        laws.split_unit_changes_nothing,
        laws.batch_is_a_stack,
    ],
    ids=lambda law: law.__name__,
)
@settings(max_examples=50)
@given(case=layers_with_x())
def test_symmetries(law, case):
    law(OF, *case)


@settings(max_examples=25)
@given(layers_with_x(), st.data())
def test_gauge_changes_nothing(case, data):
    factors = [data.draw(arrays((case[0].d_hidden,))) for _ in range(2)]
    laws.gauge_changes_nothing(OF, *case, *factors)


@settings(max_examples=25)
@given(layers_with_x(), st.data())
def test_linear_in_the_output_weights(case, data):
    other = data.draw(arrays((case[0].d_out, case[0].d_hidden)))
    laws.linear_in_the_output_weights(OF, *case, other)


@settings(max_examples=25)
@given(layers_with_x(), st.data())
def test_second_differences_are_constant(case, data):
    step = data.draw(arrays((case[0].d_in,)))
    laws.second_differences_are_constant(OF, *case, step)


@settings(max_examples=20)
@given(layers_with_batch(largest=4))
def test_backward_is_the_differences(case):
    laws.backward_is_the_differences(OF, *case)


@given(layers_with_batch())
def test_gauge_of_the_gradient(case):
    laws.gauge_of_the_gradient(OF, *case)


@settings(max_examples=25)
@given(layers_with_batch())
def test_backward_takes_the_projections_and_can_leave_out_x(case):
    layer, x, dy = case
    full = backward(layer, x, dy)
    given_projections = backward(layer, x, dy, project(layer, x))
    without = backward(layer, x, dy, input_gradient=False)
    for name, gradient in refbilinear.parameters(full).items():
        laws.same(getattr(given_projections, name), gradient)
        laws.same(getattr(without, name), gradient)
    laws.same(given_projections.x, full.x)
    assert without.x is None


def test_backward_uses_the_projections_it_is_given():
    layer = BilinearLayer([[1, 0]], [[0, 1]])
    gradients = backward(layer, [[2, 3]], [[1]], Projections(np.ones((1, 1)), np.full((1, 1), 7.0)))
    laws.same(gradients.w_left, [[14.0, 21.0]])
    laws.same(gradients.w_right, [[2.0, 3.0]])


def test_projections_are_the_two_factors():
    layer = random_layer(np.random.default_rng(5))
    x = random_array(np.random.default_rng(6), (4, 3), object)
    left, right = project(layer, x)
    laws.same(left, x @ layer.w_left.T + layer.b_left)
    laws.same(right, x @ layer.w_right.T + layer.b_right)


@pytest.mark.parametrize("zero", range(4), ids=["d_in", "d_hidden", "d_out", "n"])
@pytest.mark.parametrize("dtype", [object, *FLOATS], ids=["object", "float32", "float64"])
def test_zero_sizes(zero, dtype):
    d_in, d_hidden, d_out, n = (
        0 if axis == zero else size for axis, size in enumerate((3, 5, 2, 4))
    )
    rng = np.random.default_rng(zero)
    layer = random_layer(rng, sizes=(d_in, d_hidden, d_out), dtype=dtype)
    x, dy = random_array(rng, (n, d_in), dtype), random_array(rng, (n, d_out), dtype)
    y, gradients = forward(layer, x), backward(layer, x, dy)
    assert y.shape == (n, d_out)
    assert y.dtype == dtype
    assert gradients.x.shape == x.shape
    for name, array in refbilinear.parameters(layer).items():
        assert getattr(gradients, name).shape == array.shape
    if dtype is object:
        laws.forward_is_the_definition(OF, layer, x)
        laws.form_equals_forward(OF, layer, x)
        laws.exact_numbers(*gradients)


@settings(max_examples=25)
@given(st.data())
def test_without_hidden_units(data):
    names = data.draw(
        st.sampled_from([OPTIONAL, ("w_out",), ("w_out", "b_out"), ("w_out", "w_skip")])
    )
    layer = data.draw(layers(sizes=(3, 0, 2), names=names))
    laws.without_hidden_units(OF, layer, data.draw(arrays((4, 3))))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=10)
@given(data=st.data())
def test_every_layout_gives_the_same(layout, dtype, data):
    """Small integers: float arithmetic is exact in any order, so results are equal."""
    place = LAYOUTS[layout]
    shapes = layer_shapes(OPTIONAL, 3, 5, 2) | {"x": (4, 3), "dy": (4, 2)}
    values = {n: place(data.draw(integer_arrays(s)).astype(dtype)) for n, s in shapes.items()}
    before = {name: value.tobytes() for name, value in values.items()}
    x, dy = values["x"], values["dy"]
    plain_values = {name: plain(value) for name, value in values.items()}
    layer = BilinearLayer(**{name: values[name] for name in values if name not in ("x", "dy")})
    twin = BilinearLayer(**{name: plain_values[name] for name in values if name not in ("x", "dy")})
    y = forward(layer, x)
    assert y.dtype == dtype
    laws.same(y, forward(twin, plain_values["x"]))
    twins = backward(twin, plain_values["x"], plain_values["dy"])
    for got, want in zip(backward(layer, x, dy), twins, strict=True):
        laws.same(got, want)
    whole = refbilinear.interaction_tensor(layer)
    laws.same(whole, refbilinear.interaction_tensor(twin))
    laws.same(refbilinear.quadratic_form(whole, refbilinear.homogeneous(x)), y)
    assert {name: value.tobytes() for name, value in values.items()} == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("names", [OPTIONAL, ("w_out",), ()], ids=["all", "w_out", "none"])
def test_a_bad_number_stays_in_its_row(bad, dtype, names):
    rng = np.random.default_rng(3)
    layer = random_layer(rng, names, dtype=dtype)
    x = random_array(rng, (7, 3), dtype)
    laws.nan_stays_in_its_row(OF, layer, x, bad)


def test_infinity_follows_ieee():
    layer = BilinearLayer([[1, 0]], [[1, 0]], b_out=[3])
    with np.errstate(invalid="ignore"):
        y = forward(layer, [[np.inf, 1], [-np.inf, 1], [2, 1]])
    # 0 · 1 + 1 · inf = inf, and its square; the third row is finite.
    laws.same(y, [[np.inf], [np.inf], [7.0]])
    with np.errstate(invalid="ignore"):
        assert np.isnan(forward(layer, [[1, np.inf]])).all()


def test_no_hidden_unit_takes_no_nan():
    layer = BilinearLayer(np.zeros((0, 2)), np.zeros((0, 2)), w_out=np.zeros((1, 0)), b_out=[5])
    laws.same(forward(layer, [[np.nan, 1]]), [[5.0]])


def test_the_layer_is_frozen_and_its_arrays_read_only():
    weights = np.ones((1, 2))
    layer = BilinearLayer(weights, weights)
    with pytest.raises(AttributeError, match="cannot assign"):
        layer.w_left = weights
    with pytest.raises(ValueError, match="read-only"):
        layer.w_left[0, 0] = 2
    weights[0, 0] = 3
    assert layer.w_left[0, 0] == 3


def test_repr_names_sizes_and_parameters():
    layer = random_layer(np.random.default_rng(0), ("w_out", "b_left"), (3, 5, 2), np.float32)
    assert repr(layer) == "BilinearLayer(d_in=3, d_hidden=5, d_out=2, float32, w_out, b_left)"
    assert not BilinearLayer([[1]], [[1]]).has_constant
    assert layer.has_constant


@pytest.mark.parametrize("name", OPTIONAL[1:])
def test_each_of_biases_and_skip_asks_for_the_constant(name):
    layer = random_layer(np.random.default_rng(1), ("w_out", name))
    assert layer.has_constant
    assert refbilinear.interaction_tensor(layer).shape == (2, 10)


@settings(max_examples=25)
@given(layers_with_x())
def test_leading_axes_are_kept(case):
    layer, x = case
    stacked = np.stack([x, 2 * x])
    y = forward(layer, stacked)
    assert y.shape == (2, len(x), layer.d_out)
    laws.same(y[1], forward(layer, 2 * x))
    dy = y * 0 + 1
    flat = backward(layer, np.concatenate([x, 2 * x]), np.concatenate([dy[0], dy[1]]))
    deep = backward(layer, stacked, dy)
    laws.same(deep.w_left, flat.w_left)
    laws.same(deep.x.reshape(flat.x.shape), flat.x)


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_inputs_are_left_alone(dtype, data):
    laws.inputs_are_left_alone(OF, *data.draw(layers_with_batch(dtype)))
