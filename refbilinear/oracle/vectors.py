"""Test vectors: what a file of them may hold, reading one from anyone, and writing it.

A vector names an operation, its inputs as numbers, and what must come out. The shipped suite stands
in `data/` as JSON and as flat text (a line an array), with the SHA-256 of every file beside it.
Nothing of a file is believed before it is checked, the whole by the SHA-256 that it carries.
Nothing in it is ever run.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from refbilinear.oracle import strict
from refbilinear.spec.arrays import Array
from refbilinear.spec.packed import n_pairs

SCHEMA = "refbilinear-vectors-1"
DATA = Path(__file__).with_name("data")
TIERS = ("exact", "bounded", "certificate")
RESULTS = ("valid", "acceptable", "invalid")
VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}")
DIGEST = re.compile(r"[0-9a-f]{64}")

LAYER = {
    "w_left": "hi",
    "w_right": "hi",
    "w_out": "oh",
    "b_left": "h",
    "b_right": "h",
    "b_out": "o",
    "w_skip": "oi",
}
SETTINGS = ("learning_rate", "weight_decay", "beta1", "beta2", "epsilon")
INTEGERS = {
    ("cross_entropy", "labels"), ("adamw", "t"), ("spectrum", "k"), ("truncate", "k"),
    ("fold", "residual"),
}  # fmt: skip
OPTIONAL = {
    "w_out", "b_left", "b_right", "b_out", "w_skip", "w_embed", "b_embed", "gain", "left_scale",
    "w_head", "residual",
}  # fmt: skip
HEADER = (
    "schema", "suite", "suiteVersion", "numberOfTests", "minTests", "source", "sha256", "notes",
    "withdrawn", "groups",
)  # fmt: skip
TEST = ("tcId", "comment", "flags", "result", "inputs", "expected")
BOUNDS = ("residual", "twin", "allowed", "K", "degree")


class Operation(NamedTuple):
    """The arrays that go in and come out, each with the letters of its shape."""

    inputs: dict[str, str]
    outputs: dict[str, str]


OPERATIONS = {
    "forward": Operation(LAYER | {"x": "ni"}, {"y": "no"}),
    "tensor": Operation(LAYER, {"tensor": "op"}),
    "matrix": Operation(LAYER | {"u": "o"}, {"matrix": "dd"}),
    "form": Operation({"tensor": "op", "x": "nd"}, {"y": "no"}),
    "backward": Operation(LAYER | {"x": "ni", "dy": "no"}, LAYER | {"x": "ni"}),
    "squared_error": Operation({"y": "no", "t": "no"}, {"value": "", "dy": "no"}),
    "cross_entropy": Operation({"y": "no", "labels": "n"}, {"value": "", "dy": "no"}),
    "adamw": Operation(
        dict.fromkeys(("theta", "g", "m", "v"), "s") | dict.fromkeys(("t", *SETTINGS), ""),
        {"theta": "s", "m": "s", "v": "s"},
    ),
    "spectrum": Operation({"Q": "dd", "k": ""}, {"eigenvalues": "d", "basis": "dd"}),
    "truncate": Operation({"Q": "dd", "k": ""}, {"matrix": "dd", "tail": ""}),
    "hosvd": Operation(
        {"tensor": "op"},
        {"squares_out": "o", "squares_in": "d", "basis_out": "oo", "basis_in": "dd"},
    ),
    "fold": Operation(
        LAYER
        | {"w_embed": "ij", "b_embed": "i", "gain": "i", "left_scale": "", "w_head": "ro"}
        | {"residual": ""},
        {"tensor": "rp"},
    ),
}


class Note(NamedTuple):
    """What a flag stands for: the mistake, what it does, the mutants that its vectors kill."""

    bug_type: str
    description: str
    effect: str
    kills: tuple[str, ...]


class Vector(NamedTuple):
    """One test: inputs by name, and what must come out by name.

    `residual`, `twin`, `K` and `degree` are there for bounded outputs, or `allowed` in the place of
    the last three; see docs/vectors.md.
    """

    tc_id: int
    comment: str
    flags: tuple[str, ...]
    result: str
    inputs: dict[str, Array]
    expected: dict[str, Array]
    residual: dict[str, Array]
    twin: dict[str, Array]
    allowed: dict[str, Array]
    K: dict[str, int]
    degree: dict[str, int]


class Group(NamedTuple):
    """Vectors of one operation, tier and dtype, and what they leave unseen.

    `miss_prob_log2` bounds the logarithm of the probability that a wrong polynomial passes all;
    0 says nothing.
    """

    op: str
    tier: str
    dtype: str
    convention: dict[str, str]
    miss_prob_log2: int
    vectors: tuple[Vector, ...]


class Suite(NamedTuple):
    """A file of vectors as it was read and checked."""

    name: str
    version: str
    min_tests: int
    notes: dict[str, Note]
    withdrawn: dict[int, str]
    groups: tuple[Group, ...]


def load() -> Suite:
    """Return the shipped suite, every file checked against its SHA-256.

    Examples
    --------
    >>> suite = load()
    >>> suite.name, suite.min_tests == sum(len(group.vectors) for group in suite.groups)
    ('core', True)
    """
    return parse(files()["core.json"])


def files() -> dict[str, bytes]:
    """Return the shipped files by name: JSON, flat text, JSON Schema, manifest.

    Raises
    ------
    ValueError
        For a file that is not the one of the manifest.

    Examples
    --------
    >>> sorted(files())
    ['core.json', 'core.txt', 'manifest.json', 'schema.json']
    """
    return read_folder(DATA)


def read_folder(folder: str | os.PathLike[str]) -> dict[str, bytes]:
    """Return the files that the manifest of a folder names, each with the right SHA-256.

    Raises
    ------
    ValueError
        For a manifest that is none, a name that is a path, or a file that was changed.
    """
    folder = Path(folder)
    manifest = strict.read_bounded(folder / "manifest.json")
    found = {"manifest.json": manifest}
    for name, digest in _digests(strict.parse_json(manifest)).items():
        found[name] = strict.read_bounded(folder / name)
        if sha256(found[name]) != digest:
            raise ValueError(f"{name} must have the SHA-256 {digest[:12]}… of the manifest")
    return found


def read(path: str | os.PathLike[str]) -> Suite:
    """Read a file of vectors from anyone.

    Parameters
    ----------
    path : path
        A regular file of at most 4 MiB, no symbolic link.

    Returns
    -------
    Suite

    Raises
    ------
    ValueError
        For anything that is not such a file, saying what and where.
    OSError
        For a path that cannot be read.
    """
    return strict.read_with(path, parse)


def parse(content: bytes) -> Suite:
    """Return the suite that a file's bytes hold, checked throughout.

    Raises
    ------
    ValueError
        For bytes that are no JSON, keys that are twice, missing or unknown, numbers that do not
        fit their dtype, shapes that do not fit their data or each other, flags without a note, ids
        that are not ascending or were withdrawn, counts or a SHA-256 that are not those of the
        content.

    Examples
    --------
    >>> parse(b'{"schema": 1, "schema": 2}')
    Traceback (most recent call last):
    ValueError: an object holds the key "schema" twice
    """
    document = strict.parse_json(content)
    strict.record("the file", document, HEADER)
    strict.equal("schema", document["schema"], SCHEMA)
    suite = Suite(
        strict.word("suite", document["suite"]),
        strict.match("suiteVersion", document["suiteVersion"], VERSION),
        strict.integer("minTests", document["minTests"], 0, strict.LARGEST_ID),
        {name: _note(name, value) for name, value in strict.members("notes", document["notes"])},
        _withdrawn(document["withdrawn"]),
        tuple(
            _group(f"groups[{i}]", one) for i, one in strict.entries("groups", document["groups"])
        ),
    )
    strict.word("source", document["source"])
    _require_consistent(
        suite, strict.integer("numberOfTests", document["numberOfTests"], 0, strict.LARGEST_ID)
    )
    strict.equal("sha256", document["sha256"], content_digest(document))
    return suite


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with the SHA-256 of all else in it."""
    return {**document, "sha256": content_digest(document)}


