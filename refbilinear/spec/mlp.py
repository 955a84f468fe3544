"""A stack of bilinear layers between an embedding and a head.

    h = w_embed x;   h = layer(h), or h + layer(h) if residual, for each layer;   y = w_head h

Nothing between the layers: no normalisation, no other nonlinearity. A stack of k layers is a
polynomial of degree 2^k; a stack of one layer is itself a bilinear layer (`fold`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refbilinear.spec.arrays import Array, affine, check_batch, constant, enter, rows
from refbilinear.spec.layer import (
    LAYER_PARAMETERS,
    BilinearLayer,
    Gradients,
    Projections,
    backward,
    combine,
    project,
)


@dataclass(frozen=True, eq=False, repr=False)
class BilinearMLP:
    """A bilinear MLP: `y = w_head (layers of (w_embed x))`, with a residual connection on request.

    Parameters
    ----------
    w_embed : (d_model, d_in) array or None
        The embedding; None is the identity.
    layers : sequence of BilinearLayer
        At least one; each takes what the one before gives.
    w_head : (d_out, d_model) array or None
        The head; None is the identity.
    residual : bool
        Whether each layer's output is added to its input, `h + layer(h)`.

    Raises
    ------
    ValueError
        For sizes that do not chain, or no layer.
    TypeError
        For parameters of different number types.

    Examples
    --------
    >>> square = BilinearLayer([[1]], [[1]])
    >>> model = BilinearMLP(None, [square, square], None, residual=True)
    >>> mlp_forward(model, [2])                     # h = 2 + 2², then h + h²
    array([42.])
    """

    w_embed: Array | None
    layers: tuple[BilinearLayer, ...]
    w_head: Array | None
    residual: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", _enter_layers(self.layers))
        if not isinstance(self.residual, bool | np.bool_):
            raise TypeError(f"residual must be a bool; got {type(self.residual).__name__}")
        self._check("w_embed", {"d_model": self.layers[0].d_in, "d_in": None}, "layers[0]")
        self._check("w_head", {"d_out": None, "d_model": self.layers[-1].d_out}, "layers[-1]")
        for number, layer in enumerate(self.layers):
            self._check_layer(number, layer)

    def _check(self, name: str, sizes: dict[str, int | None], like: str) -> None:
        value = getattr(self, name)
        if value is not None:
            array = enter(name, value, sizes, dtype=self.dtype, match=f"to match {like}").view()
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def _check_layer(self, number: int, layer: BilinearLayer) -> None:
        before = self.layers[max(0, number - 1)]
        if number and layer.d_in != before.d_out:
            raise ValueError(
                f"layers[{number}] must have d_in = {before.d_out} to match the d_out of "
                f"layers[{number - 1}]; got {layer.d_in}"
            )
        if layer.dtype != self.dtype:
            raise TypeError(
                f"layers[{number}] must have dtype {self.dtype} to match layers[0]; "
                f"got {layer.dtype}: convert one of them"
            )
        if self.residual and layer.d_in != layer.d_out:
            raise ValueError(
                f"layers[{number}] must have d_out = d_in = {layer.d_in} for a residual "
                f"connection; got d_out = {layer.d_out}"
            )

    @property
    def d_in(self) -> int:
        """Number of inputs."""
        return self.layers[0].d_in if self.w_embed is None else int(self.w_embed.shape[1])

    @property
    def d_out(self) -> int:
        """Number of outputs."""
        return self.layers[-1].d_out if self.w_head is None else int(self.w_head.shape[0])

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The one number type of all parameters."""
        return self.layers[0].dtype

    def __repr__(self) -> str:
        widths = [f"{layer.d_in}→{layer.d_hidden}→{layer.d_out}" for layer in self.layers]
        sizes = f"d_in={self.d_in}, layers=[{', '.join(widths)}], d_out={self.d_out}"
        return f"BilinearMLP({sizes}, {self.dtype}{', residual' if self.residual else ''})"


class Activations(NamedTuple):
    """What the backward pass needs of the forward pass."""

    streams: tuple[Array, ...]
    """The input of each layer, then the last layer's output, each (..., d_model)."""
    projections: tuple[Projections, ...]
    """The two factors of each layer's product."""
    y: Array
    """The model's output, (..., d_out)."""


class MLPGradients(NamedTuple):
    """Gradients in the parameters of a model and in x; None where there is no such parameter."""

    w_embed: Array | None
    layers: tuple[Gradients, ...]
    w_head: Array | None
    x: Array | None


