"""What a claim asks for: which vectors, their exact numbers, and how far off each may be.

A claim of f32 or f64 is judged by what the vectors say themselves: exact ones by `==`, bounded ones
by their K and twin. A coarser claim allows, of every vector, what its own bound allows, with K for
sums in any order (`counts`) and the roundings to storage (`bounds`). Nothing underflows in these
vectors but in exponentials and squares, so flushing to zero changes the bounds of these alone.
"""

from collections.abc import Collection, Mapping
from fractions import Fraction
from functools import partial
from math import inf
from typing import Any, NamedTuple

import numpy as np

from refbilinear.oracle import counts, exact, training
from refbilinear.oracle.agreement import settings_of
from refbilinear.oracle.answers import ANSWERS, Inputs
from refbilinear.oracle.bounds import DEGREES, Degree, degree_of, gamma
from refbilinear.oracle.claims import CLAIMS, Claim
from refbilinear.oracle.formats import FLOAT64
from refbilinear.oracle.rationals import roundoff, subnormal
from refbilinear.oracle.strict import DTYPES
from refbilinear.oracle.twins import TwinPair, allowed, followed
from refbilinear.oracle.vectors import OPERATIONS, Group, Suite, Vector
from refbilinear.spec.arrays import Array

REDUCTIONS = {
    "squared_error": ("mean-batch", "mean", "sum"),
    "cross_entropy": ("mean-batch", "sum"),
}
"""mean-batch: mean over examples, sum over outputs; mean: over both, where there are outputs."""

STORED = {
    "forward": {"y": DEGREES["forward"]},
    "tensor": {"tensor": DEGREES["tensor"]},
    "matrix": {"matrix": Degree(*np.add(DEGREES["tensor"], DEGREES["matrix"]).tolist())},
    "form": {"y": DEGREES["quadratic_form"]},
    "backward": DEGREES,
    "squared_error": {"value": DEGREES["squared_error"], "dy": DEGREES["squared_error_dy"]},
}
"""How often a coarse format is rounded to, on the way to each output that has a bound for it."""


class Question(NamedTuple):
    """A vector, put to an implementation in the dtype of its claim."""

    op: str
    tier: str
    dtype: str
    vector: Vector


class Standard(NamedTuple):
    """What an output must be, and how far off it may be; None where it must be equal."""

    exact: Array
    allowed: Array | None


# ---- which vectors


def questions(suite: Suite, claim: str, operations: Collection[str]) -> list[Question]:
    """Return the vectors that a claim asks for, of some operations.

    Those of the claim's own dtype. In float64 also the exact ones and the certificates of float32,
    whose numbers are exact there, but for those where IEEE arithmetic of float32 decides.

    Examples
    --------
    >>> from refbilinear.oracle import vectors
    >>> suite = vectors.load()
    >>> [len(questions(suite, claim, ["forward"])) for claim in ("f64", "f32", "tf32")]
    [191, 170, 166]
    """
    return [
        Question(group.op, group.tier, dtype_of(claim), _widened(vector, claim))
        for group in suite.groups
        for vector in group.vectors
        if group.op in operations and _asks(claim, group, vector)
    ]


def dtype_of(claim: str) -> str:
    """Return the dtype in which a claim gets its inputs and must return its results."""
    return "f64" if CLAIMS[claim].sums is FLOAT64 else "f32"


def _asks(claim: str, group: Group, vector: Vector) -> bool:
    own, valid = group.dtype == dtype_of(claim), vector.result == "valid"
    if CLAIMS[claim].storage is not None:
        return own and valid and group.op in STORED
    return own or (group.dtype == "f32" and group.tier != "bounded" and valid)


def _widened(vector: Vector, claim: str) -> Vector:
    """Return a vector with its float32 arrays in float64, if that is what the claim computes in."""
    if dtype_of(claim) == "f32":
        return vector
    return vector._replace(inputs=_wide(vector.inputs), expected=_wide(vector.expected))


def _wide(arrays: Mapping[str, Array]) -> dict[str, Array]:
    wide = np.float64
    return {n: a.astype(wide) if a.dtype == np.float32 else a for n, a in arrays.items()}


def letters_of(question: Question) -> dict[str, str]:
    """Return the letters of every input's axes; without w_out an output is a hidden unit."""
    held, letters = question.vector.inputs, OPERATIONS[question.op].inputs
    if "w_left" in held and "w_out" not in held:
        return {name: letters[name].replace("o", "h") for name in held}
    return {name: letters[name] for name in held}


# ---- exact numbers, and what is allowed


