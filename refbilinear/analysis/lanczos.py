"""Leading eigenpairs of many symmetric matrices at once, from their products with vectors alone.

    Q V = V H + W R,    H y = θ y,    ‖Q (V y) − θ (V y)‖ = ‖R y‖

Lanczos with full reorthogonalisation and thick restarts: the columns of V are orthonormal, those of
W orthogonal to them, and wait for their turn. All matrices take each step together, so that one
product serves them all. Every entry of H is a dot product; what is returned is multiplied by Q once
more, so its residual is not foretold but found.

The space that one start vector spans holds one eigenvector of a multiple eigenvalue, and converges
as if there were no other. So when the wanted pairs have converged, a random vector takes the place
of W. Let an eigenvector z of |λ| ≥ ℓ be orthogonal to V, and what V leaves of Q beside it have norm
ϑ < ℓ. The part c of the random vector along z is below δ/√d with probability .8 δ at most, and the
Chebyshev polynomial T_s(Q/ϑ) of the vector has a Rayleigh quotient of

    (ℓ g² − ϑ) / (g² + 1)  ≥  (ℓ + ϑ) / 2        for  g = c T_s(ℓ/ϑ)  ≥  √((ℓ + 3ϑ) / (ℓ − ϑ))

so after s steps z has shown as a value of H above (ℓ + ϑ)/2, if it is there. What has shown is
followed, from its own residual, until it has joined the wanted pairs or cannot; if one has joined,
another random vector is sent. ℓ is the last of the wanted |λ|; for ϑ stands the last |θ| that V
keeps, or the largest of H beside what it keeps. Both are estimates, and restarts are taken not to
cost a step: it is a search, not a proof. Where ℓ < (1 + NEAR) ϑ it is not tried, and the pairs are
not returned, unless all wanted values are the largest there is. (Parlett, *The
Symmetric Eigenvalue Problem*, 1980, chapter 13; Wu and Simon, "Thick-restart Lanczos method for
large symmetric eigenvalue problems", 2000.)
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

KEPT, CYCLE = 30, 10
"""How many vectors a restart keeps beside the wanted ones; how many, and k more, are then added."""

NEAR, UNLUCKY = 2.0**-6, 2.0**-6
"""ℓ/ϑ − 1 at least, and δ."""

Bounds = tuple[Array, float, Array]
"""The largest |θ| of each matrix, the tolerance in units of it, and what rounding leaves."""

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
    """V and then W, as rows (n, m + 1, d); H, and R below, (n, m + 1, m)."""

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


class Watch(NamedTuple):
    """What is known while a random vector is in V in place of W, NaN where none has been yet."""

    steps: Array
    """(n,), since it came; infinite when they were enough."""
    wanted: Array
    """(n, k), the wanted values when it came."""
    seen: Array
    """(n, m), the magnitudes of all values at the last restart."""


class Verdict(NamedTuple):
    """What a cycle has shown of each matrix (n,)."""

    done: Flags
    """The wanted pairs have converged, and a random vector has shown no others."""
    begins: Flags
    """They have, and a random vector is to be sent."""
    hopeless: Flags
    """They have, but the values V keeps are so near to them that none can be shown."""
    astray: Flags
    """What it has shown has not converged, and the residuals are not along W any more."""
    worst: Places
    """The pair that lacks most."""
    watch: Watch


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

    Where `products` products of a matrix were not enough, or it has so many values near the last
    that none can be told to be missing, its eigenvalues are NaN; where rounding forbids it,
    residuals are not `within` tolerance and floor (n,), of the dtype of the products.
    """
    (n, d), dtype = shape, floor.dtype
    found = Leading(*(np.full(s, np.nan, dtype) for s in ((n, k), (n, k, d), (n, k))))
    m, keep, met = min(d, 2 * k + KEPT + CYCLE), k + KEPT, 0
    left = np.arange(n if k else 0)
    basis = _start(len(left), d, m, dtype, seed)
    watch = Watch(*(np.full(s, np.nan) for s in (len(left), (len(left), k), (len(left), m))))
    while len(left) and products >= m - met:
        for place in range(met, m):
            _step(basis, place, met, product(basis.V[:, place], left))
        products, ritz = products - (m - met), _rayleigh_ritz(basis, m)
        bounds = ritz.values[:, 0], tolerance, floor[left]
        verdict = _verdict(basis, ritz, watch, bounds, k, keep, m - met)
        done = verdict.done | (m == d)
        found.residuals[left] = ritz.residuals[:, :k]
        _multiply(product, basis, ritz, left, done, found)
        failed = done & ~within(found.residuals[left], *bounds)
        worst = np.where(failed, found.residuals[left].argmax(axis=1), verdict.worst)
        stay, met = (failed | ~done) & ~verdict.hopeless & (m < d), keep
        found.eigenvalues[left[verdict.hopeless & ~done]] = np.nan
        rest = _residual(product, basis, ritz, left, (failed | verdict.astray) & stay, worst)
        basis = _restart(basis, ritz, m, keep, stay)
        _replace(basis, keep, (lengths(rest) > 0)[stay], rest[stay])
        _replace(basis, keep, verdict.begins[stay], _random(basis))
        left, watch = left[stay], Watch(*(part[stay] for part in verdict.watch))
    found.eigenvalues[left] = np.nan
    return found