def content_digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document's canonical bytes, its own field left out."""
    return sha256(canonical({key: document[key] for key in document if key != "sha256"}))


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def canonical(document: Mapping[str, Any]) -> bytes:
    r"""Return the one form in which a document is written: keys sorted, a test on a line.

    Examples
    --------
    >>> canonical({"b": [1, 2], "a": {}})
    b'{\n"a":{},\n"b":[\n1,\n2\n]\n}\n'
    """
    return (_spread(document, 4) + "\n").encode("ascii")


def flat(document: Mapping[str, Any]) -> bytes:
    """Return a document as flat text: `tcId name dtype ndim sizes… values…`, a line an array.

    The last line is a comment with the SHA-256 of all lines before it.

    Examples
    --------
    >>> flat({"groups": []}).splitlines()[0]
    b'# refbilinear-vectors-1'
    """
    lines = [f"# {SCHEMA}"]
    for group in document["groups"]:
        for test in group["tests"]:
            lines += _flat_test(group, test)
    text = ("\n".join(lines) + "\n").encode("ascii")
    return text + f"# sha256 {sha256(text)}\n".encode("ascii")


def dtype_of(op: str, name: str, dtype: str) -> str:
    """Return the dtype that an array of a group has: labels and counts are integers.

    Examples
    --------
    >>> [dtype_of("adamw", name, "f32") for name in ("t", "beta1", "theta")]
    ['i64', 'f64', 'f32']
    """
    return "i64" if (op, name) in INTEGERS else "f64" if name in SETTINGS else dtype


