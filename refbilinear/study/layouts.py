"""What other code calls the parameters of a bilinear layer: from names in a file to our names.

    image                   embed.weight, blocks.0.weight, head.weight
    language                transformer.h.0.mlp.w.weight and .p.weight (older: .o.weight)
    bilinear transformer    blocks.0.mlp.w_m.weight, .w_n.weight and .w_proj.weight
    gated                   layers.0.mlp.gate_proj.weight, .up_proj.weight and .down_proj.weight

Each may stand behind a prefix, such as `module.` or `model.`. Biases are read where they are there.
A name may be followed by what is taken of the array: `[left]` and `[right]` are the first and the
second half of its rows, `[T]` is its transpose, `[left,T]` one after the other.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from refbilinear.spec.arrays import Array, enter, require_count
from refbilinear.spec.layer import LAYER_PARAMETERS
from refbilinear.study.safetensors_files import widened

# Where the parameters of block i stand, then left, right and out; {} is "weight" or "bias".
LAYOUTS = {
    "image": ("blocks.{i}.", ("{}[left]", "{}[right]")),
    "language": ("transformer.h.{i}.mlp.", ("w.{}[left]", "w.{}[right]", "p.{}")),
    "older language": ("transformer.h.{i}.mlp.", ("w.{}[left]", "w.{}[right]", "o.{}")),
    "bilinear transformer": ("blocks.{i}.mlp.", ("w_m.{}", "w_n.{}", "w_proj.{}")),
    "gated": ("layers.{i}.mlp.", ("gate_proj.{}", "up_proj.{}", "down_proj.{}")),
}
ENDS = {"w_embed": "embed.weight", "w_head": "head.weight"}
SCALE = "blocks.{i}.norm_mlp.scale"
KNOWN = (
    "image (embed.weight, blocks.0.weight, head.weight), language (transformer.h.0.mlp.w.weight, "
    ".p.weight), bilinear transformer (blocks.0.mlp.w_m.weight, .w_n.weight, .w_proj.weight) and "
    "gated (layers.0.mlp.gate_proj.weight, .up_proj.weight, .down_proj.weight)"
)
HOW_TO_MAP = (
    "name the arrays to read, as in mapping={'w_left': 'mlp.w.weight[left]', …} (on the command "
    "line --map w_left=mlp.w.weight[left] --map …)"
)
PARAMETER = re.compile(rf"(layers\.[0-9]+\.)?({'|'.join(LAYER_PARAMETERS)})|w_embed|w_head")


def is_ours(arrays: Mapping[str, Array]) -> bool:
    """Return whether a file holds a parameter under one of our names."""
    return any(PARAMETER.fullmatch(name) for name in arrays)


def require_gate(gate: str | None) -> None:
    """Raise ValueError for a `gate` that is neither None nor "ignore"."""
    if gate not in (None, "ignore"):
        raise ValueError(f"gate must be None or 'ignore'; got {gate!r}")


def mapped(arrays: Mapping[str, Array], mapping: Mapping[str, str]) -> dict[str, Array]:
    """Return the arrays that a mapping names, under our names; other arrays are left alone.

    Parameters
    ----------
    arrays : mapping of str to array
        Those of a file.
    mapping : mapping of str to str
        From names of ours (`w_left`, or `layers.0.w_left`, `w_embed`, `w_head`) to names in
        `arrays`, each followed by what is taken of it, as in `mlp.w.weight[left]`.

    Returns
    -------
    dict of str to array

    Raises
    ------
    ValueError
        For a name that is none of ours or not in `arrays`, or an array without such a part.
    TypeError
        For what is no mapping of names.

    Examples
    --------
    >>> fused = {"w": np.arange(4.0).reshape(4, 1), "p": np.ones((2, 3))}
    >>> mapped(fused, {"w_right": "w[right]", "w_out": "p[T]"})["w_right"]
    array([[2.],
           [3.]])
    """
    if not isinstance(mapping, Mapping):
        raise TypeError(f"mapping must be a mapping of names; got {type(mapping).__name__}")
    for ours, source in mapping.items():
        if not isinstance(ours, str) or not isinstance(source, str):
            raise TypeError(f"mapping must map names to names; got {ours!r}: {source!r}")
        if not PARAMETER.fullmatch(ours):
            raise ValueError(
                "mapping must give parameters, such as w_left, or layers.0.w_left, w_embed and "
                f"w_head; got {ours}"
            )
    return {ours: _taken(arrays, source) for ours, source in mapping.items()}


def translated(
    arrays: Mapping[str, Array], *, layer: int | None = None, gate: str | None = None
) -> dict[str, Array]:
    """Return the parameters of other code's layer or model under our names.

    Parameters
    ----------
    arrays : mapping of str to array
        Those of a file of one of `LAYOUTS`, behind any prefix.
    layer : int, optional
        The number of the block to read, where there are several.
    gate : None or "ignore"
        Whether a gate is read as if it were the identity.

    Returns
    -------
    dict of str to array
        An image model whole, or one block of it; of the others the MLP of one block.

    Raises
    ------
    ValueError
        For arrays of no layout, or of two; for a block that is not there or not named; for a
        gate; and for an array in what is read that the layout does not have.

    Examples
    --------
    >>> fused, out = np.arange(4.0).reshape(4, 1), np.ones((3, 2))
    >>> names = "transformer.h.0.mlp.w.weight", "transformer.h.0.mlp.p.weight"
    >>> list(translated(dict(zip(names, (fused, out)))))
    ['w_left', 'w_right', 'w_out']
    """
    layout, prefix, numbers = _found(arrays)
    if layout == "gated" and gate is None:
        raise ValueError(
            "its MLP has a gate, y = down(σ(gate x) ⊙ up x), which is no polynomial unless σ is "
            "the identity; gate='ignore' (on the command line --gate ignore) reads it as if it were"
        )
    if layout == "image" and layer is None:
        return _image(arrays, prefix, numbers)
    return _block(arrays, layout, prefix, chosen(numbers, layer))


def chosen(numbers: Sequence[int], layer: int | None) -> int:
    """Return the number of the one block to read, or raise ValueError that says which there are.

    Examples
    --------
    >>> chosen(range(3), None)
    Traceback (most recent call last):
    ValueError: it holds 3 blocks: choose one by layer=0 … 2 (on the command line --layer)
    """
    if layer is None and len(numbers) == 1:
        return numbers[0]
    if layer is None:
        words = f"choose one by layer={_span(numbers)} (on the command line --layer)"
        raise ValueError(f"it holds {len(numbers)} blocks: {words}")
    if require_count("layer", layer, 0) not in numbers:
        raise ValueError(f"layer must be {_span(numbers)}; got {layer}")
    return layer


def _span(numbers: Sequence[int]) -> str:
    gapless = numbers[-1] - numbers[0] == len(numbers) - 1
    ends = f"{numbers[0]} … {numbers[-1]}"
    return ends if gapless and len(numbers) > 1 else ", ".join(map(str, numbers))


def _found(arrays: Mapping[str, Array]) -> tuple[str, str, list[int]]:
    """Return the one layout that is there, its prefix and the numbers of its blocks."""
    blocks = sorted({block for layout in LAYOUTS for block in _blocks(arrays, layout)})
    places = {(layout, prefix) for layout, prefix, _ in blocks}
    if not places:
        raise ValueError(
            f"it must hold w_left, or layers.0.w_left; it holds {_some(arrays)}. Layouts of other "
            f"code that are read: {KNOWN}. Of any other, {HOW_TO_MAP}"
        )
    if len(places) > 1:
        words = ", ".join(
            f"{layout} ({prefix or 'no prefix'})" for layout, prefix in sorted(places)
        )
        raise ValueError(f"it holds more than one model: {words}; {HOW_TO_MAP}")
    ((layout, prefix),) = places
    return layout, prefix, [number for _, _, number in blocks]


def _blocks(arrays: Mapping[str, Array], layout: str) -> Iterator[tuple[str, str, int]]:
    """Yield layout, prefix and number of every block whose weights are all there."""
    left = re.escape(_name(_sources(layout, "", "NUMBER")["w_left"]))
    pattern = re.compile(rf"(|.*\.){left.replace('NUMBER', '(0|[1-9][0-9]*)')}", re.DOTALL)
    for match in filter(None, map(pattern.fullmatch, arrays)):
        prefix, number = match.groups()
        sources = _sources(layout, prefix, number)
        wanted = [_name(source) for ours, source in sources.items() if ours.startswith("w_")]
        wanted += [prefix + end for end in ENDS.values() if layout == "image"]
        if all(name in arrays for name in wanted):
            yield layout, prefix, int(number)


def _sources(layout: str, prefix: str, number: int | str) -> dict[str, str]:
    """Return where each parameter of a block stands, by our name for it."""
    stem, places = LAYOUTS[layout]
    return {
        f"{letter}_{side}": prefix + stem.format(i=number) + place.format(kind)
        for side, place in zip(("left", "right", "out"), places, strict=False)
        for letter, kind in (("w", "weight"), ("b", "bias"))
    }


def _block(arrays: Mapping[str, Array], layout: str, prefix: str, number: int) -> dict[str, Array]:
    stem = prefix + LAYOUTS[layout][0].format(i=number)
    values = _read(arrays, _sources(layout, prefix, number), stem)
    scale = prefix + SCALE.format(i=number)
    if layout == "bilinear transformer" and scale in arrays:
        values |= _scaled(values, scale, widened(arrays[scale]))
    return values


def _image(arrays: Mapping[str, Array], prefix: str, numbers: list[int]) -> dict[str, Array]:
    if numbers != list(range(len(numbers))):
        raise ValueError(f"its blocks must be numbered from 0 without a gap; they are {numbers}")
    sources = {ours: prefix + name for ours, name in ENDS.items()}
    for number in numbers:
        block = _sources("image", prefix, number)
        sources |= {f"layers.{number}.{ours}": source for ours, source in block.items()}
    return _read(arrays, sources, prefix)


def _read(arrays: Mapping[str, Array], sources: dict[str, str], stem: str) -> dict[str, Array]:
    """Return the parameters that are there, which must be all that stands behind the stem."""
    present = {ours: source for ours, source in sources.items() if _name(source) in arrays}
    known = set(map(_name, present.values()))
    unknown = sorted(name for name in arrays if name.startswith(stem) and name not in known)
    if unknown:
        raise ValueError(
            f"it holds {unknown[0]}, which its layout does not have, and without which it might "
            f"be another function; to leave it out, {HOW_TO_MAP}"
        )
    return mapped(arrays, present)


def _scaled(values: dict[str, Array], name: str, scale: Array) -> dict[str, Array]:
    """Return `w_left diag(s)` and `w_right diag(s)`: that "norm" multiplies by s and no more."""
    scaled = {}
    for ours in ("w_left", "w_right"):
        w = enter(ours, values[ours], {"d_hidden": None, "d_in": None})
        s = enter(name, scale, {"d_in": w.shape[1]}, dtype=w.dtype, match=f"to match {ours}")
        with np.errstate(over="ignore", invalid="ignore"):  # a layer may hold what is not finite
            scaled[ours] = w * s
    return scaled


def _taken(arrays: Mapping[str, Array], source: str) -> Array:
    """Return the array of a name, or the part of it that the name asks for."""
    name, parts = _split(source)
    if name not in arrays:
        raise ValueError(f"it holds no {name}; it holds {_some(arrays)}")
    array = widened(arrays[name])
    for part in parts:
        array = _part(array, part, source)
    return array


def _name(source: str) -> str:
    return _split(source)[0]


def _split(source: str) -> tuple[str, list[str]]:
    """Return a name and what is taken of its array: of `w[left,T]`, w and left, T."""
    name, bracket, parts = source.removesuffix("]").rpartition("[")
    return (name, parts.split(",")) if bracket and source.endswith("]") else (source, [])


def _part(array: Array, part: str, source: str) -> Array:
    if part not in ("left", "right", "T"):
        raise ValueError(f"{source} must ask for [left], [right] or [T]; got [{part}]")
    if part == "T":
        if array.ndim != 2:
            raise ValueError(f"{source} must have 2 axes to be transposed; got {array.shape}")
        return array.T
    if array.ndim == 0 or len(array) % 2:
        raise ValueError(f"{source} must have an even number of rows; got {array.shape}")
    half = len(array) // 2
    return array[:half] if part == "left" else array[half:]


def _some(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:5]) or "nothing"