def _verdict(
    basis: Basis, ritz: Ritz, watch: Watch, bounds: Bounds, k: int, keep: int, added: int
) -> Verdict:
    """Return what a cycle of `added` steps has shown."""
    accepted = allowed(*bounds)
    lacking, needed, flat = _awaited(basis, ritz, watch.seen, accepted, k, keep)
    small = np.all(lacking <= accepted[:, None], axis=1)
    same = within(ritz.values[:, :k] - watch.wanted, *bounds)
    steps = np.where(watch.steps + added >= needed, np.inf, watch.steps + added)
    enough, begins = np.isinf(steps), small & ~same & ~np.isfinite(steps)
    wanted = np.where(begins[:, None], ritz.values[:, :k], watch.wanted)
    watch = Watch(np.where(begins, 0, steps), wanted, np.abs(ritz.values))
    done, astray = small & same & enough, ~small & enough
    return Verdict(done & ~flat, begins, done & flat, astray, lacking.argmax(axis=1), watch)


def _awaited(
    basis: Basis, ritz: Ritz, seen: Array, accepted: Array, k: int, keep: int
) -> tuple[Array, Array, Flags]:
    """Return what each pair lacks, how many steps show what was missed, and where none can.

    A wanted pair lacks its residual, another that has shown what may still make it a wanted one.
    Nothing larger is missed where all wanted values are the largest.
    """
    sizes, residuals, d = np.abs(ritz.values), ritz.residuals, basis.V.shape[2]
    keep, last = min(keep, sizes.shape[1] - 1), sizes[:, k - 1 : k]
    bar = _levels(seen[:, k - 1], seen[:, keep], accepted).mean(axis=0)[:, None]
    lacking = np.where(sizes >= bar, np.clip(sizes + residuals - last, 0, residuals), 0)
    lacking[:, :k] = residuals[:, :k]
    beside = np.abs(np.linalg.eigvalsh(basis.H[:, keep:-1, keep:], UPLO="U")).max(axis=1)
    upper, lower = _levels(last[:, 0], np.maximum(sizes[:, keep], beside), accepted)
    flat = (last[:, 0] < upper) & (lower > accepted) & (sizes[:, 0] - last[:, 0] > accepted)
    growth = 2 / UNLUCKY * np.sqrt(d * (upper + 3 * lower) / (upper - lower))
    return lacking, np.log(growth) / np.arccosh(upper / lower), flat


def _levels(last: Array, theta: Array, accepted: Array) -> Array:
    """Return ℓ and ϑ; what is accepted of a residual is no eigenvalue to be told from 0."""
    theta = np.maximum(np.maximum(theta, accepted), np.finfo(theta.dtype).tiny)
    return np.stack([np.maximum(last, (1 + NEAR) * theta), theta])


def _start(n: int, d: int, m: int, dtype: DTypeLike, seed: int) -> Basis:
    """Return an empty basis for m vectors in which one waits."""
    V, H = np.zeros((n, m + 1, d), dtype), np.zeros((n, m + 1, m), dtype)
    basis = Basis(V, H, np.zeros(n, dtype), np.random.default_rng(seed))
    _replace(basis, 0, np.full(n, True), _random(basis))
    return basis


def _step(basis: Basis, place: int, kept: int, product: Array) -> None:
    """Let the row at `place` join V: of its product come a column of H, and the next row.

    What of the column is known by symmetry, and its diagonal, is large and taken off first, so that
    one product with V leaves the rest orthogonal; two where little is left.
    """
    V, H, largest, _ = basis
    np.maximum(largest, lengths(product), out=largest)
    if not np.isfinite(largest).all():
        raise OverflowError(f"products with Q are beyond the largest {V.dtype}: scale it down")
    known = slice(0 if place == kept else place - 1, place)
    H[:, known, place] = H[:, place, known]
    rest = product - (H[:, None, known, place] @ V[:, known])[:, 0]
    H[:, place, place] = np.einsum("ni,ni->n", V[:, place], rest)
    rest -= H[:, place, place, None] * V[:, place]
    rest, beta = _apart(basis, place, rest)
    if (beta <= largest / 8).any():
        rest, beta = _apart(basis, place, rest)
    if place + 1 < V.shape[2]:
        lost = np.asarray(beta <= 8 * np.finfo(V.dtype).eps * V.shape[2] ** 0.5 * largest)
        H[:, place + 1, place] = np.where(lost, 0, beta)
        V[:, place + 1] = rest / np.where(lost, 1, beta)[:, None]
        _replace(basis, place + 1, lost, _random(basis))