# ---- the parts of a suite


def _note(name: str, value: Any) -> Note:
    where = f"notes.{name}"
    strict.record(where, value, ("bugType", "description", "effect", "kills"))
    return Note(
        strict.word(f"{where}.bugType", value["bugType"]),
        strict.text(f"{where}.description", value["description"]),
        strict.text(f"{where}.effect", value["effect"]),
        strict.words(f"{where}.kills", value["kills"]),
    )


def _withdrawn(value: Any) -> dict[int, str]:
    found = {}
    for i, entry in strict.entries("withdrawn", value):
        where = f"withdrawn[{i}]"
        strict.record(where, entry, ("tcId", "reason"))
        found[strict.tc_id(where, entry["tcId"])] = strict.text(f"{where}.reason", entry["reason"])
    return found


def _group(where: str, value: Any) -> Group:
    keys = ("op", "tier", "dtype", "convention", "tests")
    strict.record(where, value, keys, ("missProbLog2",))
    op = strict.one_of(f"{where}.op", value["op"], OPERATIONS)
    tier = strict.one_of(f"{where}.tier", value["tier"], TIERS)
    dtype = strict.one_of(f"{where}.dtype", value["dtype"], ("f64", "f32"))
    convention, miss = value["convention"], value.get("missProbLog2", 0)
    tests = strict.entries(f"{where}.tests", value["tests"])
    return Group(
        op=op,
        tier=tier,
        dtype=dtype,
        convention={name: strict.text(where, w) for name, w in strict.members(where, convention)},
        miss_prob_log2=strict.integer(f"{where}.missProbLog2", miss, -strict.LARGEST_ID, 0),
        vectors=tuple(_vector(f"{where}.tests[{i}]", one, op, tier, dtype) for i, one in tests),
    )


def _vector(where: str, value: Any, op: str, tier: str, dtype: str) -> Vector:
    strict.record(where, value, TEST, BOUNDS if tier == "bounded" else ())
    outputs = {
        key: _arrays(f"{where}.{key}", value.get(key, {}), op, dtype, OPERATIONS[op].outputs)
        for key in ("expected", "residual", "twin", "allowed")
    }
    counts = {key: _counts(f"{where}.{key}", value.get(key, {})) for key in ("K", "degree")}
    vector = Vector(
        tc_id=strict.tc_id(where, value["tcId"]),
        comment=strict.text(f"{where}.comment", value["comment"]),
        flags=strict.words(f"{where}.flags", value["flags"]),
        result=strict.one_of(f"{where}.result", value["result"], RESULTS),
        inputs=_arrays(f"{where}.inputs", value["inputs"], op, dtype, OPERATIONS[op].inputs),
        expected=outputs["expected"],
        residual=outputs["residual"],
        twin=outputs["twin"],
        allowed=outputs["allowed"],
        K=counts["K"],
        degree=counts["degree"],
    )
    _require_names(where, vector, op)
    _require_sizes(where, vector, op)
    _require_ranges(where, vector.inputs)
    if tier == "bounded":
        _require_bounds(where, vector)
    return vector


