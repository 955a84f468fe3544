"""What `torch.save(model.state_dict(), …)` writes, read by torch itself without running code."""

import os
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from refbilinear.spec.arrays import Array
from refbilinear.study.extras import need
from refbilinear.study.files import require_bounded

# In older ones a file could run code in spite of weights_only (CVE-2025-32434, CVE-2026-24747).
OLDEST_TORCH = (2, 10)
ADVICE = "save model.state_dict(), or write it as .safetensors"
REFUSED = re.compile(
    r"(Unsupported|Trying to load unsupported)\b.*?(?= was not|\. |\.?$)", re.MULTILINE
)


def read_torch(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the tensors of a .pt or .pth file, those of nested dictionaries by dotted names.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of str to array
        bfloat16 and float16 as float32, which holds each of their numbers.

    Raises
    ------
    ImportError
        Where torch is not installed, or is one that a file can make run code.
    ValueError
        For a file that holds more than tensors, numbers, texts and their containers, that is no
        dictionary, or that is damaged.
    OSError
        For a path that cannot be read.
    """
    torch = need("torch", f"reading {os.fspath(path)}", "pip install torch")
    _require_safe(torch.__version__)
    with open(path, "rb") as file:
        try:
            _require_moderate(file)
            held = torch.load(file, map_location="cpu", weights_only=True)
            return _arrays(torch, held)
        except Exception as error:  # a file from anyone may make any parser raise anything
            words = f"{os.fspath(path)} is not a usable file of tensors: {_reason(error)}: {ADVICE}"
            raise ValueError(words) from error


def _require_safe(version: str) -> None:
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise ImportError(
            f"torch must be {oldest} or newer, because a file can make older ones run code; got "
            f"{version}: pip install --upgrade torch, or write the arrays as .safetensors"
        )


def _require_moderate(file: Any) -> None:
    """Raise ValueError for an archive that would unpack to far more than it holds."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            require_bounded(archive, os.fstat(file.fileno()).st_size)
    file.seek(0)


def _arrays(torch: Any, held: Any) -> dict[str, Array]:
    if not isinstance(held, dict):
        raise ValueError(f"it must hold a dictionary; it holds {type(held).__name__}")  # noqa: TRY004
    arrays: dict[str, Array] = {}
    for name, tensor in _tensors(torch, held):
        if name in arrays:
            raise ValueError(f"it holds {name} twice")
        arrays[name] = _array(torch, name, tensor)
    return arrays


def _tensors(torch: Any, held: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the tensors of nested dictionaries, each dictionary once: a file may hold a cycle."""
    waiting, seen = [("", held)], {id(held)}
    while waiting:
        prefix, entries = waiting.pop(0)
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                yield f"{prefix}{key}", value
            elif isinstance(value, dict) and id(value) not in seen:
                seen.add(id(value))
                waiting.append((f"{prefix}{key}.", value))


def _array(torch: Any, name: str, tensor: Any) -> Array:
    """Return a tensor as an array after checking that its numbers are there."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise ValueError(f"{name} is stored as {tensor.layout} on {tensor.device}, not as numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"{name} claims shape {tuple(tensor.shape)}, more than is stored")
    half = tensor.dtype in (torch.bfloat16, torch.float16)
    array: Array = (tensor.float() if half else tensor).detach().numpy()
    return array


def _reason(error: Exception) -> str:
    """Return what torch refused, without its advice to read the file all the same."""
    refused = REFUSED.search(str(error))
    return refused[0] if refused else str(error)[:80] or type(error).__name__
