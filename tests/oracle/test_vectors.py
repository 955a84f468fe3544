"""Files of vectors and results: what is read, what is refused with its reason, what is written."""

import json
import os
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from refbilinear.oracle import results, strict, vectors
from refbilinear.oracle.results import parse_flat, parse_results, read_results
from refbilinear.oracle.vectors import canonical, parse, read, sealed

FILES = vectors.files()


def number(values, shape=None, dtype="f64"):
    return {"dtype": dtype, "shape": [len(values)] if shape is None else shape, "data": values}


def small():
    """A file with one vector of each tier, before its seal."""
    note = {"bugType": "ANY", "description": "a mistake", "effect": "an effect", "kills": ["a.b"]}
    product = {"w_left": number([3], [1, 1]), "w_right": number(["0x1.8p+1"], [1, 1])}
    test = {"comment": "", "flags": ["Flag"], "result": "valid"}
    y = number([9], [1, 1])
    forward = test | {"inputs": product | {"x": number([1], [1, 1])}, "expected": {"y": y}}
    bounds = {
        "residual": {"y": number([0], [1, 1])},
        "twin": {"y": y},
        "K": {"y": 3},
        "degree": {"y": 5},
    }
    entropy = test | {
        "inputs": {"y": number([0, 1], [1, 2]), "labels": number([1], dtype="i64")},
        "expected": {"value": number([0], []), "dy": number([0, 1], [1, 2])},
        "residual": {"value": number([0], []), "dy": number([0, 0], [1, 2])},
        "allowed": {"value": number([1], []), "dy": number([1, 1], [1, 2])},
    }
    pairs = test | {
        "inputs": {"Q": number([1, 0, 0, "nan"], [2, 2]), "k": number([2], [], "i64")},
        "expected": {}, "result": "invalid",
    }  # fmt: skip

    def group(op, tier, *tests):
        return {
            "op": op,
            "tier": tier,
            "dtype": "f64",
            "convention": {"order": "any"},
            "tests": list(tests),
        }

    groups = [
        group("forward", "exact", forward | {"tcId": 1}) | {"missProbLog2": -5},
        group("forward", "bounded", forward | bounds | {"tcId": 2}),
        group("cross_entropy", "bounded", entropy | {"tcId": 3}),
        group("spectrum", "certificate", pairs | {"tcId": 4}),
    ]
    return {
        "schema": vectors.SCHEMA, "suite": "small", "suiteVersion": "1.0.0", "numberOfTests": 4,
        "minTests": 4, "source": "me", "notes": {"Flag": note},
        "withdrawn": [{"tcId": 9, "reason": "an input was wrong"}], "groups": groups,
    }  # fmt: skip


SMALL = canonical(sealed(small()))


# ---- what is shipped


def test_the_shipped_files_are_small_and_whole():
    assert sum(map(len, FILES.values())) <= 2 * 2**20
    suite = vectors.load()
    found = [vector for group in suite.groups for vector in group.vectors]
    assert len(found) == suite.min_tests >= 600
    manifest = json.loads(FILES["manifest.json"])
    assert manifest["numberOfTests"] == len(found)
    assert manifest["suiteVersion"] == suite.version
    assert json.loads(FILES["schema.json"]) == vectors.json_schema()


def test_the_miss_probability_stands_in_the_file():
    for group in vectors.load().groups:
        random_ones = group.vectors[0].flags == ("RandomIntegers",)
        assert (group.miss_prob_log2 < 0) == random_ones
        if random_ones:
            assert group.miss_prob_log2 <= (-90 if group.dtype == "f64" else -72)


def test_both_forms_hold_the_same_numbers():
    lines = parse_flat(FILES["core.txt"])
    for group in vectors.load().groups:
        for vector in group.vectors:
            held = lines.pop(vector.tc_id)
            assert held.pop("op") == [group.op]
            assert held.pop("tier") == [group.tier]
            assert held.pop("result") == [vector.result]
            assert held.pop("flags") == list(vector.flags)
            for key in ("inputs", "expected", "residual", "twin", "allowed", "K", "degree"):
                for name, array in getattr(vector, key).items():
                    again = held.pop(f"{key}.{name}")
                    assert again.shape == np.shape(array)
                    assert np.array_equal(again, array, equal_nan=True)
                    assert again.dtype == np.asarray(array).dtype
            assert not held
    assert not lines


