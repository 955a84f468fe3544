"""The report of a verification: a table, what is wrong and where to look, on one screen.

Exit codes: 0 all that was asked passes, 1 something is wrong, 2 results or skips are missing or
malformed, 3 fewer tests than were asked for, or none, 4 the oracle failed its own check.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from refbilinear.oracle.diagnosis import BEHAVIOUR, Diagnosis
from refbilinear.oracle.interrogation import Outcome
from refbilinear.oracle.scripts import in_line, script
from refbilinear.oracle.vectors import TIERS
from refbilinear.oracle.verdicts import Deviation
from refbilinear.spec.arrays import Array
from refbilinear.spec.packed import unpack

STATUSES = ("passed", "failed", "acceptable", "skipped")
SCHEMA = "refbilinear-report-1"
CLOSE, FAR = 10, 1000
LONGEST_LINE = 240


@dataclass(frozen=True, eq=False)
class Report:
    """What a verification found; `str` of it is one screen.

    Parameters
    ----------
    claim : str
    convention : mapping
    outcomes : sequence of Outcome
        Every vector that was asked, in order.
    failures : sequence of Diagnosis
        One for every operation that failed.
    problems : sequence of str
        Results that are missing, skips that match nothing or that hide what passes.
    remarks : sequence of str
        What is no failure but should be known.
    caught : sequence of str
        The mistakes of the catalogue that this run would have shown.
    missed : sequence of str
        Those that it would not.
    least : int
        How many vectors had to be judged.
    doubts : sequence of str
        What the oracle gets wrong itself.
    """

    claim: str
    convention: Mapping[str, str]
    outcomes: Sequence[Outcome]
    failures: Sequence[Diagnosis]
    problems: Sequence[str]
    remarks: Sequence[str]
    caught: Sequence[str]
    missed: Sequence[str]
    least: int
    doubts: Sequence[str]

    @property
    def exit_code(self) -> int:
        """0 to 4, as the head of this module says; the gravest that applies."""
        judged = sum(one.verdict.status != "skipped" for one in self.outcomes)
        codes = {
            4: bool(self.doubts),
            1: bool(self.failures),
            2: bool(self.problems),
            3: judged < max(self.least, 1),
        }
        return next((code for code, holds in codes.items() if holds), 0)

    @property
    def passed(self) -> bool:
        """Whether the exit code is 0."""
        return self.exit_code == 0

    @property
    def text(self) -> str:
        """The report for a reader."""
        return "\n".join([*_head(self), *_table(self.outcomes), *_findings(self), *_tail(self)])

    def to_json(self) -> dict[str, Any]:
        """Return the report for a program: strings, numbers, lists and objects alone."""
        return {
            "schema": SCHEMA,
            "claim": self.claim,
            "convention": dict(self.convention),
            "exitCode": self.exit_code,
            "operations": _counted(self.outcomes),
            "failures": [_as_data(found) for found in self.failures],
            "problems": list(self.problems),
            "remarks": list(self.remarks),
            "doubts": list(self.doubts),
            "caught": list(self.caught),
            "missed": list(self.missed),
            "tests": [_test(outcome) for outcome in self.outcomes],
        }

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


# ---- the head, the table, the tail


def _head(report: Report) -> Iterator[str]:
    words = {
        0: "passed", 1: "WRONG", 2: "results are missing or malformed",
        3: "too few tests", 4: "NO VERDICT: the oracle failed its own check",
    }  # fmt: skip
    said = "".join(f", {name} {value}" for name, value in report.convention.items())
    code = report.exit_code
    yield f"claim {report.claim}{said}; {len(report.outcomes)} vectors: {words[code]} (exit {code})"


def _table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a line for each operation: what passed of what was judged in each tier."""
    rows: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault(outcome.question.op, []).append(outcome)
    yield f"{'':14}" + "".join(f"{tier:>13}" for tier in TIERS) + "   worst error/allowed"
    for op, held in rows.items():
        cells = "".join(f"{_cell(held, tier):>13}" for tier in TIERS)
        yield f"{op:14}{cells}   {_worst(held) or '-':<8}{_excused(held)}".rstrip()


