"""Training a bilinear MLP as a classifier: AdamW on the softmax cross-entropy, epoch by epoch.

    each epoch: shuffle, then for each full batch: x + σ N(0, 1)  →  loss  →  gradients  →  AdamW

The learning rate follows the cosine schedule, stepped per epoch. What is left of the examples
after the last full batch of an epoch sits that epoch out.
"""

# Annotations stay text: evaluating np.random.Generator would load numpy.random at import, which
# NumPy itself puts off and which costs as much as all of this package.
from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refbilinear.spec.arrays import Array, enter, require_count, require_non_negative
from refbilinear.spec.loss import Loss, accuracy, cross_entropy, enter_labels
from refbilinear.spec.mlp import (
    BilinearMLP,
    MLPGradients,
    mlp_activations,
    mlp_backward,
    mlp_forward,
    parameters,
    with_parameters,
)
from refbilinear.spec.optim import adamw, cosine_schedule


class Epoch(NamedTuple):
    """What an epoch left: the model after it, and how it went.

    `loss` and `accuracy` are means over the epoch's batches as they were met, noise included and
    the model still changing; the validation figures are of the model after the epoch, None
    without validation data.
    """

    number: int
    model: BilinearMLP
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float


NORMALS_BLOCK = 2**15

Moments = dict[str, tuple[Array, Array]]


def train(
    model: BilinearMLP,
    x: ArrayLike,
    labels: ArrayLike,
    *,
    rng: np.random.Generator | int,
    epochs: int = 20,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    decay_biases: bool = True,
    noise: float = 0.0,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
) -> Iterator[Epoch]:
    """Yield the model after each epoch of training on softmax cross-entropy with AdamW.

    Parameters
    ----------
    model : BilinearMLP
        Where to start; float32 or float64. It is not changed.
    x : (n, d_in) array_like
        Inputs, of the model's number type.
    labels : (n,) array_like of integers
        Classes, from 0.
    rng : numpy.random.Generator or int
        Source of the shuffling and the noise, or a seed.
    epochs, batch_size : int
        At least 1. With fewer examples than `batch_size` all of them are one batch.
    learning_rate : float
        Of the first epoch; it falls to 0 by `cosine_schedule`.
    weight_decay : float
        Decoupled, as in AdamW.
    decay_biases : bool
        Whether the decay acts on biases too.
    noise : float
        Standard deviation σ of Gaussian noise added to the inputs while training, not clipped.
    validation : (x, labels), optional
        Judged after each epoch.

    Yields
    ------
    Epoch

    Raises
    ------
    ValueError, TypeError
        For data that do not fit the model or settings out of range, at the call.
    FloatingPointError
        For a loss that is not finite, naming the epoch.

    Examples
    --------
    >>> from refbilinear import init_mlp
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((512, 2))
    >>> labels = (x[:, 0] * x[:, 1] > 0).astype(int)              # XOR of the signs
    >>> *_, last = train(init_mlp(rng, 2, 4, 4, 2), x, labels, rng=rng, learning_rate=0.03)
    >>> last.number, last.accuracy > 0.95
    (20, True)
    """
    x, labels = _enter_data(model, "x", "labels", x, labels)
    held_out = None
    if validation is not None:
        if len(validation) != 2:
            raise ValueError(f"validation must be (x, labels); got {len(validation)} items")
        held_out = _enter_data(model, "validation[0]", "validation[1]", *validation)
    require_count("epochs", epochs, 1)
    size = min(require_count("batch_size", batch_size, 1), len(x))
    noise = require_non_negative("noise", noise)
    weight_decay = require_non_negative("weight_decay", weight_decay)
    learning_rate = require_non_negative("learning_rate", learning_rate)
    rates = (cosine_schedule(epoch, epochs, learning_rate) for epoch in range(epochs))
    optimise = partial(update, weight_decay=weight_decay, decay_biases=decay_biases)
    rng = np.random.default_rng(rng)
    return _epochs(model, x, labels, held_out, rng, rates, size, noise, optimise)


