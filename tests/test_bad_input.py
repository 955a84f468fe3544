"""Bad input, in one table: what was called, the exception, and what its message says.

Every message names the argument, what is wanted and what came.
"""

import importlib
import os
from fractions import Fraction
from importlib.util import find_spec

import numpy as np
import pytest

import refbilinear
from refbilinear import (
    BilinearLayer,
    BilinearMLP,
    accuracy,
    adamw,
    backward,
    bilinear_form,
    cosine_schedule,
    cross_entropy,
    dimension,
    fold,
    form_value,
    forward,
    homogeneous,
    init_mlp,
    interaction_matrix,
    interaction_tensor,
    mlp_backward,
    mlp_forward,
    n_pairs,
    output_form,
    pack,
    pair_index,
    pair_indices,
    parameters,
    project,
    quadratic_form,
    squared_error,
    symmetric_part,
    tensor_gradient,
    train,
    unpack,
    with_parameters,
)
from refbilinear.analysis.eigenpairs import (
    Spectrum,
    contributions,
    eigendecompose,
    reconstruct,
)
from refbilinear.analysis.ranks import effective_rank
from refbilinear.oracle import bounds, exact, simulate
from refbilinear.oracle.bounds import gamma
from refbilinear.oracle.training import adamw_bound, cross_entropy_bound

V, T = ValueError, TypeError


class Unreadable:
    """What says that it is an array, and cannot be read."""

    def __array__(self, *_, **__):
        raise RuntimeError("on loan")


def ones(*shape, dtype=np.float64):
    array = np.ones(shape, dtype)
    array.flags.writeable = False
    return array


def fractions(*shape):
    return np.full(shape, Fraction(1, 2), dtype=object)


# Sizes are distinct: d_in 3, d_hidden 5, d_out 2, d_model 4, n 7.
LAYER = BilinearLayer(ones(5, 3), ones(5, 3), ones(2, 5))
SINGLE = BilinearLayer(*(ones(5, 3, dtype=np.float32) for _ in range(2)))
EXACT = BilinearLayer(fractions(5, 3), fractions(5, 3))
BIASED = BilinearLayer(ones(5, 3), ones(5, 3), ones(2, 5), b_out=ones(2))
MODEL = BilinearMLP(ones(3, 4), [LAYER], ones(6, 2))
SQUARE = BilinearLayer(ones(5, 3), ones(5, 3), ones(3, 5))
TWO = BilinearMLP(None, [SQUARE, LAYER], None)
EXACT_MODEL = BilinearMLP(None, [EXACT], None)
X, DY = ones(7, 3), ones(7, 2)
TENSOR, PAIRS = ones(2, 6), eigendecompose(np.eye(3))
NET = init_mlp(0, 3, 4, 5, 2)
LABELS = np.array([0, 1, 0, 1, 0, 1, 0])
NAN = np.array([[1.0, 2.0], [np.nan, 3.0]])
TILTED = np.array([[1.0, 2.0], [np.nextafter(2.0, 3.0), 3.0]])
MIXED = np.array([[Fraction(1), 0.5, 2]], dtype=object)


def layer(**changed):
    return BilinearLayer(**{"w_left": ones(5, 3), "w_right": ones(5, 3)} | changed)


def fit(**changed):
    """Call train as it should be called, but for the changes; nothing need be iterated."""
    return train(**{"model": NET, "x": X, "labels": LABELS, "rng": 0} | changed)


def step(**changed):
    state = {name: ones(3) for name in ("theta", "g", "m", "v")} | {"t": 1}
    return adamw(**state | changed)


