"""Cross-entropy, AdamW and the tolerance of other people's layers."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
import refbilinear as rb
from refbilinear.oracle import exact, tolerances
from refbilinear.oracle.machines import simulate
from refbilinear.oracle.tolerances import tolerance
from refbilinear.oracle.training import adamw_bound, cross_entropy_bound
from refbilinear.spec.arrays import affine
from strategies import FLOATS, arrays

BOTH = pytest.mark.parametrize("dtype", FLOATS)
SCALES = st.sampled_from([1e-6, 1.0, 10.0, 80.0])


def logits(data, dtype, scale):
    y = (data.draw(arrays((4, 3), dtype)) * scale).astype(dtype)
    return y, data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))


@BOTH
@settings(max_examples=60)
@given(data=st.data(), scale=SCALES)
def test_cross_entropy(dtype, data, scale):
    y, labels = logits(data, dtype, scale)
    got, want = rb.cross_entropy(y, labels), exact.cross_entropy(y, labels)
    laws.all_in_bound(got, want, cross_entropy_bound(y, labels), dtype)


def log_sum_exp(y, labels):
    """Another honest way: log Σ exp y put together before the label's logit is taken from it."""
    top = y.max(axis=1, keepdims=True)
    whole = np.log(np.exp(y - top).sum(axis=1, keepdims=True)) + top
    onehot = np.arange(y.shape[1]) == np.asarray(labels)[:, None]
    value = ((whole[:, 0] - y[onehot]).sum() / y.dtype.type(len(y))).astype(y.dtype)
    return rb.Loss(value, (np.exp(y - whole) - onehot) / y.dtype.type(len(y)))


@BOTH
@settings(max_examples=60)
@given(data=st.data(), scale=SCALES)
def test_cross_entropy_by_log_sum_exp(dtype, data, scale):
    y, labels = logits(data, dtype, scale)
    want = exact.cross_entropy(y, labels)
    laws.all_in_bound(log_sum_exp(y, labels), want, cross_entropy_bound(y, labels), None)


@BOTH
def test_the_bound_of_cross_entropy_bites(dtype):
    rng = np.random.default_rng(0)
    y, labels = (rng.standard_normal((8, 5)) * 3).astype(dtype), rng.integers(0, 5, 8)
    got, want = rb.cross_entropy(y, labels), exact.cross_entropy(y, labels)
    value, dy = cross_entropy_bound(y, labels)
    with pytest.raises(AssertionError):
        laws.all_in_bound(got, want, (value / 1000, dy / 1000), dtype)
    shifted = rb.Loss(got.value * (1 + 60 * np.finfo(dtype).eps), got.dy)
    with pytest.raises(AssertionError):
        laws.all_in_bound(shifted, want, (value, dy), dtype)


def test_cross_entropy_of_logits_near_overflow_has_no_bound():
    assert cross_entropy_bound([[1e308, -1e308]], [1]).value == np.inf
    assert cross_entropy_bound(np.float32([[1e30, 0]]), [0]).value == np.inf
    assert 0 < cross_entropy_bound(np.float32([[1e4, 0]]), [0]).value < 0.1


def states(data, dtype, scale):
    theta, g, m = (data.draw(arrays((5,), dtype)) for _ in range(3))
    g, m = (g * scale).astype(dtype), (m * scale).astype(dtype)
    return theta, g, m, (np.abs(data.draw(arrays((5,), dtype))) * scale**2).astype(dtype)


SETTINGS = {"learning_rate": 0.01, "weight_decay": 0.1}


@BOTH
@settings(max_examples=60)
@given(
    data=st.data(),
    t=st.sampled_from([1, 2, 3, 10, 100, 500]),
    scale=st.sampled_from([1e-25, 1e-8, 1.0, 1e4]),
)
def test_adamw(dtype, data, t, scale):
    state = states(data, dtype, scale)
    got, want = rb.adamw(*state, t, **SETTINGS), exact.adamw(*state, t, **SETTINGS)
    laws.all_in_bound(got, want, adamw_bound(*state, t, **SETTINGS), dtype)


