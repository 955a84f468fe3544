"""Certificates: what a foreign spectrum proves about itself.

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
from math import inf
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refbilinear.oracle.inertia import approximate_eigenpairs, inertias
from refbilinear.oracle.judgements import require_floats, short
from refbilinear.oracle.rationals import (
    Exact,
    ceiling,
    floor,
    integers,
    minus,
    norm,
    objects,
    root,
    roundoff,
    squared_norm,
    subnormal,
)
from refbilinear.spec.arrays import Array, as_array, enter, require_finite
from refbilinear.spec.packed import require_symmetric
from refbilinear.spec.tensor import QuadraticForm

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


class Group(NamedTuple):
    """Eigenvalues number `first` to `last - 1` of Q, ascending, lie in [low, high], no other."""

    low: Fraction
    high: Fraction
    first: int
    last: int

    def __str__(self) -> str:
        return f"[{floor(self.low)}, {ceiling(self.high)}]"


class Proof(NamedTuple):
    """R and S of computed pairs, and the squared norms of their parts."""

    residual: Exact
    defect: Exact

    def squares(self, pairs: Sequence[int] | slice = slice(None)) -> tuple[Fraction, Fraction]:
        """Return `‖R_c‖²` and `‖S_c‖²` of some of the pairs."""
        (r, r_unit), (s, s_unit) = self
        return squared_norm((r[:, pairs], r_unit)), squared_norm((s[pairs][:, pairs], s_unit))


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
    Q, values, vectors = enter_spectrum(spectrum, form)
    return Residuals(
        *prove(*map(integers, (Q, values, vectors))).squares(), squared_norm(integers(Q))
    )


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
        Interval(floor(group.low), ceiling(group.high), index)
        for group in counted_groups(_enter_form(form))
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
    Q, values, vectors = enter_spectrum(spectrum, form)
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}; got {order}")
    proof, groups = prove(*map(integers, (Q, values, vectors))), counted_groups(Q)
    reasons = tuple(pair_objections(Q, values, proof, groups, order))
    residual, defect = proof.squares()
    unit, width = len(Q) * 2 * roundoff(Q.dtype), accepted_residual(Q) / ACCEPTED
    places = places_of(values, len(Q), order)
    return Certificate(
        not reasons,
        reasons,
        ceiling(root(residual) / width) if width else inf if residual else 0.0,
        ceiling(root(defect) / unit) if unit else 0.0,
        ceiling(radius) if (radius := _kahan(residual, defect)) is not None else None,
        tuple(interval_at(groups, place) for place in places),
        tuple(_clusters(values, proof, groups, places)),
        (inf, *(floor(gap) for gap in certified_gaps(groups)), inf),
    )


# ---- what enters


def enter_spectrum(spectrum: Pairs, form: ArrayLike | QuadraticForm) -> tuple[Array, Array, Array]:
    """Return Q, k ≤ d eigenvalues (k,) and eigenvectors (d, k), all finite and of one dtype."""
    Q = _enter_form(form)
    require_floats("form", Q)
    values, vectors = enter_pairs(spectrum, Q.dtype)
    sizes = {"d": len(Q), "k": len(values)}
    enter("eigenvectors", vectors, sizes, match="to match the form")
    if len(values) > len(Q):
        raise ValueError(f"eigenvalues must be at most {len(Q)}, the form's d; got {len(values)}")
    return Q, values, vectors


def enter_pairs(spectrum: Pairs, dtype: DTypeLike | None = None) -> tuple[Array, Array]:
    """Return eigenvalues (k,) and eigenvectors (d, k), finite floats of one dtype."""
    match = "to match the eigenvalues" if dtype is None else "to match the form"
    values = enter("eigenvalues", spectrum.eigenvalues, {"k": None}, dtype=dtype, match=match)
    require_floats("eigenvalues", values)
    sizes = {"d": None, "k": len(values)}
    match = "to match the eigenvalues"
    vectors = enter("eigenvectors", spectrum.eigenvectors, sizes, dtype=values.dtype, match=match)
    require_finite("eigenvalues", values)
    require_finite("eigenvectors", vectors)
    return values, vectors


def _enter_form(form: ArrayLike | QuadraticForm) -> Array:
    array = as_array("form", form.matrix if isinstance(form, QuadraticForm) else form)
    if array.ndim != 2:
        raise ValueError(f"form must have shape (d, d); got {array.shape}")
    require_finite("form", array)
    require_symmetric("form", array)
    return array


# ---- what proves pairs


def prove(form: Exact, values: Exact, vectors: Exact) -> Proof:
    """Return R = QX − XΛ and S = I − XᵀX, exactly."""
    (q, q_unit), (x, x_unit), (lam, lam_unit) = form, vectors, values
    residual = minus((q @ x, q_unit * x_unit), (x * lam, x_unit * lam_unit))
    eye = [int(i == j) for i in range(len(lam)) for j in range(len(lam))]
    identity = objects(eye, (len(lam), len(lam))), Fraction(1)
    return Proof(residual, minus(identity, (x.T @ x, x_unit * x_unit)))


def _kahan(residual: Fraction, defect: Fraction) -> Fraction | None:
    """Return a bound of `‖R‖ / √(1 − ‖S‖)` from the squared norms, None where ‖S‖ ≥ 1."""
    least = 1 - root(defect)
    return root(residual / least) if least > 0 else None


def counted_groups(Q: Array) -> list[Group]:
    """Return all eigenvalues of Q ascending, in intervals that do not meet, proved by counting."""
    numbers, unit = integers(Q)
    floats, vectors, scale = approximate_eigenpairs(numbers)
    values = integers(floats)
    proof = prove((numbers, Fraction(1, scale)), values, integers(vectors))
    radius = _kahan(*proof.squares())
    if radius is None:
        raise ArithmeticError("NumPy's eigensolver returned vectors that are not orthonormal")
    groups: list[Group] = []
    for index, value in enumerate(values[0]):
        low, high = ((value * values[1] + side) * scale * unit for side in (-radius, radius))
        if groups and low <= groups[-1].high:
            groups[-1] = groups[-1]._replace(high=max(high, groups[-1].high), last=index + 1)
        else:
            groups.append(Group(low, high, index, index + 1))
    counts = inertias(Q, [end for group in groups for end in (group.low, group.high)])
    for group, below, above in zip(groups, counts[::2], counts[1::2], strict=True):
        if (below.negative, above.negative + above.zero) != (group.first, group.last):
            raise ArithmeticError(
                "NumPy's eigensolver returned values that exact counts contradict"
            )
    return groups


def group_at(groups: list[Group], place: int) -> Group:
    """Return the group that holds the eigenvalue of a place, ascending from 0."""
    return next(group for group in groups if place < group.last)


def interval_at(groups: list[Group], place: int) -> Interval:
    """Return the interval of the eigenvalue of a place, its ends rounded outward."""
    group = group_at(groups, place)
    return Interval(floor(group.low), ceiling(group.high), place)


def places_of(values: Array, n: int, order: str) -> list[int]:
    """Return the index, ascending by value, of the eigenvalue that each pair stands for.

    By magnitude the negative ones are the lowest of all, and the others the highest.
    """
    k = len(values)
    low = {"magnitude": int((values < 0).sum()), "ascending": k, "descending": 0}[order]
    places = [0] * k
    for rank, pair in enumerate(np.argsort(values, kind="stable").tolist()):
        places[pair] = rank if rank < low else n - k + rank
    return places


# ---- what speaks against them


def pair_objections(
    Q: Array, values: Array, proof: Proof, groups: list[Group], order: str
) -> Iterator[str]:
    """Yield what speaks against computed pairs."""
    n, (residual, defect) = len(Q), proof.squares()
    width, accepted = accepted_residual(Q), accepted_defect(n, Q.dtype)
    yield from _disorder(values, order)
    if defect > accepted * accepted:
        yield f"‖I − XᵀX‖_F is {short(root(defect))}; accepted is {short(accepted)}"
    if residual > width * width:
        yield f"‖QX − XΛ‖_F is {short(root(residual))}; accepted is {short(width)}"
    places = places_of(values, n, order)
    yield from _misplaced(values, groups, places, width)
    if order == "magnitude":
        yield from _left_out(values, groups, places, width)


def accepted_defect(n: int, dtype: DTypeLike) -> Fraction:
    """Return how far from orthonormal the columns of an honest solver may be."""
    u = roundoff(dtype)
    return ACCEPTED_DEFECT * n * 2 * u if n <= SMALL else n * root(u)


def accepted_residual(Q: Array) -> Fraction:
    """Return the residual that an honest solver may leave: `10 n · 2u ‖Q‖_F`, 0 for Q = 0.

    The spacing 2u‖Q‖_F of numbers as large as Q is never below the smallest subnormal.
    """
    spacing = 2 * roundoff(Q.dtype) * norm(integers(Q))
    return ACCEPTED * len(Q) * max(spacing, subnormal(Q.dtype)) if spacing else spacing


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
    values: Array, groups: list[Group], places: list[int], width: Fraction
) -> Iterator[str]:
    """Yield the first value that is certainly further than `width` from what it stands for."""
    for i, (value, place) in enumerate(zip(values.tolist(), places, strict=True)):
        group = group_at(groups, place)
        if max(group.low - Fraction(value), Fraction(value) - group.high) > width:
            yield f"{value} at {i} stands for eigenvalue {place} by value, in {group}"
            return


def _left_out(
    values: Array, groups: list[Group], places: list[int], width: Fraction
) -> Iterator[str]:
    """Yield an eigenvalue that is certainly larger than the last one, and has no pair."""
    least = Fraction(float(np.abs(values).min(initial=np.inf))) if len(values) else None
    for group in groups:
        missing = set(range(group.first, group.last)) - set(places)
        if missing and least is not None and _magnitude(group)[0] > least + width:
            yield f"an eigenvalue in {group} is larger than the last, and has no pair"
            return


# ---- clusters and gaps


def _clusters(
    values: Array, proof: Proof, groups: list[Group], places: list[int]
) -> Iterator[Cluster]:
    """Yield the groups that have pairs, with a bound on the projector where they have all."""
    for group in groups:
        pairs = [i for i, place in enumerate(places) if group.first <= place < group.last]
        if not pairs:
            continue
        size, projector = group.last - group.first, None
        if len(pairs) == size:
            others = [other for other in groups if other is not group]
            projector = projector_bound(values, proof, pairs, others)
        bound = None if projector is None else ceiling(projector)
        yield Cluster(floor(group.low), ceiling(group.high), size, tuple(pairs), bound)


def projector_bound(
    values: Array, proof: Proof, pairs: list[int], others: list[Group]
) -> Fraction | None:
    """Return a bound of `‖X_c X_cᵀ − P‖_F`: `√2 ‖R_c‖ / (δ √(1 − ‖S_c‖)) + ‖S_c‖`."""
    residual, defect = proof.squares(pairs)
    lam = [Fraction(float(values[i])) for i in pairs]
    gaps = [max(group.low - value, value - group.high) for group in others for value in lam]
    least = 1 - root(defect)
    if least <= 0 or min(gaps, default=Fraction(1)) <= 0:
        return None
    angle = root(2 * residual / (min(gaps) ** 2 * least)) if gaps else Fraction(0)
    return angle + root(defect)


def certified_gaps(groups: list[Group]) -> list[Fraction]:
    """Return what is certified of `|λ_k| − |λ_k+1|`, k from 1 to d − 1."""
    lows, highs = magnitudes(groups)
    return [max(low - high, Fraction(0)) for low, high in zip(lows, highs[1:], strict=False)]


def magnitudes(groups: list[Group]) -> tuple[list[Fraction], list[Fraction]]:
    """Return bounds from below and from above of |λ_1| ≥ |λ_2| ≥ … of Q."""
    both = [_magnitude(group) for group in groups for _ in range(group.first, group.last)]
    return sorted((low for low, _ in both), reverse=True), sorted(
        (high for _, high in both), reverse=True
    )


def _magnitude(group: Group) -> tuple[Fraction, Fraction]:
    """Return the least and the largest |λ| of an interval."""
    ends = sorted((abs(group.low), abs(group.high)))
    return (Fraction(0) if group.low < 0 < group.high else ends[0]), ends[1]