LAYERS = [
    (lambda: layer(w_left=ones(5)), V, r"w_left must have shape \(d_hidden, d_in\); got \(5,\)"),
    (lambda: layer(w_left=ones(1, 5, 3)), V, r"w_left must have shape .*; got \(1, 5, 3\)"),
    (
        lambda: layer(w_right=ones(5, 4)),
        V,
        r"w_right must have shape \(d_hidden, d_in\) = \(5, 3\) to match w_left; got \(5, 4\)",
    ),
    (lambda: layer(w_right=ones(3, 5)), V, r"w_right must .* \(5, 3\) .*; got \(3, 5\)"),
    (lambda: layer(w_right=None), T, "w_right must be an array; got None"),
    (lambda: layer(w_left=None), T, "w_left must be an array; got None"),
    (
        lambda: layer(w_out=ones(5, 2)),
        V,
        r"w_out must have shape \(d_out, d_hidden\) = \(d_out, 5\) to match w_left; got \(5, 2\)",
    ),
    (lambda: layer(b_left=ones(3)), V, r"b_left must have shape \(d_hidden,\) = \(5,\) .*\(3,\)"),
    (lambda: layer(b_right=ones(5, 1)), V, r"b_right must have shape .* got \(5, 1\)"),
    (lambda: layer(b_out=ones(2)), V, r"b_out must .* \(5,\) to match w_left; got \(2,\)"),
    (
        lambda: layer(w_out=ones(2, 5), b_out=ones(5)),
        V,
        r"b_out must .* \(2,\) to match w_out; got \(5,\)",
    ),
    (
        lambda: layer(w_out=ones(2, 5), w_skip=ones(3, 2)),
        V,
        r"w_skip must have shape \(d_out, d_in\) = \(2, 3\) to match the other weights; got \(3, 2\)",
    ),
    (lambda: layer(w_skip=ones(5)), V, r"w_skip must have shape .* got \(5,\)"),
    (
        lambda: layer(w_right=ones(5, 3, dtype=np.float32)),
        T,
        "w_right must have dtype float64 to match w_left; got float32: convert one of them",
    ),
    (
        lambda: layer(w_right=fractions(5, 3)),
        T,
        r"w_right must have dtype float64 to match w_left; got object \(exact rationals\)",
    ),
    (
        lambda: BilinearLayer(fractions(5, 3), ones(5, 3)),
        T,
        r"w_right must have dtype object \(exact rationals\) to match w_left; got float64",
    ),
    (lambda: layer(b_out=ones(5, dtype=np.float32)), T, "b_out must have dtype float64"),
    (lambda: layer(w_left=[[1, 2], [3]]), V, "w_left must be a rectangular array of numbers"),
    (lambda: layer(w_left=Unreadable()), T, r"w_left must be convertible to an array; on loan"),
    (lambda: layer(w_left=MIXED), T, r"w_left must hold exact rationals .*float at \(0, 1\)"),
    (lambda: layer(w_left=[[2**53 + 1, 0]]), V, r"integers of at most 2\*\*53.*3 at \(0, 0\)"),
]

NUMBERS = [
    (np.float16, T, "x must hold float32, float64, integers or exact rationals; got float16"),
    (np.longdouble, T, "x must hold .* got (float128|longdouble|float96)"),
    (np.complex64, T, "x must hold .* got complex64"),
    (np.complex128, T, "x must hold .* got complex128"),
    (str, T, "x must hold .* got <U"),
    (bytes, T, r"x must hold .* got \|S"),
    ("M8[s]", T, "x must hold .* got datetime64"),
    ("m8[s]", T, "x must hold .* got timedelta64"),
    ([("a", float)], T, "x must hold .* got "),
]
NUMBERS = [
    (lambda dtype=dtype: forward(LAYER, np.zeros((7, 3), dtype)), error, words)
    for dtype, error, words in NUMBERS
]
NUMBERS += [
    (lambda: forward(LAYER, None), T, "x must be an array; got None"),
    (lambda: forward(LAYER, np.ma.masked_array(ones(7, 3))), T, "plain array; got MaskedArray"),
    (lambda: forward(LAYER, ones(7, 3).view(np.matrix)), T, "plain array; got matrix"),
    (lambda: forward(LAYER, [[1, 2, 3], [4]]), V, "x must be a rectangular array of numbers; .*"),
    (lambda: forward(LAYER, "three"), T, "x must hold .* got <U5"),
    (lambda: forward(LAYER, object()), T, r"x must hold exact rationals .* got object at \(\)"),
    (
        lambda: forward(LAYER, X.astype(np.float32)),
        T,
        "x must have dtype float64 to match the layer",
    ),
    (lambda: forward(SINGLE, X), T, "x must have dtype float32 to match the layer; got float64"),
    (lambda: forward(SINGLE, [[1, 2, 3]]), T, "x must have dtype float32 .* got float64"),
    (
        lambda: forward(LAYER, fractions(7, 3)),
        T,
        r"dtype float64 .* got object \(exact rationals\)",
    ),
    (lambda: forward(EXACT, X), T, r"dtype object \(exact rationals\) to match the layer"),
    (lambda: forward(EXACT, MIXED), T, r"where its dtype is object; got float at \(0, 1\)"),
    (
        lambda: forward(EXACT, np.array([[1, 2, None]], dtype=object)),
        T,
        r"got NoneType at \(0, 2\)",
    ),
    (
        lambda: forward(LAYER, [[1, 2, 2**53 + 1]]),
        V,
        r"2\*\*53, .*; got 9007199254740993 at \(0, 2\)",
    ),
    (lambda: forward(LAYER, [[1, -(2**53) - 1, 1]]), V, r"got -9007199254740993 at \(0, 1\)"),
    (lambda: forward(LAYER, np.full((1, 3), 2**63, np.uint64)), V, r"at \(0, 0\)"),
]

