"""Labelled examples, split into those to train on and those to test on."""

import gzip
import hashlib
import math
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refbilinear.spec.arrays import Array, enter, require_finite, require_representable
from refbilinear.spec.loss import enter_labels
from refbilinear.study.downloads import fetch
from refbilinear.study.extras import need
from refbilinear.study.files import read_npz
from refbilinear.study.idx import read_idx

# How the names of IDX files begin: those of the examples, and of the test if there is one.
BEGINNINGS = {
    "x": ("train-images",),
    "y": ("train-labels",),
    "x_test": ("t10k-images", "test-images"),
    "y_test": ("t10k-labels", "test-labels"),
}


class Dataset(NamedTuple):
    """Examples `x (n, d_in)` with labels `y (n,)` from 0, and likewise for the test.

    `image` is the shape (h, w) of an input as a picture, row by row, where it is one; `names` are
    those of the classes, where they have some.
    """

    x: Array
    y: NDArray[np.intp]
    x_test: Array
    y_test: NDArray[np.intp]
    image: tuple[int, int] | None = None
    names: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """Number of classes: one more than the largest label."""
        return int(self.y.max()) + 1


class Published(NamedTuple):
    """The SHA-256 of each of FILES, and the addresses that have them."""

    digests: tuple[str, ...]
    sources: tuple[str, ...]


FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
MNIST = Published(
    (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
FASHION_MNIST = Published(
    (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
)
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load_dataset(name_or_path: str | os.PathLike[str], dtype: DTypeLike = np.float64) -> Dataset:
    """Return a data set by its name, or the one at a path.

    Parameters
    ----------
    name_or_path : str or path
        "digits", "mnist" or "fashion-mnist", or what `read_dataset` reads; a folder that is called
        like one of the names is written "./mnist".
    dtype : dtype
        float32 or float64.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        For what is neither a name nor a path.
    ValueError, TypeError, OSError, ImportError
        As `mnist` and `read_dataset`.

    Examples
    --------
    >>> load_dataset("digits").image
    (8, 8)
    """
    if isinstance(name_or_path, str) and name_or_path in NAMED:
        return NAMED[name_or_path](dtype)
    if not os.path.exists(name_or_path):
        raise FileNotFoundError(
            f"{os.fspath(name_or_path)} is neither a file or folder nor one of {', '.join(NAMED)}"
        )
    return read_dataset(name_or_path, dtype)


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
    x = (table[:, :64] / 16).astype(_enter_dtype(dtype))
    return split_every_fifth(x, table[:, 64].astype(np.intp))._replace(image=(8, 8))


def mnist(dtype: DTypeLike = np.float64) -> Dataset:
    """Return MNIST: 60,000 handwritten digits and 10,000 for the test, 28 × 28 pixels, ten classes.

    The four files are looked for in the folder `mnist` of the folder that the variable
    REFBILINEAR_DATA names; where it is not set they are downloaded once, to the user's cache.
    Either way their SHA-256 must be those of the published files.

    Parameters
    ----------
    dtype : dtype
        float32 or float64; the pixels are 255ths, rounded once.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        If the folder that REFBILINEAR_DATA names lacks a file.
    ValueError
        If a file there is not the published one.
    OSError
        If a file cannot be read or downloaded.
    ImportError
        If it must be downloaded and pooch is not installed.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
    Proc. IEEE 86(11), 1998. CC BY-SA 3.0.

    Examples
    --------
    >>> mnist().x.shape  # doctest: +SKIP
    (60000, 784)
    """
    return _published("mnist", MNIST, dtype)


def fashion_mnist(dtype: DTypeLike = np.float64) -> Dataset:
    """Return Fashion-MNIST: pieces of clothing in the format of MNIST, their classes with names.

    Parameters
    ----------
    dtype : dtype
        float32 or float64; the pixels are 255ths, rounded once.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError, OSError, ImportError
        As `mnist`; the folder is `fashion-mnist`.

    References
    ----------
    Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017, arXiv:1708.07747. MIT.

    Examples
    --------
    >>> fashion_mnist().names[9]  # doctest: +SKIP
    'Ankle boot'
    """
    return _published("fashion-mnist", FASHION_MNIST, dtype)._replace(names=CLOTHES)


NAMED = {"digits": digits, "mnist": mnist, "fashion-mnist": fashion_mnist}


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
    """Read a data set from an .npz file, or from a folder of IDX files.

    An .npz holds `x (n, d_in)`, or pictures `x (n, h, w)`, with `y (n,)`, and `x_test`, `y_test`
    if it likes; x is taken as it is. A folder holds `train-images*` and `train-labels*`, and
    `t10k-images*`, `t10k-labels*` (or `test-…`) if it likes, each plain or gzip; images of unsigned
    bytes are divided by 255, others taken as they are. Without a test, every fifth example of each
    class is held out as one.

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
        For a file that is no .npz or IDX file, lacks an array, or whose arrays do not fit each
        other, are not finite, or are no labels; for a folder that lacks a file, or holds two of a
        kind.
    OSError
        If a file cannot be read.
    """
    dtype = _enter_dtype(dtype)
    folder = os.path.isdir(path)
    arrays = _read_images(_idx_files(Path(path)), dtype) if folder else read_npz(path)
    return _fitting(path, arrays, dtype)


def _published(name: str, published: Published, dtype: DTypeLike) -> Dataset:
    dtype = _enter_dtype(dtype)
    digests = dict(zip(FILES, published.digests, strict=True))
    own = os.environ.get("REFBILINEAR_DATA")
    if own:
        paths = _require_published(Path(own, name), digests)
    else:
        cache = need("pooch", f"downloading {name}").os_cache("refbilinear")
        paths = fetch(digests, published.sources, cache / name)
    files = dict(zip(BEGINNINGS, paths, strict=True))
    return _fitting(paths[0].parent, _read_images(files, dtype), dtype)


def _require_published(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Return the paths of files after checking that they are there and are the published ones."""
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}: put them there, or unset REFBILINEAR_DATA to "
            f"download"
        )
    return [_require_digest(folder / name, digest) for name, digest in files.items()]


def _require_digest(path: Path, digest: str) -> Path:
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != digest:
        raise ValueError(
            f"{path} is not the published file: its SHA-256 must begin {digest[:12]}, and begins "
            f"{got[:12]}; replace it, or unset REFBILINEAR_DATA to download"
        )
    return path


def _idx_files(folder: Path) -> dict[str, Path]:
    """Return a folder's IDX files by the names that their arrays have in an .npz."""
    found = {name: _beginning(folder, words) for name, words in BEGINNINGS.items()}
    files = {name: paths[0] for name, paths in found.items() if paths}
    tested = not files.keys().isdisjoint({"x_test", "y_test"})
    for name in BEGINNINGS if tested else ("x", "y"):
        if name not in files:
            held = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
            raise ValueError(f"{folder} must hold {BEGINNINGS[name][0]}*; it holds {held}")
    return files


def _beginning(folder: Path, beginnings: tuple[str, ...]) -> list[Path]:
    """Return the one file of a folder whose name begins so, or none."""
    found = sorted(path for beginning in beginnings for path in folder.glob(f"{beginning}*"))
    if len(found) > 1:
        raise ValueError(f"{folder} holds {found[0].name} and {found[1].name}: keep one")
    return found


def _read_images(files: Mapping[str, Path], dtype: np.dtype[Any]) -> dict[str, Array]:
    """Read IDX files, images of unsigned bytes as 255ths."""
    arrays = {name: read_idx(path) for name, path in files.items()}
    for x, y in (("x", "y"), ("x_test", "y_test")):
        if x in files and len(arrays[x]) != len(arrays[y]):
            raise ValueError(
                f"{files[x]} holds {len(arrays[x])} images but {files[y].name} holds "
                f"{len(arrays[y])} labels"
            )
        if x in files and arrays[x].dtype == np.uint8:
            arrays[x] = np.divide(arrays[x], 255, dtype=dtype)
    return arrays


def _enter_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"dtype must be float32 or float64; got {np.dtype(dtype)}")
    return np.dtype(dtype)


def _fitting(
    path: str | os.PathLike[str], arrays: dict[str, Array], dtype: np.dtype[Any]
) -> Dataset:
    try:
        return _dataset(arrays, dtype)
    except (OverflowError, TypeError, ValueError) as error:
        raise type(error)(f"{os.fspath(path)}: {error}") from error


def _dataset(arrays: dict[str, Array], dtype: np.dtype[Any]) -> Dataset:
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
    image = _image(arrays["x"])
    if "x_test" not in arrays:
        return split_every_fifth(x, y)._replace(image=image)
    x_test, y_test = _enter_examples(arrays, "x_test", "y_test", dtype)
    _require_alike(arrays["x"], arrays["x_test"])
    enter_labels(y_test, len(x_test), int(y.max()) + 1, name="y_test")
    return Dataset(x, y, x_test, y_test, image)


def _require_alike(x: Array, x_test: Array) -> None:
    """Raise ValueError unless both are vectors of one size, or both pictures of one shape."""
    if x_test.shape[1:] != x.shape[1:]:
        wanted = f"(h, w) = {x.shape[1:]}" if _image(x) else f"d_in = {x.shape[1]}"
        raise ValueError(f"x_test must have {wanted} to match x; got {x_test.shape}")


def _image(x: Array) -> tuple[int, int] | None:
    return (x.shape[1], x.shape[2]) if x.ndim == 3 else None


def _enter_examples(
    arrays: dict[str, Array], x_name: str, y_name: str, dtype: np.dtype[Any]
) -> tuple[Array, NDArray[np.intp]]:
    x = arrays[x_name]
    if _image(x):
        x = x.reshape(len(x), math.prod(x.shape[1:]))
    x = enter(x_name, x, {"n": None, "d_in": None})
    if not x.size:
        raise ValueError(f"{x_name} must hold at least one number; got shape {x.shape}")
    labels = arrays[y_name]
    largest = int(labels.max()) if labels.size and labels.dtype.kind in "iu" else 0
    if largest >= 2**31:  # it would not fit an index, and wrap
        raise ValueError(f"{y_name} must be classes, numbered from 0; got {largest}")
    y = enter_labels(labels, len(x), largest + 1, name=y_name)
    require_finite(x_name, x)
    with np.errstate(over="ignore"):
        return require_representable(x_name, np.require(x, dtype, "W")), y
