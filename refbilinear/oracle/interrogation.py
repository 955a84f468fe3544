"""One vector put to an implementation: what it gave, how it behaved, and the verdict."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from refbilinear.oracle.answers import Inputs, Outputs
from refbilinear.oracle.calls import Answer, mutated
from refbilinear.oracle.standards import Question
from refbilinear.oracle.verdicts import Verdict, judge

Ask = Callable[[Question, Inputs], Answer]
Judge = Callable[[Question, Outputs], Verdict]


class Outcome(NamedTuple):
    """A vector, what an implementation gave for it, and the verdict."""

    question: Question
    outputs: Outputs | None
    verdict: Verdict

    @property
    def failed(self) -> bool:
        """Whether the verdict is against it."""
        return self.verdict.status == "failed"


def judge_by(claim: str, convention: Mapping[str, str]) -> Judge:
    """Return the judge of a claim and a convention."""
    return lambda question, outputs: judge(question, outputs, claim, convention)


def interrogate(question: Question, ask: Ask, judge: Judge, repeat: bool = True) -> Outcome:
    """Put a vector to an implementation, twice if what it gives is right.

    Parameters
    ----------
    question : Question
    ask : callable
        `ask(question, inputs)` calls the implementation.
    judge : callable
    repeat : bool
        False for answers that were read from a file.

    Examples
    --------
    >>> from refbilinear.oracle import vectors
    >>> from refbilinear.oracle.standards import questions
    >>> one = questions(vectors.load(), "f64", ["forward"])[0]
    >>> x = interrogate(one, lambda question, held: Answer({"y": held["x"]}), judge_by("f64", {}))
    >>> x.verdict.status, x.verdict.kind
    ('failed', 'shape')
    """
    inputs = fresh(question.vector.inputs)
    answer = ask(question, inputs)
    verdict = _of_behaviour(question, answer, inputs)
    if verdict is not None:
        return Outcome(question, answer.outputs, verdict)
    assert answer.outputs is not None
    verdict = judge(question, answer.outputs)
    if verdict.status != "failed" and repeat:
        again = ask(question, fresh(question.vector.inputs)).outputs
        if again is None or _bytes(again) != _bytes(answer.outputs):
            verdict = Verdict("failed", "unrepeatable", "a second call gave something else")
    return Outcome(question, answer.outputs, verdict)


def fresh(inputs: Inputs) -> Inputs:
    """Return copies that somebody may write to."""
    return {name: array.copy() for name, array in inputs.items()}


def _of_behaviour(question: Question, answer: Answer, inputs: Inputs) -> Verdict | None:
    """Return the verdict where the numbers need not be looked at."""
    if answer.skipped is not None:
        return Verdict("skipped", "", answer.skipped)
    if question.vector.result == "invalid":
        flags = ", ".join(question.vector.flags)
        answered = Verdict("failed", "answered", f"must be refused: {flags}")
        return answered if answer.refused is None else Verdict("passed")
    if answer.refused is not None:
        return Verdict("failed", "refused", answer.refused)
    faults = (*answer.faults, *mutated(inputs, question.vector.inputs))
    return Verdict("failed", *faults[0]) if faults else None


def _bytes(outputs: Outputs) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (one.dtype.str, one.shape, one.tobytes()) for name, one in outputs.items()}
