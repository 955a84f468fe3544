"""What is wrong with an operation, from everything that it got wrong.

The clearest failure, what its error looks like, the mistake of the catalogue that it matches, the
first stage of the computation that is wrong, and the smallest case.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from refbilinear.oracle.catalogue import FLAGS
from refbilinear.oracle.interrogation import Ask, Judge, Outcome, interrogate
from refbilinear.oracle.patterns import describe
from refbilinear.oracle.shrinking import shrink
from refbilinear.oracle.suspects import Suspect, rank
from refbilinear.spec.arrays import Array
from refbilinear.spec.packed import unpack

LAYER_STAGES = {
    "factors and product": ("w_left",),
    "output weights": ("w_out",),
    "biases of the factors": ("b_left", "b_right"),
    "output bias": ("b_out",),
    "skip path": ("w_skip",),
}
FOLD_STAGES = {
    "the layer alone": ("w_left",),
    "embedding": ("w_embed",),
    "embedding bias": ("b_embed",),
    "gain": ("gain",),
    "left scale": ("left_scale",),
    "head": ("w_head",),
    "residual": ("residual",),
}
STAGES: dict[str, Mapping[str, tuple[str, ...]]] = {
    "forward": LAYER_STAGES,
    "tensor": LAYER_STAGES,
    "matrix": LAYER_STAGES,
    "fold": FOLD_STAGES,
}
"""By which input a stage of a computation comes in; a vector is of its last stage."""

OUTPUT_STAGES = {
    "backward": ("b_out", "w_skip", "w_out", "b_left", "b_right", "w_left", "w_right", "x"),
    "squared_error": ("value", "dy"),
    "cross_entropy": ("value", "dy"),
    "adamw": ("m", "v", "theta"),
}
"""Outputs in the order in which they are computed."""

MOST = 40
"""How many failures are looked at for what they have in common."""

BEHAVIOUR = {
    "mutated": "forward.input_overwritten",
    "layout": "run.layout",
    "alignment": "run.alignment",
    "threads": "run.race",
    "sizes": "",
    "aliased": "",
    "unrepeatable": "",
}
"""Kinds of failure that are not of the numbers, and the mistake that they are."""


class Stage(NamedTuple):
    """A stage of a computation: how many vectors end with it, and how many of these fail."""

    name: str
    failed: int
    total: int


class Diagnosis(NamedTuple):
    """What is known about the failures of one operation."""

    op: str
    outcome: Outcome
    """The failure that is shown: the smallest one."""
    failed: int
    total: int
    flags: tuple[str, ...]
    """Those that are there for a mistake, and all of whose vectors failed."""
    pattern: str
    suspects: tuple[Suspect, ...]
    stages: tuple[Stage, ...]
    smallest: Outcome
    """The smallest failing case; the outcome itself, where it cannot be made smaller."""
    others: tuple[str, ...] = ()
    """Failures of another kind than the one that is shown, in words."""
    function: Any = None
    """What was called, if it was a function."""


def diagnose(
    op: str,
    outcomes: Sequence[Outcome],
    judge: Judge,
    ask: Ask | None = None,
    function: Any = None,
) -> Diagnosis:
    """Return what is known about an operation that failed.

    Parameters
    ----------
    op : str
    outcomes : sequence of Outcome
        All of this operation, at least one of them failed.
    judge : callable
    ask, function : callable, optional
        How the implementation is asked, and what is called; None where there are only answers.
    """
    failed = [outcome for outcome in outcomes if outcome.failed]
    suspects = rank(op, outcomes, judge, repeat=ask is not None)
    matched = next((suspect.name for suspect in suspects if suspect.matches), "")
    shown = min(failed, key=lambda one: (not _is_for(one, matched), *_clarity(one)))
    others = tuple(_others(failed, shown.verdict.kind))
    if shown.verdict.kind in BEHAVIOUR:  # right numbers, but for how they came about
        count, name = len(failed), BEHAVIOUR[shown.verdict.kind]
        own = [Suspect(name, count, count, 0, count)] if name else []
        return Diagnosis(
            op, shown, count, len(outcomes), (), "", tuple(own or suspects), (), shown, others
        )
    return Diagnosis(
        op,
        shown,
        len(failed),
        len(outcomes),
        tuple(_flags_that_fail(outcomes)),
        _pattern(failed),
        tuple(suspects),
        tuple(_stages(op, outcomes)),
        shown if ask is None else shrink(shown, lambda one: interrogate(one, ask, judge)),
        others,
        function,
    )


def _others(failed: Sequence[Outcome], kind: str) -> Iterator[str]:
    """Yield, for each other kind of failure, how many there are, and the first one."""
    kinds = Counter(one.verdict.kind for one in failed if one.verdict.kind != kind)
    for other, count in kinds.items():
        first = next(one for one in failed if one.verdict.kind == other)
        words = f" ({first.verdict.words[:80]})" if first.verdict.words else ""
        yield f"{count} {other}, such as tcId {first.question.vector.tc_id}{words}"


def _is_for(outcome: Outcome, mistake: str) -> bool:
    """Whether a vector is there for a mistake."""
    return any(mistake in FLAGS[flag].kills for flag in outcome.question.vector.flags)


def _clarity(outcome: Outcome) -> tuple[bool, bool, bool, bool, int, int]:
    """Return what to sort failures by: plain numbers, exact ones, some, and few come first."""
    question, arrays = outcome.question, outcome.question.vector.inputs.values()
    return (
        outcome.verdict.kind in BEHAVIOUR or outcome.outputs is None,
        not all(np.isfinite(array).all() for array in arrays),
        question.tier != "exact",
        not all(array.size for array in arrays),
        sum(array.size for array in arrays),
        question.vector.tc_id,
    )


def _flags_that_fail(outcomes: Sequence[Outcome]) -> list[str]:
    flags: dict[str, list[bool]] = {}
    for outcome in outcomes:
        for flag in outcome.question.vector.flags:
            flags.setdefault(flag, []).append(outcome.failed)
    return [flag for flag, failed in flags.items() if all(failed) and FLAGS[flag].kills]


def _pattern(failed: Sequence[Outcome]) -> str:
    """Return what most of the errors look like; nothing where they look like this and that."""
    seen = Counter(_look(outcome) for outcome in failed[:MOST])
    ((words, count),) = seen.most_common(1)
    return words if 2 * count > seen.total() else ""


def _look(outcome: Outcome) -> str:
    """Return what the error of the worst output looks like, a tensor as whole matrices."""
    worst = outcome.verdict.worst
    if worst is None or outcome.outputs is None or worst.output not in outcome.outputs:
        return ""
    got, want = outcome.outputs[worst.output], outcome.question.vector.expected[worst.output]
    return describe(_whole(worst.output, got), _whole(worst.output, want))


def _whole(name: str, array: Array) -> Array:
    return unpack(array) if name == "tensor" and array.ndim == 2 else array


def _stages(op: str, outcomes: Sequence[Outcome]) -> list[Stage]:
    if op in STAGES:  # what comes after the first wrong stage contains it
        stages = [stage for stage in _by_inputs(STAGES[op], outcomes) if stage.total]
        wrong = next((i for i, stage in enumerate(stages) if stage.failed), len(stages))
        return stages[: wrong + 1]
    if op in OUTPUT_STAGES:
        return [stage for stage in _by_outputs(OUTPUT_STAGES[op], outcomes) if stage.total]
    return []


def _by_inputs(stages: Mapping[str, tuple[str, ...]], outcomes: Sequence[Outcome]) -> list[Stage]:
    """Count failures by the last stage whose input a vector has."""
    last: dict[str, list[bool]] = {name: [] for name in stages}
    for outcome in outcomes:
        if outcome.outputs is None:  # refused: of the numbers nothing is known
            continue
        held = outcome.question.vector.inputs
        reached = [name for name, inputs in stages.items() if any(one in held for one in inputs)]
        last[reached[-1]].append(outcome.failed)
    return [Stage(name, sum(failed), len(failed)) for name, failed in last.items()]


def _by_outputs(names: Sequence[str], outcomes: Sequence[Outcome]) -> list[Stage]:
    """Count failures by output."""
    found = []
    for name in names:
        there = [one for one in outcomes if one.outputs and name in one.outputs]
        found.append(Stage(name, sum(name in one.verdict.wrong for one in there), len(there)))
    return found
