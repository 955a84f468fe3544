"""What the specification gives on the very same floats when nothing is rounded.

Every finite float is an integer times a power of two. So the functions of the specification run
here on arrays of Python integers, one power of two an array, 25 times as fast as on `Fraction`.
That they may is the layer's own scaling law: with

    w_left, b_left                in units of  2^l,  2^(l+x)       x        in units of  2^x
    w_right, b_right              in units of  2^r,  2^(r+x)       y, b_out in units of  2^y
    w_out, w_skip                 in units of  2^p,  2^(y−x)       y = p + l + r + 2x

all of the formula is a whole number of units, and a gradient comes in the unit of `dy · y` divided
by that of its parameter. What is not of this kind runs on fractions: see `exactly`.

The results are object arrays of `Fraction`, and a guard sees to it that no float is among them.
`rounded` gives the nearest floats. `cross_entropy` and `adamw` need exponentials, logarithms and
roots; these are computed in decimal arithmetic to at least 60 digits.
"""

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refbilinear.oracle import bounds
from refbilinear.oracle.dyadic import dyadic
from refbilinear.oracle.formats import FLOAT32, FLOAT64, nearest
from refbilinear.oracle.trees import map_arrays
from refbilinear.spec import layer as spec_layer
from refbilinear.spec import loss as spec_loss
from refbilinear.spec import tensor as spec_tensor
from refbilinear.spec.arrays import Array, as_array, require_count, require_finite
from refbilinear.spec.layer import LAYER_PARAMETERS, BilinearLayer, Gradients
from refbilinear.spec.loss import Loss, enter_labels, enter_y
from refbilinear.spec.mlp import parameters
from refbilinear.spec.optim import AdamWState, enter_state
from refbilinear.spec.tensor import QuadraticForm

NAMES = ("theta", "g", "m", "v")
DIGITS = 60
ABSENT = 10**6  # the unit of a parameter that is not there: coarser than any
DEGREES = {"quadratic_form": {"x": 2}, "tensor_gradient": {"x": 2}}
FARTHEST = -1600  # exp of less is below every float, and below its square root times u

Result = TypeVar("Result")


# ---- numbers


def fractions(array: ArrayLike, name: str = "array") -> Array:
    """Return finite numbers as what they are: an object array of `Fraction`.

    Parameters
    ----------
    array : array_like of float32, float64, integers or exact rationals
    name : str
        For the message.

    Returns
    -------
    object array of Fraction

    Raises
    ------
    ValueError
        For NaN or an infinity, naming the first.

    Examples
    --------
    >>> fractions([0.1])
    array([Fraction(3602879701896397, 36028797018963968)], dtype=object)
    """
    array = as_array(name, array)
    require_finite(name, array)
    out = np.empty(array.shape, dtype=object)
    out.ravel()[:] = [Fraction(number) for number in array.ravel().tolist()]
    return out


def rounded(array: ArrayLike, dtype: DTypeLike) -> Array:
    """Return exact numbers, each rounded once to float32 or float64: to nearest, ties to even.

    Parameters
    ----------
    array : array_like of exact rationals
    dtype : dtype
        float32 or float64.

    Returns
    -------
    array
        An infinity stands where a number is beyond the largest float.

    Examples
    --------
    >>> rounded(np.array([Fraction(1, 3), Fraction(10) ** 40], dtype=object), np.float32)
    array([0.33333334,        inf], dtype=float32)
    """
    formats = {np.dtype(np.float64): FLOAT64, np.dtype(np.float32): FLOAT32}
    if np.dtype(dtype) not in formats:
        raise TypeError(f"dtype must be float32 or float64; got {np.dtype(dtype)}")
    numbers = fractions(array)
    floats = [nearest(number, formats[np.dtype(dtype)]) for number in numbers.flat]
    return np.array(floats, dtype).reshape(numbers.shape)


def exactly(function: Callable[..., Result], *arguments: Any, **settings: Any) -> Result:
    """Return what a function of the specification gives on `Fraction` instead of floats.

    Parameters
    ----------
    function : callable
        Any function of the specification that needs only `+ − ·` and division by integers.
    *arguments
        Arrays, layers, models or forms of floats; each becomes exact. The rest stays as it is.
    **settings
        Passed on as they are.

    Returns
    -------
    as the function

    Raises
    ------
    TypeError
        Where a float has leaked into the result, or the function refuses exact numbers.

    Examples
    --------
    >>> from refbilinear import BilinearMLP, mlp_forward
    >>> model = BilinearMLP([[0.5]], [BilinearLayer([[0.25]], [[1]])], None, residual=True)
    >>> exactly(mlp_forward, model, [[3]])
    array([[Fraction(33, 16)]], dtype=object)
    """
    result = function(*map_arrays(_exact, arguments), **settings)
    require_exact(result)
    return result


