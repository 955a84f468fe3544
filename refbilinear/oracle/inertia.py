"""Exact inertia: how many eigenvalues of a symmetric matrix lie above, below and at a number.

    Sylvester's law: A and CᵀAC have the same inertia, for every invertible C

Every finite float is an integer times a power of two, so a matrix of floats is a matrix of
integers times one number, and nothing below is ever rounded. Two counts, below a and up to b, say
how many eigenvalues the interval [a, b] holds, multiplicities counted.

`inertia` eliminates: symmetric Gauss with Bareiss' divisions, so that every number on the way is a
minor of the matrix, an integer no longer than it must be. `inertias` counts at many shifts of one
matrix: an approximate eigenbasis makes it almost diagonal, exactly, and a diagonal that dominates
has the signs of the eigenvalues; where it does not dominate, `inertia` decides. The floats of the
basis need no trust: dominance proves that it is invertible.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from numbers import Rational, Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.oracle.rationals import integers, objects
from refbilinear.spec.arrays import Array, as_array, constant, require_finite
from refbilinear.spec.packed import require_symmetric

Triangle = list[list[int]]


class Inertia(NamedTuple):
    """How many eigenvalues are positive, negative and zero, multiplicities counted."""

    positive: int
    negative: int
    zero: int


class SumOfSquares(NamedTuple):
    """A symmetric matrix as `Σ_k weights[k] l_k l_kᵀ`, in rationals; a form as `Σ d_k (l_k · x)²`.

    `vectors.T @ witnesses` is upper triangular with ones on its diagonal, so the columns l_k are
    independent, and by Sylvester's law the matrix has as many positive and negative eigenvalues as
    there are positive and negative weights; the others are zero. Who multiplies this out
    (`expand`) and looks at the triangle and the signs has proved it, and trusts nothing else.
    """

    weights: Array
    """(r,), none of them zero; r is the rank."""
    vectors: Array
    """(d, r), the column l_k for each weight."""
    witnesses: Array
    """(d, r), columns of which the k-th is orthogonal to every later l, and to l_k it is 1."""


def inertia(matrix: ArrayLike, shift: float | Fraction = 0) -> Inertia:
    """Return the exact inertia of `matrix − shift I`, by fraction-free symmetric elimination.

    With the pivots p, minors of the matrix, the eliminated block is Bareiss' integer

        a_ij ← (p a_ij − a_ip a_pj) / p_before

    and the signs of p/p_before count (Jacobi). Two pivots at a time halve the divisions, and pass
    a diagonal of zeros: a pair whose determinant is negative has one eigenvalue of each sign.

    Parameters
    ----------
    matrix : (d, d) array_like
        Finite and equal to its transpose: float32, float64, or exact rationals.
    shift : float or Fraction

    Returns
    -------
    Inertia
        `negative` counts the eigenvalues below the shift, `zero` those that are equal to it.

    Raises
    ------
    ValueError
        For a matrix that is not square, symmetric and finite, or a shift that is not finite.

    See Also
    --------
    inertias : of many shifts.

    References
    ----------
    Sylvester 1852; Bareiss, "Sylvester's identity and multistep integer-preserving Gaussian
    elimination", 1968.

    Examples
    --------
    >>> inertia([[0, 2], [2, 0]])
    Inertia(positive=1, negative=1, zero=0)

    The eigenvalues are exactly 3 and 1:

    >>> inertia([[2, 1], [1, 2]], 3), inertia([[2, 1], [1, 2]], 2.9999999999999996).positive
    (Inertia(positive=0, negative=1, zero=1), 1)
    """
    numbers, unit = integers(_enter(matrix))
    return _eliminate(_shifted(numbers, require_fraction("shift", shift) / unit))


def inertias(matrix: ArrayLike, shifts: Iterable[float | Fraction]) -> list[Inertia]:
    """Return `inertia(matrix, t)` for every t of `shifts`.

    With approximate eigenvectors X as integers, `M = XᵀQX − t XᵀX` is congruent to Q − tI; where

        Σ_{j≠i} |M_ij| s_j < |M_ii| s_i        for every i, and some positive numbers s,

    M is invertible, X therefore too, and stays so while its off-diagonal shrinks to nothing: the
    signs of its diagonal are its inertia. The two products serve all shifts. A shift that is an
    eigenvalue, or too near to one for the approximation, is decided by elimination.

    Parameters
    ----------
    matrix : (d, d) array_like
    shifts : iterable of float or Fraction

    Returns
    -------
    list of Inertia

    Examples
    --------
    >>> [t.negative for t in inertias([[2, 1], [1, 2]], [0.5, 1, 1.5, 3, 3.5])]
    [0, 0, 1, 1, 2]
    """
    numbers, unit = integers(_enter(matrix))
    basis = _approximate_eigenbasis(numbers)
    turned, gram = basis.T @ numbers @ basis, basis.T @ basis
    found = []
    for shift in shifts:
        t = require_fraction("shift", shift) / unit
        congruent = turned * t.denominator - gram * t.numerator
        dominant = _signs_of_the_diagonal(congruent)
        found.append(dominant or _eliminate(_shifted(numbers, t)))
    return found


def sum_of_squares(matrix: ArrayLike) -> SumOfSquares:
    """Return a symmetric matrix as a weighted sum of squares, exactly: rational LDLᵀ.

    Lagrange's reduction. While S ≠ 0 there is a v with `vᵀSv ≠ 0`, a unit vector or the sum of
    two; with `d = vᵀSv` and `l = Sv/d` the rest `S − d l lᵀ` has rank one less, and v in its
    kernel. With unit vectors alone, `vectors` is a unit triangle up to the order of its rows.

    Parameters
    ----------
    matrix : (d, d) array_like
        Finite and equal to its transpose: float32, float64, or exact rationals.

    Returns
    -------
    SumOfSquares
        No weight negative: positive semidefinite. All d of them positive: definite.

    Examples
    --------
    x₀² + x₀x₁ + x₁² = (x₀ + x₁/2)² + ¾ x₁²:

    >>> squares = sum_of_squares([[1, 0.5], [0.5, 1]])
    >>> print(*squares.weights, "|", *squares.vectors.T[0], "|", *squares.vectors.T[1])
    1 3/4 | 1 1/2 | 0 1
    >>> expand(squares).astype(float)
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    numbers, unit = integers(_enter(matrix))
    rest = numbers * unit
    weights, vectors, witnesses = [], [], []
    while (v := _direction(rest)) is not None:
        along = rest @ v
        d = v @ along
        weights.append(d)
        vectors.append(along / d)
        witnesses.append(v)
        rest = rest - np.outer(along, along) / d
    return SumOfSquares(
        _columns([weights], len(weights))[:, 0],
        _columns(vectors, len(rest)),
        _columns(witnesses, len(rest)),
    )


