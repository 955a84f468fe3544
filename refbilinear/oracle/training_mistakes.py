"""Mistakes of the two losses and of an AdamW step."""

import math
from collections.abc import Callable

import numpy as np

from refbilinear.oracle.agreement import settings_of
from refbilinear.oracle.answers import Inputs, Outputs, Run
from refbilinear.oracle.wrong import Wrong, after, before
from refbilinear.spec.arrays import Array

DEFAULT_DECAY = 0.01


# ---- losses


def scaled(change: Callable[[Array, int, int], Array]) -> Wrong:
    """Reduce otherwise: `change(of, n, m)` of value and gradient, n examples of m outputs."""

    def of(held: Inputs, out: Outputs) -> Outputs:
        n, m = held["y"].shape
        return {name: change(one, n, m) for name, one in out.items()}

    return after(of)


def _losses(shares: Array, logarithms: Array, labels: Array) -> Outputs:
    """Return value and gradient of shares and their logarithms."""
    n, rows = len(shares), np.arange(len(shares))
    dy = shares.copy()
    dy[rows, labels] -= 1
    return {"value": -logarithms[rows, labels].sum() / n, "dy": dy / n}


def no_shift(held: Inputs, out: Outputs) -> Outputs:
    """Take exponentials of the logits as they are."""
    y, labels = held["y"], held["labels"]
    with np.errstate(all="ignore"):
        powers = np.exp(y)
        total = powers.sum(axis=1, keepdims=True)
        return _losses(powers / total, y - np.log(total), labels)


def over_batch(held: Inputs, out: Outputs) -> Outputs:
    """Take shares along the axis of the examples."""
    shifted = held["y"] - held["y"].max(axis=0)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=0))
    return _losses(np.exp(logarithms), logarithms, held["labels"])


SQUARED_ERROR: dict[str, Wrong] = {
    "loss.sum_for_mean": scaled(lambda of, n, m: of * n),
    "loss.mean_over_all": scaled(lambda of, n, m: of / m),
    "loss.mean_over_outputs": scaled(lambda of, n, m: of * n / m),
    "loss.factor_two_missing": after(lambda held, out: {"dy": out["dy"] / 2}),
}

CROSS_ENTROPY: dict[str, Wrong] = {
    "cross_entropy.no_shift": after(no_shift),
    "cross_entropy.shift_not_undone": after(
        lambda held, out: {"value": out["value"] - held["y"].max(axis=1).mean()}
    ),
    "cross_entropy.labels_off_by_one": before(
        lambda held: {"labels": (held["labels"] + 1) % held["y"].shape[1]}
    ),
    "cross_entropy.over_batch": after(over_batch),
    "cross_entropy.base_two": after(lambda held, out: {"value": out["value"] / math.log(2)}),
}


# ---- AdamW


def stepped(step: Callable[..., Array]) -> Wrong:
    """Step otherwise from the right moments: `step(p, m, v, c1, c2, rate, decay, eps)`."""

    def of(held: Inputs, out: Outputs) -> Outputs:
        rate, decay, beta1, beta2, epsilon = settings_of(held).values()
        c1, c2 = 1 - beta1 ** int(held["t"]), 1 - beta2 ** int(held["t"])
        return {"theta": step(held["theta"], out["m"], out["v"], c1, c2, rate, decay, epsilon)}

    return after(of)


def right_step(
    p: Array, m: Array, v: Array, c1: float, c2: float, rate: float, decay: float, eps: float
) -> Array:
    """Return what the mistakes depart from."""
    return p * (1 - rate * decay) - rate * (m / c1) / (np.sqrt(v / c2) + eps)


def coupled_decay(held: Inputs) -> Inputs:
    """Add the gradient of a penalty, as Adam without W does."""
    decayed = held["g"] + float(held["weight_decay"]) * held["theta"]
    return {"g": decayed, "weight_decay": np.array(0.0)}


def second_moment_of_g(run: Run) -> Run:
    """Step with `v ← β₂ v + (1 − β₂) g`, which may be negative."""

    def moment(held: Inputs, out: Outputs) -> Outputs:
        beta2 = float(held["beta2"])
        return {"v": beta2 * held["v"] + (1 - beta2) * held["g"]}

    def answer(held: Inputs) -> Outputs:
        with np.errstate(invalid="ignore", divide="ignore"):
            return stepped(right_step)(after(moment)(run))(held)

    return answer


ADAMW: dict[str, Wrong] = {
    "adamw.coupled_decay": before(coupled_decay),
    "adamw.no_correction": stepped(
        lambda p, m, v, c1, c2, *settings: right_step(p, m, v, 1, 1, *settings)
    ),
    "adamw.epsilon_inside": stepped(
        lambda p, m, v, c1, c2, rate, decay, eps: (
            p * (1 - rate * decay) - rate * (m / c1) / np.sqrt(v / c2 + eps)
        )
    ),
    "adamw.epsilon_before": stepped(
        lambda p, m, v, c1, c2, rate, decay, eps: (
            p * (1 - rate * decay) - rate * (m / c1) / ((np.sqrt(v) + eps) / math.sqrt(c2))
        )
    ),
    "adamw.decay_unscaled": stepped(
        lambda p, m, v, c1, c2, rate, decay, eps: (
            p * (1 - decay) - rate * (m / c1) / (np.sqrt(v / c2) + eps)
        )
    ),
    "adamw.decay_after": stepped(
        lambda p, m, v, c1, c2, rate, decay, eps: (
            (p - rate * (m / c1) / (np.sqrt(v / c2) + eps)) * (1 - rate * decay)
        )
    ),
    "adamw.t_off_by_one": before(lambda held: {"t": held["t"] + 1}),
    "adamw.second_moment_of_g": second_moment_of_g,
    "adamw.decay_on_biases": before(
        lambda held: {"weight_decay": np.array(float(held["weight_decay"]) or DEFAULT_DECAY)}
    ),
    "adamw.momentum_sign": before(lambda held: {"m": -held["m"]}),
}
