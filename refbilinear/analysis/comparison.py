"""Comparing spectra of two models or seeds: subspaces and clusters, never vectors of equal rank.

    cos θ_i = σ_i(AᵀB)        ‖P_A − P_B‖_F² = |a − b| + 2 Σ_i sin²θ_i

Two seeds put the same feature at different ranks, a tie has no vectors of its own, and signs mean
nothing. So what is compared are the projectors on clusters of eigenvalues, matched so that their
overlaps are largest in sum. A spectrum is compared with others only: with itself it agrees.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.analysis.eigenpairs import Spectrum
from refbilinear.spec.arrays import Array, enter, require_finite, require_non_negative


class Match(NamedTuple):
    """A cluster of one spectrum, the cluster of the other that it is matched with."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    overlap: float
    """`⟨P, P'⟩ / (‖P‖ ‖P'‖)` of their projectors, from 0 to 1."""


class Comparison(NamedTuple):
    """What spectra number `first` and `second` have in common."""

    first: int
    second: int
    matches: tuple[Match, ...]


def principal_angles(A: ArrayLike, B: ArrayLike) -> Array:
    """Return the angles between two subspaces, ascending, in radians.

    Small angles by their sines, large ones by their cosines: each is accurate where the other is
    not.

    Parameters
    ----------
    A, B : (d, a), (d, b) array_like of float32 or float64
        Orthonormal columns, to half the digits: `‖I − AᵀA‖_F ≤ a √(2u)`.

    Returns
    -------
    (min(a, b),) array
        From 0 to π/2, good to some u and to what the columns lack of being orthonormal.

    Raises
    ------
    ValueError, TypeError
        For columns that are not orthonormal or do not fit, and for exact numbers.

    References
    ----------
    Björck and Golub, "Numerical methods for computing angles between linear subspaces", 1973.

    Examples
    --------
    >>> principal_angles([[1, 0], [0, 1], [0, 0]], [[0.6], [0], [0.8]]).round(3)     # arccos 0.6
    array([0.927])
    """
    A, B = _enter_columns("A", A), _enter_columns("B", B)
    enter("B", B, {"d": len(A), "b": B.shape[1]}, dtype=A.dtype, match="to match A")
    if A.shape[1] < B.shape[1]:
        A, B = B, A
    along = A.T @ B
    cosines = np.linalg.svd(along, compute_uv=False)
    sines = np.linalg.svd(B - A @ along, compute_uv=False)[::-1]
    # (d, b) has min(d, b) = b singular values, since b orthonormal columns need d ≥ b.
    by_sine = np.arcsin(np.minimum(sines, 1))
    by_cosine = np.arccos(np.minimum(cosines, 1))
    angles: Array = np.where(cosines * cosines > sines * sines, by_sine, by_cosine)
    return angles


def projector_distance(A: ArrayLike, B: ArrayLike) -> float:
    """Return `‖AAᵀ − BBᵀ‖_F`, without forming either projector.

    Parameters
    ----------
    A, B : (d, a), (d, b) array_like
        Orthonormal columns.

    Returns
    -------
    float
        `√(|a − b| + 2 Σ sin²θ)`; 0 for the same subspace, whatever its basis.

    Examples
    --------
    >>> projector_distance([[1, 0], [0, 1]], [[0.6, 0.8], [0.8, -0.6]])
    0.0
    """
    sines = np.sin(principal_angles(A, B))
    return float(np.sqrt(abs(np.shape(A)[1] - np.shape(B)[1]) + 2 * (sines @ sines)))


def clusters(eigenvalues: ArrayLike, tolerance: float) -> tuple[tuple[int, ...], ...]:
    """Return the places of eigenvalues that no gap above `tolerance · |λ₁|` separates.

    Neighbours by value are one cluster where they differ by no more than that. +λ and −λ, which are
    neighbours by magnitude, are not neighbours by value.

    Parameters
    ----------
    eigenvalues : (k,) array_like
        In any order, finite.
    tolerance : float
        Of the largest magnitude; take what the eigenvalues may be off.

    Returns
    -------
    tuple of tuple of int
        In the order of their first places.

    Examples
    --------
    >>> clusters([3, -3, 3 - 1e-12, 1], 1e-9)
    ((0, 2), (1,), (3,))
    """
    values = enter("eigenvalues", eigenvalues, {"k": None})
    require_finite("eigenvalues", values)
    width, order = _width(values, tolerance), np.argsort(values, kind="stable")
    with np.errstate(over="ignore"):
        breaks = np.flatnonzero(~(np.diff(values[order]) <= width)) + 1
    groups = np.split(order, breaks) if len(order) else []
    return tuple(sorted(tuple(sorted(group.tolist())) for group in groups))


