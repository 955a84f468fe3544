"""How a function behaves beyond one call: other memory layouts, large sizes, two threads at once.

Layouts and threads repeat large vectors that passed. A layout may be refused by name, never
answered wrongly; two threads must get what one gets. Large sizes are beyond the blocks and vectors
of usual code, and not in the file of vectors: ternary integers, so that every sum is exact still.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.calls import Answer
from refbilinear.oracle.interrogation import Ask, Judge, fresh
from refbilinear.oracle.standards import Question, letters_of
from refbilinear.oracle.strict import DTYPES
from refbilinear.spec.arrays import Array

ROUNDS = 50
SWITCH = 1e-6
"""Seconds between two switches of threads: as often as Python can."""

LARGE = {"i": 67, "d": 67, "p": 67 * 68 // 2, "h": 131, "o": 19, "n": 33}
"""Just beyond multiples of 16, 32, 64 and 128."""

ENLARGED = ("forward", "tensor", "matrix", "form", "backward")
"""Operations that are sums of products, without a mean."""

MOST = 3
"""How many vectors are repeated in each layout."""


def _strided(array: Array) -> Array:
    wide = np.zeros((*array.shape, 2), array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def _reversed(array: Array) -> Array:
    return np.flip(np.flip(array).copy())


def _read_only(array: Array) -> Array:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _misaligned(array: Array) -> Array:
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = raw.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def _swapped(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder("S"))


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran order": np.asfortranarray,
    "strided": _strided,
    "reversed": _reversed,
    "read-only": _read_only,
    "misaligned": _misaligned,
    "byte-swapped": _swapped,
}

KINDS = dict.fromkeys(LAYOUTS, "layout") | dict.fromkeys(
    ("misaligned", "byte-swapped"), "alignment"
)


class Finding(NamedTuple):
    """A fault of behaviour: the vector that shows it, its kind, and words."""

    question: Question
    kind: str
    words: str


def relaid(array: Array, layout: str) -> Array:
    """Return the same numbers in another memory layout; a single number stays as it is.

    Examples
    --------
    >>> relaid(np.arange(3.0), "reversed").strides
    (-8,)
    """
    return LAYOUTS[layout](array) if array.ndim else array


def in_layouts(
    passed: Sequence[Question], ask: Ask, judge: Judge
) -> tuple[list[Finding], dict[str, str]]:
    """Return what is wrong in other memory layouts, and which of them are refused, with words.

    Parameters
    ----------
    passed : sequence of Question
        Those that were answered rightly; the largest are repeated.
    ask : callable
        `ask(question, inputs)` calls the function.
    judge : callable
    """
    largest = sorted(passed, key=_size)[-MOST:]
    findings, refused = [], {}
    for layout in LAYOUTS:
        for question in largest:
            inputs = {n: relaid(array, layout) for n, array in question.vector.inputs.items()}
            answer = ask(question, inputs)
            if answer.refused or answer.skipped:
                refused[layout] = answer.refused or str(answer.skipped)
            elif words := _fault(question, answer, judge):
                findings.append(Finding(question, KINDS[layout], f"{layout} inputs: {words}"))
    return findings, refused


def at_large_sizes(passed: Sequence[Question], ask: Ask, judge: Judge) -> list[Finding]:
    """Return what is wrong at `LARGE` sizes, with the inputs that the largest vector has."""
    question = max(passed, key=_size, default=None)
    if question is None or question.op not in ENLARGED:
        return []
    large = enlarged(question)
    answer = ask(large, fresh(large.vector.inputs))
    words = "" if answer.skipped else _fault(large, answer, judge)
    sizes = ", ".join(f"{name} {array.shape}" for name, array in large.vector.inputs.items())
    return [Finding(question, "sizes", f"at {sizes}: {words}")] if words else []


def enlarged(question: Question) -> Question:
    """Return a question with the same inputs in `LARGE` sizes, -1, 0 and 1, and what is right.

    The specification in float64 is exact there: 16 times the largest sum of magnitudes,
    `d_hidden d_in²`, is below 2^24.

    Examples
    --------
    >>> from refbilinear.oracle import vectors
    >>> from refbilinear.oracle.standards import questions
    >>> one = enlarged(questions(vectors.load(), "f32", ["form"])[0])
    >>> one.vector.inputs["tensor"].shape, one.vector.expected["y"].shape
    ((19, 2278), (33, 19))
    """
    letters, dtype = letters_of(question), DTYPES[question.dtype]
    source = np.random.default_rng(0)
    inputs = {
        name: source.integers(-1, 2, [LARGE[letter] for letter in letters[name]]).astype(dtype)
        for name in question.vector.inputs
    }
    found = ANSWERS[question.op]({n: array.astype(np.float64) for n, array in inputs.items()})
    expected = {name: array.astype(dtype) for name, array in found.items()}
    vector = question.vector._replace(inputs=inputs, expected=expected, residual={}, twin={})
    return question._replace(tier="exact", vector=vector._replace(allowed={}, K={}, degree={}))


def _size(question: Question) -> int:
    return sum(array.size for array in question.vector.inputs.values())


def in_threads(passed: Sequence[Question], ask: Ask, judge: Judge) -> list[Finding]:
    """Return what two threads get wrong that call at the same time, each with its own vector."""
    pair = _alike(passed)
    found: list[Finding] = []
    start = threading.Barrier(len(pair)) if pair else None

    def repeat(question: Question) -> None:
        assert start is not None
        start.wait()
        words = "it never came back"
        try:
            for _ in range(ROUNDS):
                words = _fault(question, ask(question, fresh(question.vector.inputs)), judge)
                if words:
                    break
        finally:  # a thread that dies has no verdict either
            if words:
                found.append(Finding(question, "threads", f"called by two threads: {words}"))

    with _switching():
        threads = [threading.Thread(target=repeat, args=(question,)) for question in pair]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found[:1]


def _fault(question: Question, answer: Answer, judge: Judge) -> str:
    """Return what speaks against an answer, or nothing."""
    if answer.faults:
        return answer.faults[0][1]
    if answer.outputs is None:
        return f"{answer.refused or answer.skipped}"
    verdict = judge(question, answer.outputs)
    if verdict.status != "failed":
        return ""
    worst = verdict.worst
    return verdict.words if worst is None else f"{worst.different} of {worst.size} entries differ"


def _alike(passed: Sequence[Question]) -> list[Question]:
    """Return two large vectors of the same shapes, which a shared buffer would mix up."""
    by_shapes: dict[tuple[tuple[int, ...], ...], list[Question]] = {}
    for question in passed:
        shapes = tuple(array.shape for array in question.vector.inputs.values())
        by_shapes.setdefault(shapes, []).append(question)
    groups = [group for group in by_shapes.values() if len(group) > 1]
    return max(groups, key=lambda group: _size(group[0]), default=[])[:2]


@contextmanager
def _switching() -> Iterator[None]:
    """Switch threads as often as can be."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
