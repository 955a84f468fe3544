"""Three evaluators and one answer: fractions, integers in units, and loops without NumPy."""

import sys
from fractions import Fraction
from functools import partial
from inspect import signature
from itertools import chain
from subprocess import run

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import laws
import refbilinear
from refbilinear import BilinearLayer, QuadraticForm, n_pairs, parameters
from refbilinear.oracle import exact, loops, training
from refbilinear.oracle.dyadic import Integers
from refbilinear.oracle.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, TFLOAT32, nearest
from refbilinear.oracle.rationals import largest, root
from strategies import FLOATS, OPTIONAL, arrays, layers_with_batch, models_with_batch, random_layer

BOTH = pytest.mark.parametrize("dtype", FLOATS)


def lists(layer):
    return {name: w.tolist() for name, w in parameters(layer).items()}


def three_agree(function, *arguments):
    """The specification on fractions, on integers in units, and the loops give one answer."""
    plain = exact.exactly(getattr(refbilinear, function), *arguments)
    quick = getattr(exact, function)(*arguments)
    nested = getattr(loops, function)(*(as_lists(argument) for argument in arguments))
    exact.require_exact(quick)
    if isinstance(plain, tuple) and isinstance(nested, dict):
        nested = [nested.get(name) for name in plain._fields]
    if not isinstance(plain, tuple):
        plain, quick, nested = [plain], [quick], [nested]
    for one, two, three in zip(plain, quick, nested, strict=True):
        assert (one is None) == (two is None) == (three is None)
        if one is not None:
            laws.same(one, two)
            laws.same(np.asarray(one, dtype=object).ravel(), np.array(three, dtype=object).ravel())


def as_lists(argument):
    if isinstance(argument, BilinearLayer):
        return lists(argument)
    if isinstance(argument, QuadraticForm):
        return tuple(part.tolist() for part in argument)
    return argument.tolist()


@BOTH
@settings(max_examples=100)
@given(data=st.data())
def test_layers(dtype, data):
    layer, x, dy = data.draw(layers_with_batch(dtype))
    three_agree("forward", layer, x)
    three_agree("backward", layer, x, dy)
    three_agree("interaction_tensor", layer)
    three_agree("output_form", layer, dy[0])
    three_agree("form_value", refbilinear.output_form(layer, dy[0]), x)
    three_agree("squared_error", dy, dy[::-1])


@BOTH
@given(data=st.data(), d=st.integers(1, 6))
def test_tensors(dtype, data, d):
    tensor = data.draw(arrays((3, n_pairs(d)), dtype))
    x, z, dy = (data.draw(arrays((4, size), dtype)) for size in (d, d, 3))
    three_agree("quadratic_form", tensor, x)
    three_agree("bilinear_form", tensor, x, z)
    three_agree("interaction_matrix", tensor, dy[0])
    three_agree("tensor_gradient", x, dy)
    one = exact.truncated_form(dy[0, :2], x[:2].T, z)
    laws.same(one, loops.truncated_form(dy[0, :2].tolist(), x[:2].T.tolist(), z.tolist()))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_ends_of_the_number_range(dtype):
    """Subnormal beside the largest: a shift of four thousand bits, and still exact."""
    info = np.finfo(dtype)
    ends = np.array([info.smallest_subnormal, -info.max, 3 * info.tiny, 0, 1, -info.eps], dtype)
    rng = np.random.default_rng(3)
    for seed in range(8):
        layer = random_layer(np.random.default_rng(seed), OPTIONAL[: seed % 6], dtype=dtype)
        layer = BilinearLayer(
            **{n: rng.choice(ends, w.shape) for n, w in parameters(layer).items()}
        )
        x, dy = rng.choice(ends, (4, 3)), rng.choice(ends, (4, layer.d_out))
        three_agree("forward", layer, x)
        three_agree("backward", layer, x, dy)
        three_agree("interaction_tensor", layer)


def test_exact_numbers_pass_through():
    layer = random_layer(np.random.default_rng(4))
    x, dy, u = laws.exact(np.ones((4, 3))) / 3, laws.exact(np.ones((4, 2))), laws.exact(np.ones(2))
    tensor = refbilinear.interaction_tensor(layer)
    laws.same(exact.forward(layer, x), refbilinear.forward(layer, x))
    laws.same(exact.backward(layer, x, dy).x, refbilinear.backward(layer, x, dy).x)
    laws.same(exact.interaction_tensor(layer), tensor)
    laws.same(exact.output_form(layer, u).linear, refbilinear.output_form(layer, u).linear)
    laws.same(exact.interaction_matrix(tensor, u), refbilinear.interaction_matrix(tensor, u))
    laws.same(
        exact.tensor_gradient(x, dy).astype(float), refbilinear.tensor_gradient(x, dy).astype(float)
    )
    three_agree("forward", layer, x)
    three_agree("interaction_tensor", layer)
    thirds = BilinearLayer(**{name: laws.exact(w) / 3 for name, w in parameters(layer).items()})
    three_agree("forward", thirds, x)
    three_agree("backward", thirds, x, dy)
    three_agree("interaction_tensor", thirds)
    three_agree("output_form", thirds, u)