PASSES = [
    (
        lambda: forward(LAYER, ones(7, 4)),
        V,
        r"x must have shape \(\.\.\., d_in\) = \(\.\.\., 3\) to match the layer; got \(7, 4\)",
    ),
    (lambda: forward(LAYER, 1.0), V, r"x must have shape .*; got \(\)"),
    (lambda: project(LAYER, ones(2)), V, r"x must have shape .*; got \(2,\)"),
    (lambda: backward(LAYER, ones(7, 2), DY), V, r"x must have shape .*; got \(7, 2\)"),
    (
        lambda: backward(LAYER, X, ones(7, 5)),
        V,
        r"dy must have shape \(\.\.\., d_out\) = \(\.\.\., 2\) to match the layer; got \(7, 5\)",
    ),
    (
        lambda: backward(LAYER, X, ones(6, 2)),
        V,
        r"dy must have shape \(7, 2\) to match x; got \(6, 2\)",
    ),
    (lambda: backward(LAYER, X, ones(2)), V, r"dy must have shape \(7, 2\) to match x; got \(2,\)"),
    (lambda: backward(LAYER, X, None), T, "dy must be an array; got None"),
    (lambda: backward(LAYER, X, ones(7, 2, dtype=np.float32)), T, "dy must have dtype float64"),
    (
        lambda: backward(LAYER, X, DY, (ones(7, 4), ones(7, 5))),
        V,
        r"projections\.left must have shape .* = \(\.\.\., 5\) .*; got \(7, 4\)",
    ),
    (
        lambda: backward(LAYER, X, DY, (ones(7, 5), ones(6, 5))),
        V,
        r"projections\.right must have shape \(7, 5\) to match x; got \(6, 5\)",
    ),
    (lambda: mlp_forward(MODEL, ones(7, 3)), V, r"x must .*\(\.\.\., 4\) to match the model; got"),
    (lambda: mlp_forward(MODEL, ones(7, 4, dtype=np.float32)), T, "x must have dtype float64"),
    (lambda: mlp_backward(MODEL, ones(7, 4), DY), V, r"dy must .*\(\.\.\., 6\) to match the model"),
    (
        lambda: mlp_backward(MODEL, ones(7, 4), ones(6, 6)),
        V,
        r"dy must have shape \(7, 6\) to match x; got \(6, 6\)",
    ),
    (lambda: mlp_backward(MODEL, ones(7, 3), ones(7, 6)), V, "x must have shape"),
    (lambda: BilinearMLP(None, ["x"], None), T, r"layers\[0\] must be a BilinearLayer; got str"),
    (
        lambda: BilinearMLP(None, [], None),
        V,
        "layers must hold at least one BilinearLayer; got none",
    ),
    (
        lambda: BilinearMLP(None, [LAYER, LAYER], None),
        V,
        r"layers\[1\] must have d_in = 2 to match the d_out of layers\[0\]; got 3",
    ),
    (
        lambda: BilinearMLP(None, [SQUARE, SINGLE], None),
        T,
        r"layers\[1\] must have dtype float64 to match layers\[0\]; got float32",
    ),
    (
        lambda: BilinearMLP(None, [LAYER], None, residual=True),
        V,
        r"layers\[0\] must have d_out = d_in = 3 for a residual connection; got d_out = 2",
    ),
    (
        lambda: BilinearMLP(ones(4, 3), [LAYER], None),
        V,
        r"w_embed must have shape \(d_model, d_in\) = \(3, d_in\) to match layers\[0\]; got \(4, 3\)",
    ),
    (
        lambda: BilinearMLP(None, [LAYER], ones(2, 6)),
        V,
        r"w_head must have shape \(d_out, d_model\) = \(d_out, 2\) to match layers\[-1\]",
    ),
    (
        lambda: BilinearMLP(ones(3, 4, dtype=np.float32), [LAYER], None),
        T,
        r"w_embed must have dtype float64 to match layers\[0\]; got float32",
    ),
    (lambda: BilinearMLP(ones(3), [LAYER], None), V, r"w_embed must have shape .*; got \(3,\)"),
    (lambda: fold(TWO), V, "model must have one layer .*; got 2, a polynomial of degree 4"),
]

