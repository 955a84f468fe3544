"""`verify`: the package passes, planted faults are found and named, and the report says so."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
from asking import function_of, right, wrong

import refbilinear as rb
from refbilinear.analysis import eigenpairs
from refbilinear.analysis.hosvd import direct_hosvd
from refbilinear.oracle import selfcheck, vectors, verification, verify, verify_results
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.mistakes import MISTAKES
from refbilinear.oracle.results import Result
from refbilinear.oracle.scripts import script
from refbilinear.oracle.standards import questions

CLAIMS = ("f64", "f32")
SUITE, LOAD = vectors.load(), vectors.load


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    """Read the vectors once: to parse and hash them is most of a short verification."""
    monkeypatch.setattr(vectors, "load", lambda: SUITE)


# ---- the package itself


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_specification_is_right(claim):
    report = verify(right(*ANSWERS), claim)
    assert report.passed, report
    assert report.exit_code == 0
    assert report.problems == ()
    assert {name.split(".")[1] for name in report.missed} <= {
        "float32_accumulation",
        "float32_solver",
        "shifted",
    }


def layer_of_tensor(tensor):
    """A layer with this tensor: a unit for every output and coordinate."""
    whole = rb.unpack(tensor)
    m, d, _ = whole.shape
    left, out = (np.eye(n, dtype=tensor.dtype) for n in (d, m))
    return rb.BilinearLayer(np.tile(left, (m, 1)), whole.reshape(-1, d), out.repeat(d, axis=1))


def hosvd(tensor):
    layer = layer_of_tensor(tensor)
    found = direct_hosvd(layer)
    ranks = (
        int((one > 10 * max(tensor.shape) * np.finfo(tensor.dtype).eps * one[0]).sum())
        for one in (found.singular_out, found.singular_in)
    )
    kept = direct_hosvd(layer, *ranks)
    return kept.u_out, kept.u_in, rb.unpack(rb.interaction_tensor(kept.core))


def truncate(q, k):
    pairs = eigenpairs.eigendecompose(q)
    left = pairs.eigenvalues[k:]
    return eigenpairs.reconstruct(pairs, k), left @ left


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_analysis_is_right(claim):
    functions = {"spectrum": eigenpairs.eigendecompose, "truncate": truncate, "hosvd": hosvd}
    report = verify(functions, claim)
    assert report.passed, report


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_kernel_is_right(claim):
    fast = pytest.importorskip("refbilinear.fast", exc_type=ImportError)
    report = verify(
        {
            "tensor": lambda layer: fast.interaction_tensor(rb.BilinearLayer(**layer._asdict())),
            "form": fast.quadratic_form,
        },
        claim,
    )
    assert report.passed, report


# ---- mistakes


@pytest.fixture
def few(monkeypatch):
    """Ask every tenth vector alone, where a test is about what is said and not what is found."""
    every = verification.questions
    monkeypatch.setattr(verification, "questions", lambda *given: every(*given)[::10])


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize(
    ("op", "name"),
    [
        ("form", "packed.not_doubled"),
        ("squared_error", "loss.factor_two_missing"),
        ("cross_entropy", "cross_entropy.base_two"),
        ("adamw", "adamw.epsilon_inside"),
        ("truncate", "truncate.magnitudes"),
        ("hosvd", "hosvd.padded"),
    ],
)
def test_a_mistake_is_named(claim, op, name):
    report = verify(wrong(op, name), claim)
    assert report.exit_code == 1
    (found,) = report.failures
    assert (found.suspects[0].name, found.suspects[0].matches) == (name, True)
    assert f"matches {name}" in str(report)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("forward.input_overwritten", "mutated"),
        ("run.layout", "layout"),
        ("run.alignment", "alignment"),
        ("run.race", "threads"),
    ],
)
def test_a_behaviour_is_named(name, kind, few):
    report = verify(wrong("forward", name))
    assert report.exit_code == 1
    assert report.failures[0].outcome.verdict.kind == kind
    assert report.failures[0].suspects[0].name == name
    assert "reproduce: refbilinear case" in str(report)


@pytest.mark.parametrize(
    ("op", "names"),
    [
        ("squared_error", ("loss.factor_two_missing", "loss.sum_for_mean")),
        ("adamw", ("adamw.no_correction", "adamw.momentum_sign")),
        ("cross_entropy", ("cross_entropy.base_two", "cross_entropy.labels_off_by_one")),
        ("truncate", ("truncate.magnitudes", "truncate.tail_not_squared")),
        ("forward", ("forward.outputs_reversed", "forward.left_twice")),
    ],
)
def test_two_mistakes_are_not_a_third(op, names, few):
    report = verify(wrong(op, *names))
    assert report.exit_code == 1
    assert {one.name for one in report.failures[0].suspects if one.matches} <= set(names)


def test_right_but_for_one_flag(few):
    run = MISTAKES["forward"]["forward.output_bias_dropped"](ANSWERS["forward"])
    functions = {"forward": function_of("forward", run)}
    (found,) = verify(functions).failures
    ids = [one.question.vector.tc_id for one in verify(functions).outcomes if one.failed]
    assert len(ids) == found.failed < found.total
    excused = verify(functions, skip=dict.fromkeys(ids, "known"))
    assert (excused.exit_code, excused.problems) == (0, ())
    assert f"skipped {len(ids)}: known" in str(excused)
    assert verify(functions, skip=dict.fromkeys(ids[1:], "known")).exit_code == 1


# ---- what functions may do


def raising(error):
    def function(*args, **settings):
        raise error

    return function


def test_one_that_raises_on_everything_is_wrong():
    report = verify({"form": raising(ZeroDivisionError("by 0\nand more"))})
    assert report.exit_code == 1
    assert report.failures[0].outcome.verdict[:3] == (
        "failed",
        "refused",
        "ZeroDivisionError: by 0",
    )
    assert "got nothing" in str(report) or "reproduce" in str(report)


def test_one_that_skips_everything_was_not_tested():
    report = verify({"form": raising(NotImplementedError)})
    assert report.exit_code == 2
    (problem,) = report.problems
    assert problem.startswith("too much of form is skipped: the rest would show 0 of ")
    assert "skipped 63: not implemented" in str(report)
    assert verify({"form": raising(NotImplementedError)} | right("matrix")).exit_code == 2


def test_some_may_be_skipped():
    def form(held):
        if len(held["x"]) > 1:
            raise NotImplementedError("no batches")
        return ANSWERS["form"](held)

    report = verify({"form": function_of("form", form)})
    assert report.passed, report
    assert 0 < sum(one.verdict.status == "skipped" for one in report.outcomes) < 63
    assert ": no batches" in str(report)


def test_what_is_missed_is_named():
    def form(held):
        if np.count_nonzero(held["x"]) > 1:
            raise NotImplementedError("one coordinate")
        return ANSWERS["form"](held)

    report = verify({"form": function_of("form", form)})
    assert "packed.not_doubled" in report.missed
    assert "mistakes of the catalogue; not packed.not_doubled" in str(report)


def test_a_refused_layout_is_a_remark():
    def form(tensor, x):
        if not x.flags.c_contiguous:
            raise ValueError("C order")
        return rb.quadratic_form(tensor, x)

    report = verify({"form": form})
    assert report.passed, report
    assert any("strided inputs (ValueError: C order) refused by form" in r for r in report.remarks)
    assert "note: " in str(report)


@pytest.mark.parametrize(
    ("skip", "problem"),
    [
        ({"NoSuchFlag": "x"}, "it names nothing that was asked"),
        ({"form": "x"}, "all that it names passes"),
        ({1: "x"}, "it names nothing that was asked"),
    ],
)
def test_a_skip_that_hides_nothing_is_a_problem(skip, problem):
    report = verify(right("form"), skip=skip)
    assert report.exit_code == 2
    assert problem in report.problems[0]
    assert "PROBLEM skip" in str(report)


def test_a_skip_that_hides_all_is_a_problem():
    report = verify({"form": raising(ValueError)}, skip={"form": "known"})
    assert report.exit_code == 2
    assert report.problems[0].startswith("too much of form is skipped")


BAD = {
    "operation": (({"froward": len},), {}, ValueError, "got 'froward'"),
    "claim": ((right("form"), "f16"), {}, ValueError, "got 'f16'"),
    "function": (({"form": 3},), {}, TypeError, r"functions\['form'\] must be callable; got int"),
    "convention": ((right("form"),), {"convention": {"sign": "+"}}, ValueError, "got 'sign'"),
    "order": ((right("form"),), {"convention": {"order": "up"}}, ValueError, "got 'up'"),
    "no vectors": ((right("adamw"), "tf32"), {}, ValueError, "tf32 has no vectors for adamw"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_calls_are_refused(case):
    args, settings, error, words = BAD[case]
    with pytest.raises(error, match=words):
        verify(*args, **settings)


def test_a_convention_is_declared(few):
    def ascending(q, k):
        pairs = eigenpairs.eigendecompose(q)
        order = np.argsort(pairs.eigenvalues)[:k]
        return pairs.eigenvalues[order], pairs.eigenvectors[:, order]

    assert verify({"spectrum": ascending}, "f32").exit_code == 1
    report = verify({"spectrum": ascending}, "f32", convention={"order": "ascending"})
    assert not report.failures, report
    assert "claim f32, order ascending; " in str(report)


# ---- results of a program


def answered(*operations, claim="f64"):
    """The right results of a program."""
    found = {}
    for one in questions(SUITE, claim, operations):
        vector = one.vector
        if vector.result == "invalid":
            found[vector.tc_id] = Result({}, "must be", None)
        else:
            with np.errstate(all="ignore"):
                found[vector.tc_id] = Result(ANSWERS[one.op](vector.inputs), None, None)
    return found


def test_right_results_pass():
    assert verify_results(answered("form", "squared_error")).passed


def test_results_are_complete():
    results = answered("form")
    first, second, *_ = results
    del results[first]
    report = verify_results(results)
    assert report.exit_code == 2
    assert report.problems == (f"1 of 63 vectors of form have no result: {first}",)
    results[first] = Result({}, None, "no time")
    assert verify_results(results).passed
    results[999999] = results[second]
    assert verify_results(results).problems == ("1 results are of no vector: 999999",)
    results[second] = Result({}, "cannot", None)
    report = verify_results(results)
    assert report.exit_code == 1
    assert report.failures[0].outcome.verdict.kind == "refused"
    assert report.failures[0].smallest is report.failures[0].outcome


def test_too_few_results_are_no_verdict():
    assert verify_results({}).exit_code == 3
    assert verify_results(answered("form"), min_tests=63).exit_code == 0
    assert verify_results(answered("form"), min_tests=64).exit_code == 3


# ---- the oracle of itself


def test_vectors_that_were_changed_are_refused(tmp_path, monkeypatch):
    for name, content in vectors.files().items():
        (tmp_path / name).write_bytes(content.replace(b"20201", b"20202"))
    monkeypatch.setattr(vectors, "DATA", tmp_path)
    monkeypatch.setattr(vectors, "load", LOAD)
    with pytest.raises(ValueError, match="SHA-256"):
        verify(right("form"))


def test_a_broken_specification_is_no_verdict(monkeypatch):
    monkeypatch.setitem(selfcheck.ANSWERS, "form", lambda held: {"y": held["x"]})
    report = verify({"form": rb.quadratic_form})
    assert report.exit_code == 4
    assert not report.passed
    assert "the specification fails tcId" in report.doubts[0]
    assert "SELF-CHECK" in str(report)


@pytest.mark.parametrize("error", [None, ArithmeticError("differ")])
def test_evaluators_that_differ_are_no_verdict(monkeypatch, error):
    def agreed(op, inputs):
        if error:
            raise error
        return {"y": np.array(1.5)}

    monkeypatch.setattr(selfcheck, "agreed", agreed)
    report = verify({"form": rb.quadratic_form})
    assert report.exit_code == 4
    assert "the evaluators differ on tcId" in report.doubts[0]


# ---- the report


def everything_wrong():
    def bad(op):
        def run(held):
            found = ANSWERS[op](held)
            return {
                name: np.full_like(one, [np.nan, np.inf, -np.inf][i % 3])
                for i, (name, one) in enumerate(found.items())
            }

        return function_of(op, run)

    return {op: bad(op) for op in ANSWERS}


def test_all_wrong_is_one_screen_and_is_json(few):
    report = verify(everything_wrong())
    assert report.exit_code == 1
    lines = str(report).splitlines()
    assert len(report.failures) == len(ANSWERS)
    assert len(lines) <= 45
    free = ("  stages:", "this run would", "    args", '    print("expected')
    assert [line for line in lines if len(line) > 150 and not line.startswith(free)] == []
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["exitCode"] == 1
    assert len(data["failures"]) == len(report.failures)
    assert len(data["tests"]) == len(report.outcomes)
    assert repr(report) == str(report)


def test_the_script_says_what_the_report_says(monkeypatch, capsys):
    report = verify(wrong("form", "packed.diagonal_doubled_too"))
    small = report.failures[0].smallest
    mine = ModuleType("mine")
    mine.form = lambda *args: wrong("form", "packed.diagonal_doubled_too")["form"](*args)["y"]
    monkeypatch.setitem(sys.modules, "mine", mine)
    exec("\n".join(script(small.question)))
    got, expected = capsys.readouterr().out.splitlines()
    assert got == str(small.outputs["y"])
    assert expected.startswith("expected: y = [[")


def test_stages_end_with_the_first_wrong_one(few):
    report = verify(wrong("forward", "forward.right_bias_dropped"))
    stages = report.failures[0].stages
    assert [one.failed > 0 for one in stages] == [False] * (len(stages) - 1) + [True]
    assert stages[-1].name == "biases of the factors"
    assert "<- first wrong stage" in str(report)
    outputs = verify(wrong("squared_error", "loss.factor_two_missing")).failures[0].stages
    assert [(one.name, one.failed > 0) for one in outputs] == [("value", False), ("dy", True)]
