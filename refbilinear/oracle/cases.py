"""What the vectors of the suite are: sizes, numbers and flags, in the order of their ids.

Every number is drawn from SHA-256 of the id, so the suite is the same everywhere and a vector keeps
its numbers when others are added. A plan is append-only: an id is its base and its place, so a case
is added at the end of its plan, or as a new plan. Sizes of a vector are pairwise distinct, and no
number is zero, except where that is the point (random vectors have zeros like any other number).
"""

# ruff: noqa: E501  (a row of a table is a line)

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from refbilinear.oracle.strict import DTYPES, PRECISION
from refbilinear.oracle.vectors import OPERATIONS, SETTINGS
from refbilinear.spec.arrays import Array
from refbilinear.spec.packed import n_pairs, pair_indices

SEED = "refbilinear-core-1"
PARAMETERS = ("w_out", "b_left", "b_right", "b_out", "w_skip")
Stream = Iterator[int]
Inputs = dict[str, Array]
Shape = tuple[int, ...]
Row = tuple[Any, ...]


class Case(NamedTuple):
    """One vector before anything is computed; `expected` only where it is known by construction."""

    flags: tuple[str, ...]
    comment: str
    inputs: Inputs
    result: str = "valid"
    expected: dict[str, Array] | None = None


Maker = Callable[[Stream], Case]


class Plan(NamedTuple):
    """Vectors of one operation, tier and dtype; `alphabet` is the number of integers drawn from."""

    base: int
    op: str
    tier: str
    dtype: str
    makers: tuple[Maker, ...]
    alphabet: int | None = None


def stream(tc_id: int) -> Stream:
    """Yield the 64-bit integers of an id: SHA-256 of the seed, the id and a counter."""
    counter = 0
    while True:
        digest = hashlib.sha256(f"{SEED} {tc_id} {counter}".encode()).digest()
        yield from (int.from_bytes(digest[i : i + 8], "big") for i in range(0, 32, 8))
        counter += 1


# ---- numbers


def whole(source: Stream, shape: Shape, *, largest: int, dtype: str, zero: bool) -> Array:
    """Return integers of at most `largest` in magnitude, uniform (to 2⁻⁵⁵), with or without 0."""

    def one() -> int:
        if zero:
            return next(source) % (2 * largest + 1) - largest
        number = next(source)
        return (1 + (number >> 1) % largest) * (1 if number % 2 else -1)

    return _array(one, shape, dtype)


def real(source: Stream, shape: Shape, *, dtype: str) -> Array:
    """Return floats of full mantissa, 2⁻³ to 2⁴ in magnitude."""
    bits = PRECISION[dtype] - 1

    def one() -> float:
        number = next(source)
        mantissa = (1 << bits) + (number >> 8) % (1 << bits)
        return (1 if number % 2 else -1) * mantissa * 2.0 ** (((number >> 1) % 7) - 3 - bits)

    return _array(one, shape, dtype)


def _array(one: Callable[[], float], shape: Shape, dtype: str) -> Array:
    numbers = [one() for _ in range(math.prod(shape))]
    return np.array(numbers, DTYPES[dtype]).reshape(shape)


SMALL = partial(whole, largest=5, dtype="f32", zero=False)


def fill(op: str, sizes: str, absent: Iterable[str], draw: Callable[[Shape], Array]) -> Inputs:
    """Return every input of an operation that is not absent; sizes read like `"h5 i3 n4 o2"`."""
    size = {word[0]: int(word[1:]) for word in sizes.split()}
    if "d" in size:
        size["p"] = n_pairs(size["d"])
    names = {n: letters for n, letters in OPERATIONS[op].inputs.items() if n not in absent}
    return {n: draw(tuple(size[letter] for letter in letters)) for n, letters in names.items()}


def drawn(
    op: str, flags: str, words: str, sizes: str, absent: Iterable[str] = (), draw: Any = SMALL
) -> Maker:
    """Return the maker of a case whose inputs are drawn."""
    return lambda source: Case(
        tuple(flags.split()), words, fill(op, sizes, absent, partial(draw, source))
    )


def known(flags: str, words: str, inputs: dict[str, Any], dtype: str, **rest: Any) -> Maker:
    """Return the maker of a case whose numbers are written out."""
    arrays = {
        name: np.array(value, np.int64 if name in ("labels", "k") else DTYPES[dtype])
        for name, value in inputs.items()
    }
    return lambda source: Case(tuple(flags.split()), words, arrays, **rest)


def only(*present: str) -> tuple[str, ...]:
    """Return the optional parameters that are absent when these are present.

    Examples
    --------
    >>> only("w_out", "w_skip")
    ('b_left', 'b_right', 'b_out')
    """
    return tuple(name for name in PARAMETERS if name not in present)


# ---- random integers: the claim about polynomials

SIZES = {
    "forward": ("i5 h7 o3 n4", "i3 h5 o2 n4"),
    "tensor": ("i5 h7 o3", "i3 h5 o2"),
    "matrix": ("i5 h7 o3", "i3 h5 o2"),
    "form": ("d5 o3 n4", "d5 o3 n4"),
    "backward": ("i5 h7 o3 n4", "i3 h5 o2 n4"),
    "squared_error": ("n4 o3", "n4 o3"),
}
# Of float32: the largest entry that keeps every sum below 2²⁴, and how many vectors it takes.
SINGLE = {
    "forward": (5, 64),
    "tensor": (25, 22),
    "matrix": (9, 38),
    "form": (25, 22),
    "backward": (5, 64),
    "squared_error": (128, 16),
}


def _random(op: str, base: int) -> Iterator[Plan]:
    largest, count = SINGLE[op]
    for dtype, sizes, most, number, at in (
        ("f64", SIZES[op][0], 128, 16, base),
        ("f32", SIZES[op][1], largest, count, base + 100),
    ):
        draw = partial(whole, largest=most, dtype=dtype, zero=True)
        one = drawn(op, "RandomIntegers", f"uniform in {-most}..{most}", sizes, draw=draw)
        yield Plan(at, op, "exact", dtype, (one,) * number, 2 * most + 1)


