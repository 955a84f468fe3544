"""Labelled examples, split into those to train on and those to test on."""

import gzip
import os
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refbilinear.spec.arrays import Array, enter, require_finite
from refbilinear.spec.loss import enter_labels
from refbilinear.study.files import read_npz


class Dataset(NamedTuple):
    """Examples `x (n, d_in)` with labels `y (n,)` from 0, and likewise for the test."""

    x: Array
    y: NDArray[np.intp]
    x_test: Array
    y_test: NDArray[np.intp]

    @property
    def classes(self) -> int:
        """Number of classes: one more than the largest label."""
        return int(self.y.max()) + 1


def digits(dtype: DTypeLike = np.float64) -> Dataset:
    """Return the 1,797 handwritten digits that are shipped: 64 pixels from 0 to 1, ten classes.

    The test examples are every fifth of each class, in file order.

    Parameters
    ----------
    dtype : dtype
        float32 or float64; the pixels are sixteenths, exact in both.

    Returns
    -------
    Dataset

    References
    ----------
    Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998, doi:10.24432/C50P49, CC BY 4.0.

    Examples
    --------
    >>> data = digits()
    >>> data.x.shape, data.x_test.shape, float(data.x.max())
    ((1442, 64), (355, 64), 1.0)
    """
    packed = resources.files("refbilinear.study").joinpath("data/digits.csv.gz").read_bytes()
    table = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",")
    return split_every_fifth((table[:, :64] / 16).astype(dtype), table[:, 64].astype(np.intp))


def split_every_fifth(x: Array, y: NDArray[np.intp]) -> Dataset:
    """Return a data set whose test examples are every fifth of each class, in order.

    Examples
    --------
    >>> x = np.arange(6.0)[:, None]
    >>> split_every_fifth(x, np.zeros(6, dtype=np.intp)).x_test
    array([[4.]])
    """
    test = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        test[np.flatnonzero(y == label)[4::5]] = True
    return Dataset(x[~test], y[~test], x[test], y[test])


def read_dataset(path: str | os.PathLike[str], dtype: DTypeLike = np.float64) -> Dataset:
    """Read a data file: an .npz with `x (n, d_in)`, `y (n,)`, and `x_test`, `y_test` if it likes.

    Without test arrays, every fifth example of each class is held out as the test.

    Parameters
    ----------
    path : path
    dtype : dtype
        float32 or float64; what x becomes.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError, TypeError
        For a file that is no .npz, lacks an array, or whose arrays do not fit each other, are not
        finite, or are no labels.
    OSError
        If the file cannot be read.
    """
    arrays = read_npz(path)
    try:
        return _dataset(arrays, dtype)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{os.fspath(path)}: {error}") from error


def _dataset(arrays: dict[str, Array], dtype: DTypeLike) -> Dataset:
    for name in ("x", "y"):
        if name not in arrays:
            held = ", ".join(sorted(arrays)[:5]) or "nothing"
            raise ValueError(f"it must hold x (n, d_in) and y (n,); it holds {held}")
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise ValueError("it must hold both x_test and y_test, or neither")
    x, y = _enter_examples(arrays, "x", "y", dtype)
    if y.max() >= len(x):
        raise ValueError(
            f"y must be classes, numbered from 0, fewer than the {len(x)} examples; got {y.max()}"
        )
    if "x_test" not in arrays:
        return split_every_fifth(x, y)
    x_test, y_test = _enter_examples(arrays, "x_test", "y_test", dtype)
    if x_test.shape[1] != x.shape[1]:
        raise ValueError(f"x_test must have d_in = {x.shape[1]} to match x; got {x_test.shape}")
    enter_labels(y_test, len(x_test), int(y.max()) + 1, name="y_test")
    return Dataset(x, y, x_test, y_test)


def _enter_examples(
    arrays: dict[str, Array], x_name: str, y_name: str, dtype: DTypeLike
) -> tuple[Array, NDArray[np.intp]]:
    x = enter(x_name, arrays[x_name], {"n": None, "d_in": None})
    if not x.size:
        raise ValueError(f"{x_name} must hold at least one number; got shape {x.shape}")
    labels = arrays[y_name]
    largest = int(labels.max()) if labels.size and labels.dtype.kind in "iu" else 0
    y = enter_labels(labels, len(x), largest + 1, name=y_name)
    x = x.astype(dtype)
    require_finite(x_name, x)
    return x, y
