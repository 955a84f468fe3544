"""Files of other code, small: written byte by byte where no library is needed."""

import json
import struct

CODES = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "<i4": "I32", "|u1": "U8", "|b1": "BOOL"}  # fmt: skip


def with_header(header, data=b""):
    """Return a .safetensors file of a header, given as JSON or as bytes, and the bytes behind it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def safetensors_bytes(arrays):
    """Return a .safetensors file."""
    header, data = {"__metadata__": {"format": "np"}}, b""
    for name, array in arrays.items():
        begin, data = len(data), data + array.tobytes()
        offsets = [begin, len(data)]
        code = CODES[array.dtype.str]
        header[name] = {"dtype": code, "shape": array.shape, "data_offsets": offsets}
    return with_header(header, data)


def llama_header(dim=4, hidden=3, layers=2, heads=2, kv_heads=1, vocabulary=5, length=6):
    return struct.pack("<7i", dim, hidden, layers, heads, kv_heads, vocabulary, length)


def llama_bytes(tensors, **numbers):
    """Return a file as llama2.c's `legacy_export` writes it, of tensors in that order."""
    return llama_header(**numbers) + b"".join(t.astype("<f4").tobytes() for t in tensors)
