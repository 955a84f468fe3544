"""The functions of the specification as another machine would compute them.

In a coarser format, with sums in another order, with fused multiply-add, with subnormal numbers
flushed to zero: every operation is done and rounded as that machine does it. So the bounds are
tried against arithmetic that this computer does not have, and a learner sees what bfloat16 does to
a layer. It is slow: every product of a matrix product is formed.

    ascending, descending      one running sum, from either end
    pairwise                   halves of halves
    lanes                      eight running sums, of every eighth term, then their sum
    shuffled                   one running sum in a random order
    by_size                    the smallest first
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.oracle.claims import Claim, claim_of
from refbilinear.oracle.formats import FLOAT64, Format
from refbilinear.oracle.trees import map_arrays
from refbilinear.spec.arrays import Array, Followed

ORDERS = ("ascending", "descending", "pairwise", "lanes", "shuffled", "by_size")
LANES = 8


class Machine(NamedTuple):
    """How a simulated machine computes."""

    claim: Claim
    order: str
    fused: bool
    seed: int


def simulate(
    function: Callable[..., Any],
    *arguments: Any,
    claim: str = "f32",
    order: str = "ascending",
    fused: bool = False,
    seed: int = 0,
) -> Any:
    """Return what a function of the specification gives on a simulated machine.

    Parameters
    ----------
    function : callable
        Of the specification; it adds, multiplies and divides, nothing else.
    *arguments
        Arrays, layers, models and forms of floats; they are rounded first, where the claim says so.
    claim : str
        The precision, one of `CLAIMS`.
    order : str
        Of sums and matrix products, one of `ORDERS`.
    fused : bool
        Whether running sums of products are fused.
    seed : int
        Of the random order.

    Returns
    -------
    as the function
        Of float32 or float64 arrays, the format of the sums.

    Raises
    ------
    ValueError
        For a claim or an order that is not in the list.

    Examples
    --------
    >>> from refbilinear import BilinearLayer, forward
    >>> layer = BilinearLayer([[1.0, 0.3]], [[2.0, 0.1]])
    >>> for claim in ("f64", "f32", "bf16-f32acc"):
    ...     print(simulate(forward, layer, [1.0, 1.0], claim=claim))
    [2.73]
    [2.7299998]
    [2.71875]
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}; got {order!r}")
    precision = claim_of(claim, float)
    assert precision is not None
    kind = _class_of(Machine(precision, order, fused, seed))
    with np.errstate(all="ignore"):
        result = function(*map_arrays(partial(_entered, kind), arguments))
    return map_arrays(np.asarray, result)


def _entered(kind: "type[Simulated]", array: ArrayLike) -> "Simulated":
    return _stored(np.asarray(array, np.float64), kind.machine.claim).view(kind)


def to_format(array: Array, to: Format, flushes: bool = False) -> Array:
    """Return floats rounded to a format, ties to even, subnormals kept or flushed to zero.

    Examples
    --------
    >>> from refbilinear.oracle.formats import FLOAT16
    >>> to_format(np.array([1 + 2.0**-11, 3e-8, 1e5]), FLOAT16)
    array([1.00000000e+00, 5.96046448e-08,            inf])
    """
    wide = np.asarray(array, np.float64)
    with np.errstate(all="ignore"):
        quantum = np.maximum(np.frexp(wide)[1] - to.precision, to.least)
        result = np.ldexp(np.rint(np.ldexp(wide, -quantum)), quantum)
        result = np.where(np.abs(result) > to.largest, np.copysign(np.inf, wide), result)
    result = np.where(np.isfinite(wide), result, wide)
    return np.where(np.abs(result) < to.smallest_normal, 0.0, result) if flushes else result


class Simulated(Followed):
    """Numbers of a machine, which its class names."""

    machine = Machine(Claim(FLOAT64), "ascending", fused=False, seed=0)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: Any, *inputs: Any, **settings: Any
    ) -> "Simulated":
        plain = [np.asarray(value) for value in inputs]
        machine = self.machine
        if ufunc is np.matmul:
            result = _matmul(plain[0], plain[1], machine)
        elif method == "reduce":
            result = _reduce(plain[0], settings.get("axis"), machine)
        else:
            result = getattr(ufunc, method)(*plain)
        result = _stored(np.asarray(result), machine.claim)
        if "out" in settings:
            settings["out"][0][...] = result
        return result.view(type(self))


@lru_cache(maxsize=256)
def _class_of(machine: Machine) -> type[Simulated]:
    return type("Simulated", (Simulated,), {"machine": machine})


