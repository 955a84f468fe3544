"""The smallest case that still fails: parameters, sizes and entries taken away one by one.

Each step keeps a smaller case if the implementation still answers it wrongly. What is right is
computed anew by the specification on exact numbers.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from refbilinear.oracle import counts, exact
from refbilinear.oracle.agreement import SPECIFIED, specified
from refbilinear.oracle.answers import ANSWERS, Inputs
from refbilinear.oracle.bounds import gamma
from refbilinear.oracle.interrogation import Outcome
from refbilinear.oracle.standards import Question, letters_of
from refbilinear.oracle.strict import DTYPES
from refbilinear.oracle.vectors import OPTIONAL, SETTINGS
from refbilinear.spec.arrays import Array
from refbilinear.spec.packed import pack, unpack

MOST_CALLS = 400


def shrink(outcome: Outcome, ask: Callable[[Question], Outcome]) -> Outcome:
    """Return the smallest failing outcome that is found by taking parts away from a failing one.

    Truncations and decompositions stay as they are, and vectors that are not finite: what is right
    of them is known for the vectors alone.

    Parameters
    ----------
    outcome : Outcome
        One that failed.
    ask : callable
        Puts a vector to the implementation.
    """
    if not _can_be_posed(outcome.question):
        return outcome
    budget = iter(range(MOST_CALLS))
    smaller: Outcome | None = outcome
    while smaller is not None:
        outcome, smaller = smaller, _first(outcome, _parts(smaller.question), budget, ask)
    for place in list(_places(outcome.question)):
        outcome = _first(outcome, _simpler(outcome.question, *place), budget, ask) or outcome
    return outcome


def _can_be_posed(question: Question) -> bool:
    finite = all(np.isfinite(array).all() for array in question.vector.inputs.values())
    known = question.op in SPECIFIED or question.op == "spectrum"
    return finite and known and question.vector.result == "valid"


def _first(
    outcome: Outcome,
    candidates: Iterator[Inputs],
    budget: Iterator[int],
    ask: Callable[[Question], Outcome],
) -> Outcome | None:
    """Return the first of smaller cases that fails in the same way."""
    for inputs in candidates:
        if next(budget, None) is None:
            return None
        try:
            found = ask(pose(outcome.question, inputs))
        except (ArithmeticError, TypeError, ValueError):  # what is left is no case
            continue
        if found.failed and found.verdict.kind == outcome.verdict.kind:
            return found
    return None


# ---- what can be taken away


def _parts(question: Question) -> Iterator[Inputs]:
    """Yield inputs without one optional parameter, then with one size reduced by one."""
    held = question.vector.inputs
    for name in [name for name in held if name in OPTIONAL]:
        yield {other: array for other, array in held.items() if other != name}
    letters = letters_of(question)
    sizes = {
        letter: n
        for name, array in held.items()
        for letter, n in zip(letters[name], array.shape, strict=False)
    }
    for letter, size in sizes.items():
        for index in range(size if size > 1 and letter != "p" else 0):
            yield {
                name: _without(array, letters[name], letter, index) for name, array in held.items()
            }


def _without(array: Array, letters: str, letter: str, index: int) -> Array:
    """Return an array without one index of an axis; a packed tensor without an input."""
    if letters == "op" and letter == "d":
        return pack(_without(unpack(array), "odd", "d", index))
    for axis, own in enumerate(letters):
        if own == letter and axis < array.ndim:
            array = np.delete(array, index, axis)
    return array


# ---- what can be made simpler


def _places(question: Question) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield every entry that is a float."""
    for name, array in question.vector.inputs.items():
        if array.dtype.kind == "f" and name not in SETTINGS:
            yield from ((name, index) for index in np.ndindex(array.shape))


def _simpler(question: Question, name: str, index: tuple[int, ...]) -> Iterator[Inputs]:
    """Yield inputs with 0, or 1, for an entry; in a symmetric matrix for both of them."""
    held = question.vector.inputs
    for value in (0, 1):
        if held[name][index] not in range(value + 1):
            array = held[name].copy()
            array[index] = value
            if name == "Q":
                array[index[::-1]] = value
            yield held | {name: array}


# ---- the smaller case


def pose(question: Question, inputs: Inputs) -> Question:
    """Return a question of the same kind on other inputs, with what is right and allowed.

    Examples
    --------
    >>> from refbilinear.oracle import vectors
    >>> from refbilinear.oracle.standards import questions
    >>> one = questions(vectors.load(), "f64", ["form"])[0]
    >>> inputs = {"tensor": np.array([[2.0]]), "x": np.array([[3.0]])}
    >>> pose(one, inputs).vector.expected
    {'y': array([[18.]])}
    """
    vector = question.vector._replace(inputs=inputs, residual={}, twin={}, K={})
    if question.op == "spectrum":
        inputs = inputs | {"k": np.minimum(inputs["k"], len(inputs["Q"]))}
        return question._replace(vector=vector._replace(inputs=inputs, expected=_pairs(inputs)))
    found, dtype = specified(question.op, inputs), DTYPES[question.dtype]
    if question.tier == "exact":
        expected = {name: exact.rounded(array, dtype) for name, array in found.items()}
        _require_exact(question.op, inputs, found, expected)
        return question._replace(vector=vector._replace(expected=expected))
    bounds = _allowed(question, inputs)
    expected = {n: exact.fractions(array) for n, array in found.items()}
    return question._replace(vector=vector._replace(expected=expected, allowed=bounds))


def _pairs(inputs: Inputs) -> Inputs:
    """Return the eigenvalues that the specification finds; any vectors that prove them will do."""
    return {"eigenvalues": ANSWERS["spectrum"](inputs)["eigenvalues"]}


def _require_exact(op: str, inputs: Inputs, found: Inputs, expected: Inputs) -> None:
    """Raise ValueError unless every result is held as it is, and means of n examples are exact."""
    held = all((exact.fractions(expected[name]) == found[name]).all() for name in found)
    n = len(inputs["y"]) if op == "squared_error" else 1
    if not held or n & (n - 1):
        raise ValueError("such a case is not exact")


def _allowed(question: Question, inputs: Inputs) -> dict[str, Array]:
    if question.op not in counts.COUNTS:
        return counts.allowed(question.op, inputs)
    twins, k = counts.twin(question.op, inputs), counts.roundings(question.op, inputs)
    unit = DTYPES[question.dtype]
    return {n: np.asarray(twins[n] * Fraction(gamma(k[n], unit)), dtype=object) for n in twins}
