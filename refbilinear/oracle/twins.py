"""Twins: the functions of the specification on absolute values, with what underflow may add.

    allowed = ((1 + u_s)^δ (1 + γ_K) − 1) · twin + (1 + …)(padded twin − twin)

The twin is the same function on absolute values. In the padded twin every product is |a||b| + η
instead of |a||b|, η the least that underflow can take from a product (see `claims`): a polynomial
p(η) of the pads with coefficients ≥ 0 and p(0) = twin. It is convex, so for any larger pad tη

    p(η) − p(0) ≤ (p(tη) − p(0)) / t

which is computed with t so large that the difference means something in float64. A twin that
may overflow somewhere on its way is infinite from there on: no bound holds.

The twins are float64 themselves; `allowed` makes up for their own roundings.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from math import expm1, log1p
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.oracle.claims import Claim
from refbilinear.oracle.formats import FLOAT64
from refbilinear.oracle.trees import map_arrays
from refbilinear.spec.arrays import Array, Followed, as_array

MAGNIFIED = 2.0**40


class Pads(NamedTuple):
    """What is added to a product, to each sum of two, and to whatever is stored."""

    product: float
    sum: float
    storage: float
    largest: float


class Twin(Followed):
    """Absolute values that grow by the pads of their class with every operation."""

    pads = Pads(0.0, 0.0, 0.0, np.inf)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: Any, *inputs: Any, **settings: Any
    ) -> "Twin":
        plain = [np.asarray(value) for value in inputs]
        if "out" in settings:
            settings["out"] = tuple(np.asarray(array) for array in settings["out"])
        with np.errstate(all="ignore"):
            result = np.asarray(getattr(ufunc, method)(*plain, **settings))
            result += self._pad(ufunc, method, plain[0])
            result[~(result <= self.pads.largest / 2)] = np.inf
        return result.view(type(self))

    def _pad(self, ufunc: np.ufunc, method: str, first: Array) -> float:
        """Return what one operation can lose to underflow."""
        product, add, storage, _ = self.pads
        if method == "reduce":
            return first.size * add + storage
        terms = first.shape[-1] if ufunc is np.matmul else 1
        of_product = 0.0 if ufunc is np.add else product
        return terms * (of_product + add) + storage


@lru_cache(maxsize=64)
def _class_of(pads: Pads) -> type[Twin]:
    """Return a class of twins; the pads stand in the class, since NumPy keeps no instance's."""
    return type("Twin", (Twin,), {"pads": pads})


def gamma(roundings: int, unit: float) -> float:
    """Return `γ_K = K u / (1 − K u)`, the relative error that K roundings of unit u can leave.

    Raises
    ------
    ValueError
        Where `K u ≥ 1`: no bound holds.

    Examples
    --------
    >>> gamma(1000, 2.0**-24)
    5.9608197700840286e-05
    """
    if roundings * unit >= 1:
        raise ValueError(f"no bound holds after {roundings} roundings of unit {unit:.3g}")
    return roundings * unit / (1 - roundings * unit)


def magnitude(array: ArrayLike) -> Array:
    """Return the absolute values of an array in float64."""
    return np.abs(as_array("array", array).astype(np.float64))


def followed(function: Callable[..., Any], claim: Claim | None, *arguments: Any) -> "TwinPair":
    """Return the twin of a function's result and its padded twin.

    Parameters
    ----------
    function : callable
        Of the specification, or made of its functions; it adds and multiplies, nothing else.
    claim : Claim or None
    *arguments
        Arrays, layers, models, forms, of which the absolute values are taken.

    Examples
    --------
    >>> from refbilinear.oracle.claims import CLAIMS
    >>> twin, padded, times = followed(np.multiply, CLAIMS["f64"], [2.0], [-1e-320])
    >>> twin, (padded - twin) / times                       # the least float64 is 4.94e-324
    (array([2.e-320]), array([5.e-324]))
    """
    none = Pads(0.0, 0.0, 0.0, np.inf if claim is None else claim.largest)
    twin = _run(function, none, claim, arguments)
    if claim is None:
        return TwinPair(twin, twin, 1.0)
    times = MAGNIFIED if claim.sums is FLOAT64 else 1.0
    pads = Pads(
        times * claim.product_loss,
        times * claim.sum_loss,
        times * claim.storage_loss,
        claim.largest,
    )
    return TwinPair(twin, _run(function, pads, claim, arguments), times)


class TwinPair(NamedTuple):
    """A twin, its padded twin, and how many times larger than the losses the pads were.

    `twin` and `padded` are what the function returns: arrays, or what holds them.
    """

    twin: Any
    padded: Any
    times: float


def allowed(roundings: int, degree: int, claim: Claim | None, pair: TwinPair) -> Array:
    """Return the allowed error `((1 + u_s)^δ (1 + γ_K) − 1) · twin`, and what underflow adds.

    Parameters
    ----------
    roundings : int
        K, of the sums' unit.
    degree : int
        δ, the roundings to the storage format.
    claim : Claim or None
        None for exact numbers: nothing is allowed.
    pair : TwinPair
        Of arrays.

    Returns
    -------
    array of float64
        Infinite where the computation may overflow.
    """
    twin, padded, times = pair
    if claim is None:
        return np.zeros_like(twin)
    own = gamma(2 * roundings + 2, FLOAT64.unit)
    stored = 0.0 if claim.storage is None else degree * log1p(claim.storage.unit)
    relative = expm1(stored + log1p(gamma(roundings, claim.sums.unit)))
    with np.errstate(all="ignore"):
        pad = (padded - twin + 2 * own * padded) / times
        error: Array = (1 + 2 * own) * (relative * twin + (1 + relative) * pad)
    return np.where(np.isnan(error), np.inf, error)


def _run(
    function: Callable[..., Any], pads: Pads, claim: Claim | None, arguments: tuple[Any, ...]
) -> Any:
    twins = map_arrays(partial(_absolute, pads, claim), arguments)
    return map_arrays(np.asarray, function(*twins))


def _absolute(pads: Pads, claim: Claim | None, array: ArrayLike) -> Array:
    """Return the absolute values of an input as a twin."""
    size = magnitude(array)
    if claim is not None and claim.flushes:
        _refuse_subnormals(size, claim)
    return (size + pads.storage).view(_class_of(pads))


def _refuse_subnormals(size: Array, claim: Claim) -> None:
    if ((size > 0) & (size < claim.sums.smallest_normal)).any():
        raise ValueError(
            "no bound holds for subnormal inputs where they may be flushed to zero; "
            "claim without -ftz, or scale the inputs"
        )
