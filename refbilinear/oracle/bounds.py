"""How far rounding can take each result of the specification from the exact one.

    |computed − exact| ≤ γ_K · twin,        γ_K = K u / (1 − K u)

where u is the unit roundoff, the *twin* is the same function on absolute values, and K counts
the roundings on the longest way from an input to the result (Higham, *Accuracy and Stability of
Numerical Algorithms*, 2nd ed., sections 3.1 to 3.5). Nothing here is tuned.

K is derived for sums in any order, with or without fused multiply-add, round to nearest: a sum of
m products is m roundings on each term, one of the product and at most m − 1 of the additions;
halving and doubling are exact. What underflow can take is added, and where something may overflow
the bound is infinite (see `twins`). Inputs that are rounded first, and results that are stored in
a coarser format, are the matter of a *claim* (see `claims`): DEGREES counts those roundings.

A function `…_roundings` counts K; it takes the roundings that its inputs have already met, so a
chain of functions adds up. A function `…_bound` returns the allowed error, of the result's shape,
in float64. The twins themselves are computed in float64 and enlarged by their own γ.
"""

from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refbilinear.oracle import twins
from refbilinear.oracle.claims import Claim, claim_of
from refbilinear.oracle.twins import TwinPair, allowed, followed
from refbilinear.spec.arrays import Array, as_array, require_count
from refbilinear.spec.layer import BilinearLayer, Gradients, backward, forward
from refbilinear.spec.loss import Loss
from refbilinear.spec.mlp import (
    BilinearMLP,
    MLPGradients,
    fold,
    mlp_backward,
    mlp_forward,
    parameters,
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


class Degree(NamedTuple):
    """How often the longest way from an input to a result is rounded to a coarser format."""

    read: int
    """Where inputs, and whatever a matrix product reads, are rounded."""
    stored: int
    """Where inputs and every stored result are rounded."""


DEGREES = {
    "forward": Degree(6, 13),
    "w_left": Degree(6, 10),
    "w_right": Degree(6, 10),
    "w_out": Degree(6, 11),
    "b_left": Degree(5, 9),
    "b_right": Degree(5, 9),
    "b_out": Degree(1, 2),
    "w_skip": Degree(2, 3),
    "x": Degree(6, 12),
    "tensor": Degree(4, 7),
    "matrix": Degree(2, 3),
    "output_form": Degree(6, 9),
    "form_value": Degree(4, 8),
    "quadratic_form": Degree(4, 5),
    "bilinear_form": Degree(4, 6),
    "tensor_gradient": Degree(4, 5),
    "truncated_form": Degree(6, 10),
    "squared_error": Degree(0, 7),
    "squared_error_dy": Degree(0, 4),
}
"""Of a form the part without its rows: see `degree_of_rows`."""


def degree_of_rows(name: str, d: int) -> Degree:
    """Return the degree of a form whose sum over d rows is stored after each of them.

    Examples
    --------
    >>> degree_of_rows("quadratic_form", 5)
    Degree(read=4, stored=10)
    """
    return DEGREES[name]._replace(stored=DEGREES[name].stored + d)


def degree_of(degree: Degree, claim: Claim | None) -> int:
    """Return how often a claim rounds to storage on a way."""
    if claim is None or claim.storage is None:
        return 0
    return degree.stored if claim.stores_results else degree.read


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
    return twins.gamma(roundings, float(np.finfo(np.dtype(dtype)).eps) / 2)


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


def forward_bound(layer: BilinearLayer, x: ArrayLike, claim: str | None = None) -> Array:
    """Return the allowed error of `forward(layer, x)`, (..., d_out).

    Parameters
    ----------
    layer : BilinearLayer
    x : (..., d_in) array_like
    claim : str, optional
        The precision, one of `CLAIMS`; by default that of the layer's dtype.

    Returns
    -------
    (..., d_out) array of float64

    Examples
    --------
    >>> from fractions import Fraction
    >>> layer = BilinearLayer([[0.1]], [[0.1]])
    >>> error = abs(Fraction(forward(layer, [0.1]).item()) - Fraction(0.1) ** 4)
    >>> allowed = forward_bound(layer, [0.1]).item()
    >>> print(f"{float(error):.1e} of {allowed:.1e}")
    2.3e-20 of 3.3e-20
    """
    precision = claim_of(claim, layer.dtype)
    return _bound(forward, "forward", forward_roundings(layer), precision, layer, x)


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


def backward_bound(
    layer: BilinearLayer, x: ArrayLike, dy: ArrayLike, claim: str | None = None
) -> Gradients:
    """Return the allowed error of each gradient of `backward(layer, x, dy)`."""
    precision = claim_of(claim, layer.dtype)
    pair = followed(backward, precision, layer, x, dy)
    return _gradient_bounds(backward_roundings(layer, _examples(x)), precision, pair)


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
    precision = claim_of(None, model.dtype)
    return _bound(mlp_forward, "", mlp_forward_roundings(model), precision, model, x)


def mlp_backward_bound(model: BilinearMLP, x: ArrayLike, dy: ArrayLike) -> MLPGradients:
    """Return the allowed error of each gradient of `mlp_backward(model, x, dy)`."""
    precision = claim_of(None, model.dtype)
    pair = followed(mlp_backward, precision, model, x, dy)
    n, of_layer = _examples(x), _part(pair, "layers")
    streams = _stream_roundings(model, 0)
    dh = 0 if model.w_head is None else model.d_out
    head = _part_bound("", streams[-1] + n, precision, _part(pair, "w_head"))
    layers: list[Gradients] = []
    for number in reversed(range(len(model.layers))):
        counts = backward_roundings(model.layers[number], n, streams[number], dh)
        layers.insert(0, _gradient_bounds(counts, precision, _part(of_layer, number)))
        dh = counts["x"] + model.residual
    embed = _part_bound("", dh + n, precision, _part(pair, "w_embed"))
    dx = dh + (0 if model.w_embed is None else model.layers[0].d_in)
    x_bound = _part_bound("", dx, precision, _part(pair, "x"))
    return MLPGradients(embed, tuple(layers), head, x_bound)


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
    precision = claim_of(None, model.dtype)
    pair = followed(fold, precision, model)
    roundings = fold_roundings(model)
    names = parameters(pair.twin)
    return {name: allowed(roundings, 0, precision, _part(pair, name)) for name in names}


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


def tensor_bound(layer: BilinearLayer, claim: str | None = None) -> Array:
    """Return the allowed error of `interaction_tensor(layer)`, (d_out, n_pairs)."""
    precision = claim_of(claim, layer.dtype)
    return _bound(interaction_tensor, "tensor", tensor_roundings(layer), precision, layer)


def matrix_bound(tensor: ArrayLike, u: ArrayLike, claim: str | None = None) -> Array:
    """Return the allowed error of `interaction_matrix(tensor, u)`, K = d_out."""
    tensor = as_array("tensor", tensor)
    precision = claim_of(claim, tensor.dtype)
    return _bound(interaction_matrix, "matrix", len(tensor), precision, tensor, u)


def output_form_bound(
    layer: BilinearLayer, u: ArrayLike, claim: str | None = None
) -> QuadraticForm:
    """Return the allowed errors of `output_form(layer, u)`: K = d_out + d_hidden + 2.

    `w = w_outᵀu` is d_out roundings (none for the identity), its product with one factor one,
    the sum over hidden units d_hidden, and the last sum one; the linear part has one sum more
    with a skip path.
    """
    precision = claim_of(claim, layer.dtype)
    pair = followed(output_form, precision, layer, u)
    k = layer.d_out + layer.d_hidden + 2
    matrix, linear, constant = (
        _part_bound("output_form", roundings, precision, _part(pair, part))
        for part, roundings in (("matrix", k), ("linear", k + 1), ("constant", k))
    )
    return QuadraticForm(matrix, linear, np.float64(constant))


def form_value_bound(form: QuadraticForm, x: ArrayLike, claim: str | None = None) -> Array:
    """Return the allowed error of `form_value(form, x)`, the form as given: K = 2 d_in + 2.

    A product with x is d_in roundings, the linear part one, the second product with x d_in, the
    constant one.
    """
    precision = claim_of(claim, form.matrix.dtype)
    return _bound(form_value, "form_value", 2 * len(form.linear) + 2, precision, form, x)


def quadratic_form_roundings(d: int, of_tensor: int = 0, of_x: int = 0) -> int:
    """Return K of `quadratic_form`: 2 d in two stages, d + 2 row by row, the larger of the two.

    In two stages each product with x is d roundings. In row i an off-diagonal term meets i
    roundings in the product with x, one in the sum with the diagonal, one in the product with x_i,
    and d − i in the sum over the rows that are left.

    Examples
    --------
    >>> quadratic_form_roundings(65)
    130
    """
    return of_tensor + 2 * of_x + max(2 * d, d + 2)


def quadratic_form_bound(tensor: ArrayLike, x: ArrayLike, claim: str | None = None) -> Array:
    """Return the allowed error of `quadratic_form(tensor, x)`, (..., d_out)."""
    tensor = as_array("tensor", tensor)
    d, precision = dimension(tensor.shape[1]), claim_of(claim, tensor.dtype)
    degree = degree_of(degree_of_rows("quadratic_form", d), precision)
    pair = followed(quadratic_form, precision, tensor, x)
    return allowed(quadratic_form_roundings(d), degree, precision, pair)


def bilinear_form_bound(
    tensor: ArrayLike, x: ArrayLike, z: ArrayLike, claim: str | None = None
) -> Array:
    """Return the allowed error of `bilinear_form(tensor, x, z)`: K = 2 d, or d + 3.

    As in `quadratic_form`, with one rounding more where the two halves of a row are added.
    """
    tensor = as_array("tensor", tensor)
    d, precision = dimension(tensor.shape[1]), claim_of(claim, tensor.dtype)
    degree = degree_of(degree_of_rows("bilinear_form", d), precision)
    pair = followed(bilinear_form, precision, tensor, x, z)
    return allowed(max(2 * d, d + 3), degree, precision, pair)


def tensor_gradient_bound(x: ArrayLike, dy: ArrayLike, claim: str | None = None) -> Array:
    """Return the allowed error of `tensor_gradient(x, dy)` on n examples: K = n + 1."""
    x = as_array("x", x)
    precision = claim_of(claim, x.dtype)
    return _bound(tensor_gradient, "tensor_gradient", _examples(x) + 1, precision, x, dy)


def truncated_form(eigenvalues: Array, eigenvectors: Array, x: Array) -> Array:
    """Return `Σ_k λ_k (v_k · x)²` of eigenpairs as given, the vectors in columns.

    Examples
    --------
    >>> truncated_form(np.array([3.0, -4.0]), np.eye(2), np.array([1.0, 10.0]))
    np.float64(-397.0)
    """
    along = x @ eigenvectors
    value: Array = np.sum(eigenvalues * (along * along), axis=-1)
    return value


def truncated_form_bound(
    eigenvalues: ArrayLike, eigenvectors: ArrayLike, x: ArrayLike, claim: str | None = None
) -> Array:
    """Return the allowed error of `Σ_k λ_k (v_k · x)²`, the pairs as given: K = 2 d + k + 1.

    Each factor is d roundings, the square one, its product with λ one, the sum over k pairs k − 1.
    """
    eigenvalues, x = as_array("eigenvalues", eigenvalues), as_array("x", x)
    roundings = 2 * x.shape[-1] + len(eigenvalues) + 1
    precision = claim_of(claim, x.dtype)
    arrays = (eigenvalues, eigenvectors, x)
    return _bound(truncated_form, "truncated_form", roundings, precision, *arrays)


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
    layer = fold(model)
    of_tensor = tensor_roundings(layer, fold_roundings(model))
    roundings = quadratic_form_roundings(layer.d_in + layer.has_constant, of_tensor)
    return _bound(_folded_form, "", roundings, claim_of(None, model.dtype), model, x)


def squared_error_bound(y: ArrayLike, t: ArrayLike, claim: str | None = None) -> LossBound:
    """Return the allowed errors of `squared_error(y, t)`: K = n d_out + 3 of the value, 2 of dy.

    The difference is one rounding on each side of the square, the division by n one, the square
    one, the sum n d_out − 1; the doubling of the gradient is exact.
    """
    y = as_array("y", y)
    precision = claim_of(claim, y.dtype)
    pair = followed(_squared_error_of_sums, precision, y, t)
    value = _part_bound("squared_error", y.size + 3, precision, _part(pair, "value"))
    return LossBound(float(value), _part_bound("squared_error_dy", 2, precision, _part(pair, "dy")))


def _folded_form(model: BilinearMLP, x: Array) -> Array:
    return quadratic_form(interaction_tensor(fold(model)), x)


def _squared_error_of_sums(y: Array, t: Array) -> Loss:
    """Return the squared error with y + t for y − t: what it is on absolute values."""
    n = _examples(y)
    return Loss(np.sum((y + t) * ((y + t) / n)), 2 * (y + t) / n)


def _bound(
    function: Callable[..., Array], name: str, roundings: int, claim: Claim | None, *arguments: Any
) -> Array:
    """Return the allowed error of a function whose result is one array."""
    return allowed(roundings, _degree(name, claim), claim, followed(function, claim, *arguments))


def _part_bound(name: str, roundings: int, claim: Claim | None, pair: TwinPair) -> Any:
    """Return the allowed error of one array of a result, None where there is none."""
    return None if pair.twin is None else allowed(roundings, _degree(name, claim), claim, pair)


def _gradient_bounds(counts: dict[str, int], claim: Claim | None, pair: TwinPair) -> Gradients:
    return Gradients._make(
        _part_bound(name, counts[name], claim, _part(pair, name)) for name in Gradients._fields
    )


def _degree(name: str, claim: Claim | None) -> int:
    """Return the roundings to storage on the way to a result; a model's have no such claim."""
    return degree_of(DEGREES[name], claim) if name else 0


def _part(pair: TwinPair, key: str | int) -> TwinPair:
    """Return one part of a pair of twins, by name or number."""
    get = attrgetter(key) if isinstance(key, str) else itemgetter(key)
    return TwinPair(get(pair.twin), get(pair.padded), pair.times)


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
