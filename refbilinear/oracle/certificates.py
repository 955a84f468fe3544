"""Certificates: what a foreign spectrum, truncation or decomposition proves about itself.

    R = QX − XΛ,    S = I − XᵀX

are computed exactly from the foreign floats as they stand, as integers, and compared squared; no
eigenvector is compared with another. Three theorems then speak.

- Kahan 1967, Cao, Xie and Li 1996: the k computed eigenvalues, sorted, lie each within
  `‖R‖_F / √(1 − ‖S‖_F)` of as many eigenvalues of Q.
- Sylvester: two exact counts, below a and up to b, prove which eigenvalues [a, b] holds, with
  their multiplicities. `enclose` does so for all of them, and thereby knows every gap.
- Davis and Kahan 1970: the projector on a cluster is off by at most
  `√2 ‖R_c‖_F / (δ √(1 − ‖S_c‖_F)) + ‖S_c‖_F`, δ the distance of its computed values from the
  other eigenvalues. Signs, and rotations inside a cluster, never matter.

What an honest solver must reach is backward stability: a residual of `p(n) u ‖Q‖_F`, with
`p(n) = 20 n`, which is `ACCEPTED` times the unit `n · 2u` of LAPACK's own tests (which allow 60).
Its vectors may be orthonormal to less, `ACCEPTED_DEFECT` up to n = 25 and `n √u` beyond; what that
costs stands in the bound of each projector, which takes the defect as it is.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from math import inf, isqrt, nextafter, prod
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refbilinear.oracle.bounds import gamma
from refbilinear.oracle.inertia import approximate_eigenpairs, inertias, integers
from refbilinear.spec.arrays import Array, as_array, enter, require_finite
from refbilinear.spec.packed import dimension, require_symmetric, unpack
from refbilinear.spec.tensor import QuadraticForm, enter_tensor

ACCEPTED = 10
"""How many units `n · 2u · ‖Q‖_F` a residual may be."""

ACCEPTED_DEFECT = 1000
"""How many units `n · 2u` a defect may be up to `SMALL`: the inverse of the relative gap, 10⁻³,
from which on LAPACK's robust representations take eigenvectors to be orthogonal of themselves."""

SMALL = 25
"""Beyond this n LAPACK divides and conquers; a defect may then be `n √u` (semiorthogonality)."""

ORDERS = ("magnitude", "ascending", "descending")


class Pairs(Protocol):
    """Eigenvalues (k,) and, as columns, eigenvectors (d, k)."""

    @property
    def eigenvalues(self) -> Any:
        """(k,)."""

    @property
    def eigenvectors(self) -> Any:
        """(d, k)."""


class Residuals(NamedTuple):
    """Squared Frobenius norms, exact: `‖QX − XΛ‖²`, `‖I − XᵀX‖²`, `‖Q‖²`."""

    residual: Fraction
    defect: Fraction
    form: Fraction


class Interval(NamedTuple):
    """A closed interval, and the place of the eigenvalue that it holds, ascending from 0."""

    low: float
    high: float
    place: int


class Cluster(NamedTuple):
    """Eigenvalues of Q whose intervals overlap, and the computed pairs that stand for them."""

    low: float
    high: float
    multiplicity: int
    """How many eigenvalues of Q the interval holds."""
    pairs: tuple[int, ...]
    """The columns that stand for them; fewer than the multiplicity where a list ends in it."""
    projector: float | None
    """At least `‖X_c X_cᵀ − P‖_F`, P the projector on the eigenspace; None if none is certified."""


class Certificate(NamedTuple):
    """What exact residuals and exact counts prove about computed eigenpairs."""

    certified: bool
    reasons: tuple[str, ...]
    """Why not."""
    residual_ratio: float
    """`‖R‖_F / (n · 2u ‖Q‖_F)`, rounded up; 2u‖Q‖_F counts as the smallest subnormal at least."""
    defect_ratio: float
    """`‖S‖_F / (n · 2u)`, rounded up."""
    radius: float | None
    """`‖R‖_F / √(1 − ‖S‖_F)`, rounded up; None where `‖S‖_F ≥ 1`."""
    intervals: tuple[Interval, ...]
    """For each pair, the certified place of the eigenvalue that it stands for."""
    clusters: tuple[Cluster, ...]
    gaps: tuple[float, ...]
    """For each k from 0 to d, at most `|λ_k| − |λ_k+1|` of Q; 0 for a tie, inf at both ends."""


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


class Judgement(NamedTuple):
    """A verdict on numbers, the reasons against them, and their worst error."""

    certified: bool
    reasons: tuple[str, ...]
    ratio: float
    """The largest |error| / allowed, rounded up; at most 1."""


class Decomposition(NamedTuple):
    """What is proved about a higher-order SVD."""

    certified: bool
    reasons: tuple[str, ...]
    error: float
    """At least the Frobenius norm of the tensor less what core and factors make."""
    squares_out: tuple[Interval, ...]
    """For each column of u_out, the certified place of the squared singular value."""
    squares_in: tuple[Interval, ...]


class _Group(NamedTuple):
    """Eigenvalues number `first` to `last - 1` of Q, ascending, lie in [low, high], no other."""

    low: Fraction
    high: Fraction
    first: int
    last: int


