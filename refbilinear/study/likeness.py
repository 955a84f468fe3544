"""How alike models are: by the forms of their outputs, and by the subspaces that these act in.

    cosine = ⟨B₁, B₂⟩ / (‖B₁‖ ‖B₂‖)        overlap(k) = ‖V₁ᵀ V₂‖² / k,  V the first k eigenvectors

Weights are not compared: a layer has many that are the same function. The mean squared cosine of
the principal angles is 1 for the same subspace and k/d for two that have nothing to do with each
other.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from refbilinear.analysis.cosines import cosine
from refbilinear.spec.layer import BilinearLayer
from refbilinear.study.findings import RANKS, OutputFinding


class Likeness(NamedTuple):
    """Of two models with the same inputs and outputs."""

    cosine: float
    """Of all outputs at once, biases and skip path included."""
    outputs: list[int]
    """Those of which there is more."""
    cosines: list[float]
    """Of each output."""
    ranks: list[int]
    """The k of the overlaps."""
    overlaps: list[list[float]]
    """For each output, of the first k eigenvectors."""
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
        Of the same inputs and outputs.
    first_findings, second_findings : sequence of OutputFinding
        Of the same outputs.

    Raises
    ------
    ValueError
        For layers that differ in size or number type, and for an output that is zero.

    Examples
    --------
    >>> from refbilinear.study.findings import examine
    >>> one, two = BilinearLayer([[1, 0]], [[1, 0]]), BilinearLayer([[1, 0]], [[3, 4]])
    >>> found = likeness(one, two, examine(one, [0]), examine(two, [0]))
    >>> round(found.cosine, 3), np.round(found.overlaps, 3).tolist(), found.chance
    (0.728, [[0.8], [1.0]], [0.5, 1.0])
    """
    ranks = [k for k in RANKS if k < first.d_in] + [first.d_in]
    outputs = [found.output for found in first_findings]
    pairs = zip(first_findings, second_findings, strict=True)
    return Likeness(
        cosine=float(cosine(first, second)),
        outputs=outputs,
        cosines=np.asarray(cosine(first, second, outputs="each"))[outputs].tolist(),
        ranks=ranks,
        overlaps=[_overlaps(a, b, ranks) for a, b in pairs],
        chance=[k / first.d_in for k in ranks],
    )


def _overlaps(first: OutputFinding, second: OutputFinding, ranks: Sequence[int]) -> list[float]:
    """Return `‖V₁ᵀ V₂‖² / k` of the first k eigenvectors, for each k."""
    V1, V2 = (found.spectrum.eigenvectors for found in (first, second))
    squares = (V1.T @ V2).astype(np.float64) ** 2
    sums = squares.cumsum(axis=0).cumsum(axis=1)
    return [float(sums[k - 1, k - 1] / k) for k in ranks]


def mutual(
    layers: Sequence[BilinearLayer], findings: Sequence[Sequence[OutputFinding]]
) -> list[Likeness]:
    """Return how alike every two of several layers are, none with itself."""
    numbered = list(zip(layers, findings, strict=True))
    return [likeness(a, b, of_a, of_b) for (a, of_a), (b, of_b) in combinations(numbered, 2)]
