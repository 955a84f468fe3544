"""The specification against PyTorch, an implementation that shares nothing with it.

Two computations of one number differ by at most the sum of their errors. PyTorch evaluates the same
formula, so its error obeys the same bound: twice the bound is allowed.
"""

import numpy as np
import pytest

import laws
import refbilinear
from refbilinear.oracle.bounds import (
    backward_bound,
    forward_bound,
    mlp_backward_bound,
    mlp_forward_bound,
)
from refbilinear.spec.train import initial_moments, update
from strategies import FLOATS, OPTIONAL, random_array, random_layer

torch = pytest.importorskip("torch")
BOTH = pytest.mark.parametrize("dtype", FLOATS, ids=["float32", "float64"])
NAMES = pytest.mark.parametrize("names", [OPTIONAL, ("w_out",), ("b_left", "w_skip"), ()])


def tensors(named):
    """Return parameters as tensors that record gradients."""
    return {name: torch.tensor(w, requires_grad=True) for name, w in named.items()}


def torch_layer(w, x):
    linear = torch.nn.functional.linear
    left = linear(x, w["w_left"], w.get("b_left"))
    right = linear(x, w["w_right"], w.get("b_right"))
    y = left * right
    y = linear(y, w["w_out"]) if "w_out" in w else y
    y = y + w["b_out"] if "b_out" in w else y
    return y + linear(x, w["w_skip"]) if "w_skip" in w else y


def torch_mlp(w, x, depth, *, residual):
    h = x @ w["w_embed"].T
    for number in range(depth):
        head = f"layers.{number}."
        y = torch_layer({n[len(head) :]: t for n, t in w.items() if n.startswith(head)}, h)
        h = h + y if residual else y
    return h @ w["w_head"].T


def within(got, other, allowed, dtype):
    other = other.detach().numpy()
    assert got.dtype == other.dtype == dtype
    assert got.shape == other.shape
    assert (abs(got.astype(np.float64) - other.astype(np.float64)) <= allowed).all()


def test_a_tensor_that_is_no_array_is_refused_by_name_and_with_the_way_out():
    w = torch.ones(2, 3)
    for bad in (w.clone().requires_grad_(), w.bfloat16()):
        with pytest.raises(TypeError, match=r"w_left must be convertible .*\.detach\(\)"):
            refbilinear.BilinearLayer(bad, w)
    assert refbilinear.BilinearLayer(w, w).dtype == np.float32


@BOTH
@NAMES
def test_layer(dtype, names):
    rng = np.random.default_rng(len(names))
    layer = random_layer(rng, names, (6, 9, 4), dtype)
    x, dy = random_array(rng, (7, 6), dtype), random_array(rng, (7, layer.d_out), dtype)
    w, z = tensors(refbilinear.parameters(layer)), torch.tensor(x, requires_grad=True)
    y = torch_layer(w, z)
    y.backward(torch.tensor(dy))
    within(refbilinear.forward(layer, x), y, 2 * forward_bound(layer, x), dtype)
    gradients, bound = refbilinear.backward(layer, x, dy), backward_bound(layer, x, dy)
    within(gradients.x, z.grad, 2 * bound.x, dtype)
    for name, tensor in w.items():
        within(getattr(gradients, name), tensor.grad, 2 * getattr(bound, name), dtype)


@BOTH
@pytest.mark.parametrize("residual", [False, True])
def test_mlp(dtype, residual):
    rng = np.random.default_rng(3)
    model = refbilinear.init_mlp(
        rng, 6, 4, 5, 3, depth=2, bias=True, residual=residual, dtype=dtype
    )
    x, dy = random_array(rng, (7, 6), dtype), random_array(rng, (7, 3), dtype)
    w, z = tensors(refbilinear.parameters(model)), torch.tensor(x, requires_grad=True)
    y = torch_mlp(w, z, 2, residual=residual)
    y.backward(torch.tensor(dy))
    within(refbilinear.mlp_forward(model, x), y, 2 * mlp_forward_bound(model, x), dtype)
    gradients, bound = refbilinear.mlp_backward(model, x, dy), mlp_backward_bound(model, x, dy)
    within(gradients.x, z.grad, 2 * bound.x, dtype)
    named, allowed = refbilinear.parameters(gradients), refbilinear.parameters(bound)
    for name, tensor in w.items():
        within(named[name], tensor.grad, 2 * allowed[name], dtype)


