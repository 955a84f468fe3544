"""Evidence of right and wrong: exact results, what rounding can explain, and certificates."""

from refbilinear.oracle import bounds, exact, loops
from refbilinear.oracle.calls import Layer, Model
from refbilinear.oracle.certificates import certify
from refbilinear.oracle.claims import CLAIMS
from refbilinear.oracle.machines import simulate
from refbilinear.oracle.tolerances import tolerance
from refbilinear.oracle.verification import verify, verify_results

__all__ = [
    "CLAIMS",
    "Layer",
    "Model",
    "bounds",
    "certify",
    "exact",
    "loops",
    "simulate",
    "tolerance",
    "verify",
    "verify_results",
]
