"""The suite: right by the specification and the kernel, the same in every build, and built with care."""

import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import refbilinear
from refbilinear.analysis.eigenpairs import eigendecompose, reconstruct
from refbilinear.oracle import agreement, cases, certify, counts, loops, suite, vectors
from refbilinear.oracle.agreement import layer_of
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.cases import Case, Plan
from refbilinear.oracle.catalogue import FLAGS, WITHDRAWN
from refbilinear.oracle.inertia import inertia
from refbilinear.oracle.interrogation import fresh
from refbilinear.oracle.machines import ORDERS, simulate
from refbilinear.oracle.rationals import integers
from refbilinear.oracle.standards import Question
from refbilinear.oracle.verdicts import judge

SUITE = vectors.load()
GROUPS = [(f"{g.op}-{g.tier}-{g.dtype}-{g.vectors[0].tc_id}", g) for g in SUITE.groups]
LEDGER = Path(__file__).with_name("vector_ids.txt")


def stands(group, vector, run):
    """Whether what `run(inputs)` returns may stand; what must be refused, whether it is."""
    held = fresh(vector.inputs)
    if vector.result == "invalid":
        with pytest.raises((TypeError, ValueError)):
            run(held)
        return True
    question = Question(group.op, group.tier, group.dtype, vector)
    with np.errstate(all="ignore"):
        return judge(question, run(held), group.dtype, {}).status in ("passed", "acceptable")


@pytest.mark.parametrize("group", [g for _, g in GROUPS], ids=[name for name, _ in GROUPS])
def test_the_specification_passes(group):
    for vector in group.vectors:
        assert stands(group, vector, ANSWERS[group.op]), vector.tc_id


SPECTRAL = [
    vector
    for group in SUITE.groups
    if group.op in ("spectrum", "truncate")
    for vector in group.vectors
    if vector.result == "valid"
]


def test_every_shipped_eigenvalue_is_one_exactly():
    """As often as it is listed where all are, and never less often than that."""
    for vector in SPECTRAL:
        q, values = vector.inputs["Q"], vector.expected.get("eigenvalues", np.zeros(0))
        for value, times in zip(*np.unique(values, return_counts=True), strict=True):
            found = inertia(q, Fraction(float(value))).zero
            assert found == times if len(values) == len(q) else found >= times


def test_the_specification_s_pairs_are_certified():
    for vector in SPECTRAL:
        pairs = eigendecompose(vector.inputs["Q"], int(vector.inputs["k"]))
        found = certify(pairs, vector.inputs["Q"])
        assert found.certified, (vector.tc_id, found.reasons)


def analysed(held):
    """Return the matrix and the tail by the analysis of the package."""
    pairs, k = eigendecompose(held["Q"]), int(held["k"])
    left_out = pairs.eigenvalues[k:]
    return {"matrix": reconstruct(pairs, k), "tail": left_out @ left_out}


def test_the_analysis_passes():
    run = {
        "spectrum": lambda held: eigendecompose(held["Q"], int(held["k"]))._asdict(),
        "truncate": analysed,
    }
    for group in SUITE.groups:
        if group.op in run:
            for vector in group.vectors:
                assert stands(group, vector, run[group.op]), vector.tc_id


def test_the_kernel_passes():
    fast = pytest.importorskip("refbilinear.fast", exc_type=ImportError)
    run = {
        "tensor": lambda held: {"tensor": fast.interaction_tensor(layer_of(held))},
        "form": lambda held: {"y": fast.quadratic_form(held["tensor"], held["x"])},
        "matrix": lambda held: {
            "matrix": refbilinear.interaction_matrix(
                fast.interaction_tensor(layer_of(held)), held["u"]
            )
        },
    }
    for group in SUITE.groups:
        if group.op in run:
            for vector in group.vectors:
                assert stands(group, vector, run[group.op])


SIMULATED = {
    "forward": (refbilinear.forward, lambda held: (layer_of(held), held["x"])),
    "tensor": (refbilinear.interaction_tensor, lambda held: (layer_of(held),)),
    "form": (refbilinear.quadratic_form, lambda held: (held["tensor"], held["x"])),
    "backward": (refbilinear.backward, lambda held: (layer_of(held), held["x"], held["dy"])),
    "squared_error": (refbilinear.squared_error, lambda held: (held["y"], held["t"])),
}