def test_the_flat_text_carries_its_own_digest():
    *_, last = FILES["core.txt"].splitlines()
    body = FILES["core.txt"][: -len(last) - 1]
    assert last == b"# sha256 " + vectors.sha256(body).encode()


def test_the_small_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "small.json"
    path.write_bytes(SMALL)
    suite = read(path)
    assert (suite.name, suite.version, suite.min_tests) == ("small", "1.0.0", 4)
    assert suite.notes["Flag"].kills == ("a.b",)
    assert suite.withdrawn == {9: "an input was wrong"}
    first, second, third, fourth = (group.vectors[0] for group in suite.groups)
    assert first.inputs["w_right"].dtype == np.float64
    assert first.inputs["w_right"].item() == 3
    assert (second.K, second.degree) == ({"y": 3}, {"y": 5})
    assert third.inputs["labels"].dtype == np.int64
    assert fourth.expected == {}
    assert np.isnan(fourth.inputs["Q"][1, 1])
    assert suite.groups[0].miss_prob_log2 == -5
    assert [(group.op, group.tier, group.dtype) for group in suite.groups] == [
        ("forward", "exact", "f64"), ("forward", "bounded", "f64"),
        ("cross_entropy", "bounded", "f64"), ("spectrum", "certificate", "f64"),
    ]  # fmt: skip


def test_formatting_is_harmless():
    loose = json.dumps(json.loads(SMALL), indent=3).encode()
    assert len(parse(loose).groups) == 4
    assert canonical(json.loads(loose)) == SMALL