# ---- small integers: one flag each

NO_OUT = ("w_out",)
BARE = only("w_out")
FORWARD: list[Row] = [
    ("SwappedBiases", "no other optional parameter", "i2 h3 o3 n4", only("b_left", "b_right")),
    ("SwappedBiases", "", "i3 h2 o4 n5", only("w_out", "b_left", "b_right")),
    ("BiasBeforeProduct", "", "i2 h3 o3 n4", only("b_left", "b_right")),
    ("BiasBeforeProduct", "", "i3 h5 o2 n4", only("w_out", "b_left", "b_right")),
    ("RightBias", "", "i2 h3 o3 n4", only("b_right")),
    ("RightBias", "", "i3 h4 o2 n5", only("w_out", "b_right")),
    ("OutputBias", "", "i3 h4 o2 n5", only("w_out", "b_out")),
    ("OutputBias", "w_out absent", "i2 h4 o4 n3", only("b_out")),
    ("SkipPath", "", "i3 h4 o2 n5", only("w_out", "w_skip")),
    ("SkipPath", "w_out absent", "i3 h4 o4 n2", only("w_skip")),
    ("Transposed", "", "i2 h5 o3 n4", BARE),
    ("Transposed", "more outputs than units", "i5 h2 o4 n3", BARE),
    ("FusedLayout", "", "i3 h4 o2 n5", BARE),
    ("FusedLayout", "odd number of units", "i2 h5 o3 n4", only("w_out", "b_left", "b_right")),
    ("NegativeFactors", "", "i3 h4 o2 n5", BARE),
    ("NegativeFactors", "", "i2 h5 o3 n7", only("w_out", "b_left", "b_right")),
    ("DistinctFactors", "", "i2 h3 o4 n5", BARE),
    ("DistinctFactors", "w_out absent", "i3 h2 o2 n4", only()),
    ("HiddenLoop", "", "i2 h7 o3 n4", BARE),
    ("HiddenLoop", "", "i3 h5 o2 n4", only(*PARAMETERS)),
    ("BatchRows", "", "i3 h4 o2 n5", BARE),
    ("BatchRows", "", "i2 h3 o4 n7", only(*PARAMETERS)),
    ("OutputOrder", "", "i3 h2 o5 n4", BARE),
    ("OutputOrder", "", "i2 h4 o3 n5", only(*PARAMETERS)),
]
TAILS = ((7, 3), (9, 2), (15, 4), (17, 5), (31, 2), (33, 3))
TENSOR: list[Row] = [
    ("SymHalf", "", "i2 h1 o3", BARE),
    ("SymHalf", "", "i4 h3 o2", BARE),
    ("Symmetrised", "", "i3 h4 o2", BARE),
    ("Symmetrised", "as many outputs as inputs", "i3 h2 o3", BARE),
    ("Diagonal", "", "i3 h4 o2", BARE),
    ("Diagonal", "", "i2 h3 o4", only(*PARAMETERS)),
    ("Transposed", "", "i2 h5 o3", BARE),
    ("Transposed", "", "i3 h2 o5", BARE),
    ("OutputAxis", "", "i2 h3 o4", BARE),
    ("OutputAxis", "", "i3 h4 o2", only(*PARAMETERS)),
    ("LinearBlock", "biases alone", "i3 h4 o2", only("w_out", "b_left", "b_right")),
    ("LinearBlock", "skip path alone", "i2 h4 o3", only("w_out", "w_skip")),
    ("LinearBlock", "one bias", "i4 h3 o2", only("w_out", "b_left")),
    ("ConstantCorner", "two biases", "i3 h4 o2", only("w_out", "b_left", "b_right")),
    ("ConstantCorner", "output bias too", "i2 h3 o4", only("w_out", "b_left", "b_right", "b_out")),
    ("PackedOrder", "", "i5 h3 o2", BARE),
    ("PackedOrder", "", "i4 h2 o3", only(*PARAMETERS)),
    ("SimdTail", "", "i9 h7 o2", BARE),
    ("SimdTail", "", "i3 h17 o2", only(*PARAMETERS)),
    ("SimdTail", "", "i15 h2 o1", BARE),
]
MATRIX: list[Row] = [
    ("NegativeDirection", "", "i3 h4 o2", BARE),
    ("NegativeDirection", "", "i2 h5 o3", only(*PARAMETERS)),
    ("SeveralOutputs", "", "i3 h4 o2", BARE),
    ("SeveralOutputs", "", "i2 h3 o5", only(*PARAMETERS)),
    ("BothTriangles", "", "i4 h3 o2", BARE),
    ("BothTriangles", "", "i3 h5 o2", only(*PARAMETERS)),
    ("SymHalf", "", "i3 h2 o4", BARE),
    ("LinearBlock", "", "i3 h4 o2", only("w_out", "w_skip")),
    ("ConstantCorner", "", "i2 h4 o3", only("w_out", "b_left", "b_right")),
]
FORM: list[Row] = [
    ("OffDiagonalTwice", "", "d3 o2 n4", ()),
    ("OffDiagonalTwice", "", "d2 o4 n3", ()),
    ("PackedOrder", "", "d4 o2 n3", ()),
    ("PackedOrder", "", "d5 o3 n2", ()),
    ("BatchRows", "", "d3 o2 n5", ()),
    ("OutputOrder", "", "d2 o5 n3", ()),
    ("SimdTail", "", "d9 o2 n3", ()),
    ("SimdTail", "", "d15 o2 n1", ()),
]
BACKWARD: list[Row] = [
    ("ProductRule", "", "i2 h3 o4 n5", BARE),
    ("ProductRule", "w_out absent", "i3 h4 o4 n2", only("b_left", "b_right")),
    ("BiasInFactor", "", "i3 h4 o2 n5", only("w_out", "b_left", "b_right")),
    ("BiasInFactor", "", "i2 h3 o3 n4", only("b_left", "b_right")),
    ("GradientSign", "", "i3 h4 o2 n5", BARE),
    ("GradientSign", "", "i2 h5 o3 n4", only(*PARAMETERS)),
    ("BiasGradient", "", "i3 h4 o2 n5", only("w_out", "b_left", "b_right", "b_out")),
    ("BiasGradient", "", "i2 h3 o5 n4", only(*PARAMETERS)),
    ("OutputGradient", "", "i2 h5 o3 n4", BARE),
    ("OutputGradient", "", "i3 h2 o4 n5", only(*PARAMETERS)),
    ("LastRow", "", "i3 h4 o2 n5", BARE),
    ("LastRow", "", "i2 h3 o4 n7", only(*PARAMETERS)),
    ("RepeatedCall", "as the next", "i3 h4 o2 n5", only(*PARAMETERS)),
    ("RepeatedCall", "as the one before", "i3 h4 o2 n5", only(*PARAMETERS)),
    ("RepeatedCall", "as the two before", "i3 h4 o2 n5", only(*PARAMETERS)),
    ("SkipPath", "", "i3 h4 o2 n5", only("w_out", "w_skip")),
    ("SimdTail", "", "i2 h9 o3 n4", BARE),
]
SQUARED_ERROR: list[Row] = [
    ("MeanOverExamples", "", "n4 o3", ()),
    ("MeanOverExamples", "", "n2 o5", ()),
    ("FactorTwo", "", "n4 o3", ()),
    ("FactorTwo", "one example", "n1 o3", ()),
    ("GradientSign", "", "n8 o3", ()),
    ("GradientSign", "", "n2 o3", ()),
]
EMPTY = {
    "forward": ["i0 h3 o2 n4", "i3 h0 o2 n4", "i3 h4 o0 n2", "i3 h4 o2 n0"],
    "tensor": ["i0 h3 o2", "i3 h0 o2", "i3 h4 o0"],
    "matrix": ["i0 h3 o2", "i3 h0 o2", "i3 h4 o0"],
    "form": ["d0 o2 n3", "d3 o0 n2", "d3 o2 n0"],
    "backward": ["i0 h3 o2 n4", "i3 h0 o2 n4", "i3 h4 o0 n2", "i3 h4 o2 n0"],
}
ONES = {
    "forward": ["i1 h3 o2 n4", "i3 h1 o2 n4", "i3 h4 o1 n2", "i3 h4 o2 n1", "i1 h1 o1 n1"],
    "tensor": ["i1 h3 o2", "i3 h1 o2", "i3 h4 o1", "i1 h1 o1"],
    "form": ["d1 o2 n3", "d3 o1 n2", "d1 o1 n1"],
    "backward": ["i1 h3 o2 n4", "i3 h1 o2 n4", "i3 h4 o1 n2", "i3 h4 o2 n1"],
    "squared_error": ["n1 o1", "n4 o1"],
}


