"""The verdict on what an implementation returned for one vector.

Numbers are compared exactly, as the rationals that they are: equal, or within what is allowed.
Pairs and factors are not unique; what they prove about themselves is judged (`certificates`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import inf, isfinite, isnan
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from refbilinear.oracle import exact
from refbilinear.oracle.agreement import layer_of
from refbilinear.oracle.answers import Outputs
from refbilinear.oracle.certificates import certify
from refbilinear.oracle.decompositions import certify_hosvd
from refbilinear.oracle.rationals import nearest_float
from refbilinear.oracle.standards import Question, Standard, standards
from refbilinear.oracle.strict import DTYPES
from refbilinear.oracle.truncations import truncation_objections
from refbilinear.oracle.vectors import LAYER, OPERATIONS
from refbilinear.spec.arrays import Array, constant
from refbilinear.spec.packed import unpack

RETURNED: dict[str, tuple[str, ...]] = {
    "spectrum": ("eigenvalues", "eigenvectors"),
    "hosvd": ("u_out", "u_in", "core"),
    "fold": ("w_left", "w_right"),
}
"""What must come back where that is not what a vector expects."""


class Deviation(NamedTuple):
    """The entry of an output that is worst off."""

    output: str
    place: tuple[int, ...]
    got: float
    exact: float
    allowed: float
    error: float
    different: int
    """How many entries are beyond what is allowed."""
    size: int

    @property
    def ratio(self) -> float:
        """Error over allowed error: at most 1 for an honest result, inf where 0 was allowed."""
        if 0 < self.allowed < inf:
            return self.error / self.allowed
        return inf if self.error else 0.0


class Verdict(NamedTuple):
    """passed, failed, acceptable or skipped; what kind of failure, in words, and where."""

    status: str
    kind: str = ""
    words: str = ""
    worst: Deviation | None = None
    """Of numbers."""
    wrong: tuple[str, ...] = ()
    """The outputs that are wrong."""


def judge(
    question: Question, outputs: Outputs, claim: str, convention: Mapping[str, str]
) -> Verdict:
    """Return the verdict on the outputs for one vector.

    Parameters
    ----------
    question : Question
    outputs : dict of str to array
        By the names that the operation returns.
    claim : str
        One of `CLAIMS`.
    convention : mapping
        `order` of a spectrum, `reduction` of a loss, where they are not the default.

    Examples
    --------
    >>> from refbilinear.oracle import vectors
    >>> from refbilinear.oracle.answers import ANSWERS
    >>> from refbilinear.oracle.standards import questions
    >>> one = questions(vectors.load(), "f64", ["forward"])[0]
    >>> judge(one, ANSWERS["forward"](one.vector.inputs), "f64", {}).status
    'passed'
    """
    objection = _form_objection(question, outputs)
    if objection is not None:
        return objection
    if question.vector.result == "acceptable":
        return _as_ieee(question, outputs)
    try:
        if question.op in CERTIFIED:
            return _by_certificate(question, outputs, convention.get("order", "magnitude"))
        if question.op == "fold":
            outputs = {"tensor": _folded_as(question.vector.expected["tensor"], outputs)}
    except ValueError as error:  # shapes that do not fit each other, numbers that are not finite
        return Verdict("failed", "shape", str(error))
    reduction = convention.get("reduction", "mean-batch")
    return _by_numbers(outputs, standards(question, claim, reduction))


def _by_certificate(question: Question, outputs: Outputs, order: str) -> Verdict:
    reasons = CERTIFIED[question.op](question, outputs, order)
    return Verdict("failed", "certificate", reasons[0]) if reasons else Verdict("passed")


# ---- what came back at all


def _form_objection(question: Question, outputs: Outputs) -> Verdict | None:
    """Return what is wrong before any number is looked at: names, dtypes, shapes."""
    expected, dtype = question.vector.expected, np.dtype(DTYPES[question.dtype])
    due = tuple(name for name in OPERATIONS[question.op].outputs if name in expected)
    wanted = RETURNED.get(question.op, due)
    unknown = set(outputs) - set(LAYER if question.op == "fold" else wanted)
    if not set(wanted) <= set(outputs) or unknown:
        words = f"must return {', '.join(wanted)}; got {', '.join(map(str, outputs)) or 'nothing'}"
        return Verdict("failed", "names", words)
    for name, array in outputs.items():
        if array.dtype != dtype:
            return Verdict("failed", "dtype", f"{name} must be {dtype}; got {array.dtype}")
        judged_alone = question.op in RETURNED
        shapes = [array.shape] if judged_alone else _shapes(name, expected[name])
        if array.shape not in shapes:
            words = " or ".join(map(str, shapes))
            return Verdict("failed", "shape", f"{name} must have shape {words}; got {array.shape}")
    return None


def _shapes(name: str, expected: Array) -> list[tuple[int, ...]]:
    """Return the shapes that an output may have: a tensor is packed or dense."""
    return [expected.shape, unpack(expected).shape] if name == "tensor" else [expected.shape]


# ---- numbers


def _by_numbers(outputs: Outputs, wanted: Mapping[str, Standard]) -> Verdict:
    found = [deviation(name, outputs[name], standard) for name, standard in wanted.items()]
    wrong = [one for one in found if one.different]
    worst = max(wrong or found, key=lambda one: (one.ratio, one.error), default=None)
    if wrong:
        return Verdict("failed", "value", "", worst, tuple(one.output for one in wrong))
    return Verdict("passed", worst=worst)


def deviation(name: str, got: Array, standard: Standard) -> Deviation:
    """Return the entry of an output that is worst off, and how many are beyond what is allowed.

    Examples
    --------
    >>> two = Standard(np.array([3.0, 4.0]), None)
    >>> deviation("y", np.array([3.0, 5.0]), two)[:5]
    ('y', (1,), 5.0, 4.0, 0.0)
    """
    want, allowed = standard
    if got.shape != want.shape:  # a dense tensor: both triangles are judged
        want, allowed = unpack(want), None if allowed is None else unpack(allowed)
    if got.size == 0 or (allowed is None and _same(got, want).all()):
        return Deviation(name, (), 0.0, 0.0, 0.0, 0.0, 0, got.size)
    most = np.zeros(got.shape, dtype=object) if allowed is None else allowed
    triples = list(zip(*(np.ravel(array).tolist() for array in (got, want, most)), strict=True))
    entries = [_entry(*numbers) for numbers in triples]
    worst = max(range(got.size), key=lambda i: entries[i][1:])
    index = tuple(int(i) for i in np.unravel_index(worst, got.shape))
    different = sum(wrong for _, wrong, _ in entries)
    mine, exactly, limit = map(_float, triples[worst])
    error = _float(entries[worst][0])
    return Deviation(name, index, mine, exactly, limit, error, different, got.size)


def _same(got: Array, want: Array) -> Array:
    """Return where two arrays hold the same numbers, NaN like NaN."""
    return np.asarray((got == want) | (_is_nan(got) & _is_nan(want)), dtype=bool)


def _is_nan(array: Array) -> Array:
    return np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, dtype=bool)


def _entry(got: Any, want: Any, allowed: Any) -> tuple[Fraction | float, bool, Any]:
    """Return the error of an entry, whether it is beyond what is allowed, and their ratio.

    Where a result may overflow, anything is allowed; a NaN or infinity that is due must be there.
    """
    if _is_finite(got) and _is_finite(want) and allowed != inf:
        error = abs(Fraction(got) - Fraction(want))
        wrong = error > allowed
        return error, wrong, error / allowed if allowed else error
    due = not _is_finite(want)
    wrong = not (got == want or (isnan(got) and isnan(want))) if due else allowed != inf
    return (inf, True, inf) if wrong else (0.0, False, 0.0)


def _is_finite(number: Any) -> bool:
    return isinstance(number, Fraction) or isfinite(number)  # of which some are no floats


def _float(number: Any) -> float:
    return nearest_float(Fraction(number)) if _is_finite(number) else float(number)


def _as_ieee(question: Question, outputs: Outputs) -> Verdict:
    """Judge where IEEE arithmetic decides more than the convention does.

    What was computed with an overflow may be infinite or NaN, else what differs may be zero.
    """
    ((name, want),) = question.vector.expected.items()
    got = outputs[name]
    same = _same(got, want) & ((got != 0) | (np.signbit(got) == np.signbit(want)))
    overflows = "Overflow" in question.vector.flags
    if same.all():
        return Verdict("passed")
    if (same | (~np.isfinite(got) if overflows else got == 0)).all():
        return Verdict("acceptable", words=question.vector.flags[0])
    worst = deviation(name, got, Standard(want, None))
    return Verdict("failed", "value", "", worst, (name,))


# ---- pairs, truncations, factors, folded layers


def _by_pairs(question: Question, outputs: Outputs, order: str) -> Sequence[str]:
    shape, k = outputs["eigenvalues"].shape, int(question.vector.inputs["k"])
    if shape != (k,):
        return [f"eigenvalues must have shape (k,) = ({k},); got {shape}"]
    return certify(SimpleNamespace(**outputs), question.vector.inputs["Q"], order).reasons


def _by_truncation(question: Question, outputs: Outputs, order: str) -> Sequence[str]:
    inputs, known = question.vector.inputs, question.vector.expected
    nearest, tail = (exact.fractions(known[name]) for name in ("matrix", "tail"))
    return truncation_objections(
        outputs["matrix"], outputs["tail"], inputs["Q"], int(inputs["k"]), nearest, tail.item()
    )


def _by_factors(question: Question, outputs: Outputs, order: str) -> Sequence[str]:
    """Return what speaks against factors; u_in may be a whole basis, as there are d inputs."""
    known = question.vector.expected
    for name in ("out", "in"):
        squares, shape = known[f"squares_{name}"], outputs[f"u_{name}"].shape
        rank = np.count_nonzero(squares)
        if shape[1:] not in {(rank,), (rank if name == "out" else len(squares),)}:
            return [f"u_{name} must have a column for each singular value, {rank}; got {shape}"]
    return certify_hosvd(question.vector.inputs["tensor"], **outputs).reasons


CERTIFIED: dict[str, Callable[[Question, Outputs, str], Sequence[str]]] = {
    "spectrum": _by_pairs,
    "truncate": _by_truncation,
    "hosvd": _by_factors,
}


def folded_tensor(outputs: Outputs) -> Array:
    """Return the exact tensor over `[x; 1]` of the layer that was returned."""
    layer = layer_of({name: exact.fractions(array, name) for name, array in outputs.items()})
    if layer.b_left is None:  # the constant coordinate is always there
        layer = replace(layer, b_left=constant(0, layer.d_hidden, object))
    return exact.interaction_tensor(layer)


def _folded_as(expected: Array, outputs: Outputs) -> Array:
    """Return the tensor of a layer, which must have the inputs and outputs of the model."""
    tensor = folded_tensor(outputs)
    if tensor.shape != expected.shape:
        shape = f"must have shape {expected.shape}; got {tensor.shape}"
        raise ValueError(f"the tensor over [x; 1] of the layer {shape}")
    return tensor
