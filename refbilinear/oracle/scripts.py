"""A case as a few lines of Python, or in one line."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from refbilinear.oracle.calls import Layer, Model, arguments
from refbilinear.oracle.standards import Question
from refbilinear.spec.arrays import Array

LONGEST = 50
CODES = {"float64": "f8", "float32": "f4", "int64": "i8"}


def script(question: Question, function: Any = None) -> list[str]:
    """Return six lines of Python that put a case to somebody's function.

    Examples
    --------
    >>> from refbilinear.oracle import vectors
    >>> from refbilinear.oracle.standards import questions
    >>> first = questions(vectors.load(), "f64", ["squared_error"])[0]
    >>> inputs = {"y": np.array([[1.0]]), "t": np.array([[3.0]])}
    >>> expected = {"value": np.array(4.0), "dy": np.array([[-4.0]])}
    >>> small = first.vector._replace(inputs=inputs, expected=expected)
    >>> print(*script(first._replace(vector=small)), sep=chr(10))
    import numpy as np
    from mine import squared_error  # yours
    from refbilinear.oracle import Layer, Model
    args = [np.array([[1]], 'f8'), np.array([[3]], 'f8')]
    print(squared_error(*args))
    print("expected:", "value =", 4, "dy =", [[-4]])
    """
    name, module = _name_of(question.op, function)
    args, settings = arguments(question.op, question.vector.inputs)
    given = "".join(f", {key}={value!r}" for key, value in settings.items())
    expected = (f'"{key} =", {numbers(one)}' for key, one in question.vector.expected.items())
    return [
        "import numpy as np",
        f"from {module} import {name}" + ("  # yours" if module == "mine" else ""),
        "from refbilinear.oracle import Layer, Model",
        f"args = [{', '.join(map(python, args))}]",
        f"print({name}(*args{given}))",
        f'print("expected:", {", ".join(expected) or repr("a refusal")})',
    ]


def _name_of(op: str, function: Any) -> tuple[str, str]:
    """Return how a function is imported; a lambda cannot be."""
    name = getattr(function, "__qualname__", "")
    module = getattr(function, "__module__", "")
    if not name.isidentifier():
        return op, "mine"
    return name, "mine" if module in ("__main__", None) else module


def python(value: Any) -> str:
    """Return an argument as Python.

    Examples
    --------
    >>> print(python(Layer(np.array([[0.5, -2.0]], np.float32), np.zeros((0, 2)))))
    Layer(w_left=np.array([[0.5, -2]], 'f4'), w_right=np.zeros((0, 2), 'f8'))
    """
    if isinstance(value, Layer | Model):
        there = {name: one for name, one in value._asdict().items() if one is not None}
        return f"{type(value).__name__}({', '.join(f'{n}={python(v)}' for n, v in there.items())})"
    if not isinstance(value, np.ndarray):
        return repr(value)
    made = f"array({numbers(value)}" if value.size else f"zeros({value.shape}"
    return f"np.{made}, {CODES[value.dtype.name]!r})"


def numbers(array: Array) -> str:
    """Return nested lists of numbers, whole ones without a point.

    Examples
    --------
    >>> numbers(np.array([1.0, 0.1, np.nan]))
    '[1, 0.1, np.nan]'
    """
    if np.ndim(array):  # of an array of fractions each part is a fraction
        return f"[{', '.join(numbers(part) for part in array)}]"
    value = float(array)
    if not np.isfinite(value):
        return f"np.{value}".replace("np.-", "-np.")
    whole = value.is_integer() and abs(value) < 2**53 and str(value) != "-0.0"
    return str(int(value)) if whole else repr(value)


def in_line(arrays: Mapping[str, Array]) -> str:
    """Return arrays by name in one line; a long one as its shape.

    Examples
    --------
    >>> in_line({"x": np.array([[1.0]]), "y": np.zeros((9, 9))})
    'x=[[1]] y=(9, 9)'
    """
    spelt = {name: numbers(array) for name, array in arrays.items()}
    return " ".join(
        f"{name}={words if len(words) <= LONGEST else arrays[name].shape}"
        for name, words in spelt.items()
    )