def assignment(gains: ArrayLike) -> Array:
    """Return for each row the column of a one-to-one matching with the largest sum of gains.

    The shortest augmenting paths of the Hungarian method, O(n² m).

    Parameters
    ----------
    gains : (n, m) array_like
        Finite, n ≤ m.

    Returns
    -------
    (n,) array of int

    References
    ----------
    Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse linear
    assignment problems", 1987.

    Examples
    --------
    >>> assignment([[9, 8], [8, 1]])
    array([1, 0])
    """
    array = enter("gains", gains, {"n": None, "m": None}).astype(np.float64)
    require_finite("gains", array)
    n, m = array.shape
    if n > m:
        raise ValueError(f"gains must have at most as many rows as columns; got {(n, m)}")
    costs = -np.ldexp(array, -np.frexp(np.abs(array).max(initial=0))[1])
    rows, columns = np.zeros(n), np.zeros(m)
    owner = np.full(m, -1)
    for row in range(n):
        _augment(costs, rows, columns, owner, row)
    result = np.empty(n, np.intp)
    result[owner[owner >= 0]] = np.flatnonzero(owner >= 0)
    return result


def match(first: Spectrum, second: Spectrum, tolerance: float) -> tuple[Match, ...]:
    """Return the clusters of two spectra, matched so that their overlaps are largest in sum.

    The overlap of two clusters is the cosine of their projectors,
    `‖V_aᵀV_b‖_F² / √(|a| |b|)`: it depends on no sign, and on no basis of a cluster. Clusters of
    positive and of negative eigenvalues are not matched: they would do the opposite. One that comes
    within the tolerance of 0 has no sign, and is matched with its like.

    Parameters
    ----------
    first, second : Spectrum
        Over the same d, float32 or float64.
    tolerance : float
        What separates clusters, of |λ₁|; see `clusters`.

    Returns
    -------
    tuple of Match
        By descending overlap. As many as the smaller number of clusters, less those for which no
        partner of their sign was left.

    Raises
    ------
    ValueError, TypeError
        For spectra that do not fit each other, are not finite or not orthonormal.

    Examples
    --------
    >>> a = Spectrum(np.array([3.0, 2.0]), np.eye(2))
    >>> b = Spectrum(np.array([5.0, 4.0]), np.eye(2)[:, ::-1])
    >>> match(a, b, 1e-9)
    (Match(first=(0,), second=(1,), overlap=1.0), Match(first=(1,), second=(0,), overlap=1.0))
    """
    pairs, others = _enter_spectrum("first", first), _enter_spectrum("second", second)
    sizes, dtype = {"d": len(pairs.eigenvectors), "k": None}, pairs.eigenvectors.dtype
    enter("second", others.eigenvectors, sizes, dtype=dtype, match="to match first")
    few, many = _parts(pairs, tolerance), _parts(others, tolerance)
    if len(few) > len(many):
        return tuple(Match(a, b, o) for b, a, o in match(second, first, tolerance))
    gains = np.array([[_gain(a, b) for b in many] for a in few]).reshape(len(few), len(many))
    found = [
        Match(few[a].members, many[b].members, float(gains[a, b]))
        for a, b in enumerate(assignment(gains))
        if gains[a, b] >= 0
    ]
    return tuple(sorted(found, key=lambda one: (-one.overlap, one.first)))


