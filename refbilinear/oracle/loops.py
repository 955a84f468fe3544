"""The definitions once more, in loops over Python integers: a witness that owes nothing to NumPy.

Numbers are whole multiples of one fraction: an array is its integers and their denominator. A
product multiplies denominators, a sum brings both to their least common multiple. Nothing is ever
rounded, except by `cross_entropy` and `adamw`, which compute exponentials, logarithms and roots as
integers over 2¹⁴⁰⁰, and so keep more than 60 digits of whatever a float64 can hold.

The functions have the names and the meaning of `refbilinear.oracle.exact`, but neither its code
nor its numbers: vectors are admitted where the two agree. Arguments are nested lists of floats,
integers or fractions; parameters come in a dict by name; results are nested lists of `Fraction`.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import isqrt, lcm
from operator import add, mul
from typing import Any, NamedTuple, TypeAlias

Number: TypeAlias = int | float | Fraction
Rows: TypeAlias = Sequence[Sequence[Number]]
Nested: TypeAlias = list[Any]
Form: TypeAlias = tuple[list[list[Fraction]], list[Fraction], Fraction]
Parameters: TypeAlias = Mapping[str, Any]

BIASES = ("b_left", "b_right", "b_out")
PLACES = 1400


class Vector(NamedTuple):
    """The numbers `integers[k] / denominator`."""

    integers: list[int]
    denominator: int


class Matrix(NamedTuple):
    """The numbers `rows[i][j] / denominator`."""

    rows: list[list[int]]
    denominator: int


class Layer(NamedTuple):
    """The parameters of a layer; an absent `w_out` is the identity."""

    left: Matrix
    right: Matrix
    out: Matrix
    b_left: Vector | None
    b_right: Vector | None
    b_out: Vector | None
    skip: Matrix | None


# ---- the layer


def forward(parameters: Parameters, x: Rows) -> list[list[Fraction]]:
    """Return `w_out((w_left x + b_left) ⊙ (w_right x + b_right)) + b_out + w_skip x`, row by row.

    Examples
    --------
    >>> forward({"w_left": [[0.5, 1]], "w_right": [[0, 3]]}, [[1, 2]])
    [[Fraction(15, 1)]]
    """
    layer = _layer(parameters)
    return [_fractions(_output(layer, vector(row))) for row in x]


def backward(parameters: Parameters, x: Rows, dy: Rows) -> dict[str, Nested]:
    """Return the gradients of `Σ_n dy_n · forward(x)_n` by parameter name, and in `x`.

    Examples
    --------
    >>> backward({"w_left": [[3]], "w_right": [[5]]}, [[2]], [[1]])
    {'w_left': [[Fraction(20, 1)]], 'w_right': [[Fraction(12, 1)]], 'x': [[Fraction(60, 1)]]}
    """
    layer = _layer(parameters)
    of_example = [_gradients(layer, vector(a), vector(g)) for a, g in zip(x, dy, strict=True)]
    sums: dict[str, Nested] = {}
    for name in parameters:
        of_name = [gradients[name] for gradients in of_example]
        sums[name] = _total(of_name) if of_name else _zeros(parameters[name])
    return sums | {"x": [_fractions(gradients["x"]) for gradients in of_example]}


def interaction_tensor(parameters: Parameters) -> list[list[Fraction]]:
    """Return, for each output, the entries `(i, j)`, `j ≤ i`, row by row.

    `Σ_h w_out[o,h] (w_left[h,i] w_right[h,j] + w_left[h,j] w_right[h,i]) / 2`, over `[x; 1]` where
    the layer has a bias or a skip path. At least one hidden unit tells how many inputs there are.

    Examples
    --------
    >>> interaction_tensor({"w_left": [[1, 0]], "w_right": [[0, 1]]})
    [[Fraction(0, 1), Fraction(1, 2), Fraction(0, 1)]]
    """
    layer = _layer(parameters)
    has_constant = bool(parameters.keys() - {"w_left", "w_right", "w_out"})
    left = _with_bias(layer.left, layer.b_left) if has_constant else layer.left
    right = _with_bias(layer.right, layer.b_right) if has_constant else layer.right
    pairs = _pairs_of_columns(left.rows, right.rows)
    denominator = 2 * left.denominator * right.denominator * layer.out.denominator
    rows = [[Fraction(_dot(w, pair), denominator) for pair in pairs] for w in layer.out.rows]
    d = len(left.rows[0])
    return [_with_paths(row, o, d, layer) for o, row in enumerate(rows)]


def output_form(parameters: Parameters, u: Sequence[Number]) -> Form:
    """Return matrix, linear part and constant of `u · forward(x)`, read off the tensor.

    Examples
    --------
    >>> output_form({"w_left": [[1]], "w_right": [[1]], "w_skip": [[6]]}, [1])
    ([[Fraction(1, 1)]], [Fraction(6, 1)], Fraction(0, 1))
    """
    whole = interaction_matrix(interaction_tensor(parameters), u)
    if len(whole) == len(parameters["w_left"][0]):
        return whole, [Fraction(0)] * len(whole), Fraction(0)
    *rows, last = whole
    return [row[:-1] for row in rows], [2 * entry for entry in last[:-1]], last[-1]


# ---- the tensor


def interaction_matrix(tensor: Rows, u: Sequence[Number]) -> list[list[Fraction]]:
    """Return `Σ_o u[o] B[o]` as a whole matrix."""
    packed, weights = matrix(tensor), vector(u)
    denominator = packed.denominator * weights.denominator
    columns = zip(*packed.rows, strict=True)
    entries = [Fraction(_dot(weights.integers, column), denominator) for column in columns]
    d = isqrt(2 * len(entries))
    return [[entries[_place(i, j)] for j in range(d)] for i in range(d)]


def quadratic_form(tensor: Rows, x: Rows) -> list[list[Fraction]]:
    """Return `Σ_ij B[o,i,j] x_i x_j` for every row x and output o."""
    return bilinear_form(tensor, x, x)


def bilinear_form(
    tensor: Rows,
    x: Rows,
    z: Rows,
) -> list[list[Fraction]]:
    """Return `Σ_ij B[o,i,j] x_i z_j` for every pair of rows and output o."""
    packed = matrix(tensor)
    return [
        _fractions(_product(packed, _monomials(vector(a), vector(b))))
        for a, b in zip(x, z, strict=True)
    ]


def tensor_gradient(x: Rows, dy: Rows) -> list[list[Fraction]]:
    """Return `Σ_n dy[n,o] x[n,i] x[n,j]`, packed."""
    inputs, upstream = matrix(x), matrix(dy)
    pairs = [
        [row[i] * row[j] for i in range(len(row)) for j in range(i + 1)] for row in inputs.rows
    ]
    denominator = inputs.denominator**2 * upstream.denominator
    by_pair = list(zip(*pairs, strict=True))
    by_output = zip(*upstream.rows, strict=True)
    return [[Fraction(_dot(g, pair), denominator) for pair in by_pair] for g in by_output]


def form_value(
    form: tuple[Rows, Sequence[Number], Number],
    x: Rows,
) -> list[Fraction]:
    """Return `xᵀQx + b·x + c` for every row x."""
    q, b, c = matrix(form[0]), vector(form[1]), Fraction(form[2])
    return [_inner(_plus(_product(q, row), b), row) + c for row in map(vector, x)]


def truncated_form(
    eigenvalues: Sequence[Number],
    eigenvectors: Rows,
    x: Rows,
) -> list[Fraction]:
    """Return `Σ_k λ_k (v_k · x)²` for every row x; the vectors are the columns."""
    values = vector(eigenvalues)
    columns = _transposed(matrix(eigenvectors))
    along = [_product(columns, vector(row)) for row in x]
    return [_inner(values, _times(a, a)) for a in along]


# ---- losses and a step


def squared_error(y: Rows, t: Rows) -> tuple[Fraction, list[list[Fraction]]]:
    """Return `(1/n) Σ_n ‖y_n − t_n‖²` and its gradient `2 (y − t)/n`."""
    rows = [
        [Fraction(a) - Fraction(b) for a, b in zip(yn, tn, strict=True)]
        for yn, tn in zip(y, t, strict=True)
    ]
    n = len(rows)
    value = sum((a * a for row in rows for a in row), Fraction(0)) / n
    return value, [[2 * a / n for a in row] for row in rows]


def cross_entropy(y: Rows, labels: Sequence[int]) -> tuple[Fraction, list[list[Fraction]]]:
    """Return the mean of `log Σ_c exp(y_c) − y_label`, and its gradient, to 60 digits or more.

    Examples
    --------
    >>> value, dy = cross_entropy([[0, 0]], [1])
    >>> float(value), [float(g) for g in dy[0]]
    (0.6931471805599453, [0.5, -0.5])
    """
    n = len(y)
    examples = [_softmax_loss(row, label) for row, label in zip(y, labels, strict=True)]
    value = sum((loss for loss, _ in examples), Fraction(0)) / n
    return value, [[g / n for g in row] for _, row in examples]


def adamw(
    theta: Number,
    g: Number,
    m: Number,
    v: Number,
    t: int,
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> tuple[Fraction, Fraction, Fraction]:
    """Return one parameter and its two moments after an AdamW step; the root to 60 digits.

    Examples
    --------
    >>> [float(number) for number in adamw(1.0, 2.0, 0.0, 0.0, 1, learning_rate=0.5, epsilon=0)]
    [0.5, 0.19999999999999996, 0.0040000000000000036]
    """
    eta, decay, b1, b2, eps = map(Fraction, (learning_rate, weight_decay, beta1, beta2, epsilon))
    first = b1 * Fraction(m) + (1 - b1) * Fraction(g)
    second = b2 * Fraction(v) + (1 - b2) * Fraction(g) ** 2
    root = _root(second / (1 - b2**t))
    step = eta * (first / (1 - b1**t)) / (root + eps)
    return (1 - eta * decay) * Fraction(theta) - step, first, second


# ---- the layer, one example at a time


def _layer(parameters: Parameters) -> Layer:
    get = parameters.get
    left, right = matrix(parameters["w_left"]), matrix(parameters["w_right"])
    out = _identity(len(left.rows)) if get("w_out") is None else matrix(parameters["w_out"])
    given = (get(name) for name in BIASES)
    b_left, b_right, b_out = (None if b is None else vector(b) for b in given)
    skip = None if get("w_skip") is None else matrix(parameters["w_skip"])
    return Layer(left, right, out, b_left, b_right, b_out, skip)


def _output(layer: Layer, x: Vector) -> Vector:
    a = _plus(_product(layer.left, x), layer.b_left)
    b = _plus(_product(layer.right, x), layer.b_right)
    y = _plus(_product(layer.out, _times(a, b)), layer.b_out)
    return y if layer.skip is None else _plus(y, _product(layer.skip, x))


def _gradients(layer: Layer, x: Vector, dy: Vector) -> dict[str, Any]:
    """Return the gradients of one example, each a Vector or a Matrix."""
    a = _plus(_product(layer.left, x), layer.b_left)
    b = _plus(_product(layer.right, x), layer.b_right)
    ds = _product(_transposed(layer.out, len(a.integers)), dy)
    da, db = _times(ds, b), _times(ds, a)
    dx = _plus(_back(layer.left, da, x), _back(layer.right, db, x))
    return {
        "w_left": _outer(da, x),
        "w_right": _outer(db, x),
        "w_out": _outer(dy, _times(a, b)),
        "b_left": da,
        "b_right": db,
        "b_out": dy,
        "w_skip": _outer(dy, x),
        "x": dx if layer.skip is None else _plus(dx, _back(layer.skip, dy, x)),
    }


def _back(m: Matrix, v: Vector, x: Vector) -> Vector:
    """Return `mᵀ v`, a gradient in x."""
    return _product(_transposed(m, len(x.integers)), v)


def _total(terms: Sequence[Any]) -> Nested:
    """Return the sum of the gradients of all examples, of one parameter."""
    if isinstance(terms[0], Vector):
        return _column_sums(map(_fractions, terms))
    of_row = zip(*map(_rows, terms), strict=True)
    return [_column_sums(map(_fractions, rows)) for rows in of_row]


def _column_sums(rows: Iterable[Sequence[Fraction]]) -> list[Fraction]:
    return [sum(column, Fraction(0)) for column in zip(*rows, strict=True)]


def _rows(m: Matrix) -> list[Vector]:
    return [Vector(row, m.denominator) for row in m.rows]


def _zeros(parameter: Any) -> Nested:
    if isinstance(parameter, int | float | Fraction):
        return Fraction(0)  # type: ignore[return-value]
    return [_zeros(part) for part in parameter]


def _with_bias(w: Matrix, b: Vector | None) -> Matrix:
    """Return `[w | b]`, zeros for an absent bias."""
    bias = Vector([0] * len(w.rows), 1) if b is None else b
    denominator = lcm(w.denominator, bias.denominator)
    column = _over(bias, denominator)
    factor = denominator // w.denominator
    rows = [[*(n * factor for n in row), c] for row, c in zip(w.rows, column, strict=True)]
    return Matrix(rows, denominator)


def _pairs_of_columns(left: list[list[int]], right: list[list[int]]) -> list[list[int]]:
    """Return `w_left[h,i] w_right[h,j] + w_left[h,j] w_right[h,i]`, over h, for each pair."""
    a, b = list(zip(*left, strict=True)), list(zip(*right, strict=True))
    return [
        list(map(add, map(mul, a[i], b[j]), map(mul, a[j], b[i])))
        for i in range(len(a))
        for j in range(i + 1)
    ]


def _with_paths(row: list[Fraction], o: int, d: int, layer: Layer) -> list[Fraction]:
    """Return a row of the tensor with skip path and output bias in its last d entries."""
    if layer.skip is not None:
        halves = _fractions(Vector(layer.skip.rows[o], 2 * layer.skip.denominator))
        row = row[:-d] + list(map(add, row[-d:-1], halves)) + row[-1:]
    if layer.b_out is not None:
        row = [*row[:-1], row[-1] + _fractions(layer.b_out)[o]]
    return row


def _place(i: int, j: int) -> int:
    """Return where entry `(i, j)` stands in the packed order."""
    i, j = max(i, j), min(i, j)
    return i * (i + 1) // 2 + j


def _monomials(x: Vector, z: Vector) -> Vector:
    """Return `x_i z_j + x_j z_i` for i > j and `x_i z_i`, packed: what B is multiplied with."""
    a, b = x.integers, z.integers
    pairs = [
        a[i] * b[i] if i == j else a[i] * b[j] + a[j] * b[i]
        for i in range(len(a))
        for j in range(i + 1)
    ]
    return Vector(pairs, x.denominator * z.denominator)


# ---- exponential, logarithm, root: integers over 2^PLACES


def _softmax_loss(row: Sequence[Number], label: int) -> tuple[Fraction, list[Fraction]]:
    """Return `log Σ_c exp(y_c − y_label)` and `softmax(y) − onehot` of one example."""
    y = [Fraction(number) for number in row]
    terms = [_exp(number - max(y)) for number in y]
    total = sum(terms)
    loss = _log(Fraction(total, 1 << PLACES)) + max(y) - y[label]
    shares = [Fraction(term, total) for term in terms]
    shares[label] = -sum(shares[:label] + shares[label + 1 :], Fraction(0))
    return loss, shares


def _exp(x: Fraction) -> int:
    """Return `exp(x) 2^PLACES`, x ≤ 0: Taylor's series of x/2^k, squared k times."""
    if x < -PLACES:
        return 0
    k = 16
    z = x.numerator * (1 << PLACES + 64) // (x.denominator << k)
    term = total = 1 << PLACES + 64
    n = 1
    while term not in (0, -1):
        term = term * z // n >> PLACES + 64
        total, n = total + term, n + 1
    for _ in range(k):
        total = total * total >> PLACES + 64
    return total >> 64