def lerped(theta, g, m, v, t, learning_rate, weight_decay, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Another honest way: the moment as a step towards the gradient, the decay as a subtraction."""
    m = m + (1 - beta1) * (g - m)
    v = v + (1 - beta2) * (g * g - v)
    power = v.dtype.type(beta2) ** v.dtype.type(t)
    root = np.sqrt(v / (v.dtype.type(1) - power)) + epsilon
    step = learning_rate * (m / (1 - beta1**t)) / root
    return rb.AdamWState(theta - learning_rate * weight_decay * theta - step, m, v)


@BOTH
@given(data=st.data(), t=st.integers(1, 300))
def test_adamw_by_another_formula(dtype, data, t):
    """With β that is the same in both formats, since 1 − β is told by their difference."""
    betas = {"beta1": 0.875, "beta2": 1 - 2.0**-10}
    state = states(data, dtype, 1.0)
    want = exact.adamw(*state, t, **SETTINGS, **betas)
    allowed = adamw_bound(*state, t, **SETTINGS, **betas)
    got = lerped(*state, t, **SETTINGS, **betas)
    laws.in_bound(got.theta, want.theta, allowed.theta)
    laws.in_bound(got.m, want.m, allowed.m)


@BOTH
def test_the_bound_of_adamw_bites(dtype):
    rng = np.random.default_rng(1)
    theta, g, m = rng.standard_normal((3, 6)).astype(dtype)
    v = np.abs(rng.standard_normal(6)).astype(dtype)
    got, want = rb.adamw(theta, g, m, v, 7), exact.adamw(theta, g, m, v, 7)
    allowed = adamw_bound(theta, g, m, v, 7)
    late = rb.adamw(theta, g, m, v, 8)
    coupled = rb.adamw(theta, g + 0.1 * theta, m, v, 7)
    for wrong in (late._replace(m=got.m, v=got.v), coupled):
        with pytest.raises(AssertionError):
            laws.all_in_bound(wrong, want, allowed, dtype)
    with pytest.raises(AssertionError):
        laws.all_in_bound(got, want, [a / 1000 for a in allowed], dtype)


def test_what_adamw_cannot_bound():
    one = np.ones(1)
    with pytest.raises(ValueError, match="v must not be negative"):
        adamw_bound(one, one, one, -one, 1)
    with pytest.raises(ValueError, match="claim must be f32 or f64, also with -ftz; got 'tf32'"):
        adamw_bound(one, one, one, one, 1, claim="tf32")
    with pytest.raises(TypeError, match="exponentials are not rational"):
        cross_entropy_bound(laws.exact(np.ones((1, 2))), [0])
    assert adamw_bound(one, one * 1e200, one, one, 1).v[0] == np.inf
    idle = adamw_bound(one, 0 * one, 0 * one, 0 * one, 1, epsilon=0.0)
    assert idle.theta[0] == np.inf


def test_squares_that_underflow_are_in_the_bound():
    """g² is 0 in float32, so the root is; with so small an ε the step is off by a tenth."""
    state = [np.zeros(1, np.float32), np.full(1, 1e-25, np.float32), *np.zeros((2, 1), np.float32)]
    options = {"learning_rate": 1.0, "epsilon": 1e-24}
    got, want = rb.adamw(*state, 1, **options), exact.adamw(*state, 1, **options)
    assert abs(Fraction(got.theta.item()) - want.theta.item()) > abs(want.theta.item()) / 20
    laws.all_in_bound(got, want, adamw_bound(*state, 1, **options), np.float32)


def test_where_a_square_may_overflow_no_bound_holds():
    one = np.ones(2, np.float32)
    allowed = adamw_bound(one, np.float32([1e20, 1e18]), one, one, 3)
    for error in allowed:
        assert np.isfinite(error).tolist() == [False, True]


# ---- other people's layers


@dataclass
class Layer:
    """The arrays of somebody's own layer."""

    x: np.ndarray
    w: np.ndarray
    v: np.ndarray
    out: np.ndarray
    b: np.ndarray
    c: np.ndarray
    b_out: np.ndarray


def layer(dtype, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    shapes = ((6, 5), (7, 5), (7, 5), (3, 7), (7,), (7,), (3,))
    return Layer(*((rng.standard_normal(s) * spread).astype(dtype) for s in shapes))


GATES = {
    None: lambda a: a,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "silu": lambda a: a / (1 + np.exp(-a)),
}


@pytest.mark.parametrize("gate", GATES)
def test_what_is_said_of_a_gate(gate):
    """Its slope and size, and that neither could be said much smaller."""
    known, a = tolerances.GATES[gate], np.linspace(-40, 40, 100_001)
    values = GATES[gate](a)
    slopes = np.abs(np.diff(values) / np.diff(a))
    assert 0.98 * known.slope < slopes.max() <= known.slope * (1 + 1e-9)
    assert (np.abs(values) <= known.slope * np.abs(a) + known.offset + 1e-15).all()


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("spread", [0.01, 1.0, 2.0])
def test_a_gated_layer(gate, spread):
    """float32 against float64, whose own error is nothing beside it."""
    for seed in range(20):
        small = layer(np.float32, seed, spread)
        y, true = (
            affine(GATES[gate](affine(a.x, a.w, a.b)) * affine(a.x, a.v, a.c), a.out, a.b_out)
            for a in (small, Layer(*(w.astype(float) for w in vars(small).values())))
        )
        allowed = tolerance(
            small.x, small.w, small.v, small.out, b=small.b, c=small.c, b_out=small.b_out, gate=gate
        )
        assert allowed.shape == y.shape
        assert (abs(y - true) <= allowed).all()
        assert not (abs(y - true) <= allowed / 1000).all()


@pytest.mark.parametrize("claim", ["f32", "tf32", "bf16-f32acc", "f64"])
def test_a_matrix_product_and_a_bilinear_layer(claim):
    a = layer(np.float32)
    got = simulate(affine, a.x, a.w, a.b, claim=claim)
    laws.in_bound(
        got, exact.exactly(affine, a.x, a.w, a.b), tolerance(a.x, a.w, b=a.b, claim=claim)
    )
    whole = rb.BilinearLayer(a.w, a.v, a.out, a.b, a.c, a.b_out)
    allowed = tolerance(a.x, a.w, a.v, a.out, b=a.b, c=a.c, b_out=a.b_out, claim=claim)
    got = simulate(rb.forward, whole, a.x, claim=claim)
    laws.in_bound(got, exact.forward(whole, a.x), allowed)
    without = tolerance(a.x, a.w, a.v, claim=claim)
    assert without.shape == (6, 7)


KNOWN = {None: (1, 0, 0), "relu": (1, 0, 0), "sigmoid": (0.25, 0.5, 20), "silu": (1.1, 0, 21)}
UNITS = {
    "f64": (2.0**-53, 0, [0, 0, 0]),
    "f32": (2.0**-24, 0, [0, 0, 0]),
    "tf32": (2.0**-24, 2.0**-11, [2, 4, 6]),
    "bf16-f32acc": (2.0**-24, 2.0**-8, [4, 10, 13]),
}


@pytest.mark.parametrize("claim", UNITS)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("biases", [(), ("b",), ("c",), ("b_out",), ("b", "c", "b_out")])
def test_a_tolerance_is_its_formula(gate, claim, biases):
    """`((1 + u_s)^δ (1 + γ_K) − 1) · twin`, the twin and K of each stage written out."""
    a, (u, stored, degrees) = layer(np.float32), UNITS[claim]
    slope, offset, of_gate = KNOWN[gate]
    held = {name: abs(getattr(a, name)).astype(float) if name in biases else 0 for name in BIASES}
    x, w, v, out = (abs(part).astype(float) for part in (a.x, a.w, a.v, a.out))
    given = {name: getattr(a, name) for name in biases}
    linear = x @ w.T + held["b"]
    gated = (slope * linear + offset) * (x @ v.T + held["c"])
    k_linear, k_gated = 5 + ("b" in biases), 5 + ("c" in biases) + 1 + of_gate
    k_out = 7 + ("b_out" in biases)
    stages = [((), k_linear, linear), ((a.v,), k_linear + k_gated, gated)]
    stages += [((a.v, a.out), k_linear + k_gated + k_out, gated @ out.T + held["b_out"])]
    for number, (weights, k, twin) in enumerate(stages):
        if ("b_out" in biases) > (number == 2) or (number == 0 and (gate or "c" in biases)):
            continue
        got = tolerance(a.x, a.w, *weights, **given, gate=gate, claim=claim)
        gamma, rounded = k * u / (1 - k * u), (1 + stored) ** degrees[number] - 1
        want = (rounded + gamma + rounded * gamma) * twin
        assert (got >= want * (1 - 1e-9)).all()
        assert (got <= want * (1 + 1e-6)).all()


BIASES = ("b", "c", "b_out")


def test_a_tolerance_refuses_what_does_not_fit():
    a = layer(np.float32)
    for arguments, options, words in [
        ((a.x, a.w, a.v), {"gate": "gelu"}, "gate must be None, relu, sigmoid or silu; got 'gelu'"),
        ((a.x, a.w), {"gate": "relu"}, "v must be there where w_out, c or a gate is"),
        ((a.x, a.w), {"b_out": a.b_out}, "w_out must be there where b_out is"),
        ((a.x[:, 1:], a.w), {}, r"x must have shape \(..., d_in\) = \(..., 5\) to match w"),
        ((a.x, a.w, a.v[1:]), {}, r"v must have shape \(d_hidden, d_in\) = \(7, 5\) to match w"),
        ((a.x, a.w, a.v, a.w), {}, r"w_out must have shape \(d_out, d_hidden\) = \(d_out, 7\)"),
        ((a.x, a.w), {"claim": "f16"}, "claim must be one of f64"),
    ]:
        with pytest.raises(ValueError, match=words):
            tolerance(*arguments, **options)
