"""Which mistake of the catalogue an implementation makes: the one that answers as it does.

Every mistake of an operation is put the vectors that the implementation was put, in their order. It
*explains* a failure where it fails in the same way, with the same result; it is *contradicted*
where it fails and the implementation does not. One that explains nearly all that it could have, and
is never contradicted, is a match.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import inf
from typing import NamedTuple

import numpy as np

from refbilinear.oracle.answers import ANSWERS, Inputs, Outputs, Run
from refbilinear.oracle.calls import Answer
from refbilinear.oracle.catalogue import MUTANTS
from refbilinear.oracle.interrogation import Ask, Judge, Outcome, interrogate
from refbilinear.oracle.mistakes import suspects
from refbilinear.oracle.patterns import ROUGH, agree, relative_error
from refbilinear.oracle.standards import Question
from refbilinear.oracle.verdicts import folded_tensor
from refbilinear.spec.arrays import Array
from refbilinear.spec.packed import unpack

CANNOT = (AttributeError, ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError)
"""What a mistake may raise on inputs where it cannot be made."""

PRECISION = (
    "forward.float32_accumulation",
    "forward.coarse_operands",
    "spectrum.float32_solver",
    "spectrum.shifted",
)
"""Mistakes of precision: the digits depend on the order of sums, the size of errors does not."""

MAGNITUDE = 64.0
"""How many times larger one error may be than another of the same precision."""

MOST_LEFT = Fraction(1, 10)
"""What part of the failures a match may leave: a few may have a reason of their own."""

MOST_LEFT_OF_ROUGH = Fraction(1, 5)
"""The same for a mistake of precision, where it is chance whether a vector fails."""


OF_NUMBERS = ("value", "certificate", "shape", "names")
"""Kinds of failure in which the outputs tell one mistake from another."""


class Suspect(NamedTuple):
    """A mistake: how many failures it explains, of those it could have caused."""

    name: str
    explained: int
    possible: int
    contradicted: int
    failures: int

    @property
    def words(self) -> str:
        """The mistake in words."""
        return MUTANTS[self.name].words

    @property
    def matches(self) -> bool:
        """Whether it alone accounts for what was seen."""
        rough = self.name in PRECISION
        left = self.failures * (MOST_LEFT_OF_ROUGH if rough else MOST_LEFT)
        enough = self.explained >= self.failures / 2 and self.possible - self.explained <= left
        return enough and self.contradicted <= (left if rough else 0)


def rank(op: str, outcomes: Sequence[Outcome], judge: Judge, repeat: bool) -> list[Suspect]:
    """Return the mistakes that explain at least one failure of an operation, the best first.

    Parameters
    ----------
    op : str
    outcomes : sequence of Outcome
        All of this operation.
    judge : callable
    repeat : bool
        Whether the implementation was called twice, as `interrogate` does.
    """
    asked = [outcome for outcome in outcomes if outcome.verdict.status != "skipped"]
    found = [
        _compare(name, asked, [interrogate(one.question, ask, judge, repeat) for one in asked])
        for name, wrong in suspects(op).items()
        for ask in [ask_run(wrong(ANSWERS[op]))]
    ]
    explaining = [suspect for suspect in found if suspect.explained]
    return sorted(explaining, key=lambda s: (not s.matches, s.contradicted - s.explained))


def ask_run(run: Run) -> Ask:
    """Return how a run of the package is asked; where it cannot answer it skips."""

    def ask(question: Question, inputs: Inputs) -> Answer:
        try:
            with np.errstate(all="ignore"):
                return Answer(run(inputs))
        except CANNOT as error:
            if question.vector.result == "invalid":
                return Answer(refused=str(error))
            return Answer(skipped=str(error))

    return ask


def _compare(name: str, theirs: Sequence[Outcome], mine: Sequence[Outcome]) -> Suspect:
    failed = [pair for pair in zip(theirs, mine, strict=True) if pair[0].failed]
    passed = [pair for pair in zip(theirs, mine, strict=True) if not pair[0].failed]
    return Suspect(
        name,
        sum(_explains(name, one, other) for one, other in failed),
        sum(other.verdict.status != "skipped" for _, other in failed),
        sum(other.failed for _, other in passed),
        len(failed),
    )


def _explains(name: str, theirs: Outcome, mine: Outcome) -> bool:
    """Whether a mistake fails as the implementation does."""
    if not mine.failed or mine.verdict.kind != theirs.verdict.kind:
        return False
    if theirs.outputs is None or mine.outputs is None or theirs.verdict.kind not in OF_NUMBERS:
        return True
    if name in PRECISION:
        return _as_rough(theirs, mine)
    return _alike(theirs.question, theirs.outputs, mine.outputs)


def _as_rough(theirs: Outcome, mine: Outcome) -> bool:
    """Whether two results are near the right one, and about as far from it."""
    low, high = sorted(map(_rough_error, (theirs, mine)))
    return low > 0 and high <= min(MAGNITUDE * low, ROUGH)


def _rough_error(outcome: Outcome) -> float:
    """Return the relative error of the worst output, of pairs that of what they prove."""
    held, outputs, worst = outcome.question.vector, outcome.outputs, outcome.verdict.worst
    if outputs is None:
        return inf
    if worst is not None:
        got = outputs[worst.output]
        return relative_error(got, _like(held.expected[worst.output], got))
    q, x, values = held.inputs["Q"], outputs["eigenvectors"], outputs["eigenvalues"]
    if x.shape != (len(q), len(values)):
        return inf
    defect = float(np.abs(x.T @ x - np.eye(len(values))).max(initial=0))
    return max(relative_error(q @ x, x * values), defect)


def _alike(question: Question, theirs: Outputs, mine: Outputs) -> bool:
    """Whether two results are the same but for rounding, and for what is free in them."""
    try:
        ours, others = (invariants(question, outputs) for outputs in (mine, theirs))
    except (KeyError, ValueError):  # names that lack, or shapes that do not fit: the same ones?
        return {n: a.shape for n, a in theirs.items()} == {n: a.shape for n, a in mine.items()}
    if set(ours) != set(others):
        return False
    return all(agree(_like(ours[name], others[name]), others[name]) for name in ours)


def _like(mine: Array, theirs: Array) -> Array:
    """Return a packed tensor as a dense one where the other is dense."""
    return unpack(mine) if mine.ndim == 2 and theirs.ndim == 3 else mine


def invariants(question: Question, outputs: Outputs) -> Outputs:
    """Return what of a result is not free: eigenvectors may have any sign, folded layers any gauge.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> pair = {"eigenvalues": np.array([2.0]), "eigenvectors": np.array([[0.0], [-1.0]])}
    >>> invariants(SimpleNamespace(op="spectrum"), pair)["sum"].tolist()
    [[0.0, 0.0], [0.0, 2.0]]
    """
    if question.op == "spectrum":
        values, x = outputs["eigenvalues"], outputs["eigenvectors"]
        return {"eigenvalues": values, "gram": np.abs(x.T @ x), "sum": (x * values) @ x.T}
    if question.op == "hosvd":
        u, v, core = outputs["u_out"], outputs["u_in"], outputs["core"]
        size = np.array([*u.shape, *v.shape, *core.shape], dtype=np.float64)
        return {"u": u @ u.T, "v": v @ v.T, "sizes": size, "core": np.sort(np.abs(core), axis=None)}
    if question.op == "fold":
        return {"tensor": folded_tensor(outputs)}
    return outputs