def loss_and_gradients(
    model: BilinearMLP, x: ArrayLike, labels: ArrayLike
) -> tuple[Loss, float, MLPGradients]:
    """Return the cross-entropy, the accuracy and the gradients of the parameters on one batch.

    Parameters
    ----------
    model : BilinearMLP
    x : (n, d_in) array_like
    labels : (n,) array_like of integers

    Returns
    -------
    tuple of Loss, float and MLPGradients

    Examples
    --------
    >>> from refbilinear import BilinearLayer
    >>> model = BilinearMLP(None, [BilinearLayer([[1]], [[1]])], [[1], [-1]])
    >>> loss, share, gradients = loss_and_gradients(model, [[0]], [0])
    >>> round(float(loss.value), 6), share, gradients.w_head.ravel()
    (0.693147, 1.0, array([0., 0.]))
    """
    activations = mlp_activations(model, x)
    loss = cross_entropy(activations.y, labels)
    gradients = mlp_backward(model, x, loss.dy, activations, input_gradient=False)
    return loss, accuracy(activations.y, labels), gradients


def initial_moments(model: BilinearMLP) -> Moments:
    """Return the two moments of every parameter before the first step: zeros."""
    return {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in parameters(model).items()}


def update(
    model: BilinearMLP,
    gradients: MLPGradients,
    moments: Moments,
    t: int,
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    decay_biases: bool = True,
) -> tuple[BilinearMLP, Moments]:
    """Return the model and the moments after one AdamW step on all parameters.

    Parameters
    ----------
    model : BilinearMLP
    gradients : MLPGradients
    moments : dict of str to (m, v)
        As `initial_moments(model)` or the step before returned them.
    t : int
        Number of the step, from 1.
    learning_rate, weight_decay : float
    decay_biases : bool
        Whether the decay acts on biases too.

    Returns
    -------
    tuple of BilinearMLP and dict

    Examples
    --------
    >>> from refbilinear import BilinearLayer
    >>> model = BilinearMLP(None, [BilinearLayer([[1]], [[1]])], [[1], [-1]])
    >>> _, _, gradients = loss_and_gradients(model, [[1]], [0])
    >>> stepped, _ = update(model, gradients, initial_moments(model), 1, learning_rate=0.5)
    >>> stepped.w_head.round(6).ravel()
    array([ 1.5, -1.5])
    """
    values: dict[str, Array] = {}
    stepped: Moments = {}
    of_name = parameters(gradients)
    for name, theta in parameters(model).items():
        exempt = not decay_biases and name.rpartition(".")[2].startswith("b_")
        decay = 0.0 if exempt else weight_decay
        values[name], *after = adamw(
            theta, of_name[name], *moments[name], t,
            learning_rate=learning_rate, weight_decay=decay,
        )  # fmt: skip
        stepped[name] = (after[0], after[1])
    return with_parameters(model, values), stepped


def _epochs(
    model: BilinearMLP,
    x: Array,
    labels: NDArray[np.intp],
    held_out: tuple[Array, NDArray[np.intp]] | None,
    rng: np.random.Generator,
    rates: Iterable[float],
    size: int,
    noise: float,
    optimise: Callable[..., tuple[BilinearMLP, Moments]],
) -> Iterator[Epoch]:
    _keep_freed_memory()
    moments, t = initial_moments(model), 0
    for number, rate in enumerate(rates, 1):
        start = time.perf_counter()
        met: list[tuple[float, float]] = []
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by name
            for batch in _batches(rng, len(x), size):
                noisy = _with_noise(rng, x[batch], noise)
                loss, share, gradients = loss_and_gradients(model, noisy, labels[batch])
                met.append((_require_finite_loss(loss, number, rate), share))
                t += 1
                model, moments = optimise(model, gradients, moments, t, learning_rate=rate)
            loss_after, accuracy_after = _judge(model, held_out)
        _require_finite_model(model, loss_after, number, rate)
        mean_loss, mean_accuracy = np.mean(met, axis=0).tolist()
        seconds = time.perf_counter() - start
        yield Epoch(number, model, mean_loss, mean_accuracy, loss_after, accuracy_after, seconds)


