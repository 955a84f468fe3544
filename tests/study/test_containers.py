import json
import math
import os
import pickle
import struct
import sys
import warnings
import zipfile

import numpy as np
import pytest

from foreign import llama_bytes, llama_header, safetensors_bytes, with_header
from refbilinear.study import files
from refbilinear.study.containers import read_arrays
from refbilinear.study.torch_files import _require_safe

RNG = np.random.default_rng(7)
ARRAYS = {
    "w": RNG.standard_normal((2, 3)).astype(np.float32),
    "b": RNG.standard_normal(5),
    "n": np.arange(7),
    "u": np.arange(4, dtype=np.uint8).reshape(2, 2, 1),
    "t": np.array([True, False]),
    "one": np.array(3, np.int32),
    "none": np.ones((0, 2), np.float32),
}


def write(path, content):
    path.write_bytes(content)
    return path


def same(got, want):
    assert got.keys() == want.keys()
    for name, array in want.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape), name
        assert got[name].tobytes() == array.tobytes(), name


# ---- .safetensors


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt", ".bin", ""])
def test_safetensors_are_read_whatever_the_suffix(tmp_path, suffix):
    same(read_arrays(write(tmp_path / f"a{suffix}", safetensors_bytes(ARRAYS))), ARRAYS)


def test_what_the_library_writes_is_read(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="needs safetensors")
    library.save_file(ARRAYS, tmp_path / "a.safetensors", {"format": "np"})
    same(read_arrays(tmp_path / "a.safetensors"), ARRAYS)


