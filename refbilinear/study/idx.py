"""IDX files, in which MNIST and its kin are published: one array each, plain or gzip."""

import gzip
import math
import os
import zlib
from io import BufferedReader

import numpy as np

from refbilinear.spec.arrays import Array

Stream = BufferedReader | gzip.GzipFile

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_AXES = 8
# A gzip does not say what it unpacks to; MNIST unpacks to 47 MB.
LARGEST_UNPACKED_BYTES = 2**28
GZIP = b"\x1f\x8b"
CHUNK_BYTES = 2**20


def read_idx(path: str | os.PathLike[str]) -> Array:
    """Read an IDX file from anyone, plain or gzip, whatever it is called.

    Parameters
    ----------
    path : path

    Returns
    -------
    array
        Of the file's shape and number type (uint8, int8, int16, int32, float32 or float64), in
        this machine's byte order.

    Raises
    ------
    ValueError
        For a file that is no IDX file, is truncated or damaged, holds more or less than its header
        claims, or is a gzip that claims more than 256 MiB.
    OSError
        If the file cannot be read.

    References
    ----------
    LeCun, Cortes and Burges, "The MNIST database of handwritten digits", which describes the
    format: 0, 0, type, number of axes; each axis as a big-endian uint32; the numbers, big-endian.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    with open(path, "rb") as file:
        try:
            if file.peek(len(GZIP)).startswith(GZIP):
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _read(unpacked, LARGEST_UNPACKED_BYTES)
            return _read(file, os.fstat(file.fileno()).st_size)
        except (EOFError, ValueError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{os.fspath(path)} is not a usable IDX file: {error}") from error


def _read(stream: Stream, most: int) -> Array:
    """Read an array of at most so many bytes, believing no size before it is compared with them."""
    dtype, shape = _read_header(stream)
    size = math.prod(shape) * dtype.itemsize
    claim = f"its header claims shape {shape} of {dtype.name}, {size} bytes"
    if size > most:
        raise ValueError(f"{claim}, where at most {most} can be")
    data = _read_at_most(stream, size + 1)
    if len(data) != size:
        raise ValueError(f"{claim}; {'more' if len(data) > size else len(data)} follow")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: Stream) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES:
        begins = magic.hex(" ") or "nothing"
        raise ValueError(f"it must begin with 00 00, a type from 08 to 0e; it begins with {begins}")
    if not 1 <= magic[3] <= MOST_AXES:
        raise ValueError(f"it must have 1 to {MOST_AXES} axes; its header claims {magic[3]}")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError(f"it ends within the sizes of its {magic[3]} axes")
    return np.dtype(DTYPES[magic[2]]), tuple(np.frombuffer(sizes, ">u4").tolist())


def _read_at_most(stream: Stream, size: int) -> bytearray:
    """Read in chunks: one read of `size` bytes would allocate them before they are there."""
    data = bytearray()
    while chunk := stream.read(min(CHUNK_BYTES, size - len(data))):
        data += chunk
    return data
