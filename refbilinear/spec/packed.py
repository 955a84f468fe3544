"""Packed storage of symmetric matrices: the lower triangle by rows, unscaled.

    entry (i, j), i ≥ j, stands at p = i(i + 1)/2 + j        n_pairs(d) = d(d + 1)/2

the order of `np.tril_indices`. The factor 2 of an off-diagonal pair is applied where a form, a
norm or an inner product is computed, never in storage.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from refbilinear.spec.arrays import Array, as_array, enter, first_index, require_count


def n_pairs(d: int) -> int:
    """Return the number of pairs `(i, j)`, `i ≥ j`, of d coordinates: `d(d + 1)/2`.

    Examples
    --------
    >>> n_pairs(4)
    10
    """
    d = require_count("d", d, 0)
    return d * (d + 1) // 2


def dimension(pairs: int) -> int:
    """Return the d of which `n_pairs(d)` is the given number: the inverse of `n_pairs`.

    Raises
    ------
    ValueError
        For a number that is not d(d + 1)/2 of any d.

    Examples
    --------
    >>> dimension(10)
    4
    >>> dimension(11)
    Traceback (most recent call last):
    ValueError: n_pairs must be d(d + 1)/2 of some d, such as 10 or 15; got 11
    """
    pairs = require_count("n_pairs", pairs, 0)
    d = (math.isqrt(8 * pairs + 1) - 1) // 2
    if n_pairs(d) != pairs:
        raise ValueError(
            f"n_pairs must be d(d + 1)/2 of some d, such as {n_pairs(d)} or {n_pairs(d + 1)}; "
            f"got {pairs}"
        )
    return d


def pair_index(i: int, j: int) -> int:
    """Return where entry `(i, j)` of a symmetric matrix stands, in either order.

    Examples
    --------
    >>> pair_index(2, 1), pair_index(1, 2)
    (4, 4)
    """
    i, j = require_count("i", i, 0), require_count("j", j, 0)
    return n_pairs(max(i, j)) + min(i, j)


def pair_indices(d: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows i and the columns j of all packed entries of d coordinates, in order.

    Examples
    --------
    >>> pair_indices(3)
    (array([0, 1, 1, 2, 2, 2]), array([0, 0, 1, 0, 1, 2]))
    """
    return np.tril_indices(require_count("d", d, 0))


def row(i: int) -> slice:
    """Return the slice of the packed entries `(i, 0)` to `(i, i)`.

    Examples
    --------
    >>> row(2)
    slice(3, 6, None)
    """
    return slice(n_pairs(i), n_pairs(i + 1))


def pack(matrices: ArrayLike) -> Array:
    """Return the packed lower triangles of symmetric matrices.

    Parameters
    ----------
    matrices : (..., d, d) array_like
        Each equal to its transpose, entry by entry. (A matrix that is not would lose a triangle;
        take `symmetric_part` of it first.)

    Returns
    -------
    (..., n_pairs) array

    Raises
    ------
    ValueError
        For matrices that are not square or not symmetric, naming the first entry.

    Examples
    --------
    >>> pack([[1, 2], [2, 3]])
    array([1., 2., 3.])
    """
    array = as_array("matrices", matrices)
    require_symmetric("matrices", array)
    d = array.shape[-1]
    packed = np.empty((*array.shape[:-2], n_pairs(d)), array.dtype)
    for i in range(d):
        packed[..., row(i)] = array[..., i, : i + 1]
    return packed


def unpack(packed: ArrayLike) -> Array:
    """Return the symmetric matrices of which the lower triangles are given.

    Parameters
    ----------
    packed : (..., n_pairs) array_like

    Returns
    -------
    (..., d, d) array

    Raises
    ------
    ValueError
        For a last axis whose length is not d(d + 1)/2 of any d.

    Examples
    --------
    >>> unpack([1, 2, 3])
    array([[1., 2.],
           [2., 3.]])
    """
    array = enter("packed", packed, {"n_pairs": None}, batched=True)
    d = dimension(array.shape[-1])
    matrices = np.empty((*array.shape[:-1], d, d), array.dtype)
    for i in range(d):
        matrices[..., i, : i + 1] = matrices[..., : i + 1, i] = array[..., row(i)]
    return matrices


def empty_packed(d_out: int, d: int, dtype: DTypeLike) -> Array:
    """Return an uninitialised `(d_out, n_pairs(d))` array, or raise MemoryError with its size.

    Examples
    --------
    >>> empty_packed(1, 2**40, np.float64)
    Traceback (most recent call last):
    MemoryError: the packed tensor of d_out = 1, d = 1099511627776 takes 4.8e+24 bytes
    """
    size = d_out * n_pairs(d) * np.dtype(dtype).itemsize
    try:
        return np.empty((d_out, n_pairs(d)), dtype)
    except (MemoryError, ValueError) as error:
        raise MemoryError(
            f"the packed tensor of d_out = {d_out}, d = {d} takes {size:.1e} bytes"
        ) from error


def symmetric_part(matrices: ArrayLike) -> Array:
    """Return `(A + Aᵀ)/2`, which equals its transpose bit for bit.

    Parameters
    ----------
    matrices : (..., d, d) array_like

    Returns
    -------
    (..., d, d) array

    Examples
    --------
    >>> symmetric_part([[1, 4], [0, 3]])
    array([[1., 2.],
           [2., 3.]])
    """
    array = as_array("matrices", matrices)
    _require_square("matrices", array)
    return (array + array.swapaxes(-1, -2)) / 2


def require_symmetric(name: str, array: Array) -> None:
    """Raise ValueError, naming the first entry, unless each matrix equals its transpose.

    Equality is of numbers, without tolerance: a NaN may face a NaN, 0 may face −0.
    """
    _require_square(name, array)
    mirror = array.swapaxes(-1, -2)
    differs = (array != mirror) & ~((array != array) & (mirror != mirror))  # noqa: PLR0124
    if differs.any():
        index = first_index(differs)
        raise ValueError(
            f"{name} must equal its transpose exactly; got {array[index]} at {index} against "
            f"{mirror[index]}: take symmetric_part of it first"
        )


def _require_square(name: str, array: Array) -> None:
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ValueError(f"{name} must have shape (..., d, d); got {array.shape}")
