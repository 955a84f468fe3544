"""A simulated machine computes as the real one does, and honest ones stay within their bounds."""

from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
import refbilinear as rb
from refbilinear.oracle import bounds, exact
from refbilinear.oracle.claims import CLAIMS, claim_of
from refbilinear.oracle.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, nearest
from refbilinear.oracle.machines import ORDERS, fma, simulate, to_format
from refbilinear.oracle.tolerances import tolerance
from refbilinear.oracle.twins import Pads, Twin
from strategies import FLOATS, OPTIONAL, arrays, layers_with_batch, random_layer

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("to", [FLOAT64, FLOAT32, FLOAT16, BFLOAT16])
@given(value=st.floats(), scale=st.integers(-160, 20))
def test_rounding_to_a_format(to, value, scale):
    with np.errstate(all="ignore"):
        value = float(np.float64(value) * 2.0**scale)
    got = float(to_format(np.array(value), to))
    if np.isfinite(value):
        assert got == nearest(Fraction(value), to)
        flushed = float(to_format(np.array(value), to, flushes=True))
        assert flushed == (got if abs(got) >= to.smallest_normal else 0)
    else:
        assert got == value or np.isnan(value)


@given(st.lists(st.floats(-1e100, 1e100), min_size=3, max_size=3), st.integers(-60, 60))
def test_fused_multiply_add(numbers, shift):
    a, b, c = (np.array([number]) for number in numbers)
    c = c * 2.0**shift
    true = laws.exact(a)[0] * laws.exact(b)[0] + laws.exact(c)[0]
    got = Fraction(fma(a, b, c)[0])
    # one rounding, or its neighbour where the exact result is next to a tie; products of
    # subnormal size are beyond Dekker's method
    if abs(true) > Fraction(1, 2**900) or true == 0:
        assert abs(got - true) <= abs(true) * Fraction(1, 2**53) * (1 + Fraction(1, 2**40))
    narrow = fma(*(np.array([n % 7], np.float32) for n in numbers))
    assert narrow.dtype == np.float32


def test_fused_multiply_add_overflows_as_a_product_does():
    with np.errstate(all="ignore"):
        assert fma(np.array([1e200]), np.array([1e200]), np.array([1.0]))[0] == np.inf


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_plain_machine_is_this_one(dtype):
    """Where there is one term, no order: bit for bit what NumPy gives."""
    layer = random_layer(RNG, OPTIONAL, (1, 1, 1), dtype)
    x, dy = RNG.standard_normal((2, 4, 1)).astype(dtype)
    claim = "f32" if dtype == np.float32 else "f64"
    for order in ORDERS:
        y = simulate(rb.forward, layer, x, claim=claim, order=order)
        assert y.dtype == dtype
        laws.same(y, rb.forward(layer, x))
    gradients = simulate(rb.backward, layer, x[:1], dy[:1], claim=claim)
    laws.same(gradients.x, rb.backward(layer, x[:1], dy[:1]).x)


def test_orders_are_orders():
    """Numbers chosen so that each order of summation gives a sum of its own."""
    x = np.array([[2.0**24, 1, 1, 1, -(2.0**24), 1, 1, 1, 1, 1, 3]])
    layer = rb.BilinearLayer(np.ones((1, 11)), np.zeros((1, 11)), b_right=[1.0])
    sums = {order: simulate(rb.forward, layer, x, order=order).item() for order in ORDERS}
    assert sums["ascending"] == 8
    assert sums["descending"] == 2 or sums["descending"] != 8
    assert sums["by_size"] != sums["ascending"]
    assert len(set(sums.values())) >= 3
    again = simulate(rb.forward, layer, x, order="shuffled", seed=5)
    laws.same(again, simulate(rb.forward, layer, x, order="shuffled", seed=5))


def in_order(terms, order):
    """Return running sums: lists of terms, each added from its first to its last."""
    n = len(terms)
    return {
        "ascending": [range(n)],
        "descending": [range(n)[::-1]],
        "lanes": [range(lane, n, 8) for lane in range(8)],
        "shuffled": [np.random.default_rng(7).permutation(n)],
        "by_size": [sorted(range(n), key=lambda k: abs(terms[k]))],
    }[order]


def chained(numbers):
    return reduce(lambda total, number: total + number, numbers)


def halved(terms):
    half = len(terms) // 2
    return terms[0] if len(terms) == 1 else halved(terms[:half]) + halved(terms[half:])


