"""Each mistake of the catalogue is named, and nothing else is, by what it does to the vectors."""

from types import SimpleNamespace

import numpy as np
import pytest

from refbilinear.oracle import suspects, vectors
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.calls import Answer
from refbilinear.oracle.catalogue import BY_RUNNING
from refbilinear.oracle.interrogation import interrogate, judge_by
from refbilinear.oracle.mistakes import MISTAKES, of_the_tensor
from refbilinear.oracle.standards import questions
from refbilinear.oracle.suspects import Suspect, ask_run, invariants, rank
from refbilinear.oracle.vectors import OPERATIONS

SUITE = vectors.load()
OF_F64 = {
    "forward.float32_accumulation",
    "spectrum.float32_solver",
    "spectrum.shifted",
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


@pytest.mark.parametrize(
    ("claim", "op"),
    [("f64", op) for op in MISTAKES] + [("f32", op) for op in MISTAKES if op != "fold"],
)
def test_every_mistake_is_named_first_and_alone(claim, op, remembered):
    asked, judge = some(claim, op, most=2 if op == "fold" else 3), judge_by(claim, {})
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


def pairs(values, x):
    return {"eigenvalues": np.array(values), "eigenvectors": np.array(x)}


def test_what_is_free_is_not_compared():
    spectrum, hosvd = SimpleNamespace(op="spectrum"), SimpleNamespace(op="hosvd")
    one, other = (invariants(spectrum, pairs([2.0], [[0.0], [x]])) for x in (1.0, -1.0))
    assert all((one[name] == other[name]).all() for name in one)
    turned = invariants(spectrum, pairs([2.0], [[1.0], [0.0]]))
    assert (one["sum"] != turned["sum"]).any()
    found = {"u_out": np.eye(2), "u_in": np.eye(3), "core": np.arange(18.0).reshape(2, 3, 3)}
    mirrored = found | {"u_out": -found["u_out"], "core": -found["core"]}
    first, second = invariants(hosvd, found), invariants(hosvd, mirrored)
    assert all((first[name] == second[name]).all() for name in first)


def asked_with(op, **outputs):
    """A failed outcome of an operation with these outputs, of another kind for none."""
    one = some("f64", op)[0]
    answer = Answer(outputs) if outputs else Answer(refused="no")
    return interrogate(one, lambda question, inputs: answer, judge_by("f64", {}), repeat=False)


def test_two_results_of_wrong_shapes_are_alike_by_their_shapes():
    one = asked_with("spectrum", **pairs([1.0, 2.0], np.ones((3, 1))))
    two = asked_with("spectrum", **pairs([5.0, 7.0], np.ones((3, 1))))
    three = asked_with("spectrum", **pairs([5.0, 7.0, 1.0], np.ones((3, 1))))
    assert suspects._alike(one.question, one.outputs, two.outputs)
    assert not suspects._alike(one.question, one.outputs, three.outputs)
    assert not suspects._alike(one.question, {"y": np.ones(1)}, two.outputs)
    form = some("f64", "form")[0]
    assert not suspects._alike(form, {"y": np.ones(1)}, {"z": np.ones(1)})


def test_what_has_no_numbers_is_not_rough():
    shapes = asked_with("spectrum", **pairs([1.0, 2.0], np.ones((3, 1))))
    assert suspects._rough_error(shapes) == suspects._rough_error(asked_with("form")) == np.inf


def test_other_names_are_another_mistake():
    one, other = (asked_with("form", **{name: np.ones(1)}) for name in "ab")
    assert one.verdict.kind == other.verdict.kind == "names"
    assert suspects._explains("packed.not_doubled", one, one)
    assert not suspects._explains("packed.not_doubled", one, other)


def test_which_mistakes_are_suspected():
    assert set(MISTAKES) == set(OPERATIONS)
    found = {op: set(suspects.suspects(op)) for op in OPERATIONS}
    of_a_layer = {op for op, names in found.items() if "forward.interleaved" in names}
    assert of_a_layer == {"forward", "tensor", "matrix", "backward", "fold"}
    assert {op for op, names in found.items() if "tensor.no_half" in names} == {"tensor", "matrix"}


def test_two_refusals_are_alike():
    refused = asked_with("form")
    assert suspects._explains("packed.not_doubled", refused, refused)
    assert suspects._explains("forward.coarse_operands", refused, refused)


def test_a_dense_tensor_is_named_too():
    asked, judge = some("f64", "tensor"), judge_by("f64", {})

    def dense(held):
        found = MISTAKES["tensor"]["tensor.linear_missing"](ANSWERS["tensor"])(held)
        return {"tensor": suspects.unpack(found["tensor"])}

    first = rank("tensor", outcomes(asked, dense, judge), judge, repeat=True)[0]
    assert (first.name, first.matches) == ("tensor.linear_missing", True)


@pytest.mark.parametrize("name", ["spectrum.by_value", "spectrum.unnormalised"])
def test_a_broken_certificate_is_no_matter_of_precision(name):
    asked, judge = some("f64", "spectrum"), judge_by("f64", {})
    run = MISTAKES["spectrum"][name](ANSWERS["spectrum"])
    found = {one.name: one for one in rank("spectrum", outcomes(asked, run, judge), judge, True)}
    assert found[name].matches
    assert not any(found[rough].matches for rough in suspects.PRECISION if rough in found)


MATCH = Suspect("packed.not_doubled", 20, 20, 0, 20)


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({}, True),
        ({"explained": 18}, True),
        ({"explained": 17}, False),
        ({"contradicted": 1}, False),
        ({"explained": 9, "possible": 9}, False),
        ({"name": "forward.coarse_operands", "explained": 16, "contradicted": 3}, True),
        ({"name": "forward.coarse_operands", "explained": 15}, False),
        ({"name": "forward.coarse_operands", "contradicted": 5}, False),
    ],
)
def test_a_match_explains_nearly_all_and_is_never_contradicted(changes, matches):
    assert MATCH._replace(**changes).matches == matches


def test_a_mistake_of_the_tensor_is_one_of_the_matrix():
    held = {"w_left": np.array([[1.0, 2.0]]), "w_right": np.array([[3.0, 5.0]]), "u": np.ones(1)}
    whole = of_the_tensor(lambda run: run)(ANSWERS["matrix"])(held)["matrix"]
    assert (whole == ANSWERS["matrix"](held)["matrix"]).all()
    halved = of_the_tensor(MISTAKES["tensor"]["tensor.diagonal_halved"])(ANSWERS["matrix"])(held)
    assert (halved["matrix"] == whole * [[0.5, 1], [1, 0.5]]).all()


def test_a_mistake_that_cannot_be_made_is_skipped_and_what_must_be_refused_is():
    def impossible(held):
        raise NotImplementedError("not square")

    valid = some("f64", "form")[0]
    invalid = valid._replace(vector=valid.vector._replace(result="invalid"))
    assert ask_run(impossible)(valid, {}).skipped == "not square"
    assert ask_run(impossible)(invalid, {}).refused == "not square"
