"""What may enter, and the words of every refusal.

    float32, float64     stay what they are, through to the result
    integers, bools      become float64, and are refused above 2**53
    object arrays        stay exact: an integer becomes a Fraction, all else must be a Rational

Everything else is refused by name. No input is modified; nothing here computes.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[Any]
Sizes = Mapping[str, int | None]

LARGEST_INTEGER = 2**53


class Followed(np.ndarray[Any, np.dtype[Any]]):
    """An array with an arithmetic of its own, which enters as it is.

    So the oracle follows a function of the specification through other numbers than its own.
    """

    __array_priority__ = 1.0  # stays itself when it is joined to other arrays


def enter(
    name: str,
    value: ArrayLike,
    sizes: Sizes,
    *,
    dtype: DTypeLike | None = None,
    batched: bool = False,
    match: str = "",
) -> Array:
    """Return `value` as an array of an admitted number type, of the wanted shape and dtype.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array_like
        What the caller gave.
    sizes : mapping of str to int or None
        The letters of the shape in order, each with its size, or None where any size will do.
    dtype : dtype, optional
        The dtype that `value` must have, integers counted as float64.
    batched : bool
        Whether any number of axes may stand before those of `sizes`.
    match : str
        What the size or dtype must match, for the message.

    Raises
    ------
    ValueError
        For a shape that does not fit, or an integer beyond 2**53.
    TypeError
        For a number type that is not admitted, or not `dtype`.

    Examples
    --------
    >>> enter("x", [1, 2], {"d_in": 3}, batched=True, match="to match the layer")
    Traceback (most recent call last):
    ValueError: x must have shape (..., d_in) = (..., 3) to match the layer; got (2,)
    """
    array = as_array(name, value)
    _check_shape(name, array, sizes, batched, match)
    if dtype is not None and array.dtype != dtype:
        raise TypeError(
            f"{name} must have dtype {_words(np.dtype(dtype))}{_space(match)}; "
            f"got {_words(array.dtype)}: convert one of them"
        )
    return array


def as_array(name: str, value: ArrayLike) -> Array:
    """Return `value` as a float32, float64 or exact object array, without a copy where it is one.

    Examples
    --------
    >>> as_array("x", [True, False])
    array([1., 0.])
    >>> as_array("x", np.array([1, Fraction(1, 3)], dtype=object))
    array([Fraction(1, 1), Fraction(1, 3)], dtype=object)
    """
    if isinstance(value, Followed):
        return value
    array = plain(name, value)
    if not hasattr(value, "dtype") and array.dtype.kind in "fO":
        _require_moderate_integers(name, value)
    native = array.dtype.newbyteorder("=")
    if native in (np.float32, np.float64):
        return array.astype(native, copy=False)
    if array.dtype.kind in "biu":
        return _float_of_integers(name, array)
    if array.dtype == object:
        return _exact(name, array)
    raise TypeError(
        f"{name} must hold float32, float64, integers or exact rationals; got {array.dtype}"
    )


def plain(name: str, value: ArrayLike) -> Array:
    """Return `value` as an ndarray of whatever dtype, refusing what would lose its meaning."""
    if value is None:
        raise TypeError(f"{name} must be an array; got None")
    if isinstance(value, np.matrix | np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array; got {type(value).__name__}")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers; {error}") from error
    except (RuntimeError, TypeError) as error:  # a tensor that needs its gradient, or is bfloat16
        words = f"{error} (of PyTorch: .detach(), .cpu(), .float())"
        raise TypeError(f"{name} must be convertible to an array; {words}") from error


def constant(value: int, shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array filled with an integer, exact where the dtype is: np.zeros would be int 0.

    Examples
    --------
    >>> constant(0, 2, object)
    array([Fraction(0, 1), Fraction(0, 1)], dtype=object)
    """
    return np.full(shape, Fraction(value) if np.dtype(dtype).hasobject else value, dtype)


