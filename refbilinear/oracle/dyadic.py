"""Floats as what they are: integers times a power of two, one power for a whole array."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.spec.arrays import Array, Followed, as_array, require_finite


class Integers(Followed):
    """Python integers, for which `/` is the division that leaves no remainder.

    Examples
    --------
    >>> np.array([4, 6], dtype=object).view(Integers) / 2
    Integers([2, 3], dtype=object)
    """

    def __truediv__(self, divisor: int) -> "Integers":  # type: ignore[override]
        if (self % divisor).any():
            raise ArithmeticError(f"{divisor} does not divide all of the integers")
        return (self // divisor).view(Integers)


class Dyadic(NamedTuple):
    """Floats as `mantissas · 2^exponents`; all are whole multiples of `2^unit`."""

    mantissas: Array
    exponents: Array
    unit: int

    def integers(self, unit: int | None = None) -> Integers:
        """Return the floats in units of `2^unit`, by default the largest that leaves them whole."""
        shifts = np.maximum(self.exponents - (self.unit if unit is None else unit), 0)
        whole: Array = np.asarray(self.mantissas.astype(object) << shifts.astype(object), object)
        return whole.view(Integers)


def dyadic(name: str, array: ArrayLike) -> Dyadic:
    """Return finite floats as integers times powers of two, and the unit that serves them all.

    Examples
    --------
    >>> numbers = dyadic("x", [0.75, -6.0])
    >>> numbers.integers(), numbers.unit
    (Integers([3, -24], dtype=object), -2)
    """
    floats = as_array(name, array)
    require_finite(name, floats)
    fraction, exponents = np.frexp(floats.astype(np.float64))
    mantissas = np.ldexp(fraction, 53).astype(np.int64)
    zeros = _trailing_zeros(mantissas)
    mantissas, exponents = mantissas >> zeros, exponents + zeros - 53
    of_numbers = exponents[mantissas != 0]
    return Dyadic(mantissas, exponents, int(of_numbers.min()) if of_numbers.size else 0)


def _trailing_zeros(mantissas: Array) -> Array:
    zeros: Array = np.frexp((mantissas & -mantissas).astype(np.float64))[1] - 1
    return zeros.clip(min=0)
