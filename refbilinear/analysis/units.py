"""One hidden unit: the form `w (l·x)(r·x)` has two eigenpairs, known in closed form.

    λ± = ±(w/4) ‖l‖‖r‖ · ‖l/‖l‖ ± r/‖r‖‖²        v± ∝ l/‖l‖ ± r/‖r‖

The textbook's `λ± = (w/2)(l·r ± ‖l‖‖r‖)` is the same number, and cancels where l and r are nearly
parallel or opposed: an angle θ between them leaves an error of about u/θ² in the smaller
eigenvalue, the form above of u/θ.
"""

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.analysis.eigenpairs import Spectrum, with_fixed_signs
from refbilinear.spec.arrays import Array, enter, require_finite, require_representable
from refbilinear.spec.layer import BilinearLayer


def unit_spectrum(left: ArrayLike, right: ArrayLike, weight: float = 1.0) -> Spectrum:
    """Return the eigenpairs of `weight · (l rᵀ + r lᵀ)/2` whose eigenvalue is not zero.

    Parameters
    ----------
    left, right : (d_in,) array_like of float32 or float64
        l and r, finite.
    weight : float
        w, finite.

    Returns
    -------
    Spectrum
        By descending |λ|, two pairs; one where l and r are parallel, none where l, r or w is zero.
        The other eigenvalues of the form are 0. Of the dtype of l. (Directions equal in float64
        count as parallel: what is left out is below u² of the other eigenvalue.)

    Raises
    ------
    ValueError, TypeError
        For factors that do not fit each other or are not finite, and for exact numbers, whose
        eigenvalues are not rational.
    OverflowError
        For eigenvalues too large for the dtype.

    Examples
    --------
    >>> pairs = unit_spectrum([3, 0], [0, 4])                     # 12 x₀x₁
    >>> pairs.eigenvalues
    array([ 6., -6.])
    >>> pairs.eigenvectors.round(3)
    array([[ 0.707,  0.707],
           [ 0.707, -0.707]])
    >>> unit_spectrum([1, 2], [-3, -6], 2).eigenvalues.round(9)   # −6 (x₀ + 2x₁)²
    array([-30.])
    """
    left = enter("left", left, {"d_in": None})
    right = enter("right", right, {"d_in": len(left)}, dtype=left.dtype, match="to match left")
    if left.dtype == object:
        raise TypeError(
            "left must be float32 or float64: eigenvalues of rationals are not rational"
        )
    factor = enter("weight", weight, {})
    for name, array in (("left", left), ("right", right), ("weight", factor)):
        require_finite(name, array)
    if not (left.any() and right.any() and factor):
        return Spectrum(np.empty(0, left.dtype), np.empty((len(left), 0), left.dtype))
    return _pairs(left, right, float(factor))


def unit_spectra(layer: BilinearLayer, u: ArrayLike) -> list[Spectrum]:
    """Return the eigenpairs of every hidden unit along an output direction.

    Parameters
    ----------
    layer : BilinearLayer
        Biases, skip and their linear and constant parts are no part of a unit's form.
    u : (d_out,) array_like

    Returns
    -------
    list of Spectrum
        One for each hidden unit; their forms sum to `output_form(layer, u).matrix`.

    Raises
    ------
    ValueError, TypeError
        For a u that does not fit, and for numbers that are not finite.
    OverflowError
        For weights `w_outᵀu`, or eigenvalues, too large for the dtype.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0], [1, 1]], [[0, 1], [1, 1]])
    >>> [pairs.eigenvalues.round(9).tolist() for pairs in unit_spectra(layer, [4, 1])]
    [[2.0, -2.0], [2.0]]
    """
    u = enter("u", u, {"d_out": layer.d_out}, dtype=layer.dtype, match="to match the layer")
    weights = u if layer.w_out is None else _weights(layer.w_out, u)
    units = zip(layer.w_left, layer.w_right, weights, strict=True)
    return [unit_spectrum(left, right, weight) for left, right, weight in units]


def _weights(w_out: Array, u: Array) -> Array:
    """Return `w_outᵀu`, of finite numbers finite."""
    for name, array in (("u", u), ("w_out", w_out)):
        require_finite(name, array)
    with np.errstate(over="ignore", invalid="ignore"):
        return require_representable("w_outᵀu", u @ w_out)


def _pairs(left: Array, right: Array, weight: float) -> Spectrum:
    """Return the pairs of a unit that is not zero."""
    dtype = left.dtype
    (l_size, l_unit), (r_size, r_unit) = map(_normalised, (left, right))
    sums = np.stack([l_unit + r_unit, l_unit - r_unit], axis=1)
    squares = np.sum(sums * sums, axis=0)
    keep = np.flatnonzero(squares)
    least, middle, most = sorted((weight, l_size, r_size), key=abs)
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.array([1, -1]) / 4 * squares * (np.float64(least) * most * middle)
        eigenvalues = sizes[keep].astype(dtype)
    if not np.isfinite(eigenvalues).all():
        raise OverflowError(f"the unit has eigenvalues beyond the largest {dtype}: scale it down")
    vectors = (sums[:, keep] / np.sqrt(squares[keep])).astype(dtype)
    order = np.lexsort((-eigenvalues, -abs(eigenvalues)))
    return Spectrum(eigenvalues[order], with_fixed_signs(vectors[:, order]))


def _normalised(vector: Array) -> tuple[float, Array]:
    """Return norm and direction in float64, without overflow or underflow on the way.

    Parallel vectors have the same ratios, which round alike: equal directions, or opposed ones.
    """
    largest = float(np.abs(vector).max())
    scaled = vector.astype(np.float64) / largest
    size = float(np.sqrt(np.sum(scaled * scaled)))
    return largest * size, scaled / size
