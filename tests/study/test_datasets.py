import hashlib
from importlib import resources

import numpy as np
import pytest

from refbilinear.study import digits, read_dataset
from refbilinear.study.datasets import split_every_fifth

X, Y = np.arange(24.0).reshape(12, 2), np.arange(12) % 2


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
    assert data.classes == 10
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
    "a test label": ({"x": X, "y": Y, "x_test": X, "y_test": Y + 1}, ValueError, r"y_test must lie in 0\.\.1"),
    "ids": ({"x": X, "y": Y + 1000}, ValueError, "fewer than the 12 examples; got 1001"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_do_not_fit_are_refused_with_their_path(tmp_path, name):
    arrays, error, words = REFUSED[name]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(error, match=f"bad.npz: .*{words}"):
        read_dataset(tmp_path / "bad.npz")