# ---- numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, 0), (-3.0, -3), (2.0**53, 2**53), (2.0**53 + 2, "0x1.0000000000001p+53"),
        (0.5, "0x1p-1"), (-0.0, "-0x0p+0"), (0.1, "0x1.999999999999ap-4"), (5e-324, "0x0.0000000000001p-1022"),
        (float("inf"), "inf"), (float("-inf"), "-inf"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_numbers_come_back_as_they_were(value, text):
    assert strict.encode(value) == text
    again = strict.strict_number("x", text, "f64")
    assert np.array_equal(np.float64(again), value, equal_nan=True)
    assert np.signbit(again) == np.signbit(value)


def test_a_rational_that_is_no_float_is_not_written():
    from fractions import Fraction

    with pytest.raises(ValueError, match="1/3 is no float64"):
        strict.encode(Fraction(1, 3))


def test_a_decimal_below_all_numbers_is_zero_without_a_warning():
    with np.errstate(all="raise"):
        assert strict.free_number("y", 1e-300, "f32") == 0


# ---- what is refused, and why


def changed(change):
    """Return the small file after a change, sealed again so that the change alone is judged."""
    document = small()
    change(document)
    return canonical(sealed(document))


def one(document, number):
    return document["groups"][number]["tests"][0]


def put(*path_and_value):
    *path, last, value = path_and_value

    def change(document):
        for key in path:
            document = document[key]
        document[last] = value

    return change


FIRST = ("groups", 0, "tests", 0)
W = (*FIRST, "inputs", "w_left")
LONG = "9" * 30
NESTED = json.loads("[" * 300 + "]" * 300)
CHANGES = {
    "schema of many lists": (put("schema", NESTED), "schema must be refbilinear-vectors-1; got list"),
    "tier of many lists": (put("groups", 0, "tier", NESTED), "tier must be one of exact, bounded, certificate; got list"),
    "schema": (put("schema", "refbilinear-vectors-2"), "schema must be refbilinear-vectors-1; got refbilinear-vectors-2"),
    "suite": (put("suite", "../core"), "suite must match"),
    "source": (put("source", 3), "source must be a string; got int"),
    "version": (put("suiteVersion", "1.0"), "suiteVersion must match"),
    "count": (put("numberOfTests", 5), "numberOfTests and minTests must be 4"),
    "count is a bool": (put("numberOfTests", True), "numberOfTests must be an integer; got bool"),
    "minimum": (put("minTests", 5), "numberOfTests and minTests must be 4"),
    "minimum below 0": (put("minTests", -1), "minTests must lie in 0..1000000; got -1"),
    "unknown key": (put("code", "import os"), "the file holds the unknown key code"),
    "missing key": (lambda d: d.pop("notes"), "the file must hold notes"),
    "notes are a list": (put("notes", []), "notes must be an object; got list"),
    "note without effect": (lambda d: d["notes"]["Flag"].pop("effect"), "notes.Flag must hold effect"),
    "note of no flag": (lambda d: d["notes"].update(Other=d["notes"]["Flag"]), "flag Other must have a note and at least one vector"),
    "flag without note": (put(*FIRST, "flags", ["Flag", "New"]), "flag New must have a note"),
    "note name": (lambda d: d["notes"].update({"a b": {}}), "a key of notes must match"),
    "note too long": (put("notes", "Flag", "effect", "a" * 401), "must be printable and of at most 400 characters"),
    "note with control characters": (put("notes", "Flag", "effect", "a\x1b[2J"), "must be printable"),
    "withdrawn id": (put("withdrawn", 0, "tcId", 2), "tcId 2 was withdrawn"),
    "withdrawn without reason": (lambda d: d["withdrawn"][0].pop("reason"), "withdrawn[0] must hold reason"),
    "groups are missing": (put("groups", {}), "groups must be a list; got dict"),
    "operation": (put("groups", 0, "op", "exec"), "groups[0].op must be one of forward, tensor"),
    "operation is a list": (put("groups", 0, "op", []), "groups[0].op must be one of forward, tensor"),
    "tier": (put("groups", 0, "tier", "fuzzy"), "tier must be one of exact, bounded, certificate; got fuzzy"),
    "dtype of a group": (put("groups", 0, "dtype", "i64"), "dtype must be one of f64, f32; got i64"),
    "probability": (put("groups", 0, "missProbLog2", 1), "missProbLog2 must lie in -1000000..0; got 1"),
    "key of a test": (put(*FIRST, "rtol", 1), "groups[0].tests[0] holds the unknown key rtol"),
    "bounds of an exact one": (put(*FIRST, "K", {"y": 1}), "holds the unknown key K"),
    "id 0": (put(*FIRST, "tcId", 0), "tcId must lie in 1..1000000; got 0"),
    "id is a string": (put(*FIRST, "tcId", "1"), "tcId must be an integer; got str"),
    "id twice": (put(*FIRST, "tcId", 2), "tcId must ascend"),
    "result": (put(*FIRST, "result", "maybe"), "result must be one of valid, acceptable, invalid"),
    "comment": (put(*FIRST, "comment", None), "comment must be a string; got NoneType"),
    "flags are a word": (put(*FIRST, "flags", "Flag"), "flags must be a list; got str"),
    "unknown input": (put(*FIRST, "inputs", "z", number([1])), "inputs holds the unknown array z"),
    "input is missing": (lambda d: one(d, 0)["inputs"].pop("x"), "inputs must hold x"),
    "output is missing": (lambda d: one(d, 0)["expected"].pop("y"), "expected must hold y"),
    "output of an invalid one": (put("groups", 3, "tests", 0, "expected", "basis", number([1], [1, 1])), "expected must hold nothing"),
    "array is a list": (put(*W, [[3]]), "w_left must be an object; got list"),
    "array without shape": (lambda d: one(d, 0)["inputs"]["w_left"].pop("shape"), "w_left must hold shape"),
    "array with a path": (put(*W, "file", "/etc/passwd"), "w_left holds the unknown key file"),
    "array of pickles": (put(*W, "dtype", "O"), "w_left.dtype must be one of f64, f32, i64; got O"),
    "dtype of another group": (put(*W, "dtype", "f32"), "w_left.dtype must be f64; got f32"),
    "labels as floats": (put("groups", 2, "tests", 0, "inputs", "labels", "dtype", "f64"), "labels.dtype must be i64"),
    "shape and data": (put(*W, "shape", [1, 2]), "w_left of shape [1, 2] must hold 2 numbers; got 1"),
    "shape of gigabytes": (put(*W, "shape", [10**6, 10**6]), "must hold 1000000000000 numbers; got 1"),
    "shape that overflows": (put(*W, "shape", [2**62, 4]), "shape must lie in 0..1000000"),
    "shape below 0": (put(*W, "shape", [-1, -1]), "shape must lie in 0..1000000; got -1"),
    "shape of a bool": (put(*W, "shape", [True, 1]), "shape must be an integer; got bool"),
    "shape is a number": (put(*W, "shape", 1), "shape must be a list; got int"),
    "too many axes": (put(*W, "shape", [1] * 4), "must have at most 3 axes; got 4"),
    "axis of no letter": (put(*W, "shape", [1]), "w_left must have shape (h, i) as the others; got (1,)"),
    "sizes that differ": (put(*W, number([1, 2], [1, 2])), "w_right must have shape (h, i) as the others; got (1, 1)"),
    "identity that does not fit": (put(*FIRST, "expected", "y", number([1, 2], [1, 2])), "w_left must have shape (o) as the others; got (1,)"),
    "data are a string": (put(*W, "data", "3"), "data must be a list; got str"),
    "nested data": (put(*W, "data", [[3]]), "w_left[0] must be an integer; got list"),
    "data are null": (put(*W, "data", [None]), "w_left[0] must be an integer; got NoneType"),
    "integer beyond 2**53": (put(*W, "data", [2**53 + 1]), "w_left[0] must lie in -9007199254740992..9007199254740992"),
    "decimal in a string": (put(*W, "data", ["0.5"]), "must be a hexadecimal float, nan, inf or -inf; got 0.5"),
    "upper-case NaN": (put(*W, "data", ["NaN"]), "must be a hexadecimal float, nan, inf or -inf; got NaN"),
    "spaces": (put(*W, "data", [" 0x1p+0"]), "must be a hexadecimal float"),
    "code": (put(*W, "data", ["__import__('os')"]), "must be a hexadecimal float"),
    "hexadecimal of a mile": (put(*W, "data", ["0x1." + "0" * 99 + "p+0"]), "must be a hexadecimal float"),
    "beyond float64": (put(*W, "data", ["0x1p+1024"]), "w_left[0] = 0x1p+1024 is beyond the range of f64"),
    "label that is no class": (put("groups", 2, "tests", 0, "inputs", "labels", "data", [2]), "labels must lie in 0..1; got 2"),
    "label that is NaN": (put("groups", 2, "tests", 0, "inputs", "labels", "data", ["nan"]), "labels[0] must be an integer; got float"),
    "more pairs than there are": (put("groups", 3, "tests", 0, "inputs", "k", "data", [3]), "k must lie in 0..2; got 3"),
    "matrix that is not square": (put("groups", 3, "tests", 0, "inputs", "Q", number([1, 2], [1, 2])), "Q must have shape (d, d)"),
    "no residual": (lambda d: one(d, 1)["residual"].pop("y"), "y must have residual, and twin, K, degree or allowed"),
    "no twin": (lambda d: one(d, 1)["twin"].pop("y"), "y must have residual, and twin"),
    "two bounds": (put("groups", 1, "tests", 0, "allowed", {"y": number([1], [1, 1])}), "y must have residual, and twin"),
    "bounds of another shape": (put("groups", 1, "tests", 0, "twin", "y", number([1], [1])), "must have bounds of its own shape (1, 1)"),
    "count that is a float": (put("groups", 1, "tests", 0, "K", "y", 1.5), "1.5 must be an integer or a hexadecimal float in a string"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_is_refused_with_its_reason(name):
    change, reason = CHANGES[name]
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(changed(change))


def of(op, tier="exact", **inputs):
    """Return the change that makes the first group another operation."""

    def change(document):
        expected = inputs.pop("expected")
        document["groups"][0].update(op=op, tier=tier)
        one(document, 0).update(inputs=inputs, expected=expected)

    return change


SCALARS = {name: number([1], []) for name in vectors.SETTINGS}
STATE = {name: number([1]) for name in ("theta", "g", "m", "v")}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            of("form", tensor=number([1] * 4, [1, 4]), x=number([1, 2], [1, 2]), expected={"y": number([1], [1, 1])}),
            "tensor must have 3 pairs; got 4",
        ),
        (
            of("adamw", **STATE, **SCALARS, t=number([0], [], "i64"), expected={n: number([1]) for n in ("theta", "m", "v")}),
            "t must lie in 1..1000000; got 0",
        ),
        (
            of("adamw", **STATE, **SCALARS, t=number([1], [1], "i64"), expected={n: number([1]) for n in ("theta", "m", "v")}),
            "t must have shape () as the others; got (1,)",
        ),
        (
            of("backward", w_left=number([1], [1, 1]), w_right=number([1], [1, 1]), x=number([1], [1, 1]), dy=number([1], [1, 1]), expected={}),
            "expected must hold w_left, w_right, x",
        ),
    ],
)  # fmt: skip
def test_other_operations_are_checked_too(change, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(changed(change))


RAW = {
    "nothing": (b"", "Expecting value"),
    "no JSON": (b"\x80\x04\x95pickle", "codec can't decode"),
    "a list": (b"[]", "the file must be an object; got list"),
    "UTF-16": ("{}".encode("utf-16"), "codec can't decode"),
    "key twice": (b'{"a": {"x": 1, "x": 2}}', 'an object holds the key "x" twice'),
    "NaN": (b'{"a": NaN}', 'NaN must be written as a string, such as "nan" or "-inf"'),
    "Infinity": (b'{"a": -Infinity}', "-Infinity must be written as a string"),
    "decimal": (b'{"a": 1e5}', "1e5 must be an integer or a hexadecimal float in a string"),
    "a million digits": (b"[" + b"9" * 10**6 + b"]", "is too long for an integer"),
    "deep nesting": (b"[" * 10**6, "nested too deeply"),
    "deep objects": (b'{"a":' * 10**5, "nested too deeply"),
    "too large": (b" " * (strict.LARGEST_FILE + 1), "larger than 4194304 bytes"),
    "many keys, the last twice": (
        b"{%s}" % b",".join(b'"%x":1' % (i % 99_999) for i in range(10**5)),
        'holds the key "0" twice',
    ),
    "two documents": (SMALL + SMALL, "Extra data"),
}


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_no_such_file(name):
    content, reason = RAW[name]
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(content)


def test_the_largest_that_is_taken_and_the_first_that_is_not():
    assert parse_results(b"#" * (strict.LARGEST_FILE - 1) + b"\n") == {}
    with pytest.raises(ValueError, match="Expecting value"):
        strict.parse_json(b" " * strict.LARGEST_FILE)
    assert strict.text("x", "a" * 400) == "a" * 400
    with pytest.raises(ValueError, match="at most 400 characters"):
        strict.text("x", "a" * 401)
    assert strict.parse_json(b"1" * 25) == int("1" * 25)
    with pytest.raises(ValueError, match=r"^1{26} is too long for an integer$"):
        strict.parse_json(b"1" * 26)
    assert [strict.short("a" * n) for n in (40, 41)] == ["a" * 40, "a" * 40 + "…"]


SHIPPED = json.loads(FILES["core.json"])
OF_OPERATIONS = {
    group["op"]: (group, max(group["tests"], key=lambda test: len(test["inputs"])))
    for group in reversed(SHIPPED["groups"])
}


def alone(group, test):
    """Return a file of a single vector."""
    document = SHIPPED | {"groups": [group | {"tests": [test]}], "minTests": 1, "numberOfTests": 1}
    document["notes"] = {flag: SHIPPED["notes"][flag] for flag in test["flags"]}
    return canonical(sealed(document))


# Sizes that nothing else in the vector has: of what is embedded, and of a packed result
ALONE = {("fold", "w_embed", 1), ("fold", "tensor", 1), ("tensor", "tensor", 1)}


@pytest.mark.parametrize("op", vectors.OPERATIONS)
def test_every_axis_of_every_array_has_its_size(op):
    group, test = OF_OPERATIONS[op]
    assert parse(alone(group, test)).groups[0].vectors[0].tc_id == test["tcId"]
    for key in ("inputs", "expected"):
        for name, held in test[key].items():
            for axis, size in enumerate(held["shape"]):
                if (op, name, axis) in ALONE:
                    continue
                shape = [*held["shape"][:axis], size + 1, *held["shape"][axis + 1 :]]
                data = held["data"][:1] * np.prod(shape).item()
                longer = test[key] | {name: held | {"shape": shape, "data": data}}
                with pytest.raises(ValueError, match=r"must have (shape|bounds of|\d+ pairs)"):
                    parse(alone(group, test | {key: longer}))


def test_a_content_without_its_seal_is_refused():
    document = sealed(small())
    put(*W, "data", [4])(document)
    with pytest.raises(ValueError, match="sha256 must be"):
        parse(canonical(document))


def survives(content, like):
    """Whether bytes are refused, or hold the very same content."""
    try:
        parse(content)
    except ValueError as error:
        assert str(error)
        return True
    return canonical(json.loads(content)) == like


def flipped(content, draw):
    position, bit = draw.randrange(len(content)), draw.randrange(8)
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]


