"""Layers made of layers: sums, differences, and the constant as a coordinate.

    first ± second:   w_left = [L₁; L₂],   w_right = [R₁; R₂],   w_out = [D₁, ±D₂]
    over [x; 1]:      w_left = [[L, b_left], [S, b_out]],   w_right = [[R, b_right], [0, 1]],
                      w_out = [D, I]

with the letters L, R, D, S for `w_left, w_right, w_out, w_skip`. All of it is exact on exact
numbers, and in floats too but for the sums of two biases or two skip paths: weights are copied.
"""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refbilinear.spec.arrays import Array, constant, enter
from refbilinear.spec.layer import BilinearLayer, project
from refbilinear.spec.mlp import BilinearMLP, fold


def add(first: BilinearLayer, second: BilinearLayer) -> BilinearLayer:
    """Return the layer `first(x) + second(x)`, with the hidden units of both.

    Parameters
    ----------
    first, second : BilinearLayer
        Of one d_in, d_out and number type; the numbers of hidden units may differ.

    Returns
    -------
    BilinearLayer
        With `w_out` of its own: `[I, I]` where neither has one. A bias that one of them lacks
        counts as 0.

    Raises
    ------
    ValueError, TypeError
        For layers that do not fit each other.

    Examples
    --------
    >>> from refbilinear import forward
    >>> square, product = BilinearLayer([[1, 0]], [[1, 0]]), BilinearLayer([[1, 0]], [[0, 1]])
    >>> both = add(square, product)                               # x₀² + x₀x₁
    >>> both, forward(both, [3, 4])
    (BilinearLayer(d_in=2, d_hidden=2, d_out=1, float64, w_out), array([21.]))
    """
    require_same("second", second, first, ("d_in", "d_out"))
    return BilinearLayer(
        w_left=np.concatenate([first.w_left, second.w_left]),
        w_right=np.concatenate([first.w_right, second.w_right]),
        w_out=np.concatenate([output_weights(first), output_weights(second)], axis=1),
        b_left=_joined(first, first.b_left, second, second.b_left),
        b_right=_joined(first, first.b_right, second, second.b_right),
        b_out=_sum(first.b_out, second.b_out),
        w_skip=_sum(first.w_skip, second.w_skip),
    )


def subtract(first: BilinearLayer, second: BilinearLayer) -> BilinearLayer:
    """Return the layer `first(x) − second(x)`: its tensor is the difference of the tensors.

    Parameters
    ----------
    first, second : BilinearLayer
        As for `add`.

    Returns
    -------
    BilinearLayer

    Raises
    ------
    ValueError, TypeError
        For layers that do not fit each other.

    Examples
    --------
    >>> from refbilinear import forward
    >>> square, product = BilinearLayer([[1, 0]], [[1, 0]]), BilinearLayer([[1, 0]], [[0, 1]])
    >>> forward(subtract(square, product), [3, 4])                # x₀² − x₀x₁
    array([-3.])
    """
    require_same("second", second, first, ("d_in", "d_out"))
    return add(first, _negative(second))


def homogeneous_layer(layer: BilinearLayer) -> BilinearLayer:
    """Return a layer without bias or skip, over `[x; 1]` where needed, of the same tensor.

    The skip path and the bias of the output are d_out hidden units more, `(S x + b_out) · 1`.

    Parameters
    ----------
    layer : BilinearLayer

    Returns
    -------
    BilinearLayer
        The layer itself where it has no constant; else of d_in + 1 inputs, the constant last.

    See Also
    --------
    refbilinear.homogeneous : the inputs that it takes.

    Examples
    --------
    >>> from refbilinear import forward, homogeneous
    >>> layer = BilinearLayer([[1]], [[1]], b_left=[2], w_skip=[[5]])     # (x + 2)x + 5x
    >>> forward(homogeneous_layer(layer), homogeneous([3]))
    array([30.])
    """
    return over_constant(layer) if layer.has_constant else layer


def over_constant(layer: BilinearLayer) -> BilinearLayer:
    """Return the plain layer over `[x; 1]` of the same tensor, whether it has a constant or not."""
    left, right = with_column(layer.w_left, layer.b_left), with_column(layer.w_right, layer.b_right)
    out = layer.w_out
    if layer.w_skip is not None or layer.b_out is not None:
        skip = layer.w_skip
        if skip is None:
            skip = constant(0, (layer.d_out, layer.d_in), layer.dtype)
        ones = constant(0, (layer.d_out, layer.d_in + 1), layer.dtype)
        ones[:, -1:] = constant(1, 1, layer.dtype)
        left = np.concatenate([left, with_column(skip, layer.b_out)])
        right = np.concatenate([right, ones])
        path = identity(layer.d_out, layer.dtype)
        out = np.concatenate([output_weights(layer), path], axis=1)
    return BilinearLayer(left, right, out)


def carrying_constant(layer: BilinearLayer) -> BilinearLayer:
    """Return the plain layer from `[x; 1]` to `[y; 1]`, by one unit more: `1 · 1`."""
    plain = over_constant(layer)
    unit = constant(0, (1, plain.d_in), layer.dtype)
    unit[:, -1:] = constant(1, 1, layer.dtype)
    out = with_column(output_weights(plain), None)
    last = constant(0, (1, out.shape[1]), layer.dtype)
    last[:, -1:] = constant(1, 1, layer.dtype)
    return BilinearLayer(
        np.concatenate([plain.w_left, unit]),
        np.concatenate([plain.w_right, unit]),
        np.concatenate([out, last]),
    )