def mlp_activations(model: BilinearMLP, x: ArrayLike) -> Activations:
    """Return the output of `mlp_forward` with every intermediate value that its gradient needs.

    Parameters
    ----------
    model : BilinearMLP
    x : (..., d_in) array_like

    Returns
    -------
    Activations

    Examples
    --------
    >>> model = BilinearMLP(None, [BilinearLayer([[1]], [[1]])], [[5]])
    >>> [h.item() for h in mlp_activations(model, [3]).streams]
    [3.0, 9.0]
    """
    h = affine(_enter_x(model, x), model.w_embed)
    streams, projections = [h], []
    for layer in model.layers:
        factors = project(layer, h)
        y = combine(layer, h, factors)
        h = h + y if model.residual else y
        streams.append(h)
        projections.append(factors)
    return Activations(tuple(streams), tuple(projections), affine(h, model.w_head))


def mlp_forward(model: BilinearMLP, x: ArrayLike) -> Array:
    """Return `y = w_head h`, `h` the stream after every layer (see `BilinearMLP`).

    Parameters
    ----------
    model : BilinearMLP
    x : (..., d_in) array_like

    Returns
    -------
    (..., d_out) array

    Raises
    ------
    ValueError, TypeError
        For a shape or number type that does not fit the model.

    Examples
    --------
    >>> model = BilinearMLP([[1, 1]], [BilinearLayer([[1]], [[1]])], [[1], [-1]])
    >>> mlp_forward(model, [1, 2])
    array([ 9., -9.])
    """
    return mlp_activations(model, x).y


def mlp_backward(
    model: BilinearMLP,
    x: ArrayLike,
    dy: ArrayLike,
    activations: Activations | None = None,
    *,
    input_gradient: bool = True,
) -> MLPGradients:
    """Return the gradients of `⟨dy, mlp_forward(model, x)⟩`, summed over the examples.

    Parameters
    ----------
    model : BilinearMLP
    x : (..., d_in) array_like
    dy : (..., d_out) array_like
        Gradient of the loss in the output.
    activations : Activations, optional
        What `mlp_activations(model, x)` returned, to spare its recomputation.
    input_gradient : bool
        Whether to compute the gradient in x; without it, `x` of the result is None.

    Returns
    -------
    MLPGradients

    Raises
    ------
    ValueError, TypeError
        For a shape or number type that does not fit the model.

    Examples
    --------
    >>> model = BilinearMLP(None, [BilinearLayer([[1]], [[1]])], [[5]])
    >>> mlp_backward(model, [3], [1]).x                          # 5 x² at 3
    array([30.])
    """
    x = _enter_x(model, x)
    dy = _enter_dy(model, x, dy)
    streams, projections, _ = mlp_activations(model, x) if activations is None else activations
    below = input_gradient or model.w_embed is not None
    dh = _pull_back(dy, model.w_head)
    gradients: list[Gradients] = []
    for number in reversed(range(len(model.layers))):
        layer, h, factors = model.layers[number], streams[number], projections[number]
        of_layer = backward(layer, h, dh, factors, input_gradient=below or number > 0)
        if of_layer.x is not None:
            dh = dh + of_layer.x if model.residual else of_layer.x
        gradients.insert(0, of_layer._replace(x=None))
    return MLPGradients(
        w_embed=None if model.w_embed is None else rows(dh).T @ rows(x),
        layers=tuple(gradients),
        w_head=None if model.w_head is None else rows(dy).T @ rows(streams[-1]),
        x=_pull_back(dh, model.w_embed) if input_gradient else None,
    )


def fold(model: BilinearMLP) -> BilinearLayer:
    """Return the one bilinear layer, in input space, that a model of one layer is.

    With embedding E, head H and residual r (1 or 0), `w_left' = w_left E`, `w_right' = w_right E`,
    `w_out' = H w_out`, `b_out' = H b_out` and `w_skip' = H (w_skip + r I) E`; the biases of the
    factors stay what they are.

    Parameters
    ----------
    model : BilinearMLP
        Of one layer.

    Returns
    -------
    BilinearLayer
        `forward(fold(model), x) == mlp_forward(model, x)`, exactly in rationals.

    Raises
    ------
    ValueError
        For a model of two layers or more, which is no quadratic form but one of degree 4 or more.

    Examples
    --------
    >>> model = BilinearMLP([[2]], [BilinearLayer([[1]], [[1]])], [[10]], residual=True)
    >>> folded = fold(model)                                      # 10 (2x + (2x)²)
    >>> folded.w_skip, mlp_forward(model, [1])
    (array([[20.]]), array([60.]))
    """
    if len(model.layers) != 1:
        raise ValueError(
            f"model must have one layer to be one bilinear layer; got {len(model.layers)}, "
            f"a polynomial of degree {2 ** len(model.layers)}"
        )
    layer, embed, head = model.layers[0], model.w_embed, model.w_head
    return BilinearLayer(
        w_left=layer.w_left if embed is None else layer.w_left @ embed,
        w_right=layer.w_right if embed is None else layer.w_right @ embed,
        w_out=_product(head, layer.w_out),
        b_left=layer.b_left,
        b_right=layer.b_right,
        b_out=None if layer.b_out is None else affine(layer.b_out, head),
        w_skip=_folded_skip(model, layer),
    )


