"""What computed eigenpairs of a layer's form prove, exactly, and what is accepted of a method.

    R = QV − VΛ,  S = I − VᵀV        |λ̂ − λ| ≤ ‖R‖_F / √(1 − ‖S‖_F)        (Kahan; Cao, Xie and Li)

Q is the form of the weights as rationals, through integers: nothing that is compared is rounded.
A method rounds where it forms w and Q, at most `γ_K Φ`, Φ = Σ_h |w_h| ‖l_h‖ ‖r_h‖, by the twin; its
QR and its eigensolver leave what certificates accept of honest ones, `ACCEPTED · n · 2u` of what
they are given, a QR on either side of Q. Matrix-free, `tolerance · |λ₁|` of each pair may be left.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from refbilinear.analysis.directions import TOLERANCES
from refbilinear.oracle.bounds import gamma
from refbilinear.oracle.certificates import (
    ACCEPTED,
    Proof,
    accepted_defect,
    counted_groups,
    magnitudes,
)
from refbilinear.oracle.rationals import integers, minus, norm, objects, root


class Form(NamedTuple):
    """The forms of some directions, exactly: L, R and the rows w as integers, and how they round."""

    left: tuple
    right: tuple
    weights: tuple
    sizes: np.ndarray
    """Φ of each direction."""
    roundings: int
    n: int
    """The largest side of a matrix that is decomposed."""


def forms_of(model, U):
    """Return the forms of a layer, or of a model of one layer, along the rows of U."""
    embed, head = getattr(model, "w_embed", None), getattr(model, "w_head", None)
    layer = model.layers[0] if hasattr(model, "layers") else model
    w = U = np.asarray(U, layer.dtype)
    twin, exact = np.abs(U.astype(float)), integers(w)
    for out in (head, layer.w_out):
        if out is not None:
            twin, exact = twin @ np.abs(out.astype(float)), times(exact, integers(out))
    factors = [integers(part) for part in (layer.w_left, layer.w_right)]
    units = [np.linalg.norm(part.astype(float), axis=1) for part in (layer.w_left, layer.w_right)]
    if embed is not None:
        factors = [times(part, integers(embed)) for part in factors]
        lengths = np.linalg.norm(embed.astype(float), axis=1)
        units = [np.abs(part) @ lengths for part in (layer.w_left, layer.w_right)]
    # w: both of its products; each factor behind the embedding; three, and the sum over the units.
    roundings = U.shape[1] + layer.d_out + 2 * layer.d_in + 3 + layer.d_hidden
    sizes = (twin * units[0]) @ units[1] * (1 + gamma(4 * roundings, np.float64))
    d = factors[0][0].shape[1]
    return Form(*factors, exact, sizes, roundings, max(d, layer.d_in))


def times(a, b):
    """Return a product of integers times units."""
    return a[0] @ b[0], a[1] * b[1]


def matrix_of(form, number=0):
    """Return Q of one direction as Fractions."""
    (left, l_unit), (right, r_unit), (w, w_unit) = form[:3]
    product = (left.T * w[number]) @ right
    return (product + product.T) * (l_unit * r_unit * w_unit / 2) + Fraction(0)


def proof(form, pairs, number=0):
    """Return R and S of computed pairs of one direction, exactly."""
    (left, l_unit), (right, r_unit), (w, w_unit) = form[:3]
    (lam, lam_unit), (x, x_unit) = map(integers, map(np.asarray, pairs))
    w = w[number][:, None]
    product = left.T @ (w * (right @ x)) + right.T @ (w * (left @ x))
    product = product, l_unit * r_unit * w_unit * x_unit / 2
    return Proof(minus(product, (x * lam, x_unit * lam_unit)), defect(pairs[1]))


def defect(vectors):
    """Return I − VᵀV, exactly."""
    x, unit = integers(np.asarray(vectors))
    k = x.shape[1]
    identity = objects([int(i == j) for i in range(k) for j in range(k)], (k, k)), Fraction(1)
    return minus(identity, (x.T @ x, unit * unit))


def width(form, pairs, tolerance=0.0, number=0):
    """Return the largest residual, in norm, that is accepted of the pairs."""
    dtype, size = pairs[0].dtype, float(form.sizes[number])
    solvers = 3 * ACCEPTED * form.n * float(np.finfo(dtype).eps)
    left = math.sqrt(len(pairs[0])) * tolerance * float(np.abs(pairs[0]).max(initial=0))
    return Fraction((solvers + gamma(form.roundings, dtype)) * size) + Fraction(left)


def radius(form, pairs, tolerance=0.0, number=0):
    """Return how far each eigenvalue may be, of pairs whose residual and defect are accepted."""
    residual, off = proof(form, pairs, number).squares()
    vectors = pairs[1]
    assert off <= accepted_defect(len(vectors), vectors.dtype) ** 2
    assert residual <= width(form, pairs, tolerance, number) ** 2
    return root(residual / (1 - root(off)))


def distance(form, pairs, number=0):
    """Return a bound of `‖Q − VΛVᵀ‖_F`, of all d pairs: that of `Q (I − VVᵀ) + R Vᵀ`."""
    radius(form, pairs, number=number)
    residual, off = proof(form, pairs, number).squares()
    size = norm(integers(matrix_of(form, number)))
    return root(residual * (1 + root(off))) + size * root(off)


def known_magnitudes(form, number=0):
    """Return bounds from below and above of every |λ| of Q, descending, proved by counting."""
    return magnitudes(counted_groups(matrix_of(form, number)))


def leading(form, pairs, tolerance=0.0, number=0, known=None):
    """The pairs are the k leading ones, in order and with their signs.

    A backward error moves every |λ|, sorted, by no more than its norm (Weyl).
    """
    values, vectors = pairs
    assert vectors.shape[1:] == values.shape
    assert (np.lexsort((-values, -abs(values))) == np.arange(len(values))).all()
    if vectors.size:
        peaks = np.abs(vectors).argmax(axis=0)
        assert (vectors[peaks, np.arange(len(values))] > 0).all()
    far = radius(form, pairs, tolerance, number)
    error = max(far, width(form, pairs, tolerance, number))
    lows, highs = known_magnitudes(form, number) if known is None else known
    for value, low, high in zip(values.tolist(), lows, highs, strict=False):
        assert low - error <= abs(Fraction(value)) <= high + error


def same(form, first, second, tolerance=None):
    """Two `Spectra` have the same eigenvalues within the intervals that their residuals prove.

    By magnitude, because of λ and −λ a list may end with either.
    """
    tolerance = TOLERANCES[first.eigenvalues.dtype] if tolerance is None else tolerance
    assert len(first.eigenvalues) == len(second.eigenvalues) == len(form.sizes)
    for number in range(len(form.sizes)):
        one, two = first.spectrum(number), second.spectrum(number)
        far = sum(radius(form, pairs, tolerance, number) for pairs in (one, two))
        near(one.eigenvalues, two.eigenvalues, far)


def near(values, known, far):
    """Every |λ| is within `far` of the one that is known, all compared exactly."""
    both = (sorted(abs(Fraction(value)) for value in of) for of in (values, known))
    assert all(abs(a - b) <= far for a, b in zip(*both, strict=True))
