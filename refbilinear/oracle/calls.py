"""Calling somebody's function: what it gets, what is read of what it returns, and how it behaves.

A function gets fresh NumPy arrays. What it returns is read through `__dlpack__` or `__array__` and
never cast: a dtype that is not that of the inputs is a finding, and so is a result that shares
memory with an input, an input that was written to, or a second call that returns something else.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from math import isnan
from typing import Any, NamedTuple

import numpy as np

from refbilinear.oracle.agreement import settings_of
from refbilinear.oracle.answers import Inputs, Outputs
from refbilinear.oracle.claims import CLAIMS
from refbilinear.oracle.standards import dtype_of
from refbilinear.oracle.strict import DTYPES
from refbilinear.oracle.vectors import LAYER, OPERATIONS
from refbilinear.oracle.verdicts import RETURNED
from refbilinear.spec.arrays import Array, plain

Function = Callable[..., Any]


class Layer(NamedTuple):
    """The parameters of a layer, as a function gets them; None for one that is absent."""

    w_left: Array
    w_right: Array
    w_out: Array | None = None
    b_left: Array | None = None
    b_right: Array | None = None
    b_out: Array | None = None
    w_skip: Array | None = None


class Model(NamedTuple):
    """`y = w_head(layer(h) + h)`, `h = w_embed x + b_embed`, for `fold`; see docs/vectors.md."""

    layer: Layer
    w_embed: Array | None = None
    b_embed: Array | None = None
    gain: Array | None = None
    left_scale: Array | None = None
    w_head: Array | None = None
    residual: bool = False


class Answer(NamedTuple):
    """What a call gave: outputs, or words of a refusal, or of a skip; and what it did besides."""

    outputs: Outputs | None = None
    refused: str | None = None
    skipped: str | None = None
    faults: tuple[tuple[str, str], ...] = ()
    """Kind and words: mutated, aliased, unreadable."""


# ---- what a function gets


def arguments(op: str, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments of an operation.

    Examples
    --------
    >>> arguments("spectrum", {"Q": np.array([[2.0]]), "k": np.array(1)})
    ((array([[2.]]), 1), {})
    """
    if op == "adamw":
        state = (inputs[name] for name in ("theta", "g", "m", "v"))
        return (*state, int(inputs["t"])), dict(settings_of(inputs))
    rest: dict[str, Any] = {n: inputs[n] for n in OPERATIONS[op].inputs if n in inputs}
    parameters = {name: rest.pop(name) for name in LAYER if name in inputs}
    if op == "fold":
        rest["residual"] = "residual" in rest
        return (Model(Layer(**parameters), **rest),), {}
    if "k" in rest:
        rest["k"] = int(rest["k"])
    layer = (Layer(**parameters),) if parameters else ()
    return (*layer, *rest.values()), {}


# ---- one call


def call(op: str, function: Function, inputs: Inputs, claim: str) -> Answer:
    """Return what a function gives for a vector's inputs, which it may not write to or pass on.

    (A folded layer may pass on parameters that folding left alone.)

    Parameters
    ----------
    op : str
        The operation.
    function : callable
    inputs : dict of str to array
        What the function gets, without a copy.
    claim : str
        One of `CLAIMS`. A number of Python's own gets the dtype of the claim, where it fits; 16-bit
        results are widened to float32, where the claim stores such.

    Examples
    --------
    >>> inputs = {"y": np.array([[1.0]]), "t": np.array([[3.0]])}
    >>> call("squared_error", lambda y, t: (4.0, 2 * (y - t)), inputs, "f64").outputs
    {'value': array(4.), 'dy': array([[-4.]])}
    """
    before = {name: array.copy() for name, array in inputs.items()}
    args, settings = arguments(op, inputs)
    try:
        with np.errstate(all="ignore"):
            returned = function(*args, **settings)
    except NotImplementedError as error:
        return Answer(skipped=str(error) or "not implemented")
    except (Exception, SystemExit) as error:  # whatever somebody's code raises is its refusal
        return Answer(refused=f"{type(error).__name__}: {first_line(error)}")
    try:
        views = {n: _real(n, as_numpy(n, one, claim)) for n, one in named(op, returned).items()}
    except Exception as error:  # and whatever somebody's arrays raise
        return Answer(faults=(("unreadable", first_line(error)),))
    faults = (*mutated(inputs, before), *(_aliased(views, inputs) if op != "fold" else ()))
    return Answer({name: _own(view, claim) for name, view in views.items()}, faults=faults)


