"""AdamW, the cosine schedule, and the initial weights.

    m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
    θ ← (1 − η λ) θ − η (m / (1 − β₁^t)) / (√(v / (1 − β₂^t)) + ε)

with learning rate η and decoupled weight decay λ: the semantics of `torch.optim.AdamW`.
"""

# Annotations stay text: evaluating np.random.Generator would load numpy.random at import, which
# NumPy itself puts off and which costs as much as all of this package.
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from refbilinear.spec.arrays import Array, as_array, enter, require_count, require_non_negative
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.mlp import BilinearMLP


class AdamWState(NamedTuple):
    """A parameter after a step, with its running moments."""

    theta: Array
    m: Array
    v: Array


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
    """Return a parameter and its moments after one AdamW step, leaving the arguments as they are.

    The decay acts on θ directly, scaled by the learning rate, and never enters the moments; ε is
    added after the root and after the bias correction.

    Parameters
    ----------
    theta, g, m, v : array
        Parameter, its gradient, first and second moment (zeros before the first step), all of one
        shape and of one dtype, float32 or float64.
    t : int
        Number of the step, from 1.
    learning_rate, weight_decay, beta1, beta2, epsilon : float
        η, λ, β₁, β₂, ε.

    Returns
    -------
    AdamWState

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, arXiv:1711.05101.

    Examples
    --------
    The first step moves every weight by the learning rate, whatever the gradient's size:

    >>> theta, zero = np.array([1.0, 1.0]), np.zeros(2)
    >>> adamw(theta, np.array([1e-3, -1e3]), zero, zero, 1, learning_rate=0.1).theta.round(6)
    array([0.900001, 1.1     ])
    """
    theta, g, m, v = enter_state(theta, g, m, v)
    learning_rate = require_non_negative("learning_rate", learning_rate)
    weight_decay = require_non_negative("weight_decay", weight_decay)
    beta1, beta2, epsilon = float(beta1), float(beta2), float(epsilon)
    correction1 = 1 - beta1 ** require_count("t", t, 1)
    correction2 = 1 - beta2**t
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * (g * g)
    root = np.sqrt(v)
    root /= math.sqrt(correction2)
    root += epsilon
    step = np.divide(m, root, out=root)
    step *= learning_rate / correction1
    theta = (1 - learning_rate * weight_decay) * theta - step
    return AdamWState(theta, m, v)


def cosine_schedule(epoch: int, epochs: int, learning_rate: float) -> float:
    """Return the learning rate of an epoch, `η (1 + cos(π epoch / epochs)) / 2`, epochs from 0.

    Stepped once an epoch: the first runs at η, the last still above 0.

    References
    ----------
    Loshchilov and Hutter, "SGDR", ICLR 2017, arXiv:1608.03983, without restarts.

    Examples
    --------
    >>> [round(cosine_schedule(epoch, 4, 1.0), 3) for epoch in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    share = require_count("epoch", epoch, 0) / require_count("epochs", epochs, 1)
    return learning_rate * (1 + math.cos(math.pi * share)) / 2


def init_mlp(
    rng: np.random.Generator | int,
    d_in: int,
    d_model: int,
    d_hidden: int,
    d_out: int,
    *,
    depth: int = 1,
    bias: bool = False,
    residual: bool = False,
    dtype: DTypeLike = np.float64,
) -> BilinearMLP:
    """Return a bilinear MLP with weights drawn from U(±1/√columns) of each matrix.

    Embedding `(d_model, d_in)`, `depth` layers on a stream of width d_model, head
    `(d_out, d_model)`. Where `d_hidden == d_model` a layer has no output matrix, as in the image
    models of Pearce et al. 2025. A bias is drawn from the range of its matrix.

    Parameters
    ----------
    rng : numpy.random.Generator or int
        The source of randomness, or a seed.
    d_in, d_model, d_hidden, d_out : int
        Sizes, each at least 1.
    depth : int
        Number of layers.
    bias : bool
        Whether the layers have their three biases.
    residual : bool
        Whether each layer's output is added to its input.
    dtype : dtype
        float32 or float64; the same seed draws the same weights, rounded once.

    Returns
    -------
    BilinearMLP

    Examples
    --------
    The image model of Pearce et al. and its number of parameters:

    >>> model = init_mlp(0, 784, 256, 256, 10)
    >>> model
    BilinearMLP(d_in=784, layers=[256→256→256], d_out=10, float64)
    >>> from refbilinear import parameters
    >>> sum(w.size for w in parameters(model).values())
    334336
    """
    sizes = {"d_in": d_in, "d_model": d_model, "d_hidden": d_hidden, "d_out": d_out}
    for name, size in {**sizes, "depth": depth}.items():
        require_count(name, size, 1)
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"dtype must be float32 or float64; got {np.dtype(dtype)}")
    rng = np.random.default_rng(rng)

    def draw(*shape: int, columns: int | None = None) -> Array:
        bound = 1 / math.sqrt(columns or shape[-1])
        return rng.uniform(-bound, bound, shape).astype(dtype)

    def draw_layer() -> BilinearLayer:
        return BilinearLayer(
            w_left=draw(d_hidden, d_model),
            w_right=draw(d_hidden, d_model),
            w_out=None if d_hidden == d_model else draw(d_model, d_hidden),
            b_left=draw(d_hidden, columns=d_model) if bias else None,
            b_right=draw(d_hidden, columns=d_model) if bias else None,
            b_out=draw(d_model, columns=d_hidden) if bias else None,
        )

    w_embed = draw(d_model, d_in)
    layers = tuple(draw_layer() for _ in range(depth))
    return BilinearMLP(w_embed, layers, draw(d_out, d_model), residual)


def enter_state(theta: Array, g: Array, m: Array, v: Array) -> tuple[Array, Array, Array, Array]:
    """Return the four arrays after checking that they are floats of one shape and dtype."""
    theta = as_array("theta", theta)
    if theta.ndim == 0:
        raise ValueError("theta must have at least one axis; got shape ()")
    if theta.dtype == object:
        raise TypeError("theta must be float32 or float64: the root of a rational is not rational")
    sizes = {str(axis): size for axis, size in enumerate(theta.shape)}
    others = {"g": g, "m": m, "v": v}
    entered = [
        enter(name, value, sizes, dtype=theta.dtype, match="to match theta")
        for name, value in others.items()
    ]
    return theta, entered[0], entered[1], entered[2]
