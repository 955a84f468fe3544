"""A mistake as a function: it makes a wrong implementation out of a right one.

So mistakes compose, `a(b(run))` has both. None changes the arrays that it is given, but the one
that is named for it; one that cannot be made of some inputs (a transposed matrix that is not
square) raises NotImplementedError. What is polynomial is exact on exact numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refbilinear.oracle.answers import Inputs, Outputs, Run
from refbilinear.spec.arrays import Array

Wrong = Callable[[Run], Run]


def before(change: Callable[[Inputs], Mapping[str, Any]]) -> Wrong:
    """Return the mistake of other inputs: `change(inputs)` gives those that are not what they were.

    Examples
    --------
    >>> doubled = before(lambda held: {"x": 2 * held["x"]})
    >>> doubled(lambda held: {"y": held["x"] + 1})({"x": np.array([5])})
    {'y': array([11])}
    """
    return lambda run: lambda held: run({**held, **change(held)})


def after(change: Callable[[Inputs, Outputs], Mapping[str, Any]]) -> Wrong:
    """Return the mistake of other outputs: `change(inputs, outputs)` gives those, of their dtype.

    Examples
    --------
    >>> late = after(lambda held, out: {"y": out["y"] * 0.5})
    >>> late(lambda held: {"y": held["x"] + 1})({"x": np.array([5], np.float32)})
    {'y': array([3.], dtype=float32)}
    """

    def answer(run: Run, held: Inputs) -> Outputs:
        out = run(held)
        changed = change(held, out)
        return out | {name: np.asarray(one, out[name].dtype) for name, one in changed.items()}

    return lambda run: lambda held: answer(run, held)


def each(change: Callable[[Array], Array], *names: str) -> Wrong:
    """Return the mistake of `change(array)` for each of these inputs that is there."""
    return before(lambda held: {name: change(held[name]) for name in names if name in held})


def without(*names: str) -> Wrong:
    """Return the mistake of taking these inputs for absent."""
    return lambda run: lambda held: run({n: one for n, one in held.items() if n not in names})


def partly(wrong: Wrong, *names: str) -> Wrong:
    """Return the mistake of these outputs alone being another mistake's."""

    def answer(run: Run, held: Inputs) -> Outputs:
        found = wrong(run)(held)
        return run(held) | {name: found[name] for name in names}

    return lambda run: lambda held: answer(run, held)


def where_square(name: str, wrong: Wrong) -> Wrong:
    """Return a mistake that only a square matrix of this name allows, and an absent one."""

    def answer(run: Run, held: Inputs) -> Outputs:
        rows, columns = held[name].shape if name in held else (0, 0)
        if rows != columns:
            raise NotImplementedError(f"{name} is not square")
        return wrong(run)(held)

    return lambda run: lambda held: answer(run, held)


def transposed(matrix: Array) -> Array:
    """Return what stands in the buffer of the transpose, read with the shape of the matrix.

    Examples
    --------
    >>> transposed(np.array([[1, 2, 3], [4, 5, 6]]))
    array([[1, 4, 2],
           [5, 3, 6]])
    """
    return matrix.T.reshape(matrix.shape)
