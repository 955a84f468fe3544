"""K and δ are what the specification's own operations add up to, counted by running it."""

import numpy as np
import pytest

import refbilinear as rb
from refbilinear.oracle import bounds
from refbilinear.oracle.trees import map_arrays
from refbilinear.spec.arrays import Followed
from strategies import OPTIONAL, random_layer


class Counted(Followed):
    """Each number is the count of roundings on the longest way to it."""

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        counts = [np.asarray(value) for value in inputs]
        kept = [count for value, count in zip(inputs, counts, strict=True) if is_counted(value)]
        kept = counts if "out" in settings else kept  # what is added to has been counted too
        result = np.asarray(self.count(ufunc, method, counts, kept, settings.get("axis")))
        if "out" in settings:
            settings["out"][0][...] = result
        return result.view(type(self))

    def count(self, ufunc, method, counts, kept, axis):
        if method == "reduce":
            return self.summed(counts[0].max(axis=axis, initial=0), counts[0].shape[axis or 0])
        if ufunc is np.matmul:
            return self.matmul(*counts)
        if len(kept) == 1:  # with a constant: 0 is added and 2 divides without rounding
            shape = np.broadcast_shapes(*(count.shape for count in counts))
            return np.broadcast_to(kept[0], shape)
        return self.product(*counts) if ufunc is np.multiply else self.sum_of_two(*counts)


def is_counted(value):
    return isinstance(value, Counted)


class Roundings(Counted):
    """Of every operation."""

    def summed(self, largest, terms):
        return largest + terms - 1

    def matmul(self, a, b):
        inner = a.shape[-1]
        pairs = a[..., :, None] + b if b.ndim > 1 else a + b
        return pairs.max(axis=-2 if b.ndim > 1 else -1, initial=0) + inner

    def product(self, a, b):
        return a + b + 1

    def sum_of_two(self, a, b):
        return np.maximum(a, b) + 1


class Stored(Roundings):
    """Of results that are stored; sums are finer. Inputs have met one."""

    def summed(self, largest, terms):
        return largest + 1

    def matmul(self, a, b):
        return super().matmul(a, b) - a.shape[-1] + 1


class Read(Stored):
    """Of what a matrix product reads."""

    def summed(self, largest, terms):
        return largest

    def matmul(self, a, b):
        return super().matmul(a, b) - 1 + 2

    def product(self, a, b):
        return a + b

    def sum_of_two(self, a, b):
        return np.maximum(a, b)


def counted(kind, function, *arguments, start=0):
    def lift(array):
        return np.full(np.shape(array), start).view(kind)

    result = function(*map_arrays(lift, arguments))
    return map_arrays(lambda array: int(np.asarray(array).max(initial=0)), result)


def problems():
    for seed, names in enumerate(
        [(), ("w_out",), OPTIONAL, ("w_out", "b_left"), ("w_skip",), ("b_right", "b_out")]
    ):
        layer = random_layer(np.random.default_rng(seed), names, (5, 7, 3), np.float64)
        yield layer, np.ones((4, 5)), np.ones((4, layer.d_out)), np.ones(layer.d_out)


@pytest.mark.parametrize("problem", list(problems()), ids=lambda problem: repr(problem[0]))
def test_roundings(problem):
    layer, x, dy, u = problem
    assert counted(Roundings, rb.forward, layer, x) == bounds.forward_roundings(layer)
    counts = bounds.backward_roundings(layer, n=4)
    for name, count in counted(Roundings, rb.backward, layer, x, dy)._asdict().items():
        if name == "b_out" and count is not None:
            assert count == counts[name] - 1  # a sum without products
        elif name in ("b_left", "b_right") and count is not None:
            assert count == counts[name] - 1
        elif count is not None:
            assert count == counts[name]
    assert counted(Roundings, rb.interaction_tensor, layer) == bounds.tensor_roundings(layer)
    form = counted(Roundings, rb.output_form, layer, u)
    k = layer.d_out + layer.d_hidden + 2
    assert form.matrix <= k
    assert form.linear <= k + 1
    assert form.constant <= k
    if layer.w_out is not None:
        assert form.matrix == k


@pytest.mark.parametrize("d", [1, 2, 5])
def test_roundings_of_forms(d):
    tensor, x = np.ones((3, rb.n_pairs(d))), np.ones((4, d))
    rows = counted(Roundings, rb.quadratic_form, tensor, x)
    assert rows == d + 2
    assert rows <= bounds.quadratic_form_roundings(d)
    assert counted(Roundings, rb.bilinear_form, tensor, x, x) <= max(2 * d, d + 3)
    assert counted(Roundings, rb.tensor_gradient, x, np.ones((4, 3))) == 4 + 1
    assert counted(Roundings, rb.interaction_matrix, tensor, np.ones(3)) == 3
    form = rb.QuadraticForm(np.ones((d, d)), np.ones(d), np.ones(()))
    assert counted(Roundings, rb.form_value, form, x) == 2 * d + 2
    assert counted(Roundings, bounds.truncated_form, np.ones(2), np.ones((d, 2)), x) == 2 * d + 3


@pytest.mark.parametrize("problem", list(problems()), ids=lambda problem: repr(problem[0]))
def test_degrees(problem):
    layer, x, dy, u = problem
    for kind, start, which in ((Read, 0, "read"), (Stored, 1, "stored")):
        found = {
            "forward": counted(kind, rb.forward, layer, x, start=start),
            "tensor": counted(kind, rb.interaction_tensor, layer, start=start),
            **counted(kind, rb.backward, layer, x, dy, start=start)._asdict(),
        }
        form = counted(kind, rb.output_form, layer, u, start=start)
        found["output_form"] = max(form.matrix, form.linear, form.constant)
        for name, count in found.items():
            assert count is None or count <= getattr(bounds.DEGREES[name], which), (name, which)


def test_degrees_of_a_full_layer_are_met():
    layer = random_layer(np.random.default_rng(2), OPTIONAL, (5, 7, 3), np.float64)
    x, dy, tensor = np.ones((4, 5)), np.ones((4, 3)), np.ones((3, rb.n_pairs(5)))
    form = rb.QuadraticForm(np.ones((5, 5)), np.ones(5), np.ones(()))
    assert counted(Read, rb.forward, layer, x) == bounds.DEGREES["forward"].read == 6
    assert counted(Stored, rb.forward, layer, x, start=1) == 13
    output = counted(Stored, rb.output_form, layer, dy[0], start=1)
    found = {
        "forward": counted(Stored, rb.forward, layer, x, start=1),
        **counted(Stored, rb.backward, layer, x, dy, start=1)._asdict(),
        "tensor": counted(Stored, rb.interaction_tensor, layer, start=1),
        "matrix": counted(Stored, rb.interaction_matrix, tensor, dy[0], start=1),
        "output_form": max(output.matrix, output.linear, output.constant),
        "form_value": counted(Stored, rb.form_value, form, x, start=1),
        "tensor_gradient": counted(Stored, rb.tensor_gradient, x, dy, start=1),
        "truncated_form": counted(
            Stored, bounds.truncated_form, np.ones(2), np.ones((5, 2)), x, start=1
        ),
    }
    assert found == {name: bounds.DEGREES[name].stored for name in found}