def _arrays(
    where: str, value: Any, op: str, dtype: str, names: Collection[str]
) -> dict[str, Array]:
    found = {}
    for name, one in strict.members(where, value):
        if name not in names:
            raise ValueError(f"{where} holds the unknown array {name}")
        found[name] = strict.array(f"{where}.{name}", one, strict.strict_number)
        strict.equal(f"{where}.{name}.dtype", one["dtype"], dtype_of(op, name, dtype))
    return found


def _counts(where: str, value: Any) -> dict[str, int]:
    return {
        name: strict.integer(f"{where}.{name}", n, 0, strict.LARGEST_ID)
        for name, n in strict.members(where, value)
    }


def _require_names(where: str, vector: Vector, op: str) -> None:
    """Raise ValueError unless every input that is not optional is there, and every output."""
    inputs, outputs = OPERATIONS[op]
    for name in inputs:
        if name not in vector.inputs and name not in OPTIONAL:
            raise ValueError(f"{where}.inputs must hold {name}")
    wanted = outputs
    if op == "backward":  # a gradient for every parameter that is there
        wanted = {name: outputs[name] for name in vector.inputs if name in outputs}
    if vector.result == "invalid":
        wanted = {}
    if set(vector.expected) != set(wanted):
        raise ValueError(f"{where}.expected must hold {', '.join(wanted) or 'nothing'}")


def _require_sizes(where: str, vector: Vector, op: str) -> None:
    """Raise ValueError unless one letter is one size throughout a vector."""
    sizes: dict[str, int] = {}
    for arrays, letters in zip((vector.inputs, vector.expected), OPERATIONS[op], strict=True):
        for name, array in arrays.items():
            _unify(f"{where}.{name}", array.shape, letters[name], sizes)
    if "w_left" in vector.inputs and "w_out" not in vector.inputs:
        _unify(f"{where}.w_left", (sizes["h"],), "o", sizes)
    if {"p", "d"} <= set(sizes) and sizes["p"] != n_pairs(sizes["d"]):
        raise ValueError(f"{where}.tensor must have {n_pairs(sizes['d'])} pairs; got {sizes['p']}")


def _unify(where: str, shape: tuple[int, ...], letters: str, sizes: dict[str, int]) -> None:
    if letters == "s":  # a parameter of any shape: its size alone
        shape = (math.prod(shape),)
    fits = len(shape) == len(letters)
    for letter, size in zip(letters, shape, strict=False):
        fits = fits and sizes.setdefault(letter, size) == size
    if not fits:
        wanted = f"({', '.join(letters)})"
        raise ValueError(f"{where} must have shape {wanted} as the others; got {shape}")


def _require_ranges(where: str, inputs: Mapping[str, Array]) -> None:
    """Raise ValueError for a label that is no class, more pairs than there are, or a step 0."""
    if "labels" in inputs:
        for label in inputs["labels"].tolist():
            strict.integer(f"{where}.labels", label, 0, inputs["y"].shape[1] - 1)
    if "k" in inputs:
        strict.integer(f"{where}.k", inputs["k"].item(), 0, len(inputs["Q"]))
    if "theta" in inputs:
        strict.integer(f"{where}.t", inputs["t"].item(), 1, strict.LARGEST_ID)


def _require_bounds(where: str, vector: Vector) -> None:
    """Raise ValueError unless each output has its residual, and twin, K, degree or allowed."""
    for name, array in vector.expected.items():
        counted = name in vector.twin and name in vector.K and name in vector.degree
        if name not in vector.residual or counted == (name in vector.allowed):
            raise ValueError(f"{where}.{name} must have residual, and twin, K, degree or allowed")
        for held in (vector.residual, vector.twin, vector.allowed):
            if name in held and held[name].shape != array.shape:
                raise ValueError(f"{where}.{name} must have bounds of its own shape {array.shape}")


def _require_consistent(suite: Suite, number: int) -> None:
    ids = [vector.tc_id for group in suite.groups for vector in group.vectors]
    used = {flag for group in suite.groups for vector in group.vectors for flag in vector.flags}
    if any(later <= before for before, later in pairwise(ids)):
        raise ValueError("tcId must ascend through the file")
    if not number == len(ids) >= suite.min_tests:
        raise ValueError(
            f"numberOfTests and minTests must be {len(ids)}, the number of tests, or less; "
            f"got {number} and {suite.min_tests}"
        )
    if used != set(suite.notes):
        flag = sorted(used ^ set(suite.notes))[0]
        raise ValueError(f"flag {flag} must have a note and at least one vector")
    if set(ids) & set(suite.withdrawn):
        raise ValueError(f"tcId {min(set(ids) & set(suite.withdrawn))} was withdrawn")


