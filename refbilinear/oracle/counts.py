"""K of every bounded output, for sums in any order; `docs/vectors.md` derives them.

    |computed − exact| ≤ γ_K · twin        γ_K = K u / (1 − K u)

Elsewhere (`bounds`) K follows the order in which the specification computes; here it covers every
order, and fused sums, since a vector must not refuse an honest implementation.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from refbilinear.oracle import exact, training
from refbilinear.oracle.agreement import settings_of, specified
from refbilinear.oracle.cases import Inputs
from refbilinear.oracle.vectors import OPERATIONS
from refbilinear.spec.arrays import Array


def twin(op: str, inputs: Inputs) -> dict[str, Array]:
    """Return the same operation on absolute values, exactly.

    Examples
    --------
    >>> import numpy as np
    >>> twin("form", {"tensor": np.array([[-2.0]]), "x": np.array([[-3.0]])})
    {'y': array([[Fraction(18, 1)]], dtype=object)}
    """
    sizes = {name: abs(array) for name, array in inputs.items()}
    if op == "squared_error":
        sizes["t"] = -sizes["t"]
    return specified(op, sizes)


def roundings(op: str, inputs: Inputs) -> dict[str, int]:
    """Return K of each output, for sums in any order (derived in docs/vectors.md)."""
    return COUNTS[op](
        dict(_sizes(op, inputs)), {name: int(name in inputs) for name in OPERATIONS[op].inputs}
    )


def _sizes(op: str, inputs: Inputs) -> Iterator[tuple[str, int]]:
    for name, array in inputs.items():
        yield from zip(OPERATIONS[op].inputs[name], array.shape, strict=True)


def _forward_count(n: Mapping[str, int], has: Mapping[str, int]) -> dict[str, int]:
    """Left + right + 1, w_out 1, and one less than the terms of the output's sum."""
    factors = 2 * n["i"] + has["b_left"] + has["b_right"] + 1
    terms = (n["h"] if has["w_out"] else 1) + has["b_out"] + has["w_skip"] * n["i"]
    return {"y": factors + has["w_out"] + terms - 1}


def _tensor_count(n: Mapping[str, int], has: Mapping[str, int]) -> int:
    """Two products each of 2h terms; a skip path or an output bias is one term more."""
    return (2 * n["h"] + 1 if has["w_out"] else 2) + max(has["w_skip"], has["b_out"])


def _backward_count(n: Mapping[str, int], has: Mapping[str, int]) -> dict[str, int]:
    ds = has["w_out"] * n.get("o", n["h"])
    left, right = n["i"] + has["b_left"], n["i"] + has["b_right"]
    da, db = ds + right + 1, ds + left + 1
    dx = max(da, db) + 2 * n["h"] + has["w_skip"] * n.get("o", n["h"])
    sums = {
        "w_left": da + n["n"], "w_right": db + n["n"], "b_left": da + n["n"] - 1,
        "b_right": db + n["n"] - 1, "w_out": left + right + 1 + n["n"], "b_out": n["n"] - 1,
        "w_skip": n["n"], "x": dx,
    }  # fmt: skip
    return {name: count for name, count in sums.items() if has[name]}


def _fold_count(n: Mapping[str, int], has: Mapping[str, int]) -> dict[str, int]:
    """Add up both factors (i each, a gain, a bias, a scale), the head (o) and two sums."""
    factor = n["i"] * max(has["w_embed"], has["b_embed"]) + has["gain"] + has["b_embed"]
    head = has["w_head"] * n["o"]
    return {"tensor": 2 * factor + has["left_scale"] + head + 2}


COUNTS: dict[str, Callable[[Mapping[str, int], Mapping[str, int]], dict[str, int]]] = {
    "forward": _forward_count,
    "tensor": lambda n, has: {"tensor": _tensor_count(n, has)},
    "matrix": lambda n, has: {"matrix": _tensor_count(n, has) + n.get("o", n["h"])},
    "form": lambda n, has: {"y": n["d"] ** 2 + 1},
    "backward": _backward_count,
    "squared_error": lambda n, has: {"value": n["n"] * n["o"] + 4, "dy": 3},
    "fold": _fold_count,
}

# How many stored numbers are multiplied in a term: each may have been rounded once to be stored.
DEGREES = {
    "forward": {"y": 5},
    "tensor": {"tensor": 3},
    "matrix": {"matrix": 4},
    "form": {"y": 3},
    "backward": {
        "w_left": 5, "w_right": 5, "w_out": 5, "b_left": 4, "b_right": 4, "b_out": 1, "w_skip": 2,
        "x": 5,
    },
    "squared_error": {"value": 2, "dy": 1},
    "fold": {"tensor": 9},
}  # fmt: skip


def allowed(op: str, inputs: Inputs) -> dict[str, Array]:
    """Return the allowed errors of cross-entropy and AdamW, which are no K times a twin."""
    if op == "cross_entropy":
        return dict(training.cross_entropy_bound(inputs["y"], inputs["labels"])._asdict())
    theta, g, m, v = (inputs[name] for name in exact.NAMES)
    settings: dict[str, Any] = {**settings_of(inputs)}
    return dict(training.adamw_bound(theta, g, m, v, int(inputs["t"]), **settings)._asdict())