TENSORS = [
    (
        lambda: quadratic_form(ones(6), X),
        V,
        r"tensor must have shape \(d_out, n_pairs\); got \(6,\)",
    ),
    (lambda: quadratic_form(ones(2, 5), X), V, r"n_pairs must be .* such as 3 or 6; got 5"),
    (
        lambda: quadratic_form(interaction_tensor(BIASED), X),
        V,
        r"x must .*\(\.\.\., 4\) .*append its constant coordinate: homogeneous\(x\)\); got \(7, 3\)",
    ),
    (
        lambda: bilinear_form(interaction_tensor(BIASED), homogeneous(X), X),
        V,
        r"z must .*homogeneous\(x\)\); got \(7, 3\)",
    ),
    (
        lambda: quadratic_form(TENSOR, ones(7, 5)),
        V,
        r"x must have shape \(\.\.\., d\) = \(\.\.\., 3\) to match the tensor; got \(7, 5\)$",
    ),
    (lambda: quadratic_form(TENSOR, X.astype(np.float32)), T, "x must have dtype float64"),
    (lambda: quadratic_form(TENSOR, None), T, "x must be an array; got None"),
    (
        lambda: quadratic_form(TENSOR, [[1, 2, 3], [4]]),
        V,
        "x must be a rectangular array of numbers",
    ),
    (lambda: bilinear_form(TENSOR, X, fractions(7, 3)), T, "z must have dtype float64"),
    (
        lambda: bilinear_form(TENSOR, X, ones(6, 3)),
        V,
        r"leading axes that broadcast; got \(7,\) and \(6,\)",
    ),
    (lambda: interaction_matrix(TENSOR, ones(3)), V, r"u must .*\(\.\.\., 2\) to match the tensor"),
    (lambda: interaction_matrix(TENSOR, ones(2, dtype=np.float32)), T, "u must have dtype float64"),
    (
        lambda: output_form(LAYER, ones(3)),
        V,
        r"u must have shape \(d_out,\) = \(2,\) .* got \(3,\)",
    ),
    (lambda: output_form(LAYER, ones(1, 2)), V, r"u must have shape .*; got \(1, 2\)"),
    (lambda: output_form(EXACT, ones(5)), T, r"u must have dtype object \(exact rationals\)"),
    (lambda: form_value(output_form(LAYER, ones(2)), ones(4)), V, "x must .* to match the form"),
    (lambda: tensor_gradient(X, ones(6, 2)), V, r"dy must have shape \(7, 2\) to match x"),
    (lambda: tensor_gradient(X, ones(7, 2, dtype=np.float32)), T, "dy must have dtype float64"),
    (lambda: tensor_gradient(1.0, DY), V, r"x must have shape \(\.\.\., d\); got \(\)"),
    (lambda: homogeneous(1.0), V, r"x must have shape \(\.\.\., d_in\); got \(\)"),
    (lambda: pack(ones(2, 3)), V, r"matrices must have shape \(\.\.\., d, d\); got \(2, 3\)"),
    (lambda: pack(ones(3)), V, r"matrices must have shape .*; got \(3,\)"),
    (
        lambda: pack([[1, 2], [3, 4]]),
        V,
        r"matrices must equal its transpose exactly; got 2\.0 at \(0, 1\) against 3\.0: take symm",
    ),
    (lambda: pack(NAN), V, r"matrices must equal its transpose exactly; got 2\.0 at \(0, 1\)"),
    (lambda: pack(np.stack([np.eye(2), TILTED])), V, r"at \(1, 0, 1\)"),
    (lambda: unpack(ones(2, 4)), V, "n_pairs must be d.* such as 3 or 6; got 4"),
    (lambda: unpack(1.0), V, r"packed must have shape \(\.\.\., n_pairs\); got \(\)"),
    (lambda: symmetric_part(ones(2, 3)), V, r"matrices must have shape .*; got \(2, 3\)"),
    (lambda: n_pairs(-1), V, "d must be at least 0; got -1"),
    (lambda: n_pairs(2.0), T, "d must be an integer; got float"),
    (lambda: n_pairs(True), T, "d must be an integer; got bool"),
    (lambda: dimension(-1), V, "n_pairs must be at least 0; got -1"),
    (lambda: dimension(2), V, "n_pairs must be .* such as 1 or 3; got 2"),
    (lambda: dimension("3"), T, "n_pairs must be an integer; got str"),
    (lambda: pair_index(-1, 0), V, "i must be at least 0; got -1"),
    (lambda: pair_index(0, -1), V, "j must be at least 0; got -1"),
    (lambda: pair_index(0, 1.5), T, "j must be an integer; got float"),
    (lambda: pair_indices(-2), V, "d must be at least 0; got -2"),
    (lambda: gamma(2**24, np.float32), V, "no bound holds after 16777216 roundings"),
]

