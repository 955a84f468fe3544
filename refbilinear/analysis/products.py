"""Inner products of layers and models as functions, from their weights: three, by three names.

    frobenius    Σ_o ⟨B₁[o], B₂[o]⟩, of tensors symmetric layer by layer
    symmetric    Σ_α f_α g_α α!/n!, of the polynomials: inputs also permute across layers
    gaussian     Σ_o E[f_o g_o], x ~ N(μ, Σ)

For one layer the first two are one. Biases, skip paths and residual connections count: over
`[x; 1]` the product of two outputs is `⟨Q₁, Q₂⟩ + ½ b₁·b₂ + c₁c₂`. Beside them stand two products
of what varies: the `covariance` of the outputs for Gaussian inputs and for inputs on a `sphere`.

Every one takes `outputs`: "whole" is the sum over the outputs, a number; "each" has a number for
each output with its like, (d_out,); "pairs" has all, (d_out of first, d_out of second). The models
may differ in hidden sizes. No tensor is formed: a layer takes O(d_hidden² (d_in + d_out)) work in
blocks of bounded memory. Exact on exact numbers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refbilinear.analysis.grams import (
    Stages,
    chained,
    chained_roundings,
    inner_product_roundings,
    inner_products,
    paired,
    symmetrised,
    symmetrised_roundings,
)
from refbilinear.analysis.layers import jacobian, require_same, stages
from refbilinear.oracle.bounds import forward_roundings, gamma
from refbilinear.oracle.inertia import inertia
from refbilinear.spec.arrays import Array, affine, constant, enter, first_index, require_finite
from refbilinear.spec.layer import BilinearLayer, forward
from refbilinear.spec.mlp import BilinearMLP, parameters
from refbilinear.spec.packed import require_symmetric

Model = BilinearLayer | BilinearMLP

OUTPUTS = ("whole", "each", "pairs")


def frobenius(first: Model, second: Model, *, outputs: str = "whole") -> Any:
    """Return the Frobenius product `Σ_o Σ_ij B₁[o,i,j] B₂[o,i,j]` of two interaction tensors.

    From the weights, with L, R, D for `w_left, w_right, w_out`::

        Σ_hk (D₁ᵀD₂)_hk · ½ [(L₁L₂ᵀ)(R₁R₂ᵀ) + (L₁R₂ᵀ)(R₁L₂ᵀ)]_hk

    A model of several layers is the tensor that is symmetric layer by layer, by the recursion of
    this formula; two weights of the same function may then give two tensors, see `symmetric`.

    Parameters
    ----------
    first, second : BilinearLayer or BilinearMLP
        Of one d_in, d_out, depth and number type.
    outputs : {"whole", "each", "pairs"}
        What to return, see this module; "pairs" allows two d_out.

    Returns
    -------
    number, (d_out,) array or (d_out of first, d_out of second) array

    Raises
    ------
    ValueError, TypeError
        For models that do not fit each other, or parameters that are not finite.
    OverflowError
        For a result beyond the largest number of the dtype.

    References
    ----------
    Pearce et al. 2025, arXiv:2410.08417.

    Examples
    --------
    The form x₀x₁ is half in each of two entries; with x₀ + 3 beside it, ½ + ½ · 1² + 3²:

    >>> product = BilinearLayer([[1, 0]], [[0, 1]])
    >>> float(frobenius(product, product))
    0.5
    >>> both = BilinearLayer([[1, 0]], [[0, 1]], w_skip=[[1, 0]], b_out=[3])
    >>> float(frobenius(both, both))
    10.0
    """
    return _product("frobenius", outputs, first, second)


def symmetric(first: Model, second: Model, *, outputs: str = "whole") -> Any:
    """Return the product `Σ_α f_α g_α α!/n!` of two polynomials, over monomials of degree n.

    Of the fully symmetrised tensors: equal functions have equal products. For one layer it is
    `frobenius`; for two it takes O(d_hidden⁴) work for each output, in closed form.

    Parameters
    ----------
    first, second : BilinearLayer or BilinearMLP
        Of one d_in, d_out and number type, both of one layer or both of two. With a constant
        anywhere the polynomials are those over `[x; 1]`, all of degree n = 2 or 4.
    outputs : {"whole", "each", "pairs"}
        What to return, see this module.

    Returns
    -------
    number, (d_out,) array or (d_out of first, d_out of second) array

    Raises
    ------
    ValueError, TypeError
        As for `frobenius`, and for more than two layers.

    Examples
    --------
    (x₀²)(x₁²) − (x₀x₁)² is zero, but not layer by layer:

    >>> forms = BilinearLayer([[1, 0], [0, 1], [1, 0]], [[1, 0], [0, 1], [0, 1]])
    >>> zero = BilinearMLP(None, [forms, BilinearLayer([[1, 0, 0], [0, 0, 1]],
    ...                                                [[0, 1, 0], [0, 0, -1]])], [[1, 1]])
    >>> float(frobenius(zero, zero)), float(symmetric(zero, zero))
    (0.75, 0.0)
    """
    return _product("symmetric", outputs, first, second)


def gaussian(
    first: Model,
    second: Model,
    mean: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    *,
    outputs: str = "whole",
) -> Any:
    """Return `Σ_o E[f_o(x) g_o(x)]` for x ~ N(μ, Σ): the covariance, and the product of the means.

    With `E f = f(μ) + tr(QΣ)`. At μ = 0 and Σ = I this is not the Frobenius product, and neither is
    the covariance, which is `2⟨Q₁, Q₂⟩ + b₁·b₂`.

    Parameters
    ----------
    first, second : BilinearLayer or BilinearMLP
        Of one layer, one d_in, one d_out and one number type. (Deeper ones are refused: a model of
        two layers has moments of degree 8.)
    mean : (d_in,) array_like, optional
        μ, by default 0.
    covariance : (d_in, d_in) array_like, optional
        Σ, by default I. Symmetric without tolerance, positive semidefinite up to rounding.
    outputs : {"whole", "each", "pairs"}
        What to return, see this module.

    Returns
    -------
    number, (d_out,) array or (d_out of first, d_out of second) array

    Raises
    ------
    ValueError, TypeError
        For models or moments that do not fit, a model of several layers, or a covariance that is
        not positive semidefinite: decided exactly in rationals; in floats, an eigenvalue of the
        correlations above −d γ_{d+1} may be rounding, one below −3 d γ_{d+1} is refused.

    Examples
    --------
    E[x⁴] = 3:

    >>> square = BilinearLayer([[1]], [[1]])
    >>> float(gaussian(square, square)), float(frobenius(square, square))
    (3.0, 1.0)
    """
    return _product("gaussian", outputs, first, second, mean, covariance)


def covariance(
    first: Model,
    second: Model,
    mean: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    *,
    outputs: str = "whole",
) -> Any:
    """Return `Σ_o Cov(f_o(x), g_o(x))` for x ~ N(μ, Σ).

    `Cov(f, g) = 2 tr(Q₁ΣQ₂Σ) + ∇f(μ)ᵀ Σ ∇g(μ)`, `∇f(μ) = 2Q₁μ + b₁`.

    Parameters
    ----------
    first, second : BilinearLayer or BilinearMLP
        As for `gaussian`.
    mean, covariance : array_like, optional
        μ and Σ.
    outputs : {"whole", "each", "pairs"}
        What to return, see this module.

    Returns
    -------
    number, (d_out,) array or (d_out of first, d_out of second) array

    Examples
    --------
    The variances of x₀² and x₀x₁, and that they are not correlated:

    >>> forms = BilinearLayer([[1, 0], [1, 0]], [[1, 0], [0, 1]])
    >>> covariance(forms, forms, outputs="pairs")
    array([[2., 0.],
           [0., 1.]])
    """
    return _product("covariance", outputs, first, second, mean, covariance)


def sphere(first: Model, second: Model, *, outputs: str = "whole") -> Any:
    """Return `Σ_o Cov(f_o(x), g_o(x))`, x uniform on the sphere of radius √d, d = d_in.

    `Cov(f, g) = 2 (d ⟨Q₁, Q₂⟩ − tr Q₁ tr Q₂) / (d + 2) + b₁·b₂`: RMSNorm feeds a layer vectors of
    this radius, and ‖x‖² is a constant there.

    Parameters
    ----------
    first, second : BilinearLayer or BilinearMLP
        Of one layer, one d_in, one d_out and one number type.
    outputs : {"whole", "each", "pairs"}
        What to return, see this module.

    Returns
    -------
    number, (d_out,) array or (d_out of first, d_out of second) array

    Examples
    --------
    ‖x‖² does not vary:

    >>> sizes = BilinearLayer([[1, 0], [0, 1]], [[1, 0], [0, 1]], w_out=[[1, 1], [1, -1]])
    >>> sphere(sizes, sizes, outputs="each")
    array([0., 2.])
    """
    return _product("sphere", outputs, first, second)


# ---- what each product computes, on layers into which all has been folded


def _covariance(outputs: str, first: Stages, second: Stages, *moments: Array | None) -> Any:
    """Return `2 tr(Q₁ΣQ₂Σ) + ∇f(μ)ᵀ Σ ∇g(μ)`."""
    mean, spread = moments
    (one,), (two,) = first, second
    quadratic = 2 * inner_products(*_quadratics(one, two), spread, outputs)
    slope, slope2 = _slope(one, mean), _slope(two, mean)
    return quadratic + paired(slope if spread is None else slope @ spread, slope2, outputs)


def _gaussian(outputs: str, first: Stages, second: Stages, *moments: Array | None) -> Any:
    """Return the covariance and the product of the means."""
    mean, mean2 = (_mean_output(layer, *moments)[:, None] for layer in (first[0], second[0]))
    return _covariance(outputs, first, second, *moments) + paired(mean, mean2, outputs)


def _sphere(outputs: str, first: Stages, second: Stages, sign: int = -1) -> Any:
    """Return `2 (d ⟨Q₁, Q₂⟩ − tr Q₁ tr Q₂) / (d + 2) + b₁·b₂`; sign 1 is its twin."""
    (one,), (two,), d = first, second, first[0].d_in
    inner = inner_products(*_quadratics(one, two), None, outputs)
    traces = paired(_traces(one)[:, None], _traces(two)[:, None], outputs)
    slopes = paired(_slope(one, None), _slope(two, None), outputs)
    return 2 * (d * inner + sign * traces) / (d + 2) + slopes


def _quadratics(first: BilinearLayer, second: BilinearLayer) -> tuple[BilinearLayer, BilinearLayer]:
    """Return both without their linear and constant parts, as one object where they are one."""
    plain = BilinearLayer(first.w_left, first.w_right, first.w_out)
    if second is first:
        return plain, plain
    return plain, BilinearLayer(second.w_left, second.w_right, second.w_out)


def _slope(layer: BilinearLayer, mean: Array | None) -> Array:
    """Return the Jacobian at μ."""
    return jacobian(layer, constant(0, layer.d_in, layer.dtype) if mean is None else mean)


def _mean_output(layer: BilinearLayer, mean: Array | None, spread: Array | None) -> Array:
    """Return `f(μ) + tr(QΣ)` of every output."""
    at = constant(0, layer.d_in, layer.dtype) if mean is None else mean
    value: Array = forward(layer, at) + _traces(layer, spread)
    return value


def _traces(layer: BilinearLayer, spread: Array | None = None) -> Array:
    """Return `tr(Q_o Σ) = Σ_h D_oh l_h·Σ r_h`."""
    left = layer.w_left if spread is None else layer.w_left @ spread
    units: Array = np.sum(left * layer.w_right, axis=1)
    return affine(units, layer.w_out)


# ---- how often each rounds


def _covariance_roundings(
    outputs: str, first: Stages, second: Stages, of_weights: int, widened: bool = True
) -> int:
    """Return K: of the quadratic part, or of two Jacobians and their products, and one more."""
    (one,), (two,) = first, second
    quadratic = inner_product_roundings(one, two, 0 if widened else None, outputs)
    slopes = sum(layer.d_in + layer.d_hidden + 4 for layer in (one, two))
    of_sum = one.d_out if outputs == "whole" else 0
    return max(quadratic + 1, slopes + 2 * one.d_in + of_sum) + 6 * of_weights + 1


def _gaussian_roundings(outputs: str, first: Stages, second: Stages, of_weights: int) -> int:
    """Return K: of the covariance, or of two means and their product, and one more."""
    means = sum(
        forward_roundings(layer) + layer.d_in + layer.d_hidden + 2
        for layer in (first[0], second[0])
    )
    means += first[0].d_out + 1 + 6 * of_weights
    return max(_covariance_roundings(outputs, first, second, of_weights), means) + 1


def _sphere_roundings(outputs: str, first: Stages, second: Stages, of_weights: int) -> int:
    """Return K: of the covariance or of two traces and their product, and five more."""
    traces = sum(layer.d_in + layer.d_hidden + 1 for layer in (first[0], second[0]))
    traces += first[0].d_out + 6 * of_weights
    flat = _covariance_roundings(outputs, first, second, of_weights, widened=False)
    return max(flat, traces) + 5


class Rule(NamedTuple):
    """How a product is computed, what it is on absolute values, and how often it rounds."""

    evaluate: Callable[..., Any]
    twin: Callable[..., Any]
    roundings: Callable[..., int]
    deepest: int | None
    """The largest depth that it is defined for here."""


RULES = {
    "frobenius": Rule(chained, chained, chained_roundings, None),
    "symmetric": Rule(symmetrised, symmetrised, symmetrised_roundings, 2),
    "gaussian": Rule(_gaussian, _gaussian, _gaussian_roundings, 1),
    "covariance": Rule(_covariance, _covariance, _covariance_roundings, 1),
    "sphere": Rule(_sphere, partial(_sphere, sign=1), _sphere_roundings, 1),
}
_WITH_MOMENTS = ("gaussian", "covariance")


# ---- entering and evaluating


def _product(
    product: str,
    outputs: str,
    first: Model,
    second: Model,
    mean: ArrayLike | None = None,
    spread: ArrayLike | None = None,
) -> Any:
    one, two, moments = entered(product, outputs, first, second, mean, spread)
    return evaluated(product, outputs, one, two, moments)


def of_dtype(value: Any, dtype: DTypeLike) -> Any:
    """Return numbers in a dtype: NumPy 1 makes float64 of a float32 number times an int."""
    return np.asarray(value, dtype)[()]


def evaluated(
    product: str, outputs: str, first: Stages, second: Stages, moments: tuple[Any, ...]
) -> Any:
    """Return a product of what `entered` returned, after checking that it is finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        value = RULES[product].evaluate(outputs, first, second, *moments)
        if first[0].dtype == object:
            return value
        value = of_dtype(value, first[0].dtype)
    if not np.all(np.isfinite(value)):
        raise OverflowError(
            f"the {product} product exceeds the largest {first[0].dtype}: scale the models down"
        )
    return value