def expand(squares: SumOfSquares) -> Array:
    """Return `Σ_k weights[k] l_k l_kᵀ`, the matrix that a sum of squares is, in rationals."""
    weights, vectors, _ = squares
    d = len(vectors)
    product: Array = (vectors * weights) @ vectors.T + constant(0, (d, d), object)
    return product


def approximate_eigenpairs(numbers: Array) -> tuple[Array, Array, int]:
    """Return eigenvalues, ascending, and eigenvectors of integers over a power of two, and it.

    The power brings every integer into the range of floats. A hint, to be proved or dropped.
    """
    bits = max((abs(number).bit_length() for number in numbers.flat), default=0)
    scale = 1 << max(0, bits - 500)
    values, vectors = np.linalg.eigh((numbers // scale).astype(np.float64))
    return values, vectors, scale


def require_fraction(name: str, value: float | Fraction) -> Fraction:
    """Return a finite real number as a Fraction, or raise with the name."""
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    if not isinstance(value, Real) or isinstance(value, np.longdouble):
        raise TypeError(f"{name} must be a float or a Fraction; got {type(value).__name__}")
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value}")
    return Fraction(float(value))


def _enter(matrix: ArrayLike) -> Array:
    array = as_array("matrix", matrix)
    if array.ndim != 2:
        raise ValueError(f"matrix must have shape (d, d); got {array.shape}")
    require_finite("matrix", array)
    require_symmetric("matrix", array)
    return array


def _shifted(numbers: Array, shift: Fraction) -> Triangle:
    """Return the lower triangle of `numbers − shift I`, times the denominator."""
    rows = [row[: i + 1] for i, row in enumerate((numbers * shift.denominator).tolist())]
    for row in rows:
        row[-1] -= shift.numerator
    return rows


# ---- elimination


def _eliminate(rows: Triangle) -> Inertia:
    """Return the inertia of the symmetric matrix of integers whose lower triangle is given."""
    size, before, positive, negative = len(rows), 1, 0, 0
    while pivots := _pivots(rows):
        columns, rest = _take_out(rows, pivots)
        block = [[_at(rows, i, j) for j in pivots] for i in pivots]
        step = _one_pivot if len(pivots) == 1 else _two_pivots
        rows, before, more = step(block, columns, rest, before)
        positive += more
        negative += len(pivots) - more
    return Inertia(positive, negative, size - positive - negative)


def _one_pivot(
    block: Triangle, columns: Triangle, rest: Triangle, before: int
) -> tuple[Triangle, int, int]:
    """Return what is left, the pivot, and how many of its eigenvalues are positive."""
    (x,), p = columns, block[0][0]
    rows = [
        [(p * a - xi * xj) // before for a, xj in zip(row, x, strict=False)]
        for row, xi in zip(rest, x, strict=True)
    ]
    return rows, p, int((p > 0) == (before > 0))


def _two_pivots(
    block: Triangle, columns: Triangle, rest: Triangle, before: int
) -> tuple[Triangle, int, int]:
    """Return what two steps leave: `p/before (A − [x y] block⁻¹ [x y]ᵀ)`, p = det block/before."""
    ((a, b), (_, c)), (x, y) = block, columns
    det = a * c - b * b
    p = det // before
    u = [(c * xi - b * yi) // before for xi, yi in zip(x, y, strict=True)]
    v = [(a * yi - b * xi) // before for xi, yi in zip(x, y, strict=True)]
    rows = [
        [(p * z - ui * xj - vi * yj) // before for z, xj, yj in zip(row, x, y, strict=False)]
        for row, ui, vi in zip(rest, u, v, strict=True)
    ]
    return rows, p, 1 if det < 0 else 2 * ((a > 0) == (before > 0))


def _pivots(rows: Triangle) -> tuple[int, ...]:
    """Return the places of two pivots whose determinant is not 0, of one, or of none if all is 0.

    The last ones, whose rows are the cheapest to take out; no choice makes the minors shorter.
    """
    places = range(len(rows) - 1, -1, -1)
    i = next((i for i in places if rows[i][i]), None)
    if i is None:
        return next(((j, i) for i in places for j in range(i) if rows[i][j]), ())
    p = rows[i][i]
    j = next((j for j in places if j != i and p * rows[j][j] != _at(rows, i, j) ** 2), None)
    return (i,) if j is None else (j, i)


def _take_out(rows: Triangle, pivots: tuple[int, ...]) -> tuple[Triangle, Triangle]:
    """Return the columns of the pivots in the other rows, and the triangle of the other rows."""
    others = [i for i in range(len(rows)) if i not in pivots]
    columns = [[_at(rows, i, j) for i in others] for j in pivots]
    return columns, [[rows[i][j] for j in others[: k + 1]] for k, i in enumerate(others)]


def _at(rows: Triangle, i: int, j: int) -> int:
    return rows[max(i, j)][min(i, j)]


# ---- congruence


def _approximate_eigenbasis(numbers: Array) -> Array:
    """Return integers near 2**53 times the eigenvectors; nothing rests on how near."""
    _, vectors, _ = approximate_eigenpairs(numbers)
    whole = np.rint(np.ldexp(vectors, 53)).astype(np.int64)
    return objects(whole.ravel().tolist(), whole.shape)


def _signs_of_the_diagonal(matrix: Array) -> Inertia | None:
    """Return the inertia if the diagonal dominates in units 1/√|M_ii| or so, None if not."""
    sizes = np.abs(matrix)
    diagonal = sizes.diagonal()
    halves = [int(number).bit_length() // 2 for number in diagonal]
    most = max(halves, default=0)
    scale = objects([1 << most - half for half in halves], diagonal.shape)
    if not (sizes @ scale < 2 * diagonal * scale).all():
        return None
    positive = int((matrix.diagonal() > 0).sum())
    return Inertia(positive, len(matrix) - positive, 0)


# ---- squares


def _direction(matrix: Array) -> Array | None:
    """Return a v with vᵀSv ≠ 0: a unit vector, else the sum of two; None for S = 0."""
    v = constant(0, len(matrix), object)
    pairs = np.argwhere(matrix.diagonal() != 0), np.argwhere(matrix != 0)
    for places in pairs:
        if len(places):
            v[places[0]] = Fraction(1)
            return v
    return None


def _columns(columns: Sequence[Array | list[Fraction]], size: int) -> Array:
    """Return columns side by side, also where there are none."""
    array = np.empty((size, len(columns)), dtype=object)
    for k, column in enumerate(columns):
        array[:, k] = column
    return array
