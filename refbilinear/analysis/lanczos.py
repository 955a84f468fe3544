"""Leading eigenpairs of many symmetric matrices at once, from their products with vectors alone.

    Q V = V H + W R,    H y = θ y,    ‖Q (V y) − θ (V y)‖ = ‖R y‖

Lanczos with full reorthogonalisation and thick restarts: the columns of V are orthonormal, those of
W orthogonal to them, and wait for their turn. All matrices take each step together, so that one
product serves them all. Every entry of H is a dot product; what is returned is multiplied by Q once
more, so its residual is not foretold but found.

The space that one start vector spans holds one eigenvector of a multiple eigenvalue, and the others
are orthogonal to all of it. So where wanted pairs have converged, a random vector joins W. V holds
the largest part of Q; on what is left, an eigenvector that was missed stands out, and joins the
wanted ones, and then another random vector joins W, up to `WIDEST`. Pairs are returned when a whole
cycle has changed none of them.
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

WIDEST = 8
"""How many vectors wait at most."""

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
    """V, then W, as rows (n, m + WIDEST, d); H in its upper triangle, R below, (…, m)."""

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
    width = 1
    basis = _start(len(left), d, m, dtype, seed)
    while len(left) and products >= m - met:
        for place in range(met, m):
            first = 0 if place < met + width else place - width
            _step(basis, place, first, min(place + width, d), product(basis.V[:, place], left))
        products, met = products - (m - met), keep
        ritz = _rayleigh_ritz(basis, m)
        found.residuals[left] = ritz.residuals[:, :k]
        bounds = ritz.values[:, 0], tolerance, floor[left]
        small = within(ritz.residuals[:, :k], *bounds)
        same = within(ritz.values[:, :k] - seen[left], *bounds)
        seen[left] = ritz.values[:, :k]
        done = (small & same) | (m == d)
        _multiply(product, basis, ritz, left, done, found)
        stay = ~(done & within(found.residuals[left], *bounds)) & (m < d)
        basis, left = _restart(basis, ritz, m, keep, width, stay), left[stay]
        if small[stay].any() and width < min(WIDEST, d - m, m - keep):
            basis.V[:, keep + width] = _random(basis, keep + width)
            width += 1
    found.eigenvalues[left] = np.nan
    return found


def _start(n: int, d: int, m: int, dtype: DTypeLike, seed: int) -> Basis:
    """Return an empty basis for m vectors in which one waits."""
    V, H = np.zeros((n, m + WIDEST, d), dtype), np.zeros((n, m + WIDEST, m), dtype)
    basis = Basis(V, H, np.zeros(n, dtype), np.random.default_rng(seed))
    V[:, 0] = _random(basis, 0)
    return basis


def _step(basis: Basis, place: int, first: int, size: int, product: Array) -> None:
    """Let the row at `place` join V: of its product come a column of H, and the row at `size`.

    Of the column, the part from `first` to `place` is known by symmetry, and zero before.
    """
    V, H, largest, _ = basis
    np.maximum(largest, lengths(product), out=largest)
    if not np.isfinite(largest).all():
        raise OverflowError(f"products with Q are beyond the largest {V.dtype}: scale it down")
    H[:, first:place, place] = H[:, place, first:place]
    rest = product - (H[:, None, first:place, place] @ V[:, first:place])[:, 0]
    rest, beta = _apart(basis, size, place, rest)
    if (beta <= largest / 8).any():
        rest, beta = _apart(basis, size, place, rest)
    if size < V.shape[2]:
        lost = np.asarray(beta <= 8 * np.finfo(V.dtype).eps * V.shape[2] ** 0.5 * largest)
        H[:, size, place] = np.where(lost, 0, beta)
        V[:, size] = rest / np.where(lost, 1, beta)[:, None]
        if lost.any():
            V[lost, size] = _random(basis, size)[lost]


def _apart(basis: Basis, size: int, place: int, rest: Array) -> tuple[Array, Array]:
    """Return what rest has apart from the first `size`, and its length; H has the other part."""
    rest, along = _without(basis.V[:, :size], rest)
    basis.H[:, :size, place] += along
    return rest, lengths(rest)


def _random(basis: Basis, met: int) -> Array:
    """Return a random unit vector for each matrix, orthogonal to its first `met` vectors."""
    n, _, d = basis.V.shape
    vectors = np.broadcast_to(basis.rng.standard_normal((1, d)).astype(basis.V.dtype), (n, d))
    for _ in range(3):
        vectors = _without(basis.V[:, :met], vectors)[0]
        vectors = vectors / lengths(vectors)[:, None]
    return vectors


def _without(V: Array, vectors: Array) -> tuple[Array, Array]:
    """Return vectors (n, d) without their part in V (n, m, d), and the coefficients of that."""
    along = (V @ vectors[:, :, None])[:, :, 0]
    return vectors - (along[:, None, :] @ V)[:, 0], along


def _rayleigh_ritz(basis: Basis, m: int) -> Ritz:
    """Return the eigenpairs of H, and ‖R y‖ for each."""
    values, vectors = np.linalg.eigh(basis.H[:, :m, :m], UPLO="U")
    order = np.lexsort((-values, -np.abs(values)), axis=1)
    values = np.take_along_axis(values, order, 1)
    vectors = np.take_along_axis(vectors, order[:, None], 2)
    return Ritz(values, vectors, lengths((basis.H[:, m:, :m] @ vectors).swapaxes(1, 2)))


def _multiply(
    product: Product, basis: Basis, ritz: Ritz, left: Places, done: Flags, found: Leading
) -> None:
    """Enter the pairs of the matrices that are done, and their residuals by the product."""
    if done.any():
        (_, k, d), m = found.eigenvectors.shape, ritz.values.shape[1]
        vectors = ritz.vectors[done, :, :k].swapaxes(1, 2) @ basis.V[done, :m]
        products = product(vectors.reshape(-1, d), np.repeat(left[done], k)).reshape(vectors.shape)
        values = np.einsum("nki,nki->nk", vectors, products)
        sizes = lengths(products - values[:, :, None] * vectors)
        for array, part in zip(found, (values, vectors, sizes), strict=True):
            array[left[done]] = part


def _restart(basis: Basis, ritz: Ritz, m: int, keep: int, width: int, stay: Flags) -> Basis:
    """Return the basis of the leading `keep` Ritz vectors, and W, of the matrices that stay."""
    leading = ritz.vectors[stay, :, :keep]
    V, H = basis.V if stay.all() else basis.V[stay], np.zeros_like(basis.H[stay])
    if len(leading) and m < V.shape[2]:
        wait, new = slice(m, m + width), slice(keep, keep + width)
        H[:, range(keep), range(keep)] = ritz.values[stay, :keep]
        H[:, new, :keep] = basis.H[stay, wait, :m] @ leading
        V[:, :keep] = leading.swapaxes(1, 2) @ V[:, :m]
        V[:, new] = V[:, wait]
    return Basis(V, H, basis.size[stay], basis.rng)


def lengths(vectors: Array) -> Array:
    """Return the Euclidean norms of vectors along the last axis."""
    result: Array = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return result


def within(numbers: Array, largest: Array, tolerance: float, floor: Array) -> Flags:
    """Return whether all numbers of a row are at most `tolerance · |λ₁| + floor`; a NaN is not."""
    accepted = tolerance * np.abs(largest) + floor
    flags: Flags = np.all(np.abs(numbers) <= accepted[:, None], axis=1)
    return flags