Exact = tuple[Array, Fraction]
"""Integers, and the unit that they are multiples of."""


class _Proof(NamedTuple):
    """R and S of computed pairs, and the squared norms of their parts."""

    residual: Exact
    defect: Exact

    def squares(self, pairs: Sequence[int] | slice = slice(None)) -> tuple[Fraction, Fraction]:
        """Return `‖R_c‖²` and `‖S_c‖²` of some of the pairs."""
        (r, r_unit), (s, s_unit) = self
        return _square((r[:, pairs], r_unit)), _square((s[pairs][:, pairs], s_unit))


# ---- spectra


def residuals(spectrum: Pairs, form: ArrayLike | QuadraticForm) -> Residuals:
    """Return `‖QX − XΛ‖²`, `‖I − XᵀX‖²` and `‖Q‖²` of Frobenius norms, as exact rationals.

    Parameters
    ----------
    spectrum : Pairs
        `eigenvalues` (k,) and `eigenvectors` (d, k), of the dtype of Q.
    form : (d, d) array_like or QuadraticForm
        Q, symmetric, float32 or float64; of a QuadraticForm its `matrix`.

    Returns
    -------
    Residuals

    Raises
    ------
    ValueError, TypeError
        For arrays that do not fit, or are not finite, naming the first such entry.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> pairs = SimpleNamespace(eigenvalues=[2.5], eigenvectors=[[1.0], [0.0]])
    >>> print(*residuals(pairs, [[2, 0], [0, 3]]))
    1/4 0 13
    """
    Q, values, vectors = _enter(spectrum, form)
    return Residuals(*_prove(*map(integers, (Q, values, vectors))).squares(), _square(integers(Q)))


def enclose(form: ArrayLike | QuadraticForm) -> tuple[Interval, ...]:
    """Return, for every eigenvalue of Q ascending, a closed interval that is proved to hold it.

    A float eigensolver gives the places, Kahan's bound the widths. Intervals that overlap are
    merged; two exact counts at the ends of each prove which eigenvalues it holds, and neither the
    solver nor the bound needs trust.

    Parameters
    ----------
    form : (d, d) array_like or QuadraticForm
        Q, symmetric and finite: float32, float64, or exact rationals.

    Returns
    -------
    tuple of Interval
        Ends rounded outward. Eigenvalues of one cluster have one interval.

    Raises
    ------
    ArithmeticError
        If the places are so wrong that the counts contradict them.

    Examples
    --------
    >>> enclose([[1, 1], [1, 1]])[0].low <= 0 <= enclose([[1, 1], [1, 1]])[0].high
    True
    >>> enclose([[4, 0], [0, -3]])
    (Interval(low=-3.0, high=-3.0, place=0), Interval(low=4.0, high=4.0, place=1))
    """
    return tuple(
        Interval(_floor(group.low), _ceiling(group.high), index)
        for group in _groups(_enter_form(form))
        for index in range(group.first, group.last)
    )