def _small(op: str, base: int, table: list[Row]) -> Iterator[Plan]:
    empty = [("EmptySize", "", sizes) for sizes in EMPTY.get(op, [])]
    ones = [("UnitSize", "", sizes) for sizes in ONES.get(op, [])]
    for at, rows in ((base, table), (base + 100, empty), (base + 150, ones)):
        yield Plan(at, op, "exact", "f32", tuple(drawn(op, *row) for row in rows))


def _combinations(op: str, base: int, sizes: str, square: str) -> Plan:
    """Return each way in which optional parameters can be absent; without w_out, h = o."""
    makers = []
    for there in product((True, False), repeat=len(PARAMETERS)):
        present = [name for name, one in zip(PARAMETERS, there, strict=True) if one]
        words = f"with {', '.join(present)}" if present else "with none of them"
        fitting = sizes if "w_out" in present else square
        makers.append(drawn(op, "OptionalParameters", words, fitting, only(*present)))
    return Plan(base, op, "exact", "f32", tuple(makers))


def _ternary() -> Iterator[Plan]:
    for base, op, sizes in (
        (10701, "forward", ("i15 h7 o3 n4", "i7 h15 o2 n3", "i3 h5 o2 n4")),
        (20701, "tensor", ("i5 h15 o3", "i3 h7 o2")),
        (50701, "backward", ("i5 h7 o2 n3", "i3 h4 o2 n5")),
    ):
        draw = partial(whole, largest=1, dtype="f32", zero=True)
        makers = tuple(drawn(op, "Ternary", "", one, draw=draw) for one in sizes)
        yield Plan(base, op, "exact", "f32", makers)


# ---- precision, written out


def _product(w: Any, v: Any, x: Any, p: Any) -> dict[str, Any]:
    return {"w_left": w, "w_right": v, "x": x, "w_out": p}


def _coarse(odd: int, name: str) -> list[Callable[[Stream], Case]]:
    """Return products in which one operand, and it alone, is odd and just above a power of two."""
    operands = {
        "x": _product([[1, 0]], [[0, 1]], [[odd, 1]], [[1]]),
        "w_left": _product([[odd]], [[1]], [[1]], [[1]]),
        "w_right": _product([[1]], [[odd]], [[1]], [[1]]),
        "w_out": _product([[1]], [[1]], [[1]], [[odd]]),
        "the product": _product([[odd - 1, 1]], [[1, 0]], [[1, 1]], [[1]]),
    }
    return [
        known("CoarseOperand", f"{odd} in {where}, {name}", inputs, "f32")
        for where, inputs in operands.items()
    ]


