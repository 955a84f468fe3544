"""From weights to findings: the spectrum of what a layer computes, and its products with others."""

from refbilinear.analysis.cosines import cosine, distance, product_bound
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
from refbilinear.analysis.spectrum import (
    Spectrum,
    contributions,
    eigendecompose,
    reconstruct,
)
from refbilinear.analysis.units import unit_spectra, unit_spectrum

__all__ = [
    "HOSVD",
    "Refit",
    "Spectrum",
    "add",
    "contributions",
    "cosine",
    "covariance",
    "direct_hosvd",
    "distance",
    "effective_rank",
    "eigendecompose",
    "entropy_rank",
    "frobenius",
    "frobenius_gradient",
    "gaussian",
    "gram_hosvd",
    "gram_matrices",
    "homogeneous_layer",
    "hoyer_sparsity",
    "jacobian",
    "participation",
    "product_bound",
    "reconstruct",
    "refit_layer",
    "sphere",
    "subtract",
    "symmetric",
    "truncated_layer",
    "truncation_error",
    "unit_spectra",
    "unit_spectrum",
]