def simulated(op, claim, order, fused):
    """Return the answer of a machine that sums in some order, fused or not."""
    function, arguments = SIMULATED[op]

    def run(held):
        result = simulate(function, *arguments(held), claim=claim, order=order, fused=fused, seed=1)
        if hasattr(result, "_asdict"):
            return {name: one for name, one in result._asdict().items() if one is not None}
        return {next(iter(vectors.OPERATIONS[op].outputs)): result}

    return run


@pytest.mark.parametrize("op", SIMULATED)
def test_every_order_of_summation_passes(op):
    machines = [(order, fused) for order in ORDERS for fused in (False, True)]
    for group in SUITE.groups:
        if group.op != op:
            continue
        chosen = group.vectors if group.tier == "bounded" else group.vectors[::16]
        for number, vector in enumerate(v for v in chosen if v.result == "valid"):
            claim = group.dtype
            for order, fused in (
                machines if group.tier == "bounded" else machines[number % 12 :: 12]
            ):
                assert stands(group, vector, simulated(op, claim, order, fused))


def smallest():
    """Yield the smallest valid vector of each operation, tier and choice of inputs, by its id."""
    chosen = {}
    for group in SUITE.groups:
        for vector in group.vectors:
            finite = all(np.isfinite(array).all() for array in vector.inputs.values())
            kind = (group.op, group.tier, finite, *sorted(vector.inputs))
            size = sum(array.size for array in vector.inputs.values())
            if vector.result == "valid" and size < chosen.get(kind, (np.inf,))[0]:
                chosen[kind] = (size, group.op, finite, vector)
    for _, op, finite, vector in chosen.values():
        yield pytest.param(op, finite, vector, id=str(vector.tc_id))


@pytest.mark.parametrize(("op", "finite", "vector"), [*smallest()])
def test_both_evaluators_give_what_the_file_holds(op, finite, vector):
    if op in agreement.KNOWN:
        agreement.require_known(op, vector.inputs, vector.expected)
        return
    found = (agreement.agreed if finite else agreement.ieee)(op, vector.inputs)
    assert found.keys() == vector.expected.keys()
    for name, array in vector.expected.items():
        if not finite:
            assert np.array_equal(found[name], array, equal_nan=True)
            continue
        rest = vector.residual.get(name, np.zeros_like(array))
        held = (np.vectorize(Fraction, otypes=[object])(one.astype(float)) for one in (array, rest))
        suite.require_close("f32", name, found[name], np.asarray(found[name]) - sum(held))
        if not vector.residual:
            assert np.array_equal(found[name], array)


# ---- the same in every build


def test_the_counts_and_bounds_in_the_file_are_those_of_the_module():
    for group in SUITE.groups:
        for vector in group.vectors:
            if vector.K:
                assert counts.roundings(group.op, vector.inputs) == vector.K
                assert vector.degree == {n: counts.DEGREES[group.op][n] for n in vector.K}
            elif vector.allowed:
                allowed = counts.allowed(group.op, vector.inputs)
                for name, array in vector.allowed.items():
                    assert (allowed[name] <= array).all()
                    least = np.finfo(array.dtype).smallest_subnormal
                    assert (array <= np.asarray(allowed[name]) * (1 + 2.0**-7) + least).all()


@pytest.mark.parametrize("op", counts.COUNTS)
def test_a_twin_is_what_the_file_holds(op):
    """The smallest bounded vector of each operation; a twin is rounded up to a few bits."""
    held = [v for g in SUITE.groups if g.op == op for v in g.vectors if v.twin]
    vector = min(held, key=lambda v: sum(array.size for array in v.inputs.values()))
    for name, array in counts.twin(op, vector.inputs).items():
        written = integers(vector.twin[name])
        above = written[0] * written[1]
        assert np.all(array <= above)
        assert np.all(above <= array * Fraction(129, 128))


def test_the_shipped_suite_is_the_one_that_is_built(capsys):
    assert suite.main(["--check"]) == 0
    assert "is the one that is built" in capsys.readouterr().out


