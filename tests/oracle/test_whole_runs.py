"""Whole runs: a declared convention, a report of every operation, a function that ends the program."""

import sys

import numpy as np
import pytest

from refbilinear.oracle import verify
from refbilinear.oracle.answers import ANSWERS
from refbilinear.spec.loss import squared_error
from refbilinear.spec.optim import adamw
from refbilinear.spec.packed import unpack


def eigenpairs(keep):
    def spectrum(Q, k):
        if not (np.isfinite(Q).all() and (Q.T == Q).all()):
            raise ValueError("Q must be symmetric and finite")
        values, x = np.linalg.eigh(Q)
        return keep(values)[:k], keep(x.T).T[:, :k]

    return spectrum


def loss(times):
    def run(y, t):
        value, dy = squared_error(y, t)
        factor = times(y)
        return (np.asarray(value) * factor).astype(y.dtype), (dy * factor).astype(y.dtype)

    return run


DECLARED = {
    "ascending": ("spectrum", eigenpairs(lambda a: a), {"order": "ascending"}),
    "descending": ("spectrum", eigenpairs(lambda a: a[::-1]), {"order": "descending"}),
    "sum": ("squared_error", loss(len), {"reduction": "sum"}),
}


@pytest.mark.parametrize("name", DECLARED)
def test_what_is_declared_passes_and_the_oracle_passes_its_own_check(name):
    op, function, convention = DECLARED[name]
    report = verify({op: function}, "f64", convention=convention)
    assert report.passed, report
    assert not verify({op: function}, "f64").passed


def decay_in_gradient(theta, g, m, v, t, *, weight_decay, **settings):
    return adamw(theta, g + weight_decay * theta, m, v, t, weight_decay=0.0, **settings)


def test_a_bounded_failure_is_shown_as_numbers():
    report = verify({"adamw": decay_in_gradient}, "f64")
    assert report.failures[0].suspects[0].name == "adamw.coupled_decay"
    assert '"theta =", [' in report.text
    assert report.to_json()["exitCode"] == 1


def test_the_smallest_matrix_has_the_pairs_that_are_asked():
    def reversed_rows(Q, k):
        found = ANSWERS["spectrum"]({"Q": Q, "k": np.asarray(k)})
        return found["eigenvalues"], found["eigenvectors"][::-1]

    small = verify({"spectrum": reversed_rows}, "f64").failures[0].smallest.question.vector
    assert int(small.inputs["k"]) <= len(small.inputs["Q"])
    values = np.linalg.eigvalsh(small.inputs["Q"])
    assert set(small.expected["eigenvalues"].round(9)) <= set(values.round(9))


def test_a_function_that_ends_the_program_is_wrong():
    report = verify({"forward": lambda layer, x: sys.exit(0)}, "f64")
    assert report.exit_code == 1
    assert "SystemExit: 0" in report.text


def test_a_case_without_numbers_is_not_the_one_that_is_shown():
    report = verify({"forward": lambda layer, x: np.ones((len(x), 1), x.dtype)}, "f64")
    assert all(array.size for array in report.failures[0].smallest.question.vector.inputs.values())


def test_what_answers_next_to_nothing_was_not_tested():
    def forward(layer, x):
        if layer.w_out is not None or len(x) > 1:
            raise NotImplementedError("one example, no output weights")
        return ANSWERS["forward"](
            {n: a for n, a in layer._asdict().items() if a is not None} | {"x": x}
        )["y"]

    report = verify({"forward": forward}, "f64")
    assert report.exit_code == 2
    assert report.problems[0].startswith("too much of forward is skipped: the rest would show ")
    assert not verify({"forward": forward}, "f64", min_tests=100).passed


def test_failures_of_another_kind_are_told_beside():
    def forward(layer, x):
        return (x @ layer.w_left.T * (x @ layer.w_right.T)) @ layer.w_out.T

    report = verify({"forward": forward}, "f64")
    assert "  besides: " in report.text
    assert "refused, such as tcId" in report.text
    assert report.failures[0].stages[-1].name == "biases of the factors"


def test_a_dense_tensor_is_shown_beside_a_dense_one():
    def tensor(layer):
        held = {name: one for name, one in layer._asdict().items() if one is not None}
        return 2 * unpack(ANSWERS["tensor"](held)["tensor"])

    report = verify({"tensor": tensor}, "f64")
    assert report.failures[0].suspects[0].name == "tensor.no_half"
    assert "expected tensor=[[[" in report.text