@pytest.mark.parametrize("order", ORDERS)
def test_sums_are_in_the_order_of_their_name(order):
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((2, 43)).astype(np.float32)
    a *= np.float32(2) ** rng.integers(-9, 9, 43)
    run = {"order": order, "seed": 7}
    for terms, got in [
        (a, simulate(lambda a: a.sum(axis=0), a, **run)),
        (a * b, simulate(lambda a, b: a @ b, a, b, **run)),
    ]:
        if order == "pairwise":
            assert got == halved(list(terms))
        else:
            assert got == chained([chained(terms[c]) for c in map(list, in_order(terms, order))])
    fused = simulate(lambda a, b: a @ b, a, b, fused=True, **run)
    if order in ("pairwise", "by_size"):  # what is sorted or halved has been rounded before
        rows = rng.standard_normal((20, 43)).astype(np.float32)
        halves = [simulate(lambda a, b: a @ b, rows, b, fused=f, **run) for f in (False, True)]
        laws.same(*halves)
        return
    chains = []
    for first, *rest in in_order(a * b, order):
        total = a[first] * b[first]
        for k in rest:
            total = np.float32(a[k].astype(float) * b[k].astype(float) + total)
        chains.append(total)
    assert fused == chained(chains)


def test_the_largest_double_is_beyond_every_other_format():
    largest = np.array(np.finfo(np.float64).max)
    for to in (FLOAT32, FLOAT16, BFLOAT16):
        assert to_format(largest, to) == np.inf
    assert to_format(largest, FLOAT64) == largest


def test_fusing_changes_the_last_bit():
    layer, x, _ = laws_problem(np.float32)
    plain, fused = (simulate(rb.forward, layer, x, fused=fused) for fused in (False, True))
    assert (plain != fused).any()


def laws_problem(dtype):
    layer = random_layer(np.random.default_rng(1), OPTIONAL, (7, 5, 3), dtype)
    x, dy = (np.random.default_rng(2).standard_normal((4, d)).astype(dtype) for d in (7, 3))
    return layer, x, dy


@pytest.mark.parametrize("claim", CLAIMS)
@settings(max_examples=10)
@given(data=st.data(), order=st.sampled_from(ORDERS), fused=st.booleans())
def test_honest_machines_stay_within_bounds(claim, data, order, fused):
    dtype = np.float64 if claim.startswith("f64") else np.float32
    layer, x, dy = data.draw(layers_with_batch(dtype))
    run = {"claim": claim, "order": order, "fused": fused}
    pairs = [
        (rb.forward, (layer, x), bounds.forward_bound),
        (rb.backward, (layer, x, dy), bounds.backward_bound),
        (rb.interaction_tensor, (layer,), bounds.tensor_bound),
        (rb.output_form, (layer, dy[0]), bounds.output_form_bound),
    ]
    for function, arguments, bound in pairs:
        got = simulate(function, *arguments, **run)
        want, allowed = exact.exactly(function, *arguments), bound(*arguments, claim=claim)
        for mine, true, limit in zip(*map(as_tuple, (got, want, allowed)), strict=True):
            if mine is not None:
                judged = np.isfinite(limit)  # float16 may overflow: then no bound holds
                laws.in_bound(*(np.asarray(part)[judged] for part in (mine, true, limit)))


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


def test_a_coarser_machine_breaks_a_finer_claim():
    layer, x, _ = laws_problem(np.float32)
    x = np.concatenate([x] + [x * s for s in (0.3, 0.7, 1.1, 1.7)])
    want = exact.forward(layer, x)
    finer = {"bf16-f32acc": "f32", "f16-f32acc": "f32", "tf32": "f32", "f32": "f64"}
    for machine, claimed in finer.items():
        got = simulate(rb.forward, layer, x, claim=machine)
        laws.in_bound(got, want, bounds.forward_bound(layer, x, machine))
        with pytest.raises(AssertionError):
            laws.in_bound(got, want, bounds.forward_bound(layer, x, claimed))


def test_what_is_not_in_the_lists_is_refused():
    with pytest.raises(ValueError, match=r"order must be one of ascending, .*; got 'sideways'"):
        simulate(rb.forward, rb.BilinearLayer([[1.0]], [[1.0]]), [1.0], order="sideways")
    with pytest.raises(ValueError, match=r"claim must be one of f64, .* got 'f31'"):
        simulate(rb.forward, rb.BilinearLayer([[1.0]], [[1.0]]), [1.0], claim="f31")
    assert claim_of(None, object) is None


