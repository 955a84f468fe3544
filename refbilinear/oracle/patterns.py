"""What an error looks like: a factor, a sign, another order, a part that is missing.

Words for a reader, drawn from a wrong output and the right one. Nothing is judged here: numbers
count as equal when they agree in half of the digits of their format, since two ways of making one
mistake differ by rounding, and a mistake by far more.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import inf, log2

import numpy as np

from refbilinear.spec.arrays import Array

FORMATS = {"bfloat16": 2.0**-8, "TF32 or float16": 2.0**-11, "float32": 2.0**-24}
"""The unit roundoff of formats that numbers may have been through."""

ROUGH = 2.0**-5
"""Up to this relative error a result may be a matter of precision: a sum of a few bfloat16."""


def agree(a: Array, b: Array) -> bool:
    """Whether two arrays are the same but for rounding.

    Examples
    --------
    >>> agree(np.array([1.0, 1e-12]), np.array([1.0, 0.0])), agree(np.ones(2), np.ones(3))
    (True, False)
    """
    return a.shape == b.shape and bool(_equal(a, b).all())


def _equal(a: Array, b: Array) -> Array:
    """Return where two arrays are the same, to half of the digits of the largest entry."""
    digits = max(_unit(a), _unit(b)) ** 0.5
    a, b = (np.asarray(one, dtype=np.float64) for one in (a, b))
    with np.errstate(all="ignore"):
        near = np.abs(a - b) <= digits * max(_size(a), _size(b))
    same: Array = near | (a == b) | (np.isnan(a) & np.isnan(b))
    return same


def _unit(array: Array) -> float:
    return float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 2.0**-52


def _size(array: Array) -> float:
    return float(np.abs(array[np.isfinite(array)]).max(initial=0))


def relative_error(got: Array, want: Array) -> float:
    """Return the largest error over the largest right entry; inf where that says nothing.

    Examples
    --------
    >>> relative_error(np.array([4.5, 1.0]), np.array([4.0, 1.0]))
    0.125
    """
    if got.shape != want.shape or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return inf
    with np.errstate(all="ignore"):
        return float(np.abs(got - want).max()) / _size(want) if _size(want) else inf


def describe(got: Array, want: Array) -> str:
    """Return what an error looks like, in words; empty where nothing is to be said.

    Examples
    --------
    >>> right = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> describe(2 * right, right)
    'every entry is 2 times what it should be'
    >>> describe(right[:, ::-1], right)
    'the right numbers, in reversed order along axis 1'
    >>> describe(right + [7.0, 0.0, 0.0], right)
    'off by the same amount in every row; only column 0 is wrong'
    """
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    if got.shape != want.shape:
        return ""
    with np.errstate(all="ignore"):
        return "; ".join(dict.fromkeys(_words(got, want)))


def _words(got: Array, want: Array) -> Iterator[str]:
    wrong = ~_equal(got, want)
    if not wrong.any():
        yield from _precision(got, want)
    elif np.isnan(got[wrong]).all():
        yield "NaN where numbers should be"
    elif (words := _factor(got, want) or _elsewhere(got, want)) is not None:
        yield words
    else:
        yield from _missing(got, want, wrong)
        yield from _where(wrong)
        yield from _precision(got, want)


def _precision(got: Array, want: Array) -> Iterator[str]:
    """Yield which format the size of a small error speaks of."""
    error = relative_error(got, want)
    if 0 < error < inf:
        name = min(FORMATS, key=lambda name: abs(log2(error / FORMATS[name])))
        if 1 / 8 <= error / FORMATS[name] <= 8:
            yield f"off by {error:.0e} of the largest entry, as {name} is"


def _factor(got: Array, want: Array) -> str | None:
    """Return the one factor by which all entries are off."""
    there = want != 0
    if not there.any() or got[~there].any():
        return None
    ratios = got[there] / want[there]
    one = np.isfinite(ratios).all() and _equal(ratios, np.full_like(ratios, ratios[0])).all()
    if not one or ratios.size < 2:
        return None
    if abs(ratios[0]) < 2.0**-26:
        return "every entry is zero"
    if abs(ratios[0] + 1) < 2.0**-10:
        return "the sign is reversed"
    return f"every entry is {_spelt(float(ratios[0]))} times what it should be"


def _spelt(number: float) -> str:
    """Return a number as a fraction of small integers, if it is one."""
    near = Fraction(number).limit_denominator(64)
    near_enough = abs(near - Fraction(number)) < min(1, abs(number)) * 2.0**-20
    return str(near) if near_enough else f"{number:.4g}"


def _elsewhere(got: Array, want: Array) -> str | None:
    """Return in which order the right numbers stand."""
    for axis in range(got.ndim):
        if agree(np.flip(got, axis), want):
            return f"the right numbers, in reversed order along axis {axis}"
    if agree(got.T.reshape(want.shape), want) or agree(got.reshape(want.T.shape).T, want):
        return "the right numbers, transposed"
    if agree(np.sort(got, axis=None), np.sort(want, axis=None)):
        return "the right numbers, in other places"
    return None


def _missing(got: Array, want: Array, wrong: Array) -> Iterator[str]:
    if not got[wrong].any():
        yield "the wrong entries are zero"
    elif got.ndim > 1 and len(got) > 1 and np.isfinite(got).all() and np.isfinite(want).all():
        error = got - want
        if agree(error, np.broadcast_to(error[:1], error.shape)):
            yield "off by the same amount in every row"


def _where(wrong: Array) -> Iterator[str]:
    """Yield the one part of an array that holds all that is wrong."""
    if wrong.ndim >= 2 and wrong.shape[-1] == wrong.shape[-2] > 1:
        i, j = np.ogrid[: wrong.shape[-1], : wrong.shape[-1]]
        last = wrong.shape[-1] - 1
        parts = {
            "the diagonal": i == j,
            "the last row and column": (i == last) | (j == last),
            "the upper triangle": i < j,
            "the lower triangle": i > j,
            "what is off the diagonal": i != j,
        }
        for name, part in parts.items():
            if not (wrong & ~part).any():
                yield f"only {name} is wrong"
                return
    for axis, name in enumerate(("row", "column") if wrong.ndim == 2 else ()):
        lines = np.flatnonzero(wrong.any(axis=1 - axis))
        if len(lines) == 1 < wrong.shape[axis]:
            yield f"only {name} {lines[0]} is wrong"
            return