def stages(model: BilinearLayer | BilinearMLP) -> tuple[BilinearLayer, ...]:
    """Return the layers whose composition a model is: embedding, residual and head folded in.

    Examples
    --------
    >>> square = BilinearLayer([[1]], [[1]])
    >>> stages(BilinearMLP([[2, 0]], [square, square], [[3]], residual=True))
    (BilinearLayer(d_in=2, d_hidden=1, d_out=1, float64, w_skip), \
BilinearLayer(d_in=1, d_hidden=1, d_out=1, float64, w_out, w_skip))
    """
    if isinstance(model, BilinearLayer):
        return (model,)
    last = len(model.layers) - 1
    return tuple(
        fold(
            BilinearMLP(
                model.w_embed if number == 0 else None,
                (layer,),
                model.w_head if number == last else None,
                model.residual,
            )
        )
        for number, layer in enumerate(model.layers)
    )


def jacobian(layer: BilinearLayer, x: ArrayLike) -> Array:
    """Return `∂y/∂x = D (diag(R x + b_right) L + diag(L x + b_left) R) + S` at one input.

    Parameters
    ----------
    layer : BilinearLayer
    x : (d_in,) array_like

    Returns
    -------
    (d_out, d_in) array
        Along an output direction u, `uᵀ ∂y/∂x = 2 Q x + b`; at x = 0 the linear part alone.

    Examples
    --------
    >>> jacobian(BilinearLayer([[1, 0]], [[0, 1]], w_skip=[[10, 0]]), [3, 4])     # x₀x₁ + 10x₀
    array([[14.,  3.]])
    """
    x = enter("x", x, {"d_in": layer.d_in}, dtype=layer.dtype, match="to match the layer")
    a, b = project(layer, x)
    units = b[:, None] * layer.w_left + a[:, None] * layer.w_right
    slope: Array = units if layer.w_out is None else layer.w_out @ units
    return slope if layer.w_skip is None else slope + layer.w_skip


def require_layer(layer: object) -> None:
    """Raise TypeError unless it is a layer; a model has spectra and forms by other names."""
    if isinstance(layer, BilinearMLP):
        raise TypeError(
            "layer must be a BilinearLayer; got BilinearMLP: see the functions of model and input "
            "space, input_spectrum, model_spectrum, input_space_forms and model_space_forms"
        )
    if not isinstance(layer, BilinearLayer):
        raise TypeError(f"layer must be a BilinearLayer; got {type(layer).__name__}")


def require_model(model: object) -> None:
    """Raise TypeError unless it is a model; a layer alone has only its own space."""
    if not isinstance(model, BilinearMLP):
        raise TypeError(
            f"model must be a BilinearMLP; got {type(model).__name__}: for a layer, spectrum"
        )


def output_weights(layer: BilinearLayer) -> Array:
    """Return `w_out`, the identity written out where there is none."""
    return identity(layer.d_hidden, layer.dtype) if layer.w_out is None else layer.w_out


def identity(d: int, dtype: DTypeLike) -> Array:
    """Return the identity, exact where the dtype is."""
    eye = constant(0, (d, d), dtype)
    eye[np.arange(d), np.arange(d)] = constant(1, d, dtype)
    return eye


def with_column(w: Array, b: Array | None) -> Array:
    """Return `[w | b]`, a column of zeros for None."""
    column = constant(0, len(w), w.dtype) if b is None else b
    return np.concatenate([w, column[:, None]], axis=1)


def require_same(
    name: str,
    value: BilinearLayer | BilinearMLP,
    first: BilinearLayer | BilinearMLP,
    sizes: tuple[str, ...],
) -> None:
    """Raise unless the second of two models has the number type and the sizes of the first."""
    for size in sizes:
        wanted, got = getattr(first, size), getattr(value, size)
        if got != wanted:
            raise ValueError(f"{name} must have {size} = {wanted} to match first; got {got}")
    if value.dtype != first.dtype:
        raise TypeError(
            f"{name} must have dtype {first.dtype} to match first; "
            f"got {value.dtype}: convert one of them"
        )


def _negative(layer: BilinearLayer) -> BilinearLayer:
    return BilinearLayer(
        layer.w_left,
        layer.w_right,
        -output_weights(layer),
        layer.b_left,
        layer.b_right,
        None if layer.b_out is None else -layer.b_out,
        None if layer.w_skip is None else -layer.w_skip,
    )


def _joined(
    first: BilinearLayer, b_first: Array | None, second: BilinearLayer, b_second: Array | None
) -> Array | None:
    """Return `[b₁; b₂]`, zeros for an absent one beside a present one."""
    if b_first is None and b_second is None:
        return None
    pairs = ((first, b_first), (second, b_second))
    zeros = (constant(0, layer.d_hidden, layer.dtype) for layer, _ in pairs)
    return np.concatenate([z if b is None else b for z, (_, b) in zip(zeros, pairs, strict=True)])


def _sum(first: Array | None, second: Array | None) -> Array | None:
    """Return the sum of two optional arrays."""
    if first is None or second is None:
        return second if first is None else first
    total: Array = first + second
    return total
