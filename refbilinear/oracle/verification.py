"""Whether an implementation is right: its functions, or results that it wrote, are judged."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from refbilinear.oracle import selfcheck, vectors
from refbilinear.oracle.answers import Inputs
from refbilinear.oracle.calls import Answer, Function, call
from refbilinear.oracle.certificates import ORDERS
from refbilinear.oracle.claims import claim_of
from refbilinear.oracle.diagnosis import Diagnosis, diagnose
from refbilinear.oracle.interrogation import Ask, Judge, Outcome, interrogate, judge_by
from refbilinear.oracle.mistakes import MISTAKES
from refbilinear.oracle.probes import at_large_sizes, in_layouts, in_threads
from refbilinear.oracle.reports import Report
from refbilinear.oracle.results import Result
from refbilinear.oracle.standards import Question, questions
from refbilinear.oracle.vectors import OPERATIONS
from refbilinear.oracle.verdicts import Verdict

Skips = Mapping[str | int, str]


def verify(
    functions: Mapping[str, Function],
    claim: str = "f64",
    *,
    convention: Mapping[str, str] | None = None,
    skip: Skips | None = None,
    min_tests: int = 1,
) -> Report:
    """Return the report on functions of an implementation, each put all vectors of its operation.

    A function gets fresh NumPy arrays in the dtype of the claim and may return anything that has
    `__dlpack__` or `__array__`; several outputs as a mapping, NamedTuple or tuple in order. It is
    called twice; it must not write to its inputs, nor return their memory, nor change its answer,
    nor its dtype. What it cannot do it says with NotImplementedError and a reason.

        forward(layer, x) -> y                         layer, a NamedTuple: w_left, w_right, w_out,
        tensor(layer) -> packed or dense               b_left, b_right, b_out, w_skip; None where
        matrix(layer, u) -> matrix                     there is none
        form(tensor, x) -> y                           tensor packed
        backward(layer, x, dy) -> gradients by name, and x
        squared_error(y, t) -> value, dy               cross_entropy(y, labels) -> value, dy
        adamw(theta, g, m, v, t, *, learning_rate, weight_decay, beta1, beta2, epsilon)
            -> theta, m, v
        spectrum(Q, k) -> eigenvalues, eigenvectors    truncate(Q, k) -> matrix, tail
        hosvd(tensor) -> u_out, u_in, core             fold(model) -> parameters by name

    Parameters
    ----------
    functions : mapping of str to callable
        By operation; any of the twelve.
    claim : str
        The precision in which they compute, one of `CLAIMS`; from it follow all allowed errors.
    convention : mapping, optional
        What differs by convention alone: `order` of a spectrum ("magnitude", "ascending",
        "descending"), `reduction` of a loss ("mean-batch", "mean", "sum").
    skip : mapping of str or int to str, optional
        Known failures: an operation, a flag or a tcId, each with a reason. One that matches
        nothing, or of which all passes, is a problem.
    min_tests : int
        How many vectors must be judged at least.

    Returns
    -------
    Report
        `passed`, `exit_code`, `text`, and everything as data.

    Raises
    ------
    ValueError, TypeError
        For an operation, claim or convention that is not there, what is no function, and vectors
        that are not those that were shipped.

    Examples
    --------
    >>> import refbilinear as rb
    >>> def forward(layer, x):
    ...     y = (x @ layer.w_left.T) * (x @ layer.w_right.T)        # no biases, no skip path
    ...     return y if layer.w_out is None else y @ layer.w_out.T
    >>> report = verify({"forward": forward}, claim="f64")
    >>> report.exit_code
    1
    """
    _require_functions(functions)
    claim_of(str(claim), object)
    agreed, judge = _convention(convention), judge_by(claim, _convention(convention))
    asked = _asked(claim, functions)

    def ask(question: Question, inputs: Inputs) -> Answer:
        return call(question.op, functions[question.op], inputs, claim)

    outcomes = [interrogate(question, ask, judge) for question in asked]
    outcomes, remarks = _probed(outcomes, ask, judge)
    kept, problems = _excuse(outcomes, skip or {})
    failures = [
        diagnose(op, held, judge, ask, functions[op]) for op, held in _failing(kept).items()
    ]
    return _report(claim, agreed, kept, failures, problems, remarks, min_tests)


def verify_results(
    results: Mapping[int, Result],
    claim: str = "f64",
    *,
    convention: Mapping[str, str] | None = None,
    skip: Skips | None = None,
    min_tests: int = 1,
) -> Report:
    """Return the report on results that a program wrote, as `results.read_results` gives them.

    An operation counts as offered where there is a result for any of its vectors; then each vector
    that the claim asks for must have one, if only `skipped` with a reason. Others are left alone.

    Parameters
    ----------
    results : mapping of int to Result
        By tcId.
    claim, convention, skip
        As in `verify`.
    min_tests : int
        How many vectors must be judged at least, for a program that should not do less one day.

    Returns
    -------
    Report

    Examples
    --------
    >>> from refbilinear.oracle.results import parse_results
    >>> report = verify_results(parse_results(b"20201 tensor f32 2 3 3 1 2 3 4 5 6 7 8 9"), "f32")
    >>> report.exit_code, report.problems[0][:46]
    (1, '94 of 95 vectors of tensor have no result: 201')
    """
    claim_of(str(claim), object)
    agreed, judge = _convention(convention), judge_by(claim, _convention(convention))
    suite = vectors.load()
    known = {v.tc_id: group.op for group in suite.groups for v in group.vectors}
    strangers = [tc_id for tc_id in results if tc_id not in known]
    offered = dict.fromkeys(known[tc_id] for tc_id in results if tc_id in known)
    asked = questions(suite, claim, offered)

    def ask(question: Question, inputs: Inputs) -> Answer:
        return Answer(*results[question.vector.tc_id])

    there = [question for question in asked if question.vector.tc_id in results]
    outcomes = [interrogate(question, ask, judge, repeat=False) for question in there]
    kept, problems = _excuse(outcomes, skip or {})
    problems = [*_missing(asked, results), *_unknown(strangers), *problems]
    failures = [diagnose(op, held, judge) for op, held in _failing(kept).items()]
    return _report(claim, agreed, kept, failures, problems, [], min_tests)


# ---- what is asked


def _require_functions(functions: Mapping[str, Function]) -> None:
    for op, function in functions.items():
        if op not in OPERATIONS:
            raise ValueError(f"functions must be of {', '.join(OPERATIONS)}; got {op!r}")
        if not callable(function):
            raise TypeError(f"functions[{op!r}] must be callable; got {type(function).__name__}")


def _convention(convention: Mapping[str, str] | None) -> dict[str, str]:
    """Return a convention after checking its names and values."""
    allowed = {"order": ORDERS, "reduction": ("mean-batch", "mean", "sum")}
    for name, value in (convention or {}).items():
        if name not in allowed:
            raise ValueError(f"convention must be of {', '.join(allowed)}; got {name!r}")
        if value not in allowed[name]:
            choices = ", ".join(allowed[name])
            raise ValueError(f"convention[{name!r}] must be one of {choices}; got {value!r}")
    return dict(convention or {})


def _asked(claim: str, operations: Collection[str]) -> list[Question]:
    """Return the vectors of a claim; every operation must have some."""
    asked = questions(vectors.load(), claim, operations)
    for op in operations:
        if not any(question.op == op for question in asked):
            raise ValueError(f"claim {claim} has no vectors for {op}: leave it out, or claim f64")
    return asked


def _missing(asked: Sequence[Question], results: Mapping[int, Result]) -> Iterator[str]:
    """Yield, by operation, how many vectors have no result, and the first of them."""
    for op in dict.fromkeys(question.op for question in asked):
        ids = [question.vector.tc_id for question in asked if question.op == op]
        missing = [tc_id for tc_id in ids if tc_id not in results]
        if missing:
            first = ", ".join(map(str, missing[:3]))
            yield f"{len(missing)} of {len(ids)} vectors of {op} have no result: {first}"


def _unknown(ids: Sequence[int]) -> Iterator[str]:
    if ids:
        yield f"{len(ids)} results are of no vector: {', '.join(map(str, ids[:3]))}"


# ---- what came of it


def _probed(outcomes: Sequence[Outcome], ask: Ask, judge: Judge) -> tuple[list[Outcome], list[str]]:
    """Return outcomes with faults of behaviour as failures, and the layouts that are refused."""
    faults: dict[int, Verdict] = {}
    refusals: dict[str, list[str]] = {}
    for op in dict.fromkeys(outcome.question.op for outcome in outcomes):
        passed = [o.question for o in outcomes if o.question.op == op and _is_plain(o)]
        findings, refused = in_layouts(passed, ask, judge)
        findings += at_large_sizes(passed, ask, judge) + in_threads(passed, ask, judge)
        for finding in findings:
            verdict = Verdict("failed", finding.kind, finding.words)
            faults.setdefault(finding.question.vector.tc_id, verdict)
        for layout, why in refused.items():
            refusals.setdefault(f"{layout} inputs ({why[:60]})", []).append(op)
    return [
        one._replace(verdict=faults.get(one.question.vector.tc_id, one.verdict)) for one in outcomes
    ], [f"{what} refused by {', '.join(ops)}" for what, ops in refusals.items()]


def _is_plain(outcome: Outcome) -> bool:
    """Whether a vector was answered rightly, and with numbers."""
    return outcome.verdict.status == "passed" and outcome.question.vector.result == "valid"


def _excuse(outcomes: Sequence[Outcome], skip: Skips) -> tuple[list[Outcome], list[str]]:
    """Return outcomes in which known failures are skipped, and what is wrong with their list."""
    problems, kept = [], list(outcomes)
    for name, reason in skip.items():
        places = [i for i, one in enumerate(kept) if _is_named(one.question, name)]
        failed = [i for i in places if kept[i].failed]
        if not failed:
            passes = "all that it names passes" if places else "it names nothing that was asked"
            problems.append(f"skip {name!r}: {passes}")
        for i in failed:
            kept[i] = kept[i]._replace(verdict=Verdict("skipped", "", reason))
    return kept, problems


def _untested(outcomes: Sequence[Outcome], shown: Mapping[str, bool]) -> Iterator[str]:
    """Yield the operations of which too little was judged to show half of their mistakes."""
    for op in dict.fromkeys(one.question.op for one in outcomes):
        seen = [shown[name] for name in MISTAKES[op] if name in shown]
        if 2 * sum(seen) < len(seen) or not seen:
            known = len(seen) or len(MISTAKES[op])
            rest = f"the rest would show {sum(seen)} of {known} mistakes"
            yield f"too much of {op} is skipped: {rest}"


def _is_named(question: Question, name: str | int) -> bool:
    vector = question.vector
    return name in (question.op, vector.tc_id, str(vector.tc_id), *vector.flags)


def _failing(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Return all outcomes of each operation that failed."""
    failed = dict.fromkeys(outcome.question.op for outcome in outcomes if outcome.failed)
    return {op: [outcome for outcome in outcomes if outcome.question.op == op] for op in failed}


def _report(
    claim: str,
    convention: Mapping[str, str],
    outcomes: Sequence[Outcome],
    failures: Sequence[Diagnosis],
    problems: Sequence[str],
    remarks: Sequence[str],
    least: int,
) -> Report:
    """Return the report, the oracle's check of itself included.

    The specification and the mistakes answer by the default convention, and are judged by it.
    """
    judged = [one.question for one in outcomes if one.verdict.status != "skipped"]
    judge = judge_by(claim, {})
    doubts, shown = list(selfcheck.objections(judged, judge)), selfcheck.shown(judged, judge)
    return Report(
        claim,
        convention,
        tuple(outcomes),
        tuple(failures),
        (*problems, *_untested(outcomes, shown)),
        tuple(remarks),
        tuple(name for name, seen in shown.items() if seen),
        tuple(name for name, seen in shown.items() if not seen),
        least,
        tuple(doubts),
    )
