"""The named arrays of a file, whatever its format: what a file is, its content says.

.npz, .safetensors              read here, with NumPy alone
.pt, .pth                       read by torch, where it is installed
the flat .bin of llama2.c       read here
"""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from refbilinear.spec.arrays import Array
from refbilinear.study.files import read_npz
from refbilinear.study.llama_files import HEADER_BYTES, is_llama, read_llama
from refbilinear.study.safetensors_files import is_safetensors, read_safetensors
from refbilinear.study.torch_files import read_torch

Reader = Callable[[str | os.PathLike[str]], dict[str, Array]]
PICKLES = [bytes([0x80, protocol]) for protocol in (2, 3, 4, 5)]
# Where the content does not say, the suffix does, so that the message is about what was meant.
BY_SUFFIX: dict[str, Reader] = {
    ".safetensors": read_safetensors,
    ".pt": read_torch,
    ".pth": read_torch,
    ".bin": read_llama,
}


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the named arrays of an .npz, .safetensors, .pt, .pth or llama2.c file.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of str to array

    Raises
    ------
    ValueError
        For a file that is damaged, or of none of these formats.
    ImportError
        For a file of torch where torch is not installed.
    OSError
        For a path that cannot be read.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "one.npz")
    >>> np.savez(path, a=[1, 2])
    >>> read_arrays(path)
    {'a': array([1, 2])}
    """
    return _reader(path)(path)


def _reader(path: str | os.PathLike[str]) -> Reader:
    with open(path, "rb") as file:
        head, size = file.read(HEADER_BYTES), os.fstat(file.fileno()).st_size
        if is_safetensors(head, size):
            return read_safetensors
        if is_llama(head, size):
            return read_llama
        names = _members(file) if head.startswith(b"PK\x03\x04") else []
    if head[:2] in PICKLES or any(name.endswith("data.pkl") for name in names):
        return read_torch
    if any(name.endswith(".npy") for name in names):
        return read_npz
    return BY_SUFFIX.get(Path(path).suffix.lower(), read_npz)


def _members(file: IO[bytes]) -> list[str]:
    """Return the names in a zip archive, none if it is damaged."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except Exception:  # the reader that is chosen says what is wrong
        return []