def test_halves_are_widened_exactly(tmp_path):
    codes = np.arange(2**16, dtype=np.uint16)
    path = write(tmp_path / "a", safetensors_bytes({"h": codes.view(np.float16)}))
    got = read_arrays(path)["h"]
    assert got.dtype == np.float32
    for code, number in zip(codes.tolist(), got.tolist(), strict=True):
        (want,) = struct.unpack("<e", struct.pack("<H", code))
        assert number == want or (math.isnan(number) and math.isnan(want))


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    codes = np.array([0x3F80, 0xC000, 0x7F80, 0x0001, 0x8000, 0x3EAB], "<u2")
    header = {"b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}
    got = read_arrays(write(tmp_path / "a", with_header(header, codes.tobytes())))["b"]
    assert got.dtype == np.float32
    want = [[1, -2, math.inf], [math.ldexp(1, -133), -0.0, 0xAB / 512]]
    assert got.tolist() == want
    assert math.copysign(1, got[1, 1]) == -1


def test_bfloat16_of_torch_is_read(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch")
    library = pytest.importorskip("safetensors.torch", reason="needs safetensors")
    halves = {"a": torch.randn(3, 5).bfloat16(), "b": torch.randn(7).half()}
    library.save_file(halves, tmp_path / "a.safetensors")
    torch.save(halves, tmp_path / "a.pt")
    want = {name: tensor.float().numpy() for name, tensor in halves.items()}
    same(read_arrays(tmp_path / "a.safetensors"), want)
    same(read_arrays(tmp_path / "a.pt"), want)


def entry(dtype="F32", shape=(1,), offsets=(0, 4), **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets} | more


TWICE = b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
HEADERS = {
    "a list": (b"[]", 0, "begins with {"),
    "no JSON": (b"{a", 0, "Expecting property name"),
    "no UTF-8": (b'{"\xff": 1}', 0, "utf-8"),
    "deep": (b'{"a": ' + b"[" * 10**5, 0, "nested too deeply"),
    "long number": (b'{"a": ' + b"1" * 5000 + b"}", 0, "4300"),
    "twice": (TWICE, 4, "names dtype twice"),
    "metadata": ({"__metadata__": {"a": 1}}, 0, "must map texts to texts"),
    "metadata list": ({"__metadata__": []}, 0, "must map texts to texts"),
    "number": ({"a": 1}, 0, "a must have dtype, shape and data_offsets"),
    "more": ({"a": entry(crc=1)}, 4, "and nothing else"),
    "type": ({"a": entry("F8_E4M3", offsets=(0, 1))}, 1, "a is of type F8_E4M3; read are F64"),
    "typed": ({"a": entry(["F32"])}, 4, "a is of type"),
    "no list": ({"a": entry(shape="1")}, 4, "the shape of a must be a list of at most 32 integers"),
    "axes": ({"a": entry(shape=[1] * 33)}, 4, "a list of at most 32"),
    "bool": ({"a": entry(shape=[True])}, 4, "must be integers from 0; got True"),
    "float": ({"a": entry(shape=[1.0])}, 4, "must be integers from 0; got 1.0"),
    "negative": ({"a": entry(shape=[-1, -1])}, 4, "must be integers from 0; got -1"),
    "giant": ({"a": entry(shape=[0, 2**63], offsets=(0, 0))}, 0, "from 0; got 9223372036854775808"),
    "wide": ({"a": entry(shape=[0, 2**62, 2**62], offsets=(0, 0))}, 0, ""),
    "terabytes": ({"a": entry(shape=[2**40])}, 4, "claims shape"),
    "claim": ({"a": entry(shape=[2**40], offsets=(0, 2**42))}, 4, "its arrays fill 4398046511104 bytes; 4"),
    "three offsets": ({"a": entry(offsets=(0, 4, 8))}, 4, "two data_offsets; it has 3"),
    "backwards": ({"a": entry(shape=[0], offsets=(4, 0))}, 4, "holds -4 bytes"),
    "gap": ({"a": entry(), "b": entry(offsets=(8, 12))}, 12, "b begins at byte 8, not 4"),
    "overlap": ({"a": entry(shape=[2], offsets=(0, 8)), "b": entry(offsets=(4, 8))}, 8, "b begins at byte 4, not 8"),
    "too much": ({"a": entry()}, 5, "fill 4 bytes; 5 stand"),
    "too little": ({"a": entry()}, 3, "fill 4 bytes; 3 stand"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_does_not_fit_is_refused(tmp_path, name):
    header, size, words = HEADERS[name]
    path = write(tmp_path / "bad.safetensors", with_header(header, bytes(size)))
    with pytest.raises(ValueError, match=f"bad.safetensors is not a usable .safetensors.*{words}"):
        read_arrays(path)


@pytest.mark.parametrize("length", [2, 101 * 10**6, 2**62, 2**64 - 1])
def test_a_header_that_is_not_there_is_not_read(tmp_path, length):
    path = write(tmp_path / "bad.safetensors", struct.pack("<Q", length) + b"{")
    with pytest.raises(ValueError, match="must begin with the length of a header"):
        read_arrays(path)


SMALL = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([2.5, 1])}


def test_every_truncation_of_safetensors_is_refused(tmp_path):
    content = safetensors_bytes(SMALL)
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"is not a usable .safetensors file"):
            read_arrays(write(tmp_path / "cut.safetensors", content[:length]))


def test_a_flip_in_safetensors_is_refused_or_seen_in_the_numbers(tmp_path):
    content = safetensors_bytes(SMALL)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << RNG.integers(8)
        try:
            arrays = read_arrays(write(tmp_path / "flip.safetensors", damaged))
        except ValueError as error:
            assert "flip.safetensors is not a usable" in str(error)
        else:
            data = b"".join(array.tobytes() for array in arrays.values())
            assert data == damaged[-len(data) :]
            assert len(data) == 40


# ---- the flat file of llama2.c

NUMBERS = {"dim": 4, "hidden": 3, "layers": 2, "heads": 2, "kv_heads": 1, "length": 6}
TENSORS = {
    "model.embed_tokens.weight": (5, 4),
    "model.layers.{}.input_layernorm.weight": (2, 4),
    "model.layers.{}.self_attn.q_proj.weight": (2, 4, 4),
    "model.layers.{}.self_attn.k_proj.weight": (2, 2, 4),
    "model.layers.{}.self_attn.v_proj.weight": (2, 2, 4),
    "model.layers.{}.self_attn.o_proj.weight": (2, 4, 4),
    "model.layers.{}.post_attention_layernorm.weight": (2, 4),
    "model.layers.{}.mlp.gate_proj.weight": (2, 3, 4),
    "model.layers.{}.mlp.down_proj.weight": (2, 4, 3),
    "model.layers.{}.mlp.up_proj.weight": (2, 3, 4),
    "model.norm.weight": (4,),
    "freq_cis_real": (6, 1),
    "freq_cis_imag": (6, 1),
    "lm_head.weight": (5, 4),
}


def llama(shared):
    """Return the file of a model with all its tensors, and these under the names that are given."""
    names = [name for name in TENSORS if not shared or name != "lm_head.weight"]
    tensors = {name: RNG.standard_normal(TENSORS[name]).astype(np.float32) for name in names}
    content = llama_bytes(tensors.values(), vocabulary=5 if shared else -5, **NUMBERS)
    want = {}
    for name, tensor in tensors.items():
        want |= (
            {name.format(i): t for i, t in enumerate(tensor)} if "{}" in name else {name: tensor}
        )
    return content, want


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("suffix", [".bin", ".npz"])
def test_the_flat_file_is_read(tmp_path, shared, suffix):
    content, want = llama(shared)
    same(read_arrays(write(tmp_path / f"a{suffix}", content)), want)


def test_every_truncation_of_the_flat_file_is_refused(tmp_path):
    content, _ = llama(shared=True)
    for length in [*range(40), *range(40, len(content), 9)]:
        with pytest.raises(
            ValueError, match=r"not a usable float32 file of llama2.c: its .* bytes"
        ):
            read_arrays(write(tmp_path / "cut.bin", content[:length]))


def test_a_flip_in_the_flat_file_is_refused_or_seen_in_the_numbers(tmp_path):
    content, want = llama(shared=True)
    for bit in range(8 * 28 + 100):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            arrays = read_arrays(write(tmp_path / "flip.bin", damaged))
        except ValueError as error:
            assert "flip.bin is not a usable" in str(error)
        else:
            assert bit >= 8 * 28
            assert arrays.keys() == want.keys()
            differ = [name for name in want if arrays[name].tobytes() != want[name].tobytes()]
            assert differ == ["model.embed_tokens.weight"]


BAD = {
    "zero": {"hidden": 0},
    "negative": {"dim": -4},
    "heads": {"heads": 3},
    "kv heads": {"kv_heads": 3, "heads": 4},
    "no vocabulary": {"vocabulary": 0},
    "giant": {"dim": 2**31 - 1, "heads": 1, "layers": 2**31 - 1},
    "smallest": {"vocabulary": -(2**31)},
}


@pytest.mark.parametrize("name", BAD)
def test_a_header_of_seven_that_does_not_fit_is_refused(tmp_path, name):
    content = llama_header(**BAD[name]) + bytes(100)
    with pytest.raises(ValueError, match="not those that its first 28 describe"):
        read_arrays(write(tmp_path / "bad.bin", content))


# ---- .npz and what the suffix says


@pytest.mark.parametrize("suffix", [".npz", ".pt", ""])
def test_npz_is_read_whatever_the_suffix(tmp_path, suffix):
    same(read_arrays(write(tmp_path / f"a{suffix}", files.npz_bytes(ARRAYS))), ARRAYS)


MEANT = {
    ".npz": "is not a usable .npz file",
    ".txt": "is not a usable .npz file",
    ".safetensors": "is not a usable .safetensors file",
    ".bin": "is not a usable float32 file of llama2.c",
}


@pytest.mark.parametrize("suffix", MEANT)
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and no more", bytes(100)])
def test_a_foreign_file_is_refused_as_what_its_suffix_says(tmp_path, suffix, content):
    with pytest.raises(ValueError, match=f"foreign{suffix} {MEANT[suffix]}"):
        read_arrays(write(tmp_path / f"foreign{suffix}", content))


def test_a_path_that_cannot_be_read_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "nothing.pt")
    with pytest.raises(IsADirectoryError):
        read_arrays(tmp_path)


# ---- files of torch


def test_without_torch_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = write(tmp_path / "a.pt", b"anything")
    with pytest.raises(ImportError, match=r"reading .*a\.pt needs torch, .* pip install torch"):
        read_arrays(path)


@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cu121", "2.9.1"])
def test_a_torch_that_a_file_can_make_run_code_is_refused(version):
    with pytest.raises(
        ImportError, match=r"must be 2\.10 or newer, .* got .*--upgrade torch, or write"
    ):
        _require_safe(version)


def test_a_newer_torch_is_taken():
    for version in ("2.10.0", "2.13.0+cpu", "3.0.0a0+git123"):
        _require_safe(version)


def saved(path, held, legacy=False):
    torch = pytest.importorskip("torch", reason="needs torch")
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)
    return path


