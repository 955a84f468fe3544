"""What the oracle asks of itself in every run: right answers pass, known mistakes are shown.

The vectors are re-hashed when they are read. Here the specification's own answers are put before
the same judge, the exact numbers are evaluated once more by both evaluators, and every mistake of
the catalogue is put the vectors that an implementation was put: one that none of them shows, the
run could not have shown.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from refbilinear.oracle.agreement import SPECIFIED, agreed
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.catalogue import BY_RUNNING, FLAGS
from refbilinear.oracle.interrogation import Judge, interrogate
from refbilinear.oracle.mistakes import MISTAKES
from refbilinear.oracle.standards import Question
from refbilinear.oracle.suspects import ask_run

CLAIMED = ("forward.float32_accumulation", "spectrum.float32_solver", "spectrum.shifted")
"""What is no mistake in float32, or less than its rounding."""


def objections(asked: Sequence[Question], judge: Judge) -> Iterator[str]:
    """Yield what the oracle gets wrong itself, on one vector of every operation, tier and flag."""
    for question in _samples(asked):
        outcome = interrogate(question, ask_run(ANSWERS[question.op]), judge)
        if outcome.failed:
            yield f"the specification fails tcId {question.vector.tc_id}"
        if question.tier == "exact" and not _agrees(question):
            yield f"the evaluators differ on tcId {question.vector.tc_id}"


def _samples(asked: Sequence[Question]) -> list[Question]:
    kinds = {(one.op, one.tier, one.vector.flags): one for one in reversed(asked)}
    return list(kinds.values())


def _agrees(question: Question) -> bool:
    """Whether both evaluators give what is expected, where it is a matter of exact numbers."""
    vector = question.vector
    finite = all(np.isfinite(array).all() for array in vector.inputs.values())
    if question.op not in SPECIFIED or vector.result != "valid" or not finite:
        return True
    try:
        found = agreed(question.op, vector.inputs)
    except ArithmeticError:
        return False
    return all((np.asarray(found[n]) == one).all() for n, one in vector.expected.items())


def shown(asked: Sequence[Question], judge: Judge) -> Mapping[str, bool]:
    """Return, for every mistake that a vector can show, whether one of these vectors does."""
    operations = dict.fromkeys(question.op for question in asked)
    return {
        name: _is_shown(name, op, asked, judge)
        for op in operations
        for name in MISTAKES[op]
        if name not in BY_RUNNING and not (asked[0].dtype == "f32" and name in CLAIMED)
    }


def _is_shown(name: str, op: str, asked: Sequence[Question], judge: Judge) -> bool:
    """Whether a vector shows a mistake; those of its own flags are tried first."""
    own = {flag for flag, note in FLAGS.items() if name in note.kills}
    ask = ask_run(MISTAKES[op][name](ANSWERS[op]))
    order = sorted(
        (question for question in asked if question.op == op),
        key=lambda question: own.isdisjoint(question.vector.flags),
    )
    return any(interrogate(question, ask, judge).failed for question in order)