def test_a_difference_is_named(tmp_path, monkeypatch, capsys):
    shipped = vectors.files()
    monkeypatch.setattr(suite, "build", lambda: shipped)
    monkeypatch.setattr(vectors, "DATA", tmp_path / "data")
    assert suite.main(["--write", str(tmp_path / "data")]) == 0
    assert suite.main(["--check"]) == 0
    (tmp_path / "data/core.txt").write_bytes(shipped["core.txt"] + b"\n")
    assert suite.main(["--check"]) == 1
    lines = shipped["core.txt"].count(b"\n") + 1
    assert f"core.txt: built {lines} lines, shipped {lines + 1}" in capsys.readouterr().out
    (tmp_path / "data/core.txt").write_bytes(shipped["core.txt"].replace(b"valid", b"void", 1))
    assert suite.main(["--check"]) == 1
    assert (
        "core.txt, line 4: built b'10001 result text 0 valid', shipped" in capsys.readouterr().out
    )


def test_nothing_is_written_over_what_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(suite, "build", lambda: {"core.json": b"other"})
    (tmp_path / "core.json").write_bytes(b"mine")
    for words in (["--write", str(tmp_path)], [], ["--check", "--write", "x"]):
        with pytest.raises(SystemExit) as usage:
            suite.main(words)
        assert usage.value.code == 2
    assert "File exists" in capsys.readouterr().err
    assert (tmp_path / "core.json").read_bytes() == b"mine"


def digest(group, test):
    """Return what an id stands for: all but comments and flags."""
    content = {key: one for key, one in test.items() if key not in ("comment", "flags")}
    words = json.dumps([group["op"], group["tier"], group["dtype"], content], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def test_an_id_keeps_its_content():
    """The ledger is only ever appended to: a wrong vector is withdrawn and gets a new id."""
    document = json.loads(vectors.files()["core.json"])
    found = {
        test["tcId"]: digest(group, test) for group in document["groups"] for test in group["tests"]
    }
    ledger = dict(line.split() for line in LEDGER.read_text(encoding="ascii").splitlines())
    known = {int(tc_id): held for tc_id, held in ledger.items()}
    assert {tc_id: held for tc_id, held in known.items() if tc_id not in WITHDRAWN} == found
    assert set(WITHDRAWN) <= set(known)


def test_plans_do_not_overlap():
    ids = [
        tc_id for plan in cases.plans() for tc_id in range(plan.base, plan.base + len(plan.makers))
    ]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)


def test_a_withdrawn_vector_leaves_its_id_empty(monkeypatch):
    plan = next(plan for plan in cases.plans() if plan.op == "squared_error" and plan.alphabet)
    monkeypatch.setitem(WITHDRAWN, plan.base, "a reason")
    group = suite._group(plan)
    assert [test["tcId"] for test in group["tests"]] == list(range(plan.base + 1, plan.base + 16))
    assert group["missProbLog2"] == suite.miss_prob_log2(257, 15) > -90


def test_what_a_polynomial_can_hide():
    """(5/|S|)^n: below 2⁻⁹⁰ for float64, below 2⁻⁷² for float32."""
    assert Fraction(5, 257) ** 16 < Fraction(1, 2**90)
    assert Fraction(5, 11) ** 64 < Fraction(1, 2**72)
    for plan in cases.plans():
        if plan.alphabet:
            n = len(plan.makers)
            assert Fraction(5, plan.alphabet) ** n < Fraction(
                1, 2 ** (90 if plan.dtype == "f64" else 72)
            )


def test_random_integers_are_uniform_and_reach_every_number():
    source = cases.stream(1)
    drawn = cases.whole(source, (4000,), largest=5, dtype="f32", zero=True)
    numbers, times = np.unique(drawn, return_counts=True)
    assert numbers.tolist() == list(range(-5, 6))
    # Six standard deviations of a binomial count.
    assert (abs(times - 4000 / 11) < 6 * np.sqrt(4000 * 10 / 121)).all()
    assert (cases.whole(source, (400,), largest=5, dtype="f32", zero=False) != 0).all()
    reals = cases.real(source, (400,), dtype="f32")
    assert (reals == reals.astype(np.float32)).all()
    assert abs(reals).min() >= 2.0**-3
    assert abs(reals).max() < 2.0**4


# ---- what may not be admitted


def plan_of(op, tier="exact", dtype="f32"):
    return Plan(1, op, tier, dtype, ())


