"""More trainings beside the one that is read: other seeds, other noise, too few examples."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from refbilinear.spec.arrays import Array
from refbilinear.spec.mlp import fold
from refbilinear.study.datasets import Dataset
from refbilinear.study.extras import Talk
from refbilinear.study.findings import OutputFinding, examine
from refbilinear.study.likeness import Likeness, mutual
from refbilinear.study.training import Settings, Trained, train_with_progress

NOISES = (0.0, 0.1, 0.2, 0.4, 0.8)
FEW = 10
"""Training examples of each class, where there are too few."""


class Variation(NamedTuple):
    """A model that was trained in another way, and how it went."""

    words: str
    noise: float
    weight_decay: float
    examples: int
    trained: Trained
    effective_rank: float
    """The mean over outputs."""
    names: list[str]
    """Of the outputs."""
    leading: Array
    """(d_out, d_in), of each output the eigenvector of its largest eigenvalue, of positive sum."""


class Seeds(NamedTuple):
    """Models of several seeds."""

    seeds: list[int]
    accuracies: list[float]
    likenesses: list[Likeness]
    """Of every two of them."""


def other_seeds(
    first: Trained,
    first_findings: Sequence[OutputFinding],
    data: Dataset,
    settings: Settings,
    runs: int,
    talk: Talk,
) -> Seeds:
    """Train with the following seeds too, and compare every two models.

    Parameters
    ----------
    first : Trained
        With the seed of the settings.
    first_findings : sequence of OutputFinding
        Of all its outputs.
    runs : int
        How many models in all.
    """
    seeds = [settings.seed + i for i in range(runs)]
    trained = [first] + [
        train_with_progress(data, settings._replace(seed=seed), talk, f"training, seed {seed}")
        for seed in seeds[1:]
    ]
    layers = [fold(one.model) for one in trained]
    findings = [first_findings, *(examine(layer, range(layer.d_out)) for layer in layers[1:])]
    shares = [one.history[-1]["validation_accuracy"] for one in trained]
    return Seeds(seeds, shares, mutual(layers, findings))


def other_noise(data: Dataset, settings: Settings, talk: Talk) -> list[Variation]:
    """Train with each noise of `NOISES`, all else the same."""
    return [
        _vary(f"noise {noise:g}", data, settings._replace(noise=noise), talk) for noise in NOISES
    ]


def too_few(data: Dataset, settings: Settings, talk: Talk) -> list[Variation]:
    """Train on a few examples of each class: without noise and decay, and with those asked for.

    In four batches an epoch and five times as many epochs: large batches of few examples would be
    few steps, too few to overfit.
    """
    x, y = _first_of_each(data)
    few = data._replace(x=x, y=y)
    batch = min(settings.batch_size, max(1, len(x) // 4))
    settings = settings._replace(batch_size=batch, epochs=5 * settings.epochs)
    bare = settings._replace(noise=0.0, weight_decay=0.0)
    return [
        _vary("no noise, no decay", few, bare, talk),
        _vary(f"noise {settings.noise:g}, decay {settings.weight_decay:g}", few, settings, talk),
    ]


def _first_of_each(data: Dataset) -> tuple[Array, Any]:
    chosen = np.concatenate([np.flatnonzero(data.y == label)[:FEW] for label in np.unique(data.y)])
    return data.x[chosen], data.y[chosen]


def _vary(words: str, data: Dataset, settings: Settings, talk: Talk) -> Variation:
    trained = train_with_progress(data, settings, talk, f"training, {words}")
    findings = examine(fold(trained.model), range(data.classes), data.names)
    rank = float(np.mean([found.effective_rank for found in findings]))
    leading = np.stack([_leading(found) for found in findings])
    names = [found.name for found in findings]
    return Variation(
        words, settings.noise, settings.weight_decay, len(data.x), trained, rank, names, leading
    )


def _leading(found: OutputFinding) -> Array:
    values, vectors = found.spectrum
    vector = vectors[:, int(values.argmax())]
    return vector if vector.sum() >= 0 else -vector