def test_what_a_claim_may_lose():
    """By the table of formats: the least number, or the least normal one where it is flushed."""
    held = {
        name: (claim.product_loss, claim.sum_loss, claim.storage_loss, claim.largest)
        for name, claim in CLAIMS.items()
    }
    single, double, normal = (2 - 2.0**-23) * 2.0**127, np.finfo(np.float64).max, 2.0**-126
    assert held == {
        "f64": (5e-324, 0, 0, double), "f64-ftz": (2.0**-1022, 2.0**-1022, 0, double),
        "f32": (2.0**-149, 0, 0, single), "f32-ftz": (normal, normal, 0, single),
        "tf32": (2.0**-149, 0, 2.0**-136, single), "tf32-ftz": (normal, normal, normal, single),
        "f16-f32acc": (2.0**-149, 0, 2.0**-24, 65504),
        "f16-f32acc-ftz": (normal, normal, 2.0**-14, 65504),
        "bf16-f32acc": (2.0**-149, 0, 2.0**-133, (2 - 2.0**-7) * 2.0**127),
        "bf16-f32acc-ftz": (normal, normal, normal, (2 - 2.0**-7) * 2.0**127),
    }  # fmt: skip


def test_empty_sums():
    layer = random_layer(RNG, OPTIONAL, (3, 0, 2), np.float32)
    x = np.ones((2, 3), np.float32)
    laws.same(simulate(rb.forward, layer, x), rb.forward(layer, x))
    full = random_layer(RNG, OPTIONAL, (3, 4, 2), np.float32)
    empty = simulate(rb.backward, full, x[:0], np.ones((0, 2), np.float32))
    laws.same(empty.b_left, np.zeros(4))
    laws.same(empty.w_left, np.zeros((4, 3)))


# ---- the ends of the number range


@pytest.mark.parametrize("claim", ["f64", "f32", "f64-ftz", "f32-ftz"])
@settings(max_examples=60)
@given(data=st.data(), shift=st.integers(0, 200))
def test_underflow_is_in_the_bound(claim, data, shift):
    """Products that underflow, gradually or all at once, are paid for by the pads."""
    dtype = np.float64 if claim.startswith("f64") else np.float32
    least = (np.finfo(dtype).minexp + shift % 60) // 2
    layer, x, _ = data.draw(layers_with_batch(dtype))
    values = {n: shrunk(w, least, dtype) for n, w in rb.parameters(layer).items()}
    layer, x = rb.BilinearLayer(**values), shrunk(x, least, dtype)
    for function, arguments, bound in [
        (rb.forward, (layer, x), bounds.forward_bound),
        (rb.interaction_tensor, (layer,), bounds.tensor_bound),
    ]:
        got = simulate(function, *arguments, claim=claim)
        want, allowed = exact.exactly(function, *arguments), bound(*arguments, claim=claim)
        laws.in_bound(got, want, allowed)


def shrunk(array, exponent, dtype):
    small = (array * 2.0**exponent).astype(dtype)
    return np.where(np.abs(small) < np.finfo(dtype).tiny, dtype(0), small)


class Padded(Twin):
    """3 for a product, 5 for a sum of two, 7 for what is stored; from 20 on it may overflow."""

    pads = Pads(3.0, 5.0, 7.0, 40.0)


def test_what_an_operation_adds_to_its_twin():
    zeros = np.zeros((2, 3)).view(Padded)
    column, infinite = zeros[:, :1], np.full(1, np.nan).view(Padded)
    for result, wanted in [
        (zeros * zeros, 3 + 5 + 7),
        (zeros + zeros, 5 + 7),
        (column + 8, 8 + 5 + 7),
        (column.sum(axis=0), 2 * 5 + 7),
        (column @ zeros[:1], 3 + 5 + 7),
        (zeros[:, :2] @ zeros[:, :2].T, np.inf),  # 2 (3 + 5) + 7 is above 20
        (infinite + 1, np.inf),
    ]:
        assert (np.asarray(result) == wanted).all()
    zeros += 1
    assert isinstance(zeros, Padded)
    assert (np.asarray(zeros) == 1 + 5 + 7).all()


