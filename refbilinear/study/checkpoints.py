"""Layers and models as files: ours, with a schema, a version and a checksum, and other people's.

    w_left, w_right, w_out, b_left, b_right, b_out, w_skip                        a layer
    w_embed, layers.0.w_left, …, w_head, residual                                 a model
    schema, version, checksum                                                     of `save`

A file without `schema` is read too if it holds nothing but parameters under these names, so
`np.savez("mine.npz", w_left=…, w_right=…)` is all that other code needs. Files of other formats and
names are read as `containers` and `layouts` say.
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
from refbilinear.study.containers import read_arrays
from refbilinear.study.files import npz_bytes, write_file
from refbilinear.study.layouts import chosen, is_ours, mapped, require_gate, translated

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


def load(
    path: str | os.PathLike[str],
    *,
    layer: int | None = None,
    gate: str | None = None,
    mapping: Mapping[str, str] | None = None,
) -> BilinearLayer | BilinearMLP:
    """Read a layer or a model that `save`, or other code, wrote.

    Under our parameter names in any format that `containers.read_arrays` reads, or in one of these
    layouts, behind any prefix: an image model (`embed.weight`, `blocks.0.weight`, `head.weight`),
    whole; of a language model (`transformer.h.0.mlp.w.weight`, `.p.weight`), a bilinear transformer
    (`blocks.0.mlp.w_m.weight`, `.w_n.weight`, `.w_proj.weight`) or one of the llama family
    (`layers.0.mlp.gate_proj.weight`, `.up_proj.weight`, `.down_proj.weight`) the MLP of one block.

    Such an MLP acts on what its norm gives: the norm, its gain and the residual connection around
    it are not part of the layer. (In a bilinear transformer the "norm" is a scale alone,
    `norm_mlp.scale`, and is folded into both weights.) A file of weights does not say whether an
    image model has a residual connection, or any code a gate: none is assumed.

    Parameters
    ----------
    path : path
    layer : int, optional
        The number of the block to read, from 0; needed where there are several.
    gate : None or "ignore"
        A gated MLP, `down(σ(gate x) ⊙ up x)`, is refused unless the gate is to be ignored: then σ
        is read as the identity, which is another function unless it is.
    mapping : mapping of str to str, optional
        For files of any other layout: from our parameter names to names in the file, as in
        `{"w_left": "mlp.w.weight[left]", "w_right": "mlp.w.weight[right]", "w_out": "p[T]"}`. The
        halves are of rows, T is the transpose, and what is not named is left alone.

    Returns
    -------
    BilinearLayer or BilinearMLP
        A layer if the file has `w_left` or a block was chosen, a model if it has `layers.0.w_left`
        or is an image model.

    Raises
    ------
    ValueError
        For a file that is damaged, foreign, of another schema, changed since it was saved, or
        whose arrays do not fit each other; for several blocks without a choice, a block that is
        not there, a gate, or a mapping that does not fit. The message says which.
    TypeError
        For arrays of a number type that is not admitted.
    ImportError
        For a file of torch where torch is not installed.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "other.npz")
    >>> np.savez(path, fused=np.ones((4, 3)), out=np.ones((2, 5)))
    >>> load(path, mapping={"w_left": "fused[left]", "w_right": "fused[right]", "w_out": "out[T]"})
    BilinearLayer(d_in=3, d_hidden=2, d_out=5, float64, w_out)
    """
    require_gate(gate)
    arrays = read_arrays(path)
    try:
        if mapping is not None:
            return _one_of(_model(mapped(arrays, mapping)), layer)
        if is_ours(arrays):
            return _one_of(_model(_without_about(arrays)), layer)
        return _model(translated(arrays, layer=layer, gate=gate))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{os.fspath(path)}: {error}") from error


def _one_of(model: BilinearLayer | BilinearMLP, layer: int | None) -> BilinearLayer | BilinearMLP:
    """Return the model, or the one of its layers that was asked for."""
    if layer is None:
        return model
    if isinstance(model, BilinearLayer):
        raise ValueError("it is one layer: leave layer (on the command line --layer) away")  # noqa: TRY004
    return model.layers[chosen(range(len(model.layers)), layer)]


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