def standards(question: Question, claim: str, reduction: str = "mean-batch") -> dict[str, Standard]:
    """Return, of every output, what it must be and how far off it may be.

    Examples
    --------
    >>> from refbilinear.oracle import vectors
    >>> first = questions(vectors.load(), "f32", ["tensor"])[0]
    >>> standards(first, "f32")["tensor"].allowed is None
    True
    >>> round(float(standards(first, "tf32")["tensor"].allowed.max()), 2)
    17.37
    """
    vector, coarse = question.vector, CLAIMS[claim].storage is not None
    if vector.result == "acceptable" or not _is_finite(vector):
        return {name: _as_it_is(one, coarse) for name, one in vector.expected.items()}
    factor = _factor(question, reduction)
    if question.tier == "exact" and not coarse and factor == 1:
        return {name: Standard(one, None) for name, one in vector.expected.items()}
    found = {name: _exact(vector, name) for name in vector.expected}
    own = factor != 1 or _needs_own(question, claim)
    bounds = _derived(question, claim) if own else _stated(question)
    return {
        name: Standard(_times(factor, one), _times(factor, bounds[name] + _left(question, name)))
        for name, one in found.items()
    }


def _is_finite(vector: Vector) -> bool:
    return all(np.isfinite(array).all() for array in vector.inputs.values())


def _as_it_is(expected: Array, coarse: bool) -> Standard:
    """Return a standard with NaN or infinities in it; in a coarse format these alone are asked."""
    return Standard(expected, np.full(expected.shape, inf) if coarse else None)


def _exact(vector: Vector, name: str) -> Array:
    value: Array = exact.fractions(vector.expected[name])
    return value + exact.fractions(vector.residual[name]) if name in vector.residual else value


def _left(question: Question, name: str) -> Array | int:
    """Return what expected and residual together may be off: `u² |expected|`."""
    if question.tier == "exact":
        return 0
    dtype, expected = DTYPES[question.dtype], question.vector.expected[name]
    left: Array = np.abs(exact.fractions(expected)) * roundoff(dtype) ** 2 + subnormal(dtype)
    return left


def _factor(question: Question, reduction: str) -> Fraction:
    """Return what a loss in another reduction is, as a multiple of the mean over examples."""
    if reduction == "mean-batch" or reduction not in REDUCTIONS.get(question.op, ()):
        return Fraction(1)
    n, outputs = question.vector.inputs["y"].shape
    return Fraction(n) if reduction == "sum" else Fraction(1, outputs)


def _times(factor: Fraction, array: Array) -> Array:
    return np.asarray(factor * array, dtype=object)


def _needs_own(question: Question, claim: str) -> bool:
    """Whether the bound in the file is not that of a claim."""
    precision, transcendental = CLAIMS[claim], question.op in ("cross_entropy", "adamw")
    return precision.storage is not None or (precision.flushes and transcendental)


def _stated(question: Question) -> dict[str, Array]:
    """Return the bounds that stand in the vector."""
    vector, dtype = question.vector, DTYPES[question.dtype]
    bounds = {name: exact.fractions(bound) for name, bound in vector.allowed.items()}
    for name, twin in vector.twin.items():
        bounds[name] = Fraction(gamma(vector.K[name], dtype)) * exact.fractions(twin)
    return bounds


def _derived(question: Question, claim: str) -> dict[str, Array]:
    """Return the bounds of a claim; infinite where something may overflow."""
    held = question.vector.inputs
    if question.op == "cross_entropy":
        bounds = training.cross_entropy_bound(held["y"], held["labels"], claim)._asdict()
    elif question.op == "adamw":
        settings: dict[str, Any] = {**settings_of(held), "claim": claim}
        theta, g, m, v = (held[name] for name in exact.NAMES)
        bounds = training.adamw_bound(theta, g, m, v, int(held["t"]), **settings)._asdict()
    else:
        bounds = _counted(question, CLAIMS[claim])
    return {name: _as_fractions(bound) for name, bound in bounds.items()}


def _counted(question: Question, claim: Claim) -> dict[str, Array]:
    """Return the bounds of sums of products: K in any order, and the roundings to storage."""
    held, op, names = question.vector.inputs, question.op, list(question.vector.expected)
    roundings = counts.roundings(op, held)
    pair = followed(partial(_answer, op, list(held), names), claim, *held.values())
    return {
        name: allowed(
            roundings[name],
            degree_of(STORED[op][name], claim),
            claim,
            TwinPair(pair.twin[i], pair.padded[i], pair.times),
        )
        for i, name in enumerate(names)
    }


def _answer(op: str, names: list[str], outputs: list[str], *arrays: Array) -> tuple[Any, ...]:
    """Return the outputs, in an order, for inputs in an order."""
    held: Inputs = dict(zip(names, arrays, strict=True))
    if op == "squared_error":  # on absolute values, y + t for y − t
        held["t"] = -held["t"]
    found = ANSWERS[op](held)
    return tuple(found[name] for name in outputs)


def _as_fractions(bound: Any) -> Array:
    """Return bounds as they are: fractions, infinities stay floats."""
    array = np.asarray(bound, dtype=np.float64)
    out = np.empty(array.shape, dtype=object)
    out.ravel()[:] = [b if b == inf else Fraction(b) for b in array.ravel().tolist()]
    return out
