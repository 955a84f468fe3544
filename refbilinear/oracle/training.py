"""How far rounding can take the cross-entropy and a step of AdamW.

Both need functions that are not `+ − · /`, so each bound is derived by hand, to first order in u
and closed by `κ u / (1 − κ u)`. The exponential, the logarithm and powers are taken to be within
4 units in the last place, 8u: the libraries that serve NumPy, PyTorch, JAX and C are. The square
root is correctly rounded, as IEEE 754 asks.

Cross-entropy, one example, with M = max y, s_c = y_c − M, T = Σ exp s_c, p_c = exp(s_c)/T:

    exp s_c        relative   |s_c| + 8                          the difference, and the library
    T              relative   κ_T = Σ p_c |s_c| + 8 + d_out − 1
    log T          absolute   κ_T + 8 log T
    log T − s_l    absolute   κ_T + 10 log T + 2 |s_l| + |M|     also as (log T + M) − y_l
    p_c            relative   κ_T + 10 log T + 2 |s_c| + |M| + 9 also as exp(s_c − log T)

One step of AdamW, with c₁ = 1 − β₁^t, c₂ = 1 − β₂^t, which cancel:

    c              relative   κ = (8 + t) β^t/(1 − β^t) + 1      powers, or t factors
    m'             absolute   5 on (2 − β₁)|m| + (1 − β₁)|g|     also as m + (1 − β₁)(g − m)
    v'             relative   5
    √(v'/c₂) + ε   relative   (5 + κ₂)/2 + 5
    η m'/c₁ / …    absolute   10 + κ₁ + (5 + κ₂)/2 + 5 on its twin
    θ'             absolute   6 on (1 + ηλ)|θ|, and one more on the step

The settings β, η, λ, ε are the floats that they are; where the arithmetic is coarser than theirs,
1 − β is computed before it is rounded, as frameworks do with Python's numbers.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refbilinear.oracle.bounds import LossBound
from refbilinear.oracle.claims import Claim, claim_of
from refbilinear.oracle.formats import FLOAT64
from refbilinear.oracle.twins import magnitude
from refbilinear.spec.arrays import Array, require_count, require_finite
from refbilinear.spec.loss import enter_labels, enter_y
from refbilinear.spec.optim import AdamWState, enter_state

LIBRARY = 8
ENLARGED = 1 + 2.0**-20
"""For the roundings of the bound itself, which is computed in float64."""


def cross_entropy_bound(y: ArrayLike, labels: ArrayLike, claim: str | None = None) -> LossBound:
    """Return the allowed errors of `cross_entropy(y, labels)`.

    Parameters
    ----------
    y : (n, d_out) array_like of float32 or float64
    labels : (n,) array_like of integers
    claim : str, optional
        f32 or f64, also with -ftz; by default that of the dtype of y.

    Returns
    -------
    LossBound

    Raises
    ------
    ValueError
        For a claim of another precision.

    Examples
    --------
    >>> bound = cross_entropy_bound([[1.0, 0.0]], [0])
    >>> print(f"{bound.value:.1e}")
    1.6e-15
    """
    y = enter_y(y)
    precision = _require_plain(claim, y.dtype)
    require_finite("y", y)
    label = np.arange(y.shape[1]) == enter_labels(labels, *y.shape)[:, None]
    if np.abs(y).max() > precision.largest / 4:
        return LossBound(np.inf, np.full(y.shape, np.inf))
    softmax = _softmax(y.astype(np.float64))
    lost = (y.shape[1] + 3) * precision.product_loss
    value = _loss_error(softmax, softmax.gaps[label][:, None], lost, precision)
    dy = _gradient_error(softmax, label, lost, precision)
    return LossBound(float(ENLARGED * value), ENLARGED * dy)


class _Softmax(NamedTuple):
    gaps: Array
    """`max y − y_c`"""
    shares: Array
    log_total: Array
    common: Array
    """κ_T + 10 log T + |M|"""


def _softmax(y: Array) -> _Softmax:
    top = y.max(axis=1, keepdims=True)
    gaps = top - y
    total = np.exp(-gaps).sum(axis=1, keepdims=True)
    shares = np.exp(-gaps) / total
    of_total = (shares * gaps).sum(axis=1, keepdims=True) + LIBRARY + y.shape[1] - 1
    return _Softmax(gaps, shares, np.log(total), of_total + 10 * np.log(total) + np.abs(top))


def _loss_error(softmax: _Softmax, gap: Array, lost: float, claim: Claim) -> np.float64:
    """Return the error of the mean of the losses: of each, and of n + 1 roundings of their mean."""
    n = len(gap)
    of_loss = _closed(softmax.common + 2 * gap, claim) + lost
    of_mean = _closed(n + 1, claim)
    error: np.float64 = (of_loss * (1 + of_mean) + of_mean * (softmax.log_total + gap)).sum() / n
    return error


def _gradient_error(softmax: _Softmax, label: Array, lost: float, claim: Claim) -> Array:
    """Return the error of `(p − onehot)/n`, of which 4 roundings are not of p."""
    of_share = _closed(softmax.common + 2 * softmax.gaps + LIBRARY + 1, claim)
    shares = np.maximum(softmax.shares, FLOAT64.smallest)
    error: Array = (shares * of_share + _closed(4, claim) * (shares + label)) / len(label) + lost
    return error


def adamw_bound(
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
    claim: str | None = None,
) -> AdamWState:
    """Return the allowed errors of `adamw(theta, g, m, v, t, …)`: of θ, m and v.

    Parameters
    ----------
    theta, g, m, v : array
        Of one shape and dtype, float32 or float64; v not negative.
    t : int
        Number of the step, from 1.
    learning_rate, weight_decay, beta1, beta2, epsilon : float
    claim : str, optional
        f32 or f64, also with -ftz; by default that of the dtype of θ.

    Returns
    -------
    AdamWState

    Raises
    ------
    ValueError
        For a claim of another precision, or a v that is negative or not a number.

    Examples
    --------
    >>> one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    >>> [f"{allowed[0]:.1e}" for allowed in adamw_bound(one, one, zero, zero, 3)]
    ['4.3e-07', '3.0e-08', '3.0e-10']
    """
    state = enter_state(theta, g, m, v)
    precision = _require_plain(claim, state[0].dtype)
    _require_state(*state)
    theta, g, m, v = map(magnitude, state)
    c1, of_c1 = _correction(beta1, require_count("t", t, 1))
    c2, of_c2 = _correction(beta2, t)
    lost = 3 * precision.product_loss
    with np.errstate(all="ignore"):
        m_twin = (2 - beta1) * m + (1 - beta1) * g
        v_new = beta2 * v + (1 - beta2) * g * g
        root = np.sqrt(v_new / c2) + epsilon
        least = np.sqrt(np.maximum(v_new - lost, 0) / c2) + epsilon
        step = learning_rate * (m_twin + lost) / (c1 * least)
        of_step = _closed(16 + of_c1 + (5 + of_c2) / 2, precision) * step
        underflow = step * (1 - least / root) + learning_rate * lost / (c1 * least) + lost
        of_theta = _closed(6, precision) * (1 + learning_rate * weight_decay) * theta
        several = _closed(5, precision)
        errors = (of_theta + of_step + underflow, several * m_twin + lost, several * v_new + lost)
        overflows = ~(np.maximum(g * g, m_twin) <= precision.largest / 4)
    return AdamWState._make(
        np.where(overflows | np.isnan(error), np.inf, ENLARGED * error) for error in errors
    )


def _require_state(theta: Array, g: Array, m: Array, v: Array) -> None:
    for name, array in {"theta": theta, "g": g, "m": m, "v": v}.items():
        require_finite(name, array)
    if (v < 0).any():
        raise ValueError("v must not be negative: it is a mean of squares")


def _closed(kappa: Array | float, claim: Claim) -> Array:
    """Return `κ u / (1 − κ u)`, infinite where `κ u ≥ 1`."""
    relative = np.asarray(kappa * claim.sums.unit)
    return np.where(relative < 1, relative / np.maximum(1 - relative, 2.0**-60), np.inf)


def _correction(beta: float, t: int) -> tuple[float, float]:
    """Return `1 − β^t`, and how many roundings it is off."""
    power = beta**t
    return 1 - power, (LIBRARY + t) * power / (1 - power) + 1


def _require_plain(claim: str | None, dtype: DTypeLike) -> Claim:
    """Return the claim after checking that its arithmetic is float32 or float64 throughout."""
    precision = claim_of(claim, dtype)
    if precision is None:
        raise TypeError("y must be float32 or float64: exponentials are not rational")
    if precision.storage is not None:
        raise ValueError(f"claim must be f32 or f64, also with -ftz; got {claim!r}")
    return precision
