"""The tolerance that a test of somebody's own layer needs, instead of a chosen `atol`."""

from functools import partial
from typing import NamedTuple

from numpy.typing import ArrayLike

from refbilinear.oracle.bounds import Degree, degree_of
from refbilinear.oracle.claims import claim_of
from refbilinear.oracle.training import LIBRARY
from refbilinear.oracle.twins import allowed, followed
from refbilinear.spec.arrays import Array, affine, enter


class Gate(NamedTuple):
    """What is known of a gate: `|σ'| ≤ slope`, `|σ(a)| ≤ slope |a| + offset`, and its roundings."""

    slope: float
    offset: float
    roundings: int


GATES = {
    None: Gate(1.0, 0.0, 0),
    "relu": Gate(1.0, 0.0, 0),
    "sigmoid": Gate(0.25, 0.5, 2 * LIBRARY + 4),
    "silu": Gate(1.1, 0.0, 2 * LIBRARY + 5),
}

DEGREES = {"linear": Degree(2, 4), "gated": Degree(4, 10), "out": Degree(6, 13)}


def tolerance(
    x: ArrayLike,
    w: ArrayLike,
    v: ArrayLike | None = None,
    w_out: ArrayLike | None = None,
    *,
    b: ArrayLike | None = None,
    c: ArrayLike | None = None,
    b_out: ArrayLike | None = None,
    gate: str | None = None,
    claim: str = "f32",
) -> Array:
    """Return how far rounding may take a linear, gated or bilinear layer from its exact result.

    `x wᵀ + b`, or with v `σ(x wᵀ + b) ⊙ (x vᵀ + c)`, or with `w_out` that times `w_outᵀ + b_out`;
    σ is the gate, the identity for a bilinear layer. Two programs may differ by the sum of their
    tolerances, so by twice this one.

    Parameters
    ----------
    x : (..., d_in) array_like
    w, v : (d_hidden, d_in) array_like
        v is optional: without it this is a matrix product (GEMM).
    w_out : (d_out, d_hidden) array_like, optional
    b, c, b_out : array_like, optional
        Biases of w, v and w_out.
    gate : {None, "relu", "sigmoid", "silu"}
        What acts on the half of w.
    claim : str
        The precision, one of `CLAIMS`.

    Returns
    -------
    array of float64
        Of the result's shape.

    Raises
    ------
    ValueError
        For shapes that do not fit, or a gate or claim that is not in the list.

    Examples
    --------
    A matrix product of two million multiply-adds, judged without a chosen number:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.standard_normal((2, 64, 512), dtype=np.float32)
    >>> error = abs(x @ w.T - x.astype(np.float64) @ w.T.astype(np.float64))
    >>> bool((error <= tolerance(x, w)).all())
    True
    """
    if gate not in GATES:
        raise ValueError(f"gate must be None, relu, sigmoid or silu; got {gate!r}")
    if v is None and not (w_out is gate is c is None):
        raise ValueError("v must be there where w_out, c or a gate is")
    if w_out is None and b_out is not None:
        raise ValueError("w_out must be there where b_out is")
    w = enter("w", w, {"d_hidden": None, "d_in": None})
    hidden, inputs = {"d_hidden": w.shape[0]}, {"d_in": w.shape[1]}
    x = enter("x", x, inputs, batched=True, match="to match w")
    v, b, c = (
        None if array is None else enter(name, array, sizes, match="to match w")
        for name, array, sizes in (("v", v, hidden | inputs), ("b", b, hidden), ("c", c, hidden))
    )
    if w_out is not None:
        w_out = enter("w_out", w_out, {"d_out": None} | hidden, match="to match w")
    precision = claim_of(claim, x.dtype)
    pair = followed(partial(_result, GATES[gate]), precision, x, w, v, w_out, b, c, b_out)
    stage = "linear" if v is None else "gated" if w_out is None else "out"
    roundings = w.shape[1] + (b is not None)
    if v is not None:
        roundings += w.shape[1] + (c is not None) + 1 + GATES[gate].roundings
    if w_out is not None:
        roundings += w.shape[0] + (b_out is not None)
    return allowed(roundings, degree_of(DEGREES[stage], precision), precision, pair)


def _result(
    gate: Gate,
    x: Array,
    w: Array,
    v: Array | None,
    w_out: Array | None,
    b: Array | None,
    c: Array | None,
    b_out: Array | None,
) -> Array:
    """Return the layer on absolute values, the gate replaced by what it is at most."""
    a = affine(x, w, b)
    if v is None:
        return a
    product = (gate.slope * a + gate.offset) * affine(x, v, c)
    return product if w_out is None else affine(product, w_out, b_out)
