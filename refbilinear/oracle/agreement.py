"""Every expected value twice: by the specification on exact numbers, and by loops over integers.

A value is admitted where both agree. What is known by construction (spectra) is checked in plain
loops; what IEEE arithmetic makes of NaN and infinities is found in two ways as well.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from refbilinear.oracle import exact, loops
from refbilinear.oracle.cases import Inputs, ordered
from refbilinear.oracle.vectors import LAYER, OPERATIONS, SETTINGS
from refbilinear.spec.arrays import Array
from refbilinear.spec.layer import BilinearLayer, forward
from refbilinear.spec.packed import pair_indices
from refbilinear.spec.tensor import interaction_tensor, quadratic_form

Numbers = Mapping[str, Any]

TRANSCENDENTAL = ("cross_entropy", "adamw")


def specified(op: str, inputs: Inputs) -> dict[str, Array]:
    """Return the exact outputs of an operation by the specification on exact numbers.

    Examples
    --------
    >>> specified("forward", {"w_left": [[0.5]], "w_right": [[3]], "x": [[1]]})
    {'y': array([[Fraction(3, 2)]], dtype=object)}
    """
    return SPECIFIED[op](inputs)


def witnessed(op: str, inputs: Inputs) -> dict[str, Any]:
    """Return the same as nested lists, by loops over integers."""
    return WITNESSED[op]({name: np.asarray(array).tolist() for name, array in inputs.items()})


def agreed(op: str, inputs: Inputs) -> dict[str, Array]:
    """Return the exact outputs, if both evaluators gave the same (50 digits where there are roots).

    Raises
    ------
    ArithmeticError
        Where they differ.
    """
    found, again = specified(op, inputs), witnessed(op, inputs)
    exponent = -50 if op in TRANSCENDENTAL else None
    for name, array in found.items():
        if not _same(np.asarray(array, dtype=object).ravel().tolist(), again[name], exponent):
            raise ArithmeticError(f"the evaluators differ in {name} of {op}")
    return found


def _same(found: list[Any], again: Any, exponent: int | None) -> bool:
    """Whether numbers are equal, or differ by less than any float64 can show at that precision."""
    others = list(_leaves(again))
    if exponent is None:
        return found == others
    relative, least = Fraction(10) ** exponent, Fraction(2) ** -1300
    pairs = zip(found, others, strict=True)
    return all(abs(a - b) <= relative * abs(a) + least for a, b in pairs)


def _leaves(nested: Any) -> Iterator[Any]:
    if isinstance(nested, list):
        for part in nested:
            yield from _leaves(part)
    else:
        yield nested


def layer_of(inputs: Numbers) -> BilinearLayer:
    """Return the layer whose parameters are among some inputs."""
    return BilinearLayer(**{name: inputs[name] for name in LAYER if name in inputs})


def settings_of(inputs: Numbers) -> dict[str, float]:
    """Return the settings of an AdamW step that are among some inputs, as Python floats."""
    return {name: float(inputs[name]) for name in SETTINGS}


def _matrix(inputs: Inputs) -> dict[str, Array]:
    tensor = exact.interaction_tensor(layer_of(inputs))
    return {"matrix": exact.interaction_matrix(tensor, exact.fractions(inputs["u"]))}


def _backward(inputs: Inputs) -> dict[str, Array]:
    gradients = exact.backward(layer_of(inputs), inputs["x"], inputs["dy"])
    return {name: one for name, one in gradients._asdict().items() if one is not None}


def _adamw(inputs: Inputs) -> dict[str, Array]:
    theta, g, m, v = (inputs[name] for name in exact.NAMES)
    return exact.adamw(theta, g, m, v, int(inputs["t"]), **settings_of(inputs))._asdict()


def folded(inputs: Numbers) -> BilinearLayer:
    """Return the one layer that is the whole model `w_head(layer(h) + residual h)`, exactly.

    With `h = w_embed x + b_embed`; the layer sees `gain ⊙ h`, and its left factor is scaled by
    `left_scale`. All biases are there, so its tensor is always over `[x; 1]`.
    """
    given = {name: exact.fractions(value) for name, value in inputs.items()}
    layer, scale = layer_of(given), given.get("left_scale", Fraction(1))
    w = given.get("w_embed", _eye(layer.d_in))
    b = given.get("b_embed", _zeros(layer.d_in))
    gain = given.get("gain", _zeros(layer.d_in) + 1)
    head = given.get("w_head", _eye(layer.d_out))
    gw, gb = gain[:, None] * w, gain * b
    skip = _or_zeros(layer.w_skip, layer.d_out, layer.d_in)
    passed = _eye(layer.d_in) if "residual" in given else 0 * skip
    return BilinearLayer(
        w_left=scale * (layer.w_left @ gw),
        w_right=layer.w_right @ gw,
        w_out=head if layer.w_out is None else head @ layer.w_out,
        b_left=scale * (layer.w_left @ gb + _or_zeros(layer.b_left, layer.d_hidden)),
        b_right=layer.w_right @ gb + _or_zeros(layer.b_right, layer.d_hidden),
        b_out=head @ (_or_zeros(layer.b_out, layer.d_out) + skip @ gb + passed @ b),
        w_skip=head @ (skip @ gw + passed @ w),
    )


def _zeros(*shape: int) -> Array:
    return np.full(shape, Fraction(0), dtype=object)


def _or_zeros(array: Array | None, *shape: int) -> Array:
    return _zeros(*shape) if array is None else array


def _eye(n: int) -> Array:
    return np.array([[Fraction(i == j) for j in range(n)] for i in range(n)], dtype=object)


SPECIFIED: dict[str, Callable[[Inputs], dict[str, Array]]] = {
    "forward": lambda held: {"y": exact.forward(layer_of(held), held["x"])},
    "tensor": lambda held: {"tensor": exact.interaction_tensor(layer_of(held))},
    "matrix": _matrix,
    "form": lambda held: {"y": exact.quadratic_form(held["tensor"], held["x"])},
    "backward": _backward,
    "squared_error": lambda held: exact.squared_error(held["y"], held["t"])._asdict(),
    "cross_entropy": lambda held: exact.cross_entropy(held["y"], held["labels"])._asdict(),
    "adamw": _adamw,
    "fold": lambda held: {"tensor": exact.interaction_tensor(folded(held))},
}


def _pair(result: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(("value", "dy"), result, strict=True))


def _only(held: Numbers, names: Any) -> dict[str, Any]:
    return {name: held[name] for name in names if name in held}


def _tensor_by_points(value: Callable[[list[Any]], list[Fraction]], d: int) -> list[list[Fraction]]:
    """Return the packed tensor over `[x; 1]` of quadratic forms, from their values at points."""

    def at(*places: int, sign: int = 1) -> list[Fraction]:
        return value([sign * places.count(i) for i in range(d)])

    constant = at()
    columns = []
    for i in range(d):
        for j in range(i):
            pairs = zip(at(i, j), at(i), at(j), constant, strict=True)
            columns.append([(both - a - b + c) / 2 for both, a, b, c in pairs])
        squares = zip(at(i), at(i, sign=-1), constant, strict=True)
        columns.append([(a + b) / 2 - c for a, b, c in squares])
    for j in range(d):
        columns.append([(a - b) / 4 for a, b in zip(at(j), at(j, sign=-1), strict=True)])
    return [list(row) for row in zip(*columns, constant, strict=True)]


def _whole_model(held: Numbers, x: list[Any]) -> list[Fraction]:
    """Return the model that `folded` folds, step by step, at one x."""
    rows, bias, gain = held.get("w_embed"), held.get("b_embed"), held.get("gain")
    h = [Fraction(v) for v in x] if rows is None else [_dot(row, x) for row in rows]
    h = h if bias is None else [a + Fraction(b) for a, b in zip(h, bias, strict=True)]
    z = h if gain is None else [a * Fraction(g) for a, g in zip(h, gain, strict=True)]
    scale = Fraction(held.get("left_scale", 1))
    layer = _only(held, LAYER)
    layer["w_left"] = [[scale * Fraction(w) for w in row] for row in layer["w_left"]]
    if "b_left" in layer:
        layer["b_left"] = [scale * Fraction(b) for b in layer["b_left"]]
    y = loops.forward(layer, [z])[0]
    if held.get("residual"):
        y = [a + b for a, b in zip(y, h, strict=True)]
    return y if held.get("w_head") is None else [_dot(row, y) for row in held["w_head"]]


def _dot(row: Sequence[Any], column: Sequence[Any]) -> Fraction:
    terms = (Fraction(a) * Fraction(b) for a, b in zip(row, column, strict=True))
    return sum(terms, Fraction(0))


def _fold_by_points(held: Numbers) -> dict[str, Any]:
    width = len(held["w_left"][0]) if "w_embed" not in held else len(held["w_embed"][0])
    return {"tensor": _tensor_by_points(lambda x: _whole_model(held, x), width)}


def _tensor_loops(held: Numbers) -> list[list[Fraction]]:
    """Return the packed tensor; without hidden units, which tell its width, from points."""
    layer = _only(held, LAYER)
    if layer["w_left"]:
        return loops.interaction_tensor(layer)
    return _tensor_by_points(lambda x: loops.forward(layer, [x])[0], len(layer["w_skip"][0]))


def _matrix_loops(held: Numbers) -> dict[str, Any]:
    rows, u = _tensor_loops(held), held["u"]
    if not u:  # no output: the matrix of [x; 1] is zero
        d = len(held["w_left"][0]) + 1
        return {"matrix": [[Fraction(0)] * d] * d}
    return {"matrix": loops.interaction_matrix(rows, u)}


def _adamw_loops(held: Numbers) -> dict[str, Any]:
    columns = zip(*(list(_leaves(held[name])) for name in exact.NAMES), strict=True)
    settings = settings_of(held)
    steps = [loops.adamw(a, g, m, v, held["t"], **settings) for a, g, m, v in columns]
    return {name: [step[i] for step in steps] for i, name in enumerate(("theta", "m", "v"))}


WITNESSED: dict[str, Callable[[Numbers], dict[str, Any]]] = {
    "forward": lambda held: {"y": loops.forward(_only(held, LAYER), held["x"])},
    "tensor": lambda held: {"tensor": _tensor_loops(held)},
    "matrix": _matrix_loops,
    "form": lambda held: {"y": loops.quadratic_form(held["tensor"], held["x"])},
    "backward": lambda held: loops.backward(_only(held, LAYER), held["x"], held["dy"]),
    "squared_error": lambda held: _pair(loops.squared_error(held["y"], held["t"])),
    "cross_entropy": lambda held: _pair(loops.cross_entropy(held["y"], held["labels"])),
    "adamw": _adamw_loops,
    "fold": _fold_by_points,
}


# ---- NaN and infinities: the specification in floats, and once more number by number


def ieee(op: str, inputs: Inputs) -> dict[str, Array]:
    """Return what IEEE arithmetic gives where an input is NaN or infinite, found in two ways."""
    held = {name: array.astype(np.float64) for name, array in inputs.items()}
    by_arrays, by_numbers = IEEE[op]
    with np.errstate(invalid="ignore"):
        found, again = by_arrays(held), by_numbers(held)
    if not np.array_equal(found, again, equal_nan=True):
        raise ArithmeticError(f"IEEE arithmetic differs from itself in {op}")
    (name,) = OPERATIONS[op].outputs
    return {name: found}


def _ieee_forward(inputs: Inputs) -> Array:
    p = inputs.get("w_out", np.eye(len(inputs["w_left"]))).tolist()
    bias = inputs.get("b_out", np.zeros(len(p))).tolist()
    left, right, x = (inputs[name].tolist() for name in ("w_left", "w_right", "x"))

    def factor(w: list[float], row: list[float]) -> float:
        return sum((a * b for a, b in zip(w, row, strict=True)), 0.0)

    def output(weights: list[float], row: list[float]) -> float:
        terms = zip(weights, left, right, strict=True)
        return sum((q * factor(a, row) * factor(b, row) for q, a, b in terms), 0.0)

    return np.array([[output(q, row) + b for q, b in zip(p, bias, strict=True)] for row in x])


def _ieee_tensor(inputs: Inputs) -> Array:
    w, v = inputs["w_left"].tolist(), inputs["w_right"].tolist()
    p = inputs.get("w_out", np.eye(len(w))).tolist()

    def entry(weights: list[float], i: int, j: int) -> float:
        units = zip(weights, w, v, strict=True)
        return sum((q * (a[i] * b[j] + a[j] * b[i]) / 2 for q, a, b in units), 0.0)

    i, j = (index.tolist() for index in pair_indices(len(w[0])))
    return np.array([[entry(row, *pair) for pair in zip(i, j, strict=True)] for row in p])


def _ieee_form(inputs: Inputs) -> Array:
    i, j = (index.tolist() for index in pair_indices(inputs["x"].shape[1]))

    def output(packed: list[float], x: list[float]) -> float:
        terms = zip(packed, i, j, strict=True)
        return sum(((1 + (a != b)) * entry * x[a] * x[b] for entry, a, b in terms), 0.0)

    tensor, x = inputs["tensor"].tolist(), inputs["x"].tolist()
    return np.array([[output(packed, row) for packed in tensor] for row in x])


IEEE: dict[str, tuple[Callable[[Inputs], Array], Callable[[Inputs], Array]]] = {
    "forward": (lambda held: forward(layer_of(held), held["x"]), _ieee_forward),
    "tensor": (lambda held: interaction_tensor(layer_of(held)), _ieee_tensor),
    "form": (lambda held: quadratic_form(held["tensor"], held["x"]), _ieee_form),
}


# ---- what is known by construction


def require_known(op: str, inputs: Inputs, expected: Mapping[str, Array]) -> None:
    """Raise ArithmeticError unless what is known by construction is so, in plain loops."""
    given, known = (
        {name: exact.fractions(array).tolist() for name, array in arrays.items()}
        for arrays in (inputs, expected)
    )
    KNOWN[op](given, known)


def _require(holds: bool, words: str) -> None:
    if not holds:
        raise ArithmeticError(words)


def _product(a: list[Any], b: list[Any]) -> list[Any]:
    columns = list(zip(*b, strict=True))
    return [[_dot(row, column) for column in columns] for row in a]


def _transposed(a: list[Any]) -> list[Any]:
    return [list(row) for row in zip(*a, strict=True)]


def _diagonal(a: list[Any]) -> bool:
    return all(entry == 0 for i, row in enumerate(a) for j, entry in enumerate(row) if i != j)


def _require_orthonormal(basis: list[Any]) -> None:
    square = _product(_transposed(basis), basis)
    ones = all(row[i] == 1 for i, row in enumerate(square))
    _require(_diagonal(square) and ones, "the basis is not orthonormal")


def _known_spectrum(inputs: Numbers, expected: Numbers) -> None:
    values, basis, q = expected["eigenvalues"], expected["basis"], inputs["Q"]
    _require_orthonormal(basis)
    scaled = [[lam * entry for lam, entry in zip(values, row, strict=True)] for row in basis]
    _require(_product(q, basis) == scaled, "the pairs are not those of the matrix")
    _require(values == ordered(values), "the eigenvalues are not in order")


def _known_truncation(inputs: Numbers, expected: Numbers) -> None:
    """Check that `Q_k (Q − Q_k) = 0`, so Q_k is made of pairs of Q, and the tail."""
    q, near = inputs["Q"], expected["matrix"]
    rest = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(q, near, strict=True)]
    squares = sum((entry * entry for row in rest for entry in row), Fraction(0))
    _require(_product(near, rest) == [[0] * len(q) for _ in q], "the parts are not orthogonal")
    _require(squares == expected["tail"], "the tail is not that of the rest")


def _known_hosvd(inputs: Numbers, expected: Numbers) -> None:
    """Check that the Gram matrices of both unfoldings are diagonal in the bases."""
    rows = inputs["tensor"]
    d = len(expected["squares_in"])
    places = [[max(i, j) * (max(i, j) + 1) // 2 + min(i, j) for j in range(d)] for i in range(d)]
    unfolded_out = [[row[p] for line in places for p in line] for row in rows]
    unfolded_in = [[row[p] for row in rows for p in line] for line in places]
    for name, unfolded in (("out", unfolded_out), ("in", unfolded_in)):
        basis, squares = expected[f"basis_{name}"], expected[f"squares_{name}"]
        _require_orthonormal(basis)
        along = _product(_transposed(basis), unfolded)
        gram = _product(along, _transposed(along))
        found = [row[i] for i, row in enumerate(gram)]
        _require(
            _diagonal(gram) and found == squares, f"squares_{name} are not those of the tensor"
        )
        _require(squares == sorted(squares, reverse=True), f"squares_{name} are not in order")


KNOWN = {"spectrum": _known_spectrum, "truncate": _known_truncation, "hosvd": _known_hosvd}