def require_exact(result: Any) -> None:
    """Raise TypeError if any number of a result is not a `Fraction` or an int.

    Examples
    --------
    >>> require_exact(np.array([Fraction(1, 2), Fraction(1, 2) * 0.5], dtype=object))
    Traceback (most recent call last):
    TypeError: a float has leaked into an exact result
    """
    map_arrays(_require_exact_array, result)


def _require_exact_array(array: Any) -> Any:
    for number in np.asarray(array, dtype=object).flat:
        if type(number) not in (Fraction, int):
            raise TypeError(f"a {type(number).__name__} has leaked into an exact result")
    return array


# ---- the specification, exactly


def forward(layer: BilinearLayer, x: ArrayLike) -> Array:
    """Return the exact `forward(layer, x)`.

    Parameters
    ----------
    layer : BilinearLayer
    x : (..., d_in) array_like

    Returns
    -------
    (..., d_out) object array of Fraction

    Examples
    --------
    >>> forward(BilinearLayer([[0.5]], [[0.25]]), [3])
    array([Fraction(9, 8)], dtype=object)
    """
    if layer.dtype == object:
        return exactly(spec_layer.forward, layer, x)
    inputs = dyadic("x", x)
    whole, units = _in_units(layer, inputs.unit)
    return _times_unit(spec_layer.forward(whole, inputs.integers()), units["b_out"])


def backward(layer: BilinearLayer, x: ArrayLike, dy: ArrayLike) -> Gradients:
    """Return the exact gradients `backward(layer, x, dy)`.

    Parameters
    ----------
    layer : BilinearLayer
    x : (..., d_in) array_like
    dy : (..., d_out) array_like

    Returns
    -------
    Gradients
        Of object arrays of Fraction.

    Examples
    --------
    >>> backward(BilinearLayer([[0.5]], [[3]]), [[2]], [[1]]).w_left
    array([[Fraction(12, 1)]], dtype=object)
    """
    if layer.dtype == object:
        return exactly(spec_layer.backward, layer, x, dy)
    inputs, upstream = dyadic("x", x), dyadic("dy", dy)
    whole, units = _in_units(layer, inputs.unit)
    total = upstream.unit + units["b_out"]
    units["x"] = inputs.unit
    gradients = spec_layer.backward(whole, inputs.integers(), upstream.integers())
    return Gradients._make(
        None if g is None else _times_unit(g, total - units[name])
        for name, g in gradients._asdict().items()
    )


def interaction_tensor(layer: BilinearLayer) -> Array:
    """Return the exact packed tensor, (d_out, n_pairs).

    Examples
    --------
    >>> interaction_tensor(BilinearLayer([[0.5, 0]], [[0, 3]]))
    array([[Fraction(0, 1), Fraction(3, 4), Fraction(0, 1)]], dtype=object)
    """
    if layer.dtype == object:
        return exactly(spec_tensor.interaction_tensor, layer)
    whole, units = _in_units(layer, 0, finer=1)  # even numbers, which the ½ leaves whole
    return _times_unit(spec_tensor.interaction_tensor(whole), units["b_out"])


def interaction_matrix(tensor: ArrayLike, u: ArrayLike) -> Array:
    """Return the exact `Σ_o u[o] B[o]`, (..., d, d), of a packed tensor as given.

    Examples
    --------
    >>> interaction_matrix([[1, 0.5, 0]], [3])
    array([[Fraction(3, 1), Fraction(3, 2)],
           [Fraction(3, 2), Fraction(0, 1)]], dtype=object)
    """
    return _multilinear(spec_tensor.interaction_matrix, tensor=tensor, u=u)


def output_form(layer: BilinearLayer, u: ArrayLike) -> QuadraticForm:
    """Return the exact quadratic form `u · y(x)` of a layer.

    Examples
    --------
    >>> output_form(BilinearLayer([[0.5]], [[3]], b_left=[1]), [1]).linear
    array([Fraction(3, 1)], dtype=object)
    """
    if layer.dtype == object:
        return exactly(spec_tensor.output_form, layer, u)
    direction = dyadic("u", u)
    whole, units = _in_units(layer, 0)
    form = spec_tensor.output_form(whole, direction.integers(direction.unit - 1))
    unit = units["b_out"] + direction.unit - 1
    matrix, linear, constant = (_times_unit(part, unit) for part in form)
    return QuadraticForm(matrix, linear, constant[()])  # type: ignore[arg-type]