def _keep_freed_memory() -> None:
    """Teach the GNU C library to keep freed arrays, by freeing one that is larger than they are.

    Otherwise it returns each array of a step to the system and meets it again page by page, which
    takes a third of the step. It learns from blocks below 32 MiB; this one is never touched.
    """
    np.empty(31 * 2**20, np.uint8)


def _batches(rng: np.random.Generator, n: int, size: int) -> Iterator[NDArray[np.intp]]:
    """Yield the full batches of a fresh shuffle of n examples."""
    order = rng.permutation(n)
    for start in range(0, n - size + 1, size):
        yield order[start : start + size]


def _with_noise(rng: np.random.Generator, x: Array, noise: float) -> Array:
    """Return `x + noise · N(0, 1)`; noise 0 draws nothing."""
    if noise == 0:
        return x
    noisy = normals(rng, x.size, noise).reshape(x.shape).astype(x.dtype, copy=False)
    noisy += x
    return noisy


def normals(rng: np.random.Generator, size: int, sigma: float = 1.0) -> NDArray[np.float32]:
    """Return draws from N(0, σ²) in float32: `σ √(−2 ln u) (cos 2πv, sin 2πv)`, u, v uniform.

    Vectorised in blocks that stay in cache, and so faster than `rng.standard_normal`, which takes
    as long as half a training step. Of a resolution that suits noise: |z| < 5.8 σ.

    References
    ----------
    Box and Muller, "A note on the generation of random normal deviates", Annals of Mathematical
    Statistics 29, 1958.

    Examples
    --------
    >>> z = normals(np.random.default_rng(0), 100_001)
    >>> z.shape, bool(abs(z.mean()) < 0.01), bool(abs(z.std() - 1) < 0.01)
    ((100001,), True, True)
    """
    out = np.empty(size + size % 2, np.float32)
    for start in range(0, len(out), NORMALS_BLOCK):
        pair = out[start : start + NORMALS_BLOCK].reshape(2, -1)
        u, v = rng.random(pair.shape, dtype=np.float32)
        radius = sigma * np.sqrt(-2 * np.log(1 - u))
        angle = 2 * math.pi * v
        np.cos(angle, out=pair[0])
        np.sin(angle, out=pair[1])
        pair *= radius
    return out[:size]


def _require_finite_loss(loss: Loss, epoch: int, learning_rate: float) -> float:
    value = float(loss.value)
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value} in {_remedy(epoch, learning_rate)}")
    return value


def _require_finite_model(
    model: BilinearMLP, loss: float | None, epoch: int, learning_rate: float
) -> None:
    """Raise FloatingPointError for a model that the last step of an epoch has thrown away."""
    finite = all(np.isfinite(w).all() for w in parameters(model).values())
    if not finite or not math.isfinite(loss or 0):
        words = "the validation loss is" if finite else "the weights are"
        raise FloatingPointError(f"{words} not finite after {_remedy(epoch, learning_rate)}")


def _remedy(epoch: int, learning_rate: float) -> str:
    return (
        f"epoch {epoch}: train on finite inputs, with a learning_rate below {learning_rate:.3g} "
        "or smaller weights"
    )


def _judge(
    model: BilinearMLP, held_out: tuple[Array, NDArray[np.intp]] | None
) -> tuple[float | None, float | None]:
    """Return loss and accuracy on the validation data, where there are any."""
    if held_out is None:
        return None, None
    x, labels = held_out
    y = mlp_forward(model, x)
    return float(cross_entropy(y, labels).value), accuracy(y, labels)


def _enter_data(
    model: BilinearMLP, x_name: str, labels_name: str, x: ArrayLike, labels: ArrayLike
) -> tuple[Array, NDArray[np.intp]]:
    sizes = {"n": None, "d_in": model.d_in}
    x = enter(x_name, x, sizes, dtype=model.dtype, match="to match the model")
    if x.dtype == object:
        raise TypeError("model must be float32 or float64 to be trained; got exact rationals")
    if len(x) == 0:
        raise ValueError(f"{x_name} must hold at least one example; got shape {x.shape}")
    return x, enter_labels(labels, len(x), model.d_out, name=labels_name)
