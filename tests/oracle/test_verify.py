"""`verify`: the package passes, planted faults are found and named, and the report says so."""

import json
import sys
from math import inf
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from asking import function_of, right, wrong

import refbilinear as rb
from refbilinear.analysis import eigenpairs
from refbilinear.analysis.hosvd import direct_hosvd
from refbilinear.oracle import (
    diagnosis,
    reports,
    selfcheck,
    vectors,
    verification,
    verify,
    verify_results,
)
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.catalogue import MUTANTS
from refbilinear.oracle.diagnosis import (
    BEHAVIOUR,
    OUTPUT_STAGES,
    STAGES,
    Diagnosis,
    Stage,
    diagnose,
)
from refbilinear.oracle.interrogation import Outcome, interrogate, judge_by
from refbilinear.oracle.mistakes import MISTAKES
from refbilinear.oracle.reports import Report, deviation_words
from refbilinear.oracle.results import Result
from refbilinear.oracle.scripts import script
from refbilinear.oracle.shrinking import pose
from refbilinear.oracle.standards import questions
from refbilinear.oracle.suspects import Suspect, ask_run
from refbilinear.oracle.vectors import OPERATIONS
from refbilinear.oracle.verdicts import Deviation, Verdict

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
    assert report.failures[0].outcome.verdict.words
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

    def loss(y, t):
        if not y.flags.c_contiguous:
            raise ValueError("C order")
        return rb.squared_error(y, t)

    (remark,) = {r for r in verify({"form": form, "squared_error": loss}).remarks if "strided" in r}
    assert remark.endswith(" refused by form, squared_error")


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
    "order": (
        (right("form"),),
        {"convention": {"order": "up"}},
        ValueError,
        "one of magnitude, ascending, descending; got 'up'",
    ),
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
    assert report.passed, report
    assert "claim f32, order ascending; " in str(report)


def test_a_loss_may_be_a_sum():
    def summed(y, t):
        return ((y - t) ** 2).sum(), 2 * (y - t)

    assert verify({"squared_error": summed}).exit_code == 1
    assert verify({"squared_error": summed}, convention={"reduction": "sum"}).passed


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
    for claim in CLAIMS:
        report = verify_results(answered("form", "squared_error", claim=claim), claim)
        assert report.passed
        assert report.claim == claim
    with pytest.raises(ValueError, match="got 'f16'"):
        verify_results({}, "f16")


def test_results_are_complete():
    results = answered("form")
    first, second, third, *_ = results
    less = {tc_id: one for tc_id, one in results.items() if tc_id not in (first, third)}
    problem = f"2 of 63 vectors of form have no result: {first}, {third}"
    assert verify_results(less).problems == (problem,)
    more = results | dict.fromkeys(range(4), results[first])
    assert verify_results(more).problems == ("4 results are of no vector: 0, 1, 2",)
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
    functions = wrong("form", "packed.diagonal_doubled_too")
    report = verify(functions)
    small = report.failures[0].smallest
    assert small.question.vector.inputs["x"].shape == (1, 1)
    assert report.failures[0].function is functions["form"]
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


# ---- a report, line by line

FORM = {one.vector.tc_id: one for one in questions(SUITE, "f64", ["form"])}
JUDGE = judge_by("f64", {})
OFF = Deviation("y", (0, 1), 12.0, 6.0, 0.0, 6.0, 3, 4)
NEAR = Deviation("y", (2,), 1.0, 1.0, 2.0, 1.0, 0, 4)
NAMED = Suspect("packed.not_doubled", 20, 20, 0, 20)
SMALL = pose(FORM[40001], {"tensor": np.array([[2.0]]), "x": np.array([[3.0]])})
WRONG = Outcome(FORM[40001], None, Verdict("failed", "value", "", OFF, ("y",)))
FOUND = Diagnosis(
    "form",
    WRONG,
    1,
    4,
    ("One", "Two"),
    "the sign is reversed",
    (NAMED,),
    (Stage("a", 0, 2), Stage("b", 1, 3), Stage("c", 5, 7)),
    WRONG._replace(question=SMALL, outputs={"y": np.array([[9.0]])}),
)
REPORT = Report(
    "f64",
    {"order": "ascending"},
    (
        WRONG,
        Outcome(FORM[40901], None, Verdict("passed", worst=NEAR)),
        Outcome(FORM[40902], None, Verdict("passed", worst=NEAR._replace(error=0.5))),
        Outcome(FORM[40002], None, Verdict("acceptable", "", "Overflow")),
        Outcome(FORM[40003], None, Verdict("skipped", "", "no time")),
    ),
    (FOUND, FOUND._replace(op="matrix", suspects=())),
    ("a problem",),
    ("a remark",),
    ("one", "two"),
    ("three", "four", "five", "six", "seven"),
    1,
    (),
)
TEXT = """\
claim f64, order ascending; 5 vectors: WRONG (exit 1)
                      exact      bounded  certificate   worst error/allowed
form                    1/2          2/2            -   0.5       (1 acceptable, 1 skipped)
PROBLEM a problem
FAIL form: 1 of 4 vectors, such as tcId 40001 (exact, RandomIntegers)
  value: 3 of 4 entries differ; worst y[0, 1] = 12, exact 6, allowed 0
  pattern: the sign is reversed
  matches packed.not_doubled: "off-diagonal entries not counted twice" (20 of 20 failures)
  flags of which all fail: One, Two
  stages: a ok, b wrong (1 of 3) <- first wrong stage, c wrong (5 of 7)
  smallest failing case: tensor=[[2]] x=[[3]]
    expected y=[[18]]; got y=[[9]]
    import numpy as np
    from mine import form  # yours
    from refbilinear.oracle import Layer, Model
    args = [np.array([[2]], 'f8'), np.array([[3]], 'f8')]
    print(form(*args))
    print("expected:", "y =", [[18]])
FAIL matrix: 1 of 4 vectors; matches no mistake of the catalogue
note: a remark
skipped 1: no time
this run would have shown 2 of 7 mistakes of the catalogue; not three, four, five, six"""