def mutated(inputs: Inputs, before: Inputs) -> Iterator[tuple[str, str]]:
    """Yield the inputs that were written to, as faults.

    Examples
    --------
    >>> next(mutated({"x": np.array(2.0)}, {"x": np.array(1.0)}))
    ('mutated', 'the input x was written to')
    """
    for name, array in inputs.items():
        if array.tobytes() != before[name].tobytes():
            yield "mutated", f"the input {name} was written to"


def _aliased(views: Outputs, inputs: Inputs) -> Iterator[tuple[str, str]]:
    for output, view in views.items():
        for name, array in inputs.items():
            if np.shares_memory(view, array):
                yield "aliased", f"{output} shares memory with the input {name}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's words, for a report."""
    return next(iter(str(error).splitlines()), "")[:200]


def named(op: str, returned: Any) -> dict[str, Any]:
    """Return what a function returned as outputs by name; None is an output that is absent.

    A mapping, a NamedTuple, a dataclass, a tuple in the order of the outputs, or the one output.

    Examples
    --------
    >>> named("cross_entropy", (1.5, "an array"))
    {'value': 1.5, 'dy': 'an array'}
    """
    names = RETURNED.get(op, tuple(OPERATIONS[op].outputs))
    if hasattr(returned, "_asdict"):
        returned = returned._asdict()
    elif is_dataclass(returned):
        returned = {field.name: getattr(returned, field.name) for field in fields(returned)}
    elif isinstance(returned, tuple | list) and len(names) > 1:
        if len(returned) != len(names):
            raise ValueError(f"must return {', '.join(names)}; got {len(returned)} outputs")
        returned = dict(zip(names, returned, strict=True))
    elif not isinstance(returned, Mapping):
        returned = {names[0]: returned}
    return {name: one for name, one in returned.items() if one is not None}


def as_numpy(name: str, value: Any, claim: str) -> Array:
    """Return a foreign array as a view where that can be, or raise with its name.

    Examples
    --------
    >>> as_numpy("y", [1.0], "f64")
    Traceback (most recent call last):
    TypeError: y must have __dlpack__ or __array__, or be a number; got list
    """
    if isinstance(value, bool | int | float):
        return _number(value, claim)
    if not hasattr(value, "__array__") and not hasattr(value, "__dlpack__"):
        words = f"must have __dlpack__ or __array__, or be a number; got {type(value).__name__}"
        raise TypeError(f"{name} {words}")
    if not hasattr(value, "__dlpack__") or isinstance(value, np.ndarray | np.generic):
        return plain(name, value)
    try:
        return np.from_dlpack(value)
    except (TypeError, ValueError, RuntimeError, BufferError):
        return plain(name, value)  # a dtype or device that DLPack or NumPy lacks: its own way


def _real(name: str, array: Array) -> Array:
    """Return an array of real numbers, or raise with its name."""
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} must be of real numbers; got {array.dtype}")
    return array


def _number(value: float, claim: str) -> Array:
    """Return a number of Python's own in the dtype of a claim, if it fits without rounding."""
    with np.errstate(over="ignore"):
        array = np.asarray(value, DTYPES[dtype_of(claim)])
    return array if array.item() == value or isnan(value) else np.asarray(value, np.float64)


def _own(view: Array, claim: str) -> Array:
    """Return a copy in native byte order, 16-bit numbers widened where the claim stores such."""
    array = np.array(view, dtype=view.dtype.newbyteorder("="))
    stored = CLAIMS[claim].stores_results and array.dtype.name in ("float16", "bfloat16")
    return array.astype(np.float32) if stored else array
