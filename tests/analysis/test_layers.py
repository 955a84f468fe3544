"""Layers made of layers, exactly: as functions and as tensors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import (
    BilinearLayer,
    BilinearMLP,
    forward,
    homogeneous,
    interaction_tensor,
    mlp_forward,
    pack,
    unpack,
)
from refbilinear.analysis.layers import (
    add,
    carrying_constant,
    homogeneous_layer,
    jacobian,
    output_weights,
    over_constant,
    stages,
    subtract,
)
from strategies import FLOATS, arrays, layers, models_with_batch, optional_names, random_layer


@st.composite
def two_layers(draw, dtype=object):
    """Draw two layers of one d_in and d_out and of different d_hidden, and a batch."""
    d_in, h1, h2, d_out, n = draw(st.permutations(range(1, 6)))
    pair = []
    for d_hidden in (h1, h2):
        names = draw(optional_names())
        sizes = (d_in, d_hidden if "w_out" in names else d_out, d_out)
        pair.append(draw(layers(dtype, sizes, names)))
    return *pair, draw(arrays((n, d_in), dtype))


def tensor_over_constant(layer):
    """Return the dense tensor over [x; 1], also of a layer without a constant."""
    whole = unpack(interaction_tensor(layer))
    if layer.has_constant:
        return whole
    wide = np.full((len(whole), layer.d_in + 1, layer.d_in + 1), laws.Fraction(0), dtype=object)
    wide[:, :-1, :-1] = whole
    return wide


@settings(max_examples=25)
@given(two_layers())
def test_sum_and_difference(case):
    first, second, x = case
    for make, sign in ((add, 1), (subtract, -1)):
        layer = make(first, second)
        assert layer.d_hidden == first.d_hidden + second.d_hidden
        y = forward(layer, x)
        laws.exact_numbers(y)
        laws.same(y, forward(first, x) + sign * forward(second, x))
        want = tensor_over_constant(first) + sign * tensor_over_constant(second)
        laws.same(tensor_over_constant(layer), want)


def test_no_output_weights_become_two_identities():
    first, second = (random_layer(np.random.default_rng(s), (), (2, 3, 3)) for s in (0, 1))
    eye = np.eye(3, dtype=int)
    laws.same(add(first, second).w_out, np.c_[eye, eye])
    laws.same(subtract(first, second).w_out, np.c_[eye, -eye])
    assert not add(first, second).has_constant


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_keep_their_dtype_and_weights_are_copied(dtype):
    first, second = (
        random_layer(np.random.default_rng(h), sizes=(2, h, 4), dtype=dtype) for h in (3, 5)
    )
    layer = subtract(first, second)
    assert layer.dtype == dtype
    laws.same(layer.w_left, np.concatenate([first.w_left, second.w_left]))
    laws.same(layer.w_out, np.c_[first.w_out, -second.w_out])


@settings(max_examples=25)
@given(layers())
def test_a_homogeneous_layer_has_the_same_tensor(layer):
    plain = homogeneous_layer(layer)
    assert not plain.has_constant
    laws.same(interaction_tensor(plain), interaction_tensor(layer))
    laws.same(interaction_tensor(over_constant(layer)), pack(tensor_over_constant(layer)))


@settings(max_examples=25)
@given(two_layers())
def test_the_jacobian_is_the_differences(case):
    layer, _, x = case
    step = laws.exact(np.eye(layer.d_in))
    for row in x:
        columns = (forward(layer, row + step) - forward(layer, row - step)) / 2
        laws.same(jacobian(layer, row), columns.T)


@settings(max_examples=25)
@given(models_with_batch())
def test_stages_compose_to_the_model(case):
    model, x, _ = case
    h, wide = x, homogeneous(x)
    for stage in stages(model):
        h, wide = forward(stage, h), forward(carrying_constant(stage), wide)
    laws.same(h, mlp_forward(model, x))
    laws.same(wide, homogeneous(h))


def test_a_layer_is_its_one_stage():
    layer = BilinearLayer([[1]], [[2]])
    assert stages(layer) == (layer,)
    assert len(stages(BilinearMLP(None, [layer], None))) == 1
    laws.same(output_weights(layer), [[1]])


@pytest.mark.parametrize("make", [add, subtract])
def test_layers_that_do_not_fit_are_refused(make):
    layer = BilinearLayer([[1, 2]], [[3, 4]])
    with pytest.raises(ValueError, match="second must have d_in = 2 to match first; got 1"):
        make(layer, BilinearLayer([[1]], [[1]]))
    with pytest.raises(ValueError, match="second must have d_out = 1 to match first; got 2"):
        make(layer, BilinearLayer(np.eye(2), np.eye(2)))
    with pytest.raises(TypeError, match="second must have dtype float64"):
        make(layer, BilinearLayer(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32)))