COARSE = [*_coarse(2049, "for TF32 and float16"), *_coarse(257, "for bfloat16")]
LIMIT = 2**24
SINGLE_FORWARD = [
    known("SinglePrecision", "4097 squared", _product([[4097]], [[4097]], [[1]], [[1]]), "f64"),
    known(
        "SinglePrecision", "4096 squared and 1 squared, summed",
        _product([[4096], [1]], [[4096], [1]], [[1]], [[1, 1]]), "f64",
    ),
    known(
        "SinglePrecision", "a factor of 2^24 + 1",
        _product([[LIMIT, 1]], [[0, 1]], [[1, 1]], [[1]]), "f64",
    ),
]  # fmt: skip
SINGLE_TENSOR = [
    known("SinglePrecision", "4097 squared", {"w_left": [[4097]], "w_right": [[4097]]}, "f64"),
    known(
        "SinglePrecision", "summed over units",
        {"w_left": [[4096], [1]], "w_right": [[4096], [1]], "w_out": [[1, 1]]}, "f64",
    ),
]  # fmt: skip
COARSE_TENSOR = [
    known("CoarseOperand", "in w_left", {"w_left": [[odd, 1]], "w_right": [[1, 0]]}, "f32")
    for odd in (2049, 257)
]
COARSE_FORM = [
    known("CoarseOperand", "in the tensor", {"tensor": [[odd, 1, 1]], "x": [[1, 1]]}, "f32")
    for odd in (2049, 257)
]
SINGLE_FORM = [
    known("SinglePrecision", "", {"tensor": [[LIMIT, 0, 1]], "x": [[1, 1]]}, "f64"),
    known("SinglePrecision", "", {"tensor": [[1]], "x": [[4097]]}, "f64"),
]
SINGLE_BACKWARD = [
    known(
        "SinglePrecision", "summed over examples",
        {"w_left": [[1]], "w_right": [[1]], "b_out": [1], "x": [[1], [1]], "dy": [[LIMIT], [1]]},
        "f64",
    ),
    known(
        "SinglePrecision", "4097 squared",
        {"w_left": [[4097]], "w_right": [[1]], "x": [[4097]], "dy": [[1]]}, "f64",
    ),
]  # fmt: skip
SINGLE_ERROR = [
    known("SinglePrecision", "", {"y": [[4096], [1]], "t": [[0], [0]]}, "f64"),
    known("SinglePrecision", "", {"y": [[4097]], "t": [[0]]}, "f64"),
]


# ---- what is no number

NAN, INF = float("nan"), float("inf")
SPECIAL = [
    known("NotANumber", "in one example", _product([[1, 2]], [[3, 1]], [[1, 1], [NAN, 1], [2, 3]], [[2], [-1]]), "f32"),
    known("NotANumber", "in the last example", _product([[1], [2]], [[3], [1]], [[1], [2], [NAN]], [[1, 1]]), "f32"),
    known("NotANumber", "in a weight: every example", _product([[NAN]], [[1]], [[1], [0]], [[1], [2]]), "f32"),
    known("ZeroTimesNotANumber", "a zero weight", _product([[0, 1]], [[0, 1]], [[NAN, 1], [1, 1]], [[1]]), "f32"),
    known("ZeroTimesNotANumber", "a zero output weight", _product([[1], [1]], [[1], [1]], [[NAN], [2]], [[0, 0]]), "f32"),
    known("ZeroTimesNotANumber", "a zero example, an infinite weight", _product([[INF]], [[1]], [[0], [1]], [[1]]), "f32"),
    known("Infinity", "positive", _product([[1, 1]], [[1, 1]], [[INF, 1], [1, 2]], [[1]]), "f32"),
    known("Infinity", "negative", _product([[-1, 1]], [[1, 1]], [[INF, 1], [1, 2]], [[3]]), "f32"),
    known("Infinity", "in an output bias", _product([[1]], [[1]], [[2]], [[1], [1]]) | {"b_out": [-INF, 1]}, "f32"),
    known("Infinity", "two that cancel in a factor", _product([[1, -1]], [[1, 1]], [[INF, INF], [1, 2]], [[1]]), "f32"),
    known("Infinity", "two that cancel in the output", _product([[1], [1]], [[1], [1]], [[INF], [2]], [[1, -1]]), "f32"),
]  # fmt: skip
SPECIAL_TENSOR = [
    known("NotANumber", "its row and column, no other entry", {"w_left": [[1, NAN, 2]], "w_right": [[3, 1, 1]]}, "f32"),
    known("ZeroTimesNotANumber", "a zero output weight", {"w_left": [[NAN, 1]], "w_right": [[1, 1]], "w_out": [[0], [1]]}, "f32"),
    known("Infinity", "two that cancel", {"w_left": [[INF, 1], [INF, 1]], "w_right": [[1, 1], [1, 1]], "w_out": [[1, -1]]}, "f32"),
]  # fmt: skip
SPECIAL_FORM = [
    known("NotANumber", "in one example", {"tensor": [[1, 2, 3], [4, 5, 6]], "x": [[1, 2], [NAN, 1], [3, 1]]}, "f32"),
    known("NotANumber", "in one output's tensor", {"tensor": [[1, 2, 3], [4, NAN, 6]], "x": [[1, 2], [3, 1]]}, "f32"),
    known("ZeroTimesNotANumber", "a zero in x", {"tensor": [[1, INF, 2]], "x": [[0, 1], [1, 1]]}, "f32"),
    known("Infinity", "negative", {"tensor": [[1, -0.5, -2]], "x": [[1, INF], [1, 2]]}, "f32"),
]  # fmt: skip
BITS = [[0, 0], [0, 1], [1, 0], [1, 1]]
AND: dict[str, Any] = {"w_left": [[1, 0]], "w_right": [[0, 1]]}
XOR = AND | {"w_out": [[-2]], "w_skip": [[1, 1]]}
XNOR = AND | {"w_out": [[2]], "w_skip": [[-1, -1]], "b_out": [1]}
GATES: list[tuple[str, dict[str, Any]]] = [
    ("AND", AND),
    ("XOR: one product beside a skip path", XOR),
    ("XNOR: and an output bias", XNOR),
]
GATE_TENSORS = [known("LogicGate", words, gate, "f32") for words, gate in GATES]
GATE_OUTPUTS = [known("LogicGate", words, gate | {"x": BITS}, "f32") for words, gate in GATES]
HUGE, TINY = 2.0**600, 2.0**-600
ACCEPTABLE = [
    known("SignedZero", "-0 times a positive number", _product([[1]], [[-1]], [[-0.0]], [[1]]), "f64", result="acceptable"),
    known("SignedZero", "without output weights", {"w_left": [[1]], "w_right": [[-1]], "x": [[0.0]]}, "f64", result="acceptable"),
    known("Overflow", "the result too", _product([[HUGE]], [[HUGE]], [[1]], [[1]]), "f64", result="acceptable"),
    known("Overflow", "the result is 2^600", _product([[HUGE]], [[HUGE]], [[1]], [[TINY]]), "f64", result="acceptable"),
    known("Underflow", "the result is 2^-200", _product([[TINY]], [[TINY]], [[1]], [[2.0**1000]]), "f64", result="acceptable"),
    known("Underflow", "the result is subnormal", _product([[2.0**-537]], [[2.0**-536]], [[1]], [[3]]), "f64", result="acceptable"),
]  # fmt: skip
ACCEPTABLE_SINGLE = [
    known("Overflow", "the result too", _product([[2.0**70]], [[2.0**70]], [[1]], [[1]]), "f32", result="acceptable"),
    known("Overflow", "the result is 2^70", _product([[2.0**70]], [[2.0**70]], [[1]], [[2.0**-70]]), "f32", result="acceptable"),
    known("Underflow", "the result is 2^-60", _product([[2.0**-80]], [[2.0**-80]], [[1]], [[2.0**100]]), "f32", result="acceptable"),
    known("Underflow", "the result is subnormal", _product([[2.0**-74]], [[2.0**-74]], [[1]], [[3]]), "f32", result="acceptable"),
]  # fmt: skip


