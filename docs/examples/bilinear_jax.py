"""A bilinear layer in JAX, and what `refbilinear.oracle.verify` says of it.

y = w_out ((w_left x + b_left) ⊙ (w_right x + b_right)) + b_out + w_skip x
"""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from refbilinear.oracle import verify


class Layer(NamedTuple):
    """A bilinear layer. As a NamedTuple it is a pytree: jit, grad and vjp take it as it is."""

    w_left: jax.Array
    w_right: jax.Array
    w_out: jax.Array | None = None  # the identity
    b_left: jax.Array | None = None
    b_right: jax.Array | None = None
    b_out: jax.Array | None = None
    w_skip: jax.Array | None = None


def linear(w, b, x):
    """Return `w x + b`; absent weights are the identity, an absent bias is none."""
    y = x if w is None else x @ w.T
    return y if b is None else y + b


@jax.jit
def forward(layer, x):
    """Return the outputs (n, d_out) of examples (n, d_in)."""
    product = linear(layer.w_left, layer.b_left, x) * linear(layer.w_right, layer.b_right, x)
    y = linear(layer.w_out, layer.b_out, product)
    return y if layer.w_skip is None else y + x @ layer.w_skip.T


@jax.jit
def backward(layer, x, dy):
    """Return the gradients of the layer's parameters, as a layer, and of x."""
    _, pull_back = jax.vjp(forward, layer, x)
    return pull_back(dy)


def augmented(w, b):
    """Return weight and bias as one matrix, which meets [x; 1]."""
    return jnp.column_stack([w, jnp.zeros(len(w), w.dtype) if b is None else b])


@jax.jit
def tensor(layer):
    """Return the symmetric interaction tensor, (d_out, d, d), over [x; 1] if it is needed."""
    left, right = layer.w_left, layer.w_right
    if any(p is not None for p in layer[3:]):
        left, right = augmented(left, layer.b_left), augmented(right, layer.b_right)
    half = jnp.einsum("hi,hj->hij", left, right)
    if layer.w_out is not None:
        half = jnp.einsum("oh,hij->oij", layer.w_out, half)
    whole = (half + half.mT) / 2
    if layer.w_skip is not None:
        whole = whole.at[:, -1, :-1].add(layer.w_skip / 2)
        whole = whole.at[:, :-1, -1].add(layer.w_skip / 2)
    return whole if layer.b_out is None else whole.at[:, -1, -1].add(layer.b_out)


@jax.jit
def squared_error(y, t):
    """Return the mean over examples, not over outputs as well."""
    return jnp.sum((y - t) ** 2) / len(y)


@jax.jit
def cross_entropy(y, labels):
    """Return the mean over examples of the negative logarithm of the right class's probability."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(y), labels[:, None], axis=1)
    return -jnp.sum(chosen) / len(y)


def adamw(theta, g, m, v, t, *, learning_rate, weight_decay, beta1, beta2, epsilon):
    """Return a parameter and its moments after step t; the decay is decoupled."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    step = (m / (1 - beta1**t)) / (jnp.sqrt(v / (1 - beta2**t)) + epsilon)
    return (1 - learning_rate * weight_decay) * theta - learning_rate * step, m, v


# ---- the same with what `verify` gives: arrays of NumPy, and its own NamedTuple as a layer


def on_device(function):
    """Return a function that gets arrays of JAX: what JAX cannot hold, it then refuses.

    Given NumPy's arrays, jit of JAX 0.10 misreads those of foreign byte order.
    """
    held = (np.ndarray, np.generic)

    def run(*arguments, **settings):
        convert = lambda one: jnp.asarray(one) if isinstance(one, held) else one  # noqa: E731
        return function(*jax.tree.map(convert, arguments), **settings)

    return run


def gradients(layer, x, dy):
    """Return the gradients by name."""
    of_layer, of_x = backward(Layer(*layer), x, dy)
    return of_layer._asdict() | {"x": of_x}


FUNCTIONS = {
    "forward": on_device(lambda layer, x: forward(Layer(*layer), x)),
    "tensor": on_device(lambda layer: tensor(Layer(*layer))),
    "backward": on_device(gradients),
    "squared_error": on_device(jax.jit(jax.value_and_grad(squared_error))),
    "cross_entropy": on_device(jax.jit(jax.value_and_grad(cross_entropy))),
    "adamw": on_device(adamw),
}


def main():
    """Print what is right and wrong, and return the exit code: 0 if all is right."""
    reports = []
    for claim in ("f32", "f64"):
        jax.config.update("jax_enable_x64", claim == "f64")  # of all threads; a context is of one
        reports.append(verify(FUNCTIONS, claim=claim))
    print(*reports, sep="\n\n")
    return max(report.exit_code for report in reports)


if __name__ == "__main__":
    sys.exit(main())