PRODUCT = {name: np.ones((1, 1)) for name in ("w_left", "w_right", "x")}


def test_evaluators_that_differ_admit_nothing(monkeypatch):
    case = Case(("SymHalf",), "", PRODUCT)
    assert suite._test(plan_of("forward"), 7, case)["expected"]["y"]["data"] == [1]
    monkeypatch.setitem(agreement.WITNESSED, "forward", lambda held: {"y": [[Fraction(2)]]})
    with pytest.raises(ArithmeticError, match="tcId 7: the evaluators differ in y of forward"):
        suite._test(plan_of("forward"), 7, case)


def test_roots_agree_to_fifty_digits(monkeypatch):
    y, labels = np.array([[1.0, 2.0]]), np.array([0])
    held = {"y": y, "labels": labels}
    value, dy = loops.cross_entropy(y.tolist(), [0])
    agreement.agreed("cross_entropy", held)
    for factor, agrees in ((1 + Fraction(1, 10**52), True), (1 + Fraction(1, 10**48), False)):
        monkeypatch.setattr(loops, "cross_entropy", lambda y, k, f=factor: (value * f, dy))
        if agrees:
            agreement.agreed("cross_entropy", held)
        else:
            with pytest.raises(ArithmeticError, match="differ in value"):
                agreement.agreed("cross_entropy", held)


@pytest.mark.parametrize(
    ("op", "changes"),
    [
        ("forward", {"x": [[2.0**21]]}),
        ("forward", {"x": [[2.0**13]], "w_left": [[0]]}),
        ("tensor", {"w_left": [[2.0**19]]}),
    ],
)
def test_what_an_order_could_round_is_not_exact(op, changes):
    inputs = {name: np.array(changes.get(name, one)) for name, one in PRODUCT.items()}
    if op == "tensor":
        del inputs["x"]
    with pytest.raises(ArithmeticError, match="is too large"):
        suite._test(plan_of(op), 1, Case((), "", inputs))


def test_what_float64_holds_exactly_has_53_bits():
    """16 times the twin is below 2^53, or it is not."""
    for w, admitted in ((2.0**49 - 1, True), (2.0**49, False)):
        case = Case((), "", PRODUCT | {"w_left": np.array([[w]])})
        if admitted:
            suite._test(plan_of("forward", dtype="f64"), 1, case)
        else:
            with pytest.raises(ArithmeticError, match="is too large"):
                suite._test(plan_of("forward", dtype="f64"), 1, case)


def test_a_mean_counts_its_examples():
    y = np.full((64, 1), 128.0)
    with pytest.raises(ArithmeticError, match="1024 times the twin 16384 of value is too large"):
        suite._test(plan_of("squared_error"), 1, Case((), "", {"y": y, "t": y * 0}))


def test_a_residual_must_hold_the_rest():
    with pytest.raises(ArithmeticError, match="y is not held by expected and residual"):
        suite.require_close("f64", "y", np.ones(1), np.array([Fraction(1, 2**100)], dtype=object))
    suite.require_close("f64", "y", np.ones(1), np.array([Fraction(1, 2**106)], dtype=object))


def known_case(op, flag):
    plan = next(plan for plan in cases.plans() if plan.op == op)
    return next(
        case
        for case in (make(cases.stream(plan.base + i)) for i, make in enumerate(plan.makers))
        if flag in case.flags
    )


@pytest.mark.parametrize(
    ("op", "flag", "change", "reason"),
    [
        ("spectrum", "ByMagnitude", {"eigenvalues": lambda v: v + 1}, "the pairs are not those of the matrix"),
        ("spectrum", "ByMagnitude", {"basis": lambda b: 2 * b}, "the basis is not orthonormal"),
        ("spectrum", "ByMagnitude", {"eigenvalues": lambda v: v[::-1], "basis": lambda b: b[:, ::-1]}, "not in order"),
        ("truncate", "LargestKept", {"tail": lambda t: t + 1}, "the tail is not that of the rest"),
        ("truncate", "LargestKept", {"matrix": lambda m: m * 2}, "the parts are not orthogonal"),
        ("hosvd", "CoreRotation", {"squares_in": lambda s: s + 1}, "squares_in are not those of the tensor"),
        ("hosvd", "CoreRotation", {"basis_out": lambda b: b + 1}, "the basis is not orthonormal"),
        ("hosvd", "CoreRotation", {"squares_out": lambda s: s[::-1], "basis_out": lambda b: b[:, ::-1]}, "not in order"),
    ],
)  # fmt: skip
def test_what_is_known_by_construction_is_checked(op, flag, change, reason):
    case = known_case(op, flag)
    agreement.require_known(op, case.inputs, case.expected)
    expected = case.expected | {name: f(case.expected[name]) for name, f in change.items()}
    with pytest.raises(ArithmeticError, match=reason):
        agreement.require_known(op, case.inputs, expected)