def test_ten_thousand_flipped_bits():
    draw = random.Random(1)
    assert all(survives(flipped(SMALL, draw), SMALL) for _ in range(10_000))


def test_every_truncation():
    for length in range(len(SMALL) - 1):
        with pytest.raises(ValueError, match=r"."):
            parse(SMALL[:length])
    assert parse(SMALL[:-1])


def test_flips_and_truncations_of_the_shipped_file():
    draw, core = random.Random(2), FILES["core.json"]
    for _ in range(12):
        assert survives(flipped(core, draw), core)
    for length in draw.sample(range(len(core) - 2), 12):
        with pytest.raises(ValueError, match=r"."):
            parse(core[:length])


# ---- files and folders


@pytest.mark.skipif(sys.platform == "win32", reason="has neither pipes nor links for all")
def test_links_pipes_folders_and_giants_are_refused(tmp_path):
    target, link = tmp_path / "small.json", tmp_path / "link.json"
    target.write_bytes(SMALL)
    link.symlink_to(target)
    with pytest.raises(ValueError, match=r"link\.json is a symbolic link"):
        read(link)
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is no regular file"):
        read(tmp_path / "pipe")
    with (tmp_path / "giant").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="giant is larger than 4194304 bytes"):
        read(tmp_path / "giant")
    with pytest.raises(ValueError, match=r"bad\.json: Expecting value"):
        (tmp_path / "bad.json").write_bytes(b"")
        read(tmp_path / "bad.json")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing")


