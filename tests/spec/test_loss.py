"""The losses: against fifty decimal digits, and exactly in rationals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import accuracy, cross_entropy, forward, squared_error
from refbilinear.spec.loss import enter_labels
from strategies import FLOATS, LAYOUTS, arrays, distinct_sizes, layers_with_batch, plain

OF = laws.package()


@st.composite
def logits_with_labels(draw, dtype):
    n, classes = draw(distinct_sizes(2))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    scale = draw(st.sampled_from([1, 16, 1024]))
    return (draw(arrays((n, classes), dtype)) * scale).astype(dtype), np.array(labels)


@pytest.mark.parametrize("dtype", FLOATS)
def test_cross_entropy_is_the_decimal(dtype):
    @given(logits_with_labels(dtype))
    def holds(case):
        laws.cross_entropy_is_the_decimal(OF, *case)

    holds()


@pytest.mark.parametrize("dtype", FLOATS)
def test_cross_entropy_is_stable_at_ten_thousand(dtype):
    y = np.array([[1e4, 0, -1e4], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [0, -1e4, 1e4]], dtype)
    for labels in ([0, 1, 2, 0], [2, 0, 1, 1]):
        laws.cross_entropy_is_the_decimal(OF, y, np.array(labels))
    assert float(cross_entropy(y[:1], [2]).value) == 2e4


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_gradient_of_a_row_sums_to_zero(dtype):
    rng = np.random.default_rng(0)
    y = (rng.standard_normal((50, 7)) * 3).astype(dtype)
    dy = cross_entropy(y, rng.integers(0, 7, 50)).dy
    # The shares are non-negative numbers of sum 1: 7 additions, a division and the label's
    # subtraction leave at most 10 roundings of 1/n each.
    unit = np.finfo(dtype).eps / 2
    assert (abs(dy.astype(np.float64).sum(axis=1)) <= 1.01 * 10 * 2 * unit / 50).all()


def test_cross_entropy_of_equal_logits_is_the_logarithm():
    loss = cross_entropy([[3, 3]], [0])
    assert float(loss.value) == np.log(2.0)
    laws.same(loss.dy, [[-0.5, 0.5]])


@settings(max_examples=50)
@given(st.data())
def test_squared_error_is_the_definition(data):
    n, d = data.draw(distinct_sizes(2, 5))
    y, t = (data.draw(arrays((n, d))) for _ in range(2))
    laws.squared_error_is_the_definition(OF, y, t)
    laws.squared_error_is_the_definition(OF, y[0], t[0])
    laws.squared_error_is_the_definition(OF, np.stack([y, t]), np.stack([t, 2 * t]))


def test_squared_error_of_no_output_is_zero():
    loss = squared_error(np.zeros((3, 0)), np.zeros((3, 0)))
    assert loss.value == 0
    assert loss.dy.shape == (3, 0)
    exact = squared_error(np.zeros((3, 0), object), np.zeros((3, 0), object))
    laws.exact_numbers(exact.value, exact.dy)


@settings(max_examples=10)
@given(layers_with_batch(largest=4))
def test_the_gradient_of_a_squared_loss_through_a_layer(case):
    """A squared loss is quartic in x and quadratic in any one weight."""
    layer, x, t = case

    def value(z):
        return squared_error(forward(layer, z), t).value

    dx = OF.backward(layer, x, squared_error(forward(layer, x), t).dy).x
    laws.same(dx, laws.gradient_by_differences(value, x, 4))


@given(st.data())
def test_accuracy_is_the_share_of_right_answers(data):
    n, classes = data.draw(distinct_sizes(2))
    y = data.draw(arrays((n, classes)))
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    right = sum(
        max(range(classes), key=row.__getitem__) == k for row, k in zip(y, labels, strict=True)
    )
    assert accuracy(y, labels) == right / n
    assert accuracy(y.astype(float), labels) == right / n


def test_of_equal_outputs_the_first_counts():
    assert accuracy([[1, 1], [0, 0]], [0, 1]) == 0.5


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_layout_gives_the_same(layout, dtype):
    rng = np.random.default_rng(5)
    y, t = (LAYOUTS[layout](rng.integers(-9, 9, (4, 3)).astype(dtype)) for _ in range(2))
    labels = LAYOUTS[layout](np.array([0, 2, 1, 2]))
    before = y.tobytes(), t.tobytes(), labels.tobytes()
    squares = squared_error(y, t)
    assert squares.value == squared_error(plain(y), plain(t)).value
    laws.same(squares.dy, squared_error(plain(y), plain(t)).dy)
    laws.cross_entropy_is_the_decimal(OF, plain(y), labels)
    assert accuracy(y, labels) == accuracy(plain(y), plain(labels))
    twin = cross_entropy(plain(y), plain(labels))
    laws.same(cross_entropy(y, labels).dy, twin.dy)
    assert (y.tobytes(), t.tobytes(), labels.tobytes()) == before


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint64, np.int32])
def test_labels_of_every_integer_type(dtype):
    labels = enter_labels(np.array([0, 2], dtype), 2, 3)
    assert labels.dtype == np.intp
    laws.same(labels, [0, 2])
