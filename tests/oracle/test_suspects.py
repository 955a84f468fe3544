"""Each mistake of the catalogue is named, and nothing else is, by what it does to the vectors."""

import pytest

from refbilinear.oracle import suspects, vectors
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.catalogue import BY_RUNNING
from refbilinear.oracle.interrogation import interrogate, judge_by
from refbilinear.oracle.mistakes import MISTAKES
from refbilinear.oracle.standards import questions
from refbilinear.oracle.suspects import ask_run, rank

SUITE = vectors.load()
OF_F64 = {
    "forward.float32_accumulation",
    "spectrum.float32_solver",
    "spectrum.shifted",
    "spectrum.unsymmetrised",
    *MISTAKES["hosvd"],
}
"""Mistakes that no vector of f32 shows."""


def some(claim, op, most=3):
    """The last vectors of each kind, which show what all do."""
    kinds = {}
    for one in questions(SUITE, claim, [op]):
        kinds.setdefault((one.tier, one.vector.flags), []).append(one)
    kept = {one.vector.tc_id for kind in kinds.values() for one in kind[-most:]}
    return [one for one in questions(SUITE, claim, [op]) if one.vector.tc_id in kept]


def outcomes(asked, run, judge):
    ask = ask_run(run)
    return [interrogate(one, ask, judge) for one in asked]


@pytest.fixture
def remembered(monkeypatch):
    """Let `rank` look up what each mistake did, so that it is not run once for every other."""

    def remember(op, asked, judge):
        kept = {
            name: {
                one.question.vector.tc_id: one for one in outcomes(asked, wrong(ANSWERS[op]), judge)
            }
            for name, wrong in all_suspects(op).items()
        }
        names = {name: lambda run, name=name: name for name in kept}
        monkeypatch.setattr(suspects, "suspects", lambda _: names)
        monkeypatch.setattr(suspects, "ask_run", lambda name: name)
        monkeypatch.setattr(
            suspects, "interrogate", lambda one, name, judge, repeat: kept[name][one.vector.tc_id]
        )
        return {name: list(found.values()) for name, found in kept.items()}

    all_suspects = suspects.suspects
    return remember


@pytest.mark.parametrize("op", MISTAKES)
@pytest.mark.parametrize("claim", ["f64", "f32"])
def test_every_mistake_is_named_first_and_alone(claim, op, remembered):
    asked, judge = some(claim, op), judge_by(claim, {})
    seen = remembered(op, asked, judge)
    unseen = set()
    for name in MISTAKES[op]:
        if not any(outcome.failed for outcome in seen[name]):
            unseen.add(name)
            continue
        matching = [one.name for one in rank(op, seen[name], judge, repeat=True) if one.matches]
        assert matching == [name]
    assert unseen == set(MISTAKES[op]) & (
        set(BY_RUNNING) - {"forward.input_overwritten"} | (OF_F64 if claim == "f32" else set())
    )


def test_right_answers_have_no_suspects():
    asked, judge = some("f64", "form"), judge_by("f64", {})
    assert rank("form", outcomes(asked, ANSWERS["form"], judge), judge, repeat=True) == []