# ---- real numbers, judged by bounds

REAL: dict[str, list[Row]] = {
    "forward": [("i3 h5 o2 n4", ()), ("i5 h2 o3 n4", BARE), ("i4 h3 o3 n2", NO_OUT), ("i2 h7 o3 n5", ("w_skip",))],
    "tensor": [("i3 h5 o2", ()), ("i5 h2 o3", BARE), ("i4 h3 o3", NO_OUT), ("i2 h7 o3", ("w_skip",))],
    "matrix": [("i3 h5 o2", ()), ("i5 h2 o3", BARE), ("i4 h3 o3", NO_OUT)],
    "form": [("d3 o2 n4", ()), ("d7 o3 n2", ()), ("d1 o3 n2", ())],
    "backward": [("i3 h4 o2 n5", ()), ("i4 h2 o3 n5", BARE), ("i2 h4 o4 n3", NO_OUT)],
    "squared_error": [("n3 o2", ()), ("n5 o3", ()), ("n7 o1", ())],
}  # fmt: skip


def _bounded(op: str, base: int) -> Iterator[Plan]:
    for dtype, at in (("f64", base), ("f32", base + 50)):
        draw = partial(real, dtype=dtype)
        makers = [drawn(op, "RealNumbers", "", sizes, absent, draw) for sizes, absent in REAL[op]]
        yield Plan(at, op, "bounded", dtype, tuple(makers))


LOGITS: list[Row] = [
    ("LargeLogits", "exp(1000) overflows", [[1000, 0.5, -3], [2, 1, 998]], [1, 2]),
    ("LargeLogits", "all large", [[-3000, -3001.5, -2999], [5000, 5002, 4999.5]], [0, 2]),
    ("LargeLogits", "one label far below", [[200.25, -200.5], [0.5, 100.75], [3, 1]], [1, 0, 0]),
    ("Labels", "the first and the last class", [[1, 2, -3], [0.5, -1, 4], [2, 2.5, 1], [-1, 0, 3]], [0, 2, 1, 2]),
    ("Labels", "", [[0.25, -2, 1, 3], [1, 0, 2, -1]], [3, 0]),
    ("SoftmaxAxis", "more examples than classes", [[1, -2], [3, 0.5], [-1, 2], [0.25, 4], [2, 2]], [0, 1, 1, 0, 0]),
    ("SoftmaxAxis", "as many", [[1, -2, 0.5], [3, 0.25, 1], [-1, 2, 4]], [0, 2, 1]),
    ("NaturalLog", "equal logits", [[0.5, 0.5, 0.5, 0.5]], [2]),
    ("NaturalLog", "", [[1, -1.5], [0.75, 2], [3, 0.125]], [1, 0, 0]),
    ("MeanOverExamples", "", [[1, 2, -3], [0.5, -1, 4]], [0, 1]),
    ("MeanOverExamples", "", [[1.5, 2], [0.5, -1], [2, 1]], [0, 1, 1]),
    ("GradientSign", "", [[1, 2.5, -3], [0.5, -1, 4], [2, 0.25, 1], [1, 0, 3], [0, 1, 2]], [2, 1, 0, 1, 2]),
    ("UnitSize", "one class: the loss is 0", [[3], [-2]], [0, 0]),
]  # fmt: skip


def _cross_entropy(base: int) -> Iterator[Plan]:
    for dtype, at in (("f64", base), ("f32", base + 50)):
        makers = [
            known(flag, words, {"y": y, "labels": labels}, dtype)
            for flag, words, y, labels in LOGITS
        ]
        yield Plan(at, "cross_entropy", "bounded", dtype, tuple(makers))