LOSSES = [
    (
        lambda: cross_entropy(DY, LABELS + 1),
        V,
        r"labels must lie in 0\.\.1, the classes of the model; got 2 at \(1,\)",
    ),
    (lambda: cross_entropy(DY, LABELS - 1), V, r"labels must lie in 0\.\.1, .*; got -1 at \(0,\)"),
    (lambda: cross_entropy(DY, LABELS * 1.0), T, "labels must be integers; got float64"),
    (lambda: cross_entropy(DY, LABELS > 0), T, "labels must be integers; got bool"),
    (lambda: cross_entropy(DY, None), T, "labels must be an array; got None"),
    (lambda: cross_entropy(DY, ["a"] * 7), T, "labels must be integers; got <U1"),
    (
        lambda: cross_entropy(DY, LABELS[:6]),
        V,
        r"labels must have shape \(n,\) = \(7,\), .* \(6,\)",
    ),
    (lambda: cross_entropy(DY, LABELS[:, None]), V, r"labels must have shape .* got \(7, 1\)"),
    (lambda: cross_entropy(DY, 0), V, r"labels must have shape .* got \(\)"),
    (lambda: cross_entropy(DY, np.full(7, 2**64 - 1, np.uint64)), V, r"labels must lie in 0\.\.1"),
    (
        lambda: cross_entropy(ones(0, 2), LABELS[:0]),
        V,
        r"one example and one class; got shape \(0, 2\)",
    ),
    (
        lambda: cross_entropy(ones(7, 0), LABELS),
        V,
        r"one example and one class; got shape \(7, 0\)",
    ),
    (lambda: cross_entropy(ones(7), LABELS), V, r"y must have shape \(n, d_out\); got \(7,\)"),
    (lambda: cross_entropy(fractions(7, 2), LABELS), T, "y must be float32 or float64: the exp of"),
    (lambda: cross_entropy(ones(7, 2, dtype=np.float16), LABELS), T, "y must hold .* got float16"),
    (lambda: accuracy(DY, LABELS + 1), V, "labels must lie in"),
    (lambda: accuracy(ones(0, 2), LABELS[:0]), V, "y must hold at least one example"),
    (lambda: accuracy(ones(2), LABELS), V, "y must have shape"),
    (
        lambda: squared_error(DY, X),
        V,
        r"t must have shape \(\.\.\., d_out\) = \(\.\.\., 2\) to match y; got \(7, 3\)",
    ),
    (
        lambda: squared_error(DY, ones(6, 2)),
        V,
        r"t must have shape \(7, 2\) to match y; got \(6, 2\)",
    ),
    (
        lambda: squared_error(DY, ones(7, 2, dtype=np.float32)),
        T,
        "t must have dtype float64 to match y; got float32",
    ),
    (lambda: squared_error(ones(0, 2), ones(0, 2)), V, r"at least one example; got shape \(0, 2\)"),
    (lambda: squared_error(1.0, 1.0), V, r"y must have shape \(\.\.\., d_out\); got \(\)"),
    (lambda: squared_error(DY, None), T, "t must be an array; got None"),
]

TRAINING = [
    (
        lambda: step(theta=fractions(3)),
        T,
        "theta must be float32 or float64: the root of a rational",
    ),
    (lambda: step(g=ones(4)), V, r"g must have shape \(0,\) = \(3,\) to match theta; got \(4,\)"),
    (lambda: step(m=ones(1)), V, "m must have shape"),
    (lambda: step(v=ones(3, 1)), V, "v must have shape"),
    (lambda: step(g=ones(3, dtype=np.float32)), T, "g must have dtype float64 to match theta"),
    (lambda: step(m=None), T, "m must be an array; got None"),
    (lambda: step(t=0), V, "t must be at least 1; got 0"),
    (lambda: step(t=1.0), T, "t must be an integer; got float"),
    (lambda: init_mlp(0, 0, 4, 5, 2), V, "d_in must be at least 1; got 0"),
    (lambda: init_mlp(0, 3, 4, 5, -2), V, "d_out must be at least 1; got -2"),
    (lambda: init_mlp(0, 3, 4.0, 5, 2), T, "d_model must be an integer; got float"),
    (lambda: init_mlp(0, 3, 4, 5, 2, depth=0), V, "depth must be at least 1; got 0"),
    (
        lambda: init_mlp(0, 3, 4, 5, 2, dtype=np.float16),
        T,
        "dtype must be float32 or float64; got float16",
    ),
    (lambda: init_mlp(0, 3, 4, 5, 2, dtype=int), T, "dtype must be float32 or float64; got int64"),
    (lambda: step(theta=np.float64(1)), V, r"theta must have at least one axis; got shape \(\)"),
    (lambda: step(learning_rate="fast"), T, "learning_rate must be a number; got str"),
    (lambda: step(weight_decay=-1.0), V, "weight_decay must be finite and at least 0"),
    (lambda: cosine_schedule(0, 0, 1.0), V, "epochs must be at least 1; got 0"),
    (lambda: cosine_schedule(-1, 3, 1.0), V, "epoch must be at least 0; got -1"),
    (lambda: fit(noise="loud"), T, "noise must be a number; got str"),
    (lambda: fit(validation=(X, LABELS, 1)), V, r"validation must be \(x, labels\); got 3 items"),
    (lambda: with_parameters(NET, {}), V, "values must name the parameters of the model; got no l"),
    (
        lambda: with_parameters(NET, parameters(NET) | {"b_gate": X}),
        V,
        "values must name the parameters of the model; got an unknown b_gate",
    ),
    (lambda: BilinearMLP(None, LAYER, None), T, "layers must be a sequence of layers; got Bilin"),
    (lambda: BilinearMLP(None, [LAYER], None, "no"), T, "residual must be a bool; got str"),
    (lambda: BilinearLayer([[2**70]], [[1]]), V, r"w_left must hold integers of at most 2\*\*53"),
    (lambda: BilinearLayer([[2**63 + 1, -1.0]], [[1, 2]]), V, "w_left must hold .* got 9223372"),
    (lambda: gamma(-3, np.float32), V, "roundings must be at least 0; got -3"),
    (lambda: gamma(3, np.int64), T, "dtype must be float32, float64 or object; got int64"),
    (lambda: fit(epochs=0), V, "epochs must be at least 1; got 0"),
    (lambda: fit(epochs=2.5), T, "epochs must be an integer; got float"),
    (lambda: fit(epochs=True), T, "epochs must be an integer; got bool"),
    (lambda: fit(batch_size=0), V, "batch_size must be at least 1; got 0"),
    (lambda: fit(batch_size="8"), T, "batch_size must be an integer; got str"),
    (lambda: fit(noise=-0.1), V, r"noise must be finite and at least 0; got -0\.1"),
    (lambda: fit(noise=np.nan), V, "noise must be finite and at least 0; got nan"),
    (lambda: fit(weight_decay=-1), V, "weight_decay must be finite and at least 0; got -1"),
    (lambda: fit(weight_decay=np.inf), V, "weight_decay must be finite and at least 0; got inf"),
    (lambda: fit(learning_rate=-1e-3), V, r"learning_rate must be .* at least 0; got -0\.001"),
    (lambda: fit(learning_rate=np.inf), V, "learning_rate must be finite"),
    (lambda: fit(x=ones(7, 4)), V, r"x must have shape \(n, d_in\) = \(n, 3\) to match the model"),
    (lambda: fit(x=ones(3)), V, r"x must have shape .*; got \(3,\)"),
    (lambda: fit(x=X.astype(np.float32)), T, "x must have dtype float64 to match the model"),
    (
        lambda: fit(x=ones(0, 3), labels=LABELS[:0]),
        V,
        r"x must hold at least one example; .*\(0, 3\)",
    ),
    (lambda: fit(labels=LABELS + 1), V, r"labels must lie in 0\.\.1"),
    (lambda: fit(labels=LABELS[:5]), V, r"labels must have shape \(n,\) = \(7,\), .* got \(5,\)"),
    (lambda: fit(labels=LABELS / 1), T, "labels must be integers; got float64"),
    (
        lambda: fit(model=EXACT_MODEL, x=fractions(7, 3)),
        T,
        "model must be float32 or float64 to be trained; got exact rationals",
    ),
    (lambda: fit(validation=(ones(7, 4), LABELS)), V, r"validation\[0\] must have shape"),
    (lambda: fit(validation=(X, LABELS + 5)), V, r"validation\[1\] must lie in 0\.\.1"),
    (
        lambda: fit(validation=(ones(0, 3), LABELS[:0])),
        V,
        r"validation\[0\] must hold at least one",
    ),
]

