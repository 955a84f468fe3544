"""How alike models are: by the forms of their outputs, and by the subspaces that these act in.

    cosine = ⟨B₁, B₂⟩ / (‖B₁‖ ‖B₂‖)        overlap(k) = ‖V₁ᵀ V₂‖² / k,  V the first k eigenvectors

Weights are not compared: a layer has many that are the same function. The mean squared cosine of
the principal angles is 1 for the same subspace and k/d for two that have nothing to do with each
other.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from refbilinear.analysis.cosines import cosine
from refbilinear.spec.arrays import Array
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.tensor import QuadraticForm
from refbilinear.study.findings import RANKS, OutputFinding, significant


class Likeness(NamedTuple):
    """Of two models with the same inputs and outputs; None where a form is zero, or has no more."""

    cosine: float | None
    """Of all outputs at once, biases and skip path included."""
    outputs: list[int]
    """Those of which there is more."""
    cosines: list[float | None]
    """Of each output."""
    ranks: list[int]
    """The k of the overlaps."""
    overlaps: list[list[float | None]]
    """For each output, of the first k eigenvectors, as long as both forms have so many."""
    chance: list[float]
    """k/d, what the overlap of two random subspaces is on average."""


def likeness(
    first: BilinearLayer,
    second: BilinearLayer,
    first_findings: Sequence[OutputFinding],
    second_findings: Sequence[OutputFinding],
) -> Likeness:
    """Return how alike two layers are, and their outputs one by one.

    Parameters
    ----------
    first, second : BilinearLayer
        Of the same inputs, at least one, outputs and number type.
    first_findings, second_findings : sequence of OutputFinding
        Of the same outputs.

    Examples
    --------
    >>> from refbilinear.study.findings import examine
    >>> one, two = BilinearLayer([[1, 0]], [[1, 0]]), BilinearLayer([[1, 0]], [[3, 4]])
    >>> found = likeness(one, two, examine(one, [0]), examine(two, [0]))
    >>> round(found.cosine, 3), np.round(found.overlaps, 3).tolist(), found.chance
    (0.728, [[0.8]], [0.5])
    """
    ranks = [k for k in RANKS if k < first.d_in] or [1]
    pairs = list(zip(first_findings, second_findings, strict=True))
    return Likeness(
        cosine=_whole(first, second),
        outputs=[found.output for found in first_findings],
        cosines=[_cosine(a.form, b.form) for a, b in pairs],
        ranks=ranks,
        overlaps=[_overlaps(a, b, ranks) for a, b in pairs],
        chance=[k / first.d_in for k in ranks],
    )


def _whole(first: BilinearLayer, second: BilinearLayer) -> float | None:
    try:
        return float(cosine(first, second))
    except ValueError:  # of a layer that is zero: it has no direction
        return None


def _cosine(first: QuadraticForm, second: QuadraticForm) -> float | None:
    """Return `(⟨Q₁, Q₂⟩ + ½⟨b₁, b₂⟩ + c₁c₂) / (‖·‖ ‖·‖)`."""
    a, b = (_direction(form) for form in (first, second))
    return None if a is None or b is None else float(np.clip(a @ b, -1, 1))


def _direction(form: QuadraticForm) -> Array | None:
    """Return a form as a vector of norm 1, in which the product is the usual one."""
    parts = [form.matrix.ravel(), form.linear / math.sqrt(2), [form.constant]]
    vector = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
    largest = np.abs(vector).max()
    if largest == 0:
        return None
    scaled = vector / largest
    unit: Array = scaled / np.linalg.norm(scaled)
    return unit


def _overlaps(
    first: OutputFinding, second: OutputFinding, ranks: Sequence[int]
) -> list[float | None]:
    """Return `‖V₁ᵀ V₂‖² / k` of the first k eigenvectors, for each k.

    Beyond the rank of a form eigenvectors are whatever basis of its null space.
    """
    V1, V2 = (found.spectrum.eigenvectors for found in (first, second))
    squares = (V1.T @ V2).astype(np.float64) ** 2
    sums = squares.cumsum(axis=0).cumsum(axis=1)
    most = min(int(significant(found).sum()) for found in (first, second))
    return [float(sums[k - 1, k - 1] / k) if k <= most else None for k in ranks]


def mutual(
    layers: Sequence[BilinearLayer], findings: Sequence[Sequence[OutputFinding]]
) -> list[Likeness]:
    """Return how alike every two of several layers are, none with itself."""
    numbered = list(zip(layers, findings, strict=True))
    return [likeness(a, b, of_a, of_b) for (a, of_a), (b, of_b) in combinations(numbered, 2)]
