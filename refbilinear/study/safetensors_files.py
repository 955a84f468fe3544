"""Files of the .safetensors format: a header of JSON, then the bytes of every array.

    8 bytes      the length of the header, little-endian
    header       {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
    the rest     each array's bytes, little-endian, rows first, without gap or overlap

The format is small enough to be read here with nothing trusted. F16 and BF16 become float32, which
holds each of their numbers.
"""

import json
import math
import os
from typing import IO, Any, NamedTuple

import numpy as np

from refbilinear.spec.arrays import Array

LARGEST_HEADER = 2**24
MOST_AXES = 32
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


class Entry(NamedTuple):
    """Where an array stands behind the header, in bytes, and what it is."""

    begin: int
    end: int
    name: str
    dtype: str
    shape: tuple[int, ...]


def is_safetensors(head: bytes, size: int) -> bool:
    """Return whether a file of a size that begins with these bytes can be of this format.

    Examples
    --------
    >>> is_safetensors(bytes([2, 0, 0, 0, 0, 0, 0, 0]) + b"{}", 10)
    True
    """
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and length <= min(LARGEST_HEADER, size - 8)


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read a .safetensors file from anyone: no size is believed before it is checked.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of str to array
        F16 and BF16 as float32, the other types as they are.

    Raises
    ------
    ValueError
        For a file that is not of the format, is truncated or damaged, names an array twice, has
        arrays that overlap or do not fill it, or are of a type that NumPy lacks.
    OSError
        For a path that cannot be read.

    References
    ----------
    https://huggingface.co/docs/safetensors, "Format".
    """
    with open(path, "rb") as file:
        try:
            entries = _entries(file, os.fstat(file.fileno()).st_size)
            return {entry.name: _array(file, entry) for entry in entries}
        except Exception as error:  # a file from anyone may make any parser raise anything
            words = f"{os.fspath(path)} is not a usable .safetensors file: {error}"
            raise ValueError(words) from error


def widened(array: Array) -> Array:
    """Return float16 as float32, which holds each of its numbers; any other type as it is.

    Examples
    --------
    >>> widened(np.array([0.1], np.float16))
    array([0.09997559], dtype=float32)
    """
    half = array.dtype.kind == "f" and array.dtype.itemsize == 2
    return array.astype(np.float32) if half else array


def _entries(file: IO[bytes], size: int) -> list[Entry]:
    """Return the arrays in the order of their bytes, after checking that these fill the file."""
    head = file.read(9)
    if not is_safetensors(head, size):
        raise ValueError("it must begin with the length of a header that begins with {")
    length = int.from_bytes(head[:8], "little")
    file.seek(8)
    header = _parsed(file.read(length))
    _require_texts(header.pop("__metadata__", {}))
    entries = sorted(_entry(name, about) for name, about in header.items())
    _require_contiguous(entries, size - 8 - length)
    return entries


def _parsed(header: bytes) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(header.decode("utf-8"), object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    return parsed


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"its header names {next(n for n in held if names.count(n) > 1)} twice")
    return held


def _require_texts(metadata: Any) -> None:
    texts = isinstance(metadata, dict) and all(isinstance(t, str) for t in metadata.values())
    if not texts:
        raise ValueError("its __metadata__ must map texts to texts")


def _entry(name: str, about: Any) -> Entry:
    if not isinstance(about, dict) or about.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name} must have dtype, shape and data_offsets, and nothing else")
    dtype, shape = about["dtype"], _integers(name, "shape", about["shape"])
    offsets = _integers(name, "data_offsets", about["data_offsets"])
    if len(offsets) != 2:
        raise ValueError(f"{name} must have two data_offsets; it has {len(offsets)}")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{name} is of type {str(dtype)[:20]}; read are {', '.join(DTYPES)}")
    begin, end = offsets
    if math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize != end - begin:
        raise ValueError(f"{name} claims shape {shape} of {dtype} but holds {end - begin} bytes")
    return Entry(begin, end, name, dtype, shape)


def _integers(name: str, what: str, values: Any) -> tuple[int, ...]:
    """Return a short list of integers from 0; a bool is none."""
    if not isinstance(values, list) or len(values) > MOST_AXES:
        raise ValueError(f"the {what} of {name} must be a list of at most {MOST_AXES} integers")
    for value in values:
        if type(value) is not int or not 0 <= value < 2**63:
            raise ValueError(f"the {what} of {name} must be integers from 0; got {value!r:.20}")
    return tuple(values)


def _require_contiguous(entries: list[Entry], size: int) -> None:
    """Raise ValueError unless each array begins where the one before ends, the last at the end."""
    end = 0
    for entry in entries:
        if entry.begin != end:
            raise ValueError(f"{entry.name} begins at byte {entry.begin}, not {end} as it must")
        end = entry.end
    if end != size:
        raise ValueError(f"its arrays fill {end} bytes; {size} stand behind its header")


def _array(file: IO[bytes], entry: Entry) -> Array:
    """Read the next array; the file stands at its first byte."""
    flat = np.frombuffer(file.read(entry.end - entry.begin), DTYPES[entry.dtype])
    if entry.dtype == "BF16":  # the upper half of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return widened(flat).reshape(entry.shape)