def tensors(**arrays):
    torch = pytest.importorskip("torch", reason="needs torch")
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".npz", ".bin"])
def test_a_state_dict_is_read(tmp_path, legacy, suffix):
    same(read_arrays(saved(tmp_path / f"a{suffix}", tensors(**ARRAYS), legacy)), ARRAYS)


def test_nested_dictionaries_give_dotted_names(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch")
    linear = torch.nn.Linear(3, 2)
    held = {
        "model": linear.state_dict(keep_vars=True),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
        "step": 3,
    }
    held["again"] = held["model"]
    got = read_arrays(saved(tmp_path / "a.pt", held))
    assert sorted(got) == ["model.bias", "model.weight", "optimizer.state.0.exp_avg"]
    assert np.array_equal(got["model.weight"], linear.weight.detach().numpy())


def test_a_dictionary_that_holds_itself_is_read_once(tmp_path):
    held = dict(tensors(a=np.ones(2)))
    held["self"] = held
    assert list(read_arrays(saved(tmp_path / "a.pt", held))) == ["a"]


def test_a_transposed_and_a_shared_tensor_are_read(tmp_path):
    held = tensors(a=np.arange(6.0).reshape(2, 3))
    held["t"], held["row"] = held["a"].T, held["a"][1]
    got = read_arrays(saved(tmp_path / "a.pt", held))
    assert got["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert got["row"].tolist() == [3, 4, 5]


class Runs:
    """An object whose pickle makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("way", ["zip", "legacy", "pickle"])
def test_a_pickle_that_runs_code_does_not_run_it(tmp_path, way):
    evil, path = Runs(tmp_path / "ran"), tmp_path / "bad.pt"
    if way == "pickle":
        pytest.importorskip("torch", reason="needs torch")
        path.write_bytes(pickle.dumps(evil, protocol=2))
    else:
        saved(path, {"a": evil}, legacy=way == "legacy")
    with pytest.raises(ValueError, match=r"bad.pt is not a usable file of tensors: .*mkdir.* save model") as caught:  # fmt: skip
        read_arrays(path)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert pickle.loads(pickle.dumps(evil)) is None
    assert (tmp_path / "ran").exists()


def awkward():
    torch = pytest.importorskip("torch", reason="needs torch")
    return {
        "module": (torch.nn.Linear(2, 3), r"torch\.nn\.modules\.linear\.Linear.*: save model\.state_dict"),
        "tensor": (torch.ones(2), "must hold a dictionary; it holds Tensor"),
        "list": ([torch.ones(2)], "it holds list"),
        "twice": ({1: torch.ones(2), "1": torch.ones(2)}, "it holds 1 twice"),
        "expanded": ({"w": torch.ones(1).expand(10**6, 10**6)}, r"w claims shape \(1000000, 1000000\)"),
        "sparse": ({"w": torch.ones(2, 2).to_sparse()}, "w is stored as torch.sparse_coo"),
        "meta": ({"w": torch.ones(2, device="meta")}, "w is stored as torch.strided on meta"),
        "float8": ({"w": torch.ones(2).to(torch.float8_e4m3fn)}, "Float8"),
    }  # fmt: skip


NAMES = ["module", "tensor", "list", "twice", "expanded", "sparse", "meta", "float8"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_state_dict_is_refused(tmp_path, name):
    held, words = awkward()[name]
    with pytest.raises(ValueError, match=f"bad.pt is not a usable file of tensors: .*{words}"):
        read_arrays(saved(tmp_path / "bad.pt", held))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_a_foreign_pt_is_refused(tmp_path, content):
    pytest.importorskip("torch", reason="needs torch")
    with pytest.raises(ValueError, match=r"bad.pt is not a usable file of tensors: .+: save model"):
        read_arrays(write(tmp_path / "bad.pt", content))


def test_an_archive_compressed_to_death_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ALWAYS_ALLOWED_BYTES", 0)
    path = saved(tmp_path / "a.pt", tensors(a=np.zeros(10**6)))
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "b.pt", "w", 8) as packed:
        for info in source.infolist():
            packed.writestr(info.filename, source.read(info))
    read_arrays(path)
    with pytest.raises(ValueError, match="would unpack to 8"):
        read_arrays(tmp_path / "b.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_cut_or_flipped_pt_is_refused_or_read(tmp_path, legacy):
    content = saved(tmp_path / "a.pt", tensors(**SMALL), legacy).read_bytes()
    damaged = [content[: RNG.integers(len(content))] for _ in range(60)]
    for _ in range(150):
        flipped = bytearray(content)
        flipped[RNG.integers(len(content))] ^= 1 << RNG.integers(8)
        damaged.append(flipped)
    for one in damaged:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of protocols that it does not know
            try:
                arrays = read_arrays(write(tmp_path / "bad.pt", one))
            except ValueError as error:
                assert "bad.pt is not a usable file" in str(error)
            else:
                assert all(array.nbytes <= 100 for array in arrays.values())


def test_three_formats_give_the_same_bytes(tmp_path):
    (tmp_path / "a.npz").write_bytes(files.npz_bytes(ARRAYS))
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(ARRAYS))
    saved(tmp_path / "a.pt", tensors(**ARRAYS))
    for suffix in (".npz", ".safetensors", ".pt"):
        same(read_arrays(tmp_path / f"a{suffix}"), ARRAYS)


def test_the_header_of_a_test_file_is_that_of_the_format():
    content = safetensors_bytes(SMALL)
    length = int.from_bytes(content[:8], "little")
    about = json.loads(content[8 : 8 + length])
    assert about["b"] == {"dtype": "F64", "shape": [2], "data_offsets": [24, 40]}
