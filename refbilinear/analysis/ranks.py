"""How many eigenvalues count, and how many entries of an eigenvector: ranks and sparsities.

    effective rank   (Σ|λ|)² / Σλ²             entropy rank   exp(H(λ² / Σλ²))
    participation    (Σx²)² / Σx⁴              Hoyer          (√n − Σ|x| / √Σx²) / (√n − 1)

Each but the effective rank takes one vector, (n,), or columns, (n, k), as eigenvectors are. All are
computed in float64 on entries divided by the largest, so that squares neither overflow nor vanish,
and none depends on scale, sign or order.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.spec.arrays import Array, as_array, enter, require_finite


def effective_rank(eigenvalues: ArrayLike) -> float:
    """Return `(Σ|λ|)² / Σλ²`: how many equal eigenvalues would spread as these do; 0 for none.

    Parameters
    ----------
    eigenvalues : (k,) array_like
        All eigenvalues of the form, in any order, finite.

    Returns
    -------
    float
        Between 1 and the number of eigenvalues that are not zero.

    Examples
    --------
    >>> effective_rank([2, -2, 2, 0]), effective_rank([0, 0])
    (3.0, 0.0)
    """
    scaled = _scaled("eigenvalues", enter("eigenvalues", eigenvalues, {"k": None}))
    return float(_quotient(scaled.sum() ** 2, scaled @ scaled, 0.0))


def entropy_rank(values: ArrayLike) -> Any:
    """Return `exp(−Σ p ln p)`, `p = λ²/Σλ²`: the number of equal values of this entropy.

    Parameters
    ----------
    values : (n,) or (n, k) array_like
        Eigenvalues, or eigenvectors as columns; finite.

    Returns
    -------
    float or (k,) array
        Between 1 and n; 0 where all values are 0.

    References
    ----------
    Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007,
    there of `|λ|/Σ|λ|`.

    Examples
    --------
    >>> round(entropy_rank([1, -1, 1, 0]), 12), entropy_rank([0, 0])
    (3.0, 0.0)
    """
    scaled = _entered("values", values)
    squares = scaled * scaled
    shares = _quotient(squares, squares.sum(axis=0), 0.0)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return _plain(np.where(_alive(scaled), np.exp(-np.sum(shares * logs, axis=0)), 0.0))


def participation(values: ArrayLike) -> Any:
    """Return the participation ratio `(Σx²)² / Σx⁴`: how many entries share the squared norm.

    Parameters
    ----------
    values : (n,) or (n, k) array_like
        Eigenvectors as columns, or eigenvalues; finite.

    Returns
    -------
    float or (k,) array
        Between 1 and n; 0 where all entries are 0.

    References
    ----------
    Bell and Dean, "Atomic vibrations in vitreous silica", 1970.

    Examples
    --------
    >>> participation([[3, 1, 0], [-3, 0, 0]])
    array([2., 1., 0.])
    """
    scaled = _entered("values", values)
    squares = scaled * scaled
    return _plain(_quotient(squares.sum(axis=0) ** 2, np.sum(squares * squares, axis=0), 0.0))


def hoyer_sparsity(values: ArrayLike) -> Any:
    """Return Hoyer's sparsity `(√n − Σ|x| / √Σx²) / (√n − 1)`: 0 for equal, 1 for one entry.

    Parameters
    ----------
    values : (n,) or (n, k) array_like
        Eigenvectors as columns, or eigenvalues; finite.

    Returns
    -------
    float or (k,) array
        Within 0..1. A vector of zeros, or of a single entry, has density 0 and sparsity 1.

    References
    ----------
    Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 2004.

    Examples
    --------
    >>> hoyer_sparsity([[5, 1, 0], [0, -1, 0]]).round(12)
    array([1., 0., 1.])
    """
    scaled = _entered("values", values)
    n, squares = len(scaled), np.sum(scaled * scaled, axis=0)
    ratio = _quotient(scaled.sum(axis=0), np.sqrt(squares), 1.0)
    density = (ratio - 1) / (np.sqrt(n) - 1) if n > 1 else 0 * ratio
    return _plain(1 - np.clip(density, 0, 1))


def _entered(name: str, values: ArrayLike) -> Array:
    array = as_array(name, values)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (n,) or (n, k); got {array.shape}")
    return _scaled(name, array)


def _scaled(name: str, array: Array) -> Array:
    """Return absolute values over the largest of each column; zeros stay zeros."""
    require_finite(name, array)
    sizes = np.abs(array)
    if array.dtype == object:
        largest = np.max(sizes, axis=0, initial=0)
        sizes = sizes / np.where(largest > 0, largest, 1)
    sizes = sizes.astype(np.float64)
    return _quotient(sizes, sizes.max(axis=0, initial=0), 0.0)


def _quotient(a: Any, b: Any, empty: float) -> Array:
    """Return `a / b`, `empty` where b is 0."""
    quotient: Array = np.where(b > 0, a / np.where(b > 0, b, 1.0), empty)
    return quotient


def _alive(scaled: Array) -> Array:
    alive: Array = np.any(scaled > 0, axis=0)
    return alive


def _plain(values: Any) -> Any:
    """Return a number for one vector, an array for columns."""
    return values if np.ndim(values) else float(values)
