"""From weights to findings: the spectrum of what a layer computes."""

from refbilinear.analysis.spectrum import (
    Spectrum,
    contributions,
    effective_rank,
    eigendecompose,
    reconstruct,
)

__all__ = ["Spectrum", "contributions", "effective_rank", "eigendecompose", "reconstruct"]
