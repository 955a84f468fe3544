"""The vectors bite: each mistake that a vector can show is shown by two, and by its flag.

For each claim apart: under f32 and under f64, by the vectors that it asks for.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from test_the_tests import coarse

from refbilinear.oracle import vectors
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.catalogue import BY_RUNNING, FLAGS, MUTANTS, WITHDRAWN
from refbilinear.oracle.interrogation import fresh, interrogate, judge_by
from refbilinear.oracle.layer_mistakes import SHARED
from refbilinear.oracle.mistakes import MISTAKES, suspects
from refbilinear.oracle.standards import questions
from refbilinear.oracle.suspects import ask_run
from refbilinear.oracle.tensor_mistakes import pair_index_32_bit
from refbilinear.oracle.verdicts import judge
from refbilinear.oracle.wrong import after, before, where_square, without
from refbilinear.spec.packed import pair_index

SUITE = vectors.load()
CLAIMS = ("f32", "f64")
ONLY_F64 = {
    "forward.float32_accumulation": "sums in float32 are what f32 claims",
    "spectrum.float32_solver": "as a solver in float32 is",
    "spectrum.shifted": "1e-9 is less than a rounding of f32",
}
CASES = [
    (claim, op, name)
    for op, mistakes in MISTAKES.items()
    for name in mistakes
    for claim in CLAIMS
    if name not in BY_RUNNING
]


@cache
def asked(claim, op):
    """The vectors of an operation that a claim asks for."""
    return questions(SUITE, claim, [op])


def careful(run, dtype):
    """Run, and hold a mistake to leaving its inputs alone and keeping their dtype."""

    def answer(held):
        before = {name: array.copy() for name, array in held.items()}
        out = run(held)
        assert all(np.array_equal(held[name], before[name], equal_nan=True) for name in before)
        assert {one.dtype for one in out.values()} <= {np.dtype(dtype)}
        return out

    return answer


def fails(claim, question, run):
    """Whether what an implementation returns is wrong, or was to be refused.

    Called once: how a mistake behaves besides is not what a vector shows.
    """
    held = fresh(question.vector.inputs)
    if question.vector.result == "invalid":
        try:
            run(held)
        except (TypeError, ValueError):
            return False
        return True
    with np.errstate(all="ignore"):
        return judge(question, run(held), claim, {}).status == "failed"


def killers(claim, op, wrong):
    """The vectors that a mistake fails; where it cannot be made, it is not asked."""
    run = careful(wrong(ANSWERS[op]), {"f32": np.float32, "f64": np.float64}[claim])
    found = []
    for question in asked(claim, op):
        try:
            if fails(claim, question, run):
                found.append(question.vector)
        except NotImplementedError:
            continue
    return found


def flags_of(found):
    return {flag for vector in found for flag in vector.flags}


@pytest.mark.parametrize("op", ANSWERS)
@pytest.mark.parametrize("claim", CLAIMS)
def test_the_right_answers_are_right(claim, op):
    assert asked(claim, op)
    assert killers(claim, op, lambda run: run) == []
    for question in asked(claim, op):
        outcome = interrogate(question, ask_run(ANSWERS[op]), judge_by(claim, {}))
        free = question.vector.result == "acceptable"
        assert outcome.verdict.status in ("passed", "acceptable")[: 1 + free], outcome.verdict


@pytest.mark.parametrize(("claim", "op", "name"), CASES, ids=[f"{c}-{n}" for c, _, n in CASES])
def test_a_mistake_is_shown_by_two_vectors_and_by_its_flag(claim, op, name):
    found = killers(claim, op, MISTAKES[op][name])
    if claim == "f32" and name in ONLY_F64:
        assert found == []
        return
    assert len(found) >= 2
    assert flags_of(found) & {flag for flag, note in FLAGS.items() if name in note.kills}


def test_a_skipped_zero_is_shown():
    """Where a product with a zero is left out, NaN and Inf are too."""

    def times(x, w):
        return np.array(
            [[sum(a * b for a, b in zip(u, v, strict=True) if a and b) for v in w] for u in x]
        )

    def sparse(held):
        left, right = times(held["x"], held["w_left"]), times(held["x"], held["w_right"])
        return {"y": times(left * right, held["w_out"])}

    zeros = [one for one in asked("f32", "forward") if "ZeroTimesNotANumber" in one.vector.flags]
    assert len(zeros) == sum(fails("f32", one, sparse) for one in zeros) >= 2


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("op", ["forward", "tensor", "backward", "matrix"])
def test_coarse_inputs_are_shown_by_bounds(claim, op):
    wrong = before(lambda held: {name: coarse(one) for name, one in held.items()})
    assert "RealNumbers" in flags_of(killers(claim, op, wrong))


def test_the_catalogue_is_whole():
    assert sorted(mutant.number for mutant in MUTANTS.values()) == list(range(1, 112))
    assert [set(MISTAKES), {n for m in MISTAKES.values() for n in m}] == [
        set(ANSWERS),
        set(MUTANTS),
    ]
    killed = {name for note in FLAGS.values() for name in note.kills}
    assert killed == set(MUTANTS) - set(BY_RUNNING)
    assert set(SUITE.notes) == set(FLAGS)
    assert SUITE.withdrawn == WITHDRAWN


# ---- what only a run can show


X = np.array([[1.0, 2, 3], [4, 5, 6]])
HELD = {"w_left": np.array([[1.0, 2, 3], [0, 1, 5]]), "w_right": np.array([[2.0, 1, 1], [3, 0, 1]])}


def odd(name, x):
    """Whether a mistake of the forward pass shows on an x, wherever its numbers stand."""
    held = HELD | {"x": x}
    return (
        MISTAKES["forward"][name](ANSWERS["forward"])(held)["y"] != ANSWERS["forward"](held)["y"]
    ).any()


def misaligned(x):
    memory = np.zeros(x.nbytes + 1, np.uint8)
    memory[1:] = np.frombuffer(x.tobytes(), np.uint8)
    return memory[1:].view(x.dtype).reshape(x.shape)


@pytest.mark.parametrize("name", BY_RUNNING)
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_mistake_of_the_run_is_shown_by_no_vector(name, claim):
    op = "form" if name == "packed.index_32_bit" else "forward"
    run = MISTAKES[op][name](ANSWERS[op])
    assert not any(fails(claim, question, run) for question in asked(claim, op))


def test_an_overwritten_input_is_seen():
    held = HELD | {"x": X.copy()}
    y = MISTAKES["forward"]["forward.input_overwritten"](ANSWERS["forward"])(held)["y"]
    assert (y == ANSWERS["forward"](HELD | {"x": X})["y"]).all()
    assert (held["x"] != X).any()


def test_layouts_are_read_wrongly():
    wide = np.zeros((4, 6))
    wide[::2, ::2] = X
    for x in (
        np.asfortranarray(X),
        wide[::2, ::2],
        X[::-1].copy()[::-1],
        X[:, ::-1].copy()[:, ::-1],
    ):
        assert (x == X).all()
        assert odd("run.layout", x)
        assert not odd("run.alignment", x)
    assert not odd("run.layout", np.broadcast_to(X[:1], X.shape))


def test_alignments_and_byte_orders_are_read_wrongly():
    for x in (X.astype(X.dtype.newbyteorder()), misaligned(X)):
        assert (x == X).all()
        with np.errstate(all="ignore"):
            assert odd("run.alignment", x)
        assert not odd("run.layout", x)
    assert not odd("run.alignment", X)


def test_two_threads_spoil_each_other():
    run, held = MISTAKES["forward"]["run.race"](ANSWERS["forward"]), HELD | {"x": X}
    want = ANSWERS["forward"](held)["y"]

    def spoilt(_):
        return any((run(held)["y"] != want).any() for _ in range(500))

    assert not spoilt(0)
    with ThreadPoolExecutor(2) as pool:
        assert any(pool.map(spoilt, range(2)))


def test_an_index_in_32_bits_is_right_up_to_46340():
    for i in (0, 1, 46340, 46341, 50000):
        found = pair_index_32_bit(np.array([i]), np.array([0]))[0]
        assert (found == pair_index(i, 0)) == (i <= 46340)


# ---- composing


def test_mistakes_compose():
    both = SHARED["forward.left_twice"](
        MISTAKES["forward"]["forward.outputs_reversed"](ANSWERS["forward"])
    )
    held = HELD | {"w_right": HELD["w_left"], "x": X}
    assert (both(HELD | {"x": X})["y"] == ANSWERS["forward"](held)["y"][:, ::-1]).all()


def test_a_fresh_mistake_remembers_nothing():
    held = HELD | {"x": X, "dy": X[:, :2]}
    for name in ("backward.accumulated", "backward.stale"):
        wrong, right = MISTAKES["backward"][name], ANSWERS["backward"](held)
        for run in (wrong(ANSWERS["backward"]), wrong(ANSWERS["backward"])):
            assert (run(held)["x"] == right["x"]).all()
            assert (
                run(held | {"dy": -X[:, :2], "x": 2 * X})["x"]
                != ANSWERS["backward"](held | {"dy": -X[:, :2], "x": 2 * X})["x"]
            ).any()


def test_what_cannot_be_made_says_so():
    wrong = where_square("w_left", without("b_out"))
    with pytest.raises(NotImplementedError, match="w_left is not square"):
        wrong(ANSWERS["forward"])(HELD | {"x": X})


def test_suspects_of_a_layer_are_shared():
    for op in MISTAKES:
        own = MISTAKES[op]
        assert list(suspects(op))[: len(own)] == list(own)
    of_a_matrix = {**MISTAKES["matrix"], **MISTAKES["tensor"], **SHARED}
    assert set(suspects("matrix")) <= set(of_a_matrix)
    words = [{MUTANTS[name].words for name in some} for some in (suspects("matrix"), of_a_matrix)]
    assert words[0] == words[1]
    assert "forward.left_twice" not in suspects("tensor")
    assert suspects("adamw") == MISTAKES["adamw"]


@pytest.mark.parametrize("op", ["tensor", "matrix", "backward", "fold"])
@pytest.mark.parametrize("name", SHARED)
def test_mistakes_in_parameters_show_wherever_a_layer_is(op, name):
    found = killers("f32", op, SHARED[name])
    no_effect = (op, name) == ("backward", "forward.output_bias_dropped")
    assert found == [] if no_effect else len(found) >= 2


def test_the_dtype_of_an_output_stays():
    wrong = after(lambda held, out: {"y": out["y"] * np.float64(1.5)})
    assert (
        wrong(lambda held: {"y": held["x"]})({"x": np.ones(2, np.float32)})["y"].dtype == np.float32
    )
