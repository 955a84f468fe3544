"""A layer refitted to few hidden units: gradient descent on the Frobenius distance of tensors.

    minimise  ½ ‖B_few − B‖²  over  w_left, w_right, w_out  of d_hidden units

The function determines the tensor and nothing more, so no data are asked for. With the difference Δ
as a layer of its own, of weights L, R, D and units k, the gradient in the weights l_h, r_h, d_h of
one unit is that of `⟨Δ, few⟩`,

    ∂l_h = Σ_o d_oh Δ_o r_h      ∂r_h = Σ_o d_oh Δ_o l_h      ∂d_oh = l_hᵀ Δ_o r_h

again in O(d_hidden² d_in) work, without a tensor.
"""

# Annotations stay text: evaluating np.random.Generator would load numpy.random at import.
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from refbilinear.analysis.grams import blocks, inner_products, unit_products
from refbilinear.analysis.layers import jacobian, output_weights, require_same, subtract
from refbilinear.spec.arrays import (
    Array,
    constant,
    require_count,
    require_finite,
    require_non_negative,
    require_representable,
)
from refbilinear.spec.layer import BilinearLayer, forward
from refbilinear.spec.mlp import parameters
from refbilinear.spec.optim import adamw, cosine_schedule


class Refit(NamedTuple):
    """How far a refit has come."""

    step: int
    """Steps taken."""
    layer: BilinearLayer
    """Of few hidden units, with the linear and constant parts of the whole layer."""
    distance: float
    """`‖B_few − B‖ / ‖B‖` of the quadratic parts; the others agree."""


class WeightGradients(NamedTuple):
    """Gradients in the three weights of a plain layer."""

    w_left: Array
    w_right: Array
    w_out: Array


def refit_layer(
    layer: BilinearLayer,
    d_hidden: int,
    *,
    rng: np.random.Generator | int,
    steps: int = 2000,
    every: int = 100,
    learning_rate: float = 0.03,
) -> Iterator[Refit]:
    """Yield layers of `d_hidden` units that come ever nearer to a layer, by AdamW.

    The problem is not convex: other seeds may find other minima.

    Parameters
    ----------
    layer : BilinearLayer
        float32 or float64, its quadratic part not zero.
    d_hidden : int
        How many hidden units to fit, at least 1.
    rng : numpy.random.Generator or int
        Source of the initial weights, or a seed.
    steps, every : int
        How many steps to take, and after how many to yield; the last is always yielded.
    learning_rate : float
        Of the first step; it falls to 0 by `cosine_schedule`. Scales with nothing: the tensor is
        normalised for the fit.

    Yields
    ------
    Refit

    Raises
    ------
    ValueError, TypeError
        For settings out of range, a zero form or parameters that are not finite, at the call.
    FloatingPointError
        For weights, or a distance, that are not finite, naming the step.

    Examples
    --------
    3x₀x₁ as two hidden units, x₀x₁ and 2x₁x₀, is one:

    >>> layer = BilinearLayer([[1, 0], [0, 2]], [[0, 1], [1, 0]], [[1, 1]])
    >>> *_, last = refit_layer(layer, 1, rng=0)
    >>> last.step, last.distance < 1e-6
    (2000, True)
    """
    if layer.dtype == object:
        raise TypeError("layer must be float32 or float64 to be refitted; got exact rationals")
    for name, array in parameters(layer).items():
        require_finite(name, array)
    require_count("d_hidden", d_hidden, 1)
    require_count("steps", steps, 1)
    require_count("every", every, 1)
    learning_rate = require_non_negative("learning_rate", learning_rate)
    target = BilinearLayer(layer.w_left, layer.w_right, output_weights(layer))
    size = _norm(target)
    few = _initial(_generator(rng), target, d_hidden)
    return _steps(layer, _scaled(target, 1 / size), few, size, steps, every, learning_rate)


def frobenius_gradient(first: BilinearLayer, second: BilinearLayer) -> WeightGradients:
    """Return the gradients of `frobenius(first, second)` in the weights of the second.

    Parameters
    ----------
    first, second : BilinearLayer
        Without bias and skip, of one d_in, d_out and number type. Exact on exact numbers.

    Returns
    -------
    WeightGradients
        `w_out` also where the second layer has none of its own.

    Raises
    ------
    ValueError, TypeError
        For layers that do not fit each other, or have a bias or a skip path.
    OverflowError
        For gradients beyond the largest number of the dtype.

    Examples
    --------
    >>> x0x1, x0x0 = BilinearLayer([[1, 0]], [[0, 1]]), BilinearLayer([[1, 0]], [[1, 0]])
    >>> frobenius_gradient(x0x1, x0x0).w_left                     # ⟨x₀x₁, (l·x)x₀⟩ = l₁/2
    array([[0. , 0.5]])
    """
    require_same("second", second, first, ("d_in", "d_out"))
    for name, layer in (("first", first), ("second", second)):
        if layer.has_constant:
            raise ValueError(f"{name} must have no bias and no skip path: see homogeneous_layer")
        for part, array in parameters(layer).items():
            require_finite(f"{name}.{part}", array)
    with np.errstate(over="ignore", invalid="ignore"):
        gradients = _gradients(first, second)
    for name, gradient in gradients._asdict().items():
        require_representable(f"the gradient of {name}", gradient)
    return gradients