@pytest.mark.parametrize(
    "name", ["../core.json", "/etc/passwd", ".hidden", "a/b", "", "c:\\x", "..", "a" * 99]
)
def test_a_manifest_names_files_of_its_folder(name, tmp_path):
    manifest = json.loads(FILES["manifest.json"])
    manifest["sha256"] = {name: "0" * 64}
    (tmp_path / "manifest.json").write_bytes(canonical(manifest))
    with pytest.raises(ValueError, match="a key of sha256 must match"):
        vectors.read_folder(tmp_path)


def test_a_folder_is_read_whole_or_not(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    assert vectors.read_folder(tmp_path) == FILES
    (tmp_path / "core.json").write_bytes(SMALL)
    with pytest.raises(
        ValueError, match=r"core\.json must have the SHA-256 [0-9a-f]{12}… of the manifest"
    ):
        vectors.read_folder(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b'{"schema": "other"}')
    with pytest.raises(ValueError, match=r"manifest\.json must hold suite"):
        vectors.read_folder(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_memory_stays_bounded(tmp_path):
    """The densest nonsense of the largest size: refused, in less than a gigabyte."""
    path = tmp_path / "dense.json"
    path.write_bytes(b"[" + b"{}," * ((strict.LARGEST_FILE - 4) // 3) + b"{}]")
    assert path.stat().st_size <= strict.LARGEST_FILE
    code = (
        "import resource, sys; from refbilinear.oracle import vectors\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        f"try: vectors.read({str(path)!r})\n"
        "except ValueError as error: print(error, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "the file must be an object; got list" in done.stdout
    assert int(done.stdout.split()[-1]) < 2**20


# ---- results


def answer(outputs):
    return json.dumps({"schema": results.SCHEMA, "results": outputs}).encode()


def test_results_in_both_forms(tmp_path):
    as_json = answer(
        [
            {"tcId": 1, "outputs": {"y": number(["0x1.8p+0", 2, 0.1, "nan"], [2, 2], "f32")}},
            {"tcId": 2, "refused": "not symmetric"},
            {"tcId": 3, "skipped": "no such function"},
        ]
    )
    as_text = (
        b"# mine\n1 y f32 2 2 2 0x1.8p+0 2 0.1 nan\n2 refused text 0 not symmetric\n\n"
        b"3 skipped text 0 no such function\n"
    )
    for name, content in (("r.json", as_json), ("r.txt", as_text)):
        (tmp_path / name).write_bytes(content)
        found = read_results(tmp_path / name)
        assert found[1].outputs["y"].dtype == np.float32
        assert np.array_equal(
            found[1].outputs["y"], np.float32([[1.5, 2], [0.1, np.nan]]), equal_nan=True
        )
        assert (found[2].refused, found[2].skipped) == ("not symmetric", None)
        assert (found[3].refused, found[3].skipped) == (None, "no such function")
    assert parse_results(b"") == {}
    assert parse_results(b" \n" + as_json).keys() == {1, 2, 3}
    assert parse_results(b"7 refused text 0")[7].refused == ""


def test_a_result_may_be_decimal_and_large():
    found = parse_results(b"1 y f64 1 5 100000000000000000000 1e-3 -.5 +2. 9007199254740993")[1]
    assert found.outputs["y"].tolist() == [1e20, 1e-3, -0.5, 2, 2.0**53]
    assert (
        parse_results(answer([{"tcId": 1, "outputs": {"y": number([10**20])}}]))[1].outputs["y"]
        == 1e20
    )
    assert parse_results(b"1 y i64 0 -3")[1].outputs["y"].item() == -3


BAD_TEXT = {
    "few words": (b"7 y f64", "line 1 must be tcId name dtype ndim"),
    "id": (b"\n-7 y f64 0 1", "line 2 must hold a whole number; got -7"),
    "id 0": (b"0 y f64 0 1", "tcId must lie in 1..1000000"),
    "id of a mile": (b"9" * 5000 + b" y f64 0 1", "must hold a whole number; got 9999"),
    "name": (b"7 ../y f64 0 1", "line 1 must match"),
    "dtype": (b"7 y f16 0 1", "line 1 must be one of f64, f32, i64, text; got f16"),
    "axes": (b"7 y f64 4 1 1 1 1 1", "line 1, ndim must lie in 0..3; got 4"),
    "sizes": (b"7 y f64 1 x 1", "must hold a whole number; got x"),
    "too few": (b"7 y f64 1 3 1 2", "line 1, y of shape [3] must hold 3 numbers; got 2"),
    "too many": (b"7 y f64 0 1 2", "line 1, y of shape [] must hold 1 numbers; got 2"),
    "giant": (b"7 y f64 3 9999999 9999999 9999999 1", "numbers; got 1"),
    "word": (b"7 y f64 0 one", "line 1, y[0] must be a hexadecimal float, nan, inf or -inf; got one"),
    "underscores": (b"7 y f64 0 1_0", "must be a hexadecimal float"),
    "infinity in other words": (b"7 y f64 0 infinite", "must be a hexadecimal float"),
    "beyond": (b"7 y f64 0 1e999", "line 1, y[0] = inf is beyond the range of f64"),
    "beyond float32": (b"7 y f32 0 1e39", "is beyond the range of f32"),
    "float64 as float32": (b"7 y f32 0 0x1.999999999999ap-4", "line 1, y[0] = 0.1 is no float32"),
    "range of float32": (b"7 y f32 0 0x1p+200", "is no float32"),
    "integer that is none": (b"7 y i64 0 1.5", "line 1, y[0] must be an integer; got float"),
    "integer of 64 bits": (b"7 y i64 0 9223372036854775807", "must lie in -9007199254740992"),
    "name twice": (b"7 y f64 0 1\n7 y f64 0 2", "line 2 gives y of tcId 7 again"),
    "words for numbers": (b"7 y text 0 one", "y of tcId 7 must be numbers; got list"),
    "numbers for words": (b"7 refused f64 0 1", "refused of tcId 7 must be words"),
    "both": (b"7 y f64 0 1\n7 refused text 0 no", "tcId 7 must hold outputs, or refused, or skipped"),
    "not ASCII": ("7 y f64 0 ½".encode(), "codec can't decode"),
    "control characters": (b"7 refused text 0 \x1b[2J", "must be printable"),
    "a schema of vectors": (SMALL, "the file must hold results"),
    "another schema": (b'{"schema": "x", "results": []}', "schema must be refbilinear-results-1; got x"),
    "id twice": (answer([{"tcId": 1, "refused": "a"}] * 2), "results[1] gives tcId 1 again"),
    "nothing": (answer([{"tcId": 1}]), "results[0] must hold outputs, or refused, or skipped"),
    "NaN literal": (answer([{"tcId": 1, "outputs": {"y": number([float("nan")])}}]), "NaN must be written as a string"),
    "truth": (answer([{"tcId": 1, "outputs": {"y": number([True])}}]), "y[0] must be a number; got bool"),
    "nothing among numbers": (answer([{"tcId": 1, "outputs": {"y": number([None])}}]), "y[0] must be a number; got NoneType"),
    "unknown key": (answer([{"tcId": 1, "pickle": "…"}]), "results[0] holds the unknown key pickle"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TEXT)
def test_a_bad_result_is_refused_with_its_reason(name):
    content, reason = BAD_TEXT[name]
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_results(content)


def test_a_result_may_end_in_blanks_and_carriage_returns():
    (result,) = parse_results(b"7  y f64 1 2 1 2 \r\n\r\n").values()
    assert result.outputs["y"].tolist() == [1, 2]


def test_flips_and_truncations_of_results_never_crash():
    text = FILES["core.txt"][:3000]
    draw = random.Random(3)
    cases = [flipped(text, draw) for _ in range(500)] + [text[:n] for n in range(0, 3000, 7)]
    for content in cases:
        try:
            parse_flat(content)
        except ValueError as error:
            assert str(error)


@pytest.mark.parametrize("spelt", ["nan", "-nan", "NaN", "inf", "-Infinity", "+inf", "INF"])
def test_numbers_that_are_none_may_be_spelt_as_languages_do(spelt):
    want = float(spelt)
    for content in (
        f"7 y f32 0 {spelt}".encode(),
        f'{{"schema": "{results.SCHEMA}", "results": [{{"tcId": 7, "outputs": {{"y": '
        f'{{"dtype": "f32", "shape": [], "data": ["{spelt}"]}}}}}}]}}'.encode(),
    ):
        got = results.parse_results(content)[7].outputs["y"]
        assert np.array_equal(got, want, equal_nan=True)
