"""What a file from anyone may hold: bounded, parsed with nothing trusted, each value checked.

Sizes are bounded before anything is parsed, shapes multiplied out before an array is made. Every
refusal is a ValueError that names the place in the file. Numbers are integers or C99 hexadecimal
floats, so that no reader rounds:

    3, "0x1.8p+1", "nan", "inf", "-inf"
"""

import json
import math
import os
import re
import stat
import struct
from collections.abc import Callable, Collection, Iterator
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

from refbilinear.spec.arrays import LARGEST_INTEGER, Array

LARGEST_FILE = 2**22
LARGEST_ID = 10**6
MOST_AXES = 3
LONGEST_TEXT = 400

DTYPES: dict[str, Any] = {"f64": np.float64, "f32": np.float32, "i64": np.int64}
PRECISION = {"f64": 53, "f32": 24}
NUMBER = re.compile(r"-?0x[01](\.[0-9a-f]{1,13})?p[+-][0-9]{1,4}|nan|-?inf")
DECIMAL = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,4})?")
SPELT = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,40}")
WHOLE = re.compile(r"-?[0-9]{1,19}")
# A pipe in the place of a file is opened, and then refused, rather than waited for.
NO_WAITING = getattr(os, "O_NONBLOCK", 0)

Parsed = TypeVar("Parsed")
ReadNumber = Callable[[str, Any, str], int | float]