def _gradients(first: BilinearLayer, second: BilinearLayer) -> WeightGradients:
    """Return the gradients in the weights of the second of two layers that fit."""
    out, out2 = output_weights(first), output_weights(second)
    left, right, slopes = (constant(0, w.shape, second.dtype) for w in (*_factors(second), out2))
    for s in blocks(second.d_hidden):
        for t in blocks(first.d_hidden):
            units = first.w_left[t], first.w_right[t]
            weight = (out2[:, s] / 2).T @ out[:, t]
            left[s] += _pulled(weight, second.w_right[s], *units)
            right[s] += _pulled(weight, second.w_left[s], *units)
            products = unit_products(second.w_left[s], second.w_right[s], *units)
            slopes[:, s] += out[:, t] @ products.T
    return WeightGradients(left, right, slopes)


def _pulled(weight: Array, other: Array, left: Array, right: Array) -> Array:
    """Return `Σ_k E_hk [(o_h·r_k) l_k + (o_h·l_k) r_k]`, o the factor of h that is held."""
    pulled: Array = (weight * (other @ right.T)) @ left + (weight * (other @ left.T)) @ right
    return pulled


def _factors(layer: BilinearLayer) -> tuple[Array, Array]:
    return layer.w_left, layer.w_right


def _norm(target: BilinearLayer) -> float:
    """Return ‖B‖ in float64, or raise for a layer that cannot be normalised."""
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(inner_products(target, target, None, "whole"))
    if not 0 < square < math.inf:
        raise ValueError(
            f"layer must have a quadratic part of moderate norm to be refitted; "
            f"got the squared norm {square}"
        )
    return math.sqrt(square)


def _scaled(layer: BilinearLayer, factor: float) -> BilinearLayer:
    return BilinearLayer(*_factors(layer), output_weights(layer) * factor)


def _initial(rng: np.random.Generator, target: BilinearLayer, d_hidden: int) -> BilinearLayer:
    """Return random units: factors of about unit length, outputs of about unit norm together."""
    d_in, d_out = target.d_in, target.d_out

    def draw(rows: int, columns: int, size: int) -> Array:
        return (rng.standard_normal((rows, columns)) / math.sqrt(size)).astype(target.dtype)

    factors = draw(d_hidden, d_in, d_in), draw(d_hidden, d_in, d_in)
    return BilinearLayer(*factors, draw(d_out, d_hidden, d_out * d_hidden))


def _steps(
    whole: BilinearLayer,
    target: BilinearLayer,
    few: BilinearLayer,
    size: float,
    steps: int,
    every: int,
    learning_rate: float,
) -> Iterator[Refit]:
    names = WeightGradients._fields
    moments = {n: (np.zeros_like(w), np.zeros_like(w)) for n, w in parameters(few).items()}
    for step in range(1, steps + 1):
        rate, values = cosine_schedule(step - 1, steps, learning_rate), {}
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by name
            gradients = _gradients(subtract(few, target), few)
            for name, g in zip(names, gradients, strict=True):
                values[name], *after = adamw(
                    getattr(few, name), g, *moments[name], step, learning_rate=rate
                )
                moments[name] = (after[0], after[1])
        _require_finite_after(step, *values.values())
        few = BilinearLayer(**values)
        if step % every == 0 or step == steps:
            yield Refit(step, _complete(_scaled(few, size), whole), _distance(few, target, step))


def _distance(few: BilinearLayer, target: BilinearLayer, step: int) -> float:
    """Return the distance to a target of norm 1, in float64: its square is what cancels."""
    rest = BilinearLayer(
        **{name: w.astype(np.float64) for name, w in parameters(subtract(few, target)).items()}
    )
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(inner_products(rest, rest, None, "whole"))
    _require_finite_after(step, square)
    return math.sqrt(max(square, 0.0))


def _require_finite_after(step: int, *values: Array | float) -> None:
    if not all(np.isfinite(value).all() for value in values):
        raise FloatingPointError(
            f"weights or distance are not finite after step {step}: "
            f"refit with a smaller learning_rate"
        )


def _generator(rng: np.random.Generator | int) -> np.random.Generator:
    """Return a generator, or that of a seed; None would be another one each time."""
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(require_count("rng", rng, 0))


def _complete(few: BilinearLayer, whole: BilinearLayer) -> BilinearLayer:
    """Return the layer with the linear and constant parts of the whole one."""
    if not whole.has_constant:
        return few
    zero = constant(0, whole.d_in, whole.dtype)
    return BilinearLayer(
        few.w_left,
        few.w_right,
        few.w_out,
        b_out=forward(whole, zero),
        w_skip=jacobian(whole, zero),
    )