def certify(
    spectrum: Pairs, form: ArrayLike | QuadraticForm, order: str = "magnitude"
) -> Certificate:
    r"""Return what is proved about computed eigenpairs of a symmetric matrix, all or some of them.

    They are refused unless, all compared exactly,

    - they stand in the declared order;
    - `‖S‖_F ≤ 1000 n · 2u` for n ≤ 25, and `n √u` (semiorthogonality) for larger n;
    - `‖R‖_F ≤ 10 n · 2u ‖Q‖_F`, where 2u‖Q‖_F is never below the smallest subnormal;
    - each value lies within that width of the certified interval of the eigenvalue that it stands
      for by its place; and by magnitude, none that is larger was left out.

    Parameters
    ----------
    spectrum : Pairs
        `eigenvalues` (k,) and `eigenvectors` (d, k), of the dtype of Q, finite.
    form : (d, d) array_like or QuadraticForm
        Q, symmetric and finite, float32 or float64; of a QuadraticForm its `matrix`.
    order : {"magnitude", "ascending", "descending"}
        By |λ| descending, the positive one first of equals; or by value. The first k of this order
        are the ones that k pairs stand for.

    Returns
    -------
    Certificate

    References
    ----------
    Kahan, "Inclusion theorems for clusters of eigenvalues of Hermitian matrices", 1967. Cao, Xie
    and Li, "A sharp version of Kahan's theorem on clustered eigenvalues", 1996. Davis and Kahan,
    "The rotation of eigenvectors by a perturbation III", 1970.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> Q = np.diag([1.0, 3.0])
    >>> values, vectors = np.linalg.eigh(Q)
    >>> certify(SimpleNamespace(eigenvalues=values, eigenvectors=vectors), Q, "ascending").certified
    True
    >>> wrong = SimpleNamespace(eigenvalues=values + 1e-9, eigenvectors=vectors)
    >>> print(*certify(wrong, Q, "ascending").reasons, sep="\n")
    ‖QX − XΛ‖_F is 1.4e-09; accepted is 1.4e-14
    1.000000001 at 0 stands for eigenvalue 0 by value, in [1.0, 1.0]
    """
    Q, values, vectors = _enter(spectrum, form)
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}; got {order}")
    proof, groups = _prove(*map(integers, (Q, values, vectors))), _groups(Q)
    reasons = tuple(_objections(Q, values, proof, groups, order))
    residual, defect = proof.squares()
    unit, width = len(Q) * 2 * _unit(Q.dtype), _width(Q) / ACCEPTED
    places = _places(values, len(Q), order)
    return Certificate(
        not reasons,
        reasons,
        _ceiling(_root(residual) / width) if width else inf if residual else 0.0,
        _ceiling(_root(defect) / unit) if unit else 0.0,
        _ceiling(radius) if (radius := _kahan(residual, defect)) is not None else None,
        tuple(_interval(groups, place) for place in places),
        tuple(_clusters(values, proof, groups, places)),
        (inf, *(_floor(gap) for gap in _gaps(groups)), inf),
    )


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
    Q, values, vectors = _enter(spectrum, form)
    match = "to match the form"
    matrix = enter("matrix", matrix, {"d": len(Q), "d ": len(Q)}, dtype=Q.dtype, match=match)
    require_finite("matrix", matrix)
    proof, groups = _prove(*map(integers, (Q, values, vectors))), _groups(Q)
    k, product = len(values), _sum_of_pairs(values, vectors)
    twin = _sum_of_pairs(np.abs(values), np.abs(vectors))
    slack = 2 * (k * max(Fraction(1), _largest(vectors)) + 1) * _subnormal(Q.dtype)
    reasons = (
        *_objections(Q, values, proof, groups, "magnitude"),
        *_judge("matrix", matrix, product, twin, k + 3, slack).reasons,
    )
    gap = [None, *_gaps(groups), None][k]
    rounding, error = (_norm(_minus(integers(matrix), other)) for other in (product, integers(Q)))
    distance = None if gap == 0 else _distance(Q, values, proof, groups)
    lows, highs = _magnitudes(groups)
    tail = sum((low * low for low in lows[k:]), Fraction(0))
    return Truncation(
        not reasons,
        reasons,
        gap == 0,
        None if distance is None else _ceiling(rounding + distance),
        _ceiling(error - _root(tail, above=False)),
        _ceiling(highs[k]) if k < len(Q) else 0.0,
    )


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
    lam, vectors = _enter_pairs(spectrum)
    x = enter("x", x, {"d": len(vectors)}, dtype=lam.dtype, batched=True, match=_TO_SPECTRUM)
    require_finite("x", x)
    values = _enter_like("values", values, x.shape[:-1], lam.dtype)
    twin = _form_of_pairs(np.abs(x), np.abs(lam), np.abs(vectors))
    d, k = vectors.shape
    along, least = d * _largest(x) * _largest(vectors), _subnormal(lam.dtype)
    slack = k * least * (_largest(lam) * (d * (2 * along + d * least) + 1) + 1)
    return _judge("values", values, _form_of_pairs(x, lam, vectors), twin, 2 * d + k + 1, slack)


# ---- tensors


def certify_hosvd(
    tensor: ArrayLike, u_out: ArrayLike, u_in: ArrayLike, core: ArrayLike
) -> Decomposition:
    r"""Return what is proved about a higher-order SVD of a packed tensor, whole or truncated.

        B ≈ core ×₁ u_out ×₂ u_in ×₃ u_in        core = B ×₁ u_outᵀ ×₂ u_inᵀ ×₃ u_inᵀ

    With the exact Gram matrix G of each unfolding, the width `w = 10 n · 2u`, n the longer side
    of the unfolding, and ‖B‖² the trace of G:

    - `‖I − UᵀU‖_F` of each factor is what `certify` accepts;
    - the columns of U are the leading eigenvectors of G, by value: with Rayleigh quotients Θ,
      `‖GU − UΘ‖_F ≤ w ‖B‖²`, and each lies in its certified interval or within `w ‖B‖²` of it;
    - the core is what it should be, to `w ‖B‖` in norm;
    - slices of the core are mutually orthogonal, and their squared norms are the squared singular
      values, to `(4 w + 2 Σ‖I − UᵀU‖_F) ‖B‖²` (core, residual and the three factors, each twice)
      and what the other modes leave out.

    Parameters
    ----------
    tensor : (d_out, n_pairs) array_like
        Packed, as `interaction_tensor` returns it; float32 or float64.
    u_out : (d_out, r_out) array_like
    u_in : (d, r_in) array_like
        One factor for both input modes, since the tensor is symmetric in them.
    core : (r_out, r_in, r_in) array_like

    Returns
    -------
    Decomposition

    References
    ----------
    De Lathauwer, De Moor and Vandewalle, "A multilinear singular value decomposition", 2000.

    Examples
    --------
    The forms 3x₁² and −4x₀²:

    >>> tensor = [[0, 0, 3], [-4, 0, 0]]
    >>> swap = [[0, 1], [1, 0]]
    >>> core = [[[-4, 0], [0, 0]], [[0, 0], [0, 3]]]
    >>> found = certify_hosvd(tensor, swap, np.eye(2), core)
    >>> found.certified, found.error, [value.low for value in found.squares_out]
    (True, 0.0, [16.0, 9.0])
    >>> print(*certify_hosvd(tensor, np.eye(2), np.eye(2), core).reasons, sep="\n")
    column 0 of u_out stands for the squared singular value in [16.0, 16.0]; its own is 9.0
    core is off by 7.1; accepted is 4.4e-14
    """
    tensor, _ = enter_tensor(tensor)
    _require_floats("tensor", tensor)
    require_finite("tensor", tensor)
    whole = unpack(tensor)
    d_out, d, _ = whole.shape
    u_out, u_in = (
        _enter_factor("u_out", u_out, d_out, tensor),
        _enter_factor("u_in", u_in, d, tensor),
    )
    r_out, r_in = u_out.shape[1], u_in.shape[1]
    sizes = {"r_out": r_out, "r_in": r_in, "r_in ": r_in}
    core = enter("core", core, sizes, dtype=tensor.dtype, match="to match the factors")
    require_finite("core", core)
    modes = [_mode("u_out", whole, u_out, 0), _mode("u_in", whole, u_in, 1)]
    square = _square(integers(whole))
    reasons = [reason for mode in modes for reason in _factor_objections(mode, square)]
    reasons += _core_objections(integers(whole), integers(core), modes)
    rebuilt = _contract(integers(core), *(_transposed(mode.factor) for mode in modes))
    return Decomposition(
        not reasons,
        tuple(reasons),
        _ceiling(_norm(_minus(integers(whole), rebuilt))),
        *(_leading(mode) for mode in modes),
    )


