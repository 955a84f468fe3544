"""Other layouts and two threads: what goes wrong only there is found, and nothing else."""

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from refbilinear.oracle import probes, vectors
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.calls import Answer, call
from refbilinear.oracle.interrogation import judge_by
from refbilinear.oracle.mistakes import MISTAKES
from refbilinear.oracle.probes import (
    ENLARGED,
    LAYOUTS,
    at_large_sizes,
    enlarged,
    in_layouts,
    in_threads,
    relaid,
)
from refbilinear.oracle.standards import questions
from refbilinear.oracle.suspects import ask_run

SUITE = vectors.load()
ASKED = [one for one in questions(SUITE, "f64", ["forward"]) if one.vector.result == "valid"]
JUDGE = judge_by("f64", {})


def forward(layer, x):
    y = (x @ layer.w_left.T + (0 if layer.b_left is None else layer.b_left)) * (
        x @ layer.w_right.T + (0 if layer.b_right is None else layer.b_right)
    )
    y = y if layer.w_out is None else y @ layer.w_out.T
    y = y if layer.b_out is None else y + layer.b_out
    return y if layer.w_skip is None else y + x @ layer.w_skip.T


def asking(function):
    return lambda question, inputs: call("forward", function, inputs, "f64")


def raising(error):
    def answer(layer, x):
        raise error

    return answer


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_a_layout_changes_no_number(layout, dtype):
    for shape in [(), (3,), (2, 3), (0, 2), (4, 3, 2)]:
        array = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
        other = relaid(array, layout)
        assert other.shape == shape
        assert (other == array).all()
        assert not np.shares_memory(other, array) or layout == "Fortran order" or not shape


def test_each_layout_is_what_it_says():
    array = np.arange(6.0).reshape(2, 3)
    found = {layout: relaid(array, layout) for layout in LAYOUTS}
    assert found["Fortran order"].flags.f_contiguous
    assert found["strided"].strides == (48, 16)
    assert found["reversed"].strides == (-24, -8)
    assert not found["read-only"].flags.writeable
    assert not found["misaligned"].flags.aligned
    assert not found["byte-swapped"].dtype.isnative


def test_the_specification_has_no_findings():
    assert in_layouts(ASKED, ask_run(ANSWERS["forward"]), JUDGE) == ([], {})
    assert in_layouts(ASKED, asking(forward), JUDGE) == ([], {})
    assert in_threads(ASKED, asking(forward), JUDGE) == []
    assert in_layouts([], asking(forward), JUDGE) == ([], {})
    assert in_threads(ASKED[:1], asking(forward), JUDGE) == []


@pytest.mark.parametrize(
    ("name", "layouts"),
    [
        ("run.layout", {"Fortran order", "strided", "reversed"}),
        ("run.alignment", {"misaligned", "byte-swapped"}),
    ],
)
def test_mistakes_of_layout_are_found(name, layouts):
    wrong = MISTAKES["forward"][name](ANSWERS["forward"])
    findings, refused = in_layouts(ASKED, ask_run(wrong), JUDGE)
    assert {one.words.split(" inputs: ")[0] for one in findings} == layouts
    assert {one.kind for one in findings} == {name.removeprefix("run.")}
    assert not refused


def test_a_race_is_found():
    found = in_threads(ASKED, ask_run(MISTAKES["forward"]["run.race"](ANSWERS["forward"])), JUDGE)
    assert [one.kind for one in found] == ["threads"]
    assert "called by two threads: " in found[0].words


def test_a_refused_layout_is_a_remark():
    def picky(layer, x):
        if not x.flags.c_contiguous:
            raise ValueError("x must be contiguous")
        if not x.flags.aligned:
            raise NotImplementedError("not aligned")
        return forward(layer, x)

    findings, refused = in_layouts(ASKED, asking(picky), JUDGE)
    assert not findings
    assert refused == {
        **dict.fromkeys(
            ("Fortran order", "strided", "reversed"), "ValueError: x must be contiguous"
        ),
        "misaligned": "not aligned",
    }


def test_an_input_that_is_written_to_in_one_layout_alone_is_found():
    def writing(layer, x):
        y = forward(layer, x)
        if x.flags.f_contiguous and not x.flags.c_contiguous:
            x += 1
        return y

    findings, _ = in_layouts(ASKED, asking(writing), JUDGE)
    assert {one.words for one in findings} == {"Fortran order inputs: the input x was written to"}


