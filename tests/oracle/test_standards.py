"""What a claim asks for and allows: coarse arithmetic passes, what is off by far does not."""

from fractions import Fraction

import numpy as np
import pytest

import refbilinear as rb
from refbilinear.oracle import vectors
from refbilinear.oracle.agreement import layer_of
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.bounds import gamma
from refbilinear.oracle.claims import CLAIMS
from refbilinear.oracle.machines import simulate
from refbilinear.oracle.standards import REDUCTIONS, STORED, dtype_of, questions, standards
from refbilinear.oracle.vectors import OPERATIONS
from refbilinear.oracle.verdicts import judge

SUITE = vectors.load()
COARSE = [claim for claim, held in CLAIMS.items() if held.storage is not None]
MACHINE = {
    "forward": (rb.forward, lambda held: (layer_of(held), held["x"])),
    "tensor": (rb.interaction_tensor, lambda held: (layer_of(held),)),
    "matrix": (
        lambda layer, u: rb.interaction_matrix(rb.interaction_tensor(layer), u),
        lambda held: (layer_of(held), held["u"]),
    ),
    "form": (rb.quadratic_form, lambda held: (held["tensor"], held["x"])),
    "backward": (rb.backward, lambda held: (layer_of(held), held["x"], held["dy"])),
    "squared_error": (rb.squared_error, lambda held: (held["y"], held["t"])),
}


def simulated(question, **machine):
    function, arguments = MACHINE[question.op]
    result = simulate(function, *arguments(question.vector.inputs), **machine)
    if hasattr(result, "_asdict"):
        return {name: one for name, one in result._asdict().items() if one is not None}
    return {next(iter(question.vector.expected)): result}


def verdict(question, outputs, claim, **convention):
    return judge(question, outputs, claim, convention)


# ---- which vectors


@pytest.mark.parametrize("claim", CLAIMS)
def test_questions_are_in_the_dtype_of_the_claim(claim):
    asked = questions(SUITE, claim, OPERATIONS)
    floats = [
        array.dtype
        for one in asked
        for array in (*one.vector.inputs.values(), *one.vector.expected.values())
        if array.dtype.kind == "f" and array.ndim  # the settings of AdamW are always float64
    ]
    assert {"f64": np.float64, "f32": np.float32}[dtype_of(claim)] == np.dtype(*set(floats))
    assert {one.dtype for one in asked} == {dtype_of(claim)}
    if claim in COARSE:
        assert {one.op for one in asked} == set(STORED)
        assert {one.vector.result for one in asked} == {"valid"}


def test_only_what_is_exact_in_float32_is_asked_of_float64():
    of_f32 = {v.tc_id: g for g in SUITE.groups if g.dtype == "f32" for v in g.vectors}
    asked = {one.vector.tc_id: one for one in questions(SUITE, "f64", OPERATIONS)}
    for tc_id, group in of_f32.items():
        vector = next(v for v in group.vectors if v.tc_id == tc_id)
        assert (tc_id in asked) == (group.tier != "bounded" and vector.result == "valid")
    assert len(asked) > len(questions(SUITE, "f32", OPERATIONS))
    assert all(one.op == "form" for one in questions(SUITE, "f64", ["form"]))


# ---- what is allowed


@pytest.mark.parametrize("claim", COARSE)
def test_coarse_arithmetic_passes_and_what_is_off_by_far_does_not(claim):
    """In two orders of summation; three times the result is refused, and that of another layer."""
    refused = dict.fromkeys(STORED, 0)
    for number, question in enumerate(questions(SUITE, claim, STORED)[COARSE.index(claim) :: 8]):
        order = ("ascending", "pairwise", "lanes")[number % 3]
        got = simulated(question, claim=claim, order=order, fused=number % 2 == 0)
        found = verdict(question, got, claim)
        assert found.status == "passed", (question.vector.tc_id, found)
        wrong = verdict(question, {name: 3 * array + 1 for name, array in got.items()}, claim)
        refused[question.op] += wrong.status == "failed"
    assert min(refused.values()) >= 2, refused


@pytest.mark.parametrize("claim", ["f64-ftz", "f32-ftz"])
def test_flushing_to_zero_fails_no_vector_but_acceptable_ones_which_it_may(claim):
    for question in questions(SUITE, claim, MACHINE)[::5]:
        if question.vector.result == "valid":
            found = verdict(question, simulated(question, claim=claim), claim)
            assert found.status == "passed", (question.vector.tc_id, found)


