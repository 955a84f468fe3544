"""Losses, each with its gradient in the model's output.

    cross_entropy    (1/n) Σ_n [log Σ_c exp(y_nc) − y_n,label]     gradient (softmax(y) − onehot)/n
    squared_error    (1/n) Σ_n ‖y_n − t_n‖²                        gradient 2 (y − t)/n

The mean is over examples, never over outputs.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refbilinear.spec.arrays import Array, enter, first_index, plain


class Loss(NamedTuple):
    """The value of a loss, of the number type of its inputs, and its gradient in the output."""

    value: np.generic
    dy: Array


def cross_entropy(y: ArrayLike, labels: ArrayLike) -> Loss:
    """Return the softmax cross-entropy, mean over examples, and its gradient.

    `(1/n) Σ_n [log Σ_c exp(y_nc) − y_n,label(n)]`, in nats, stable at logits of any size: the
    largest logit is subtracted before the exponential and put back after the logarithm.

    Parameters
    ----------
    y : (n, d_out) array_like of float32 or float64
        Logits, at least one example and one class.
    labels : (n,) array_like of integers
        The right class of each example, from 0.

    Returns
    -------
    Loss
        `value`, a scalar, and `dy`, (n, d_out).

    Raises
    ------
    ValueError
        For an empty batch, or a label that is no class.
    TypeError
        For labels that are not integers, or exact numbers, whose exponentials are not rational.

    Examples
    --------
    >>> loss = cross_entropy([[1e4, 0.0]], [1])
    >>> float(loss.value), loss.dy
    (10000.0, array([[ 1., -1.]]))
    """
    y = enter_y(y)
    if y.dtype == object:
        raise TypeError("y must be float32 or float64: the exp of a rational is not rational")
    labels = enter_labels(labels, *y.shape)
    shifted = y - y.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    examples = np.arange(len(y))
    losses = np.log(totals[:, 0]) - shifted[examples, labels]
    dy = exponentials / totals
    dy[examples, labels] -= 1
    return Loss((losses / len(y)).sum(), dy / len(y))


def squared_error(y: ArrayLike, t: ArrayLike) -> Loss:
    """Return `(1/n) Σ_n ‖y_n − t_n‖²` and its gradient `2 (y − t)/n`; exact on exact numbers.

    PyTorch's `mse_loss` with its default mean also divides by d_out; this does not.

    Parameters
    ----------
    y, t : (..., d_out) array_like
        Outputs and targets, of one shape; n is the number of examples, the product of the
        leading axes, and is at least 1.

    Returns
    -------
    Loss
        `value`, a scalar, and `dy`, of the shape of y.

    Raises
    ------
    ValueError
        For shapes that differ, or an empty batch.

    Examples
    --------
    >>> loss = squared_error([[1, 2], [3, 4]], [[0, 2], [3, 1]])
    >>> float(loss.value), loss.dy.tolist()
    (5.0, [[1.0, 0.0], [0.0, 3.0]])
    """
    y = enter("y", y, {"d_out": None}, batched=True)
    t = enter("t", t, {"d_out": y.shape[-1]}, dtype=y.dtype, batched=True, match="to match y")
    if t.shape != y.shape:
        raise ValueError(f"t must have shape {y.shape} to match y; got {t.shape}")
    n = math.prod(y.shape[:-1])
    if n == 0:
        raise ValueError(f"y must hold at least one example; got shape {y.shape}")
    return Loss(np.sum((y - t) * ((y - t) / n)), 2 * (y - t) / n)


def accuracy(y: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of examples whose largest output is that of their label.

    Parameters
    ----------
    y : (n, d_out) array_like
        Of equal largest outputs the first counts.
    labels : (n,) array_like of integers

    Returns
    -------
    float

    Examples
    --------
    >>> accuracy([[0, 1], [3, 2]], [1, 1])
    0.5
    """
    y = enter_y(y)
    return float(np.mean(y.argmax(axis=1) == enter_labels(labels, *y.shape)))


def enter_labels(labels: ArrayLike, n: int, d_out: int, name: str = "labels") -> NDArray[np.intp]:
    """Return labels as integers after checking that there are n of them, each one of d_out classes.

    Examples
    --------
    >>> enter_labels([0, 3], n=2, d_out=3)
    Traceback (most recent call last):
    ValueError: labels must lie in 0..2, the classes of the model; got 3 at (1,)
    """
    array = plain(name, labels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers; got {array.dtype}")
    if array.shape != (n,):
        raise ValueError(f"{name} must have shape (n,) = ({n},), one an example; got {array.shape}")
    outside = (array < 0) | (array >= d_out)
    if outside.any():
        index = first_index(outside)
        raise ValueError(
            f"{name} must lie in 0..{d_out - 1}, the classes of the model; "
            f"got {array[index]} at {index}"
        )
    return array.astype(np.intp)


def enter_y(y: ArrayLike) -> Array:
    """Return y as (n, d_out) after checking that neither is 0."""
    array = enter("y", y, {"n": None, "d_out": None})
    if 0 in array.shape:
        raise ValueError(f"y must hold at least one example and one class; got shape {array.shape}")
    return array
