"""AdamW against fifty digits, the schedule, and the initial weights."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import laws
from refbilinear import adamw, cosine_schedule, init_mlp, mlp_forward, parameters
from strategies import FLOATS, LAYOUTS, arrays, plain

OF = laws.package()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [1.0, 1e-8])
@given(data=st.data(), t=st.sampled_from([1, 2, 3, 10, 1000]))
def test_a_step_is_the_decimal_one(dtype, size, data, t):
    """Gradients of the size of ε show where ε stands; few steps show the bias correction."""
    theta, g, m, v = (data.draw(arrays((3, 2), dtype)) for _ in range(4))
    g, m, v = (array.astype(dtype) for array in (g * size, m * size, v * v * size * size))
    laws.adamw_is_the_decimal(OF, theta, g, m, v, t)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_first_step_from_zero_moments(dtype):
    theta, g = np.array([1, -2, 3], dtype), np.array([1e-8, -3, 1e4], dtype)
    zero = np.zeros(3, dtype)
    laws.adamw_is_the_decimal(OF, theta, g, zero, zero, 1, decay=0.0)
    laws.adamw_is_the_decimal(OF, theta, g, zero, zero, 1, decay=0.5, beta1=0.75, beta2=0.5)


def test_decay_is_decoupled():
    """Without a gradient θ shrinks by η λ, and the moments stay zero."""
    theta, zero = np.array([8.0, -4.0]), np.zeros(2)
    state = adamw(theta, zero, zero, zero, 1, learning_rate=0.5, weight_decay=0.25)
    laws.same(state.theta, theta * 0.875)
    laws.same(state.m, zero)
    laws.same(state.v, zero)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arguments_are_left_alone_in_every_layout(layout):
    rng = np.random.default_rng(3)
    given_arrays = [LAYOUTS[layout](rng.uniform(1, 2, (3, 2))) for _ in range(4)]
    before = [array.tobytes() for array in given_arrays]
    got = adamw(*given_arrays, 2)
    want = adamw(*map(plain, given_arrays), 2)
    assert [array.tobytes() for array in given_arrays] == before
    laws.same(np.stack(got), np.stack(want))


def test_cosine_schedule():
    rates = [cosine_schedule(epoch, 6, 2.0) for epoch in range(7)]
    assert rates[0] == 2.0
    assert rates[6] == 0.0
    assert rates == sorted(rates, reverse=True)
    # The cosine is that of the C library, within an ulp of cos(π/3) = 1/2 and cos(π/2) = 0.
    assert abs(rates[2] - 1.5) <= 4 * np.finfo(float).eps
    assert abs(rates[3] - 1.0) <= 4 * np.finfo(float).eps
    pairs = zip(rates, reversed(rates), strict=True)
    assert all(abs(one + other - 2) <= 4 * np.finfo(float).eps for one, other in pairs)


@pytest.mark.parametrize(("d_hidden", "count"), [(256, 334_336), (512, 930_816)])
def test_number_of_parameters_of_the_image_models(d_hidden, count):
    model = init_mlp(0, 784, d_hidden, d_hidden, 10, dtype=np.float32)
    assert sum(w.size for w in parameters(model).values()) == count


def test_weights_lie_in_their_range_and_fill_it():
    model = init_mlp(4, 30, 20, 50, 40, depth=2, bias=True)
    columns = {"w_embed": 30, "w_left": 20, "w_right": 20, "w_out": 50, "w_head": 20}
    columns |= {"b_left": 20, "b_right": 20, "b_out": 50}
    named = parameters(model)
    assert len(named) == 2 + 2 * 6
    for name, w in named.items():
        bound = 1 / math.sqrt(columns[name.rpartition(".")[2]])
        assert abs(w).max() <= bound
        # Of k uniform draws none lies in the outer part with probability (1 − 20/k)^k < e^-20.
        assert abs(w).max() > bound * (1 - min(0.95, 20 / w.size))
        # The mean of k draws has deviation bound/√(3k); six of them.
        assert abs(w.mean()) < 6 * bound / math.sqrt(3 * w.size)


def test_the_seed_decides():
    one, same, other = (parameters(init_mlp(seed, 3, 4, 5, 2)) for seed in (1, 1, 2))
    drawn = parameters(init_mlp(np.random.default_rng(1), 3, 4, 5, 2))
    for name, w in one.items():
        assert w.tobytes() == same[name].tobytes() == drawn[name].tobytes()
        assert w.tobytes() != other[name].tobytes()


def test_float32_weights_are_the_float64_ones_rounded():
    kwargs = {"depth": 2, "bias": True, "residual": True}
    single, double = (init_mlp(7, 3, 4, 5, 2, dtype=dtype, **kwargs) for dtype in FLOATS)
    assert single.residual
    assert double.residual
    for name, w in parameters(double).items():
        assert parameters(single)[name].dtype == np.float32
        laws.same(parameters(single)[name], w.astype(np.float32))


def test_shapes_and_optional_parts():
    model = init_mlp(0, 3, 4, 4, 2)
    assert list(parameters(model)) == ["w_embed", "layers.0.w_left", "layers.0.w_right", "w_head"]
    wide = init_mlp(0, 3, 4, 5, 2, depth=3)
    assert [layer.w_out.shape for layer in wide.layers] == [(4, 5)] * 3
    assert mlp_forward(wide, np.ones((6, 3))).shape == (6, 2)