def rows(array: Array) -> Array:
    """Return `(..., d)` as `(n, d)`, also where a size is zero and reshape could not tell n."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def affine(x: Array, w: Array | None = None, b: Array | None = None) -> Array:
    """Return `w x + b` for every row x; None stands for the identity and for no bias."""
    y = x if w is None else x @ w.T
    return y if b is None else y + b


def check_batch(name: str, array: Array, x: Array) -> None:
    """Raise ValueError unless an array has the batch axes of x."""
    if array.shape[:-1] != x.shape[:-1]:
        wanted = (*x.shape[:-1], array.shape[-1])
        raise ValueError(f"{name} must have shape {wanted} to match x; got {array.shape}")


def require_finite(name: str, array: Array) -> None:
    """Raise ValueError naming the first entry that is NaN or infinite (exact numbers never are)."""
    if array.dtype != object and not np.isfinite(array).all():
        index = first_index(~np.isfinite(array))
        raise ValueError(f"{name} must be finite; got {array[index]} at {index}")


def require_representable(name: str, array: Array) -> Array:
    """Return a result after checking that nothing in it overflowed."""
    if array.dtype != object and not np.isfinite(array).all():
        index = first_index(~np.isfinite(array))
        raise OverflowError(f"{name} exceeds the largest {array.dtype} at {index}: scale it down")
    return array


def require_count(name: str, value: Any, least: int) -> int:
    """Return `value` as an int of at least `least`, or raise with the name."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer; got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")
    return int(value)


def require_non_negative(name: str, value: float) -> float:
    """Return a finite number of at least 0 as a Python float, or raise with the name.

    A Python float, because a NumPy scalar of float64 would widen float32 arrays.
    """
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number; got {type(value).__name__}")
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be finite and at least 0; got {value}")
    return float(value)


def first_index(mask: Array) -> tuple[int, ...]:
    """Return the index of the first True of a mask."""
    return tuple(int(i) for i in np.argwhere(mask)[0])


def _check_shape(name: str, array: Array, sizes: Sizes, batched: bool, match: str) -> None:
    """Raise ValueError("name must have shape (letters) = (sizes) match; got …") if it does not."""
    given = array.shape[max(0, array.ndim - len(sizes)) :] if batched else array.shape
    wanted = tuple(sizes.values())
    fits = given == wanted or (
        len(given) == len(wanted)
        and all(want in (None, got) for got, want in zip(given, wanted, strict=True))
    )
    if not fits:
        numbers = {letter: letter if size is None else size for letter, size in sizes.items()}
        equals = f" = {_tuple(numbers.values(), batched)}" if any(wanted) or 0 in wanted else ""
        raise ValueError(
            f"{name} must have shape {_tuple(sizes, batched)}{equals}{_space(match)}; "
            f"got {array.shape}"
        )


def _tuple(parts: Any, batched: bool) -> str:
    """Return `(a, b)`, `(a,)` or `(..., a)`, written as a shape is."""
    words = ["..."] * batched + [str(part) for part in parts]
    return f"({words[0]},)" if len(words) == 1 else f"({', '.join(words)})"


def _space(words: str) -> str:
    return f" {words}" if words else ""


def _words(dtype: np.dtype[Any]) -> str:
    return "object (exact rationals)" if dtype.hasobject else str(dtype)


def _require_moderate_integers(name: str, value: ArrayLike) -> None:
    """Refuse a list of floats and integers with one beyond 2**53, which NumPy rounds or boxes."""
    elements = np.asarray(value, dtype=object).ravel()
    if all(isinstance(element, Integral | float) for element in elements):
        for element in elements:
            if isinstance(element, Integral) and abs(int(element)) > LARGEST_INTEGER:
                raise ValueError(
                    f"{name} must hold integers of at most 2**53, which float64 keeps exactly; "
                    f"got {element}"
                )


def _float_of_integers(name: str, array: Array) -> Array:
    """Return integers as float64, which holds each of them exactly up to 2**53."""
    if array.size and (array.max() > LARGEST_INTEGER or array.min() < -LARGEST_INTEGER):
        index = first_index((array > LARGEST_INTEGER) | (array < -LARGEST_INTEGER))
        raise ValueError(
            f"{name} must hold integers of at most 2**53, which float64 keeps exactly; "
            f"got {array[index]} at {index}"
        )
    return array.astype(np.float64)


def _exact(name: str, array: Array) -> Array:
    """Return an object array whose every element is Rational and none an int.

    An int would not do: `int / int` is a float, and an np.int64 wraps.
    """
    exact = np.empty(array.shape, dtype=object)
    for index, element in enumerate(array.flat):
        if isinstance(element, Integral):
            exact.flat[index] = Fraction(int(element))
        elif isinstance(element, Rational):
            exact.flat[index] = element
        else:
            place = tuple(int(i) for i in np.unravel_index(index, array.shape))
            raise TypeError(
                f"{name} must hold exact rationals where its dtype is object; "
                f"got {type(element).__name__} at {place}"
            )
    return exact
