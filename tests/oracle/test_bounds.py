"""No float result is further from the exact one than its bound allows."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import BilinearLayer, BilinearMLP, QuadraticForm, n_pairs, parameters
from refbilinear.oracle import bounds
from refbilinear.oracle.bounds import (
    forward_roundings,
    gamma,
    mlp_forward_roundings,
    quadratic_form_roundings,
    tensor_roundings,
)
from refbilinear.oracle.trees import map_arrays
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


UNITS = {"f64": (-53, None), "f32": (-24, None), "tf32": (-24, -11), "bf16-f32acc": (-24, -8)}


def is_its_formula(got, twin, k, name, claim):
    """`((1 + u_s)^δ (1 + γ_K) − 1) · twin`, but for the roundings of the twin in float64."""
    unit, storage = UNITS[claim]
    degree = bounds.DEGREES[name] if name else bounds.Degree(0, 0)
    times = degree.stored if claim.startswith("b") else degree.read
    gamma = k * 2.0**unit / (1 - k * 2.0**unit)
    stored = (1 + 2.0**storage) ** times - 1 if storage else 0.0
    want = (stored + gamma + stored * gamma) * np.asarray(twin)
    assert np.shape(got) == want.shape
    assert (want > 0).all()
    assert (got >= want * (1 - 1e-9)).all()
    assert (got <= want * (1 + 1e-6)).all()


def positive(rng, *shapes):
    return [rng.uniform(1, 2, shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("claim", UNITS)
def test_each_bound_is_its_formula(claim):
    """K from the docstrings, of d_in = 5, d_hidden = 7, d_out = 3, n = 4 with everything there."""
    rng = np.random.default_rng(3)
    layer = random_layer(rng, sizes=(5, 7, 3), dtype=np.float32)
    layer = BilinearLayer(*(abs(w) for w in parameters(layer).values()))
    x, dy, u, t, z = positive(rng, (4, 5), (4, 3), (3,), (4, 5), (4, 5))
    tensor, matrix, linear, lam, vectors = positive(rng, (3, 15), (5, 5), (5,), (2,), (5, 2))
    form = QuadraticForm(matrix, linear, np.float32(1.5))
    wide, form64 = (map_arrays(lambda a: np.asarray(a, float), held) for held in (layer, form))
    x64, dy64, u64, tensor64 = (array.astype(float) for array in (x, dy, u, tensor))
    for bound, twin, k, name in [
        (bounds.forward_bound(layer, x, claim), OF.forward(wide, x64), 22, "forward"),
        (bounds.tensor_bound(layer, claim), OF.interaction_tensor(wide), 10, "tensor"),
        (bounds.matrix_bound(tensor, u, claim), OF.interaction_matrix(tensor64, u64), 3, "matrix"),
        (bounds.form_value_bound(form, x, claim), OF.form_value(form64, x64), 12, "form_value"),
        (
            bounds.quadratic_form_bound(tensor, x, claim),
            OF.quadratic_form(tensor64, x64), 10, "quadratic_form",
        ),
        (
            bounds.bilinear_form_bound(tensor, x, z, claim),
            OF.bilinear_form(tensor64, x64, z.astype(float)), 10, "bilinear_form",
        ),
        (
            bounds.tensor_gradient_bound(x, dy, claim),
            OF.tensor_gradient(x64, dy64), 5, "tensor_gradient",
        ),
        (
            bounds.truncated_form_bound(lam, vectors, x, claim),
            (x64 @ vectors) ** 2 @ lam, 13, "truncated_form",
        ),
        *zip(
            bounds.output_form_bound(layer, u, claim),
            OF.output_form(wide, u64), (12, 13, 12), ["output_form"] * 3, strict=True,
        ),
        *zip(
            bounds.squared_error_bound(x, t, claim),
            (((x64 + t) ** 2).sum() / 4, 2 * (x64 + t) / 4), (23, 2),
            ("squared_error", "squared_error_dy"), strict=True,
        ),
    ]:  # fmt: skip
        is_its_formula(bound, twin, k, name, claim)
    gradients = OF.backward(wide, x64, dy64)._asdict()
    k = {"w_left": 14, "w_right": 14, "w_out": 17, "b_left": 14, "b_right": 14, "b_out": 4}
    for name, count in (k | {"w_skip": 4, "x": 19}).items():
        got = getattr(bounds.backward_bound(layer, x, dy, claim), name)
        is_its_formula(got, gradients[name], count, name, claim)


def test_each_bound_of_a_model_is_its_formula():
    """Two layers, d_in = 3, d_model = 2, widths 4 and 5, d_out = 6, n = 4, all residual."""
    rng = np.random.default_rng(4)
    embed, head, x, dy = positive(rng, (2, 3), (6, 2), (4, 3), (4, 6))
    layers = [BilinearLayer(*positive(rng, (h, 2), (h, 2), (2, h))) for h in (4, 5)]
    model = BilinearMLP(embed, layers, head, residual=True)
    wide, x64 = map_arrays(lambda w: w.astype(float), model), x.astype(float)
    # 3 of the embedding; each layer doubles it, adds 2 + 2 + 1 + d_hidden, and a sum
    first = 2 * 3 + 5 + 4 + 1
    last = 2 * first + 5 + 5 + 1
    is_its_formula(
        bounds.mlp_forward_bound(model, x), OF.mlp_forward(wide, x64), last + 2, "", "f32"
    )
    got, twin = (
        bounds.mlp_backward_bound(model, x, dy),
        OF.mlp_backward(wide, x64, dy.astype(float)),
    )
    # through the second layer: the head 6, w_out 2, the other factor, one; then d_hidden and one
    a, b = 6 + 2 + first + 2 + 1, first
    dx = a + 5 + 1 + 1
    c = dx + 2 + 3 + 2 + 1
    dx_first = c + 4 + 1 + 1
    for bound, true, k in [
        (got.w_head, twin.w_head, last + 4),
        (got.layers[1].w_left, twin.layers[1].w_left, a + b + 4),
        (got.layers[1].w_out, twin.layers[1].w_out, 6 + 2 * (b + 2) + 1 + 4),
        (got.layers[0].w_right, twin.layers[0].w_right, c + 3 + 4),
        (got.w_embed, twin.w_embed, dx_first + 4),
        (got.x, twin.x, dx_first + 2),
    ]:
        is_its_formula(bound, true, k, "", "f32")
    for skip in ((), positive(rng, (2, 2))):
        weights = positive(rng, (4, 2), (4, 2), (2, 4))
        layer = BilinearLayer(*weights, **dict(zip(["w_skip"], skip, strict=False)))
        assert bounds.fold_roundings(BilinearMLP(embed, [layer], head, residual=True)) == 4 + len(
            skip
        )
        assert bounds.fold_roundings(BilinearMLP(embed, [layer], head)) == 4


def test_the_bound_of_a_folded_model_is_its_formula():
    """5 of folding, thrice; 2 + 4 + 1 of the tensor; 2 · 4 of its form: d_in = 3 and a constant."""
    rng = np.random.default_rng(8)
    embed, head, z = positive(rng, (2, 3), (6, 2), (5, 4))
    weights = positive(rng, (4, 2), (4, 2), (2, 4), (2, 2))
    layer = BilinearLayer(*weights[:3], w_skip=weights[3])
    model = BilinearMLP(embed, [layer], head, residual=True)
    wide = OF.fold(map_arrays(lambda w: w.astype(float), model))
    twin = OF.quadratic_form(OF.interaction_tensor(wide), z.astype(float))
    is_its_formula(bounds.folded_form_bound(model, z), twin, 3 * 5 + 7 + 8, "", "f32")


def test_absolute_values():
    thirds = magnitude(np.array([Fraction(-1, 3)], dtype=object))
    assert thirds.dtype == np.float64
    assert thirds[0] == 1 / 3