PLAIN = (0.01, 0.0, 0.9, 0.999, 1e-8)
DECAYED = (0.5, 0.25, 0.9, 0.999, 1e-8)
# flag, words, shape, t, settings, size of the gradient, sign of m against g
STEPS: list[Row] = [
    ("DecoupledDecay", "", (3,), 3, DECAYED, 1.0, 1),
    ("DecoupledDecay", "a matrix", (2, 3), 7, (0.125, 0.5, 0.9, 0.99, 1e-8), 1.0, 1),
    ("BiasCorrection", "first step", (3,), 1, PLAIN, 1.0, 0),
    ("BiasCorrection", "", (4,), 3, (0.1, 0.0, 0.9, 0.999, 1e-8), 1.0, 1),
    ("BiasCorrection", "late", (3,), 1000, (0.1, 0.0, 0.5, 0.9, 1e-8), 1.0, 1),
    ("SmallGradient", "", (3,), 2, (0.1, 0.0, 0.9, 0.999, 1e-8), 2.0**-27, 1),
    ("SmallGradient", "first step", (3,), 1, (0.1, 0.01, 0.9, 0.999, 1e-8), 2.0**-28, 0),
    ("SmallGradient", "below epsilon", (2, 2), 5, (0.5, 0.0, 0.9, 0.99, 1e-6), 2.0**-23, 1),
    ("SecondMoment", "", (3,), 2, PLAIN, 1.0, 1),
    ("SecondMoment", "", (2, 3), 4, (0.25, 0.0, 0.5, 0.75, 1e-8), 4.0, 1),
    ("NoDecay", "", (5,), 3, (0.5, 0.0, 0.9, 0.999, 1e-8), 1.0, 1),
    ("NoDecay", "", (3,), 1, (0.1, 0.0, 0.9, 0.999, 1e-8), 1.0, 0),
    ("Momentum", "", (3,), 3, (0.1, 0.0, 0.9, 0.999, 1e-8), 1.0, -1),
    ("Momentum", "", (2, 3), 9, (0.1, 0.1, 0.5, 0.9, 1e-8), 1.0, -1),
]  # fmt: skip


def _step(
    dtype: str, flag: str, words: str, shape: Shape, t: int, settings: Row, scale: float, sign: int
) -> Maker:
    """Return the maker of a step whose first moment has the sign of g, or the other, or is 0."""

    def make(source: Stream) -> Case:
        theta, g, m, v = (real(source, shape, dtype=dtype) for _ in range(4))
        number = DTYPES[dtype]
        inputs = {
            "theta": theta,
            "g": (g * scale).astype(number),
            "m": (sign * abs(m) * np.sign(g) * scale).astype(number),
            "v": (abs(sign) * abs(v) * scale * scale).astype(number),
            "t": np.array(t),
        }
        return Case(
            (flag,), words, inputs | dict(zip(SETTINGS, map(np.array, settings), strict=True))
        )

    return make


def _adamw(base: int) -> Iterator[Plan]:
    for dtype, at in (("f64", base), ("f32", base + 50)):
        makers = tuple(_step(dtype, *row) for row in STEPS)
        yield Plan(at, "adamw", "bounded", dtype, makers)


# ---- spectra that are known: Q = H Λ Hᵀ with H a product of dyadic reflections


def reflections(source: Stream, n: int, count: int) -> Array:
    """Return a product of reflections `I − 2vvᵀ/vᵀv`, v of 2^j entries ±1: orthogonal and dyadic.

    In turn as many entries as fit, and half of them: below n = 4 only permutations come out.
    """
    basis = np.array([[Fraction(i == j) for j in range(n)] for i in range(n)], dtype=object)
    for number in range(count):
        v = np.array([Fraction(0)] * n, dtype=object)
        size = 1 << max(0, n.bit_length() - 1 - number % 2)
        places = sorted(range(n), key=lambda _: next(source))[:size]
        v[places] = [Fraction(1 - 2 * (next(source) % 2)) for _ in places]
        basis = basis - (2 * (basis @ v))[:, None] * v / sum(v * v)
    return basis.reshape(n, n)


def ordered(values: Iterable[int]) -> list[int]:
    """Return eigenvalues by descending magnitude, the positive one first on a tie."""
    return sorted(values, key=lambda value: (-abs(value), -value))


def _spectral(
    op: str, dtype: str, flag: str, words: str, values: list[int], k: int, count: int
) -> Maker:
    def make(source: Stream) -> Case:
        basis, n = reflections(source, len(values), count), len(values)
        lam = np.array([Fraction(value) for value in ordered(values)], dtype=object)
        pairs = {"eigenvalues": lam, "basis": basis}
        inputs = {"Q": _exactly(_composed(lam, basis, n), dtype), "k": np.array(k)}
        if op == "spectrum":
            return Case((flag,), words, inputs, expected=pairs)
        tail = np.array(sum(lam[k:] * lam[k:], Fraction(0)), dtype=object)
        kept = {"matrix": _composed(lam, basis, k), "tail": tail}
        return Case((flag,), words, inputs, expected=kept)

    return make


def _composed(lam: Array, basis: Array, k: int) -> Array:
    """Return `Σ_{i≤k} λ_i h_i h_iᵀ`; a sum of nothing is a Fraction too."""
    total: Array = (basis[:, :k] * lam[:k]) @ basis[:, :k].T + Fraction(0)
    return total


def _exactly(numbers: Array, dtype: str) -> Array:
    """Return exact numbers as floats, or raise if one would be rounded."""
    floats = numbers.astype(DTYPES[dtype])
    for number, mine in zip(numbers.flat, floats.ravel().tolist(), strict=True):
        if Fraction(mine) != number:
            raise ArithmeticError(f"{number} is no {dtype}")
    return floats