@pytest.mark.parametrize("op", ["cross_entropy", "adamw"])
@pytest.mark.parametrize("claim", ["f32", "f64", "f32-ftz", "f64-ftz"])
def test_flushing_changes_the_bounds_of_exponentials_and_squares(op, claim):
    for question in questions(SUITE, claim, [op]):
        if question.tier != "bounded":
            continue
        gradual = standards(question, dtype_of(claim))
        for name, standard in standards(question, claim).items():
            assert (standard.exact == gradual[name].exact).all()
            if claim.endswith("-ftz"):
                assert (standard.allowed != gradual[name].allowed).any()
        right = ANSWERS[op](question.vector.inputs)
        assert verdict(question, right, claim).status == "passed"
        wrong = {name: array + (1 + abs(array)) / 100 for name, array in right.items()}
        assert verdict(question, wrong, claim).status == "failed"


def test_where_a_coarse_format_may_overflow_anything_is_allowed():
    first = questions(SUITE, "f16-f32acc", ["forward"])[0]
    inputs = {name: np.full_like(array, 2.0**12) for name, array in first.vector.inputs.items()}
    large = first._replace(vector=first.vector._replace(inputs=inputs))
    for number in (np.inf, np.nan, 1e38):
        got = {"y": np.full_like(first.vector.expected["y"], number)}
        assert verdict(large, got, "f16-f32acc").status == "passed"
        assert verdict(large, got, "bf16-f32acc").status == "failed"


def test_in_a_coarse_format_nan_and_infinities_are_asked_all_the_same():
    asked = [
        one
        for one in questions(SUITE, "tf32", ["forward"])
        if not all(np.isfinite(array).all() for array in one.vector.inputs.values())
    ]
    assert asked
    for question in asked:
        want = question.vector.expected["y"]
        rough = np.where(np.isfinite(want), want + 1, want).astype(np.float32)
        assert verdict(question, {"y": rough}, "tf32").status == "passed"
        finite = np.where(np.isfinite(want), want, 0).astype(np.float32)
        assert verdict(question, {"y": finite}, "tf32").status == "failed"


def test_what_expected_and_residual_leave_is_allowed_besides():
    question = next(one for one in questions(SUITE, "f32", ["forward"]) if one.tier == "bounded")
    vector, u = question.vector, Fraction(1, 2**24)
    found = standards(question, "f32")["y"]
    for i in np.ndindex(found.exact.shape):
        expected = Fraction(float(vector.expected["y"][i]))
        bound = Fraction(gamma(vector.K["y"], np.float32)) * Fraction(float(vector.twin["y"][i]))
        assert found.exact[i] == expected + Fraction(float(vector.residual["y"][i]))
        assert found.allowed[i] == bound + u**2 * abs(expected) + Fraction(1, 2**149)


def test_a_derived_bound_is_of_fractions():
    for claim, op in (("tf32", "tensor"), ("f64-ftz", "adamw")):
        found = standards(
            next(q for q in questions(SUITE, claim, [op]) if q.tier == "bounded"), claim
        )
        assert {type(one) for s in found.values() for one in s.allowed.ravel()} == {Fraction}


# ---- reductions


def reduced(op, outputs, shape, reduction):
    """What a program returns that means or sums a loss otherwise, from the mean over examples."""
    n, m = shape
    factor = {"sum": n, "mean": 1 / m if op == "squared_error" else 1, "mean-batch": 1}[reduction]
    return {name: (array * factor).astype(array.dtype) for name, array in outputs.items()}


@pytest.mark.parametrize("claim", ["f32", "f64", "f64-ftz"])
@pytest.mark.parametrize("reduction", ["mean-batch", "mean", "sum"])
@pytest.mark.parametrize("op", REDUCTIONS)
def test_losses_in_another_reduction(op, reduction, claim):
    asked = questions(SUITE, claim, [op])[:: 3 if op == "cross_entropy" else 1]
    refused = 0
    for question in asked:
        shape, right = question.vector.inputs["y"].shape, ANSWERS[op](question.vector.inputs)
        got = reduced(op, right, shape, reduction)
        assert verdict(question, got, claim, reduction=reduction).status == "passed"
        for other in {"mean-batch", "mean", "sum"} - {reduction}:
            refused += verdict(question, got, claim, reduction=other).status == "failed"
    assert refused > len(asked) / 2


def test_what_is_no_loss_has_no_reduction():
    question = next(one for one in questions(SUITE, "f64", ["form"]) if one.tier == "bounded")
    found, plain = standards(question, "f64", "sum")["y"], standards(question, "f64")["y"]
    assert (found.exact == plain.exact).all()
    assert (found.allowed == plain.allowed).all()


def test_a_reduction_of_exact_numbers_is_judged_by_a_bound():
    question = next(
        one for one in questions(SUITE, "f64", ["squared_error"]) if one.tier == "exact"
    )
    n = len(question.vector.inputs["y"])
    assert standards(question, "f64")["value"].allowed is None
    other = standards(question, "f64", "sum")["value"]
    assert other.exact.item() == n * Fraction(question.vector.expected["value"].item())
    assert 0 < other.allowed.item() < Fraction(1, 10**9)