def entered(
    product: str,
    outputs: str,
    first: Model,
    second: Model,
    mean: ArrayLike | None,
    spread: ArrayLike | None,
) -> tuple[Stages, Stages, tuple[Any, ...]]:
    """Return both models as stages, and the moments that the product takes."""
    if product not in RULES:
        raise ValueError(f"product must be one of {', '.join(RULES)}; got {product!r}")
    if outputs not in OUTPUTS:
        raise ValueError(f"outputs must be one of {', '.join(OUTPUTS)}; got {outputs!r}")
    one = _enter_model("first", first)
    two = one if second is first else _enter_model("second", second)
    require_same("second", second, first, ("d_in",) if outputs == "pairs" else ("d_in", "d_out"))
    if len(one) != len(two):
        raise ValueError(
            f"second must have as many layers as first, {len(one)}, for its tensor to be of the "
            f"same degree; got {len(two)}"
        )
    deepest = RULES[product].deepest
    if deepest is not None and len(one) > deepest:
        raise ValueError(
            f"first must have at most {deepest} layer{'s' * (deepest > 1)} for the {product} "
            f"product; got {len(one)}"
        )
    return one, two, _enter_moments(product, first, mean, spread)


def _enter_model(name: str, model: Model) -> Stages:
    if not isinstance(model, BilinearLayer | BilinearMLP):
        raise TypeError(
            f"{name} must be a BilinearLayer or a BilinearMLP; got {type(model).__name__}"
        )
    for parameter, array in parameters(model).items():
        require_finite(f"{name}.{parameter}", array)
    return stages(model)


