"""From weights to findings: the spectrum of what a layer computes."""

from refbilinear.analysis.ranks import effective_rank
from refbilinear.analysis.spectrum import (
    Spectrum,
    contributions,
    eigendecompose,
    reconstruct,
)

__all__ = ["Spectrum", "contributions", "effective_rank", "eigendecompose", "reconstruct"]