HUGE = np.array([[1.0, np.inf, 0.0]])

SPECTRA = [
    (lambda: eigendecompose(fractions(2, 2)), T, "Q must be float32 or float64: eigenvalues of"),
    (lambda: eigendecompose(ones(3)), V, r"Q must have shape \(d, d\); got \(3,\)"),
    (lambda: eigendecompose(ones(2, 2, 2)), V, r"Q must have shape \(d, d\); got \(2, 2, 2\)"),
    (lambda: eigendecompose(ones(2, 3)), V, r"Q must have shape \(\.\.\., d, d\); got \(2, 3\)"),
    (lambda: eigendecompose(NAN), V, r"Q must be finite; got nan at \(1, 0\)"),
    (lambda: eigendecompose(np.diag([1, -np.inf])), V, r"Q must be finite; got -inf at \(1, 1\)"),
    (
        lambda: eigendecompose(TILTED),
        V,
        r"Q must equal its transpose exactly; got 2\.0 at \(0, 1\) against 2\.0000000000000004",
    ),
    (
        lambda: eigendecompose(np.eye(3), 4),
        V,
        "k must be at most 3, the number of eigenpairs; got 4",
    ),
    (lambda: eigendecompose(np.eye(3), -1), V, "k must be at least 0; got -1"),
    (lambda: eigendecompose(np.eye(3), 1.0), T, "k must be an integer; got float"),
    (lambda: eigendecompose(np.full((10, 10), 1e308)), OverflowError, "beyond the largest float64"),
    (lambda: eigendecompose(np.eye(2, dtype=np.float16)), T, "Q must hold .* got float16"),
    (lambda: reconstruct(PAIRS, 4), V, "k must be at most 3"),
    (lambda: reconstruct(PAIRS, -1), V, "k must be at least 0"),
    (
        lambda: reconstruct(Spectrum(ones(2), ones(3, 3))),
        V,
        r"eigenvectors must .*\(d, 2\) to match",
    ),
    (lambda: reconstruct(Spectrum(ones(2, 2), ones(2, 2))), V, "eigenvalues must have shape"),
    (
        lambda: reconstruct(Spectrum(ones(3), ones(3, 3, dtype=np.float32))),
        T,
        "eigenvectors must have dtype float64 to match the eigenvalues; got float32",
    ),
    (lambda: contributions(PAIRS, ones(4)), V, "x must .* to match the spectrum; got"),
    (lambda: contributions(PAIRS, ones(3, dtype=np.float32)), T, "x must have dtype float64"),
    (lambda: contributions(PAIRS, HUGE[0]), V, r"x must be finite; got inf at \(1,\)"),
    (lambda: contributions(Spectrum(HUGE[0], np.eye(3)), ones(3)), V, "eigenvalues must be finite"),
    (lambda: reconstruct(Spectrum(ones(1), HUGE.T)), V, "eigenvectors must be finite; got inf"),
    (lambda: effective_rank([1, np.inf]), V, r"eigenvalues must be finite; got inf at \(1,\)"),
    (lambda: effective_rank(np.eye(2)), V, r"eigenvalues must have shape \(k,\); got \(2, 2\)"),
    (lambda: effective_rank(None), T, "eigenvalues must be an array; got None"),
]