def _log(x: Fraction) -> Fraction:
    """Return log x, x ≥ 1: halved to [1, 2), then `2 artanh((x − 1)/(x + 1))`."""
    halvings = (x.numerator // x.denominator).bit_length() - 1
    return _artanh_log(x / 2**halvings) + halvings * _artanh_log(Fraction(2))


def _artanh_log(x: Fraction) -> Fraction:
    """Return `log x = 2 Σ_k z^(2k+1)/(2k + 1)`, `z = (x − 1)/(x + 1)`, 1 ≤ x ≤ 2."""
    z = Fraction(x - 1, x + 1)
    power = (z.numerator << PLACES) // z.denominator
    square = power * power >> PLACES
    total, k = 0, 1
    while power:
        total += power // k
        power, k = power * square >> PLACES, k + 2
    return Fraction(2 * total, 1 << PLACES)


def _root(x: Fraction) -> Fraction:
    """Return √x, x ≥ 0, to PLACES binary digits of its own size."""
    shift = max(0, PLACES + x.denominator.bit_length() - x.numerator.bit_length())
    shift += shift % 2
    return Fraction(isqrt((x.numerator << 2 * shift) // x.denominator), 1 << shift)


# ---- integers over one denominator


def vector(values: Iterable[Number]) -> Vector:
    """Return numbers as integers over their least common denominator.

    Examples
    --------
    >>> vector([0.5, 3, Fraction(1, 3)])
    Vector(integers=[3, 18, 2], denominator=6)
    """
    ratios = [value.as_integer_ratio() for value in values]
    denominator = lcm(*{d for _, d in ratios})
    return Vector([n * (denominator // d) for n, d in ratios], denominator)


def matrix(rows: Iterable[Iterable[Number]]) -> Matrix:
    """Return rows of numbers as integers over their least common denominator."""
    vectors = [vector(row) for row in rows]
    denominator = lcm(*(v.denominator for v in vectors))
    return Matrix([_over(v, denominator) for v in vectors], denominator)


def _over(numbers: Vector, denominator: int) -> list[int]:
    factor = denominator // numbers.denominator
    return numbers.integers if factor == 1 else [n * factor for n in numbers.integers]


def _dot(a: Iterable[int], b: Iterable[int]) -> int:
    return sum(map(mul, a, b))


def _product(m: Matrix, v: Vector) -> Vector:
    return Vector([_dot(row, v.integers) for row in m.rows], m.denominator * v.denominator)


def _times(a: Vector, b: Vector) -> Vector:
    return Vector(list(map(mul, a.integers, b.integers)), a.denominator * b.denominator)


def _plus(a: Vector, b: Vector | None) -> Vector:
    if b is None:
        return a
    denominator = lcm(a.denominator, b.denominator)
    return Vector(list(map(add, _over(a, denominator), _over(b, denominator))), denominator)


def _inner(a: Vector, b: Vector) -> Fraction:
    return Fraction(_dot(a.integers, b.integers), a.denominator * b.denominator)


def _outer(a: Vector, b: Vector) -> Matrix:
    rows = [[m * n for n in b.integers] for m in a.integers]
    return Matrix(rows, a.denominator * b.denominator)


def _transposed(m: Matrix, width: int = 0) -> Matrix:
    columns = list(map(list, zip(*m.rows, strict=True))) or [[] for _ in range(width)]
    return Matrix(columns, m.denominator)


def _identity(size: int) -> Matrix:
    return Matrix([[int(i == j) for j in range(size)] for i in range(size)], 1)


def _fractions(numbers: Vector) -> list[Fraction]:
    return [Fraction(n, numbers.denominator) for n in numbers.integers]
