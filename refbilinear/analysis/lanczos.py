"""Leading eigenpairs of many symmetric matrices at once, from their products with vectors alone.

    Q V = V H + w rᵀ,    H y = θ y,    ‖Q (V y) − θ (V y)‖ = |r · y|

Lanczos with full reorthogonalisation and thick restarts: the columns of V are orthonormal, w is
orthogonal to them all and waits for its turn. All matrices take each step together, so that one
product serves them all. Every entry of H is a dot product; what is returned is multiplied by Q once
more, so its residual is not foretold but found.

The space that one start vector spans holds one eigenvector of a multiple eigenvalue, and the others
are orthogonal to all of it. So once the wanted pairs have converged, a random vector takes the
place of w. V holds the largest part of Q; on what is left, an eigenvector that was missed stands
out, and joins the wanted ones. Pairs are returned when a whole cycle has changed none of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refbilinear.spec.arrays import Array

Places = NDArray[np.intp]
Flags = NDArray[np.bool_]
Product = Callable[[Array, Places], Array]
"""Takes rows (n, d) and the number of the matrix that each meets; returns the products (n, d)."""

KEPT, CYCLE = 40, 10
"""How many vectors a restart keeps beside the wanted ones; how many, and k more, are then added."""

COLUMNS = 256
"""How many rows one product takes at most."""


class Leading(NamedTuple):
    """The k leading pairs of n matrices, and what they leave."""

    eigenvalues: Array
    """(n, k), by descending magnitude, of equal magnitudes the positive one first."""
    eigenvectors: Array
    """(n, k, d), as rows."""
    residuals: Array
    """(n, k), `‖Qv − λv‖`."""


class Basis(NamedTuple):
    """V and w as rows, (n, m + 1, d); H in its upper triangle and r below it, (n, m + 1, m)."""

    V: Array
    H: Array
    size: Array
    """(n,), the largest ‖Qv‖ so far, by which rounding is measured."""
    rng: np.random.Generator


class Ritz(NamedTuple):
    """All eigenpairs of H by descending |θ|, and the residuals that H foretells."""

    values: Array
    vectors: Array
    residuals: Array


def leading_pairs(
    product: Product,
    shape: tuple[int, int],
    k: int,
    tolerance: float,
    floor: Array,
    products: int,
    seed: int,
) -> Leading:
    """Return the k leading pairs of n matrices of size d, `shape` (n, d).

    Where `products` products of a matrix were not enough, its eigenvalues are NaN; where rounding
    forbids it, residuals are not `within` tolerance and floor (n,), of the dtype of the products.
    """
    (n, d), dtype = shape, floor.dtype
    found = Leading(*(np.full(s, np.nan, dtype) for s in ((n, k), (n, k, d), (n, k))))
    m, keep, met = min(d, 2 * k + KEPT + CYCLE), k + KEPT, 0
    left, seen = np.arange(n if k else 0), np.full((n, k), np.inf, dtype)
    doubted = np.zeros(n, bool)
    basis = _start(len(left), d, m, dtype, seed)
    while len(left) and products >= m - met:
        for place in range(met, m):
            _step(basis, place, product(basis.V[:, place], left))
        products, met = products - (m - met), keep
        ritz = _rayleigh_ritz(basis)
        found.residuals[left] = ritz.residuals[:, :k]
        bounds = ritz.values[:, 0], tolerance, floor[left]
        small = within(4 * ritz.residuals[:, :k], *bounds)
        same = within(ritz.values[:, :k] - seen[left], *bounds)
        seen[left] = ritz.values[:, :k]
        done = (small & (same | doubted[left])) | (m == d)
        worst = _multiply(product, basis, ritz, left, done, found)
        wrong = done & ~within(found.residuals[left], *bounds)
        doubted[left] = wrong
        stay = ~(done & same & ~wrong) & (m < d)
        basis, left = _restart(basis, ritz, keep, stay), left[stay]
        _replace(basis, keep, np.where(wrong[:, None], worst, 0)[stay], small[stay])
    found.eigenvalues[left] = np.nan
    return found


def _start(n: int, d: int, m: int, dtype: DTypeLike, seed: int) -> Basis:
    """Return an empty basis for m vectors in which one waits."""
    V, H = np.zeros((n, m + 1, d), dtype), np.zeros((n, m + 1, m), dtype)
    basis = Basis(V, H, np.zeros(n, dtype), np.random.default_rng(seed))
    V[:, 0] = _random(basis, 0)
    return basis


def _step(basis: Basis, place: int, product: Array) -> None:
    """Let w, the row at `place`, join V: its product with Q gives a column of H, and the next w."""
    V, H, size, _ = basis
    here = V[:, : place + 1]
    np.maximum(size, lengths(product), out=size)
    if not np.isfinite(size).all():
        raise OverflowError(f"products with Q are beyond the largest {V.dtype}: scale it down")
    rest, along = _without(here, product)
    rest, again = _without(here, rest)
    H[:, : place + 1, place] = along + again
    if place + 1 < V.shape[2]:
        beta = lengths(rest)
        lost = np.asarray(beta <= 8 * np.finfo(V.dtype).eps * V.shape[2] ** 0.5 * size)
        H[:, place + 1, place] = np.where(lost, 0, beta)
        V[:, place + 1] = rest / np.where(lost, 1, beta)[:, None]
        if lost.any():
            V[lost, place + 1] = _random(basis, place + 1)[lost]


def _random(basis: Basis, met: int) -> Array:
    """Return a random unit vector for each matrix, orthogonal to its first `met` vectors."""
    n, _, d = basis.V.shape
    vector = basis.rng.standard_normal((1, d)).astype(basis.V.dtype)
    return _apart(basis, met, np.broadcast_to(vector, (n, d)))


def _apart(basis: Basis, met: int, vectors: Array) -> Array:
    """Return unit vectors in the direction of what vectors have apart from the first `met`."""
    for _ in range(3):
        vectors = _without(basis.V[:, :met], vectors)[0]
        vectors = vectors / lengths(vectors)[:, None]
    return vectors


def _without(V: Array, vectors: Array) -> tuple[Array, Array]:
    """Return vectors (n, d) without their part in V (n, m, d), and the coefficients of that."""
    along = (V @ vectors[:, :, None])[:, :, 0]
    return vectors - (along[:, None, :] @ V)[:, 0], along


def _rayleigh_ritz(basis: Basis) -> Ritz:
    """Return the eigenpairs of H, and |r · y| for each."""
    m = basis.H.shape[2]
    values, vectors = np.linalg.eigh(basis.H[:, :m], UPLO="U")
    order = np.lexsort((-values, -np.abs(values)), axis=1)
    values = np.take_along_axis(values, order, 1)
    vectors = np.take_along_axis(vectors, order[:, None], 2)
    return Ritz(values, vectors, np.abs(basis.H[:, [m]] @ vectors)[:, 0])


def _multiply(
    product: Product, basis: Basis, ritz: Ritz, left: Places, done: Flags, found: Leading
) -> Array:
    """Enter the pairs of the matrices that are done; return the largest `Qv − λv` of each."""
    k, m, d = found.eigenvalues.shape[1], basis.H.shape[2], basis.V.shape[2]
    worst = np.zeros((len(left), d), basis.V.dtype)
    if done.any():
        vectors = ritz.vectors[done, :, :k].swapaxes(1, 2) @ basis.V[done, :m]
        products = product(vectors.reshape(-1, d), np.repeat(left[done], k)).reshape(vectors.shape)
        values = np.einsum("nki,nki->nk", vectors, products)
        rest = products - values[:, :, None] * vectors
        sizes = lengths(rest)
        for array, part in zip(found, (values, vectors, sizes), strict=True):
            array[left[done]] = part
        worst[done] = rest[np.arange(len(rest)), sizes.argmax(axis=1)]
    return worst


def _restart(basis: Basis, ritz: Ritz, keep: int, stay: Flags) -> Basis:
    """Return the basis of the leading `keep` Ritz vectors, and w, of the matrices that stay."""
    V, H, size, rng = basis
    m, leading = H.shape[2], ritz.vectors[stay, :, :keep]
    fresh = Basis(np.empty_like(V[stay]), np.zeros_like(H[stay]), size[stay], rng)
    if m < V.shape[2]:
        fresh.V[:, :keep] = leading.swapaxes(1, 2) @ V[stay, :m]
        fresh.V[:, keep] = V[stay, m]
        fresh.H[:, range(keep), range(keep)] = ritz.values[stay, :keep]
        fresh.H[:, keep, :keep] = (H[stay, m, None] @ leading)[:, 0]
    return fresh


def _replace(basis: Basis, keep: int, vectors: Array, chosen: Flags) -> None:
    """Put vectors in the place of w for the chosen matrices, random ones where they are zero."""
    if chosen.any():
        vectors = np.where(lengths(vectors)[:, None] > 0, vectors, _random(basis, keep))
        basis.V[chosen, keep] = _apart(basis, keep, vectors)[chosen]
        basis.H[chosen, keep] = 0


def lengths(vectors: Array) -> Array:
    """Return the Euclidean norms of vectors along the last axis."""
    result: Array = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return result


def within(numbers: Array, largest: Array, tolerance: float, floor: Array) -> Flags:
    """Return whether all numbers of a row are at most `tolerance · |λ₁| + floor`; a NaN is not."""
    accepted = tolerance * np.abs(largest) + floor
    flags: Flags = np.all(np.abs(numbers) <= accepted[:, None], axis=1)
    return flags