@settings(max_examples=20)
@given(data=st.data())
def test_models_are_evaluated_exactly(data):
    model, x, dy = data.draw(models_with_batch(np.float64, largest=4))
    y = exact.exactly(refbilinear.mlp_forward, model, x)
    laws.same(y, refbilinear.mlp_forward(laws.exact_model(model), exact.fractions(x)))
    gradients = exact.exactly(refbilinear.mlp_backward, model, x, dy)
    exact.require_exact(gradients)


@pytest.mark.parametrize("fine", ["w_left", "w_right", *OPTIONAL])
@pytest.mark.parametrize("exponent", [-60, 60])
def test_one_parameter_much_finer_or_coarser_than_all_others(fine, exponent):
    """Each part is in a unit of its own, so that it meets the others in y's."""
    layer = random_layer(np.random.default_rng(5), OPTIONAL, (3, 2, 4), np.float64)
    parts = {
        name: np.ldexp(np.rint(8 * w), exponent if name == fine else 0)
        for name, w in parameters(layer).items()
    }
    layer = BilinearLayer(**parts)
    x, dy = np.full((2, 3), 4.0), np.arange(8.0).reshape(2, 4) / 2
    three_agree("forward", layer, x)
    three_agree("backward", layer, x, dy)
    three_agree("interaction_tensor", layer)
    three_agree("output_form", layer, dy[1])


def test_the_defaults_of_an_optimizer_are_the_same_everywhere():
    functions = (refbilinear.adamw, exact.adamw, loops.adamw, training.adamw_bound)
    first, *others = (
        {n: p.default for n, p in signature(f).parameters.items() if p.kind is p.KEYWORD_ONLY}
        for f in functions
    )
    assert len(first) == 5
    for other in others:
        assert {name: other[name] for name in first} == first


def test_roots_are_above_or_below_by_little():
    for number in range(1, 40):
        for exponent in (-2200, -107, -2, -1, 0, 1, 2, 53, 2101):
            square = Fraction(number, 3) * Fraction(2) ** exponent
            above, below = root(square), root(square, above=False)
            assert below**2 <= square <= above**2
            assert square <= (below * (1 + Fraction(1, 2**99))) ** 2
            assert (above * (1 - Fraction(1, 2**99))) ** 2 <= square
    assert root(Fraction(9, 4)) == root(Fraction(9, 4), above=False) == Fraction(3, 2)
    assert root(Fraction(0)) == 0


def test_the_largest_magnitude():
    assert largest(np.float32([0.25, -0.5])) == Fraction(1, 2)
    assert largest(np.zeros(0)) == 0


