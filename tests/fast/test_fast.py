"""`refbilinear.fast`: the specification's numbers, one sequence of bits, and one vocabulary."""

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from itertools import count, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
import refbilinear
from refbilinear import BilinearLayer, n_pairs, pair_indices, parameters
from refbilinear.oracle import bounds
from strategies import (
    FLOATS,
    LAYOUTS,
    OPTIONAL,
    arrays,
    layer_shapes,
    layers,
    layers_with_x,
    optional_names,
    plain,
    random_array,
    random_layer,
)

if os.environ.get("REFBILINEAR_PURE") and find_spec("refbilinear._kernel") is None:
    pytest.skip("installed without the kernel, as REFBILINEAR_PURE asks", allow_module_level=True)
fast = importlib.import_module("refbilinear.fast")

FUNCTIONS = ("interaction_tensor", "tensor_gradient", "quadratic_form", "bilinear_form")
QUIET_NAN = {np.float32: 0x7FC00000, np.float64: 0x7FF8000000000000}
HOME = os.path.dirname(os.path.dirname(fast.__file__))

# Sizes about the edges of every tile: vectors of 1 to 16 numbers, up to 12 of them, 128 hidden
# units in a pass, up to 12 outputs together.
D_IN, D_HIDDEN = st.integers(0, 70), st.integers(0, 260)
D_OUT, N = st.integers(0, 20), st.integers(0, 60)
SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from(FLOATS)


def run(code, **environment):
    """Run code in a fresh interpreter; return its exit code, standard output and error."""
    names = {k: v for k, v in os.environ.items() if not k.startswith("REFBILINEAR_")}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {HOME!r})\n{code}"],
        env=names | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def case(rng, d=9, d_hidden=5, d_out=4, n=7, dtype=np.float64, names=OPTIONAL):
    """Return the arguments of every function, by name."""
    layer = random_layer(rng, names, (d, d_hidden, d_out), dtype)
    tensor = random_array(rng, (d_out, n_pairs(d)), dtype)
    x, z = random_array(rng, (n, d), dtype), random_array(rng, (n, d), dtype)
    dy = random_array(rng, (n, d_out), dtype)
    return {
        "interaction_tensor": (layer,),
        "tensor_gradient": (x, dy),
        "quadratic_form": (tensor, x),
        "bilinear_form": (tensor, x, z),
    }


def results(arguments, **keywords):
    """Return the bytes of every function's result, having looked at its memory."""
    found = {}
    for name, given_ in arguments.items():
        got = getattr(fast, name)(*given_, **keywords)
        assert got.flags.c_contiguous
        assert got.flags.writeable
        found[name] = (got.shape, got.dtype.str, got.tobytes())
    return found


def no_negative_zero(array):
    assert not np.signbit(array[array == 0]).any()


# ---- the specification's numbers


