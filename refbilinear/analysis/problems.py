"""The exact eigenproblems of the forms of many directions, small where the forms are.

    Q = ½ Σ_h w_h (l_h r_hᵀ + r_h l_hᵀ)        A = Z T,  Zᵀ Z = I:    A C Aᵀ = Z (T C Tᵀ) Zᵀ

A form of few units, or behind an embedding, is `A C Aᵀ` with a narrow A. QR leaves the problem of
`T C Tᵀ`, and what is orthogonal to Z has the eigenvalue 0. One QR serves all directions.

Each function takes weights (n, d_hidden) and returns the k leading eigenvalues (n, k) and their
eigenvectors (n, k, d), as rows, of no particular sign.
"""

from collections.abc import Callable

import numpy as np

from refbilinear.spec.arrays import Array
from refbilinear.spec.packed import symmetric_part

Pairs = tuple[Array, Array]

TOGETHER = 2**20
"""How many numbers the forms and products of the directions that are solved at once may have."""


def form(left: Array, right: Array, weights: Array) -> Array:
    """Return Q, (..., d, d), of weights (..., d_hidden)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return symmetric_part((left.T * weights[..., None, :]) @ right)


def dense(left: Array, right: Array, weights: Array, k: int) -> Pairs:
    """Return the pairs of Q, formed."""
    size = max(1, TOGETHER // max(1, left.size + left.shape[1] ** 2))
    starts = range(0, max(1, len(weights)), size)
    parts = [_leading(form(left, right, weights[i : i + size]), k) for i in starts]
    values, vectors = map(np.concatenate, zip(*parts, strict=True))
    return values, vectors


def factored(left: Array, right: Array, weights: Array, k: int) -> Pairs:
    """Return the pairs of `FᵀGF`, F = [left; right], without the units that nobody weighs."""
    used = weights.any(axis=0)
    n = np.count_nonzero(used)
    if 2 * n > left.shape[1]:
        raise ValueError(
            f"method must not be factored for 2 · {n} units with w_h ≠ 0 of {left.shape[1]} inputs"
        )
    outer = np.concatenate([left[used], right[used]]).T
    return behind(outer, lambda T: form(T[:, :n].T, T[:, n:].T, weights[:, used]), k)


EXACT = {"dense": dense, "factored": factored}


def embedded(left: Array, right: Array, weights: Array, k: int, embed: Array) -> Pairs:
    """Return the pairs of EᵀQE."""
    Q = form(left, right, weights)
    return behind(embed.T, lambda T: symmetric_part(T @ Q @ T.T), k)


def behind(outer: Array, inner: Callable[[Array], Array], k: int) -> Pairs:
    """Return the pairs of `A C Aᵀ`: A = ZT, and `inner(T)` is T C Tᵀ of each direction."""
    rank = min(outer.shape)
    Z, T = np.linalg.qr(outer, mode="complete" if k > rank else "reduced")
    with np.errstate(over="ignore", invalid="ignore"):
        small = inner(T[:rank])
    values, vectors = _leading(small, min(k, rank))
    outside = np.broadcast_to(Z[:, rank:k].T, (len(values), max(0, k - rank), len(Z)))
    zeros = np.zeros(outside.shape[:2], values.dtype)
    vectors = np.concatenate([vectors @ Z[:, :rank].T, outside], axis=1)
    return np.concatenate([values, zeros], axis=1), vectors


def _leading(Q: Array, k: int) -> Pairs:
    """Return the k leading pairs of each Q, in order."""
    if not np.isfinite(Q).all():
        raise OverflowError(f"Q has entries beyond the largest {Q.dtype}: scale it down")
    values, vectors = np.linalg.eigh(Q)
    if not np.isfinite(values).all():
        raise OverflowError(f"Q has eigenvalues beyond the largest {Q.dtype}: scale it down")
    order = np.lexsort((-values, -np.abs(values)), axis=1)[:, :k]
    rows = np.take_along_axis(vectors.swapaxes(1, 2), order[:, :, None], 1)
    return np.take_along_axis(values, order, 1), rows
