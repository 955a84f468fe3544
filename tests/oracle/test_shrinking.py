"""The smallest failing case has the sizes that it must have, and fails."""

import numpy as np
import pytest
from asking import function_of, wrong

from refbilinear.oracle import shrinking, vectors
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.calls import call
from refbilinear.oracle.interrogation import interrogate, judge_by
from refbilinear.oracle.shrinking import MOST_CALLS, pose, shrink
from refbilinear.oracle.standards import questions

SUITE = vectors.load()
JUDGE = judge_by("f64", {})


def shrunk(functions, tier="exact", flag=None, claim="f64"):
    """The first failing vector, its smallest case, and how often the function was asked."""
    ((op, function),) = functions.items()
    asked = []
    judge = judge_by(claim, {})

    def ask(question):
        asked.append(question)
        return interrogate(question, lambda one, inputs: call(op, function, inputs, claim), judge)

    first = next(
        found
        for one in questions(SUITE, claim, [op])
        if one.tier == tier and (flag is None or flag in one.vector.flags)
        for found in [ask(one)]
        if found.failed
    )
    asked.clear()
    return first, shrink(first, ask), len(asked)


def sizes(outcome):
    return {name: array.shape for name, array in outcome.question.vector.inputs.items()}


ONE = {"w_left": (1, 1), "w_right": (1, 1)}
SMALLEST = {
    "forward.right_bias_dropped": ("forward", ONE | {"b_right": (1,), "x": (1, 1)}),
    "forward.output_bias_dropped": ("forward", ONE | {"b_out": (1,), "x": (1, 1)}),
    "forward.outputs_reversed": (
        "forward",
        ONE | {"w_left": (2, 1), "w_right": (2, 1), "x": (1, 1)},
    ),
    "forward.first_row_broadcast": ("forward", ONE | {"x": (2, 1)}),
    "tensor.no_half": ("tensor", ONE),
    "tensor.antisymmetric": ("tensor", ONE),
    "matrix.magnitude_of_u": ("matrix", ONE | {"u": (1,)}),
    "packed.not_doubled": ("form", {"tensor": (1, 3), "x": (1, 2)}),
    "packed.diagonal_doubled_too": ("form", {"tensor": (1, 1), "x": (1, 1)}),
    "backward.sign": ("backward", ONE | {"x": (1, 1), "dy": (1, 1)}),
    "loss.factor_two_missing": ("squared_error", {"y": (4, 1), "t": (4, 1)}),
}


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_case_has_the_sizes_it_must_have(name):
    op, wanted = SMALLEST[name]
    _, small, asked = shrunk(wrong(op, name))
    assert small.failed
    assert sizes(small) == wanted
    assert asked <= MOST_CALLS
    found = ANSWERS[op](small.question.vector.inputs)
    assert all((found[n] == one).all() for n, one in small.question.vector.expected.items())


@pytest.mark.parametrize(
    ("op", "name"),
    [
        ("spectrum", "spectrum.singular_values"),
        ("cross_entropy", "cross_entropy.over_batch"),
        ("adamw", "adamw.no_correction"),
        ("forward", "forward.left_twice"),
    ],
)
def test_what_is_bounded_or_certified_gets_smaller_too(op, name):
    tier = "certificate" if op == "spectrum" else "bounded"
    first, small, asked = shrunk(wrong(op, name), tier)
    assert small.failed
    assert asked <= MOST_CALLS
    arrays = [sum(a.size for a in one.question.vector.inputs.values()) for one in (first, small)]
    assert arrays[1] < arrays[0]


def test_a_matrix_stays_symmetric():
    _, small, _ = shrunk(wrong("spectrum", "spectrum.unnormalised"), "certificate")
    q = small.question.vector.inputs["Q"]
    assert (q == q.T).all()


def test_right_answers_to_smaller_cases_are_right():
    for op in ("forward", "form", "squared_error", "cross_entropy", "adamw"):
        for tier in ("exact", "bounded"):
            for one in questions(SUITE, "f64", [op]):
                if one.tier == tier and one.vector.result == "valid" and one.vector.expected:
                    again = pose(one, one.vector.inputs)
                    assert JUDGE(again, ANSWERS[op](again.vector.inputs)).status == "passed"
                    break


def test_a_function_that_raises_on_small_sizes_keeps_its_case():
    def picky(held):
        if held["x"].shape[1] < 2:
            raise ValueError("too small")
        return {"y": ANSWERS["form"](held)["y"] + 1}

    _, small, _ = shrunk({"form": function_of("form", picky)})
    assert small.verdict.kind == "value"
    assert sizes(small)["x"] == (1, 2)


def test_a_case_of_another_kind_is_not_the_same_failure():
    def odd(held):
        y = ANSWERS["form"](held)["y"]
        return {"y": y.astype(np.float32) if held["x"].shape[1] < 3 else y + 1}

    _, small, _ = shrunk({"form": function_of("form", odd)})
    assert (small.verdict.kind, sizes(small)["x"]) == ("value", (1, 3))


def test_a_budget_is_kept(monkeypatch):
    monkeypatch.setattr(shrinking, "MOST_CALLS", 5)
    _, small, asked = shrunk(wrong("forward", "forward.left_twice"))
    assert small.failed
    assert asked <= 5


@pytest.mark.parametrize(
    ("op", "name", "tier", "flag"),
    [
        ("truncate", "truncate.magnitudes", "certificate", None),
        ("forward", "run.nan_swallowed", "exact", "NotANumber"),
    ],
)
def test_what_cannot_be_posed_stays(op, name, tier, flag):
    first, small, asked = shrunk(wrong(op, name), tier, flag)
    assert small is first
    assert asked == 0


def test_a_case_that_is_not_exact_is_none():
    loss = questions(SUITE, "f64", ["squared_error"])[0]
    three = {"y": np.ones((3, 1)), "t": np.zeros((3, 1))}
    with pytest.raises(ValueError, match="not exact"):
        pose(loss, three)
    form = questions(SUITE, "f64", ["form"])[0]
    with pytest.raises(ValueError, match="not exact"):
        pose(form, {"tensor": np.array([[1 + 2.0**-52]]), "x": np.array([[1 + 2.0**-52]])})