def certify_inner_product(value: float, first: ArrayLike, second: ArrayLike) -> Judgement:
    """Judge the Frobenius inner product `Σ_o Σ_ij A[o,i,j] B[o,i,j]` of two packed tensors.

    `|value − exact| ≤ γ_K Σ |A||B|`, K = d_out d², the products of the unpacked sum in any order;
    the packed one, in which off-diagonal pairs are doubled, has fewer.

    Parameters
    ----------
    value : float
        What was computed.
    first, second : (d_out, n_pairs) array_like
        Packed, of one shape and dtype.

    Returns
    -------
    Judgement

    Examples
    --------
    >>> certify_inner_product(32, [[1, 2, 3]], [[4, 2, 6]]).reasons        # 4 + 2 · 4 + 18 = 30
    ('value must be 30.0, to 1.3e-14; got 32.0',)
    """
    first, second = _enter_tensors(first, second)
    number = _enter_like("value", value, (), first.dtype)
    exact, twin = (_inner(one, two) for one, two in ((first, second), map(np.abs, (first, second))))
    terms = _terms(first)
    return _judge("value", number, exact, twin, terms, terms * _subnormal(first.dtype))


def certify_cosine(value: float, first: ArrayLike, second: ArrayLike) -> Judgement:
    """Judge `⟨A, B⟩ / (‖A‖‖B‖)` of two packed tensors: K = 2 d_out d² + 5, twin 1.

    The inner product is off by `γ_K ‖A‖‖B‖` (Cauchy and Schwarz), the two squared norms by γ_K of
    themselves, of which the roots take half; five operations more. So a cosine above 1 by more
    than that is refused whatever the tensors are.

    Parameters
    ----------
    value : float
        What was computed.
    first, second : (d_out, n_pairs) array_like
        Packed, of one shape and dtype, neither zero.

    Returns
    -------
    Judgement

    Examples
    --------
    >>> certify_cosine(1.0, [[1, 2, 3]], [[2, 4, 6]]).certified
    True
    >>> certify_cosine(1.0000001, [[1, 2, 3]], [[2, 4, 6]]).reasons
    ('value must be 1.0, to 1.4e-15; got 1.0000001',)
    """
    first, second = _enter_tensors(first, second)
    number = _enter_like("value", value, (), first.dtype)
    (product, unit), one = _inner(first, second), (_object([1]).reshape(()), Fraction(1))
    square = _total(_inner(first, first)) * _total(_inner(second, second))
    if not square:
        raise ValueError("first and second must not be zero: they have no cosine")
    cosine = integers(_object([int(product) * unit / _root(square)]).reshape(()))
    return _judge("value", number, cosine, one, 2 * _terms(first) + 5, Fraction(0))


# ---- what enters

_TO_SPECTRUM = "to match the spectrum"


def _enter_form(form: ArrayLike | QuadraticForm) -> Array:
    array = as_array("form", form.matrix if isinstance(form, QuadraticForm) else form)
    if array.ndim != 2:
        raise ValueError(f"form must have shape (d, d); got {array.shape}")
    require_finite("form", array)
    require_symmetric("form", array)
    return array


def _enter_pairs(spectrum: Pairs, dtype: DTypeLike | None = None) -> tuple[Array, Array]:
    match = "to match the eigenvalues" if dtype is None else "to match the form"
    values = enter("eigenvalues", spectrum.eigenvalues, {"k": None}, dtype=dtype, match=match)
    _require_floats("eigenvalues", values)
    sizes = {"d": None, "k": len(values)}
    match = "to match the eigenvalues"
    vectors = enter("eigenvectors", spectrum.eigenvectors, sizes, dtype=values.dtype, match=match)
    require_finite("eigenvalues", values)
    require_finite("eigenvectors", vectors)
    return values, vectors