def test_a_matrix_that_floats_cannot_hold_is_not_made():
    with pytest.raises(ArithmeticError, match="1/3 is no f64"):
        cases._exactly(np.array([[Fraction(1, 3)]], dtype=object), "f64")
    with pytest.raises(ArithmeticError, match="16777217 is no f32"):
        cases._hosvd("f32", "", "", [[2**24 + 1]])(cases.stream(1))


def test_ieee_arithmetic_is_found_twice(monkeypatch):
    held = {"w_left": np.array([[np.nan]]), "w_right": np.ones((1, 1)), "x": np.ones((1, 1))}
    assert np.isnan(agreement.ieee("forward", held)["y"]).all()
    monkeypatch.setitem(
        agreement.IEEE, "forward", (agreement.IEEE["forward"][0], lambda inputs: np.zeros((1, 1)))
    )
    with pytest.raises(ArithmeticError, match="differs from itself in forward"):
        agreement.ieee("forward", held)


def test_folding_is_the_package_s_own():
    """Where the package can fold, its layer has the tensor of the vectors."""
    for group in SUITE.groups:
        if group.op == "fold" and group.tier == "exact":
            for vector in group.vectors:
                if not {"gain", "left_scale", "b_embed"} & set(vector.inputs):
                    assert stands(group, vector, plain_fold)


def plain_fold(held):
    model = refbilinear.BilinearMLP(
        held.get("w_embed"), [layer_of(held)], held.get("w_head"), "residual" in held
    )
    folded = refbilinear.fold(model)
    zeros = np.zeros(folded.d_hidden, np.float32)
    folded = folded if folded.b_left is not None else replace(folded, b_left=zeros)
    return refbilinear.parameters(folded)


def test_counts_are_those_of_the_table():
    """2d + h + 4 with all biases; with a skip in any order d more; Q: 2h + m + 1; a form: d² + 1."""
    d, h, m, n = 3, 5, 2, 4

    def count(op, sizes, *absent):
        return counts.roundings(op, cases.fill(op, sizes, absent, np.ones))

    full = f"i{d} h{h} o{m} n{n}"
    assert count("forward", full, "w_skip") == {"y": 2 * d + h + 4}
    assert count("forward", full) == {"y": 3 * d + h + 4}
    assert count("forward", full, *cases.only("w_out")) == {"y": 2 * d + h + 1}
    assert count("forward", f"i{d} h{h} o{h} n{n}", *cases.only()) == {"y": 2 * d + 1}
    assert count("tensor", full, *cases.only("w_out")) == {"tensor": 2 * h + 1}
    assert count("tensor", full) == {"tensor": 2 * h + 2}
    assert count("matrix", full, *cases.only("w_out")) == {"matrix": 2 * h + m + 1}
    assert count("form", f"d{d} o{m} n{n}") == {"y": d * d + 1}
    assert count("backward", full) == {
        "w_left": d + m + n + 2, "w_right": d + m + n + 2, "b_left": d + m + n + 1,
        "b_right": d + m + n + 1, "w_out": 2 * d + n + 3, "b_out": n - 1, "w_skip": n,
        "x": d + 2 * m + 2 * h + 2,
    }  # fmt: skip
    assert count("squared_error", f"n{n} o{m}") == {"value": n * m + 4, "dy": 3}
    assert count("fold", "i3 j4 h5 o2 r6", *cases.EXTRA) == {"tensor": 2 * 3 + 2 + 2}


def test_every_flag_says_what_it_is():
    for note in FLAGS.values():
        assert note.description
        assert note.effect
        assert note.bug_type.isupper()