def _enter_moments(
    product: str, model: Model, mean: ArrayLike | None, spread: ArrayLike | None
) -> tuple[Any, ...]:
    """Return mean and covariance for the products that take them."""
    if product not in _WITH_MOMENTS:
        for name, value in (("mean", mean), ("covariance", spread)):
            if value is not None:
                raise ValueError(f"{name} must be None for the {product} product")
        return ()
    size, dtype = model.d_in, model.dtype
    if mean is not None:
        mean = enter("mean", mean, {"d_in": size}, dtype=dtype, match="to match first")
        require_finite("mean", mean)
    if spread is not None:
        sizes = {"d_in": size, "d_in ": size}
        spread = enter("covariance", spread, sizes, dtype=dtype, match="to match first")
        require_finite("covariance", spread)
        require_symmetric("covariance", spread)
        _require_semidefinite("covariance", spread)
    return mean, spread


def _require_semidefinite(name: str, spread: Array) -> None:
    """Raise ValueError for a symmetric matrix that is certainly not positive semidefinite."""
    if not (spread.diagonal() >= 0).all():
        index = first_index(~(spread.diagonal() >= 0))[0]
        raise ValueError(
            f"{name} must have variances of at least 0; got {spread[index, index]} "
            f"at ({index}, {index})"
        )
    exact = spread.dtype == object
    if inertia(spread).negative if exact else not _may_be_semidefinite(spread):
        raise ValueError(
            f"{name} must be positive semidefinite; some combination of the inputs has a "
            "variance that is certainly negative"
        )


