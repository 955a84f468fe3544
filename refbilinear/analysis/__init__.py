"""From weights to findings: the spectra of a layer, their truncations, and how they compare."""

from refbilinear.analysis.comparison import compare, match, principal_angles
from refbilinear.analysis.directions import (
    NotConvergedError,
    Spectra,
    homogeneous_spectrum,
    input_spectrum,
    model_spectrum,
    spectra,
)
from refbilinear.analysis.spectrum import (
    Spectrum,
    contributions,
    effective_rank,
    eigendecompose,
    reconstruct,
)
from refbilinear.analysis.truncation import forms, truncate, truncation_curve

__all__ = [
    "NotConvergedError",
    "Spectra",
    "Spectrum",
    "compare",
    "contributions",
    "effective_rank",
    "eigendecompose",
    "forms",
    "homogeneous_spectrum",
    "input_spectrum",
    "match",
    "model_spectrum",
    "principal_angles",
    "reconstruct",
    "spectra",
    "truncate",
    "truncation_curve",
]