def test_what_underflow_adds_to_a_bound():
    """A product of 2^-160, which is 0 in float32: no more is allowed than the least number."""
    tiny = np.float32([[2.0**-80]])
    for claim, least in (("f32", 2.0**-149), ("f32-ftz", 2 * 2.0**-126), ("f64", 0.0)):
        allowed = tolerance(tiny, tiny, claim=claim).item()
        assert least <= allowed <= least * (1 + 1e-6) + 2.0**-210
    for claim, stored in (("bf16-f32acc", 2.0**-133), ("tf32", 2.0**-136)):
        allowed = tolerance(tiny, tiny * 0, claim=claim).item()
        assert stored <= allowed <= stored * (1 + 2.0**-6) * 1.001


def test_without_its_pad_the_bound_is_exceeded():
    """A product below the least number is 0: an error of all of it, which γ does not cover."""
    tiny = np.float32(2.0**-80)
    layer, x = rb.BilinearLayer([[tiny]], [[tiny]]), np.ones((1, 1), np.float32)
    got, want = rb.forward(layer, x), exact.forward(layer, x)
    assert got.item() == 0
    assert 0 < want.item() <= Fraction(bounds.forward_bound(layer, x).item())
    flushing = bounds.forward_bound(layer, x, "f32-ftz").item()
    assert 2.0**-126 <= flushing < 2.0**-120


def test_sums_lose_too_where_results_are_flushed():
    """A sum without products: 1.5 − 1 of the least normal number is half of it, and flushed."""
    layer = random_layer(RNG, ("w_out", "b_out"), (3, 2, 1), np.float32)
    x, dy = np.ones((2, 3), np.float32), np.float32([[1.5], [-1]]) * np.float32(2.0**-126)
    got = simulate(rb.backward, layer, x, dy, claim="f32-ftz").b_out
    want = exact.backward(layer, x, dy).b_out
    assert got.item() == 0
    assert want.item() == Fraction(1, 2**127)
    laws.in_bound(got, want, bounds.backward_bound(layer, x, dy, "f32-ftz").b_out)
    gradual = bounds.backward_bound(layer, x, dy, "f32").b_out
    assert Fraction(gradual.item()) < want.item()


@pytest.mark.parametrize(("claim", "size"), [("f16-f32acc", 1.4e-8), ("f16-f32acc-ftz", 4e-5)])
def test_numbers_too_small_to_be_stored_are_in_the_bound(claim, size):
    """Below the least number of float16 (or the least normal one) an input is stored as 0."""
    layer, x = rb.BilinearLayer([[1.0]], [[2.0]], b_right=[1.0]), np.float64([[size]])
    got, want = simulate(rb.forward, layer, x, claim=claim), exact.forward(layer, x)
    assert got.item() == 0
    laws.in_bound(got, want, bounds.forward_bound(layer, x, claim))
    assert bounds.forward_bound(layer, x, "tf32").item() < size / 10


def test_where_something_may_overflow_no_bound_holds():
    layer = rb.BilinearLayer([[1e200], [1e100]], [[1e200], [1.0]])
    assert bounds.forward_bound(layer, [[1.0]]).tolist()[0][0] == np.inf
    assert np.isfinite(bounds.forward_bound(layer, [[1.0]])[0, 1])
    # an infinity times zero on the way is no reason for trust either
    other = rb.BilinearLayer([[1e200]], [[1e200]], w_out=[[0.0]])
    assert bounds.forward_bound(other, [[1.0]]).item() == np.inf
    half = rb.BilinearLayer([[300.0]], [[300.0]])
    assert bounds.forward_bound(half, [[1.0]], "f16-f32acc").item() == np.inf
    assert np.isfinite(bounds.forward_bound(half, [[1.0]], "bf16-f32acc")).all()


def test_subnormal_inputs_have_no_bound_where_they_may_be_flushed():
    layer = rb.BilinearLayer([[1e-320]], [[1.0]])
    with pytest.raises(ValueError, match="no bound holds for subnormal inputs"):
        bounds.forward_bound(layer, [[1.0]], "f64-ftz")
    assert bounds.forward_bound(layer, [[1.0]], "f64").item() > 0


@given(data=st.data())
def test_an_eigenpair_form(data):
    values, vectors, x = (data.draw(arrays(shape, np.float32)) for shape in ((2,), (5, 2), (4, 5)))
    got = simulate(bounds.truncated_form, values, vectors, x)
    want = exact.truncated_form(values, vectors, x)
    laws.in_bound(got, want, bounds.truncated_form_bound(values, vectors, x))
