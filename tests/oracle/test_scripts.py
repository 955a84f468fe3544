"""Scripts run, and put to a function what the vector holds."""

import sys
from functools import partial
from types import ModuleType

import numpy as np
import pytest

from refbilinear.oracle import vectors
from refbilinear.oracle.calls import arguments
from refbilinear.oracle.scripts import in_line, numbers, python, script
from refbilinear.oracle.standards import questions
from refbilinear.oracle.vectors import OPERATIONS

SUITE = vectors.load()


def put(question, monkeypatch):
    """Run the script of a question; return what the function got."""
    got, mine = [], ModuleType("mine")
    setattr(mine, question.op, lambda *args, **settings: got.append((args, settings)))
    monkeypatch.setitem(sys.modules, "mine", mine)
    exec("\n".join(script(question)), {})
    return got[0]


def same(got, want):
    if isinstance(want, tuple):
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            same(one, other)
    elif isinstance(want, np.ndarray):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert got.tobytes() == want.tobytes() or np.isnan(want).any()
        assert np.array_equal(got, want, equal_nan=want.dtype.kind == "f")
    else:
        assert got == want


@pytest.mark.parametrize("claim", ["f32", "f64"])
@pytest.mark.parametrize("op", OPERATIONS)
def test_a_script_puts_the_same_numbers(op, claim, monkeypatch, capsys):
    """Signed zeros, infinities, empty and whole arrays of each dtype are among them."""
    for question in questions(SUITE, claim, [op])[::4]:
        want = arguments(op, question.vector.inputs)
        args, settings = put(question, monkeypatch)
        same(args, want[0])
        assert settings == want[1]
    assert "expected:" in capsys.readouterr().out or claim == "f32"


def test_numbers_are_written_as_they_are():
    for value in (-0.0, 0.1, -np.inf, np.inf, 2.0**53, 5e-324, float(np.float32(0.1)), -3.0):
        written = numbers(np.array(value))
        assert np.array(eval(written, {"np": np}), float).tobytes() == np.array(value).tobytes()
    assert numbers(np.array([2**40, -1])) == "[1099511627776, -1]"
    assert numbers(np.zeros((2, 0))) == "[[], []]"
    assert python(np.zeros((2, 0), np.float32)) == "np.zeros((2, 0), 'f4')"
    assert python(3) == "3"


def test_what_must_be_refused_has_no_numbers():
    invalid = next(
        one for one in questions(SUITE, "f64", OPERATIONS) if one.vector.result == "invalid"
    )
    assert script(invalid)[-1] == "print(\"expected:\", 'a refusal')"


class Callable:
    def __call__(self, layer, x):
        return x


def outer(layer, x):
    return x


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (None, "from mine import forward  # yours"),
        (lambda layer, x: x, "from mine import forward  # yours"),
        (Callable(), "from mine import forward  # yours"),
        (Callable().__call__, "from mine import forward  # yours"),
        (partial(outer), "from mine import forward  # yours"),
        (np.linalg.eigh, "from numpy.linalg import eigh"),
        (outer, f"from {__name__} import outer"),
    ],
)
def test_how_a_function_is_imported(function, line):
    question = questions(SUITE, "f64", ["forward"])[0]
    lines = script(question, function)
    assert lines[1] == line
    assert lines[4] == f"print({line.split()[3]}(*args))"


@pytest.mark.parametrize("module", ["__main__", None])
def test_a_function_of_no_module_is_yours(module):
    def forward(layer, x):
        return x

    forward.__qualname__, forward.__module__ = "forward", module
    question = questions(SUITE, "f64", ["forward"])[0]
    assert script(question, forward)[1] == "from mine import forward  # yours"


def test_long_arrays_are_their_shape_in_line():
    arrays = {"a": np.arange(10.0), "b": np.arange(100.0), "c": np.array(0.5)}
    assert in_line(arrays) == "a=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] b=(100,) c=0.5"
    assert in_line({}) == ""