ORACLE = [
    (lambda: exact.forward(LAYER, ones(7, 4)), V, r"x must have shape \(\.\.\., d_in\) = .*3\) to"),
    (lambda: exact.forward(LAYER, HUGE), V, r"x must be finite; got inf at \(0, 1\)"),
    (lambda: exact.forward(LAYER, None), T, "x must be an array; got None"),
    (lambda: exact.forward(LAYER, X.astype(complex)), T, "x must hold float32, .* got complex128"),
    (lambda: exact.forward(LAYER, X.astype(np.float16)), T, "x must hold float32, .* got float16"),
    (
        lambda: exact.forward(LAYER, MIXED),
        T,
        r"x must hold exact rationals .* got float at \(0, 1\)",
    ),
    (lambda: exact.forward(LAYER, np.ma.masked_array(X)), T, "x must be a plain array; got Masked"),
    (lambda: exact.forward(EXACT, HUGE), V, "must be finite; got inf"),
    (lambda: exact.backward(LAYER, X, ones(6, 2)), V, r"dy must have shape \(7, 2\) to match x"),
    (lambda: exact.backward(LAYER, X, NAN[:, :1]), V, r"dy must be finite; got nan at \(1, 0\)"),
    (
        lambda: exact.output_form(LAYER, ones(3)),
        V,
        r"u must have shape \(d_out,\) = \(2,\) to match",
    ),
    (lambda: exact.interaction_matrix(TENSOR, ones(3)), V, r"u must have .* to match the tensor"),
    (lambda: exact.quadratic_form(ones(2, 5), X), V, r"n_pairs must be d\(d \+ 1\)/2 of some d"),
    (lambda: exact.quadratic_form(TENSOR, ones(7, 2)), V, r"append its constant coordinate"),
    (lambda: exact.tensor_gradient(X, ones(6, 2)), V, "dy must"),
    (lambda: exact.fractions(NAN), V, r"array must be finite; got nan at \(1, 0\)"),
    (lambda: exact.fractions([[1], [1, 2]]), V, "array must be a rectangular array of numbers"),
    (lambda: exact.rounded([0.5], np.float16), T, "dtype must be float32 or float64; got float16"),
    (lambda: exact.squared_error(X, ones(7, 2)), V, r"t must have shape .*3\) to match y"),
    (lambda: exact.cross_entropy(DY, LABELS + 2), V, "labels must lie in 0..1"),
    (
        lambda: exact.cross_entropy(ones(7), LABELS),
        V,
        r"y must have shape \(n, d_out\); got \(7,\)",
    ),
    (lambda: exact.adamw(X, X, X, ones(1, 3), 1), V, r"v must have shape .* to match theta"),
    (lambda: exact.adamw(X, X, X, X, 0), V, "t must be at least 1; got 0"),
    (lambda: exact.adamw(X, X, X, HUGE.repeat(7, 0), 1), V, "v must be finite"),
    (
        lambda: bounds.forward_bound(LAYER, ones(7, 4)),
        V,
        r"x must have shape .* to match the layer",
    ),
    (lambda: bounds.forward_bound(LAYER, X, "fp32"), V, "claim must be one of .* got 'fp32'"),
    (lambda: bounds.tensor_bound(LAYER, "f16"), V, "claim must be one of f64, f32, tf32"),
    (lambda: bounds.quadratic_form_bound(TENSOR, ones(7, 4)), V, "x must have shape"),
    (lambda: simulate(forward, LAYER, ones(7, 4)), V, "x must have shape"),
    (lambda: simulate(forward, LAYER, X, claim="f8"), V, "claim must be one of"),
    (lambda: cross_entropy_bound(NAN, [0, 1]), V, r"y must be finite; got nan at \(1, 0\)"),
    (lambda: cross_entropy_bound(DY, LABELS, "tf32"), V, "claim must be f32 or f64"),
    (lambda: cross_entropy_bound(DY, LABELS - 1), V, "labels must lie in 0..1"),
    (lambda: adamw_bound(X, X, X, -X, 1), V, "v must not be negative"),
    (lambda: adamw_bound(X, X, X, ones(7, 2), 1), V, "v must have shape"),
    (lambda: adamw_bound(HUGE, HUGE, HUGE, abs(HUGE), 1), V, "theta must be finite"),
    (lambda: gamma(1, np.int64), T, "dtype must be float32, float64 or object; got int64"),
    (lambda: gamma(-1, np.float64), V, "roundings must be at least 0; got -1"),
]

