"""Arrays without rounding: integers, and the unit that they are multiples of.

Every finite float is an integer times a power of two, so sums and products of floats are exact.
Norms are compared squared; where a root or a float is published, it is certainly above or below.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import inf, isqrt, lcm, nextafter
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from refbilinear.oracle.dyadic import dyadic
from refbilinear.spec.arrays import Array

Exact = tuple[Array, Fraction]
"""Integers, and the unit that they are multiples of."""


def integers(array: Array) -> Exact:
    """Return integers and a unit, of which the array is the product, exactly.

    The unit of floats is the largest power of two that serves all entries, of rationals one over
    their common denominator.

    Examples
    --------
    >>> integers(np.array([0.75, -6.0]))
    (array([3, -24], dtype=object), Fraction(1, 4))
    """
    if array.dtype == object:
        return _integers_of_rationals(array)
    numbers = dyadic("array", array)
    return numbers.integers().view(np.ndarray), Fraction(2) ** numbers.unit


def objects(values: Sequence[Any], shape: tuple[int, ...]) -> Array:
    """Return Python's own numbers as an array of a shape."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


def minus(a: Exact, b: Exact) -> Exact:
    """Return a − b."""
    ratio = a[1] / b[1]
    return a[0] * ratio.numerator - b[0] * ratio.denominator, b[1] / ratio.denominator


def squared_norm(a: Exact) -> Fraction:
    """Return the squared Frobenius norm."""
    return int(np.sum(a[0] * a[0])) * a[1] * a[1]


def norm(a: Exact) -> Fraction:
    """Return a rational just above the Frobenius norm."""
    return root(squared_norm(a))


def root(square: Fraction, above: bool = True) -> Fraction:
    """Return a rational above (or below) the root, by at most 2**-99 of it."""
    up, down = square.numerator, square.denominator
    shift = 100 + max(0, (down.bit_length() - up.bit_length()) // 2 + 1)
    scaled = up << 2 * shift
    whole = isqrt(scaled // down)
    return Fraction(whole + (above and whole * whole * down != scaled), 1 << shift)


def ceiling(number: Fraction) -> float:
    """Return the least float that is not below."""
    near = nearest_float(number)
    return near if near >= number else nextafter(near, inf)


def floor(number: Fraction) -> float:
    """Return the greatest float that is not above."""
    return -ceiling(-number)


def nearest_float(number: Fraction) -> float:
    """Return the nearest float, infinite where there is none."""
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf


def roundoff(dtype: DTypeLike) -> Fraction:
    """Return u."""
    return Fraction(float(np.finfo(np.dtype(dtype)).eps)) / 2


def subnormal(dtype: DTypeLike) -> Fraction:
    """Return the smallest subnormal."""
    return Fraction(float(np.finfo(np.dtype(dtype)).smallest_subnormal))


def largest(array: Array) -> Fraction:
    """Return the largest magnitude, 0 where there is none."""
    return Fraction(float(np.abs(array).max(initial=0)))


def _integers_of_rationals(array: Array) -> Exact:
    fractions = [(int(value.numerator), int(value.denominator)) for value in array.flat]
    common = lcm(*(denominator for _, denominator in fractions))
    values = [numerator * (common // denominator) for numerator, denominator in fractions]
    return objects(values, array.shape), Fraction(1, common)
