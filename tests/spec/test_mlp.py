"""A stack of layers: its definition, its gradient, and folding."""

import numpy as np
import pytest
from hypothesis import given, settings

import laws
import refbilinear
from refbilinear import (
    BilinearLayer,
    BilinearMLP,
    fold,
    mlp_activations,
    mlp_backward,
    mlp_forward,
    parameters,
    with_parameters,
)
from strategies import FLOATS, LAYOUTS, models, models_with_batch, plain, random_array, random_layer

OF = laws.package()


@settings(max_examples=100)
@given(models_with_batch())
def test_a_model_is_its_layers_one_after_the_other(case):
    model, x, _ = case
    laws.mlp_is_its_layers(OF, model, x)


@pytest.mark.parametrize(
    ("depth", "largest", "examples"), [(1, 4, 20), (2, 4, 8), (3, 4, 3)], ids=["1", "2", "3"]
)
def test_backward_is_the_differences(depth, largest, examples):
    @settings(max_examples=examples)
    @given(models_with_batch(depth=depth, largest=largest))
    def holds(case):
        laws.mlp_backward_is_the_differences(OF, *case)

    holds()


@settings(max_examples=100)
@given(models_with_batch(depth=1))
def test_fold_is_the_model(case):
    model, x, _ = case
    laws.fold_is_the_model(OF, model, x)


@settings(max_examples=25)
@given(models_with_batch())
def test_activations_can_be_reused_and_x_left_out(case):
    model, x, dy = case
    full = mlp_backward(model, x, dy)
    reused = mlp_backward(model, x, dy, mlp_activations(model, x))
    without = mlp_backward(model, x, dy, input_gradient=False)
    for name, gradient in parameters(full).items():
        laws.same(parameters(reused)[name], gradient)
        laws.same(parameters(without)[name], gradient)
    laws.same(reused.x, full.x)
    assert without.x is None
    assert [layer.x for layer in full.layers] == [None] * len(model.layers)


@settings(max_examples=25)
@given(models_with_batch())
def test_backward_layer_by_layer(case):
    """The chain rule, one refbilinear.backward a layer."""
    model, x, dy = case
    streams = mlp_activations(model, x).streams
    got = mlp_backward(model, x, dy)
    dh = dy if model.w_head is None else dy @ model.w_head
    for layer, h, gradients in reversed(list(zip(model.layers, streams, got.layers, strict=False))):
        of_layer = refbilinear.backward(layer, h, dh)
        for name, gradient in parameters(of_layer).items():
            laws.same(getattr(gradients, name), gradient)
        dh = dh + of_layer.x if model.residual else of_layer.x
    laws.same(got.x, dh if model.w_embed is None else dh @ model.w_embed)


@settings(max_examples=25)
@given(models())
def test_parameters_round_trip(model):
    named = parameters(model)
    again = with_parameters(model, named)
    assert list(parameters(again)) == list(named)
    assert again.residual == model.residual
    for name, array in parameters(again).items():
        laws.same(array, named[name])


def test_parameters_are_named_in_the_order_of_the_data():
    layer = random_layer(np.random.default_rng(0), ("w_out", "b_left"), (3, 5, 3))
    model = BilinearMLP(
        None, [layer, layer], random_array(np.random.default_rng(1), (2, 3), object)
    )
    of_layer = ["w_left", "w_right", "w_out", "b_left"]
    assert list(parameters(model)) == [
        *[f"layers.{number}.{name}" for number in range(2) for name in of_layer],
        "w_head",
    ]
    assert model.layers[0] is layer
    assert (model.d_in, model.d_out, model.dtype) == (3, 2, object)


def test_repr_names_the_widths():
    layer = random_layer(np.random.default_rng(0), ("w_out",), (3, 5, 3), np.float32)
    model = BilinearMLP(None, [layer, layer], None, residual=True)
    assert repr(model) == ("BilinearMLP(d_in=3, layers=[3→5→3, 3→5→3], d_out=3, float32, residual)")