TABLE = {
    "layer": LAYERS,
    "number": NUMBERS,
    "pass": PASSES,
    "tensor": TENSORS,
    "loss": LOSSES,
    "training": TRAINING,
    "spectrum": SPECTRA,
    "oracle": ORACLE,
}
ROWS = [
    pytest.param(*row, id=f"{group}-{number}")
    for group, table in TABLE.items()
    for number, row in enumerate(table)
]
SHARED = [X, DY, TENSOR, LABELS, NAN, TILTED, MIXED, *PAIRS]
BEFORE = [array.copy() for array in SHARED]


@pytest.mark.parametrize(("call", "error", "words"), ROWS)
def test_bad_input_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert caught.type is error
    for array, before in zip(SHARED, BEFORE, strict=True):
        same = array == before
        assert (same | (array != array) & (before != before)).all()  # noqa: PLR0124


def test_labels_behind_a_mask_are_refused():
    """A mask says that a label is not to be used: it must not be dropped in silence."""
    masked = np.ma.masked_array(LABELS, mask=[True] + [False] * 6)
    with pytest.raises(TypeError, match=r"labels must be .*MaskedArray"):
        cross_entropy(DY, masked)


def test_labels_in_a_ragged_list_are_refused_by_name():
    with pytest.raises((TypeError, ValueError), match="labels must"):
        cross_entropy(DY, [[0], [0, 1]])


FAST = [
    ("quadratic_form", (ones(6), X)),
    ("quadratic_form", (ones(2, 5), X)),
    ("quadratic_form", (TENSOR, ones(7, 2))),
    ("quadratic_form", (TENSOR, ones(7, 5))),
    ("quadratic_form", (TENSOR, X.astype(np.float32))),
    ("quadratic_form", (TENSOR, None)),
    ("quadratic_form", (None, X)),
    ("quadratic_form", (TENSOR, 1.0)),
    ("quadratic_form", (TENSOR, [[1, 2, 3], [4]])),
    ("quadratic_form", (TENSOR, fractions(7, 3))),
    ("quadratic_form", (TENSOR, MIXED)),
    ("quadratic_form", (TENSOR, [[2**53 + 1, 0, 0]])),
    ("quadratic_form", ([[2**53 + 1]], [1])),
    ("quadratic_form", (TENSOR.astype(np.float16), X)),
    ("quadratic_form", (TENSOR, X.astype(complex))),
    ("quadratic_form", (TENSOR, np.ma.masked_array(X))),
    ("bilinear_form", (TENSOR, X, ones(6, 3))),
    ("bilinear_form", (TENSOR, X, ones(7, 2))),
    ("bilinear_form", (TENSOR, X, fractions(7, 3))),
    ("bilinear_form", (TENSOR, X.astype(np.float32), X)),
    ("bilinear_form", (TENSOR, X, None)),
    ("tensor_gradient", (X, ones(6, 2))),
    ("tensor_gradient", (X, ones(7, 2, dtype=np.float32))),
    ("tensor_gradient", (1.0, DY)),
    ("tensor_gradient", (X, None)),
    ("tensor_gradient", (X, [[2**53 + 1]] * 7)),
    ("tensor_gradient", (X, fractions(7, 2))),
]
EXACT_CALLS = [
    ("interaction_tensor", "layer", (EXACT,)),
    ("quadratic_form", "tensor", (fractions(2, 6), fractions(7, 3))),
    ("bilinear_form", "tensor", (fractions(2, 6), fractions(7, 3), fractions(3))),
    ("tensor_gradient", "x", (fractions(7, 3), fractions(7, 2))),
]
needs_kernel = pytest.mark.skipif(
    bool(os.environ.get("REFBILINEAR_PURE")) and find_spec("refbilinear._kernel") is None,
    reason="installed without the kernel, as REFBILINEAR_PURE asks",
)


@needs_kernel
@pytest.mark.parametrize(("name", "arguments"), FAST)
def test_the_kernel_refuses_in_the_words_of_the_specification(name, arguments):
    refusals = []
    for module in (refbilinear, importlib.import_module("refbilinear.fast")):
        with pytest.raises((TypeError, ValueError)) as caught:
            getattr(module, name)(*arguments)
        refusals.append((caught.type, str(caught.value)))
    assert refusals[0] == refusals[1]


@needs_kernel
@pytest.mark.parametrize(("name", "argument", "arguments"), EXACT_CALLS)
def test_the_kernel_refuses_exact_rationals_by_name(name, argument, arguments):
    fast = importlib.import_module("refbilinear.fast")
    words = rf"{argument} must hold float32 or float64 .*object .*refbilinear\.spec is exact"
    with pytest.raises(TypeError, match=words):
        getattr(fast, name)(*arguments)