def _cell(outcomes: Sequence[Outcome], tier: str) -> str:
    of_tier = [o.verdict.status for o in outcomes if o.question.tier == tier]
    judged = [status for status in of_tier if status != "skipped"]
    good = sum(status != "failed" for status in judged)
    return f"{good}/{len(judged)}" if judged else "-"


def _worst(outcomes: Sequence[Outcome]) -> str:
    ratios = [one.ratio for one in _bounded(outcomes)]
    return f"{max(ratios):.2g}" if ratios else ""


def _bounded(outcomes: Sequence[Outcome]) -> list[Deviation]:
    """Return the deviations that were allowed an error."""
    worst = (outcome.verdict.worst for outcome in outcomes)
    return [one for one in worst if one is not None and one.allowed]


def _excused(outcomes: Sequence[Outcome]) -> str:
    counted = Counter(o.verdict.status for o in outcomes)
    said = [f"{counted[s]} {s}" for s in ("acceptable", "skipped") if counted[s]]
    return f"  ({', '.join(said)})" if said else ""


def _tail(report: Report) -> Iterator[str]:
    for remark in report.remarks:
        yield f"note: {remark}"
    skips = Counter(o.verdict.words for o in report.outcomes if o.verdict.status == "skipped")
    for reason, count in skips.items():
        yield f"skipped {count}: {reason}"
    number = len(report.caught) + len(report.missed)
    yield (
        f"this run would have shown {len(report.caught)} of {number} mistakes of the catalogue"
        + (f"; not {', '.join(report.missed[:4])}" if report.missed else "")
    )


# ---- what is wrong


def _findings(report: Report) -> Iterator[str]:
    for doubt in report.doubts:
        yield f"SELF-CHECK {doubt}"
    for problem in report.problems:
        yield f"PROBLEM {problem}"
    for found in report.failures[:1]:
        yield from _whole(found)
    for found in report.failures[1:]:  # in a line, so that all fit one screen
        yield f"{_head_of(found)}; {_matches(found)}"


def _head_of(found: Diagnosis) -> str:
    return f"FAIL {found.op}: {found.failed} of {found.total} vectors"


def _whole(found: Diagnosis) -> Iterator[str]:
    """Yield what is known of one operation."""
    question, verdict = found.outcome.question, found.outcome.verdict
    flags = ", ".join(question.vector.flags)
    yield f"{_head_of(found)}, such as tcId {question.vector.tc_id} ({question.tier}, {flags})"
    yield f"  {verdict.kind}: {verdict.words or _deviation(verdict.worst, question.dtype)}"
    if found.pattern:
        yield f"  pattern: {found.pattern}"
    yield f"  {_matches(found)}"
    if found.others:
        yield f"  besides: {'; '.join(found.others)}"
    if len(found.flags) > 1 and 2 * found.failed < found.total:
        yield f"  flags of which all fail: {', '.join(found.flags[:6])}"
    if found.stages:
        yield f"  stages: {_stages(found)}"
    yield from _reproduction(found)


def _deviation(worst: Deviation | None, dtype: str) -> str:
    return "" if worst is None else deviation_words(worst, dtype)


def _reproduction(found: Diagnosis) -> Iterator[str]:
    """Yield the smallest failing case and a script; where it is long, what prints it."""
    small = found.smallest.question
    lines = script(small, found.function)
    if found.outcome.verdict.kind in BEHAVIOUR or max(map(len, lines)) > LONGEST_LINE:
        yield f"  reproduce: refbilinear case {found.outcome.question.vector.tc_id} --python"
        return
    yield f"  smallest failing case: {in_line(small.vector.inputs)}"
    outputs = found.smallest.outputs or {}
    expected = {name: _like(one, outputs.get(name)) for name, one in small.vector.expected.items()}
    yield f"    expected {in_line(expected)}; got {in_line(outputs) or 'nothing'}"
    yield from (f"    {line}" for line in lines)


def _like(expected: Array, got: Array | None) -> Array:
    """Return what is expected as it was returned: a packed tensor as a dense one."""
    dense = got is not None and got.ndim == 3 and expected.ndim == 2
    return unpack(expected) if dense else expected