def _may_be_semidefinite(spread: Array) -> bool:
    """Return whether rounding may have made a matrix of variances ≥ 0 of a semidefinite one.

    With D² the diagonal, the correlations `H = D⁻¹ΣD⁻¹`. If their entries are off by γ_{d+1}, as
    sums of d products are, no eigenvalue moves by more than d γ_{d+1}; and while all are above as
    much (and a little), Cholesky's elimination does not break down (Demmel 1989; Higham, *Accuracy
    and Stability of Numerical Algorithms*, theorem 10.7). So with twice that added, a breakdown is
    proof: H has an eigenvalue below −d γ_{d+1}. One below −3 d γ_{d+1} does break it down.
    """
    varies = spread.diagonal() > 0
    if spread[~varies].any():
        return False
    kept = spread[np.ix_(varies, varies)].astype(np.float64)
    power = -(np.frexp(kept.diagonal())[1] // 2)
    with np.errstate(over="ignore"):
        kept = np.ldexp(kept, power + power[:, None])
    if not np.isfinite(kept).all():
        return False
    d = len(kept)
    kept[range(d), range(d)] *= 1 + 2 * (d + 1) * gamma(d + 2, spread.dtype)
    try:
        np.linalg.cholesky(kept)
    except np.linalg.LinAlgError:
        return False
    return True