def with_fields(**changes):
    return Report(**vars(REPORT) | changes)


def test_a_report_says_all_that_it_has():
    assert str(REPORT) == TEXT
    less = FOUND._replace(flags=("One",), pattern="", stages=(), smallest=WRONG)
    lines = str(with_fields(failures=(less,), missed=())).splitlines()
    assert lines[4:7] == TEXT.splitlines()[4:6] + TEXT.splitlines()[7:8]
    assert lines[7] == "  reproduce: refbilinear case 40001 --python"
    assert lines[-1] == "this run would have shown 2 of 2 mistakes of the catalogue"
    alone = with_fields(outcomes=(WRONG,), failures=(FOUND._replace(function=np.linalg.eigh),))
    assert str(alone).splitlines()[2] == "form                    0/1            -            -   -"
    assert "    from numpy.linalg import eigh" in str(alone).splitlines()
    assert "from numpy.linalg import eigh" in alone.to_json()["failures"][0]["script"]


@pytest.mark.parametrize(
    ("changes", "head"),
    [
        ({"problems": ()}, "passed (exit 0)"),
        ({}, "results are missing or malformed (exit 2)"),
        ({"least": 5}, "results are missing or malformed (exit 2)"),
        ({"problems": (), "least": 4}, "passed (exit 0)"),
        ({"problems": (), "least": 5}, "too few tests (exit 3)"),
        ({"failures": (FOUND,), "least": 5}, "WRONG (exit 1)"),
        ({"doubts": ("?",)}, "NO VERDICT: the oracle failed its own check (exit 4)"),
        (
            {"doubts": ("?",), "failures": (FOUND,)},
            "NO VERDICT: the oracle failed its own check (exit 4)",
        ),
    ],
)
def test_the_gravest_of_what_is_wrong_comes_first(changes, head):
    report = with_fields(**{"failures": ()} | changes)
    assert str(report).splitlines()[0].endswith(f"; 5 vectors: {head}")
    assert report.passed == (report.exit_code == 0) == head.startswith("passed")


def test_a_report_as_data():
    data = with_fields(failures=(FOUND,), doubts=("?",)).to_json()
    off = {
        "output": "y", "place": [0, 1], "got": 12.0, "exact": 6.0, "allowed": 0.0, "error": 6.0,
        "different": 3, "size": 4, "ratio": "inf",
    }  # fmt: skip
    near = off | {"place": [2], "got": 1.0, "exact": 1.0, "allowed": 2.0, "error": 1.0}
    near |= {"different": 0, "ratio": 0.5}
    wrong = {"tcId": 40001, "status": "failed", "kind": "value", "words": "", "worst": off}
    count = dict.fromkeys(("passed", "failed", "acceptable", "skipped"), 0)
    one_each = count | {"failed": 1, "acceptable": 1, "skipped": 1}
    assert data["operations"] == {
        "form": {
            "exact": {"RandomIntegers": one_each},
            "bounded": {"RealNumbers": count | {"passed": 2}},
        }
    }
    assert data["failures"] == [
        {
            "operation": "form", "failed": 1, "total": 4, "shown": wrong, "flags": ["One", "Two"],
            "others": [],
            "pattern": "the sign is reversed",
            "suspects": [
                {"name": NAMED.name, "explained": 20, "possible": 20, "contradicted": 0,
                 "failures": 20, "words": NAMED.words, "matches": True}
            ],
            "stages": [{"name": n, "failed": f, "total": t} for n, f, t in FOUND.stages],
            "smallest": wrong, "script": script(SMALL),
        }
    ]  # fmt: skip
    assert data["tests"][:2] == [wrong, {"tcId": 40901, "status": "passed", "worst": near}]
    assert data["tests"][3:] == [
        {"tcId": 40002, "status": "acceptable", "kind": "", "words": "Overflow"},
        {"tcId": 40003, "status": "skipped", "kind": "", "words": "no time"},
    ]
    rest = {
        name: data[name] for name in list(data) if name not in ("operations", "failures", "tests")
    }
    assert rest == {
        "schema": "refbilinear-report-1", "claim": "f64", "convention": {"order": "ascending"},
        "exitCode": 4, "problems": ["a problem"], "remarks": ["a remark"], "doubts": ["?"],
        "caught": ["one", "two"], "missed": ["three", "four", "five", "six", "seven"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (19, ": 1.56e+05 ulp, 9.5 x allowed (precision)"),
        (20, ": 1.64e+05 ulp, 10 x allowed (wrong)"),
        (2000, ": 1.64e+07 ulp, 1e+03 x allowed (wrong)"),
        (2002, ": 1.64e+07 ulp, 1e+03 x allowed (logic)"),
        (inf, ""),
    ],
)
def test_how_far_off_an_entry_is(error, words):
    worst = Deviation("value", (), 7.0, -1024.0, 2.0, error, 1, 5)
    said = "1 of 5 entries differ; worst value = 7, exact -1024, allowed 2"
    assert deviation_words(worst, "f32") == said + words


