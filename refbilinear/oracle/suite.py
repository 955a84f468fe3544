"""The suite of vectors, built: every expected value by both evaluators, every bound derived.

    python -m refbilinear.oracle.suite --check        compare with the shipped bytes
    python -m refbilinear.oracle.suite --write DIR    write a new folder, never the shipped one

Three tiers. *exact*: integers so small that 16 times the twin of every output (twice that where
numbers are halved) stays below 2^p, p = 53 or 24, so that every partial sum in every order is an
integer that the format holds, and results are compared with `==`. *bounded*: `expected + residual`
is the exact number to twice the precision, and `|result − exact| ≤ γ_K · twin`, or `allowed`.
*certificate*: eigenvectors are not unique; the matrix was made from pairs that are known.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from refbilinear.oracle import agreement, cases, counts, exact, strict, vectors
from refbilinear.oracle.cases import Case, Plan
from refbilinear.oracle.catalogue import FLAGS, WITHDRAWN
from refbilinear.oracle.strict import DTYPES, PRECISION
from refbilinear.oracle.vectors import dtype_of
from refbilinear.spec.arrays import Array
from refbilinear.spec.layer import forward

NAME = "core"
VERSION = "1.1.0"
DEGREE = 5
SMALLEST = {"f64": -1074, "f32": -149}
SLACK = 16
TWIN_BITS = 12

PACKED = {
    "packing": "lower triangle by rows, unscaled",
    "constant": "last coordinate, linear part halved",
}
PAIRS = {"order": "descending magnitude, the positive one first", "vectors": "columns"}
CONVENTIONS = {
    "forward": {"weights": "(d_hidden, d_in) and (d_out, d_hidden), C order"},
    "tensor": PACKED,
    "matrix": {"constant": PACKED["constant"]},
    "form": PACKED,
    "backward": {"reduction": "sum over examples"},
    "squared_error": {"reduction": "mean over examples, sum over outputs"},
    "cross_entropy": {"reduction": "mean over examples", "logarithm": "natural"},
    "adamw": {"decay": "decoupled", "epsilon": "after root and correction"},
    "spectrum": PAIRS,
    "truncate": PAIRS,
    "hosvd": PACKED,
    "fold": PACKED,
}


def rounded_up(value: Fraction, dtype: str) -> Fraction:
    """Return the least number of 12 bits that a dtype holds and that is not below a given one.

    Examples
    --------
    >>> rounded_up(Fraction(4097), "f32"), rounded_up(Fraction(5, 2), "f32")
    (Fraction(4098, 1), Fraction(5, 2))
    """
    size = value.numerator.bit_length() - value.denominator.bit_length() + 1
    quantum = Fraction(2) ** max(size - TWIN_BITS, SMALLEST[dtype])
    return -(-value // quantum) * quantum


# ---- documents


def document() -> dict[str, Any]:
    """Return the whole suite as it is written."""
    groups = [_group(plan) for plan in cases.plans()]
    tests = [test for group in groups for test in group["tests"]]
    used = {flag for test in tests for flag in test["flags"]}
    notes = {
        name: {
            "bugType": note.bug_type,
            "description": note.description,
            "effect": note.effect,
            "kills": list(note.kills),
        }
        for name, note in FLAGS.items()
        if name in used
    }
    return vectors.sealed(
        {
            "schema": vectors.SCHEMA,
            "suite": NAME,
            "suiteVersion": VERSION,
            "numberOfTests": len(tests),
            "minTests": len(tests),
            "source": "refbilinear",
            "notes": notes,
            "withdrawn": [{"tcId": k, "reason": words} for k, words in sorted(WITHDRAWN.items())],
            "groups": groups,
        }
    )


def build() -> dict[str, bytes]:
    """Return every file of the suite by name, the manifest with the SHA-256 of the others."""
    whole = document()
    found = {
        "core.json": vectors.canonical(whole),
        "core.txt": vectors.flat(whole),
        "schema.json": vectors.canonical(vectors.json_schema()),
    }
    manifest = {
        "schema": vectors.SCHEMA,
        "suite": NAME,
        "suiteVersion": VERSION,
        "numberOfTests": whole["numberOfTests"],
        "sha256": {name: vectors.sha256(content) for name, content in found.items()},
    }
    return found | {"manifest.json": vectors.canonical(manifest)}


def _group(plan: Plan) -> dict[str, Any]:
    tests = [
        _test(plan, tc_id, make(cases.stream(tc_id)))
        for tc_id, make in enumerate(plan.makers, plan.base)
        if tc_id not in WITHDRAWN
    ]
    group = {
        "op": plan.op,
        "tier": plan.tier,
        "dtype": plan.dtype,
        "convention": CONVENTIONS[plan.op],
        "tests": tests,
    }
    if plan.alphabet is None:
        return group
    return group | {"missProbLog2": miss_prob_log2(plan.alphabet, len(tests))}


def miss_prob_log2(alphabet: int, count: int) -> int:
    """Return log2, rounded up, of the probability that a wrong polynomial of degree 5 passes.

    Schwartz and Zippel: at a uniform point of `alphabet` integers each, with probability at most
    5 / alphabet; the points are independent.

    Examples
    --------
    >>> miss_prob_log2(257, 16), miss_prob_log2(11, 64)
    (-90, -72)
    """
    return math.ceil(count * math.log2(DEGREE / alphabet))


def _test(plan: Plan, tc_id: int, case: Case) -> dict[str, Any]:
    """Return one test; what cannot be admitted raises with its id."""
    inputs = {
        name: strict.encode_array(array, dtype_of(plan.op, name, plan.dtype))
        for name, array in case.inputs.items()
    }
    test = {
        "tcId": tc_id,
        "comment": case.comment,
        "flags": list(case.flags),
        "result": case.result,
        "inputs": inputs,
    }
    try:
        return test | _answers(plan, case)
    except ArithmeticError as error:
        raise ArithmeticError(f"tcId {tc_id}: {error}") from error


def _answers(plan: Plan, case: Case) -> dict[str, Any]:
    if case.result == "invalid":
        return {"expected": {}}
    if plan.tier == "bounded":
        return _bounded(plan, case)
    return {"expected": _encoded(_expected(plan, case), plan.dtype)}


def _encoded(arrays: Mapping[str, Array], dtype: str) -> dict[str, Any]:
    return {name: strict.encode_array(array, dtype) for name, array in arrays.items()}


def _expected(plan: Plan, case: Case) -> dict[str, Array]:
    if case.expected is not None:
        agreement.require_known(plan.op, case.inputs, case.expected)
        return case.expected
    if not all(np.isfinite(array).all() for array in case.inputs.values()):
        return agreement.ieee(plan.op, case.inputs)
    found = agreement.agreed(plan.op, case.inputs)
    if case.result == "acceptable":
        return {name: _as_ieee(plan, case, array) for name, array in found.items()}
    require_exact_in_any_order(plan, case)
    return found


def _as_ieee(plan: Plan, case: Case, array: Array) -> Array:
    """Return the rounded exact result, with the sign that IEEE gives a zero."""
    near = exact.rounded(array, DTYPES[plan.dtype])
    with np.errstate(all="ignore"):
        computed = forward(agreement.layer_of(case.inputs), case.inputs["x"])
    return np.where(near == 0, np.copysign(near, computed), near)


def require_exact_in_any_order(plan: Plan, case: Case) -> None:
    """Raise ArithmeticError unless every sum in every order is an integer that the format holds.

    So it is if 16 times the twin is below 2^p; and if the twin with ones for zeros is, which bounds
    all that is computed on the way.
    """
    halves = 2 if plan.op in ("tensor", "matrix", "fold") else 1
    scale = len(case.inputs["y"]) if plan.op == "squared_error" else halves
    ones = {name: np.where(array == 0, 1, array) for name, array in case.inputs.items()}
    for factor, inputs in ((SLACK * scale, case.inputs), (scale, ones)):
        for name, sizes in counts.twin(plan.op, inputs).items():
            largest = max(np.asarray(sizes, dtype=object).ravel().tolist(), default=0)
            if not factor * largest < 2 ** PRECISION[plan.dtype]:
                raise ArithmeticError(f"{factor} times the twin {largest} of {name} is too large")


def _bounded(plan: Plan, case: Case) -> dict[str, Any]:
    found, number = agreement.agreed(plan.op, case.inputs), DTYPES[plan.dtype]
    high = {name: exact.rounded(array, number) for name, array in found.items()}
    rest = {name: found[name] - exact.fractions(near) for name, near in high.items()}
    low = {name: exact.rounded(array, number) for name, array in rest.items()}
    for name, array in rest.items():
        require_close(plan.dtype, name, high[name], array - exact.fractions(low[name]))
    answers = {"expected": _encoded(high, plan.dtype), "residual": _encoded(low, plan.dtype)}
    if plan.op not in counts.COUNTS:
        errors = {
            name: _up(array, plan.dtype)
            for name, array in counts.allowed(plan.op, case.inputs).items()
        }
        return answers | {"allowed": _encoded(errors, plan.dtype)}
    twins = {
        name: _up(array, plan.dtype) for name, array in counts.twin(plan.op, case.inputs).items()
    }
    return answers | {
        "twin": _encoded(twins, plan.dtype),
        "K": counts.roundings(plan.op, case.inputs),
        "degree": {name: counts.DEGREES[plan.op][name] for name in found},
    }


def _up(array: Array, dtype: str) -> Array:
    """Return non-negative numbers, each rounded up to a few bits."""
    values = np.asarray(array, dtype=object)
    up = np.empty(values.shape, dtype=object)
    up.ravel()[:] = [rounded_up(Fraction(value), dtype) for value in values.ravel().tolist()]
    return up


def require_close(dtype: str, name: str, high: Array, left: Array) -> None:
    """Raise ArithmeticError unless `|exact − expected − residual| ≤ u² |expected|`."""
    unit, tiny = Fraction(1, 2 ** (2 * PRECISION[dtype])), Fraction(2) ** SMALLEST[dtype]
    for near, error in zip(
        exact.fractions(high).flat, np.asarray(left, dtype=object).flat, strict=True
    ):
        if abs(error) > max(unit * abs(near), tiny):
            raise ArithmeticError(f"{name} is not held by expected and residual")


# ---- the command


def first_difference(built: Mapping[str, bytes], shipped: Mapping[str, bytes]) -> str | None:
    r"""Return where two suites first differ, in words, or None.

    Examples
    --------
    >>> first_difference({"a.txt": b"one\ntwo"}, {"a.txt": b"one\nTwo"})
    "a.txt, line 2: built b'two', shipped b'Two'"
    """
    for name in sorted({*built, *shipped}):
        lines = [held.get(name, b"").split(b"\n") for held in (built, shipped)]
        for number, (mine, theirs) in enumerate(zip(*lines, strict=False), 1):
            if mine != theirs:
                return f"{name}, line {number}: built {mine[:60]!r}, shipped {theirs[:60]!r}"
        if len(lines[0]) != len(lines[1]):
            return f"{name}: built {len(lines[0])} lines, shipped {len(lines[1])}"
    return None


def write(folder: Path) -> None:
    """Write the suite into a new folder; an existing one is never touched."""
    built = build()
    folder.mkdir()
    for name, content in built.items():
        (folder / name).write_bytes(content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 for done or equal, 1 for a difference, 2 for bad usage."""
    parser = argparse.ArgumentParser(prog="python -m refbilinear.oracle.suite", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="compare with the shipped bytes")
    what.add_argument("--write", type=Path, metavar="DIR", help="write a folder that is new")
    options = parser.parse_args(arguments)
    if options.write:
        try:
            write(options.write)
        except OSError as error:
            parser.error(str(error))
        return 0
    shipped = {path.name: path.read_bytes() for path in sorted(vectors.DATA.iterdir())}
    difference = first_difference(build(), shipped)
    sys.stdout.write(f"{difference or 'the shipped suite is the one that is built'}\n")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