SPECTRA: list[Row] = [
    ("ByMagnitude", "", [5, -7, 2, -3, 1], 5, 2),
    ("ByMagnitude", "the first three", [4, -9, 1, -6, 3, 2], 3, 2),
    ("ByMagnitude", "negative ones lead", [-8, 6, -5, 3], 4, 2),
    ("ColumnVectors", "", [9, -4, 2, 1, 7], 5, 2),
    ("ColumnVectors", "", [3, -5, 8, -2, 6, -1, 4], 7, 3),
    ("NegativeEigenvalues", "all negative", [-1, -4, -9, -2, -6], 5, 2),
    ("NegativeEigenvalues", "two kept", [-8, -5, 3, 1, 2], 2, 2),
    ("NegativeEigenvalues", "four kept", [-11, -9, 5, -4, 3, 2, 1], 4, 3),
    ("UnitVectors", "", [6, -2, 4, -5], 4, 2),
    ("UnitVectors", "", [10, -8, 3, 5, -1, 7], 6, 3),
    ("TinyGap", "2^28 and one more", [2**28, 2**28 + 1, -3, 5], 4, 2),
    ("TinyGap", "neighbours of both signs", [2**28, -(2**28) + 1, 2**27, 7, -1], 5, 2),
    ("TinyGap", "neighbours", [2**26 + 1, 2**26, 2**26 - 1, 2**26 - 2], 4, 2),
    ("Multiplicity", "twice and three times", [4, 4, -2, -2, -2, 1], 6, 3),
    ("Multiplicity", "all equal", [3, 3, 3, 3], 4, 2),
    ("Multiplicity", "rank one", [0, 0, 5, 0, 0], 5, 2),
    ("SignTie", "", [6, -6, 3, -3, 1], 5, 2),
    ("SignTie", "twice each", [2, -2, 2, -2, 7, 1], 6, 3),
    ("Multiplicity", "the zero matrix", [0, 0, 0], 3, 1),
    ("UnitSize", "", [-7], 1, 0),
    ("EmptySize", "", [], 0, 0),
    ("EmptySize", "none kept", [3, 1, -2], 0, 2),
    ("ColumnVectors", "sixteen", [97, -83, 71, -59, 47, -43, 37, -31, 29, -19, 13, -11, 7, -5, 3, 2], 16, 4),
]  # fmt: skip
TRUNCATIONS: list[Row] = [
    ("LargestKept", "", [9, -7, 5, 3, -1], 2, 2),
    ("LargestKept", "", [4, 1, -6, 2, 8, -3], 3, 3),
    ("LargestKept", "one kept", [-9, 5, 2, 1], 1, 2),
    ("SignsKept", "", [-9, 6, -4, 2, 1], 3, 2),
    ("SignsKept", "all kept are negative", [-9, -6, 4, 2], 2, 2),
    ("TailOfSquares", "", [8, -5, 3, -2, 1], 2, 2),
    ("TailOfSquares", "", [7, 6, -4, 3, 1, -2], 4, 3),
    ("TiedTruncation", "equal", [5, 3, 3, 1], 2, 2),
    ("TiedTruncation", "and its negative", [7, 4, -4, 2, 1], 2, 2),
    ("EmptySize", "none kept", [4, -2, 1], 0, 2),
    ("LargestKept", "all kept", [4, -2, 1, 3], 4, 2),
]


def _asymmetric(base: int) -> Iterator[Plan]:
    """Return what must be refused, also by one ulp of 1 in the dtype."""
    for dtype, at in (("f64", base), ("f32", base + 50)):
        ulp = 2.0 ** (1 - PRECISION[dtype])
        refused = partial(known, "Asymmetric", dtype=dtype, result="invalid")
        makers = (
            refused("", {"Q": [[1, 2], [3, 4]], "k": 2}),
            refused("by one ulp", {"Q": [[1, 1], [1 + ulp, 4]], "k": 2}),
            refused("below the diagonal", {"Q": [[1, 0, 0], [0, 2, 0], [5, 0, 3]], "k": 1}),
            refused("NaN above the diagonal", {"Q": [[1, NAN], [0, 1]], "k": 2}),
            refused("NaN on it", {"Q": [[NAN, 0], [0, 1]], "k": 2}),
        )
        yield Plan(at, "spectrum", "certificate", dtype, makers)


def _spectra(op: str, base: int, table: list[Row]) -> Iterator[Plan]:
    single = [row for row in table if max(map(abs, row[2]), default=0) < 64 and row[4] < 3]
    for dtype, at, rows in (("f64", base, table), ("f32", base + 50, single)):
        makers = tuple(_spectral(op, dtype, *row) for row in rows)
        yield Plan(at, op, "certificate", dtype, makers)


