"""Truncations: what k foreign eigenpairs prove about the matrix or the form that was made of them.

The pairs must be certified, and the rest must be what they make, up to rounding. Then their exact
residuals bound the distance to the one nearest matrix of rank k; and where two magnitudes tie, so
that there is not one, how far from optimal the matrix is.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.oracle.bounds import gamma
from refbilinear.oracle.certificates import (
    Group,
    Pairs,
    Proof,
    accepted_defect,
    accepted_residual,
    certified_gaps,
    counted_groups,
    enter_pairs,
    enter_spectrum,
    magnitudes,
    pair_objections,
    places_of,
    projector_bound,
    prove,
)
from refbilinear.oracle.judgements import Judgement, enter_like, judge, short
from refbilinear.oracle.rationals import (
    Exact,
    ceiling,
    integers,
    largest,
    minus,
    nearest_float,
    norm,
    root,
    subnormal,
)
from refbilinear.spec.arrays import Array, enter, require_finite
from refbilinear.spec.tensor import QuadraticForm


class Truncation(NamedTuple):
    """What is proved about k pairs and the matrix `Σ λ x xᵀ` that was returned for them."""

    certified: bool
    reasons: tuple[str, ...]
    tied: bool
    """No gap after the k-th magnitude is certified: the nearest matrix of rank k is not unique."""
    distance: float | None
    """At least `‖matrix − Q_k‖_F`, Q_k the one nearest matrix of rank k; None for a tie."""
    excess: float
    """At least `‖Q − matrix‖_F − √(Σ_{i>k} λ_i²)`: how far from optimal, tied or not."""
    left: float
    """At least `|λ_k+1|`, which times ‖x‖² bounds `|xᵀ(Q − Q_k)x|`."""


def certify_truncation(
    matrix: ArrayLike, spectrum: Pairs, form: ArrayLike | QuadraticForm
) -> Truncation:
    """Return what is proved about the k leading eigenpairs of Q and the matrix made of them.

    Neither is trusted: the pairs are judged by `certify`, by magnitude; the matrix, entry by entry,
    must be `Σ_{i≤k} λ_i x_i x_iᵀ` of the pairs as they were returned,

        |matrix − XΛXᵀ| ≤ γ_{k+3} |X||Λ||X|ᵀ

    the sum of products k + 1 and the mean with the transpose 1 (or, where the pairs were rounded
    after their use, 4 in all). With a certified gap after |λ_k| the nearest matrix of rank k is
    one, Q_k, and since `XΛXᵀ − Q_k = Q(XXᵀ − P) − RXᵀ`,

        ‖matrix − Q_k‖_F ≤ ‖matrix − XΛXᵀ‖_F + ‖Q‖₂ ‖XXᵀ − P‖_F + ‖R‖_F √(1 + ‖S‖_F).

    Without one (+λ ties with −λ) only optimality is proved: `excess` is small for every choice.

    Parameters
    ----------
    matrix : (d, d) array_like
        The dense truncation that was returned.
    spectrum : Pairs
        The k pairs that were returned with it: its rank is theirs, and never judged by floats.
    form : (d, d) array_like or QuadraticForm
        Q, symmetric and finite, float32 or float64.

    Returns
    -------
    Truncation

    References
    ----------
    Eckart and Young, "The approximation of one matrix by another of lower rank", 1936.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> pair = SimpleNamespace(eigenvalues=[-4.0], eigenvectors=[[0.0], [1.0]])
    >>> certify_truncation([[0, 0], [0, -4]], pair, [[3, 0], [0, -4]])
    Truncation(certified=True, reasons=(), tied=False, distance=0.0, excess=0.0, left=3.0)
    >>> print(*certify_truncation([[0, 0], [0, 4]], pair, [[3, 0], [0, -4]]).reasons)
    matrix must be -4.0 at (1, 1), to 1.8e-15; got 4.0
    """
    Q, values, vectors = enter_spectrum(spectrum, form)
    match = "to match the form"
    matrix = enter("matrix", matrix, {"d": len(Q), "d ": len(Q)}, dtype=Q.dtype, match=match)
    require_finite("matrix", matrix)
    proof, groups = prove(*map(integers, (Q, values, vectors))), counted_groups(Q)
    k, product = len(values), _sum_of_pairs(values, vectors)
    twin = _sum_of_pairs(np.abs(values), np.abs(vectors))
    slack = 2 * (k * max(Fraction(1), largest(vectors)) + 1) * subnormal(Q.dtype)
    reasons = (
        *pair_objections(Q, values, proof, groups, "magnitude"),
        *judge("matrix", matrix, product, twin, k + 3, slack).reasons,
    )
    gap = [None, *certified_gaps(groups), None][k]
    rounding, error = (norm(minus(integers(matrix), other)) for other in (product, integers(Q)))
    distance = None if gap == 0 else _distance(Q, values, proof, groups)
    lows, highs = magnitudes(groups)
    tail = sum((low * low for low in lows[k:]), Fraction(0))
    return Truncation(
        not reasons,
        reasons,
        gap == 0,
        None if distance is None else ceiling(rounding + distance),
        ceiling(error - root(tail, above=False)),
        ceiling(highs[k]) if k < len(Q) else 0.0,
    )


def truncation_objections(
    matrix: Array, tail: Array, form: Array, k: int, nearest: Array, squares: Fraction
) -> list[str]:
    """Return what speaks against a truncation that came without its pairs.

    It must be within what pairs that `certify` accepts can leave: with their residual r, defect s,
    `w = r/√(1 − s)`, `t = ‖Q‖₂ + w` and δ the certified gap less w, in Frobenius norm

        ‖matrix − Q_k‖ ≤ ‖Q‖₂ (√2 r/(δ √(1 − s)) + s) + r √(1 + s) + e,    e = γ_{k+3} k t (1 + s).

    For a tie Q_k is not unique. But tied or not, `‖Q − matrix‖` must be the root of the exact tail
    to twice `r + 2 s ‖Q‖` and e: no larger, which is optimality, and no smaller, as rank k asks.
    And the matrix must be a sum of pairs of Q, as symmetric ones are with `matrix (Q − matrix) = 0`
    and no others: since `XᵀQ − XᵀXΛXᵀ = Rᵀ + SΛXᵀ`,

        ‖matrix (Q − matrix)‖ ≤ √(1 + s) t (r + s t √(1 + s)) + e (3 t (1 + s) + e).

    Parameters
    ----------
    matrix, tail : array
        What was returned: (d, d), and a number.
    form : (d, d) array
        Q.
    k : int
    nearest, squares : array of Fraction, Fraction
        Q_k, or one of them, and `Σ_{i>k} λ_i²`.

    Examples
    --------
    >>> Q, exact_one = np.diag([3.0, -4.0]), np.diag([Fraction(0), Fraction(-4)])
    >>> truncation_objections(np.diag([0.0, -4.0]), np.array(9.0), Q, 1, exact_one, Fraction(9))
    []
    >>> other, tail = np.diag([3.0, 0.0]), np.array(16.0)
    >>> print(*truncation_objections(other, tail, Q, 1, exact_one, Fraction(9)), sep=chr(10))
    ‖matrix − Q_k‖_F is 5; accepted is 1.9e-12
    ‖Q − matrix‖_F − √tail is 1; accepted is 8.9e-12
    tail is 16.0, not 9.0, to 3.3e-13
    """
    require_finite("matrix", matrix)
    require_finite("tail", tail)
    n, size, unit = len(form), norm(integers(form)), form.dtype
    r, s = accepted_residual(form), accepted_defect(n, unit)
    w = r / root(1 - s, above=False)
    of_tail = 2 * w * size * root(Fraction(n)) + n * w * w + Fraction(gamma(n + 3, unit)) * size**2
    reasons = list(_matrix_objections(matrix, form, k, nearest, squares, (r, s, w)))
    if abs(Fraction(tail.item()) - squares) > of_tail:
        reasons.append(f"tail is {tail}, not {nearest_float(squares)}, to {short(of_tail)}")
    return reasons


def _matrix_objections(
    matrix: Array,
    form: Array,
    k: int,
    nearest: Array,
    squares: Fraction,
    accepted: tuple[Fraction, Fraction, Fraction],
) -> Iterator[str]:
    """Yield what speaks against the matrix, by pairs that are accepted to (r, s, w)."""
    (r, s, w), groups, whole = accepted, counted_groups(form), integers(form)
    top = max(magnitudes(groups)[1], default=Fraction(0))
    t, long = top + w, root(1 + s)
    rounding = Fraction(gamma(k + 3, form.dtype)) * k * t * (1 + s)
    made = integers(matrix)
    rest = minus(whole, made)
    found = {
        "‖matrix − Q_k‖_F": (
            norm(minus(made, integers(nearest))),
            _nearness(k, groups, accepted) + rounding,
        ),
        "‖Q − matrix‖_F − √tail": (
            abs(norm(rest) - root(squares)),
            2 * (r + 2 * s * norm(whole)) + rounding,
        ),
        "‖matrix (Q − matrix)‖_F": (
            norm((made[0] @ rest[0], made[1] * rest[1])),
            long * t * (r + s * t * long) + rounding * (3 * t * (1 + s) + rounding),
        ),
    }
    for what, (off, most) in found.items():
        if off > most:
            yield f"{what} is {short(off)}; accepted is {short(Fraction(most))}"


def _nearness(
    k: int, groups: list[Group], accepted: tuple[Fraction, Fraction, Fraction]
) -> Fraction | float:
    """Return how far from Q_k accepted pairs may be; from anywhere, where it is not unique."""
    (r, s, w), n = accepted, groups[-1].last if groups else 0
    top, angle = max(magnitudes(groups)[1], default=Fraction(0)), Fraction(0)
    if 0 < k < n:
        gap = certified_gaps(groups)[k - 1]
        if gap <= w:
            return inf
        angle = root(Fraction(2)) * r / ((gap - w) * root(1 - s, above=False))
    return top * (angle + s) + r * root(1 + s)


def certify_truncated_form(values: ArrayLike, x: ArrayLike, spectrum: Pairs) -> Judgement:
    """Judge `Σ_{i≤k} λ_i (v_i · x)²`, computed from given pairs: K = 2d + k + 1.

    A product with x is d roundings, met twice; its square one, the product with λ and the sum over
    k pairs k: `|value − exact| ≤ γ_K Σ |λ_i| (|v_i| · |x|)²`. (What truncation itself leaves out of
    `xᵀQx` is at most `Truncation.left · ‖x‖²`.)

    Parameters
    ----------
    values : (...) array_like
        What was computed, of the dtype of the spectrum.
    x : (..., d) array_like
    spectrum : Pairs

    Returns
    -------
    Judgement

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> pairs = SimpleNamespace(eigenvalues=[-4.0], eigenvectors=[[0.0], [1.0]])
    >>> certify_truncated_form([-16.0], [[5.0, 2.0]], pairs)
    Judgement(certified=True, reasons=(), ratio=0.0)
    >>> print(*certify_truncated_form([-17.0], [[5.0, 2.0]], pairs).reasons)
    values must be -16.0 at (0,), to 1.1e-14; got -17.0
    """
    lam, vectors = enter_pairs(spectrum)
    x = enter(
        "x", x, {"d": len(vectors)}, dtype=lam.dtype, batched=True, match="to match the spectrum"
    )
    require_finite("x", x)
    values = enter_like("values", values, x.shape[:-1], lam.dtype)
    twin = _form_of_pairs(np.abs(x), np.abs(lam), np.abs(vectors))
    d, k = vectors.shape
    along, least = d * largest(x) * largest(vectors), subnormal(lam.dtype)
    slack = k * least * (largest(lam) * (d * (2 * along + d * least) + 1) + 1)
    return judge("values", values, _form_of_pairs(x, lam, vectors), twin, 2 * d + k + 1, slack)


def _distance(Q: Array, values: Array, proof: Proof, groups: list[Group]) -> Fraction | None:
    """Return a bound of `‖XΛXᵀ − Q_k‖_F`: `‖Q‖₂ ‖XXᵀ − P‖_F + ‖R‖_F √(1 + ‖S‖_F)`."""
    places = set(places_of(values, len(Q), "magnitude"))
    others = [group for group in groups if group.first not in places]
    projector = projector_bound(values, proof, list(range(len(values))), others)
    if projector is None:
        return None
    _, highs = magnitudes(groups)
    residual, defect = proof.squares()
    return max(highs, default=Fraction(0)) * projector + root(residual * (1 + root(defect)))


def _sum_of_pairs(values: Array, vectors: Array) -> Exact:
    """Return XΛXᵀ."""
    (lam, lam_unit), (x, x_unit) = integers(values), integers(vectors)
    return (x * lam) @ x.T, lam_unit * x_unit * x_unit


def _form_of_pairs(x: Array, values: Array, vectors: Array) -> Exact:
    """Return `Σ_i λ_i (v_i · x)²` for every x."""
    (lam, lam_unit), (v, v_unit), (z, z_unit) = map(integers, (values, vectors, x))
    along = z @ v
    return (along * along) @ lam, lam_unit * (v_unit * z_unit) ** 2
