"""Judging numbers: whether `|value − exact| ≤ γ_K · twin`, and what is said where not."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refbilinear.oracle.bounds import gamma
from refbilinear.oracle.rationals import Exact, ceiling, integers, minus, nearest_float
from refbilinear.spec.arrays import Array, as_array, require_finite


class Judgement(NamedTuple):
    """A verdict on numbers, the reasons against them, and their worst error."""

    certified: bool
    reasons: tuple[str, ...]
    ratio: float
    """The largest |error| / allowed, rounded up; at most 1."""


def judge(
    name: str, values: Array, exact: Exact, twin: Exact, roundings: int, slack: Fraction
) -> Judgement:
    """Judge every entry: `|value − exact| ≤ γ_K · twin + slack`, slack what underflow may take.

    A product that underflows is off by half the smallest subnormal; slack counts a whole one.
    """
    factor = Fraction(gamma(roundings, values.dtype))
    errors, unit = minus(integers(values), exact)
    worst, reasons = Fraction(0), []
    triples = zip(*(np.ravel(array).tolist() for array in (errors, twin[0], exact[0])), strict=True)
    for index, (error, size, true) in zip(np.ndindex(values.shape), triples, strict=True):
        off, allowed = abs(error) * unit, factor * size * twin[1] + slack
        worst = max(worst, off / allowed) if allowed else worst
        if off > allowed:
            reasons.append(
                f"{name} must be {nearest_float(true * exact[1])}"
                f"{f' at {index}' if index else ''}, to {short(allowed)}; got {values[index]}"
            )
    return Judgement(not reasons, tuple(reasons[:1]), ceiling(worst))


def short(number: Fraction) -> str:
    """Return two digits of a number, for a reason."""
    return f"{nearest_float(number):.2g}"


def enter_like(name: str, value: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return a finite array of exactly this shape and dtype, or raise with its name."""
    array = as_array(name, value)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name} must have shape {shape} and dtype {np.dtype(dtype)}; "
            f"got {array.shape} and {array.dtype}"
        )
    require_finite(name, array)
    return array


def require_floats(name: str, array: Array) -> None:
    """Refuse exact numbers: they are not rounded."""
    if array.dtype == object:
        raise TypeError(f"{name} must be float32 or float64: what is judged here are roundings")
