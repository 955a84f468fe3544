import gzip
import hashlib
import os
import struct
import sys
from fractions import Fraction
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from refbilinear.study import (
    datasets,
    digits,
    fashion_mnist,
    load_dataset,
    mnist,
    read_dataset,
)
from refbilinear.study.datasets import FILES, Published, split_every_fifth

X, Y = np.arange(24.0).reshape(12, 2), np.arange(12) % 2
PICTURES = np.arange(72).reshape(12, 3, 2)


def test_the_digits_are_those_of_the_source():
    folder = resources.files("refbilinear.study").joinpath("data")
    content = folder.joinpath("digits.csv.gz").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert digest == "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
    notice = folder.joinpath("README.txt").read_text()
    assert digest in notice
    assert "CC BY 4.0" in notice
    assert "10.24432/C50P49" in notice


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits_are_sixteenths_in_both_dtypes(dtype):
    data = digits(dtype)
    x = np.concatenate([data.x, data.x_test])
    assert x.dtype == dtype
    assert len(x) == 1797
    assert set(np.unique(x * 16)) == set(range(17))
    assert (data.classes, data.image, data.names) == (10, (8, 8), ())
    counts = np.bincount(data.y) + np.bincount(data.y_test)
    assert np.array_equal(np.bincount(data.y_test), counts // 5)


def test_the_test_is_every_fifth_of_each_class_in_order():
    y = np.array([0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    data = split_every_fifth(np.arange(11.0)[:, None], y)
    assert data.x_test.ravel().tolist() == [5.0, 9.0]
    assert data.y_test.tolist() == [0, 1]
    assert sorted(data.x.ravel().tolist() + data.x_test.ravel().tolist()) == list(range(11))


def test_a_data_file_is_split_or_brings_its_own_test(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    assert read_dataset(tmp_path / "d.npz").x_test.shape == (2, 2)
    np.savez(tmp_path / "d.npz", x=X.astype(np.uint8), y=Y, x_test=X[:3], y_test=[0, 1, 1])
    data = read_dataset(tmp_path / "d.npz", np.float32)
    assert (data.x.dtype, data.x_test.dtype, data.classes) == (np.float32, np.float32, 2)
    assert np.array_equal(data.x, X)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_pictures_are_flattened_row_by_row_and_not_rescaled(tmp_path, dtype):
    pictures = PICTURES.astype(dtype)
    np.savez(
        tmp_path / "d.npz", x=pictures, y=Y, x_test=np.asfortranarray(pictures[:5]), y_test=Y[:5]
    )
    data = read_dataset(tmp_path / "d.npz", np.float32)
    assert data.image == (3, 2)
    assert data.x.dtype == np.float32
    assert np.array_equal(data.x, PICTURES.reshape(12, 6))
    assert np.array_equal(data.x_test, data.x[:5])
    np.savez(tmp_path / "d.npz", x=pictures, y=Y)
    split = read_dataset(tmp_path / "d.npz")
    assert (split.image, split.x.shape, split.x_test.shape) == ((3, 2), (10, 6), (2, 6))
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    assert read_dataset(tmp_path / "d.npz").image is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_read_may_be_written_to(tmp_path, dtype):
    np.savez(tmp_path / "d.npz", x=X, y=Y, x_test=X, y_test=Y)
    data = read_dataset(tmp_path / "d.npz", dtype)
    for array in (data.x, data.y, data.x_test, data.y_test):
        array[0] = 0


def with_nan():
    x = X.copy()
    x[3, 1] = np.nan
    return x


REFUSED = {
    "no y": ({"x": X}, ValueError, "must hold x .* it holds x"),
    "nothing": ({}, ValueError, "it holds nothing"),
    "half a test": ({"x": X, "y": Y, "x_test": X}, ValueError, "both x_test and y_test"),
    "flat x": ({"x": X[0], "y": Y}, ValueError, r"x must have shape \(n, d_in\)"),
    "empty": ({"x": X[:0], "y": Y[:0]}, ValueError, "x must hold at least one number"),
    "lengths": ({"x": X, "y": Y[:5]}, ValueError, r"y must have shape \(n,\) = \(12,\)"),
    "float labels": ({"x": X, "y": Y * 1.0}, TypeError, "y must be integers; got float64"),
    "negative label": ({"x": X, "y": Y - 1}, ValueError, "y must lie in .* got -1"),
    "nan": ({"x": with_nan(), "y": Y}, ValueError, r"x must be finite; got nan at \(3, 1\)"),
    "text": ({"x": np.full((12, 2), "a"), "y": Y}, TypeError, "x must hold float32"),
    "test width": ({"x": X, "y": Y, "x_test": X[:, :1], "y_test": Y}, ValueError,
                   r"x_test must have d_in = 2 to match x; got \(12, 1\)"),
    "test pictures": ({"x": PICTURES, "y": Y, "x_test": PICTURES.reshape(12, 2, 3), "y_test": Y}, ValueError,
                      r"x_test must have \(h, w\) = \(3, 2\) to match x; got \(12, 2, 3\)"),
    "flat test": ({"x": PICTURES, "y": Y, "x_test": PICTURES.reshape(12, 6), "y_test": Y}, ValueError,
                  r"x_test must have \(h, w\) = \(3, 2\) to match x; got \(12, 6\)"),
    "colours": ({"x": np.ones((12, 3, 2, 4)), "y": Y}, ValueError, r"x must have shape .* got \(12, 3, 2, 4\)"),
    "no width": ({"x": PICTURES[:, :, :0], "y": Y}, ValueError, "x must hold at least one number"),
    "no pictures": ({"x": PICTURES[:0], "y": Y[:0]}, ValueError, "x must hold at least one number"),
    "a test label": ({"x": X, "y": Y, "x_test": X, "y_test": Y + 1}, ValueError, r"y_test must lie in 0\.\.1"),
    "ids": ({"x": X, "y": Y + 1000}, ValueError, "fewer than the 12 examples; got 1001"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_do_not_fit_are_refused_with_their_path(tmp_path, name):
    arrays, error, words = REFUSED[name]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(error, match=f"bad.npz: .*{words}"):
        read_dataset(tmp_path / "bad.npz")


def test_numbers_beyond_float32_are_refused(tmp_path):
    np.savez(tmp_path / "large.npz", x=X * 2.0**124, y=Y)
    assert read_dataset(tmp_path / "large.npz").x.max() == 23 * 2.0**124
    with pytest.raises(
        OverflowError, match=r"large.npz: x exceeds the largest float32 at \(8, 0\)"
    ):
        read_dataset(tmp_path / "large.npz", np.float32)


@pytest.mark.parametrize(
    "read", [digits, mnist, fashion_mnist, lambda dtype: read_dataset(".", dtype)]
)
@pytest.mark.parametrize("dtype", [np.float16, int, ">f4", object])
def test_other_dtypes_are_refused(read, dtype):
    with pytest.raises(TypeError, match="dtype must be float32 or float64; got "):
        read(dtype)


def idx(array):
    """Return an array of bytes, or of int32, as an IDX file."""
    kind, written = (8, array) if array.dtype == np.uint8 else (12, array.astype(">i4"))
    head = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + written.tobytes()


RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (13, 3, 2), dtype=np.uint8)
BYTES_TEST = RNG.integers(0, 256, (7, 3, 2), dtype=np.uint8)
LABELS, LABELS_TEST = np.arange(13, dtype=np.uint8) % 4, np.arange(7, dtype=np.uint8) % 3
CONTENTS = dict(zip(FILES, map(idx, (BYTES, LABELS, BYTES_TEST, LABELS_TEST)), strict=True))


def write_four(folder, **changes):
    """Write the four files as they are published, and return their checksums."""
    folder.mkdir(parents=True)
    packed = {name: gzip.compress(content) for name, content in CONTENTS.items()} | changes
    for name, content in packed.items():
        (folder / name).write_bytes(content)
    return tuple(hashlib.sha256(content).hexdigest() for content in packed.values())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bytes_are_255ths_rounded_once(tmp_path, dtype):
    steps = np.arange(256, dtype=np.uint8).reshape(32, 4, 2)
    (tmp_path / "train-images").write_bytes(idx(steps))
    (tmp_path / "train-labels").write_bytes(idx(np.zeros(32, np.uint8)))
    (tmp_path / "test-images").write_bytes(idx(steps))
    (tmp_path / "test-labels").write_bytes(idx(np.zeros(32, np.uint8)))
    data = read_dataset(tmp_path, dtype)
    assert (data.image, data.x.dtype) == ((4, 2), dtype)
    half = Fraction(float(np.finfo(dtype).eps)) / 2
    for step, pixel in enumerate(data.x.ravel()):
        assert abs(Fraction(float(pixel)) - Fraction(step, 255)) <= half * Fraction(step, 255)


def test_a_folder_of_idx_files_packed_or_not(tmp_path):
    write_four(tmp_path / "set")
    data = read_dataset(tmp_path / "set")
    assert np.array_equal(data.x, BYTES.reshape(13, 6) / 255)
    assert np.array_equal(data.x_test, BYTES_TEST.reshape(7, 6) / 255)
    assert data.y.tolist() == LABELS.tolist()
    assert data.y_test.tolist() == LABELS_TEST.tolist()
    assert (data.y.dtype, data.image, data.names, data.classes) == (np.intp, (3, 2), (), 4)
    for old, new in (
        ("train-images-idx3-ubyte.gz", "train-images"),
        ("t10k-labels-idx1-ubyte.gz", "test-labels"),
    ):
        (tmp_path / "set" / old).unlink()
        (tmp_path / "set" / new).write_bytes(CONTENTS[old])
    assert np.array_equal(read_dataset(tmp_path / "set").x, data.x)
    assert load_dataset(str(tmp_path / "set")).y_test.tolist() == LABELS_TEST.tolist()


def test_a_folder_without_a_test_is_split(tmp_path):
    (tmp_path / "train-images").write_bytes(idx(BYTES.reshape(13, 6)))
    (tmp_path / "train-labels").write_bytes(idx(LABELS * 0))
    data = read_dataset(tmp_path)
    assert (data.x.shape, data.x_test.shape, data.image) == ((11, 6), (2, 6), None)


def test_images_of_other_types_are_taken_as_they_are(tmp_path):
    (tmp_path / "train-images").write_bytes(idx(BYTES.astype(np.int32)))
    (tmp_path / "train-labels").write_bytes(idx(LABELS.astype(np.int32) * 0))
    assert read_dataset(tmp_path).x[0].tolist() == BYTES[0].ravel().tolist()


FOLDERS = {
    "empty": ({}, r"must hold train-images\*; it holds nothing"),
    "no labels": ({"train-images": BYTES}, r"must hold train-labels\*; it holds train-images"),
    "no images": ({"train-labels": LABELS, "a": LABELS}, r"must hold train-images\*; it holds a, train-labels"),
    "half a test": ({"train-images": BYTES, "train-labels": LABELS, "test-images": BYTES_TEST},
                    r"must hold t10k-labels\*; it holds test-images, train-images, train-labels"),
    "the other half": ({"train-images": BYTES, "train-labels": LABELS, "t10k-labels": LABELS_TEST},
                       r"must hold t10k-images\*"),
    "twice": ({"train-images": BYTES, "train-images.gz": BYTES, "train-labels": LABELS},
              r"holds train-images and train-images\.gz: keep one"),
    "two tests": ({"train-images": BYTES, "train-labels": LABELS, "t10k-images": BYTES, "test-images": BYTES},
                  "holds t10k-images and test-images: keep one"),
    "counts": ({"train-images": BYTES, "train-labels": LABELS_TEST},
               r"train-images holds 13 images but train-labels holds 7 labels"),
    "test counts": ({"train-images": BYTES, "train-labels": LABELS, "t10k-images": BYTES_TEST, "t10k-labels": LABELS},
                    r"t10k-images holds 7 images but t10k-labels holds 13 labels"),
    "labels for images": ({"train-images": LABELS, "train-labels": LABELS}, r"x must have shape \(n, d_in\)"),
    "images for labels": ({"train-images": BYTES, "train-labels": BYTES}, r"y must have shape \(n,\) = \(13,\)"),
    "labels from 1000": ({"train-images": BYTES, "train-labels": LABELS.astype(np.int32) + 1000},
                         "fewer than the 13 examples; got 1003"),
    "size": ({"train-images": BYTES, "train-labels": LABELS, "t10k-images": BYTES_TEST.reshape(7, 2, 3),
              "t10k-labels": LABELS_TEST}, r"x_test must have \(h, w\) = \(3, 2\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_does_not_fit_is_refused_with_its_path(tmp_path, name):
    arrays, words = FOLDERS[name]
    (tmp_path / "set").mkdir()
    for file, array in arrays.items():
        (tmp_path / "set" / file).write_bytes(idx(array))
    with pytest.raises(ValueError, match=f"/set.*{words}"):
        read_dataset(tmp_path / "set")


def test_a_damaged_file_of_a_folder_is_named(tmp_path):
    write_four(tmp_path / "set", **{FILES[1]: b"none"})
    with pytest.raises(ValueError, match=f"{FILES[1]} is not a usable IDX file"):
        read_dataset(tmp_path / "set")


SETS = {"mnist": ("MNIST", mnist), "fashion-mnist": ("FASHION_MNIST", fashion_mnist)}


@pytest.fixture(params=SETS)
def published(request, tmp_path, monkeypatch):
    """Four small files as if they were published, in a folder that REFBILINEAR_DATA names."""
    folder = tmp_path / request.param
    constant, _ = SETS[request.param]
    digests = write_four(folder)
    monkeypatch.setattr(datasets, constant, Published(digests, ("http://nowhere.invalid/",)))
    monkeypatch.setenv("REFBILINEAR_DATA", str(tmp_path))
    return folder


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_named_set_is_read_from_the_folder_of_the_variable(published, dtype):
    _, read = SETS[published.name]
    (published / "train-images-idx3-ubyte").write_bytes(b"unpacked beside it, and not asked for")
    for data in (read(dtype), load_dataset(published.name, dtype)):
        assert data.x.dtype == dtype
        assert np.array_equal(data.x, BYTES.reshape(13, 6).astype(dtype) / dtype(255))
        assert data.y_test.tolist() == LABELS_TEST.tolist()
        assert len(data.names) == (10 if read is fashion_mnist else 0)


def test_missing_files_are_named_and_nothing_is_downloaded(published):
    (published / FILES[0]).unlink()
    (published / FILES[3]).unlink()
    words = (
        f"{published.name} lacks {FILES[0]}, {FILES[3]}: put them there, or unset REFBILINEAR_DATA"
    )
    with pytest.raises(FileNotFoundError, match=words):
        load_dataset(published.name)


def test_a_folder_of_the_variable_that_is_not_there(published, monkeypatch):
    monkeypatch.setenv("REFBILINEAR_DATA", str(published / "nowhere"))
    with pytest.raises(FileNotFoundError, match=f"lacks {', '.join(FILES)}: put them there"):
        load_dataset(published.name)


def test_a_file_that_is_not_the_published_one_is_refused_with_both_digests(published):
    right = hashlib.sha256((published / FILES[2]).read_bytes()).hexdigest()
    (published / FILES[2]).write_bytes(gzip.compress(idx(BYTES_TEST + 1)))
    wrong = hashlib.sha256((published / FILES[2]).read_bytes()).hexdigest()
    words = f"{FILES[2]} is not the published file: .* {right[:12]}, and begins {wrong[:12]};"
    with pytest.raises(ValueError, match=words):
        load_dataset(published.name)


@pytest.mark.parametrize("variable", [None, ""])
def test_without_the_variable_files_are_fetched_into_the_cache(published, monkeypatch, variable):
    def fetch(files, sources, folder):
        assert list(files) == list(FILES)
        assert sources == ("http://nowhere.invalid/",)
        return [folder / name for name in files]

    pooch = SimpleNamespace(os_cache=lambda project: {"refbilinear": published.parent}[project])
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    monkeypatch.setattr(datasets, "fetch", fetch)
    monkeypatch.delenv("REFBILINEAR_DATA")
    if variable is not None:
        monkeypatch.setenv("REFBILINEAR_DATA", variable)
    assert load_dataset(published.name).y.tolist() == LABELS.tolist()


def test_without_pooch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.delenv("REFBILINEAR_DATA", raising=False)
    with pytest.raises(ImportError, match=r"downloading mnist needs pooch, .*pip install"):
        mnist()


def test_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=X, y=Y)
    np.savez("digits", x=X, y=Y)
    os.rename("digits.npz", "digits")
    assert load_dataset("digits", np.float32).x.shape == (1442, 64)
    assert load_dataset("digits", np.float32).x.dtype == np.float32
    for path in ("d.npz", Path("d.npz"), "./digits", Path("digits")):
        assert load_dataset(path).x.shape == (10, 2)
    for wrong in ("fashion_mnist", Path("mnist"), "nothing.npz"):
        with pytest.raises(
            FileNotFoundError, match=f"{wrong} is neither .* digits, mnist, fashion-mnist"
        ):
            load_dataset(wrong)


# Examples of each class, of those to train on and of the test, and the sums of all their pixels.
REAL = {
    "mnist": (
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        (1567298545, 264923200),
    ),
    "fashion-mnist": ([6000] * 10, [1000] * 10, (3431114169, 573469082)),
}


@pytest.mark.skipif(
    not os.environ.get("REFBILINEAR_DATA"), reason="REFBILINEAR_DATA names no folder"
)
@pytest.mark.parametrize("name", REAL)
def test_the_real_sets_are_those_that_were_published(name):
    counts, counts_test, sums = REAL[name]
    data = load_dataset(name, np.float32)
    assert (data.x.shape, data.x_test.shape, data.image) == ((60000, 784), (10000, 784), (28, 28))
    assert (data.classes, data.x.dtype, data.x.min(), data.x.max()) == (10, np.float32, 0, 1)
    assert np.bincount(data.y).tolist() == counts
    assert np.bincount(data.y_test).tolist() == counts_test
    for x, total in zip((data.x, data.x_test), sums, strict=True):
        assert np.rint(x * 255).sum(dtype=np.float64) == total
        assert x.mean(dtype=np.float64) == pytest.approx(total / (x.size * 255))


@pytest.mark.parametrize("largest", [2**31, 2**63, 2**64 - 1])
def test_labels_that_no_index_holds_do_not_wrap(tmp_path, largest):
    y = np.array([0, 1] * 6, dtype=np.uint64)
    y[3] = largest
    np.savez(tmp_path / "d.npz", x=X, y=y)
    with pytest.raises(ValueError, match=f"y must be classes, numbered from 0; got {largest}"):
        read_dataset(tmp_path / "d.npz")