def _enter(spectrum: Pairs, form: ArrayLike | QuadraticForm) -> tuple[Array, Array, Array]:
    Q = _enter_form(form)
    _require_floats("form", Q)
    values, vectors = _enter_pairs(spectrum, Q.dtype)
    sizes = {"d": len(Q), "k": len(values)}
    enter("eigenvectors", vectors, sizes, match="to match the form")
    if len(values) > len(Q):
        raise ValueError(f"eigenvalues must be at most {len(Q)}, the form's d; got {len(values)}")
    return Q, values, vectors


def _enter_like(name: str, value: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    array = as_array(name, value)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name} must have shape {shape} and dtype {np.dtype(dtype)}; "
            f"got {array.shape} and {array.dtype}"
        )
    require_finite(name, array)
    return array


def _enter_factor(name: str, factor: ArrayLike, size: int, tensor: Array) -> Array:
    match = "to match the tensor"
    array = enter(name, factor, {"d": size, "r": None}, dtype=tensor.dtype, match=match)
    if array.shape[1] > size:
        raise ValueError(f"{name} must have at most {size} columns; got {array.shape[1]}")
    require_finite(name, array)
    return array


def _enter_tensors(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    first, _ = enter_tensor(first)
    _require_floats("first", first)
    sizes = {"d_out": len(first), "n_pairs": first.shape[1]}
    second = enter("second", second, sizes, dtype=first.dtype, match="to match first")
    require_finite("first", first)
    require_finite("second", second)
    return first, second


def _require_floats(name: str, array: Array) -> None:
    if array.dtype == object:
        raise TypeError(f"{name} must be float32 or float64: what is judged here are roundings")


# ---- exact numbers


def _minus(a: Exact, b: Exact) -> Exact:
    """Return a − b."""
    ratio = a[1] / b[1]
    return a[0] * ratio.numerator - b[0] * ratio.denominator, b[1] / ratio.denominator


def _square(a: Exact) -> Fraction:
    """Return the squared Frobenius norm."""
    return int(np.sum(a[0] * a[0])) * a[1] * a[1]


def _norm(a: Exact) -> Fraction:
    """Return a rational just above the Frobenius norm."""
    return _root(_square(a))


def _root(square: Fraction, above: bool = True) -> Fraction:
    """Return a rational above (or below) the root, by at most 2**-99 of it."""
    up, down = square.numerator, square.denominator
    shift = 100 + max(0, (down.bit_length() - up.bit_length()) // 2 + 1)
    scaled = up << 2 * shift
    whole = isqrt(scaled // down)
    return Fraction(whole + (above and whole * whole * down != scaled), 1 << shift)


def _ceiling(number: Fraction) -> float:
    """Return the least float that is not below."""
    near = _float(number)
    return near if near >= number else nextafter(near, inf)


def _floor(number: Fraction) -> float:
    """Return the greatest float that is not above."""
    return -_ceiling(-number)


def _float(number: Fraction) -> float:
    """Return the nearest float, infinite where there is none."""
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf


def _unit(dtype: DTypeLike) -> Fraction:
    """Return u."""
    return Fraction(float(np.finfo(np.dtype(dtype)).eps)) / 2


def _subnormal(dtype: DTypeLike) -> Fraction:
    """Return the smallest subnormal."""
    return Fraction(float(np.finfo(np.dtype(dtype)).smallest_subnormal))


def _largest(array: Array) -> Fraction:
    return Fraction(float(np.abs(array).max(initial=0)))


def _object(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


# ---- proofs of pairs


def _prove(form: Exact, values: Exact, vectors: Exact) -> _Proof:
    """Return R = QX − XΛ and S = I − XᵀX, exactly."""
    (q, q_unit), (x, x_unit), (lam, lam_unit) = form, vectors, values
    residual = _minus((q @ x, q_unit * x_unit), (x * lam, x_unit * lam_unit))
    eye = _object([int(i == j) for i in range(len(lam)) for j in range(len(lam))])
    identity = eye.reshape(len(lam), len(lam)), Fraction(1)
    return _Proof(residual, _minus(identity, (x.T @ x, x_unit * x_unit)))


def _kahan(residual: Fraction, defect: Fraction) -> Fraction | None:
    """Return a bound of `‖R‖ / √(1 − ‖S‖)` from the squared norms, None where ‖S‖ ≥ 1."""
    least = 1 - _root(defect)
    return _root(residual / least) if least > 0 else None


def _groups(Q: Array) -> list[_Group]:
    """Return all eigenvalues of Q ascending, in intervals that do not meet, proved by counting."""
    numbers, unit = integers(Q)
    floats, vectors, scale = approximate_eigenpairs(numbers)
    values = integers(floats)
    proof = _prove((numbers, Fraction(1, scale)), values, integers(vectors))
    radius = _kahan(*proof.squares())
    if radius is None:
        raise ArithmeticError("NumPy's eigensolver returned vectors that are not orthonormal")
    groups: list[_Group] = []
    for index, value in enumerate(values[0]):
        low, high = ((value * values[1] + side) * scale * unit for side in (-radius, radius))
        if groups and low <= groups[-1].high:
            groups[-1] = groups[-1]._replace(high=max(high, groups[-1].high), last=index + 1)
        else:
            groups.append(_Group(low, high, index, index + 1))
    counts = inertias(Q, [end for group in groups for end in (group.low, group.high)])
    for group, below, above in zip(groups, counts[::2], counts[1::2], strict=True):
        if (below.negative, above.negative + above.zero) != (group.first, group.last):
            raise ArithmeticError(
                "NumPy's eigensolver returned values that exact counts contradict"
            )
    return groups


def _at(groups: list[_Group], place: int) -> _Group:
    return next(group for group in groups if place < group.last)


def _interval(groups: list[_Group], place: int) -> Interval:
    group = _at(groups, place)
    return Interval(_floor(group.low), _ceiling(group.high), place)


def _places(values: Array, n: int, order: str) -> list[int]:
    """Return the index, ascending by value, of the eigenvalue that each pair stands for.

    By magnitude the negative ones are the lowest of all, and the others the highest.
    """
    k = len(values)
    low = {"magnitude": int((values < 0).sum()), "ascending": k, "descending": 0}[order]
    places = [0] * k
    for rank, pair in enumerate(np.argsort(values, kind="stable").tolist()):
        places[pair] = rank if rank < low else n - k + rank
    return places


def _objections(
    Q: Array, values: Array, proof: _Proof, groups: list[_Group], order: str
) -> Iterator[str]:
    """Yield what speaks against computed pairs."""
    n, (residual, defect) = len(Q), proof.squares()
    width, accepted = _width(Q), _accepted_defect(n, Q.dtype)
    yield from _disorder(values, order)
    if defect > accepted * accepted:
        yield f"‖I − XᵀX‖_F is {_short(_root(defect))}; accepted is {_short(accepted)}"
    if residual > width * width:
        yield f"‖QX − XΛ‖_F is {_short(_root(residual))}; accepted is {_short(width)}"
    places = _places(values, n, order)
    yield from _misplaced(values, groups, places, width)
    if order == "magnitude":
        yield from _left_out(values, groups, places, width)


def _width(Q: Array) -> Fraction:
    """Return the residual that an honest solver may leave: `10 n · 2u ‖Q‖_F`, 0 for Q = 0.

    The spacing 2u‖Q‖_F of numbers as large as Q is never below the smallest subnormal.
    """
    spacing = 2 * _unit(Q.dtype) * _norm(integers(Q))
    return ACCEPTED * len(Q) * max(spacing, _subnormal(Q.dtype)) if spacing else spacing


def _accepted_defect(n: int, dtype: DTypeLike) -> Fraction:
    """Return how far from orthonormal the columns of an honest solver may be."""
    u = _unit(dtype)
    return ACCEPTED_DEFECT * n * 2 * u if n <= SMALL else n * _root(u)


def _disorder(values: Array, order: str) -> Iterator[str]:
    """Yield the first pair that stands after one that it should precede."""
    key: Any = {
        "magnitude": lambda value: (-abs(value), -value),
        "ascending": lambda value: value,
        "descending": lambda value: -value,
    }[order]
    for i, (before, after) in enumerate(pairwise(values.tolist()), start=1):
        if key(after) < key(before):
            yield f"eigenvalues must stand by {order}; {after} at {i} follows {before}"
            return


def _misplaced(
    values: Array, groups: list[_Group], places: list[int], width: Fraction
) -> Iterator[str]:
    """Yield the first value that is certainly further than `width` from what it stands for."""
    for i, (value, place) in enumerate(zip(values.tolist(), places, strict=True)):
        group = _at(groups, place)
        if max(group.low - Fraction(value), Fraction(value) - group.high) > width:
            yield f"{value} at {i} stands for eigenvalue {place} by value, in {_range(group)}"
            return


def _left_out(
    values: Array, groups: list[_Group], places: list[int], width: Fraction
) -> Iterator[str]:
    """Yield an eigenvalue that is certainly larger than the last one, and has no pair."""
    least = Fraction(float(np.abs(values).min(initial=np.inf))) if len(values) else None
    for group in groups:
        missing = set(range(group.first, group.last)) - set(places)
        if missing and least is not None and _magnitude(group)[0] > least + width:
            yield f"an eigenvalue in {_range(group)} is larger than the last, and has no pair"
            return


def _clusters(
    values: Array, proof: _Proof, groups: list[_Group], places: list[int]
) -> Iterator[Cluster]:
    """Yield the groups that have pairs, with a bound on the projector where they have all."""
    for group in groups:
        pairs = [i for i, place in enumerate(places) if group.first <= place < group.last]
        if not pairs:
            continue
        size, projector = group.last - group.first, None
        if len(pairs) == size:
            others = [other for other in groups if other is not group]
            projector = _projector(values, proof, pairs, others)
        bound = None if projector is None else _ceiling(projector)
        yield Cluster(_floor(group.low), _ceiling(group.high), size, tuple(pairs), bound)


def _projector(
    values: Array, proof: _Proof, pairs: list[int], others: list[_Group]
) -> Fraction | None:
    """Return a bound of `‖X_c X_cᵀ − P‖_F`: `√2 ‖R_c‖ / (δ √(1 − ‖S_c‖)) + ‖S_c‖`."""
    residual, defect = proof.squares(pairs)
    lam = [Fraction(float(values[i])) for i in pairs]
    gaps = [max(group.low - value, value - group.high) for group in others for value in lam]
    least = 1 - _root(defect)
    if least <= 0 or min(gaps, default=Fraction(1)) <= 0:
        return None
    angle = _root(2 * residual / (min(gaps) ** 2 * least)) if gaps else Fraction(0)
    return angle + _root(defect)


def _magnitude(group: _Group) -> tuple[Fraction, Fraction]:
    """Return the least and the largest |λ| of an interval."""
    ends = sorted((abs(group.low), abs(group.high)))
    return (Fraction(0) if group.low < 0 < group.high else ends[0]), ends[1]


def _magnitudes(groups: list[_Group]) -> tuple[list[Fraction], list[Fraction]]:
    """Return bounds from below and from above of |λ_1| ≥ |λ_2| ≥ … of Q."""
    both = [_magnitude(group) for group in groups for _ in range(group.first, group.last)]
    return sorted((low for low, _ in both), reverse=True), sorted(
        (high for _, high in both), reverse=True
    )


def _gaps(groups: list[_Group]) -> list[Fraction]:
    """Return what is certified of `|λ_k| − |λ_k+1|`, k from 1 to d − 1."""
    lows, highs = _magnitudes(groups)
    return [max(low - high, Fraction(0)) for low, high in zip(lows, highs[1:], strict=False)]


def _distance(Q: Array, values: Array, proof: _Proof, groups: list[_Group]) -> Fraction | None:
    """Return a bound of `‖XΛXᵀ − Q_k‖_F`: `‖Q‖₂ ‖XXᵀ − P‖_F + ‖R‖_F √(1 + ‖S‖_F)`."""
    places = set(_places(values, len(Q), "magnitude"))
    others = [group for group in groups if group.first not in places]
    projector = _projector(values, proof, list(range(len(values))), others)
    if projector is None:
        return None
    largest = max((_magnitude(group)[1] for group in groups), default=Fraction(0))
    residual, defect = proof.squares()
    return largest * projector + _root(residual * (1 + _root(defect)))


def _range(group: _Group) -> str:
    return f"[{_floor(group.low)}, {_ceiling(group.high)}]"


def _short(number: Fraction) -> str:
    return f"{_float(number):.2g}"


# ---- judging numbers


def _judge(
    name: str, values: Array, exact: Exact, twin: Exact, roundings: int, slack: Fraction
) -> Judgement:
    """Judge every entry: `|value − exact| ≤ γ_K · twin + slack`, slack what underflow may take.

    A product that underflows is off by half the smallest subnormal; slack counts a whole one.
    """
    factor = Fraction(gamma(roundings, values.dtype))
    errors, unit = _minus(integers(values), exact)
    worst, reasons = Fraction(0), []
    triples = zip(*(np.ravel(array).tolist() for array in (errors, twin[0], exact[0])), strict=True)
    for index, (error, size, true) in zip(np.ndindex(values.shape), triples, strict=True):
        off, allowed = abs(error) * unit, factor * size * twin[1] + slack
        worst = max(worst, off / allowed) if allowed else worst
        if off > allowed:
            reasons.append(
                f"{name} must be {_float(true * exact[1])}{f' at {index}' if index else ''}, "
                f"to {_short(allowed)}; got {values[index]}"
            )
    return Judgement(not reasons, tuple(reasons[:1]), _ceiling(worst))


def _sum_of_pairs(values: Array, vectors: Array) -> Exact:
    """Return XΛXᵀ."""
    (lam, lam_unit), (x, x_unit) = integers(values), integers(vectors)
    return (x * lam) @ x.T, lam_unit * x_unit * x_unit


def _form_of_pairs(x: Array, values: Array, vectors: Array) -> Exact:
    """Return `Σ_i λ_i (v_i · x)²` for every x."""
    (lam, lam_unit), (v, v_unit), (z, z_unit) = map(integers, (values, vectors, x))
    along = z @ v
    return (along * along) @ lam, lam_unit * (v_unit * z_unit) ** 2


def _inner(first: Array, second: Array) -> Exact:
    """Return `Σ_o Σ_ij A[o,i,j] B[o,i,j]`, as an array without axes."""
    (a, a_unit), (b, b_unit) = integers(unpack(first)), integers(unpack(second))
    return _object([int(np.sum(a * b))]).reshape(()), a_unit * b_unit


def _total(number: Exact) -> Fraction:
    return int(number[0]) * number[1]


def _terms(tensor: Array) -> int:
    """Return d_out d², the products of an inner product of two tensors."""
    return len(tensor) * dimension(tensor.shape[1]) ** 2


# ---- higher-order SVD


class _Mode(NamedTuple):
    """One mode of a tensor: its exact spectrum, its factor, and what the factor leaves out."""

    name: str
    factor: Exact
    proof: _Proof
    groups: list[_Group]
    squares: list[Fraction]
    """The Rayleigh quotient of each column."""
    width: Fraction
    accepted_defect: Fraction
    left: Fraction
    """‖(I − UUᵀ) B₍ₙ₎‖²."""

    def place(self, column: int) -> _Group:
        """Return the place of the squared singular value that a column stands for."""
        return _at(self.groups, self.groups[-1].last - 1 - column)


def _mode(name: str, whole: Array, factor: Array, axis: int) -> _Mode:
    """Return what is exactly true of one mode of a tensor and its factor."""
    (unfolded, unit), (u, u_unit) = _unfold(integers(whole), axis), integers(factor)
    gram, gram_unit = unfolded @ unfolded.T, unit * unit
    squares = _object([int(value) for value in (u.T @ gram @ u).diagonal()])
    proof = _prove((gram, gram_unit), (squares, gram_unit * u_unit * u_unit), (u, u_unit))
    seen = u @ (u.T @ unfolded), unit * u_unit * u_unit
    return _Mode(
        name,
        (u, u_unit),
        proof,
        _groups(gram * gram_unit),
        [int(value) * gram_unit * u_unit * u_unit for value in squares],
        ACCEPTED * max(unfolded.shape) * 2 * _unit(whole.dtype),
        _accepted_defect(len(u), whole.dtype),
        _square(_minus((unfolded, unit), seen)),
    )


def _factor_objections(mode: _Mode, square: Fraction) -> Iterator[str]:
    """Yield what speaks against a factor; `square` is ‖B‖²."""
    found_squares = mode.proof.squares()
    names = (f"‖GU − UΘ‖_F of {mode.name}", f"‖I − UᵀU‖_F of {mode.name}")
    accepted = (mode.width * square, mode.accepted_defect)
    for name, found, width in zip(names, found_squares, accepted, strict=True):
        if found > width * width:
            yield f"{name} is {_short(_root(found))}; accepted is {_short(width)}"
    for column, value in enumerate(mode.squares):
        group = mode.place(column)
        if max(group.low - value, value - group.high) > mode.width * square:
            yield (
                f"column {column} of {mode.name} stands for the squared singular value in "
                f"{_range(group)}; its own is {_float(value)}"
            )
            return


def _core_objections(whole: Exact, core: Exact, modes: list[_Mode]) -> Iterator[str]:
    """Yield what speaks against a core."""
    out, inputs = modes
    width, size = max(mode.width for mode in modes), _norm(whole)
    off = _norm(_minus(core, _contract(whole, out.factor, inputs.factor)))
    if off > width * size:
        yield f"core is off by {_short(off)}; accepted is {_short(width * size)}"
    defects = [_root(mode.proof.squares()[1]) for mode in (out, inputs, inputs)]
    allowed = (4 * width + 2 * sum(defects)) * size * size
    for axis, mode, left in ((0, out, 2 * inputs.left), (1, inputs, out.left + inputs.left)):
        yield from _slice_objections(core, axis, mode, allowed + left)


def _slice_objections(core: Exact, axis: int, mode: _Mode, allowed: Fraction) -> Iterator[str]:
    """Yield what speaks against the slices of a core along an axis."""
    slices, unit = _unfold(core, axis)
    products = slices @ slices.T
    diagonal = products.diagonal()
    mixed = (int(np.sum(products * products)) - int(np.sum(diagonal * diagonal))) * unit**4
    if mixed > allowed * allowed:
        yield (
            f"slices of the core for {mode.name} have inner products of {_short(_root(mixed))}; "
            f"accepted is {_short(allowed)}"
        )
    for a, square in enumerate(diagonal):
        group = mode.place(a)
        if max(group.low - square * unit * unit, square * unit * unit - group.high) > allowed:
            place = f"slice {a} of the core for {mode.name}"
            yield f"{place} must have its squared norm in {_range(group)}"
            return


def _unfold(tensor: Exact, axis: int) -> Exact:
    """Return the tensor as a matrix whose rows are its slices along an axis."""
    moved = np.moveaxis(tensor[0], axis, 0)
    return moved.reshape(len(moved), prod(moved.shape[1:])), tensor[1]


def _contract(tensor: Exact, u_out: Exact, u_in: Exact) -> Exact:
    """Return `tensor ×₁ u_outᵀ ×₂ u_inᵀ ×₃ u_inᵀ`."""
    (t, t_unit), (u, u_unit), (v, v_unit) = tensor, u_out, u_in
    first = u.T @ t.reshape(len(t), prod(t.shape[1:]))
    inner = first.reshape(len(first), *t.shape[1:])
    return v.T @ inner @ v, t_unit * u_unit * v_unit * v_unit


def _transposed(factor: Exact) -> Exact:
    return factor[0].T, factor[1]


def _leading(mode: _Mode) -> tuple[Interval, ...]:
    """Return the certified place of each column's squared singular value."""
    top = mode.groups[-1].last - 1 if mode.groups else 0
    columns = range(mode.factor[0].shape[1])
    return tuple(_interval(mode.groups, top - column) for column in columns)
