"""The floating-point formats that are spoken of, and correct rounding to each.

A format holds `n · 2^e` with integers `|n| < 2^precision` and `e ≥ least`, below `2^top` in size;
its unit roundoff is `2^−precision`, its smallest number `2^least`.
"""

from fractions import Fraction
from math import inf
from typing import NamedTuple


class Format(NamedTuple):
    """A binary floating-point format with subnormal numbers."""

    precision: int
    """Bits of the significand, the leading one included."""
    least: int
    """Exponent of the smallest subnormal number."""
    top: int
    """All finite numbers are smaller than 2 to this."""

    @property
    def unit(self) -> float:
        """The unit roundoff u: half the distance from 1 to the next number."""
        return 2.0**-self.precision

    @property
    def smallest(self) -> float:
        """The smallest positive number."""
        return 2.0**self.least

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number of full precision."""
        return 2.0 ** (self.least + self.precision - 1)

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2 - 2 * self.unit) * 2.0 ** (self.top - 1)


FLOAT64 = Format(53, -1074, 1024)
FLOAT32 = Format(24, -149, 128)
TFLOAT32 = Format(11, -136, 128)
FLOAT16 = Format(11, -24, 16)
BFLOAT16 = Format(8, -133, 128)


def nearest(value: Fraction, to: Format) -> float:
    """Return the number of a format that is nearest to an exact one, the even one on a tie.

    An infinity where that is beyond the largest, as IEEE 754 has it.

    Examples
    --------
    >>> nearest(Fraction(1, 3), BFLOAT16), nearest(Fraction(10**6), FLOAT16)
    (0.333984375, inf)
    """
    if value == 0:
        return 0.0
    size = abs(value.numerator).bit_length() - value.denominator.bit_length()
    size -= abs(value) < Fraction(2) ** size
    quantum = Fraction(2) ** max(size - to.precision + 1, to.least)
    result = round(value / quantum) * quantum
    if abs(result) >= Fraction(2) ** to.top:
        return inf if value > 0 else -inf
    return float(result)
