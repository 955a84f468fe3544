"""Files that are whole or not there: written beside, then renamed; read with nothing trusted."""

import math
import os
import shutil
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from refbilinear.spec.arrays import Array

# A file may grow this much when it is unpacked (weights hardly do), or up to the size below.
LARGEST_EXPANSION = 20
ALWAYS_ALLOWED_BYTES = 2**30
NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that `path` holds all of the content, or what it held before."""
    path = Path(path).resolve()
    partial = _beside(path, "partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:  # of a full disk, which names no file
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def require_writable(path: str | os.PathLike[str]) -> None:
    """Raise OSError now if `write_file` could not write here later."""
    path = Path(path).resolve()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file")
    _require_parent(path)
    partial = _beside(path, "partial")
    partial.touch()
    partial.unlink()


@contextmanager
def staged_folder(
    path: str | os.PathLike[str], names: Collection[str], signature: tuple[str, str]
) -> Iterator[Path]:
    """Give a new folder to fill, which takes the place of `path` as a whole when all went well.

    Parameters
    ----------
    path : path
        May exist as an empty folder, or as one that the same command wrote before.
    names : collection of str
        The names that the caller writes.
    signature : (str, str)
        A name, and a text that this file holds in every folder that the caller writes.

    Yields
    ------
    pathlib.Path
        The folder beside `path`. Whatever is raised while it is filled removes it and leaves
        `path` as it was.

    Raises
    ------
    FileExistsError
        Where `path` is a file, the working folder or one above it, or holds what is not ours.
    OSError
        Where the folder cannot be made.
    """
    target = Path(path).resolve()
    _require_parent(target)
    _require_replaceable(target, names, signature)
    staged = _beside(target, "partial")
    staged.mkdir()
    try:
        yield staged
        _require_replaceable(target, names, signature)
        _exchange(staged, target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def npz_bytes(arrays: dict[str, Array]) -> bytes:
    """Return an uncompressed .npz, the same bytes for the same arrays."""
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def read_npz(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read an .npz from anyone: no pickle, no size believed before it is checked.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of str to array

    Raises
    ------
    ValueError
        For a file that is no .npz, is truncated or damaged, holds Python objects, names an array
        twice, or claims sizes that do not fit.
    OSError
        For a path that cannot be read.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                require_bounded(archive, os.fstat(file.fileno()).st_size)
                return _read_members(archive)
        except Exception as error:  # a file from anyone may make any parser raise anything
            raise ValueError(f"{os.fspath(path)} is not a usable .npz file: {error}") from error


def require_bounded(archive: zipfile.ZipFile, packed: int) -> None:
    """Raise ValueError for an archive that would unpack to far more than weights do."""
    unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > max(LARGEST_EXPANSION * packed, ALWAYS_ALLOWED_BYTES):
        raise ValueError(f"its {packed} bytes would unpack to {unpacked}")


def _beside(path: Path, role: str) -> Path:
    """Return a hidden name in the same folder, this process's own."""
    return path.with_name(f".{path.name}.{os.getpid()}.{role}")


def _require_parent(path: Path) -> None:
    if not path.parent.exists():
        raise FileNotFoundError(f"the folder {path.parent} does not exist")


def _require_replaceable(target: Path, names: Collection[str], signature: tuple[str, str]) -> None:
    """Raise FileExistsError if something stands at `target` that may not be replaced."""
    if target in (Path.cwd(), *Path.cwd().parents):
        raise FileExistsError(f"{target} is the working folder, or above it: name another folder")
    if not target.exists():
        return
    if not target.is_dir():
        raise FileExistsError(f"{target} is a file: name a folder that is new, or one of ours")
    held = {entry.name for entry in target.iterdir()}
    name, text = signature
    signed = name in held and text in (target / name).read_text("utf-8", errors="replace")
    foreign = sorted(held if not signed else held - set(names))
    if foreign:
        raise FileExistsError(
            f"{target} holds {foreign[0]}, which this command did not write: name another folder"
        )


def _exchange(staged: Path, target: Path) -> None:
    """Put a folder in the place of another; if that fails, put the other back."""
    before = _beside(target, "before")
    try:
        if target.exists():
            target.rename(before)
        staged.rename(target)
    except BaseException:
        if before.exists():
            before.rename(target)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _read_members(archive: zipfile.ZipFile) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in arrays:
            raise ValueError(f"it holds {name} twice")
        with archive.open(info) as member:
            arrays[name] = _read_array(member, name, info.file_size)
    return arrays


def _read_array(member: IO[bytes], name: str, size: int) -> Array:
    """Read one .npy after checking that its header describes exactly the bytes that follow."""
    read_header = NPY_HEADERS[np.lib.format.read_magic(member)]
    shape, fortran, dtype = read_header(member)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which are never loaded")
    rest = size - member.tell()
    if math.prod(shape) * dtype.itemsize != rest:
        raise ValueError(f"{name} claims shape {shape} of {dtype} but holds {rest} bytes")
    flat = np.frombuffer(member.read(), dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
