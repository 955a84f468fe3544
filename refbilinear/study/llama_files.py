"""The flat float32 file of llama2.c: seven integers, then every tensor of a small language model.

    dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len        int32, little-endian
    the tensors below, those of one kind stacked over the layers               float32

A negative vocab_size says that the classifier's weights stand at the end; else they are those of
the embedding.
"""

import math
import os
from collections.abc import Iterator
from typing import IO

import numpy as np

from refbilinear.spec.arrays import Array

FIELDS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
HEADER_BYTES = 4 * len(FIELDS)


def is_llama(head: bytes, size: int) -> bool:
    """Return whether a file's header describes exactly as many bytes as the file has.

    Examples
    --------
    >>> header = np.array([2, 1, 1, 1, 1, 1, 1], "<i4").tobytes()
    >>> is_llama(header, len(header) + 4 * 32)
    True
    """
    return len(head) >= HEADER_BYTES and _bytes_of(head) == size


def read_llama(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the flat file of llama2.c, its tensors by the names of the llama family.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of str to array
        `model.layers.0.mlp.gate_proj.weight` and so on. Queries and keys stand in the order of
        llama2.c, where the two coordinates of a rotation are neighbours.

    Raises
    ------
    ValueError
        For a file whose header does not describe exactly its bytes.
    OSError
        For a path that cannot be read.

    References
    ----------
    Karpathy, https://github.com/karpathy/llama2.c, `legacy_export` of export.py.
    """
    with open(path, "rb") as file:
        head, size = file.read(HEADER_BYTES), os.fstat(file.fileno()).st_size
        if not is_llama(head, size):
            raise ValueError(
                f"{os.fspath(path)} is not a usable float32 file of llama2.c: its {size} bytes are "
                f"not those that its first {HEADER_BYTES} describe"
            )
        return dict(_tensors(file, head))


def _tensors(file: IO[bytes], head: bytes) -> Iterator[tuple[str, Array]]:
    """Yield each tensor, those of a layer one by one; the file stands behind the header."""
    for name, shape in _stacks(*_numbers(head)):
        stack = np.frombuffer(file.read(4 * math.prod(shape)), "<f4").reshape(shape)
        if "{}" in name:
            yield from ((name.format(number), tensor) for number, tensor in enumerate(stack))
        else:
            yield name, stack


def _numbers(head: bytes) -> list[int]:
    return [int(number) for number in np.frombuffer(head[:HEADER_BYTES], "<i4")]


def _bytes_of(head: bytes) -> int | None:
    """Return the size of the file that a header describes, None if it describes none."""
    numbers = _numbers(head)
    dim, hidden, layers, heads, kv_heads, vocabulary, length = numbers
    sizes = dim, hidden, layers, heads, kv_heads, abs(vocabulary), length
    if min(sizes) < 1 or dim % heads or heads % kv_heads:
        return None
    return HEADER_BYTES + 4 * sum(math.prod(shape) for _, shape in _stacks(*numbers))


def _stacks(
    dim: int, hidden: int, layers: int, heads: int, kv_heads: int, vocabulary: int, length: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield names and shapes in the order of the file; {} stands for the number of a layer."""
    head = dim // heads
    layer, attention, mlp = "model.layers.{}.", "self_attn.", "mlp."
    yield "model.embed_tokens.weight", (abs(vocabulary), dim)
    yield f"{layer}input_layernorm.weight", (layers, dim)
    yield f"{layer}{attention}q_proj.weight", (layers, dim, dim)
    yield f"{layer}{attention}k_proj.weight", (layers, kv_heads * head, dim)
    yield f"{layer}{attention}v_proj.weight", (layers, kv_heads * head, dim)
    yield f"{layer}{attention}o_proj.weight", (layers, dim, dim)
    yield f"{layer}post_attention_layernorm.weight", (layers, dim)
    yield f"{layer}{mlp}gate_proj.weight", (layers, hidden, dim)
    yield f"{layer}{mlp}down_proj.weight", (layers, dim, hidden)
    yield f"{layer}{mlp}up_proj.weight", (layers, hidden, dim)
    yield "model.norm.weight", (dim,)
    yield "freq_cis_real", (length, head // 2)
    yield "freq_cis_imag", (length, head // 2)
    if vocabulary < 0:
        yield "lm_head.weight", (abs(vocabulary), dim)
