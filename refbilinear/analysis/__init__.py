"""From weights to findings: spectra and truncations of a layer, its products with others."""

from refbilinear.analysis.comparison import compare, match, principal_angles
from refbilinear.analysis.cosines import cosine, distance, product_bound
from refbilinear.analysis.directions import (
    NotConvergedError,
    Spectra,
    homogeneous_spectrum,
    input_spectrum,
    model_spectrum,
    spectra,
    spectrum,
)
from refbilinear.analysis.eigenpairs import (
    Spectrum,
    contributions,
    eigendecompose,
    reconstruct,
)
from refbilinear.analysis.hosvd import (
    HOSVD,
    direct_hosvd,
    gram_hosvd,
    gram_matrices,
    truncated_layer,
    truncation_error,
)
from refbilinear.analysis.layers import add, homogeneous_layer, jacobian, subtract
from refbilinear.analysis.products import covariance, frobenius, gaussian, sphere, symmetric
from refbilinear.analysis.ranks import (
    effective_rank,
    entropy_rank,
    hoyer_sparsity,
    participation,
)
from refbilinear.analysis.refit import Refit, frobenius_gradient, refit_layer
from refbilinear.analysis.truncation import forms, truncate, truncation_curve
from refbilinear.analysis.units import unit_spectra, unit_spectrum

__all__ = [
    "HOSVD",
    "NotConvergedError",
    "Refit",
    "Spectra",
    "Spectrum",
    "add",
    "compare",
    "contributions",
    "cosine",
    "covariance",
    "direct_hosvd",
    "distance",
    "effective_rank",
    "eigendecompose",
    "entropy_rank",
    "forms",
    "frobenius",
    "frobenius_gradient",
    "gaussian",
    "gram_hosvd",
    "gram_matrices",
    "homogeneous_layer",
    "homogeneous_spectrum",
    "hoyer_sparsity",
    "input_spectrum",
    "jacobian",
    "match",
    "model_spectrum",
    "participation",
    "principal_angles",
    "product_bound",
    "reconstruct",
    "refit_layer",
    "spectra",
    "spectrum",
    "sphere",
    "subtract",
    "symmetric",
    "truncate",
    "truncated_layer",
    "truncation_curve",
    "truncation_error",
    "unit_spectra",
    "unit_spectrum",
]