def read_bounded(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a regular file of at most 4 MiB that is no symbolic link."""
    if os.path.islink(path):
        raise ValueError(f"{os.fspath(path)} is a symbolic link")
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | NO_WAITING)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{os.fspath(path)} is no regular file")
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"{os.fspath(path)} is larger than {LARGEST_FILE} bytes")
    return content


def read_with(path: str | os.PathLike[str], parser: Callable[[bytes], Parsed]) -> Parsed:
    """Return what a parser makes of a file; what it refuses, it refuses with the file's name."""
    content = read_bounded(path)
    try:
        return parser(content)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def encode(number: Fraction | float) -> int | str:
    """Return a number as it stands in a file: an integer of at most 2**53, or hexadecimal.

    Raises
    ------
    ValueError
        For a rational that is no float64.

    Examples
    --------
    >>> encode(Fraction(3, 2)), encode(-4.0), encode(-0.0), encode(float("nan"))
    ('0x1.8p+0', -4, '-0x0p+0', 'nan')
    """
    value = float(number)
    if not math.isfinite(value):
        return str(value)
    if Fraction(value) != number:
        raise ValueError(f"{number} is no float64")
    negative_zero = value == 0 and math.copysign(1, value) < 0
    if value.is_integer() and abs(value) <= LARGEST_INTEGER and not negative_zero:
        return int(value)
    mantissa, exponent = value.hex().split("p")
    mantissa = mantissa.rstrip("0").removesuffix(".")
    return f"{mantissa}p{exponent}"


def encode_array(array: Array, dtype: str) -> dict[str, Any]:
    """Return an array as it stands in a file."""
    values = np.asarray(array, dtype=object)
    data = [encode(number) for number in values.ravel().tolist()]
    return {"dtype": dtype, "shape": list(values.shape), "data": data}


# ---- JSON with nothing trusted


def parse_json(content: bytes, *, decimals: bool = False) -> Any:
    """Return what JSON holds, refusing keys that are twice, NaN literals and, mostly, decimals.

    Examples
    --------
    >>> parse_json(b"[1, NaN]")
    Traceback (most recent call last):
    ValueError: NaN must be written as a string, such as "nan" or "-inf"
    """
    if len(content) > LARGEST_FILE:
        raise ValueError(f"the file is larger than {LARGEST_FILE} bytes")
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_literal,
            parse_float=float if decimals else _no_fraction,
            parse_int=_short_integer,
        )
    except RecursionError as error:
        raise ValueError("the file is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held: dict[str, Any] = {}
    for key, value in pairs:
        if key in held:
            raise ValueError(f'an object holds the key "{short(key)}" twice')
        held[key] = value
    return held


def _no_literal(literal: str) -> float:
    raise ValueError(f'{literal} must be written as a string, such as "nan" or "-inf"')


def _no_fraction(literal: str) -> float:
    raise ValueError(f"{short(literal)} must be an integer or a hexadecimal float in a string")


def _short_integer(literal: str) -> int:
    if len(literal) > 25:
        raise ValueError(f"{short(literal)} is too long for an integer")
    return int(literal)


def short(value: object) -> str:
    """Return a value as text of at most 40 characters, for a message; of a container its type."""
    spelt = str(value) if isinstance(value, str | int | float) else type(value).__name__
    return spelt if len(spelt) <= 40 else f"{spelt[:40]}…"


# ---- checks of one value, each of which names the place and returns the value


def kind(where: str, value: Any, wanted: type | tuple[type, ...], name: str) -> None:
    """Raise ValueError unless a value is of a type; a bool is no integer."""
    if not isinstance(value, wanted) or isinstance(value, bool):
        got = type(value).__name__
        raise ValueError(f"{where} must be {name}; got {got}")  # noqa: TRY004


def record(
    where: str, value: Any, required: Collection[str], optional: Collection[str] = ()
) -> None:
    """Raise ValueError unless a value is an object with these keys and no others."""
    kind(where, value, dict, "an object")
    for key in required:
        if key not in value:
            raise ValueError(f"{where} must hold {key}")
    for key in value:
        if key not in required and key not in optional:
            raise ValueError(f"{where} holds the unknown key {short(key)}")


def entries(where: str, value: Any) -> Iterator[tuple[int, Any]]:
    """Yield the numbered entries of a list."""
    kind(where, value, list, "a list")
    return enumerate(value)


def members(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys, which must be names, and values of an object."""
    kind(where, value, dict, "an object")
    for key, held in value.items():
        yield word(f"a key of {where}", key), held


def text(where: str, value: Any) -> str:
    """Return a short printable string."""
    kind(where, value, str, "a string")
    if len(value) > LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"{where} must be printable and of at most {LONGEST_TEXT} characters")
    return str(value)


def match(where: str, value: Any, pattern: re.Pattern[str]) -> str:
    """Return a string of a pattern."""
    found = text(where, value)
    if not pattern.fullmatch(found):
        raise ValueError(f"{where} must match {pattern.pattern}; got {short(found)}")
    return found


def word(where: str, value: Any) -> str:
    """Return a name: a letter, then letters, digits, dots and underscores."""
    return match(where, value, NAME)


def words(where: str, value: Any) -> tuple[str, ...]:
    """Return the names of a list."""
    return tuple(word(where, one) for _, one in entries(where, value))


def one_of(where: str, value: Any, choices: Collection[str]) -> str:
    """Return one of a few strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{where} must be one of {', '.join(choices)}; got {short(value)}")
    return value


def equal(where: str, value: Any, wanted: str) -> None:
    """Raise ValueError unless a value is a certain string."""
    if value != wanted:
        raise ValueError(f"{where} must be {wanted}; got {short(value)}")


def integer(where: str, value: Any, least: int, most: int) -> int:
    """Return an integer of a range."""
    kind(where, value, int, "an integer")
    if not least <= value <= most:
        raise ValueError(f"{where} must lie in {least}..{most}; got {value}")
    return int(value)


def tc_id(where: str, value: Any) -> int:
    """Return the id of a test."""
    return integer(f"{where}, tcId", value, 1, LARGEST_ID)


def natural(where: str, token: str) -> int:
    """Return the whole number of a token of flat text."""
    if not re.fullmatch("[0-9]{1,7}", token):
        raise ValueError(f"{where} must hold a whole number; got {short(token)}")
    return int(token)


# ---- arrays


def array(where: str, value: Any, number: ReadNumber) -> Array:
    """Return an array whose shape was multiplied out before anything was made of its data."""
    record(where, value, ("dtype", "shape", "data"))
    dtype = one_of(f"{where}.dtype", value["dtype"], DTYPES)
    place = f"{where}.shape"
    shape = [integer(place, n, 0, LARGEST_ID) for _, n in entries(place, value["shape"])]
    kind(f"{where}.data", value["data"], list, "a list")
    return filled(where, dtype, shape, value["data"], number)


def filled(where: str, dtype: str, shape: list[int], data: list[Any], number: ReadNumber) -> Array:
    """Return an array of a shape from values that `number` reads one by one."""
    if len(shape) > MOST_AXES:
        raise ValueError(f"{where} must have at most {MOST_AXES} axes; got {len(shape)}")
    size = math.prod(shape)
    if size != len(data):
        raise ValueError(f"{where} of shape {shape} must hold {size} numbers; got {len(data)}")
    values = [number(f"{where}[{i}]", one, dtype) for i, one in enumerate(data)]
    return np.array(values, DTYPES[dtype]).reshape(shape)


def strict_number(where: str, value: Any, dtype: str) -> int | float:
    """Return an integer of at most 2**53, or a hexadecimal float, that the dtype holds as it is."""
    number = _of_hex(where, value) if isinstance(value, str) else _moderate(where, value)
    if dtype == "i64":
        return _moderate(where, number)
    if dtype == "f32" and not _is_single(number):
        raise ValueError(f"{where} = {number} is no float32")
    return number


def free_number(where: str, value: Any, dtype: str) -> int | float:
    """Return a number of a result, which may also be decimal: the nearest of its dtype."""
    if isinstance(value, str) and SPELT.fullmatch(value):
        return float(value)
    if isinstance(value, str) or dtype == "i64":
        return strict_number(where, value, dtype)
    kind(where, value, (int, float), "a number")
    with np.errstate(over="ignore", under="ignore"):
        nearest = float(DTYPES[dtype](value))
    if not math.isfinite(nearest):
        raise ValueError(f"{where} = {value} is beyond the range of {dtype}")
    return nearest


def free_token(where: str, token: str, dtype: str) -> int | float:
    """Return the number of a token of flat text: whole, decimal or hexadecimal."""
    if WHOLE.fullmatch(token):
        return free_number(where, int(token), dtype)
    return free_number(where, float(token) if DECIMAL.fullmatch(token) else token, dtype)


def _moderate(where: str, value: Any) -> int:
    return integer(where, value, -LARGEST_INTEGER, LARGEST_INTEGER)


def _of_hex(where: str, token: str) -> float:
    if not NUMBER.fullmatch(token):
        raise ValueError(
            f"{where} must be a hexadecimal float, nan, inf or -inf; got {short(token)}"
        )
    try:
        return float.fromhex(token)
    except OverflowError as error:
        raise ValueError(f"{where} = {token} is beyond the range of f64") from error


def _is_single(number: float) -> bool:
    """Whether float32 holds a number as it is."""
    try:
        (again,) = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError:
        return False
    return bool(again == number) or math.isnan(number)
