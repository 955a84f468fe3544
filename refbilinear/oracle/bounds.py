"""How far rounding can take each result of the specification from the exact one.

    |computed − exact| ≤ γ_K · twin,        γ_K = K u / (1 − K u)

where u is the unit roundoff, the *twin* is the same function on absolute values, and K counts
the roundings on the longest way from an input to the result (Higham, *Accuracy and Stability of
Numerical Algorithms*, 2nd ed., sections 3.1 to 3.5). Nothing here is tuned.

K is derived for sums in any order, with or without fused multiply-add, round to nearest: a sum of
m products is m roundings on each term, one of the product and at most m − 1 of the additions;
halving and doubling are exact. The bounds hold while nothing overflows and no product underflows.

A function `…_roundings` counts K; it takes the roundings that its inputs have already met, so a
chain of functions adds up. A function `…_bound` returns the allowed error, of the result's shape,
in float64. The twins themselves are computed in float64 and enlarged by their own γ.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refbilinear.spec.arrays import Array, as_array, require_count
from refbilinear.spec.layer import BilinearLayer, Gradients, backward, forward
from refbilinear.spec.loss import squared_error
from refbilinear.spec.mlp import (
    BilinearMLP,
    MLPGradients,
    fold,
    mlp_backward,
    mlp_forward,
    parameters,
    with_parameters,
)
from refbilinear.spec.packed import dimension
from refbilinear.spec.tensor import (
    QuadraticForm,
    bilinear_form,
    form_value,
    interaction_matrix,
    interaction_tensor,
    output_form,
    quadratic_form,
    tensor_gradient,
)


class LossBound(NamedTuple):
    """The allowed errors of a loss and of its gradient."""

    value: float
    dy: Array


def gamma(roundings: int, dtype: DTypeLike) -> float:
    """Return `γ_K = K u / (1 − K u)`, the relative error that K roundings can leave.

    Parameters
    ----------
    roundings : int
        K.
    dtype : dtype
        float32 (u = 2⁻²⁴), float64 (u = 2⁻⁵³), or object, whose numbers are exact (u = 0).

    Raises
    ------
    ValueError
        Where `K u ≥ 1`: no bound holds.

    Examples
    --------
    >>> gamma(1000, np.float32)
    5.9608197700840286e-05
    """
    require_count("roundings", roundings, 0)
    if np.dtype(dtype) not in (np.float32, np.float64, object):
        raise TypeError(f"dtype must be float32, float64 or object; got {np.dtype(dtype)}")
    if np.dtype(dtype) == object:
        return 0.0
    unit = float(np.finfo(np.dtype(dtype)).eps) / 2
    if roundings * unit >= 1:
        raise ValueError(f"no bound holds after {roundings} roundings of unit {unit:.3g}")
    return roundings * unit / (1 - roundings * unit)


def magnitude(array: ArrayLike) -> Array:
    """Return the absolute values of an array in float64."""
    return np.abs(as_array("array", array).astype(np.float64))


def absolute_layer(layer: BilinearLayer) -> BilinearLayer:
    """Return the layer with every parameter replaced by its absolute value, in float64.

    Examples
    --------
    >>> absolute_layer(BilinearLayer([[-1]], [[2]], b_left=[-3])).b_left
    array([3.])
    """
    return BilinearLayer(**{name: magnitude(w) for name, w in parameters(layer).items()})


def absolute_mlp(model: BilinearMLP) -> BilinearMLP:
    """Return the model with every parameter replaced by its absolute value, in float64."""
    return with_parameters(model, {name: magnitude(w) for name, w in parameters(model).items()})


def forward_roundings(layer: BilinearLayer, of_x: int = 0) -> int:
    """Return K of `forward`: `2 d_in + d_hidden + 4` with all biases, one more with a skip.

    Each factor is d_in roundings and one more for its bias, their product one, `w_out` d_hidden
    (none where it is the identity), `b_out` and the skip path one each.

    Examples
    --------
    >>> forward_roundings(BilinearLayer([[1, 2]], [[3, 4]], w_out=[[5]]))
    6
    """
    left, right = _projection_roundings(layer, of_x)
    return left + right + 1 + _output_roundings(layer)


def forward_bound(layer: BilinearLayer, x: ArrayLike) -> Array:
    """Return the allowed error of `forward(layer, x)`, (..., d_out).

    Examples
    --------
    >>> from fractions import Fraction
    >>> layer = BilinearLayer([[0.1]], [[0.1]])
    >>> error = abs(Fraction(forward(layer, [0.1]).item()) - Fraction(0.1) ** 4)
    >>> allowed = forward_bound(layer, [0.1]).item()
    >>> print(f"{float(error):.1e} of {allowed:.1e}")
    2.3e-20 of 3.3e-20
    """
    twin = forward(absolute_layer(layer), magnitude(x))
    return _allowed(forward_roundings(layer), layer.dtype, twin)


def backward_roundings(
    layer: BilinearLayer, n: int, of_x: int = 0, of_dy: int = 0
) -> dict[str, int]:
    """Return K of each gradient of `backward` on n examples, by parameter name and `x`.

    With `s = w_outᵀ dy` (d_out roundings), `∂a = s ⊙ b` (those of s and b, and one):
    `∂w_left = ∂a xᵀ` adds n, `∂x` adds d_hidden, one for the sum of its halves, one for the skip.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 2]], [[3, 4]], w_out=[[5]])
    >>> backward_roundings(layer, n=10)["w_left"]
    14
    """
    left, right = _projection_roundings(layer, of_x)
    ds = of_dy + (layer.w_out is not None) * layer.d_out
    da, db = ds + right + 1, ds + left + 1
    return {
        "w_left": da + of_x + n,
        "w_right": db + of_x + n,
        "w_out": of_dy + left + right + 1 + n,
        "b_left": da + n,
        "b_right": db + n,
        "b_out": of_dy + n,
        "w_skip": of_dy + of_x + n,
        "x": max(da, db) + layer.d_hidden + 1 + (layer.w_skip is not None),
    }


def backward_bound(layer: BilinearLayer, x: ArrayLike, dy: ArrayLike) -> Gradients:
    """Return the allowed error of each gradient of `backward(layer, x, dy)`."""
    twins = backward(absolute_layer(layer), magnitude(x), magnitude(dy))
    counts = backward_roundings(layer, _examples(x))
    return _allowed_gradients(counts, layer.dtype, twins)


def mlp_forward_roundings(model: BilinearMLP, of_x: int = 0) -> int:
    """Return K of `mlp_forward`; each layer doubles what the stream has met before it.

    Examples
    --------
    >>> model = BilinearMLP(None, [BilinearLayer([[1]], [[1]])] * 3, None)
    >>> mlp_forward_roundings(model)                              # 3, then 2·3 + 3, then 2·9 + 3
    21
    """
    stream = _stream_roundings(model, of_x)[-1]
    return stream + (0 if model.w_head is None else model.layers[-1].d_out)


def mlp_forward_bound(model: BilinearMLP, x: ArrayLike) -> Array:
    """Return the allowed error of `mlp_forward(model, x)`, (..., d_out)."""
    twin = mlp_forward(absolute_mlp(model), magnitude(x))
    return _allowed(mlp_forward_roundings(model), model.dtype, twin)


def mlp_backward_bound(model: BilinearMLP, x: ArrayLike, dy: ArrayLike) -> MLPGradients:
    """Return the allowed error of each gradient of `mlp_backward(model, x, dy)`."""
    twins = mlp_backward(absolute_mlp(model), magnitude(x), magnitude(dy))
    n, dtype = _examples(x), model.dtype
    streams = _stream_roundings(model, 0)
    dh = 0 if model.w_head is None else model.d_out
    head = _allowed_or_none(streams[-1] + n, dtype, twins.w_head)
    layers: list[Gradients] = []
    for number in reversed(range(len(model.layers))):
        counts = backward_roundings(model.layers[number], n, streams[number], dh)
        layers.insert(0, _allowed_gradients(counts, dtype, twins.layers[number]))
        dh = counts["x"] + model.residual
    embed = _allowed_or_none(dh + n, dtype, twins.w_embed)
    dx = dh + (0 if model.w_embed is None else model.layers[0].d_in)
    return MLPGradients(embed, tuple(layers), head, _allowed_or_none(dx, dtype, twins.x))


def fold_roundings(model: BilinearMLP) -> int:
    """Return the largest K of any parameter of `fold(model)`.

    `w_left w_embed` is d_model roundings; `w_head (w_skip + I) w_embed` the most: one, and the
    widths of both products.
    """
    layer = model.layers[0]
    embed = 0 if model.w_embed is None else layer.d_in
    head = 0 if model.w_head is None else layer.d_out
    both = layer.w_skip is not None and model.residual
    return embed + head + both


def fold_bound(model: BilinearMLP) -> dict[str, Array]:
    """Return the allowed error of every parameter of `fold(model)`, by name."""
    roundings = fold_roundings(model)
    twins = parameters(fold(absolute_mlp(model)))
    return {name: _allowed(roundings, model.dtype, twin) for name, twin in twins.items()}


def tensor_roundings(layer: BilinearLayer, of_weights: int = 0) -> int:
    """Return K of `interaction_tensor`: `d_hidden + 2`, one more with a skip path or `b_out`.

    Two products and their sum are two roundings on each, `w_out` d_hidden more; the half is exact.
    An entry is of degree three in the weights.

    Examples
    --------
    >>> tensor_roundings(BilinearLayer([[1, 2]], [[3, 4]], w_out=[[5]]))
    3
    """
    path = layer.w_skip is not None or layer.b_out is not None
    return 3 * of_weights + 2 + (layer.w_out is not None) * layer.d_hidden + path


def tensor_bound(layer: BilinearLayer) -> Array:
    """Return the allowed error of `interaction_tensor(layer)`, (d_out, n_pairs)."""
    twin = interaction_tensor(absolute_layer(layer))
    return _allowed(tensor_roundings(layer), layer.dtype, twin)


def matrix_bound(tensor: ArrayLike, u: ArrayLike) -> Array:
    """Return the allowed error of `interaction_matrix(tensor, u)`, K = d_out."""
    tensor = as_array("tensor", tensor)
    twin = interaction_matrix(magnitude(tensor), magnitude(u))
    return _allowed(len(tensor), tensor.dtype, twin)


def output_form_bound(layer: BilinearLayer, u: ArrayLike) -> QuadraticForm:
    """Return the allowed errors of `output_form(layer, u)`: K = d_out + d_hidden + 2.

    `w = w_outᵀu` is d_out roundings (none for the identity), its product with one factor one,
    the sum over hidden units d_hidden, and the last sum one; the linear part has one sum more
    with a skip path.
    """
    twin = output_form(absolute_layer(layer), magnitude(u))
    roundings = layer.d_out + layer.d_hidden + 2
    return QuadraticForm(
        _allowed(roundings, layer.dtype, twin.matrix),
        _allowed(roundings + 1, layer.dtype, twin.linear),
        np.float64(_allowed(roundings, layer.dtype, np.asarray(twin.constant))),
    )


def form_value_bound(form: QuadraticForm, x: ArrayLike) -> Array:
    """Return the allowed error of `form_value(form, x)`, the form as given: K = 2 d_in + 2.

    A product with x is d_in roundings, the linear part one, the second product with x d_in, the
    constant one.
    """
    matrix, linear, constant = form
    size = QuadraticForm(
        magnitude(matrix), magnitude(linear), np.float64(magnitude(np.asarray(constant)))
    )
    twin = form_value(size, magnitude(x))
    return _allowed(2 * len(form.linear) + 2, form.matrix.dtype, twin)


def quadratic_form_roundings(d: int, of_tensor: int = 0, of_x: int = 0) -> int:
    """Return K of `quadratic_form`: d + 2.

    In row i an off-diagonal term meets i roundings in the product with x, one in the sum with the
    diagonal, one in the product with x_i, and d − i in the sum over the rows that are left.

    Examples
    --------
    >>> quadratic_form_roundings(65)
    67
    """
    return of_tensor + 2 * of_x + d + 2


def quadratic_form_bound(tensor: ArrayLike, x: ArrayLike) -> Array:
    """Return the allowed error of `quadratic_form(tensor, x)`, (..., d_out)."""
    tensor = as_array("tensor", tensor)
    twin = quadratic_form(magnitude(tensor), magnitude(x))
    return _allowed(quadratic_form_roundings(dimension(tensor.shape[1])), tensor.dtype, twin)


def bilinear_form_bound(tensor: ArrayLike, x: ArrayLike, z: ArrayLike) -> Array:
    """Return the allowed error of `bilinear_form(tensor, x, z)`: K = d + 3.

    As in `quadratic_form`, with one rounding more where the two halves of a row are added.
    """
    tensor = as_array("tensor", tensor)
    twin = bilinear_form(magnitude(tensor), magnitude(x), magnitude(z))
    return _allowed(dimension(tensor.shape[1]) + 3, tensor.dtype, twin)


def tensor_gradient_bound(x: ArrayLike, dy: ArrayLike) -> Array:
    """Return the allowed error of `tensor_gradient(x, dy)` on n examples: K = n + 1."""
    twin = tensor_gradient(magnitude(x), magnitude(dy))
    return _allowed(_examples(x) + 1, as_array("x", x).dtype, twin)


def folded_form_bound(model: BilinearMLP, x: ArrayLike) -> Array:
    """Return the allowed error, against the exact model, of its tensor evaluated at x.

    That is of `quadratic_form(interaction_tensor(fold(model)), x)`, folding included.

    Parameters
    ----------
    model : BilinearMLP
        Of one layer.
    x : (..., d) array_like
        Of the tensor's dimension, with the constant coordinate where the tensor has one.

    Returns
    -------
    (..., d_out) array of float64

    Examples
    --------
    >>> model = BilinearMLP([[0.1]], [BilinearLayer([[0.1]], [[0.1]])], [[0.1]])
    >>> tensor = interaction_tensor(fold(model))
    >>> error = abs(quadratic_form(tensor, [0.1]) - mlp_forward(model, [0.1]))
    >>> allowed = folded_form_bound(model, [0.1]) + mlp_forward_bound(model, [0.1])
    >>> bool((error <= allowed).all())
    True
    """
    layer = fold(absolute_mlp(model))
    twin = quadratic_form(interaction_tensor(layer), magnitude(x))
    of_tensor = tensor_roundings(layer, fold_roundings(model))
    d = layer.d_in + layer.has_constant
    return _allowed(quadratic_form_roundings(d, of_tensor), model.dtype, twin)


def squared_error_bound(y: ArrayLike, t: ArrayLike) -> LossBound:
    """Return the allowed errors of `squared_error(y, t)`: K = n d_out + 3 of the value, 2 of dy.

    The difference is one rounding on each side of the square, the division by n one, the square
    one, the sum n d_out − 1; the doubling of the gradient is exact.
    """
    y = as_array("y", y)
    twin = squared_error(magnitude(y), -magnitude(t))
    value = _allowed(y.size + 3, y.dtype, np.asarray(twin.value))
    return LossBound(float(value), _allowed(2, y.dtype, twin.dy))


def _allowed(roundings: int, dtype: DTypeLike, twin: Array) -> Array:
    """Return `γ_K · twin`, enlarged by what rounding can have taken from the twin itself."""
    return gamma(roundings, dtype) * (1 + gamma(2 * roundings, np.float64)) * twin


def _allowed_or_none(roundings: int, dtype: DTypeLike, twin: Array | None) -> Array | None:
    return None if twin is None else _allowed(roundings, dtype, twin)


def _allowed_gradients(counts: dict[str, int], dtype: DTypeLike, twins: Gradients) -> Gradients:
    return Gradients._make(
        _allowed_or_none(counts[name], dtype, twin) for name, twin in twins._asdict().items()
    )


def _projection_roundings(layer: BilinearLayer, of_x: int) -> tuple[int, int]:
    """Return K of the left and the right factor: d_in, and one for a bias."""
    k = of_x + layer.d_in
    return k + (layer.b_left is not None), k + (layer.b_right is not None)


def _output_roundings(layer: BilinearLayer) -> int:
    """Return K from product to output: d_hidden for w_out, one for b_out, one for the skip."""
    of_out = 0 if layer.w_out is None else layer.d_hidden
    return of_out + (layer.b_out is not None) + (layer.w_skip is not None)


def _stream_roundings(model: BilinearMLP, of_x: int) -> list[int]:
    """Return K of the stream before each layer and after the last."""
    streams = [of_x + (0 if model.w_embed is None else model.d_in)]
    for layer in model.layers:
        streams.append(forward_roundings(layer, streams[-1]) + model.residual)
    return streams


def _examples(x: ArrayLike) -> int:
    """Return the number of examples of a batch: the product of all axes but the last."""
    shape = np.shape(x)
    return int(np.prod(shape[:-1]))