def compare(spectra: Sequence[Spectrum], tolerance: float) -> Iterator[Comparison]:
    """Yield the matches of every two spectra of several, none with itself.

    Parameters
    ----------
    spectra : sequence of Spectrum
        Of models or seeds, over the same d.
    tolerance : float
        See `match`.

    Yields
    ------
    Comparison
        For `first < second`: n spectra make n(n − 1)/2 comparisons.

    Examples
    --------
    >>> one = Spectrum(np.array([3.0]), np.array([[0.6], [0.8]]))
    >>> two = Spectrum(np.array([2.0]), np.array([[0.0], [1.0]]))
    >>> [(c.first, c.second, round(c.matches[0].overlap, 2)) for c in compare([one, two], 1e-9)]
    [(0, 1, 0.64)]
    """
    for (i, first), (j, second) in combinations(enumerate(spectra), 2):
        yield Comparison(i, j, match(first, second, tolerance))


def _enter_columns(name: str, value: ArrayLike) -> Array:
    """Return a (d, k) array of orthonormal columns, to k √(2u): half of the digits."""
    array = enter(name, value, {"d": None, "k": None})
    if array.dtype == object:
        raise TypeError(f"{name} must be float32 or float64: unit vectors are not rational")
    require_finite(name, array)
    k = array.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        defect = np.linalg.norm(np.eye(k, dtype=array.dtype) - array.T @ array)
    if not defect <= k * np.sqrt(np.finfo(array.dtype).eps):
        raise ValueError(
            f"{name} must have orthonormal columns; ‖I − {name}ᵀ{name}‖ is {defect:.1e}"
        )
    return array


def _enter_spectrum(name: str, pairs: Spectrum) -> Spectrum:
    vectors = _enter_columns(name, pairs.eigenvectors)
    sizes, match = {"k": vectors.shape[1]}, "to match the eigenvectors"
    values = enter("eigenvalues", pairs.eigenvalues, sizes, dtype=vectors.dtype, match=match)
    return Spectrum(values, vectors)


def _width(values: Array, tolerance: float) -> float:
    """Return `tolerance · |λ₁|`."""
    tolerance = require_non_negative("tolerance", tolerance)
    return tolerance * float(np.abs(values).max(initial=0))


class _Part(NamedTuple):
    """A cluster: its places, its eigenvectors and its sign, 0 if it comes within `width` of 0."""

    members: tuple[int, ...]
    columns: Array
    sign: float


def _parts(pairs: Spectrum, tolerance: float) -> list[_Part]:
    values, vectors = pairs
    width, parts = _width(values, tolerance), []
    for members in clusters(values, tolerance):
        places = list(members)
        sign = np.sign(values[places[0]]) if np.abs(values[places]).min() > width else 0
        parts.append(_Part(members, vectors[:, places], float(sign)))
    return parts


def _gain(first: _Part, second: _Part) -> float:
    """Return `‖AᵀB‖_F² / √(ab)`, no more than 1, and −1 for clusters of other signs."""
    if first.sign != second.sign:
        return -1.0
    along = first.columns.T @ second.columns
    size = np.sqrt(len(first.members) * len(second.members))
    return float(min(np.sum(along * along) / size, 1))


def _augment(costs: Array, rows: Array, columns: Array, owner: Array, row: int) -> None:
    """Give `row` a column along the shortest augmenting path, and move the prices by lengths."""
    m = costs.shape[1]
    distance, before, reached = np.full(m, np.inf), np.full(m, -1), np.zeros(m, bool)
    path, length, here = [row], 0.0, -1
    while True:
        reduced = length + costs[path[-1]] - rows[path[-1]] - columns
        nearer = ~reached & (reduced < distance)
        distance[nearer], before[nearer] = reduced[nearer], here
        here = int(np.where(reached, np.inf, distance).argmin())
        length, reached[here] = distance[here], True
        if owner[here] < 0:
            break
        path.append(int(owner[here]))
    _move(rows, columns, owner, row, length, np.where(reached, distance, length))
    while here >= 0:
        previous = int(before[here])
        owner[here] = row if previous < 0 else owner[previous]
        here = previous


def _move(
    rows: Array, columns: Array, owner: Array, row: int, length: float, distance: Array
) -> None:
    """Move the prices so that the path's edges, and no others below, cost nothing more."""
    rows[row] += length
    for column in np.flatnonzero(distance < length):
        rows[owner[column]] += length - distance[column]
        columns[column] -= length - distance[column]