def deviation_words(worst: Deviation, dtype: str) -> str:
    """Return the worst entry in words, with its error in ulps and as a multiple of the allowed.

    Examples
    --------
    >>> deviation_words(Deviation("y", (0, 2), 12.0, 6.0, 0.0, 6.0, 3, 4), "f64")
    '3 of 4 entries differ; worst y[0, 2] = 12, exact 6, allowed 0'
    """
    place = f"{worst.output}{list(worst.place) if worst.place else ''}"
    words = (
        f"{worst.different} of {worst.size} entries differ; "
        f"worst {place} = {worst.got:.9g}, exact {worst.exact:.9g}, allowed {worst.allowed:.2g}"
    )
    if not worst.allowed or not isfinite(worst.error):
        return words
    spacing = float(np.spacing(np.dtype({"f64": "f8", "f32": "f4"}[dtype]).type(abs(worst.exact))))
    kind = "precision" if worst.ratio < CLOSE else "logic" if worst.ratio > FAR else "wrong"
    return f"{words}: {worst.error / spacing:.3g} ulp, {worst.ratio:.3g} x allowed ({kind})"


def _matches(found: Diagnosis) -> str:
    """Return the mistake that the failures match, or the nearest ones without confidence."""
    matching = [suspect for suspect in found.suspects if suspect.matches]
    others = [suspect for suspect in found.suspects if not suspect.matches]
    if matching:
        first, *more = matching
        also = f"; so would {', '.join(one.name for one in more[:3])}" if more else ""
        count = f"{first.explained} of {first.failures} failures"
        return f'matches {first.name}: "{first.words}" ({count}){also}'
    if not others:
        return "matches no mistake of the catalogue"
    near = ", ".join(f"{s.name} explains {s.explained} of {s.failures}" for s in others[:2])
    return f"matches no single mistake of the catalogue (nearest: {near}); perhaps there are two"


def _stages(found: Diagnosis) -> str:
    words, first = [], True
    for stage in found.stages:
        wrong = f"{stage.name} wrong ({stage.failed} of {stage.total})"
        words.append(f"{stage.name} ok" if not stage.failed else wrong)
        if stage.failed and first:
            words[-1] += " <- first wrong stage"
            first = False
    return ", ".join(words)


# ---- for a program


def _counted(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return, by operation, tier and flag, how many vectors passed, failed and so on."""
    found: dict[str, Any] = {}
    for outcome in outcomes:
        question = outcome.question
        tiers = found.setdefault(question.op, {}).setdefault(question.tier, {})
        for flag in question.vector.flags:
            counts = tiers.setdefault(flag, dict.fromkeys(STATUSES, 0))
            counts[outcome.verdict.status] += 1
    return found


def _test(outcome: Outcome) -> dict[str, Any]:
    verdict = outcome.verdict
    test = {"tcId": outcome.question.vector.tc_id, "status": verdict.status}
    if verdict.kind or verdict.words:
        test |= {"kind": verdict.kind, "words": verdict.words}
    return test if verdict.worst is None else test | {"worst": _worst_as_data(verdict.worst)}


def _worst_as_data(worst: Deviation) -> dict[str, Any]:
    """Return a deviation with NaN and infinities as strings, which JSON lacks."""
    data = worst._asdict() | {"place": list(worst.place), "ratio": worst.ratio}
    return {
        n: one if not isinstance(one, float) or isfinite(one) else str(one)
        for n, one in data.items()
    }


def _as_data(found: Diagnosis) -> dict[str, Any]:
    return {
        "operation": found.op,
        "failed": found.failed,
        "total": found.total,
        "shown": _test(found.outcome),
        "flags": list(found.flags),
        "others": list(found.others),
        "pattern": found.pattern,
        "suspects": [
            s._asdict() | {"words": s.words, "matches": s.matches} for s in found.suspects
        ],
        "stages": [stage._asdict() for stage in found.stages],
        "smallest": _test(found.smallest),
        "script": script(found.smallest.question, found.function),
    }