def _stored(result: Array, claim: Claim) -> Array:
    """Return the result of an operation as it is kept."""
    dtype = np.float64 if claim.sums is FLOAT64 else np.float32
    if claim.storage is not None and claim.stores_results:
        result = to_format(result, claim.storage, claim.flushes)
    return _flushed(result.astype(dtype), claim)


def _flushed(result: Array, claim: Claim) -> Array:
    if not claim.flushes:
        return result
    return np.where(np.abs(result) < claim.sums.smallest_normal, result.dtype.type(0), result)


def _matmul(a: Array, b: Array, machine: Machine) -> Array:
    """Return `a @ b`, the terms of each sum in the machine's order."""
    claim = machine.claim
    if claim.storage is not None and not claim.stores_results:
        dtype = a.dtype
        a, b = (to_format(m, claim.storage, claim.flushes).astype(dtype) for m in (a, b))
    left = a[..., None] if b.ndim > 1 else a
    factors = [(left[..., k, :] if b.ndim > 1 else a[..., k], b[k]) for k in range(len(b))]
    if not factors:
        return np.zeros((*a.shape[:-1], *b.shape[1:]), a.dtype)
    return _sum_of_products(factors, machine)


def _reduce(array: Array, axis: int | None, machine: Machine) -> Array:
    terms = list(np.moveaxis(array, axis, 0)) if axis is not None else list(array.ravel())
    shape = () if axis is None else np.delete(array.shape, axis)
    return _sum(terms, machine) if terms else np.zeros(shape, array.dtype)


def _sum_of_products(factors: Sequence[tuple[Array, Array]], machine: Machine) -> Array:
    claim = machine.claim
    terms = [_flushed(a * b, claim) for a, b in factors]
    if not machine.fused or machine.order in ("pairwise", "by_size"):
        return _sum(terms, machine)

    def chain(order: Sequence[int]) -> Array:
        total = terms[order[0]]
        for k in order[1:]:
            total = _flushed(fma(*factors[k], total), claim)
        return total

    return _add([chain(order) for order in _chains(len(terms), machine)], claim)


def _sum(terms: Sequence[Array], machine: Machine) -> Array:
    claim = machine.claim
    if machine.order == "pairwise":
        return _pairwise(terms, claim)
    if machine.order == "by_size":
        stacked = np.stack(np.broadcast_arrays(*terms))
        order = np.argsort(np.abs(stacked), axis=0)
        return _add(list(np.take_along_axis(stacked, order, axis=0)), claim)
    chains = [[terms[k] for k in order] for order in _chains(len(terms), machine)]
    return _add([_add(chain, claim) for chain in chains], claim)


def _chains(count: int, machine: Machine) -> list[Sequence[int]]:
    """Return the running sums of so many terms: for each the order of its terms."""
    if machine.order == "ascending":
        return [range(count)]
    if machine.order == "descending":
        return [range(count)[::-1]]
    if machine.order == "lanes":
        return [range(lane, count, LANES) for lane in range(min(LANES, count))]
    return [np.random.default_rng(machine.seed).permutation(count).tolist()]


def _add(terms: Sequence[Array], claim: Claim) -> Array:
    return reduce(lambda total, term: _flushed(total + term, claim), terms)


def _pairwise(terms: Sequence[Array], claim: Claim) -> Array:
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return _add([_pairwise(terms[:half], claim), _pairwise(terms[half:], claim)], claim)


def fma(a: Array, b: Array, c: Array) -> Array:
    """Return `a b + c` rounded once (twice in the rare case of a tie that is none).

    float32 through float64; float64 through the error terms of product and sum.

    References
    ----------
    Dekker, "A floating-point technique for extending the available precision", 1971.

    Examples
    --------
    >>> a, b, c = np.array([1 + 2.0**-30]), np.array([1 - 2.0**-30]), np.array([-1.0])
    >>> a * b + c, fma(a, b, c) == -(2.0**-60)
    (array([0.]), array([ True]))
    """
    if np.result_type(a, b, c) == np.float32:
        wide: Array = a.astype(np.float64) * b + c
        return wide.astype(np.float32)
    product, low = _two_product(a, b)
    total = product + c
    back = total - product
    rest = (product - (total - back)) + (c - back)
    result: Array = np.where(np.isfinite(low), total + (rest + low), total)
    return result


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the product and its rounding error (Dekker and Veltkamp)."""
    product = a * b
    (a1, a2), (b1, b2) = _split(a), _split(b)
    return product, a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2)


def _split(a: Array) -> tuple[Array, Array]:
    c = (2.0**27 + 1) * a
    high = c - (c - a)
    return high, a - high