def test_what_is_unreadable_in_one_layout_is_found():
    def odd(layer, x):
        return forward(layer, x) if x.flags.writeable else [x]

    findings, _ = in_layouts(ASKED, asking(odd), JUDGE)
    assert "read-only inputs: y must have __dlpack__" in findings[0].words


@pytest.mark.parametrize("error", [ValueError("not the main thread"), NotImplementedError("skip")])
def test_what_is_raised_in_threads_alone_is_found(error):
    def shy(layer, x):
        if threading.current_thread() is not threading.main_thread():
            raise error
        return forward(layer, x)

    (found,) = in_threads(ASKED, asking(shy), JUDGE)
    assert str(error) in found.words


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_has_not_passed():
    class Death(BaseException):
        pass

    (found,) = in_threads(ASKED, asking(raising(Death())), JUDGE)
    assert "it never came back" in found.words


def test_words_of_a_shape_are_passed_on():
    def flat(layer, x):
        return forward(layer, x).ravel()

    (found,) = in_threads(ASKED, asking(flat), JUDGE)
    assert "y must have shape" in found.words


def test_the_two_vectors_of_the_threads_are_large_and_alike():
    first, second = probes._alike(ASKED)
    assert first.vector.tc_id != second.vector.tc_id
    shapes = [[a.shape for a in one.vector.inputs.values()] for one in (first, second)]
    assert shapes[0] == shapes[1]
    assert any((first.vector.inputs[n] != a).any() for n, a in second.vector.inputs.items())


def test_the_switch_interval_is_restored(monkeypatch):
    usual = sys.getswitchinterval()
    in_threads(ASKED, lambda question, inputs: Answer(refused="no"), JUDGE)
    assert sys.getswitchinterval() == usual

    def no_threads(**settings):
        assert sys.getswitchinterval() < usual / 10
        raise RuntimeError("can't start new thread")

    broken = SimpleNamespace(Barrier=threading.Barrier, Thread=no_threads)
    monkeypatch.setattr(probes, "threading", broken)
    with pytest.raises(RuntimeError, match="can't start"):
        in_threads(ASKED, asking(forward), JUDGE)
    assert sys.getswitchinterval() == usual


@pytest.mark.parametrize("claim", ["f64", "f32", "bf16-f32acc"])
@pytest.mark.parametrize("op", ENLARGED)
def test_large_sizes_are_exact_and_the_specification_is_right_there(op, claim):
    kinds = {tuple(one.vector.inputs): one for one in questions(SUITE, claim, [op])}
    fewest, most = min(kinds, key=len), max(kinds, key=len)
    for question in (kinds[fewest], kinds[most])[claim == "bf16-f32acc" :]:
        sizes = {n: abs(a.astype(float)) for n, a in enlarged(question).vector.inputs.items()}
        assert all((16 * twin < 2**24).all() for twin in ANSWERS[op](sizes).values())
        assert at_large_sizes([question], ask_run(ANSWERS[op]), judge_by(claim, {})) == []


def test_what_is_wrong_beyond_a_block_is_found():
    def blocked(layer, x):
        kept = layer.w_left[:128], layer.w_right[:128], layer.w_out[:, :128]
        return (x @ kept[0].T * (x @ kept[1].T)) @ kept[2].T

    names = {"w_left", "w_right", "w_out", "x"}
    plain = next(one for one in ASKED if set(one.vector.inputs) == names)
    (found,) = at_large_sizes([plain], asking(blocked), JUDGE)
    assert found.kind == "sizes"
    assert found.words.startswith("at w_left (131, 67)")
    assert at_large_sizes([], asking(blocked), JUDGE) == []


def test_what_is_skipped_or_no_sum_is_not_asked_in_large_sizes():
    def skipping(layer, x):
        raise NotImplementedError

    assert at_large_sizes(ASKED, asking(skipping), JUDGE) == []
    loss = questions(SUITE, "f64", ["squared_error"])
    assert at_large_sizes(loss, ask_run(ANSWERS["squared_error"]), JUDGE) == []
