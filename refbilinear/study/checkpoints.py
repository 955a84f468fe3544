"""Layers and models as .npz files: parameter names, a schema, a version, a checksum, no pickle.

    w_left, w_right, w_out, b_left, b_right, b_out, w_skip                        a layer
    w_embed, layers.0.w_left, …, w_head, residual                                 a model
    schema, version, checksum                                                     of `save`

A file without `schema` is read too if it holds nothing but parameters under these names, so
`np.savez("mine.npz", w_left=…, w_right=…)` is all that other code needs.
"""

import hashlib
import os
import re
from collections.abc import Mapping

import numpy as np

import refbilinear
from refbilinear.spec.arrays import Array
from refbilinear.spec.layer import LAYER_PARAMETERS, BilinearLayer
from refbilinear.spec.mlp import BilinearMLP, parameters
from refbilinear.study.files import npz_bytes, read_npz, write_file

SCHEMA = "refbilinear-model-1"
ABOUT = ("schema", "version", "checksum")


def save(path: str | os.PathLike[str], model: BilinearLayer | BilinearMLP) -> None:
    """Write a layer or a model as an .npz file, whole or not at all.

    Parameters
    ----------
    path : path
        Replaced if it exists.
    model : BilinearLayer or BilinearMLP
        float32 or float64.

    Raises
    ------
    TypeError
        For exact numbers, which an .npz holds only as pickled objects.
    OSError
        If the file cannot be written; what was there before is still there.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "layer.npz")
    >>> save(path, BilinearLayer([[1, 0]], [[0, 1]]))
    >>> load(path)
    BilinearLayer(d_in=2, d_hidden=1, d_out=1, float64)
    """
    write_file(path, model_bytes(model))


def model_bytes(model: BilinearLayer | BilinearMLP) -> bytes:
    """Return what `save` writes: the same bytes for the same model."""
    if model.dtype == object:
        raise TypeError("model must be float32 or float64 to be saved; got exact rationals")
    arrays = parameters(model)
    if isinstance(model, BilinearMLP):
        arrays["residual"] = np.array(model.residual)
    about = {"schema": SCHEMA, "version": refbilinear.__version__, "checksum": _checksum(arrays)}
    return npz_bytes({name: np.array(text) for name, text in about.items()} | arrays)


def load(path: str | os.PathLike[str]) -> BilinearLayer | BilinearMLP:
    """Read a layer or a model that `save`, or any other code, wrote under the parameter names.

    Parameters
    ----------
    path : path

    Returns
    -------
    BilinearLayer or BilinearMLP
        A layer if the file has `w_left`, a model if it has `layers.0.w_left`.

    Raises
    ------
    ValueError
        For a file that is damaged, foreign, of another schema, changed since it was saved, or
        whose arrays do not fit each other; the message says which.
    TypeError
        For arrays of a number type that is not admitted.
    OSError
        If the file cannot be read.
    """
    arrays = read_npz(path)
    try:
        return _model(_without_about(arrays))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{os.fspath(path)}: {error}") from error


def _without_about(arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the parameters alone, after checking schema and checksum where the file has them."""
    values = {name: array for name, array in arrays.items() if name not in ABOUT}
    schema = str(arrays.get("schema", SCHEMA))
    if schema != SCHEMA:
        raise ValueError(f"its schema is {schema[:60]!r}; this version reads {SCHEMA!r}")
    if "schema" in arrays and str(arrays.get("checksum")) != _checksum(values):
        raise ValueError("its arrays are not those that were saved: the checksum differs")
    return values


def _model(values: dict[str, Array]) -> BilinearLayer | BilinearMLP:
    """Return the layer or the model that the parameters are, each of them used."""
    if "w_left" in values:
        _require_known(values, set(LAYER_PARAMETERS))
        return _layer(values, "")
    depth = sum(1 for name in values if re.fullmatch(r"layers\.\d+\.w_left", name))
    if depth == 0:
        names = ", ".join(sorted(values)[:5]) or "nothing"
        raise ValueError(f"it must hold w_left, or layers.0.w_left; it holds {names}")
    prefixes = [f"layers.{number}." for number in range(depth)]
    of_layers = {prefix + name for prefix in prefixes for name in LAYER_PARAMETERS}
    _require_known(values, {"w_embed", "w_head", "residual"} | of_layers)
    layers = tuple(_layer(values, prefix) for prefix in prefixes)
    residual = _residual(values.get("residual", np.array(False)))
    return BilinearMLP(values.get("w_embed"), layers, values.get("w_head"), residual)


def _layer(values: Mapping[str, Array], prefix: str) -> BilinearLayer:
    present = {name: values.get(prefix + name) for name in LAYER_PARAMETERS}
    for name in ("w_left", "w_right"):
        if present[name] is None:
            raise ValueError(f"it must hold {prefix}{name}; it does not")
    return BilinearLayer(**present)  # type: ignore[arg-type]


def _residual(value: Array) -> bool:
    if value.shape != () or value.dtype != np.bool_:
        raise ValueError(f"residual must be one bool; got {value.dtype} of shape {value.shape}")
    return bool(value)


def _require_known(values: Mapping[str, Array], known: set[str]) -> None:
    """Raise ValueError for an array that is no parameter: to drop it would change the model."""
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"it holds {unknown[0]}, which is no parameter of the model")


def _checksum(arrays: Mapping[str, Array]) -> str:
    """Return a SHA-256 over names, dtypes, shapes and bytes of arrays, in the order of names."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