def test_the_model_is_read_only():
    embed = np.ones((1, 2))
    model = BilinearMLP(embed, [BilinearLayer([[1]], [[1]])], None)
    with pytest.raises(ValueError, match="read-only"):
        model.w_embed[0, 0] = 2
    assert embed.flags.writeable
    with pytest.raises(AttributeError, match="cannot assign"):
        model.residual = True


@pytest.mark.parametrize("residual", [False, True])
def test_no_skip_without_a_reason(residual):
    model = BilinearMLP(None, [BilinearLayer([[2]], [[3]])], None, residual)
    folded = fold(model)
    assert (folded.w_out, folded.b_out) == (None, None)
    if residual:
        laws.same(folded.w_skip, [[1.0]])
    else:
        assert folded.w_skip is None


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dtype", [object, *FLOATS], ids=["object", "float32", "float64"])
@pytest.mark.parametrize("zero", ["d_in", "d_model", "d_hidden", "d_out", "n"])
def test_zero_sizes(zero, dtype, residual):
    size = {"d_in": 3, "d_model": 4, "d_hidden": 5, "d_out": 2, "n": 6} | {zero: 0}
    rng = np.random.default_rng(1)
    d = size["d_model"]
    layer = random_layer(rng, ("w_out", "b_out", "w_skip"), (d, size["d_hidden"], d), dtype)
    embed = random_array(rng, (d, size["d_in"]), dtype)
    head = random_array(rng, (size["d_out"], d), dtype)
    model = BilinearMLP(embed, [layer], head, residual)
    x = random_array(rng, (size["n"], size["d_in"]), dtype)
    dy = random_array(rng, (size["n"], size["d_out"]), dtype)
    y, gradients = mlp_forward(model, x), mlp_backward(model, x, dy)
    assert y.shape == dy.shape
    assert y.dtype == dtype
    for name, array in parameters(model).items():
        assert parameters(gradients)[name].shape == array.shape
    if dtype is object:
        laws.mlp_is_its_layers(OF, model, x)
        laws.fold_is_the_model(OF, model, x)
        laws.exact_numbers(gradients.x, *parameters(gradients).values())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_layout_gives_the_same(layout, dtype):
    place = LAYOUTS[layout]
    rng = np.random.default_rng(7)
    shapes = {
        "embed": (4, 3),
        "left": (5, 4),
        "right": (5, 4),
        "head": (2, 5),
        "x": (6, 3),
        "dy": (6, 2),
    }
    values = {n: place(rng.integers(-4, 5, s).astype(dtype)) for n, s in shapes.items()}
    before = {name: value.tobytes() for name, value in values.items()}

    def results(v):
        model = BilinearMLP(v["embed"], [BilinearLayer(v["left"], v["right"])], v["head"])
        gradients = mlp_backward(model, v["x"], v["dy"])
        folded = parameters(fold(model))
        return [
            mlp_forward(model, v["x"]),
            gradients.x,
            *parameters(gradients).values(),
            *folded.values(),
        ]

    wanted = results({name: plain(value) for name, value in values.items()})
    for got, want in zip(results(values), wanted, strict=True):
        assert got.dtype == dtype
        laws.same(got, want)
    assert {name: value.tobytes() for name, value in values.items()} == before


def test_a_nan_stays_in_its_row():
    rng = np.random.default_rng(4)
    layer = random_layer(rng, sizes=(3, 5, 3), dtype=np.float64)
    model = BilinearMLP(None, [layer, layer], None, residual=True)
    x = random_array(rng, (4, 3), np.float64)
    clean = mlp_forward(model, x)
    x[2, 0] = np.nan
    y = mlp_forward(model, x)
    assert np.isnan(y[2]).all()
    laws.same(np.delete(y, 2, 0), np.delete(clean, 2, 0))