def _digests(manifest: Any) -> dict[str, str]:
    keys = ("schema", "suite", "suiteVersion", "numberOfTests", "sha256")
    strict.record("manifest.json", manifest, keys)
    strict.equal("schema", manifest["schema"], SCHEMA)
    return {
        name: strict.match(f"sha256 of {name}", digest, DIGEST)
        for name, digest in strict.members("sha256", manifest["sha256"])
    }


def _flat_test(group: Mapping[str, Any], test: Mapping[str, Any]) -> Iterator[str]:
    tc_id = test["tcId"]
    for name in ("op", "tier"):
        yield f"{tc_id} {name} text 0 {group[name]}"
    yield f"{tc_id} result text 0 {test['result']}"
    yield " ".join([f"{tc_id} flags text 1 {len(test['flags'])}", *test["flags"]])
    for key in ("inputs", "expected", *BOUNDS):
        for name, value in sorted(test.get(key, {}).items()):
            yield f"{tc_id} {key}.{name} {_flat_array(value)}"


def _flat_array(value: Any) -> str:
    """Return an array, or a single count, as `dtype ndim sizes… values…`."""
    if isinstance(value, int):
        return f"i64 0 {value}"
    return " ".join(
        map(str, (value["dtype"], len(value["shape"]), *value["shape"], *value["data"]))
    )


# ---- the JSON Schema, for who reads the file elsewhere


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a file of vectors.

    It says what stands where; `parse` checks more: sizes against data and each other, counts, ids,
    notes and the SHA-256.

    Examples
    --------
    >>> json_schema()["properties"]["schema"]
    {'const': 'refbilinear-vectors-1'}
    """
    word, text = {"type": "string", "pattern": f"^({strict.NAME.pattern})$"}, {"type": "string"}
    tc_id = {"type": "integer", "minimum": 1, "maximum": strict.LARGEST_ID}
    count = {"type": "integer", "minimum": 0, "maximum": strict.LARGEST_ID}
    number = {"oneOf": [{"type": "integer"}, _pattern(strict.NUMBER)]}
    array = _object(
        dtype={"enum": list(strict.DTYPES)},
        shape=_list(count) | {"maxItems": strict.MOST_AXES},
        data=_list(number),
    )
    note = _object(bugType=word, description=text, effect=text, kills=_list(word))
    test = _object(
        tcId=tc_id, comment=text, flags=_list(word), result={"enum": list(RESULTS)},
        inputs=_each(array), expected=_each(array),
    )  # fmt: skip
    test["properties"] |= {key: _each(array) for key in ("residual", "twin", "allowed")}
    test["properties"] |= {key: _each(count) for key in ("K", "degree")}
    group = _object(
        op={"enum": list(OPERATIONS)}, tier={"enum": list(TIERS)}, dtype={"enum": ["f64", "f32"]},
        convention=_each(text), tests=_list(test),
    )  # fmt: skip
    group["properties"]["missProbLog2"] = {"type": "integer", "maximum": 0}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | _object(
        schema={"const": SCHEMA}, suite=word, suiteVersion=_pattern(VERSION), numberOfTests=count,
        minTests=count, source=word, sha256=_pattern(DIGEST), notes=_each(note),
        withdrawn=_list(_object(tcId=tc_id, reason=text)), groups=_list(group),
    )  # fmt: skip


def _object(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object that holds these keys and no others."""
    required = list(properties)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _each(schema: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": schema}


def _list(schema: Any) -> dict[str, Any]:
    return {"type": "array", "items": schema}


def _pattern(pattern: re.Pattern[str]) -> dict[str, str]:
    return {"type": "string", "pattern": f"^({pattern.pattern})$"}


def _spread(value: Any, levels: int) -> str:
    if not levels or not value or not isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}:{_spread(value[key], levels - 1)}" for key in sorted(value)]
        return "{\n" + ",\n".join(parts) + "\n}"
    return "[\n" + ",\n".join(_spread(part, levels - 1) for part in value) + "\n]"