@BOTH
@pytest.mark.parametrize("scale", [1, 100, 1e4])
def test_cross_entropy(dtype, scale):
    """Each side errs by (|s| + 8 + C)u in a share, s the distance from the largest logit, and
    |s| e^-|s| < 1; so 2 (9 + 2 C + 5) u/n of a gradient, and of a value its log-sum and size more.
    """
    rng = np.random.default_rng(4)
    y = (rng.standard_normal((11, 5)) * scale).astype(dtype)
    labels = rng.integers(0, 5, 11)
    z = torch.tensor(y, requires_grad=True)
    other = torch.nn.functional.cross_entropy(z, torch.tensor(labels))
    other.backward()
    loss = refbilinear.cross_entropy(y, labels)
    unit = float(np.finfo(dtype).eps) / 2
    within(loss.dy, z.grad, 2 * unit * (14 + 2 * 5) / 11, dtype)
    # torch takes log-softmax: |y| itself is never larger than the spread beside its rounding.
    spread = float(y.max() - y.min())
    within(loss.value, other, 2 * unit * (14 + 2 * 5 + 11 + 3 * spread), dtype)


@BOTH
def test_squared_error_is_the_mean_times_the_outputs(dtype):
    rng = np.random.default_rng(5)
    y, t = (random_array(rng, (7, 3), dtype) for _ in range(2))
    z = torch.tensor(y, requires_grad=True)
    other = 3 * torch.nn.functional.mse_loss(z, torch.tensor(t))
    other.backward()
    loss = refbilinear.squared_error(y, t)
    bound = laws.package().squared_error_bound(y, t)
    # PyTorch divides by 21 and multiplies by 3, two roundings more than the bound's own, which has
    # 24 of the value and 2 of the gradient.
    within(loss.value, other, 2 * bound.value * 26 / 24, dtype)
    within(loss.dy, z.grad, 2 * bound.dy * 4 / 2, dtype)


@BOTH
@pytest.mark.parametrize("decay_biases", [True, False])
def test_three_steps_of_adamw(dtype, decay_biases):
    """Three steps on given gradients, whose own errors thus stay out of it.

    A step has at most 16 roundings on |θ| and on the step's size (laws.adamw_is_the_decimal), and
    the moments carry at most 4 more on to each later step: t (16 + 4) u on each side. The
    corrections 1 − β^t, whose cancellation costs more, both sides take in the same Python floats.
    """
    rng = np.random.default_rng(6)
    model = refbilinear.init_mlp(rng, 6, 4, 5, 3, bias=True, dtype=dtype)
    w, moments = tensors(refbilinear.parameters(model)), initial_moments(model)
    biases = [t for name, t in w.items() if t.ndim == 1]
    matrices = [t for name, t in w.items() if t.ndim == 2]
    groups = [
        {"params": matrices},
        {"params": biases, "weight_decay": 0.5 if decay_biases else 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.5)
    unit = float(np.finfo(dtype).eps) / 2
    for t in range(1, 4):
        x, dy = random_array(rng, (7, 6), dtype), random_array(rng, (7, 3), dtype)
        gradients = refbilinear.mlp_backward(model, x, dy)
        for name, gradient in refbilinear.parameters(gradients).items():
            w[name].grad = torch.tensor(gradient)
        optimiser.step()
        model, moments = update(
            model, gradients, moments, t,
            learning_rate=0.01, weight_decay=0.5, decay_biases=decay_biases,
        )  # fmt: skip
        # A step is at most η (1 − β₁)/√(1 − β₂) = 3.2 η in size, however the gradients turn.
        for name, theta in refbilinear.parameters(model).items():
            allowed = 2 * t * 20 * unit * (abs(theta.astype(np.float64)) + 3.2 * 0.01)
            within(theta, w[name], allowed, dtype)