# C of Σ_i C[o,i] h_i h_iᵀ: orthogonal rows, so the slices of the core are orthogonal in each mode.
CORES: list[Row] = [
    ("SymmetricModes FullRank", "", [[6, 0, 0, 2, 0], [0, 5, 1, 0, 0], [0, 1, -5, 0, 0], [0, 0, 0, 0, 3]]),
    ("SymmetricModes", "", [[4, 3, 0, 0], [3, -4, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]),
    ("CoreRotation", "", [[7, 0, 1, 0], [0, 5, 0, 0], [-1, 0, 7, 0], [0, 0, 0, 2]]),
    ("CoreRotation FullRank", "", [[8, 4, 0, 0, 0], [-2, 4, 3, 0, 0], [0, 0, 0, 6, 1], [0, 0, 0, -1, 6]]),
    ("ThinFactors", "five outputs, rank 3", [[6, 2, 0, 0], [1, -3, 0, 0], [0, 0, 4, 0], [0] * 4, [0] * 4]),
    ("ThinFactors", "six outputs, rank 4", [[9, 0, 1, 0], [0, 5, 0, 0], [-1, 0, 9, 0], [0, 0, 0, 2], [0] * 4, [0] * 4]),
    ("Multiplicity", "equal singular values", [[5, 0, 0, 0], [0, 5, 0, 0], [0, 0, 5, 0], [0, 0, 0, 5]]),
]  # fmt: skip


def _hosvd(dtype: str, flags: str, words: str, core: list[list[int]]) -> Maker:
    def make(source: Stream) -> Case:
        c = np.array([[Fraction(n) for n in row] for row in core], dtype=object)
        outputs, inputs = (reflections(source, n, 2) for n in c.shape)
        i, j = pair_indices(c.shape[1])
        tensor = (outputs @ c) @ (inputs[i] * inputs[j]).T
        expected = _leading("out", (c * c).sum(axis=1), outputs)
        expected |= _leading("in", (c * c).sum(axis=0), inputs)
        whole_tensor = {"tensor": _exactly(tensor, dtype)}
        return Case(tuple(flags.split()), words, whole_tensor, expected=expected)

    return make


def _hosvds(base: int) -> Iterator[Plan]:
    for dtype, at in (("f64", base), ("f32", base + 50)):
        makers = tuple(_hosvd(dtype, *row) for row in CORES)
        yield Plan(at, "hosvd", "certificate", dtype, makers)


def _leading(mode: str, squares: Array, basis: Array) -> dict[str, Array]:
    """Return squared singular values in descending order, and their vectors."""
    order = sorted(range(len(squares)), key=lambda k: -squares[k])
    return {f"squares_{mode}": squares[order], f"basis_{mode}": basis[:, order]}


# ---- folding

FOLD_ALL = "i3 j4 h5 o2 r6"
EXTRA = ("b_embed", "gain", "left_scale", "residual")
ENDS = ("w_embed", "w_head")
FOLDS: list[Row] = [
    ("HeadFold", "", FOLD_ALL, EXTRA),
    ("HeadFold", "no embedding", "i3 h5 o2 r4", (*EXTRA, "w_embed")),
    ("EmbeddingFold", "", FOLD_ALL, EXTRA),
    ("EmbeddingFold", "square, no head", "i3 j3 h4 o2 r2", (*EXTRA, "w_head")),
    ("EmbeddingFold", "no biases", FOLD_ALL, (*EXTRA, "b_left", "b_right", "b_out", "w_skip")),
    ("ResidualFold", "", "i3 j4 h5 o3 r2", EXTRA[:3]),
    ("ResidualFold", "no skip path", "i4 j2 h3 o4 r5", (*EXTRA[:3], "w_skip")),
    ("ResidualFold", "square", "i3 j3 h4 o3 r3", EXTRA[:3]),
    ("GainFold", "", FOLD_ALL, ("b_embed", "left_scale", "residual")),
    ("GainFold", "no embedding, no head", "i4 h3 o2 r2", ("b_embed", "left_scale", "residual", *ENDS)),
    ("ScaleFold", "", FOLD_ALL, ("b_embed", "gain", "residual")),
    ("ScaleFold", "no embedding, no head", "i4 h3 o2 r2", ("b_embed", "gain", "residual", *ENDS)),
    ("DecoderBias", "", FOLD_ALL, ("gain", "left_scale", "residual")),
    ("DecoderBias", "with a gain and a residual", "i3 j5 h4 o3 r2", ("left_scale",)),
    ("HeadFold", "as many units as outputs", "i3 j4 h2 o2 r2", EXTRA),
    ("HeadFold", "as many units as outputs", "i2 j5 h3 o3 r3", EXTRA),
    ("ResidualFold", "square, no skip path", "i4 j4 h3 o4 r4", (*EXTRA[:3], "w_skip")),
]  # fmt: skip


def _folding(draw: Any, flag: str, words: str, sizes: str, absent: Iterable[str]) -> Maker:
    """Return the maker of a model to fold; a scale, where there is one, is 1/2."""

    def make(source: Stream) -> Case:
        inputs = fill("fold", sizes, absent, partial(draw, source))
        if "left_scale" in inputs:
            inputs["left_scale"] = np.full_like(inputs["left_scale"], 0.5)
        if "residual" in inputs:
            inputs["residual"] = np.array(1)
        return Case((flag,), words, inputs)

    return make


def _folds(base: int) -> Iterator[Plan]:
    exactly = partial(whole, largest=2, dtype="f32", zero=False)
    yield Plan(base, "fold", "exact", "f32", tuple(_folding(exactly, *row) for row in FOLDS))
    for dtype, at in (("f64", base + 100), ("f32", base + 150)):
        rows = [("RealNumbers", "", *row[2:]) for row in (FOLDS[0], FOLDS[5], FOLDS[13])]
        makers = tuple(_folding(partial(real, dtype=dtype), *row) for row in rows)
        yield Plan(at, "fold", "bounded", dtype, makers)


# ---- all of it


SMALL_CASES: dict[str, tuple[int, list[Row], list[Maker], list[Maker]]] = {
    "forward": (
        10000,
        FORWARD,
        [*COARSE, *SPECIAL, *GATE_OUTPUTS, *ACCEPTABLE_SINGLE],
        [*SINGLE_FORWARD, *ACCEPTABLE],
    ),
    "tensor": (20000, TENSOR, [*COARSE_TENSOR, *SPECIAL_TENSOR, *GATE_TENSORS], SINGLE_TENSOR),
    "matrix": (30000, MATRIX, [], []),
    "form": (40000, FORM, [*COARSE_FORM, *SPECIAL_FORM], SINGLE_FORM),
    "backward": (50000, BACKWARD, [], SINGLE_BACKWARD),
    "squared_error": (60000, SQUARED_ERROR, [], SINGLE_ERROR),
}


def plans() -> list[Plan]:
    """Return every plan, by ascending ids."""
    found = [*_ternary()]
    for op, (base, table, single, double) in SMALL_CASES.items():
        found += [*_random(op, base + 1), *_small(op, base + 201, table), *_bounded(op, base + 901)]
        found.append(Plan(base + 401, op, "exact", "f32", tuple(single)))
        found.append(Plan(base + 501, op, "exact", "f64", tuple(double)))
    tails = [drawn("forward", "SimdTail", "", f"i{i} h{h} o1 n6") for h, i in TAILS]
    found += [
        Plan(10601, "forward", "exact", "f32", tuple(tails)),
        _combinations("forward", 10801, "i2 h3 o4 n5", "i2 h3 o3 n4"),
        _combinations("tensor", 20801, "i2 h3 o4", "i2 h3 o3"),
        _combinations("backward", 50801, "i2 h3 o4 n5", "i2 h3 o3 n4"),
        *_cross_entropy(70001),
        *_adamw(80001),
        *_spectra("spectrum", 90001, SPECTRA),
        *_asymmetric(90901),
        *_spectra("truncate", 91001, TRUNCATIONS),
        *_hosvds(92001),
        *_folds(93001),
    ]
    return sorted((plan for plan in found if plan.makers), key=lambda plan: plan.base)
