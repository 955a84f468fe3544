"""The spectrum of a symmetric interaction matrix, and what is left of it after truncation.

    Q V = V Λ,  Vᵀ V = I        xᵀ Q x = Σ_k λ_k (v_k · x)²        Q_k = Σ_{i≤k} λ_i v_i v_iᵀ

Eigenvalues stand by descending magnitude, of equal magnitudes the positive one first, so that
truncation is a slice; no symmetric matrix of rank k is nearer to Q than Q_k. Eigenvectors are
columns; the entry of largest magnitude in each is positive. Within a cluster of equal eigenvalues
only the projector is determined, never a single vector.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.spec.arrays import (
    Array,
    as_array,
    enter,
    require_count,
    require_finite,
    require_representable,
)
from refbilinear.spec.packed import require_symmetric, symmetric_part

EIGH_RATIO = 10
"""The residual of `eigh` is at most this many times `d · 2u · ‖Q‖_F`; tests hold it to this."""


class Spectrum(NamedTuple):
    """The leading eigenpairs of a symmetric (d, d) matrix, by descending magnitude."""

    eigenvalues: Array
    """(k,), descending in |λ|, the positive one first on a tie."""
    eigenvectors: Array
    """(d, k), one orthonormal column for each eigenvalue."""


def eigendecompose(Q: ArrayLike, k: int | None = None) -> Spectrum:
    """Return the eigenpairs of a symmetric matrix by descending |λ|, all or the first k.

    Parameters
    ----------
    Q : (d, d) array_like of float32 or float64
        Finite, and equal to its transpose without tolerance (0 may face −0); `symmetric_part(Q)`
        makes it so. (LAPACK would read one triangle and accept anything in the other.)
    k : int, optional
        How many to keep, at most d.

    Returns
    -------
    Spectrum
        `eigenvalues` (k,) and `eigenvectors` (d, k), of the dtype of Q.

    Raises
    ------
    ValueError
        For a Q that is not square, not finite or not symmetric, naming the first such entry, or
        a k outside 0..d.
    TypeError
        For exact numbers, whose eigenvalues are not rational.
    OverflowError
        For eigenvalues too large for the dtype.

    Examples
    --------
    >>> spectrum = eigendecompose([[0, 2], [2, 0]])
    >>> spectrum.eigenvalues
    array([ 2., -2.])
    >>> spectrum.eigenvectors.round(3)
    array([[ 0.707,  0.707],
           [ 0.707, -0.707]])
    """
    Q = as_array("Q", Q)
    if Q.dtype == object:
        raise TypeError("Q must be float32 or float64: eigenvalues of a rational matrix are not")
    if Q.ndim != 2:
        raise ValueError(f"Q must have shape (d, d); got {Q.shape}")
    require_finite("Q", Q)
    require_symmetric("Q", Q)
    keep = require_rank("k", k, len(Q))
    eigenvalues, eigenvectors = np.linalg.eigh(Q)
    if not np.isfinite(eigenvalues).all():
        raise OverflowError(f"Q has eigenvalues beyond the largest {Q.dtype}: scale it down")
    order = np.lexsort((-eigenvalues, -abs(eigenvalues)))[:keep]
    return Spectrum(eigenvalues[order], with_fixed_signs(eigenvectors[:, order]))


def reconstruct(spectrum: Spectrum, k: int | None = None) -> Array:
    """Return `Σ_{i≤k} λ_i v_i v_iᵀ`, the best symmetric approximation of rank k.

    Its Frobenius error is `√(Σ_{i>k} λ_i²)`, its largest error on a unit vector `|λ_{k+1}|`.

    Parameters
    ----------
    spectrum : Spectrum
    k : int, optional
        How many pairs to use; all of them by default.

    Returns
    -------
    (d, d) array
        Symmetric exactly.

    References
    ----------
    Eckart and Young, "The approximation of one matrix by another of lower rank", 1936.

    Examples
    --------
    >>> reconstruct(eigendecompose([[3, 0], [0, -4]]), k=1)
    array([[ 0.,  0.],
           [ 0., -4.]])
    """
    eigenvalues, eigenvectors = enter_spectrum(spectrum)
    keep = require_rank("k", k, len(eigenvalues))
    leading = eigenvectors[:, :keep]
    return symmetric_part((leading * eigenvalues[:keep]) @ leading.T)


def contributions(spectrum: Spectrum, x: ArrayLike) -> Array:
    """Return `λ_k (v_k · x)²` for every eigenpair: what it adds to `xᵀ Q x`.

    Parameters
    ----------
    spectrum : Spectrum
    x : (..., d) array_like

    Returns
    -------
    (..., k) array
        Its sum over k is `xᵀ Q x`, of the first k `xᵀ Q_k x`.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit each other, and for numbers that are not finite.
    OverflowError
        For contributions beyond the largest number of the dtype.

    Examples
    --------
    >>> contributions(eigendecompose([[3, 0], [0, -4]]), [1, 10])
    array([-400.,    3.])
    """
    eigenvalues, eigenvectors = enter_spectrum(spectrum)
    sizes, dtype = {"d": len(eigenvectors)}, eigenvectors.dtype
    x = enter("x", x, sizes, dtype=dtype, batched=True, match="to match the spectrum")
    require_finite("x", x)
    with np.errstate(over="ignore", invalid="ignore"):
        along = x @ eigenvectors
        return require_representable("contributions", eigenvalues * (along * along))


def with_fixed_signs(eigenvectors: Array) -> Array:
    """Return the columns with signs such that the first entry of largest magnitude is positive."""
    if not eigenvectors.size:
        return eigenvectors
    peaks = np.abs(eigenvectors).argmax(axis=0)
    negative = eigenvectors[peaks, np.arange(eigenvectors.shape[1])] < 0
    return np.where(negative, -eigenvectors, eigenvectors)


def require_rank(name: str, k: int | None, most: int) -> int:
    """Return k, by default `most`, after checking that it lies in 0..most."""
    if k is None:
        return most
    if require_count(name, k, 0) > most:
        raise ValueError(f"{name} must be at most {most}, the number of eigenpairs; got {k}")
    return int(k)


def enter_spectrum(spectrum: Spectrum) -> Spectrum:
    """Return a spectrum whose parts are finite and fit each other, as arrays."""
    eigenvalues = enter("eigenvalues", spectrum.eigenvalues, {"k": None})
    sizes, dtype = {"d": None, "k": len(eigenvalues)}, eigenvalues.dtype
    match = "to match the eigenvalues"
    vectors = enter("eigenvectors", spectrum.eigenvectors, sizes, dtype=dtype, match=match)
    require_finite("eigenvalues", eigenvalues)
    require_finite("eigenvectors", vectors)
    return Spectrum(eigenvalues, vectors)
