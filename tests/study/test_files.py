import io
import os
import resource
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refbilinear.study.files import (
    npz_bytes,
    read_npz,
    require_writable,
    staged_folder,
    write_file,
)

ARRAYS = {
    "a": np.arange(6.0).reshape(2, 3),
    "b": np.asfortranarray([[1, 2], [3, 4]]),
    "c": np.array("s"),
}


SIGNATURE = ("one", "ours")


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "file"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["file"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_file(path, b"before")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left") as failure:
        write_file(path, b"after")
    assert failure.value.filename == str(path)
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["file"]


def test_an_interrupt_while_writing_leaves_what_was_there(tmp_path, monkeypatch):
    write_file(tmp_path / "file", b"before")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", b"after")
    assert (tmp_path / "file").read_bytes() == b"before"
    assert names(tmp_path) == ["file"]


def test_a_disk_that_is_full_half_way_leaves_what_was_there(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"before")
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from refbilinear.study import save; from refbilinear import init_mlp\n"
        "save(sys.argv[1], init_mlp(0, 16, 16, 16, 16))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=False)
    assert b"OSError" in done.stderr, done.stderr
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["model.npz"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_writability_is_known_before_the_work(tmp_path):
    require_writable(tmp_path / "new")
    assert names(tmp_path) == []
    with pytest.raises(IsADirectoryError, match="name a file"):
        require_writable(tmp_path)
    with pytest.raises(FileNotFoundError):
        require_writable(tmp_path / "nowhere" / "new")


def test_a_folder_appears_whole(tmp_path):
    with staged_folder(tmp_path / "out", {"one"}, SIGNATURE) as folder:
        (folder / "one").write_text("ours")
        assert names(tmp_path) == [folder.name]
    assert names(tmp_path) == ["out"]
    with staged_folder(tmp_path / "out", {"one", "two"}, SIGNATURE) as folder:
        (folder / "two").write_text("2")
        assert names(tmp_path / "out") == ["one"]
    assert names(tmp_path / "out") == ["two"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_whose_making_fails_does_not_appear(tmp_path, error):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "one").write_text("ours, before")
    with pytest.raises(error), staged_folder(tmp_path / "out", {"one"}, SIGNATURE) as folder:
        (folder / "one").write_text("after")
        raise error
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "one").read_text() == "ours, before"


def test_a_folder_with_something_foreign_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "one").write_text("ours")
    with (
        pytest.raises(FileExistsError, match=r"notes\.txt, which this command did not write"),
        staged_folder(tmp_path, {"one"}, SIGNATURE),
    ):
        raise AssertionError("nothing may be filled")
    assert names(tmp_path) == ["notes.txt", "one"]


def test_something_foreign_that_comes_meanwhile_is_left_alone(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(FileExistsError), staged_folder(out, {"one"}, SIGNATURE) as folder:
        (folder / "one").write_text("ours")
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    assert names(out) == ["notes.txt"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(FileExistsError, match="is a file"),
        staged_folder(tmp_path / "file", {"one"}, SIGNATURE),
    ):
        raise AssertionError("nothing may be filled")


def test_an_exchange_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "one").write_text("ours, before")
    rename = type(tmp_path).rename

    def failing(self, target):
        if self.name.endswith(".partial"):
            raise OSError("cannot rename")
        return rename(self, target)

    monkeypatch.setattr(type(tmp_path), "rename", failing)
    for name in ("out", "new"):
        with (
            pytest.raises(OSError, match="cannot rename"),
            staged_folder(tmp_path / name, {"one"}, SIGNATURE),
        ):
            pass
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "one").read_text() == "ours, before"


def test_npz_comes_back_and_is_the_same_bytes_twice(tmp_path):
    path = tmp_path / "arrays.npz"
    path.write_bytes(npz_bytes(ARRAYS))
    assert npz_bytes(ARRAYS) == path.read_bytes()
    arrays = read_npz(path)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert np.array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_a_compressed_npz_is_read(tmp_path):
    np.savez_compressed(tmp_path / "c.npz", a=np.ones((100, 7)))
    assert np.array_equal(read_npz(tmp_path / "c.npz")["a"], np.ones((100, 7)))


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def archive(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


GOOD = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", bytes(8))
FOREIGN = {
    "empty": (b"", "not a zip file"),
    "text": (b"w_left = 1", "not a zip file"),
    "a single npy": (GOOD, "not a zip file"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_refused(tmp_path, name):
    content, words = FOREIGN[name]
    (tmp_path / "foreign.npz").write_bytes(content)
    with pytest.raises(ValueError, match=f"foreign.npz is not a usable .npz file: .*{words}"):
        read_npz(tmp_path / "foreign.npz")


MEMBERS = {
    "pickle": ([("a.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\n"))],
               "a holds Python objects"),
    "giant": ([("a.npy", npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**50},), }}"))],
              "claims shape"),
    "negative": ([("a.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"))],
                 "claims shape"),
    "too much data": ([("a.npy", GOOD + b"more")], "holds 12 bytes"),
    "too little data": ([("a.npy", GOOD[:-1])], "holds 7 bytes"),
    "no header": ([("a.npy", b"hello")], ""),
    "code as header": ([("a.npy", npy("__import__('os').abort()"))], ""),
    "unknown version": ([("a.npy", npy("{}", version=b"\x09\x00"))], ""),
    "text member": ([("readme.txt", b"hello")], ""),
}  # fmt: skip


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_that_is_no_array_is_refused(tmp_path, name):
    members, words = MEMBERS[name]
    with pytest.raises(ValueError, match=f"is not a usable .npz file: .*{words}"):
        read_npz(archive(tmp_path / "bad.npz", *members))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds a twice"):
        read_npz(archive(tmp_path / "bad.npz", ("a.npy", GOOD), ("a.npy", GOOD)))


def test_a_file_compressed_to_death_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    header = npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**31},), }}")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("a.npy", "w", force_zip64=True) as member:
            member.write(header)
            for _ in range(2**31 // 2**24):
                member.write(bytes(2**24))
    with pytest.raises(ValueError, match="would unpack to 2147"):
        read_npz(path)


def test_every_truncation_is_refused(tmp_path):
    content = npz_bytes({"a": np.arange(4.0)})
    path = tmp_path / "cut.npz"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="is not a usable"):
            read_npz(path)


CONTENT = npz_bytes({"a": np.arange(4.0), "b": np.ones((2, 1), np.float32)})


@given(position=st.integers(0, len(CONTENT) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_harmless(tmp_path_factory, position, bit):
    damaged = bytearray(CONTENT)
    damaged[position] ^= 1 << bit
    path = tmp_path_factory.mktemp("flip") / "a.npz"
    path.write_bytes(damaged)
    try:
        arrays = read_npz(path)
    except ValueError as error:
        assert "is not a usable" in str(error)
    else:
        read = {array.tobytes() for array in arrays.values()}
        original = {array.tobytes() for array in np.load(io.BytesIO(CONTENT)).values()}
        assert read <= original


def test_a_path_that_cannot_be_read_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "nothing.npz")
    with pytest.raises(IsADirectoryError):
        read_npz(tmp_path)