def parameters(
    model: BilinearLayer | BilinearMLP | Gradients | MLPGradients,
) -> dict[str, Array]:
    """Return every parameter that is there, or its gradient, by name.

    Parameters
    ----------
    model : BilinearLayer, BilinearMLP, Gradients or MLPGradients

    Returns
    -------
    dict of str to array
        `w_left`, … of a layer; `w_embed`, `layers.0.w_left`, …, `w_head` of an MLP.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0]], [[0, 1]])
    >>> list(parameters(BilinearMLP(None, [layer], [[2]])))
    ['layers.0.w_left', 'layers.0.w_right', 'w_head']
    """
    if isinstance(model, BilinearLayer | Gradients):
        named: dict[str, Array | None] = {n: getattr(model, n) for n in LAYER_PARAMETERS}
    else:
        named = {"w_embed": model.w_embed}
        layers: Sequence[BilinearLayer | Gradients] = model.layers
        for number, layer in enumerate(layers):
            named |= {f"layers.{number}.{name}": w for name, w in parameters(layer).items()}
        named["w_head"] = model.w_head
    return {name: value for name, value in named.items() if value is not None}


def with_parameters(model: BilinearMLP, values: Mapping[str, Array]) -> BilinearMLP:
    """Return the model with all its parameters replaced by those of the mapping.

    Parameters
    ----------
    model : BilinearMLP
    values : mapping of str to array
        As `parameters(model)` names them.

    Returns
    -------
    BilinearMLP

    Raises
    ------
    ValueError
        For a name that the model lacks, or the mapping.

    Examples
    --------
    >>> model = BilinearMLP(None, [BilinearLayer([[1]], [[1]])], [[5]])
    >>> half = {name: value / 2 for name, value in parameters(model).items()}
    >>> with_parameters(model, half).w_head
    array([[2.5]])
    """
    differing = sorted(set(values) ^ set(parameters(model)))
    if differing:
        what = "an unknown" if differing[0] in values else "no"
        raise ValueError(f"values must name the parameters of the model; got {what} {differing[0]}")
    layers = [
        BilinearLayer(**{name: values[f"layers.{number}.{name}"] for name in parameters(layer)})
        for number, layer in enumerate(model.layers)
    ]
    return BilinearMLP(values.get("w_embed"), tuple(layers), values.get("w_head"), model.residual)


def _enter_layers(layers: Iterable[BilinearLayer]) -> tuple[BilinearLayer, ...]:
    if not isinstance(layers, Iterable):
        raise TypeError(f"layers must be a sequence of layers; got {type(layers).__name__}")
    layers = tuple(layers)
    if not layers:
        raise ValueError("layers must hold at least one BilinearLayer; got none")
    for number, layer in enumerate(layers):
        if not isinstance(layer, BilinearLayer):
            raise TypeError(f"layers[{number}] must be a BilinearLayer; got {type(layer).__name__}")
    return layers


def _pull_back(dy: Array, w: Array | None) -> Array:
    """Return `wᵀ dy`, the gradient in x of `⟨dy, w x⟩`; None is the identity."""
    return dy if w is None else dy @ w


def _product(*matrices: Array | None) -> Array | None:
    """Return the matrix product, None standing for the identity (and returned where all are)."""
    present = [matrix for matrix in matrices if matrix is not None]
    return reduce(np.matmul, present) if present else None


def _folded_skip(model: BilinearMLP, layer: BilinearLayer) -> Array | None:
    """Return `H (w_skip + r I) E`, or None where there is neither a skip path nor a residual."""
    if layer.w_skip is None and not model.residual:
        return None
    identity = _identity(layer.d_in, layer.dtype)
    if layer.w_skip is None:
        path = _product(model.w_head, model.w_embed)
        return identity if path is None else path
    skip = layer.w_skip + identity if model.residual else layer.w_skip
    return _product(model.w_head, skip, model.w_embed)


def _identity(d: int, dtype: DTypeLike) -> Array:
    identity = constant(0, (d, d), dtype)
    np.fill_diagonal(identity, constant(1, (), dtype).item())
    return identity


def _enter_x(model: BilinearMLP, x: ArrayLike) -> Array:
    sizes = {"d_in": model.d_in}
    return enter("x", x, sizes, dtype=model.dtype, batched=True, match="to match the model")


def _enter_dy(model: BilinearMLP, x: Array, dy: ArrayLike) -> Array:
    sizes = {"d_out": model.d_out}
    array = enter("dy", dy, sizes, dtype=model.dtype, batched=True, match="to match the model")
    check_batch("dy", array, x)
    return array