def test_which_mistakes_are_named():
    far, also, near = (
        NAMED._replace(name=n, explained=k) for n, k in (("a", 3), ("b", 20), ("c", 2))
    )

    def words(*suspects):
        return reports._matches(SimpleNamespace(suspects=suspects))

    first = (
        'matches packed.not_doubled: "off-diagonal entries not counted twice" (20 of 20 failures)'
    )
    assert words(far, NAMED) == first
    assert words(NAMED, also, far, *[also] * 3) == f"{first}; so would b, b, b"
    assert words() == "matches no mistake of the catalogue"
    assert words(far, near, far) == (
        "matches no single mistake of the catalogue "
        "(nearest: a explains 3 of 20, c explains 2 of 20); perhaps there are two"
    )


# ---- what is known of a failure


def failing(tc_id, change, kind="value"):
    """The outcome of a form that gives something else."""
    outputs = {"y": change(FORM[tc_id].vector.expected["y"])}
    return Outcome(FORM[tc_id], outputs, JUDGE(FORM[tc_id], outputs)._replace(kind=kind))


def test_a_pattern_is_of_most_failures():
    reversed_sign = [failing(tc_id, np.negative) for tc_id in (40001, 40002)]
    noise = [failing(tc_id, lambda y: y + y**2) for tc_id in (40003, 40004)]
    assert diagnosis._pattern(reversed_sign + noise[:1]) == "the sign is reversed"
    assert diagnosis._pattern(reversed_sign + noise) == ""
    assert diagnosis._pattern([WRONG]) == ""


def test_the_clearest_failure_is_shown():
    """Numbers before behaviour, exact ones before others, small ones before large."""
    twice = [failing(tc_id, lambda y: 2 * y) for tc_id in (40002, 40001, 40901)]
    layout = failing(40003, lambda y: 2 * y, "layout")
    found = diagnose("form", [layout, *twice], JUDGE)
    assert (found.outcome, found.failed, found.total) == (twice[1], 4, 4)
    assert found.smallest is found.outcome
    assert found.pattern == "every entry is 2 times what it should be"
    assert diagnose("form", [layout], JUDGE).suspects == (Suspect("run.layout", 1, 1, 0, 1),)
    for kind in ("aliased", "unrepeatable", "sizes"):
        twice[1] = failing(40001, lambda y: 2 * y, kind)
        found = diagnose("form", twice[1:2], JUDGE)
        assert (found.outcome, found.pattern, found.suspects) == (twice[1], "", ())


def test_a_diagnosis_has_a_smaller_case_where_there_is_somebody_to_ask():
    ask = ask_run(MISTAKES["form"]["packed.not_doubled"](ANSWERS["form"]))
    outcomes = [interrogate(FORM[tc_id], ask, JUDGE) for tc_id in (40001, 40002, 40901)]
    found = diagnose("form", outcomes, JUDGE, ask, len)
    small = found.smallest.question.vector
    assert [array.tolist() for array in small.inputs.values()] == [[[0, 1, 0]], [[1, 1]]]
    assert (small.expected["y"].item(), found.smallest.outputs["y"].item()) == (2, 1)
    assert (found.suspects[0].name, found.function) == ("packed.not_doubled", len)
    assert found.stages == ()


def test_stages_are_of_inputs_and_outputs_that_there_are():
    for op, stages in STAGES.items():
        assert {name for names in stages.values() for name in names} <= set(OPERATIONS[op].inputs)
    for op, outputs in OUTPUT_STAGES.items():
        assert set(outputs) == set(OPERATIONS[op].outputs)
    assert set(BEHAVIOUR.values()) <= {"", *MUTANTS}


def test_what_no_vector_shows_is_missed():
    asked = [FORM[tc_id] for tc_id in (40001, 40901)]
    assert set(selfcheck.shown(asked, JUDGE).values()) == {True}
    assert set(selfcheck.shown([SMALL], JUDGE).items()) >= {("packed.not_doubled", False)}
    assert list(selfcheck.objections(asked, JUDGE)) == []
    broken = [asked[0], asked[1]._replace(tier="exact")]
    assert list(selfcheck.objections(broken, JUDGE)) == [
        "the specification fails tcId 40901",
        "the evaluators differ on tcId 40901",
    ]