def agree(got, want, bound):
    """Each is within the bound of the exact number, so they are within twice the bound."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape == bound.shape
    assert (np.abs(got.astype(np.float64) - want.astype(np.float64)) <= 2 * bound).all()
    no_negative_zero(got)


@settings(max_examples=60)
@given(D_IN, D_HIDDEN, D_OUT, optional_names(), DTYPES, SEEDS)
def test_the_tensor_is_the_specifications(d_in, d_hidden, d_out, names, dtype, seed):
    d_hidden = d_hidden if "w_out" in names else d_hidden % 30
    layer = random_layer(np.random.default_rng(seed), names, (d_in, d_hidden, d_out), dtype)
    want = refbilinear.interaction_tensor(layer)
    agree(fast.interaction_tensor(layer), want, bounds.tensor_bound(layer))


@settings(max_examples=60)
@given(D_IN, D_OUT, N, DTYPES, SEEDS)
def test_the_forms_are_the_specifications(d, d_out, n, dtype, seed):
    rng = np.random.default_rng(seed)
    tensor, x, z = (random_array(rng, s, dtype) for s in ((d_out, n_pairs(d)), (n, d), (n, d)))
    want, bound = refbilinear.quadratic_form(tensor, x), bounds.quadratic_form_bound(tensor, x)
    agree(fast.quadratic_form(tensor, x), want, bound)
    want, bound = refbilinear.bilinear_form(tensor, x, z), bounds.bilinear_form_bound(tensor, x, z)
    agree(fast.bilinear_form(tensor, x, z), want, bound)


@settings(max_examples=60)
@given(D_IN, D_OUT, D_HIDDEN, DTYPES, SEEDS)
def test_the_gradient_is_the_specifications(d, d_out, n, dtype, seed):
    rng = np.random.default_rng(seed)
    x, dy = random_array(rng, (n, d), dtype), random_array(rng, (n, d_out), dtype)
    want = refbilinear.tensor_gradient(x, dy)
    agree(fast.tensor_gradient(x, dy), want, bounds.tensor_gradient_bound(x, dy))


@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=40)
@given(D_IN, D_HIDDEN, D_OUT, N, optional_names(), SEEDS)
def test_integers_are_exact(dtype, d_in, d_hidden, d_out, n, names, seed):
    """Sums below 2**24 have no rounding in any order."""
    rng = np.random.default_rng(seed)
    d_hidden = d_hidden if "w_out" in names else d_hidden % 30
    shapes = layer_shapes(names, d_in, d_hidden, d_out)
    whole = {k: 2.0 * rng.integers(-2, 3, shape) for k, shape in shapes.items()}
    layer = BilinearLayer(**{name: array.astype(dtype) for name, array in whole.items()})
    d_out = layer.d_out
    tensor = rng.integers(-5, 6, (d_out, n_pairs(d_in))).astype(dtype)
    x, z = (rng.integers(-5, 6, (n, d_in)).astype(dtype) for _ in range(2))
    dy = rng.integers(-5, 6, (n, d_out)).astype(dtype)
    for name, arguments in {
        "interaction_tensor": (layer,),
        "tensor_gradient": (x, dy),
        "quadratic_form": (tensor, x),
        "bilinear_form": (tensor, x, z),
    }.items():
        got = getattr(fast, name)(*arguments)
        laws.same(got, getattr(refbilinear, name)(*arguments))
        no_negative_zero(got)


@settings(max_examples=30)
@given(layers_with_x(np.float64), SEEDS)
def test_every_result_is_in_bound_of_the_exact_one(drawn, seed):
    layer, x = drawn
    rng = np.random.default_rng(seed)
    z, dy = random_array(rng, x.shape, np.float64), random_array(rng, (len(x), 3), np.float64)
    tensor = random_array(rng, (3, n_pairs(layer.d_in)), np.float64)
    laws.tensor_is_in_bound(OF_FLOATS, layer)
    laws.quadratic_form_is_in_bound(OF_FLOATS, tensor, x)
    laws.bilinear_form_is_in_bound(OF_FLOATS, tensor, x, z)
    laws.tensor_gradient_is_in_bound(OF_FLOATS, x, dy)


OF_FLOATS = laws.package(**{name: getattr(fast, name) for name in FUNCTIONS})


# ---- the laws: small dyadic numbers go through float64 and come out exact


def floats(value):
    """Return exact numbers as float64."""
    if isinstance(value, BilinearLayer):
        return BilinearLayer(**{k: v.astype(np.float64) for k, v in parameters(value).items()})
    return np.asarray(value).astype(np.float64)


def exactly(name):
    return lambda *arguments: laws.exact(getattr(fast, name)(*map(floats, arguments)))


OF = laws.package(**{name: exactly(name) for name in FUNCTIONS})
LAWS_OF_A_LAYER = [
    laws.form_equals_forward,
    laws.identity_output_is_no_output,
    laws.swap_changes_nothing,
    laws.unit_order_changes_nothing,
    laws.outputs_permute,
    laws.inputs_permute,
    laws.hidden_blocks_add,
    laws.zero_unit_changes_nothing,
    laws.batch_is_a_stack,
]


@settings(max_examples=30)
@given(layers())
def test_the_tensor_is_its_definition(layer):
    laws.tensor_is_the_definition(OF, layer)


@pytest.mark.parametrize("law", LAWS_OF_A_LAYER, ids=lambda law: law.__name__)
@settings(max_examples=15)
@given(layers_with_x())
def test_laws_of_a_layer(law, drawn):
    law(OF, *drawn)


@settings(max_examples=30)
@given(layers_with_x(), st.data())
def test_linear_in_the_output_weights(drawn, data):
    layer, x = drawn
    other = data.draw(arrays((layer.d_out, layer.d_hidden)))
    laws.linear_in_the_output_weights(OF, layer, x, other)


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.data())
def test_laws_of_the_forms(d, d_out, n, data):
    shapes = ((d_out, n_pairs(d)), (n, d), (n, d), (n, d_out))
    tensor, x, z, dy = (data.draw(arrays(shape)) for shape in shapes)
    laws.polarisation(OF, tensor, x, z)
    laws.quadratic_form_is_the_definition(OF, tensor, x)
    laws.tensor_gradient_is_the_differences(OF, tensor, x, dy)


# ---- the formula, in rationals with one rounding an operation


def rounder(dtype):
    """Return the function that rounds a rational to the nearest number of a dtype, ties to even."""
    info = np.finfo(dtype)

    def rounded(q):
        if not q:
            return Fraction(0)
        exponent = abs(q.numerator).bit_length() - q.denominator.bit_length()
        exponent -= abs(q) < Fraction(2) ** exponent
        ulp = Fraction(2) ** max(exponent - info.nmant, int(info.minexp) - info.nmant)
        return round(q / ulp) * ulp

    return rounded


@pytest.mark.parametrize("seed", range(50))
def test_the_rounder_rounds_as_the_machine(seed):
    rng = np.random.default_rng(seed)
    q = Fraction(*(int(n) for n in rng.integers(1, 2**60, 2))) * Fraction(2) ** int(
        rng.integers(-1085, 900)
    )
    assert rounder(np.float64)(q) == Fraction(float(q))
    single = np.float64(float(np.float32(rng.uniform(1, 2)))) * (
        1 + rng.choice([2.0**-24, 2.0**-25])
    )
    single = np.ldexp(single, int(rng.integers(-148, 100)))  # a tie, exact in float64
    assert rounder(np.float32)(Fraction(float(single))) == Fraction(float(np.float32(single)))


def formula_tensor(layer, rnd):
    zero, exact = Fraction(0), laws.exact_layer(layer)
    left, right = exact.w_left, exact.w_right
    if layer.has_constant:
        column = np.full(layer.d_hidden, zero, dtype=object)
        left = np.c_[left, column if exact.b_left is None else exact.b_left]
        right = np.c_[right, column if exact.b_right is None else exact.b_right]
    d = left.shape[1]
    tensor = np.empty((layer.d_out, n_pairs(d)), dtype=object)
    for o, (p, (i, j)) in product(
        range(layer.d_out), enumerate(zip(*pair_indices(d), strict=True))
    ):
        pairs = [
            rnd(rnd(left[h, i] * right[h, j]) + rnd(left[h, j] * right[h, i]))
            for h in range(layer.d_hidden)
        ]
        if layer.w_out is None:
            total = rnd(pairs[o] / 2)
        else:
            total = zero
            for h, pair in enumerate(pairs):
                total = rnd(exact.w_out[o, h] * pair + total)
            total = rnd(total / 2)
        if layer.has_constant and i == d - 1:
            if j < i and layer.w_skip is not None:
                total = rnd(total + rnd(exact.w_skip[o, j] / 2))
            if j == i and layer.b_out is not None:
                total = rnd(total + exact.b_out[o])
        tensor[o, p] = total
    return tensor


def formula_gradient(x, dy, rnd):
    x, dy = laws.exact(x), laws.exact(dy)
    gradient = np.empty((dy.shape[1], n_pairs(x.shape[1])), dtype=object)
    for o, (p, (i, j)) in product(
        range(len(gradient)), enumerate(zip(*pair_indices(x.shape[1]), strict=True))
    ):
        total = Fraction(0)
        for row, weight in zip(x, dy[:, o], strict=True):
            total = rnd(weight * rnd(row[i] * row[j]) + total)
        gradient[o, p] = total
    return gradient


def chain(b, x, i, rnd):
    total = Fraction(0)
    for j in range(i):
        total = rnd(b[i * (i + 1) // 2 + j] * x[j] + total)
    return total


def formula_quadratic(tensor, x, rnd):
    tensor, x = laws.exact(tensor), laws.exact(x)
    y = np.full((len(x), len(tensor)), Fraction(0), dtype=object)
    for n, o in np.ndindex(y.shape):
        for i, xi in enumerate(x[n]):
            row, diagonal = chain(tensor[o], x[n], i, rnd), tensor[o, n_pairs(i + 1) - 1]
            y[n, o] = rnd(xi * rnd(diagonal * xi + rnd(2 * row)) + y[n, o])
    return y


def formula_bilinear(tensor, x, z, rnd):
    tensor, x, z = laws.exact(tensor), laws.exact(x), laws.exact(z)
    y = np.full((len(x), len(tensor)), Fraction(0), dtype=object)
    for n, o in np.ndindex(y.shape):
        for i, (xi, zi) in enumerate(zip(x[n], z[n], strict=True)):
            of_x, of_z = chain(tensor[o], x[n], i, rnd), chain(tensor[o], z[n], i, rnd)
            cross = rnd(rnd(xi * of_z) + rnd(zi * of_x))
            diagonal = tensor[o, n_pairs(i + 1) - 1]
            y[n, o] = rnd(y[n, o] + rnd(diagonal * rnd(xi * zi) + cross))
    return y


# Powers of two that move the numbers about: none, and into the subnormals at various steps.
SHIFTS = {
    np.float32: (0, -20, -45, -48, -70, -72, -140),
    np.float64: (0, -180, -355, -358, -535, -1070),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("variant", fast.variants())
@settings(max_examples=25)
@given(data=st.data())
def test_the_formula_to_the_last_bit(dtype, variant, data):
    d, d_hidden, d_out, n = (data.draw(st.integers(0, most)) for most in (5, 4, 4, 4))
    shift, names = data.draw(st.sampled_from(SHIFTS[dtype])), data.draw(optional_names())
    rng, rnd = np.random.default_rng(data.draw(SEEDS)), rounder(dtype)

    def small(array):
        return np.ldexp(array, shift).astype(dtype)

    arguments = case(rng, d, d_hidden, d_out, n, dtype, names)
    arguments = {
        name: tuple(
            BilinearLayer(**{k: small(v) for k, v in parameters(a).items()})
            if isinstance(a, BilinearLayer)
            else small(a)
            for a in given_
        )
        for name, given_ in arguments.items()
    }
    formulas = (formula_tensor, formula_gradient, formula_quadratic, formula_bilinear)
    for name, formula in zip(FUNCTIONS, formulas, strict=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fast, "_ACTIVE", variant)
            got = getattr(fast, name)(*arguments[name])
        laws.same(laws.exact(got), formula(*arguments[name], rnd))
        no_negative_zero(got)


# ---- one sequence of bits


def special(rng, shape, dtype):
    """Return numbers among which are NaNs of several bits, infinities, -0 and subnormals."""
    info = np.finfo(dtype)
    bits = np.array([QUIET_NAN[dtype] + 5], f"u{info.bits // 8}").view(dtype)[0]
    pool = [1, -2, 0.0, -0.0, info.smallest_subnormal, -info.tiny / 2, info.max, -1]
    pool += [np.inf, -np.inf, np.nan, -np.nan, bits] if rng.integers(2) else []
    return np.array(pool, dtype)[rng.integers(0, len(pool), shape)]


@settings(max_examples=40)
@given(D_IN, D_HIDDEN, D_OUT, N, optional_names(), DTYPES, st.booleans(), SEEDS)
def test_variants_and_threads_give_the_same_bits(d, d_hidden, d_out, n, names, dtype, odd, seed):
    d, d_hidden = d % 45, d_hidden if "w_out" in names else d_hidden % 30
    rng = np.random.default_rng(seed)
    arguments = case(rng, d, d_hidden, d_out, n, dtype, names)
    if odd:
        shapes = layer_shapes(names, d, d_hidden, d_out)
        layer = BilinearLayer(**{k: special(rng, shape, dtype) for k, shape in shapes.items()})
        arguments = {
            name: tuple(special(rng, a.shape, dtype) for a in arguments[name])
            for name in FUNCTIONS[1:]
        } | {"interaction_tensor": (layer,)}
    want = results(arguments)
    for variant in fast.variants():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fast, "_ACTIVE", variant)
            assert results(arguments) == want
            patch.setattr(fast, "SMALL", 0)
            patch.setattr(fast, "UNIT", 1)
            patch.setattr(fast, "CALL", 0)  # a call a block
            for threads in (1, 2, 3, 8):
                assert results(arguments, threads=threads) == want
            patch.setattr(fast, "OUTPUTS", 3)
            patch.setattr(fast, "WEIGHTS", 100)
            assert results(arguments, threads=2) == want


@pytest.mark.parametrize("variant", fast.variants())
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", range(6))
def test_no_negative_zero_and_one_nan(variant, dtype, seed, monkeypatch):
    monkeypatch.setattr(fast, "_ACTIVE", variant)
    rng = np.random.default_rng(seed)
    for names in (OPTIONAL, ("w_out",), ("b_out", "w_skip"), ()):
        shapes = layer_shapes(names, 7, 6, 5)
        layer = BilinearLayer(**{k: special(rng, shape, dtype) for k, shape in shapes.items()})
        tensor, x, z = (special(rng, s, dtype) for s in ((3, 28), (40, 7), (40, 7)))
        dy = special(rng, (40, 2), dtype)
        for got in (
            fast.interaction_tensor(layer),
            fast.tensor_gradient(x[:3], dy[:3]),
            fast.quadratic_form(tensor, x),
            fast.bilinear_form(tensor, x, z),
        ):
            no_negative_zero(got)
            bits = got.view(f"u{got.itemsize}")[np.isnan(got)]
            assert (bits == QUIET_NAN[dtype]).all()


def test_a_negative_zero_alone_becomes_positive():
    zero, one = np.array([[-0.0]]), np.array([[1.0]])
    for layer in (
        BilinearLayer(zero, one),
        BilinearLayer(zero, one, w_out=one),
        BilinearLayer(zero, one, w_skip=zero, b_out=zero[0]),
    ):
        no_negative_zero(fast.interaction_tensor(layer))
    no_negative_zero(fast.quadratic_form(zero, one))
    no_negative_zero(fast.bilinear_form(zero, one, one))
    no_negative_zero(fast.tensor_gradient(one, zero))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("function", ["quadratic_form", "bilinear_form"])
def test_an_example_does_not_see_its_batch(function, dtype):
    tensor, *inputs = case(np.random.default_rng(3), 21, d_out=5, n=53, dtype=dtype)[
        "bilinear_form"
    ]
    inputs = inputs[: 1 + (function == "bilinear_form")]
    whole = getattr(fast, function)(tensor, *inputs)
    for a, b in [(0, 1), (0, 7), (7, 53), (13, 38), (52, 53)]:
        part = getattr(fast, function)(tensor, *(x[a:b] for x in inputs))
        assert part.tobytes() == whole[a:b].tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("names", [OPTIONAL, ("w_out",), ()])
def test_an_output_does_not_see_the_others(names, dtype):
    """Also across the tiles of outputs and the blocks of 512 of them."""
    rng = np.random.default_rng(6)
    layer = random_layer(rng, ("w_out", *names), (4, 3, 1030), dtype)
    whole = fast.interaction_tensor(layer)
    y, x = np.empty((2, 1030), dtype), random_array(rng, (2, 4 + layer.has_constant), dtype)
    y[:] = fast.quadratic_form(whole, x)
    for o in (0, 5, 511, 512, 514, 515, 1029):
        part = fast.interaction_tensor(
            replace(
                layer,
                w_out=layer.w_out[[o]],
                b_out=laws.take(layer.b_out, [o]),
                w_skip=laws.take(layer.w_skip, [o]),
            )
        )
        assert part.tobytes() == whole[o].tobytes()
        assert fast.quadratic_form(whole[[o]], x).tobytes() == y[:, o].tobytes()


@settings(max_examples=25)
@given(D_IN, D_HIDDEN, D_OUT, optional_names(), DTYPES, SEEDS)
def test_swap_and_gauge_give_the_same_bits(d_in, d_hidden, d_out, names, dtype, seed):
    rng = np.random.default_rng(seed)
    layer = random_layer(rng, {*names, "w_out"}, (d_in, d_hidden, d_out), dtype)
    want = fast.interaction_tensor(layer).tobytes()
    swapped = replace(
        layer,
        w_left=layer.w_right,
        w_right=layer.w_left,
        b_left=layer.b_right,
        b_right=layer.b_left,
    )
    assert fast.interaction_tensor(swapped).tobytes() == want
    alpha, beta = np.ldexp(np.ones((2, layer.d_hidden), dtype), rng.integers(-4, 5, (2, d_hidden)))
    moved = replace(
        layer,
        w_left=laws.times(alpha, layer.w_left),
        b_left=laws.times(alpha, layer.b_left),
        w_right=laws.times(beta, layer.w_right),
        b_right=laws.times(beta, layer.b_right),
        w_out=layer.w_out / (alpha * beta),
    )
    assert fast.interaction_tensor(moved).tobytes() == want


@settings(max_examples=25)
@given(D_IN, D_OUT, N, DTYPES, SEEDS)
def test_the_polar_form_is_symmetric_to_the_bit(d, d_out, n, dtype, seed):
    tensor, x, z = case(np.random.default_rng(seed), d, 1, d_out, n, dtype)["bilinear_form"]
    swapped = fast.bilinear_form(tensor, z, x)
    assert fast.bilinear_form(tensor, x, z).tobytes() == swapped.tobytes()


# ---- layouts and memory


@pytest.mark.parametrize("layout", [*LAYOUTS, "zero-size"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", range(3))
def test_every_layout_gives_the_same_bits(layout, dtype, seed):
    arguments = case(np.random.default_rng(seed), n=0 if layout == "zero-size" else 7, dtype=dtype)
    of_layout = LAYOUTS.get(layout, np.asfortranarray)

    def laid(value, change):
        if not isinstance(value, BilinearLayer):
            return change(value)
        shaped = {k: change(v) for k, v in parameters(value).items()}
        return BilinearLayer(**shaped)

    given_ = {k: tuple(laid(a, of_layout) for a in v) for k, v in arguments.items()}
    copies = {k: tuple(laid(a, plain) for a in v) for k, v in given_.items()}
    before = {k: [bytes_of(a) for a in v] for k, v in given_.items()}
    assert results(given_) == results(copies)
    assert {k: [bytes_of(a) for a in v] for k, v in given_.items()} == before


def bytes_of(value):
    """Return the bytes of an array or of all of a layer."""
    if isinstance(value, BilinearLayer):
        return [array.tobytes() for array in parameters(value).values()]
    return value.tobytes()


@pytest.mark.parametrize("change", [np.asarray, LAYOUTS["read-only"]])
def test_what_is_in_order_is_not_copied(change):
    array = change(np.ones((3, 4)))
    assert np.shares_memory(fast._ready(array), array)
    assert fast._ready(None) is None


def test_what_is_not_in_order_is_copied_in_order():
    for layout in ("F", "strided", "reversed", "unaligned"):
        ready = fast._ready(LAYOUTS[layout](np.arange(12.0).reshape(3, 4)))
        assert ready.flags.c_contiguous
        assert ready.flags.aligned
        laws.same(ready, np.arange(12.0).reshape(3, 4))


def test_results_are_new_and_their_own():
    for name, arguments in case(np.random.default_rng(1)).items():
        first, second = (getattr(fast, name)(*arguments) for _ in range(2))
        base = first if first.base is None else first.base
        assert base.flags.owndata
        assert base.nbytes == first.nbytes
        assert not np.shares_memory(first, second)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 0, 3), (1, 1)])
def test_leading_axes_are_kept(shape):
    rng = np.random.default_rng(5)
    tensor = random_array(rng, (2, 6), np.float64)
    x, z = random_array(rng, (*shape, 3), np.float64), random_array(rng, (*shape, 3), np.float64)
    flat = fast.quadratic_form(tensor, x.reshape(-1, 3))
    assert fast.quadratic_form(tensor, x).tobytes() == flat.tobytes()
    assert fast.quadratic_form(tensor, x).shape == (*shape, 2)
    flat = fast.bilinear_form(tensor, x.reshape(-1, 3), z.reshape(-1, 3))
    assert fast.bilinear_form(tensor, x, z).tobytes() == flat.tobytes()
    dy = random_array(rng, (*shape, 5), np.float64)
    flat = fast.tensor_gradient(x.reshape(-1, 3), dy.reshape(-1, 5))
    assert fast.tensor_gradient(x, dy).tobytes() == flat.tobytes()


@pytest.mark.parametrize(
    ("of_x", "of_z"),
    [((4, 1), (5,)), ((), (6,)), ((6,), ()), ((2, 1, 3), (4, 1)), ((1,), (1, 1)), ((0, 1), (3,))],
)
def test_the_leading_axes_of_the_polar_form_broadcast(of_x, of_z, monkeypatch):
    monkeypatch.setattr(fast, "UNIT", 1)
    rng = np.random.default_rng(5)
    tensor = random_array(rng, (2, 6), np.float32)
    x, z = random_array(rng, (*of_x, 3), np.float32), random_array(rng, (*of_z, 3), np.float32)
    batch = np.broadcast_shapes(of_x, of_z)
    whole = [np.broadcast_to(array, (*batch, 3)).copy() for array in (x, z)]
    got = fast.bilinear_form(tensor, x, z)
    assert got.shape == (*batch, 2)
    assert got.tobytes() == fast.bilinear_form(tensor, *whole).tobytes()


# ---- giants, and no memory


def giant(*shape):
    return np.broadcast_to(0.0, shape)


def few(*shape):
    return np.zeros(shape)


GIANTS = [
    lambda: fast.interaction_tensor(BilinearLayer(giant(1, 2**40), giant(1, 2**40))),
    lambda: fast.interaction_tensor(BilinearLayer(giant(1, 2**59), giant(1, 2**59))),
    lambda: fast.interaction_tensor(BilinearLayer(giant(2**50, 1), giant(2**50, 1))),
    lambda: fast.interaction_tensor(
        BilinearLayer(giant(2**50, 3), giant(2**50, 3), giant(1, 2**50))
    ),
    lambda: fast.interaction_tensor(BilinearLayer(few(1, 3), few(1, 3), giant(2**50, 1))),
    lambda: fast.interaction_tensor(BilinearLayer(few(0, 3), few(0, 3), giant(2**59, 0))),
    lambda: fast.interaction_tensor(
        BilinearLayer(few(1, 0), few(1, 0), giant(2**59, 1), b_out=giant(2**59))
    ),
    lambda: fast.quadratic_form(giant(1, 2**40), few(1)),
    lambda: fast.quadratic_form(giant(1, n_pairs(2**29)), giant(2**29)),
    lambda: fast.quadratic_form(giant(2**50, 1), few(1)),
    lambda: fast.quadratic_form(few(1, 1), giant(2**50, 1)),
    lambda: fast.quadratic_form(few(2, 0), giant(2**59, 0)),
    lambda: fast.quadratic_form(few(2**59, 0), giant(2**59, 0)),
    lambda: fast.bilinear_form(few(1, 1), giant(2**50, 1), few(1)),
    lambda: fast.bilinear_form(few(1, 1), giant(2**30, 1, 1), giant(1, 2**30, 1)),
    lambda: fast.bilinear_form(few(1, 1), giant(2**20, 1, 1, 1), giant(2**30, 1, 1)),
    lambda: fast.bilinear_form(few(1, 1), giant(2**40, 1, 1), giant(1, 2**40, 1)),
    lambda: fast.tensor_gradient(giant(2**50, 1), giant(2**50, 1)),
    lambda: fast.tensor_gradient(giant(1, 2**40), few(1, 1)),
    lambda: fast.tensor_gradient(few(1, 1), giant(1, 2**59)),
]


@pytest.mark.parametrize("call", GIANTS)
def test_giants_are_refused_at_once(call):
    with pytest.raises((MemoryError, ValueError)):
        call()


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_a_lack_of_memory_is_an_exception():
    """Whatever is lacking, the result or the scratch memory; on the caller's own thread."""
    code = """
import resource
import numpy as np
from refbilinear import BilinearLayer, fast
fast.SMALL = 2**60
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
left = np.ones((8, 40))
layer = BilinearLayer(left, left, np.ones((200, 8)))
want, words = fast.interaction_tensor(layer).tobytes(), []
for room in (0, 2**17, 2**18, 2**19, 2**20, 3 * 2**19, 2**21, 2**23, 2**27):
    resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
    try:
        got = fast.interaction_tensor(layer)
        words.append(got.tobytes() == want)
    except MemoryError:
        words.append(None)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
big = BilinearLayer(np.ones((1, 400)), np.ones((1, 400)), np.ones((300, 1)))
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
try:
    fast.interaction_tensor(big)
except MemoryError:
    words.append("refused")
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
print(False in words, words[-2:], fast.interaction_tensor(layer).tobytes() == want)
"""
    status, out, error = run(code)
    assert (status, error) == (0, "")
    assert out.split() == ["False", "[True,", "'refused']", "True"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", [*FUNCTIONS, "broadcast"])
def test_an_allocation_may_fail_anywhere(name, threads, monkeypatch):
    monkeypatch.setattr(fast, "SMALL", 0)
    monkeypatch.setattr(fast, "UNIT", 1)
    arguments = case(np.random.default_rng(7), n=40)
    if name == "broadcast":
        tensor, x, z = arguments["bilinear_form"]
        arguments[name], name_ = (tensor, x, z[0]), "bilinear_form"
    else:
        name_ = name
    function = getattr(fast, name_)
    want = function(*arguments[name]).tobytes()
    for k in count():
        calls = count()
        with monkeypatch.context() as patch:
            for source in ("empty", "require", "arange", "unravel_index"):
                patch.setattr(np, source, failing(getattr(np, source), calls, k))
            try:
                got = function(*arguments[name], threads=threads)
            except MemoryError:
                got = None
        assert function(*arguments[name]).tobytes() == want
        if got is not None:
            assert got.tobytes() == want
            break
    assert k >= 2


def failing(function, calls, k):
    """Return the function, of which the k-th call of all finds no memory."""

    def called(*arguments, **keywords):
        if next(calls) == k:
            raise MemoryError
        return function(*arguments, **keywords)

    return called


# ---- words: those of the specification are in test_bad_input.py


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("threads", "error", "words"),
    [
        (0, ValueError, "threads must be at least 1; got 0"),
        (-2, ValueError, "threads must be at least 1; got -2"),
        (True, TypeError, "threads must be an integer; got bool"),
        ("2", TypeError, "threads must be an integer; got str"),
        (2.0, TypeError, "threads must be an integer; got float"),
    ],
)
def test_a_bad_number_of_threads_is_refused_in_words(name, threads, error, words):
    arguments = case(np.random.default_rng(0))[name]
    with pytest.raises(error) as caught:
        getattr(fast, name)(*arguments, threads=threads)
    assert str(caught.value) == words


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_bad_number_of_threads_is_refused_also_for_an_empty_result(name):
    arguments = case(np.random.default_rng(0), d_out=0)[name]
    with pytest.raises(ValueError, match="threads must be at least 1; got 0"):
        getattr(fast, name)(*arguments, threads=0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_count_will_do_as_threads(name):
    arguments = case(np.random.default_rng(0))[name]
    want = getattr(fast, name)(*arguments).tobytes()
    for threads in (np.int64(2), 10**30):
        assert getattr(fast, name)(*arguments, threads=threads).tobytes() == want


@pytest.mark.parametrize("name", FUNCTIONS)
def test_exact_rationals_are_refused(name):
    arguments = case(np.random.default_rng(0), dtype=object)[name]
    with pytest.raises(TypeError, match=r"object .*: refbilinear\.spec is exact on them"):
        getattr(fast, name)(*arguments)


# ---- the environment


def test_the_variant_in_use_is_the_fastest_supported():
    status, out, _ = run("from refbilinear import fast; print(fast.active(), *fast.variants())")
    first, *names = out.split()
    assert status == 0
    assert first == names[0]
    assert names[-1] == "scalar"
    assert tuple(names) == fast.variants()


@pytest.mark.parametrize("variant", fast.variants())
def test_the_environment_names_the_variant(variant):
    code = "from refbilinear import fast; print(fast.active())"
    assert run(code, REFBILINEAR_VARIANT=variant) == (0, f"{variant}\n", "")


def test_an_unknown_variant_is_refused_with_the_good_names():
    status, _, error = run("import refbilinear.fast", REFBILINEAR_VARIANT="sse9")
    good = ", ".join(fast.variants())
    assert status == 1
    assert error.endswith(f"ValueError: REFBILINEAR_VARIANT must be one of {good}; got 'sse9'\n")
    with pytest.raises(ValueError, match=r"REFBILINEAR_VARIANT must be one of .*; got 'AVX2'"):
        fast._chosen("AVX2")


def test_no_name_is_the_fastest():
    assert fast._chosen(None) == fast._chosen("") == fast.variants()[0]
    assert fast._chosen("scalar") == "scalar"
    assert fast.active() in fast.variants()


def test_a_processor_without_any_variant_is_told_so(monkeypatch):
    monkeypatch.setattr(fast, "_PLACES", {})
    with pytest.raises(ImportError, match=r"processor with an fma .* use refbilinear\.spec"):
        fast._chosen(None)


def test_the_environment_gives_the_number_of_threads():
    code = "from refbilinear import fast; print(fast.default_threads())"
    assert run(code, REFBILINEAR_THREADS="3") == (0, "3\n", "")
    status, _, error = run(code, REFBILINEAR_THREADS="0")
    assert status == 1
    words = "REFBILINEAR_THREADS must be a number of at least 1; got '0'"
    assert error.endswith(f"ValueError: {words}\n")


@pytest.mark.parametrize("text", ["0", "-1", "two", "2.0", "²", "٣", " "])
def test_a_bad_number_of_threads_in_the_environment(text):
    with pytest.raises(ValueError, match=r"REFBILINEAR_THREADS must be .* at least 1; got '"):
        fast._number(text)


def test_numbers_of_threads(monkeypatch):
    assert fast._number(None) is fast._number("") is None
    assert fast._number("12") == 12
    monkeypatch.setattr(fast, "_THREADS", 5)
    assert fast.default_threads() == 5
    monkeypatch.setattr(fast, "_THREADS", None)
    assert fast.default_threads() == fast.usable_cores()


def test_without_a_kernel_the_import_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "refbilinear._kernel", None)
    monkeypatch.delattr(refbilinear, "_kernel")
    spec = spec_from_file_location("refbilinear.fast", fast.__file__)
    with pytest.raises(ImportError, match=r"REFBILINEAR_PURE, or use refbilinear\.spec"):
        spec.loader.exec_module(module_from_spec(spec))


