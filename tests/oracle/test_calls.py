"""Somebody's function: what is read of it, what it may not do, and what one vector makes of it."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

from refbilinear.oracle import vectors
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.calls import Answer, Layer, Model, arguments, as_numpy, call, named
from refbilinear.oracle.interrogation import fresh, interrogate, judge_by
from refbilinear.oracle.standards import questions
from refbilinear.oracle.vectors import OPERATIONS

SUITE = vectors.load()
Y, T = np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])
RIGHT = {"value": np.array(13.0), "dy": np.array([[-4.0, -6.0]])}


def called(function, dtype=np.float64, claim="f64", op="squared_error"):
    return call(op, function, {"y": Y.astype(dtype), "t": T.astype(dtype)}, claim)


def returning(*outputs):
    return lambda y, t: outputs if len(outputs) > 1 else outputs[0]


# ---- what a function gets


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_input_reaches_the_function(op):
    for question in questions(SUITE, "f64", [op])[:40]:
        args, settings = arguments(op, question.vector.inputs)
        parts = list(settings.values())
        for one in args:
            for part in one if isinstance(one, Model) else [one]:
                parts += part if isinstance(part, Layer) else [part]
        got = [part for part in parts if part is not None and part is not False]
        assert numbers(got) == numbers(question.vector.inputs.values())


def numbers(arrays):
    return sorted(np.asarray(array, np.float64).tobytes() for array in arrays)


def test_names_of_what_a_function_gets():
    layer = {"w_left": Y, "w_right": T, "b_out": T[0]}
    ((made, u), _) = arguments("matrix", layer | {"u": Y[0]})
    assert made.b_out is layer["b_out"]
    assert (made.w_out, made.b_left) == (None, None)
    assert (u == Y[0]).all()
    ((model,), _) = arguments("fold", layer | {"gain": Y[0], "residual": np.array(1)})
    assert model.residual is True
    assert model.layer.w_left is Y
    ((model,), _) = arguments("fold", layer)
    assert model.residual is False
    assert Model(Layer(Y, T)).residual is False
    settings = {name: np.array(0.5) for name in vectors.SETTINGS}
    state = dict.fromkeys(("theta", "g", "m", "v"), Y)
    args, given = arguments("adamw", state | {"t": np.array(3)} | settings)
    assert args[4] == 3
    assert type(args[4]) is int
    assert given == dict.fromkeys(vectors.SETTINGS, 0.5)


# ---- what is read


Pair = namedtuple("Pair", ["dy", "value"])


@dataclass
class Loss:
    dy: object
    value: object
    note: object = None


@pytest.mark.parametrize(
    "returned",
    [
        (13.0, RIGHT["dy"]),
        [np.float64(13.0), RIGHT["dy"]],
        Pair(RIGHT["dy"], 13),
        Loss(RIGHT["dy"], 13.0),
        OrderedDict(dy=RIGHT["dy"], value=13, more=None),
    ],
    ids=["tuple", "list", "NamedTuple", "dataclass", "mapping"],
)
def test_several_outputs(returned):
    answer = called(lambda y, t: returned)
    assert not answer.faults
    assert set(answer.outputs) == set(RIGHT)
    for name, array in RIGHT.items():
        assert answer.outputs[name].dtype == np.float64
        assert (answer.outputs[name] == array).all()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_outputs_is_named(count):
    answer = called(lambda y, t: (Y,) * count)
    assert answer.faults == (("unreadable", f"must return value, dy; got {count} outputs"),)


def test_one_output_alone_is_the_first():
    assert set(named("cross_entropy", 1.5)) == {"value"}
    assert set(named("forward", Y)) == {"y"}
    assert set(named("fold", (Y, T))) == {"w_left", "w_right"}
    assert named("forward", None) == {}


class Exporter:
    """Has one of the two protocols, and nothing else."""

    def __init__(self, array, protocol, error=None):
        def give(*args, **settings):
            if error:
                raise error
            return getattr(array, protocol)(*args, **settings)

        self.give = give
        self.array = array


class ByDLPack(Exporter):
    def __dlpack__(self, **settings):
        return self.give(**settings)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class ByArray(Exporter):
    def __array__(self, *args, **settings):
        return self.give(*args, **settings)


class ByBoth(ByDLPack):
    def __array__(self, *args, **settings):
        return self.array


def test_both_protocols_are_read():
    for one in (ByDLPack(Y, "__dlpack__"), ByArray(Y, "__array__")):
        assert (as_numpy("y", one, "f64") == Y).all()
        assert np.shares_memory(as_numpy("y", one, "f64"), Y)
    refusing = ByBoth(Y, "__dlpack__", BufferError("not on this device"))
    assert (as_numpy("y", refusing, "f64") == Y).all()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1.0], "value must have __dlpack__ or __array__, or be a number; got list"),
        ("13", "got str"),
        (Y.view(np.matrix), "value must be a plain array; got matrix"),
        (np.ma.masked_array([1.0], [True]), "got MaskedArray"),
        (10**400, "too large"),
        (ByArray(Y, "__array__", KeyError("gone")), "gone"),
        (
            ByDLPack(Y, "__dlpack__", BufferError("not here")),
            "value must be of real numbers; got object",
        ),
        (np.array([None]), "value must be of real numbers; got object"),
        (Y + 1j, "value must be of real numbers; got complex128"),
        (np.array(["13"]), "value must be of real numbers; got <U2"),
    ],
)
def test_what_cannot_be_read_is_named(value, words):
    answer = called(lambda y, t: {"value": value, "dy": RIGHT["dy"]})
    ((kind, said),) = answer.faults
    assert (answer.outputs, kind) == (None, "unreadable")
    assert words in said


@pytest.mark.parametrize(
    ("value", "claim", "dtype"),
    [
        (0.5, "f32", "f4"), (2**24, "f32", "f4"), (True, "f32", "f4"), (float("nan"), "f32", "f4"),
        (float("-inf"), "f32", "f4"), (0.1, "f32", "f8"), (2**24 + 1, "f32", "f8"),
        (1e300, "f32", "f8"), (1e-46, "f32", "f8"), (0.1, "tf32", "f8"), (0.1, "f64", "f8"),
        (float(np.float32(0.1)), "f32", "f4"),
    ],
)  # fmt: skip
def test_a_number_of_python_gets_the_dtype_of_the_claim_where_it_fits(value, claim, dtype):
    array = as_numpy("value", value, claim)
    assert array.dtype == dtype
    assert array.item() == value or np.isnan(value)


def test_byte_order_is_not_a_dtype():
    answer = called(lambda y, t: (13.0, RIGHT["dy"].astype(">f8")))
    assert answer.outputs["dy"].dtype.isnative
    assert (answer.outputs["dy"] == RIGHT["dy"]).all()


@pytest.mark.parametrize(
    ("claim", "dtype"),
    [("f32", "f2"), ("tf32", "f2"), ("f16-f32acc", "f4"), ("bf16-f32acc-ftz", "f4")],
)
def test_16_bits_are_widened_where_the_claim_stores_such(claim, dtype):
    answer = called(lambda y, t: (13.0, RIGHT["dy"].astype(np.float16)), np.float32, claim)
    assert answer.outputs["dy"].dtype == dtype
    assert (answer.outputs["dy"] == RIGHT["dy"]).all()


def test_torch():
    torch = pytest.importorskip("torch")
    dy = torch.from_numpy(RIGHT["dy"].copy())
    answer = called(returning(torch.tensor(13.0, dtype=torch.float64), dy))
    assert (answer.outputs["dy"] == RIGHT["dy"]).all()
    assert called(returning(13.0, dy.clone().requires_grad_())).faults[0][0] == "unreadable"
    assert "BFloat16" in called(returning(13.0, dy.bfloat16())).faults[0][1]
    assert called(lambda y, t: (13.0, torch.from_numpy(t))).faults == (
        ("aliased", "dy shares memory with the input t"),
    )
    assert called(lambda y, t: (13.0, torch.from_numpy(t).T[:1])).faults[0][0] == "aliased"


# ---- what it does


def test_what_is_raised_is_a_refusal_and_not_implemented_a_skip():
    def raising(error):
        def function(y, t):
            raise error

        return function

    assert called(raising(ZeroDivisionError("one\ntwo"))) == Answer(
        refused="ZeroDivisionError: one"
    )
    assert called(raising(ValueError())) == Answer(refused="ValueError: ")
    assert called(raising(NotImplementedError("no GPU"))) == Answer(skipped="no GPU")
    assert called(raising(NotImplementedError())) == Answer(skipped="not implemented")
    with pytest.raises(KeyboardInterrupt):
        called(raising(KeyboardInterrupt()))
    assert called(lambda y: y).refused.startswith("TypeError")
    assert "divide" not in str(called(lambda y, t: (13.0, y / 0)).refused)


def test_inputs_are_neither_written_to_nor_passed_on():
    def writing(y, t):
        t[0, 1] = -t[0, 1]
        return 13.0, RIGHT["dy"]

    assert called(writing).faults == (("mutated", "the input t was written to"),)
    assert called(lambda y, t: (y[0, 1:], y - t)).faults == (
        ("aliased", "value shares memory with the input y"),
    )
    assert not called(lambda y, t: (y[0, 1:].copy(), (y - t)[::-1])).faults
    layer = {"w_left": Y, "w_right": T}
    folded = call("fold", lambda model: model.layer, layer, "f64")
    assert not folded.faults
    assert set(folded.outputs) == {"w_left", "w_right"}
    assert not np.shares_memory(folded.outputs["w_left"], Y)


# ---- one vector


ONE = questions(SUITE, "f64", ["squared_error"])[0]
INVALID = next(q for q in questions(SUITE, "f64", OPERATIONS) if q.vector.result == "invalid")
JUDGE = judge_by("f64", {})


def verdict(answer, question=ONE, repeat=True):
    """Of an implementation that answers with one of these after the other."""
    answers = iter(answer if isinstance(answer, list) else [answer] * 2)
    return interrogate(question, lambda question, inputs: next(answers), JUDGE, repeat).verdict


def right():
    return ANSWERS["squared_error"](fresh(ONE.vector.inputs))


def test_behaviour_comes_before_numbers():
    assert verdict(Answer(right())).status == "passed"
    assert verdict(Answer(skipped="why"))[:3] == ("skipped", "", "why")
    assert verdict(Answer(refused="why"))[:3] == ("failed", "refused", "why")
    assert verdict(Answer(right(), faults=(("aliased", "why"),)))[:3] == (
        "failed",
        "aliased",
        "why",
    )
    assert verdict(Answer(faults=(("unreadable", "why"),))).kind == "unreadable"


def test_what_must_be_refused():
    assert verdict(Answer(refused="why"), INVALID).status == "passed"
    assert verdict(Answer(right()), INVALID).kind == "answered"
    assert verdict(Answer(faults=(("unreadable", "why"),)), INVALID).kind == "answered"
    assert verdict(Answer(skipped="why"), INVALID).status == "skipped"


def test_inputs_that_an_implementation_wrote_to_are_seen():
    def ask(question, inputs):
        found = ANSWERS["squared_error"](inputs)
        inputs["t"] *= 2
        return Answer(found)

    before = ONE.vector.inputs["t"].copy()
    found = interrogate(ONE, ask, JUDGE)
    assert (found.verdict.kind, found.failed) == ("mutated", True)
    assert (ONE.vector.inputs["t"] == before).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda one: Answer(one | {"value": one["value"] + 1}),
        lambda one: Answer(one | {"dy": one["dy"].astype(np.float32)}),
        lambda one: Answer(one | {"dy": one["dy"].T}),
        lambda one: Answer({"value": one["value"]}),
        lambda one: Answer(refused="only once"),
    ],
    ids=["value", "dtype", "shape", "name", "refused"],
)
def test_a_second_call_gives_the_same(change):
    found = verdict([Answer(right()), change(right())])
    assert found.kind == "unrepeatable"
    assert verdict([Answer(right()), change(right())], repeat=False).status == "passed"


def test_the_same_bytes_in_another_shape_are_not_the_same():
    zero = np.zeros((2, 3))
    still = lambda question, outputs: JUDGE(ONE, right())  # noqa: E731
    answers = iter([Answer({"y": zero}), Answer({"y": zero.T})])
    found = interrogate(ONE, lambda question, inputs: next(answers), still)
    assert found.verdict.kind == "unrepeatable"


def test_what_is_wrong_is_not_asked_again():
    assert verdict([Answer({"value": np.array(1.0)})]).kind == "names"
