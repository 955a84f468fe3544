import gzip
import os
import struct
import tracemalloc

import numpy as np
import pytest

from refbilinear.study import read_idx
from refbilinear.study.idx import LARGEST_UNPACKED_BYTES

TYPES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}
NUMBERS = np.arange(-7, 23).reshape(5, 3, 2)
HELD = NUMBERS.astype(np.int16)


def idx(array, *, sizes=None, kind=None):
    sizes = array.shape if sizes is None else sizes
    kind = TYPES[array.dtype.name] if kind is None else kind
    head = bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


CONTENTS = {"plain": idx(HELD), "gzip": gzip.compress(idx(HELD), mtime=0)}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_comes_back_in_native_order(tmp_path, dtype, pack):
    array = np.abs(NUMBERS).astype(dtype) if dtype == "uint8" else NUMBERS.astype(dtype)
    (tmp_path / "array").write_bytes(pack(idx(array)))
    read = read_idx(tmp_path / "array")
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    assert np.array_equal(read, array)
    read[0] = 0


@pytest.mark.parametrize("shape", [(7,), (1, 2, 1, 3, 1, 1, 1, 2), (0, 28, 26), (0,)])
def test_one_to_eight_axes_also_empty(tmp_path, shape):
    (tmp_path / "array").write_bytes(idx(np.ones(shape, np.float32)))
    assert np.array_equal(read_idx(tmp_path / "array"), np.ones(shape))


def test_content_decides_not_the_name(tmp_path):
    (tmp_path / "a.gz").write_bytes(idx(HELD))
    assert np.array_equal(read_idx(tmp_path / "a.gz"), HELD)


GIANT = bytes([0, 0, 8, 8]) + b"\xff" * 32
REFUSED = {
    "empty": (b"", "it begins with nothing"),
    "text": (b"label,pixel", "it begins with 6c 61 62 65"),
    "half a magic": (b"\0\0\x08", "it begins with 00 00 08"),
    "second byte": (b"\0\1" + idx(HELD)[2:], "it begins with 00 01 0b 03"),
    "unknown type": (idx(HELD, kind=10), "a type from 08 to 0e; it begins with 00 00 0a 03"),
    "no axes": (bytes([0, 0, 8, 0, 5]), "1 to 8 axes; its header claims 0"),
    "nine axes": (bytes([0, 0, 8, 9]) + bytes(36), "1 to 8 axes; its header claims 9"),
    "half the sizes": (idx(HELD)[:14], "ends within the sizes of its 3 axes"),
    "one byte less": (idx(HELD)[:-1], r"shape \(5, 3, 2\) of int16, 60 bytes; 59 follow"),
    "one byte more": (idx(HELD) + b"\0", r"shape \(5, 3, 2\) of int16, 60 bytes; more follow"),
    "giant": (GIANT, "where at most 36 can be"),
    "wide": (idx(HELD, sizes=(2**31, 3)), "where at most 72 can be"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_idx_file_is_refused_with_its_path(tmp_path, name):
    content, words = REFUSED[name]
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(ValueError, match=f"bad is not a usable IDX file: .*{words}"):
        read_idx(tmp_path / "bad")


PACKED = CONTENTS["gzip"]
DAMAGED = {
    "a header alone": (PACKED[:10], "ended before"),
    "no end": (PACKED[:-8], "ended before"),
    "data": (PACKED[:12] + b"\xff" * 9 + PACKED[21:], ""),
    "checksum": (PACKED[:-8] + bytes(8), "CRC check failed"),
    "trailing text": (PACKED + b"more", "Not a gzipped file"),
    "a second member": (PACKED + gzip.compress(b"more"), "more follow"),
    "less inside": (gzip.compress(idx(HELD)[:-1]), "60 bytes; 59 follow"),
    "more inside": (gzip.compress(idx(HELD) + b"\0"), "60 bytes; more follow"),
    "nothing inside": (gzip.compress(b""), "begins with nothing"),
    "giant": (gzip.compress(GIANT), f"where at most {LARGEST_UNPACKED_BYTES} can be"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_gzip_that_is_damaged_is_refused_with_its_path(tmp_path, name):
    content, words = DAMAGED[name]
    (tmp_path / "bad.gz").write_bytes(content)
    with pytest.raises(ValueError, match=f"bad.gz is not a usable IDX file: .*{words}"):
        read_idx(tmp_path / "bad.gz")


CLAIMS = {
    "claims little, unpacks to much": (b"\0\0\x08\x01\0\0\0\x0a" + bytes(2**25), "more follow"),
    "claims much, holds little": (
        b"\0\0\x08\x01" + struct.pack(">I", LARGEST_UNPACKED_BYTES) + b"abc", "; 3 follow"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_costs_no_memory(tmp_path, name):
    content, words = CLAIMS[name]
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(content, compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=words):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", CONTENTS)
def test_every_truncation_is_refused(tmp_path, form):
    path = tmp_path / "cut"
    for length in range(len(CONTENTS[form])):
        path.write_bytes(CONTENTS[form][:length])
        with pytest.raises(ValueError, match="cut is not a usable IDX file: "):
            read_idx(path)


@pytest.mark.parametrize("form", CONTENTS)
def test_every_flipped_bit_is_refused_or_harmless(tmp_path, form):
    """A plain file has no checksum: a flip in its numbers, or to a type as wide, is not seen."""
    path = tmp_path / "flipped"
    for bit in range(8 * len(CONTENTS[form])):
        damaged = bytearray(CONTENTS[form])
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            read = read_idx(path)
        except ValueError as error:
            assert "flipped is not a usable IDX file: " in str(error)
        else:
            assert read.nbytes == HELD.nbytes
            assert form == "plain" or np.array_equal(read, HELD)


def test_a_path_that_cannot_be_read_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(os.fspath(tmp_path / "nothing"))
    with pytest.raises(IsADirectoryError):
        read_idx(tmp_path)