def _apart(basis: Basis, place: int, rest: Array) -> tuple[Array, Array]:
    """Return what rest has apart from V, and the length of that; the other part joins H."""
    rest, along = _without(basis.V[:, : place + 1], rest)
    basis.H[:, : place + 1, place] += along
    return rest, lengths(rest)


def _random(basis: Basis) -> Array:
    """Return one random vector for all matrices."""
    n, _, d = basis.V.shape
    vector = basis.rng.standard_normal((1, d)).astype(basis.V.dtype)
    return np.broadcast_to(vector, (n, d))


def _replace(basis: Basis, place: int, where: Flags, vectors: Array) -> None:
    """Let the vectors, orthogonal to V and of length 1, be the row that waits at `place`."""
    if where.any():
        vectors = vectors[where]
        for _ in range(3):
            vectors = _without(basis.V[where, :place], _unit(vectors))[0]
        basis.V[where, place] = _unit(vectors)
        basis.H[where, place, :place] = 0


def _unit(vectors: Array) -> Array:
    """Return vectors of length 1, but 0 for 0."""
    sizes = lengths(vectors)[:, None]
    return vectors / np.where(sizes > 0, sizes, 1)


def _without(V: Array, vectors: Array) -> tuple[Array, Array]:
    """Return vectors (n, d) without their part in V (n, m, d), and the coefficients of that."""
    along = (V @ vectors[:, :, None])[:, :, 0]
    return vectors - (along[:, None, :] @ V)[:, 0], along


def _rayleigh_ritz(basis: Basis, m: int) -> Ritz:
    """Return the eigenpairs of H, and ‖R y‖ for each."""
    values, vectors = np.linalg.eigh(basis.H[:, :m], UPLO="U")
    order = np.lexsort((-values, -np.abs(values)), axis=1)
    values = np.take_along_axis(values, order, 1)
    vectors = np.take_along_axis(vectors, order[:, None], 2)
    return Ritz(values, vectors, np.abs(basis.H[:, m, None] @ vectors)[:, 0])


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


def _residual(
    product: Product, basis: Basis, ritz: Ritz, left: Places, where: Flags, worst: Places
) -> Array:
    """Return `Qv − θv` for the pair `worst` of each matrix, 0 elsewhere."""
    rest = np.zeros_like(basis.V[:, 0])
    if where.any():
        rows, pair = np.flatnonzero(where), worst[where]
        vectors = (ritz.vectors[rows, :, pair][:, None] @ basis.V[rows, :-1])[:, 0]
        rest[rows] = product(vectors, left[rows]) - ritz.values[rows, pair, None] * vectors
    return rest


def _restart(basis: Basis, ritz: Ritz, m: int, keep: int, stay: Flags) -> Basis:
    """Return the basis of the leading `keep` Ritz vectors, and W, of the matrices that stay."""
    V, H = basis.V if stay.all() else basis.V[stay], np.zeros_like(basis.H[stay])
    if len(V):
        leading = ritz.vectors[stay, :, :keep]
        H[:, range(keep), range(keep)] = ritz.values[stay, :keep]
        H[:, keep, :keep] = (basis.H[stay, m, None] @ leading)[:, 0]
        V[:, :keep] = leading.swapaxes(1, 2) @ V[:, :m]
        V[:, keep] = V[:, m]
    return Basis(V, H, basis.size[stay], basis.rng)


def lengths(vectors: Array) -> Array:
    """Return the Euclidean norms of vectors along the last axis."""
    result: Array = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return result


def allowed(largest: Array, tolerance: float, floor: Array) -> Array:
    """Return `tolerance · |λ₁| + floor`."""
    result: Array = tolerance * np.abs(largest) + floor
    return result


def within(numbers: Array, largest: Array, tolerance: float, floor: Array) -> Flags:
    """Return whether all numbers of a row are at most what is `allowed`; a NaN is not."""
    flags: Flags = np.all(np.abs(numbers) <= allowed(largest, tolerance, floor)[:, None], axis=1)
    return flags