def form_value(form: QuadraticForm, x: ArrayLike) -> Array:
    """Return the exact `xᵀQx + b·x + c` of a form as given.

    Examples
    --------
    >>> form_value(QuadraticForm(np.eye(1) / 2, np.ones(1), np.float64(3)), [[2]])
    array([Fraction(7, 1)], dtype=object)
    """
    return exactly(spec_tensor.form_value, form, x)


def quadratic_form(tensor: ArrayLike, x: ArrayLike) -> Array:
    """Return the exact `xᵀ B[o] x`, (..., d_out), of a packed tensor as given.

    Examples
    --------
    >>> quadratic_form([[1, 0.5, 0]], [1, 3])
    array([Fraction(4, 1)], dtype=object)
    """
    return _multilinear(spec_tensor.quadratic_form, tensor=tensor, x=x)


def bilinear_form(tensor: ArrayLike, x: ArrayLike, z: ArrayLike) -> Array:
    """Return the exact `xᵀ B[o] z`, (..., d_out), of a packed tensor as given.

    Examples
    --------
    >>> bilinear_form([[1, 0.5, 0]], [1, 3], [0, 1])
    array([Fraction(1, 2)], dtype=object)
    """
    return _multilinear(spec_tensor.bilinear_form, tensor=tensor, x=x, z=z)


def tensor_gradient(x: ArrayLike, dy: ArrayLike) -> Array:
    """Return the exact `Σ_n dy[n,o] x[n,i] x[n,j]`, packed.

    Examples
    --------
    >>> tensor_gradient([[0.5, 2]], [[1]])
    array([[Fraction(1, 4), Fraction(1, 1), Fraction(4, 1)]], dtype=object)
    """
    return _multilinear(spec_tensor.tensor_gradient, x=x, dy=dy)


def truncated_form(eigenvalues: ArrayLike, eigenvectors: ArrayLike, x: ArrayLike) -> Array:
    """Return the exact `Σ_k λ_k (v_k · x)²` of eigenpairs as given, the vectors in columns.

    Examples
    --------
    >>> truncated_form([3.0, -4.0], [[1, 0], [0, 0.5]], [[1, 10]])
    array([Fraction(-97, 1)], dtype=object)
    """
    return exactly(bounds.truncated_form, eigenvalues, eigenvectors, x)


def squared_error(y: ArrayLike, t: ArrayLike) -> Loss:
    """Return the exact `(1/n) Σ_n ‖y_n − t_n‖²` and its gradient.

    Examples
    --------
    >>> squared_error([[1.5], [0]], [[1], [1]]).value
    Fraction(5, 8)
    """
    return exactly(spec_loss.squared_error, y, t)


# ---- to sixty digits


def cross_entropy(y: ArrayLike, labels: ArrayLike) -> Loss:
    """Return the softmax cross-entropy and its gradient to at least 60 digits, as fractions.

    `(1/n) Σ_n log Σ_c exp(y_nc − y_n,label)`, each exponential and logarithm in decimal arithmetic
    of so many digits that neither a small loss nor a small gradient loses any.

    Parameters
    ----------
    y : (n, d_out) array_like
        Floats or rationals.
    labels : (n,) array_like of integers

    Returns
    -------
    Loss
        `value`, a Fraction, and `dy`, (n, d_out) of Fraction.

    Examples
    --------
    >>> loss = cross_entropy([[100.0, 0.0]], [0])
    >>> float(loss.value), rounded(loss.dy, np.float64)
    (3.720075976020836e-44, array([[-3.72007598e-44,  3.72007598e-44]]))
    """
    logits = fractions(enter_y(y), "y")
    labels = enter_labels(labels, *logits.shape)
    n = len(logits)
    examples = [_softmax_loss(row, label) for row, label in zip(logits, labels, strict=True)]
    value = sum((loss for loss, _ in examples), Fraction(0)) / n
    dy = np.empty_like(logits)
    dy[:] = [shares for _, shares in examples]
    return Loss(value, dy / n)  # type: ignore[arg-type]