def test_empty_sizes():
    layer = random_layer(np.random.default_rng(0), sizes=(3, 0, 2), dtype=np.float64)
    x = np.ones((4, 3))
    three_agree("forward", layer, x)
    laws.same(exact.interaction_tensor(layer), exact.exactly(refbilinear.interaction_tensor, layer))
    full = random_layer(np.random.default_rng(0), dtype=np.float64)
    three_agree("forward", full, x[:0])
    three_agree("backward", full, x[:0], np.ones((0, 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    layer = BilinearLayer([[1.0]], [[1.0]])
    with pytest.raises(ValueError, match=r"x must be finite; got .* at \(1, 0\)"):
        exact.forward(layer, [[0], [bad]])
    with pytest.raises(ValueError, match=r"w_right must be finite"):
        exact.forward(BilinearLayer([[1.0]], [[bad]]), [[0]])
    with pytest.raises(ValueError, match=r"y must be finite"):
        exact.cross_entropy([[bad]], [0])


# ---- the guards


def test_a_leaked_float_is_seen():
    def leaky(x):
        return {"tuple": (x, x[0] * 0.5)}["tuple"]

    with pytest.raises(TypeError, match="a float has leaked"):
        exact.exactly(leaky, [1, 2])
    layer = laws.exact_layer(random_layer(np.random.default_rng(1), dtype=np.float64))
    exact.require_exact(layer)
    exact.require_exact(exact.exactly(refbilinear.fold, laws.small_mlp(layer)))
    with pytest.raises(TypeError, match="has leaked into an exact result"):
        exact.require_exact(random_layer(np.random.default_rng(1), dtype=np.float64))


@pytest.mark.parametrize("leak", [0.5, Fraction(1, 2)])
def test_the_quick_way_refuses_what_is_no_integer(leak):
    with pytest.raises(TypeError, match="has leaked into an exact result"):
        exact._times_unit(np.array([1, leak], dtype=object), 3)


def test_integers_divide_without_remainder_or_not_at_all():
    integers = np.array([4, 6], dtype=object).view(Integers)
    laws.same(integers / 2, [2, 3])
    with pytest.raises(ArithmeticError, match="4 does not divide"):
        integers / 4


# ---- rounding


def numpy_nearest(value, dtype):
    with np.errstate(over="ignore"):
        return float(np.float64(value).astype(dtype))


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(2.0**-1074)
@example(65520.0)
@example(65519.999)
@example(2.0**-25)
@example(2.0**-150)
def test_rounding_is_that_of_ieee(value):
    number = Fraction(value)
    assert nearest(number, FLOAT64) == value
    assert nearest(number, FLOAT32) == numpy_nearest(value, np.float32)
    assert nearest(number, FLOAT16) == numpy_nearest(value, np.float16)


@given(st.fractions(), st.integers(-1100, 1000))
def test_rounding_of_fractions(value, power):
    number = value * Fraction(2) ** power
    try:
        assert nearest(number, FLOAT64) == number.numerator / number.denominator
    except OverflowError:
        assert abs(nearest(number, FLOAT64)) == np.inf


def test_rounding_once():
    """Between two float32 numbers, nearer the upper by less than float64 can see."""
    tie = 1 + Fraction(1, 2**24)
    just_above = tie + Fraction(1, 2**80)
    numbers = np.array([tie, just_above, -(Fraction(10) ** 39), 0], dtype=object)
    up = float(np.nextafter(np.float32(1), np.float32(2)))
    got = exact.rounded(numbers, np.float32)
    assert got.dtype == np.float32
    assert got.tolist() == [1.0, up, -np.inf, 0.0]
    assert nearest(Fraction(257), BFLOAT16) == 256
    assert nearest(Fraction(2**11 + 1), TFLOAT32) == 2**11
    with pytest.raises(TypeError, match="dtype must be float32 or float64; got int64"):
        exact.rounded(numbers, int)


@pytest.mark.parametrize(
    ("form", "dtype"), [(FLOAT64, np.float64), (FLOAT32, np.float32), (FLOAT16, np.float16)]
)
def test_formats_are_those_of_numpy(form, dtype):
    info = np.finfo(dtype)
    assert form.unit == info.eps / 2
    assert form.smallest == info.smallest_subnormal
    assert form.smallest_normal == info.tiny
    assert form.largest == info.max


# ---- exponentials and roots


def agree(one, two):
    """Two numbers are equal to 55 digits, of what float64 can tell from zero by far."""
    assert abs(one - two) <= abs(two) * Fraction(1, 10**55) + Fraction(1, 10**400)


@BOTH
@settings(max_examples=50)
@given(data=st.data(), scale=st.sampled_from([1.0, 1e-3, 30.0, 400.0]))
def test_cross_entropy_twice(dtype, data, scale):
    y = (data.draw(arrays((2, 3), dtype)) * dtype(scale)).astype(dtype)
    labels = data.draw(st.lists(st.integers(0, 2), min_size=2, max_size=2))
    loss = exact.cross_entropy(y, labels)
    value, dy = loops.cross_entropy(y.tolist(), labels)
    agree(loss.value, value)
    for one, two in zip(loss.dy.ravel(), chain(*dy), strict=True):
        agree(one, two)
    assert sum(loss.dy.ravel()) == 0 or abs(sum(loss.dy.ravel())) < Fraction(1, 10**55)


def test_cross_entropy_far_from_the_label():
    loss = exact.cross_entropy([[1e300, 0.0], [0.0, 700.0]], [1, 1])
    assert float(loss.value) == 5e299
    value, dy = loops.cross_entropy([[1e300, 0.0], [0.0, 700.0]], [1, 1])
    agree(loss.value, value)
    agree(loss.dy[1, 0], dy[1][0])
    assert float(loss.dy[1, 0] * 2) == pytest.approx(np.exp(-700.0), rel=1e-12)
    with pytest.raises(ValueError, match="y must hold at least one example"):
        exact.cross_entropy(np.ones((0, 2)), [])


@BOTH
@given(data=st.data(), t=st.integers(1, 50))
def test_adamw_twice(dtype, data, t):
    theta, g, m = (data.draw(arrays((3,), dtype)) for _ in range(3))
    v = abs(data.draw(arrays((3,), dtype)))
    options = {"learning_rate": 0.01, "weight_decay": 0.1, "epsilon": 1e-8}
    state = exact.adamw(theta, g, m, v, t, **options)
    step = partial(loops.adamw, t=t, **options)
    for k, numbers in enumerate(zip(theta, g, m, v, strict=True)):
        new = step(*map(float, numbers))
        agree(state.theta[k] - exact.fractions(theta)[k], new[0] - Fraction(float(theta[k])))
        assert (state.m[k], state.v[k]) == new[1:]


def test_loops_need_no_numpy():
    program = "import sys; sys.modules['numpy'] = None; import runpy; runpy.run_path(sys.argv[1])"
    assert run([sys.executable, "-c", program, loops.__file__], check=False).returncode == 0