EVERYTHING_ELSE = """
import importlib, pkgutil, refbilinear
for module in pkgutil.walk_packages(refbilinear.__path__, "refbilinear."):
    if module.name.rpartition(".")[2] not in ("__main__", "fast", "_kernel"):
        importlib.import_module(module.name)
try:
    import refbilinear.fast
except ImportError as error:
    print("REFBILINEAR_PURE" in str(error), "installation lacks or cannot load" in str(error))
"""


def test_without_a_kernel_everything_else_imports():
    code = f"sys.modules['refbilinear._kernel'] = None\n{EVERYTHING_ELSE}"
    assert run(code) == (0, "True True\n", "")


def test_a_kernel_that_does_not_load_is_no_kernel(tmp_path):
    home = tmp_path / "refbilinear"
    home.mkdir()
    package = os.path.dirname(fast.__file__)
    for name in os.listdir(package):
        if not name.startswith("_kernel") and name != "__pycache__":
            (home / name).symlink_to(os.path.join(package, name))
    suffix = fast._kernel.__file__.partition("_kernel")[2]
    (home / f"_kernel{suffix}").write_bytes(b"not a library")
    code = f"sys.path.insert(0, {str(tmp_path)!r})\n{EVERYTHING_ELSE}"
    assert run(code) == (0, "True True\n", "")


def test_the_import_flushes_no_subnormal():
    code = """
import refbilinear.fast, numpy as np
least = float.fromhex("0x1p-1074")
array = np.full(9, 2 * least)
print(least > 0, least * 1.0 == least, 2.0**-1073 / 2 == least, bool((array / 2 == least).all()))
"""
    assert run(code) == (0, "True True True True\n", "")


def test_the_callers_rounding_and_subnormals_are_left_alone():
    least = np.float64(2.0**-1074)
    layer = BilinearLayer([[2.0**-537]], [[2.0**-537]], w_out=[[2.0]])
    laws.same(fast.interaction_tensor(layer), [[2 * least]])
    assert least / 1 == least