def adamw(
    theta: Array,
    g: Array,
    m: Array,
    v: Array,
    t: int,
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> AdamWState:
    """Return one AdamW step of floats, the root to 60 digits and the rest exact, as fractions.

    The settings are the floats that they are: 0.9 is not nine tenths.

    Parameters
    ----------
    theta, g, m, v : array
        Parameter, gradient and moments, of one shape.
    t : int
        Number of the step, from 1.
    learning_rate, weight_decay, beta1, beta2, epsilon : float

    Returns
    -------
    AdamWState
        Of object arrays of Fraction.

    Examples
    --------
    >>> one, zero = np.ones(1), np.zeros(1)
    >>> stepped = adamw(one, one, zero, zero, 1, learning_rate=0.5, epsilon=0)
    >>> stepped.theta
    array([Fraction(1, 2)], dtype=object)
    """
    state = enter_state(theta, g, m, v)
    theta, g, m, v = (fractions(a, name) for a, name in zip(state, NAMES, strict=True))
    require_count("t", t, 1)
    settings = (learning_rate, weight_decay, beta1, beta2, epsilon)
    eta, decay, b1, b2, eps = (Fraction(number) for number in settings)
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * (g * g)
    step = eta * (m / (1 - b1**t)) / (_roots(v / (1 - b2**t)) + eps)
    return AdamWState((1 - eta * decay) * theta - step, m, v)


# ---- units


def _in_units(layer: BilinearLayer, x: int, finer: int = 0) -> tuple[BilinearLayer, dict[str, int]]:
    """Return the layer in integers, and the exponent of each parameter's unit; y's is `b_out`.

    `x` is the exponent of the inputs' unit; `finer` makes the left unit so much smaller.
    """
    arrays = {name: dyadic(name, w) for name, w in parameters(layer).items()}
    own = dict.fromkeys(LAYER_PARAMETERS, ABSENT) | {n: array.unit for n, array in arrays.items()}
    out = own["w_out"] if "w_out" in arrays else 0
    right = min(own["w_right"], own["b_right"] - x)
    rest = out + right + x  # what the left unit is multiplied with in a linear term
    left = min(own["w_left"], own["b_left"] - x, own["w_skip"] - rest, own["b_out"] - rest - x)
    left -= finer
    units = {
        "w_left": left, "w_right": right, "w_out": out, "b_left": left + x, "b_right": right + x,
        "w_skip": left + rest, "b_out": left + rest + x,
    }  # fmt: skip
    whole = {name: array.integers(units[name]) for name, array in arrays.items()}
    return BilinearLayer(**whole), units


def _multilinear(function: Callable[..., Array], **arguments: ArrayLike) -> Array:
    """Return the exact value of a function linear in each argument, or of degree DEGREES in it."""
    arrays = {name: as_array(name, value) for name, value in arguments.items()}
    if any(array.dtype == object for array in arrays.values()):
        return exactly(function, *arrays.values())
    floats = {name: dyadic(name, array) for name, array in arrays.items()}
    degrees = DEGREES.get(function.__name__, {})
    unit = sum(degrees.get(name, 1) * array.unit for name, array in floats.items())
    return _times_unit(function(*(array.integers() for array in floats.values())), unit)


def _times_unit(integers: Any, exponent: int) -> Array:
    """Return integers times `2^exponent`, as fractions."""
    array = np.asarray(integers, dtype=object)
    scale = Fraction(2) ** exponent
    up, down = scale.numerator, scale.denominator
    out = np.empty(array.shape, dtype=object)
    out.ravel()[:] = [Fraction(_whole(number) * up, down) for number in array.flat]
    return out


def _whole(number: Any) -> int:
    """Return an int, or a Fraction that is one, as int; nothing else is exact."""
    if type(number) not in (int, Fraction) or number.denominator != 1:
        raise TypeError(f"a {type(number).__name__} has leaked into an exact result")
    return int(number)


def _exact(argument: Any) -> Any:
    """Return floats as fractions; a count stays an int, as a scalar becomes one Fraction."""
    return argument if type(argument) is int else fractions(argument)[()]


# ---- decimal arithmetic


def _softmax_loss(y: Array, label: int) -> tuple[Fraction, list[Fraction]]:
    """Return `log Σ_c exp(y_c − y_label)` and `softmax(y) − onehot` of one example."""
    gaps = [number - max(y) for number in y]
    context = _context(DIGITS - int(max(min(gaps), FARTHEST)))
    terms = [_exp(gap, context) for gap in gaps]
    total = sum(terms, Fraction(0))
    loss = Fraction(context.ln(_decimal(total, context))) - gaps[label]
    shares = [term / total for term in terms]
    shares[label] = -(total - terms[label]) / total
    return loss, shares


def _exp(gap: Fraction, context: Context) -> Fraction:
    """Return `exp(gap)`, gap ≤ 0; 0 where no float is as small."""
    return Fraction(0) if gap < FARTHEST else Fraction(context.exp(_decimal(gap, context)))


def _roots(array: Array) -> Array:
    context = _context(DIGITS + 2)
    out = np.empty_like(array)
    out.ravel()[:] = [Fraction(context.sqrt(_decimal(x, context))) for x in array.flat]
    return out


def _decimal(number: Fraction, context: Context) -> Decimal:
    return context.divide(Decimal(number.numerator), Decimal(number.denominator))


def _context(digits: int) -> Context:
    return Context(prec=digits, rounding=ROUND_HALF_EVEN, Emin=-(10**6), Emax=10**6)
