"""Spectra of the forms of a layer, straight from its weights: one direction, or many at once.

    Q = ½ Σ_h w_h (l_h r_hᵀ + r_h l_hᵀ),    w = w_outᵀ u,    u · y(x) = xᵀQx + b·x + c

There is more than one way, and `method` names it.

- *dense*: Q is formed by one product and decomposed. O(d_hidden d_in² + d_in³).
- *factored*: with units of w_h = 0 left out, `Q = FᵀGF`, F = [L; R], G = ½ [[0, W], [W, 0]]. QR of
  Fᵀ = ZT leaves the spectrum of `T G Tᵀ`, of size 2·d_hidden; the eigenvalues that are left are
  exact zeros. For 2·d_hidden < d_in.
- *embedded*: behind an embedding E the form of the inputs is EᵀQE. QR of Eᵀ = ZT leaves the
  spectrum of `T Q Tᵀ`, of size d_model, and its vectors Zy are orthonormal in *input space*, which
  eigenvectors in model space, projected by E, are not.
- *lanczos*: the leading k alone, from products `Qx = ½ (Lᵀ(w ⊙ Rx) + Rᵀ(w ⊙ Lx))`. O(d_hidden d_in)
  for each, in as much memory; see `lanczos`.

A spectrum is that of Q. The linear and the constant part stand beside it (`affine_parts`), and the
spectrum of the homogeneous matrix `M = [[Q, b/2], [bᵀ/2, c]]` has a name of its own.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refbilinear.analysis.eigenpairs import (
    Spectrum,
    eigendecompose,
    require_rank,
    with_fixed_signs,
)
from refbilinear.analysis.lanczos import (
    COLUMNS,
    CYCLE,
    KEPT,
    Leading,
    Places,
    Product,
    leading_pairs,
    lengths,
    within,
)
from refbilinear.analysis.layers import require_layer, require_model
from refbilinear.analysis.problems import EXACT, embedded, form
from refbilinear.spec.arrays import (
    Array,
    enter,
    require_count,
    require_finite,
    require_non_negative,
)
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.mlp import BilinearMLP, parameters
from refbilinear.spec.tensor import homogeneous_matrix, output_form

METHODS = ("auto", "dense", "factored", "embedded", "lanczos")

TOLERANCES = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-5}
"""The residual, in units of |λ₁|, that is asked for where none is given."""

PRODUCTS = 5000
"""How many products of one form are made before it counts as one that does not converge."""

LARGE = 7
"""From this many times the basis of Lanczos on, it is faster than the exact problem."""

GROUP = 64
"""How many directions share their products; more would not make these faster."""

SMALL = 2**22
"""So many numbers, 32 MiB, the bases of a group may have in any case."""

FORMED = 2**14
"""Below this n·d_in, Q is formed and multiplied by: a product of n columns must read L and R."""


class Spectra(NamedTuple):
    """The k leading eigenpairs of the forms of n output directions."""

    eigenvalues: Array
    """(n, k), by descending magnitude, of equal magnitudes the positive one first."""
    eigenvectors: Array
    """(n, d_in, k), one orthonormal column for each eigenvalue."""
    residuals: Array
    """(n, k), `‖Qv − λv‖`: so near to an eigenvalue each λ is."""

    def spectrum(self, number: int) -> Spectrum:
        """Return the spectrum of one direction."""
        return Spectrum(self.eigenvalues[number], self.eigenvectors[number])


class Solved(NamedTuple):
    """The pairs of some directions, with what rounding leaves of the residuals of each."""

    eigenvalues: Array
    eigenvectors: Array
    residuals: Array
    floor: Array


class NotConvergedError(ArithmeticError):
    """Some directions did not converge; `spectra` has the others, and NaN for these."""

    def __init__(self, message: str, spectra: Spectra):
        super().__init__(message, spectra)
        self.spectra = spectra

    def __str__(self) -> str:
        return str(self.args[0])


def spectrum(
    layer: BilinearLayer,
    u: ArrayLike,
    k: int | None = None,
    method: str = "auto",
    embed: ArrayLike | None = None,
    tolerance: float | None = None,
    seed: int = 0,
) -> Spectrum:
    """Return the leading eigenpairs of the form `u · y` of a layer, all or the first k.

    Parameters
    ----------
    layer : BilinearLayer
        Finite, float32 or float64. Its biases and its skip path do not enter Q.
    u : (d_out,) array_like
        Output direction.
    k : int, optional
        How many pairs, at most d_in; all by default.
    method : {"auto", "dense", "factored", "embedded", "lanczos"}
        See the module. "auto" takes the exact problem that is smallest, or "lanczos" where k is
        small against it. "factored" needs `2 · (units with w_h ≠ 0) ≤ d_in`, "embedded" an embed.
    embed : (d_model, d_in) array_like, optional
        An embedding E before the layer. The spectrum is then that of EᵀQE, in *input space*;
        without it that of Q, in the space of the layer's own input.
    tolerance : float, optional
        For "lanczos": residuals are at most `tolerance · |λ₁|`. By default 1e-10, of float32 1e-5.
    seed : int
        For "lanczos": of its start vectors.

    Returns
    -------
    Spectrum
        `eigenvalues` (k,) and `eigenvectors` (d_in, k), orthonormal, of the layer's dtype.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, and weights that are not finite.
    NotConvergedError
        If "lanczos" does not reach the tolerance.

    See Also
    --------
    spectra : many directions at once.
    input_spectrum, model_spectrum : of a model of one layer, in either space, by name.

    Examples
    --------
    The product x₀x₁ is ½ of the square of one diagonal, less ½ of the square of the other:

    >>> spectrum(BilinearLayer([[1, 0, 0]], [[0, 1, 0]]), [1]).eigenvalues
    array([ 0.5, -0.5,  0. ])
    """
    require_layer(layer)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method}")
    u = enter("u", u, {"d_out": layer.d_out}, dtype=layer.dtype, match="to match the layer")
    outer = None if embed is None else _enter_embed(layer, embed)
    left, right, weights = _enter_factors(layer, "u", u[None])
    behind_it = (left, right) if outer is None else _composed(left, right, outer)
    d = behind_it[0].shape[1]
    k, asked, seed = require_rank("k", k, d), method, require_count("seed", seed, 0)
    tolerance = _enter_tolerance(tolerance, layer.dtype)
    if method == "auto":
        method = _choice(min(layer.d_in, d), int(np.count_nonzero(weights)), k)
        method = "embedded" if method == "dense" and outer is not None else method
    if method == "lanczos":
        whole = BilinearLayer(*behind_it, layer.w_out)
        return spectra(whole, u[None], k, tolerance, method=asked, seed=seed).spectrum(0)
    if method != "embedded":
        values, vectors = EXACT[method](*behind_it, weights, k)
    elif outer is None:
        raise ValueError("method must not be embedded without embed")
    else:
        values, vectors = embedded(left, right, weights, k, outer)
    return Spectrum(values[0], with_fixed_signs(vectors[0].T))


def spectra(
    layer: BilinearLayer,
    U: ArrayLike,
    k: int,
    tolerance: float | None = None,
    executor: Executor | None = None,
    *,
    method: str = "auto",
    group: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    products: int = PRODUCTS,
    seed: int = 0,
) -> Spectra:
    """Return the k leading eigenpairs of the forms of many output directions.

    The directions of a group take each step of Lanczos together, so that w_left and w_right are
    read once for all of them. Memory beside the result is O(d_hidden · d_in) for each group that
    runs.

    Parameters
    ----------
    layer : BilinearLayer
        Finite, float32 or float64.
    U : (n, d_out) array_like
        Output directions, one a row.
    k : int
        How many pairs of each, at most d_in.
    tolerance : float, optional
        Every residual `‖Qv − λv‖` is at most `tolerance · |λ₁|`, or what rounding leaves of it,
        `4u Σ_h |w_h| ‖l_h‖ ‖r_h‖`. By default 1e-10, of float32 1e-5.
    executor : concurrent.futures.Executor, optional
        Whatever has its `map`, of threads, processes or machines; it is given the groups.
    method : {"auto", "dense", "factored", "lanczos"}
        As of `spectrum`, one for all directions.
    group : int, optional
        How many directions make a group; by default up to 64. Smaller ones occupy more workers.
    progress : callable, optional
        Called as `progress(done, n)` with the number of directions that are done.
    products : int
        How many products of one form are made at most, beside those that verify.
    seed : int
        Of the start vectors.

    Returns
    -------
    Spectra
        Values that do not depend on group or executor by more than their residuals.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, and weights that are not finite.
    NotConvergedError
        If a direction does not reach the tolerance; the others are in its `spectra`.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 1]])
    >>> spectra(layer, [[3, 0], [0, 4]], k=2).eigenvalues
    array([[ 3.,  0.],
           [ 2., -2.]])
    """
    require_layer(layer)
    if method not in ("auto", *EXACT, "lanczos"):
        raise ValueError(f"method must be auto, dense, factored or lanczos; got {method}")
    sizes = {"n": None, "d_out": layer.d_out}
    U = enter("U", U, sizes, dtype=layer.dtype, match="to match the layer")
    left, right, weights = _enter_factors(layer, "U", U)
    k, products = require_rank("k", k, layer.d_in), require_count("products", products, 1)
    seed = require_count("seed", seed, 0)
    tolerance = _enter_tolerance(tolerance, layer.dtype)
    size = _group(layer, k) if group is None else require_count("group", group, 1)
    groups = [weights[i : i + size] for i in range(0, len(weights), size)]
    if method == "auto" and (choice := _choice(layer.d_in, layer.d_hidden, k)) != "lanczos":
        method = choice
    solve = partial(_solve, left, right, k, method, tolerance, products, seed)
    shapes = (0, k), (0, layer.d_in, k), (0, k), (0,)
    parts, done = [Solved(*(np.zeros(shape, layer.dtype) for shape in shapes))], 0
    for part in map(solve, groups) if executor is None else executor.map(solve, groups):
        parts.append(part)
        done += len(part.residuals)
        if progress is not None:
            progress(done, len(U))
    return _judged(Solved(*map(np.concatenate, zip(*parts, strict=True))), tolerance)


def input_spectrum(
    model: BilinearMLP, u: ArrayLike, k: int | None = None, method: str = "auto"
) -> Spectrum:
    """Return the spectrum of a model of one layer in *input space*, that of EᵀQE.

    Its eigenvectors (d_in, k) are orthonormal, and eigenvectors of the form of the inputs.

    Parameters
    ----------
    model : BilinearMLP
        Of one layer.
    u : (d_out,) array_like
        Direction of the model's outputs.
    k : int, optional
        How many pairs, at most d_in; all by default.
    method : str
        As of `spectrum`.

    Returns
    -------
    Spectrum

    Raises
    ------
    ValueError
        For a model of more layers, which is no quadratic form.

    Examples
    --------
    >>> model = BilinearMLP([[1, 1]], [BilinearLayer([[1]], [[1]])], [[10]])     # 10 (x₀ + x₁)²
    >>> input_spectrum(model, [1]).eigenvalues.round(12), model_spectrum(model, [1]).eigenvalues
    (array([20.,  0.]), array([10.]))
    """
    layer, along = _only_layer(model, u)
    return spectrum(layer, along, k, method, model.w_embed)


def model_spectrum(
    model: BilinearMLP, u: ArrayLike, k: int | None = None, method: str = "auto"
) -> Spectrum:
    """Return the spectrum of a model of one layer in *model space*, behind its embedding.

    Its eigenvectors are (d_model, k). What an embedding projects of them to the inputs, Eᵀv, are
    neither orthonormal nor eigenvectors of the form of the inputs; see `input_spectrum`.

    Parameters
    ----------
    model, u, k, method
        As of `input_spectrum`, k at most d_model.

    Returns
    -------
    Spectrum

    Raises
    ------
    ValueError
        For a model of more layers.

    Examples
    --------
    >>> model = BilinearMLP([[1, 1]], [BilinearLayer([[1]], [[1]])], [[10]])
    >>> model_spectrum(model, [1]).eigenvectors
    array([[1.]])
    """
    return spectrum(*_only_layer(model, u), k, method)


def homogeneous_spectrum(layer: BilinearLayer, u: ArrayLike, k: int | None = None) -> Spectrum:
    """Return the spectrum of `M = [[Q, b/2], [bᵀ/2, c]]`, with `u · y(x) = [x; 1]ᵀ M [x; 1]`.

    It mixes the quadratic part with the linear and the constant one, and depends on the origin and
    the unit of x. The last coordinate of its vectors is the constant.

    Parameters
    ----------
    layer : BilinearLayer
    u : (d_out,) array_like
    k : int, optional
        How many pairs, at most d_in + 1; all by default.

    Returns
    -------
    Spectrum
        `eigenvectors` (d_in + 1, k).

    Examples
    --------
    >>> homogeneous_spectrum(BilinearLayer([[0]], [[0]], w_skip=[[6]]), [1]).eigenvalues
    array([ 3., -3.])
    """
    require_layer(layer)
    for name, array in parameters(layer).items():
        require_finite(name, array)
    with np.errstate(over="ignore", invalid="ignore"):
        matrix = homogeneous_matrix(output_form(layer, u))
    if not np.isfinite(matrix).all():
        raise OverflowError(f"the form has entries beyond the largest {layer.dtype}: scale it down")
    return eigendecompose(matrix, k)


# ---- what enters


def _enter_factors(layer: BilinearLayer, given: str, U: Array) -> tuple[Array, Array, Array]:
    """Return w_left, w_right and `U w_out`, all finite floats."""
    if layer.dtype == object:
        raise TypeError("layer must be float32 or float64: eigenvalues of rationals are not")
    for name in ("w_left", "w_right", "w_out"):
        if (array := getattr(layer, name)) is not None:
            require_finite(name, array)
    require_finite(given, U)
    with np.errstate(over="ignore", invalid="ignore"):
        weights = U if layer.w_out is None else U @ layer.w_out
    if not np.isfinite(weights).all():
        raise OverflowError(
            f"{given} w_out has entries beyond the largest {U.dtype}: scale it down"
        )
    return layer.w_left, layer.w_right, weights


def _composed(left: Array, right: Array, embed: Array) -> tuple[Array, Array]:
    """Return w_left and w_right of the inputs before an embedding."""
    with np.errstate(over="ignore", invalid="ignore"):
        composed = left @ embed, right @ embed
    if not all(np.isfinite(w).all() for w in composed):
        raise OverflowError(f"w_left embed or w_right embed is beyond the largest {left.dtype}")
    return composed


def _enter_embed(layer: BilinearLayer, embed: ArrayLike) -> Array:
    sizes = {"d_model": layer.d_in, "d_in": None}
    array = enter("embed", embed, sizes, dtype=layer.dtype, match="to match the layer")
    require_finite("embed", array)
    return array


def _enter_tolerance(tolerance: float | None, dtype: np.dtype[np.generic]) -> float:
    return TOLERANCES[dtype] if tolerance is None else require_non_negative("tolerance", tolerance)


def _only_layer(model: BilinearMLP, u: ArrayLike) -> tuple[BilinearLayer, Array]:
    """Return the one layer of a model, and the direction of its outputs that u is, `w_headᵀ u`."""
    require_model(model)
    if len(model.layers) != 1:
        raise ValueError(f"model must have one layer to have a spectrum; got {len(model.layers)}")
    u = enter("u", u, {"d_out": model.d_out}, dtype=model.dtype, match="to match the model")
    require_finite("u", u)
    with np.errstate(over="ignore", invalid="ignore"):
        along = u if model.w_head is None else u @ model.w_head
    if not np.isfinite(along).all():
        raise OverflowError(f"u w_head has entries beyond the largest {u.dtype}: scale u down")
    return model.layers[0], along


# ---- many at once


def _choice(d: int, used: int, k: int) -> str:
    """Return the method for k pairs of a form of d inputs and `used` units."""
    large = min(d, 2 * used) >= LARGE * (2 * k + KEPT + CYCLE)
    return "lanczos" if large and k else _exact_choice(used, d)


def _exact_choice(used: int, d: int) -> str:
    return "factored" if 2 * used < d else "dense"


def _exactly(left: Array, right: Array, weights: Array, k: int, method: str) -> Leading:
    """Return the pairs of each direction from its exact problem, and their residuals."""
    values, vectors = EXACT[method](left, right, weights, k)
    rows = vectors.reshape(len(weights) * k, left.shape[1])
    places = np.repeat(np.arange(len(weights)), k)
    products = _through_factors(left, right, weights)(rows, places).reshape(vectors.shape)
    return Leading(values, vectors, lengths(products - values[:, :, None] * vectors))


def _group(layer: BilinearLayer, k: int) -> int:
    """Return how many directions a group has: its bases are no larger than four weight matrices."""
    basis = layer.d_in * (2 * k + KEPT + CYCLE)
    return max(1, min(GROUP, max(4 * layer.w_left.size, SMALL) // max(1, basis)))


@np.errstate(over="ignore", invalid="ignore")
def _solve(
    left: Array,
    right: Array,
    k: int,
    method: str,
    tolerance: float,
    products: int,
    seed: int,
    weights: Array,
) -> Solved:
    """Return the pairs of a group of directions."""
    scaled, floor, e = _scaled(left, right, weights)
    if method in EXACT:
        found = _exactly(left, right, scaled, k, method)
    else:
        found = _search(left, right, scaled, floor, k, tolerance, products, seed)
        failed = ~within(found.residuals, _largest(found.eigenvalues), tolerance, floor)
        if failed.any() and method == "auto":
            exact = _exactly(left, right, scaled[failed], k, _exact_choice(*left.shape))
            for array, part in zip(found, exact, strict=True):
                array[failed] = part
    values, sizes = (np.ldexp(part, e[:, None]) for part in (found.eigenvalues, found.residuals))
    return Solved(*_ordered(Leading(values, found.eigenvectors, sizes)), np.ldexp(floor, e))


def _search(
    left: Array,
    right: Array,
    weights: Array,
    floor: Array,
    k: int,
    tolerance: float,
    products: int,
    seed: int,
) -> Leading:
    """Return the pairs that Lanczos finds."""
    n, d = len(weights), left.shape[1]
    if n * d >= FORMED or d > 2 * len(left):
        product = _through_factors(left, right, weights)
        return leading_pairs(product, (n, d), k, tolerance, floor, products, seed)
    each = [
        leading_pairs(_through_form(left, right, w), (1, d), k, tolerance, f, products, seed)
        for w, f in zip(weights, floor[:, None], strict=True)
    ]
    return Leading(*map(np.concatenate, zip(*each, strict=True)))


def _scaled(left: Array, right: Array, weights: Array) -> tuple[Array, Array, NDArray[np.intp]]:
    """Return w · 2⁻ᵉ such that the form of each direction is about 1, its floor, and e.

    The floor is what rounding leaves of a residual, `4u Σ_h |w_h| ‖l_h‖ ‖r_h‖`.
    """
    units, power = np.ones(1, weights.dtype), 0
    for factor in (left, right):
        exponent = _exponent(factor)
        units = units * lengths(factor * 2.0**-exponent)
        power += exponent
    most = np.finfo(weights.dtype).maxexp - 32
    e = np.array([_exponent(w) for w in weights], np.intp) + int(np.clip(power, -most, most))
    scaled = np.ldexp(weights, -e[:, None])
    floor = 2 * np.finfo(weights.dtype).eps * (np.ldexp(np.abs(scaled), power) @ units)
    return scaled, floor, e


def _exponent(array: Array) -> int:
    """Return the exponent of the largest magnitude, so far as 2 to minus it is a float."""
    largest, most = max(array.max(initial=0), -array.min(initial=0)), np.finfo(array.dtype).maxexp
    return int(np.clip(np.frexp(largest)[1], 2 - most, most - 2))


def _through_form(left: Array, right: Array, weights: Array) -> Product:
    """Return the product with one Q, formed."""
    Q = form(left, right, weights)
    return lambda rows, _: rows @ Q


def _through_factors(left: Array, right: Array, weights: Array) -> Product:
    """Return the product `½ (Lᵀ(w ⊙ Rx) + Rᵀ(w ⊙ Lx))`, with the w of each x."""
    halves = np.ascontiguousarray(weights.T) / 2

    def product(rows: Array, places: Places) -> Array:
        columns, w = rows.T, halves[:, places]
        along_left, along_right = left @ columns, right @ columns
        along_left *= w
        along_right *= w
        result: Array = np.ascontiguousarray((left.T @ along_right + right.T @ along_left).T)
        return result

    def in_blocks(rows: Array, places: Places) -> Array:
        starts = range(0, len(rows), COLUMNS)
        parts = [product(rows[i : i + COLUMNS], places[i : i + COLUMNS]) for i in starts]
        return parts[0] if len(parts) == 1 else np.concatenate([rows[:0], *parts])

    return in_blocks


def _ordered(found: Leading) -> Leading:
    """Return the pairs in order, their signs fixed, the vectors as columns."""
    values, vectors, residuals = found
    order = np.lexsort((-values, -np.abs(values)), axis=1)
    columns = np.take_along_axis(vectors, order[:, :, None], 1).swapaxes(1, 2)
    return Leading(
        np.take_along_axis(values, order, 1),
        np.stack([with_fixed_signs(one) for one in columns]),
        np.take_along_axis(residuals, order, 1),
    )


def _judged(solved: Solved, tolerance: float) -> Spectra:
    """Return what was found if all of it converged; else raise, with what did."""
    values, vectors, residuals, floor = solved
    if np.isinf(values).any():
        raise OverflowError(f"Q has eigenvalues beyond the largest {values.dtype}: scale it down")
    failed = ~within(residuals, _largest(values), tolerance, floor)
    if failed.any():
        values, vectors = values.copy(), vectors.copy()
        values[failed] = vectors[failed] = np.nan
        raise NotConvergedError(
            f"{failed.sum()} of {len(failed)} directions did not converge to residuals of "
            f"{tolerance} |λ₁|, or have too many values near the last to tell that none is missed; "
            f"the first is {failed.argmax()}. The methods auto, dense and factored find them",
            Spectra(values, vectors, np.where(failed[:, None], np.nan, residuals)),
        )
    return Spectra(values, vectors, residuals)


def _largest(values: Array) -> Array:
    """Return |λ₁| of each direction; 0 without any."""
    result: Array = np.abs(values).max(axis=1, initial=0)
    return result
