"""Decompositions: what a foreign higher-order SVD or inner product of tensors proves about itself.

The exact Gram matrix of an unfolding has the squared singular values for eigenvalues, so a factor
is judged as a spectrum is; the core and its slices are contracted exactly. Single numbers, an inner
product or a cosine, are judged by γ_K.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.oracle.certificates import (
    ACCEPTED,
    Group,
    Interval,
    Proof,
    accepted_defect,
    counted_groups,
    group_at,
    interval_at,
    prove,
)
from refbilinear.oracle.judgements import Judgement, enter_like, judge, require_floats, short
from refbilinear.oracle.rationals import (
    Exact,
    ceiling,
    integers,
    minus,
    nearest_float,
    norm,
    objects,
    root,
    roundoff,
    squared_norm,
    subnormal,
)
from refbilinear.spec.arrays import Array, enter, require_finite
from refbilinear.spec.packed import dimension, unpack
from refbilinear.spec.tensor import enter_tensor


class Decomposition(NamedTuple):
    """What is proved about a higher-order SVD."""

    certified: bool
    reasons: tuple[str, ...]
    error: float
    """At least the Frobenius norm of the tensor less what core and factors make."""
    squares_out: tuple[Interval, ...]
    """For each column of u_out, the certified place of the squared singular value."""
    squares_in: tuple[Interval, ...]


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
    require_floats("tensor", tensor)
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
    square = squared_norm(integers(whole))
    reasons = [reason for mode in modes for reason in _factor_objections(mode, square)]
    reasons += _core_objections(integers(whole), integers(core), modes)
    rebuilt = _contract(integers(core), *(_transposed(mode.factor) for mode in modes))
    return Decomposition(
        not reasons,
        tuple(reasons),
        ceiling(norm(minus(integers(whole), rebuilt))),
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
    number = enter_like("value", value, (), first.dtype)
    exact, twin = (_inner(one, two) for one, two in ((first, second), map(np.abs, (first, second))))
    terms = _terms(first)
    return judge("value", number, exact, twin, terms, terms * subnormal(first.dtype))


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
    number = enter_like("value", value, (), first.dtype)
    (product, unit), one = _inner(first, second), (objects([1], ()), Fraction(1))
    square = _total(_inner(first, first)) * _total(_inner(second, second))
    if not square:
        raise ValueError("first and second must not be zero: they have no cosine")
    cosine = integers(objects([int(product) * unit / root(square)], ()))
    return judge("value", number, cosine, one, 2 * _terms(first) + 5, Fraction(0))


def _enter_factor(name: str, factor: ArrayLike, size: int, tensor: Array) -> Array:
    match = "to match the tensor"
    array = enter(name, factor, {"d": size, "r": None}, dtype=tensor.dtype, match=match)
    if array.shape[1] > size:
        raise ValueError(f"{name} must have at most {size} columns; got {array.shape[1]}")
    require_finite(name, array)
    return array


def _enter_tensors(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    first, _ = enter_tensor(first)
    require_floats("first", first)
    sizes = {"d_out": len(first), "n_pairs": first.shape[1]}
    second = enter("second", second, sizes, dtype=first.dtype, match="to match first")
    require_finite("first", first)
    require_finite("second", second)
    return first, second


# ---- higher-order SVD


class _Mode(NamedTuple):
    """One mode of a tensor: its exact spectrum, its factor, and what the factor leaves out."""

    name: str
    factor: Exact
    proof: Proof
    groups: list[Group]
    squares: list[Fraction]
    """The Rayleigh quotient of each column."""
    width: Fraction
    accepted_defect: Fraction
    left: Fraction
    """‖(I − UUᵀ) B₍ₙ₎‖²."""

    def place(self, column: int) -> Group:
        """Return the place of the squared singular value that a column stands for."""
        return group_at(self.groups, self.groups[-1].last - 1 - column)


def _mode(name: str, whole: Array, factor: Array, axis: int) -> _Mode:
    """Return what is exactly true of one mode of a tensor and its factor."""
    (unfolded, unit), (u, u_unit) = _unfold(integers(whole), axis), integers(factor)
    gram, gram_unit = unfolded @ unfolded.T, unit * unit
    squares = objects([int(value) for value in (u.T @ gram @ u).diagonal()], u.shape[1:])
    proof = prove((gram, gram_unit), (squares, gram_unit * u_unit * u_unit), (u, u_unit))
    seen = u @ (u.T @ unfolded), unit * u_unit * u_unit
    return _Mode(
        name,
        (u, u_unit),
        proof,
        counted_groups(gram * gram_unit),
        [int(value) * gram_unit * u_unit * u_unit for value in squares],
        ACCEPTED * max(unfolded.shape) * 2 * roundoff(whole.dtype),
        accepted_defect(len(u), whole.dtype),
        squared_norm(minus((unfolded, unit), seen)),
    )


def _factor_objections(mode: _Mode, square: Fraction) -> Iterator[str]:
    """Yield what speaks against a factor; `square` is ‖B‖²."""
    found_squares = mode.proof.squares()
    names = (f"‖GU − UΘ‖_F of {mode.name}", f"‖I − UᵀU‖_F of {mode.name}")
    accepted = (mode.width * square, mode.accepted_defect)
    for name, found, width in zip(names, found_squares, accepted, strict=True):
        if found > width * width:
            yield f"{name} is {short(root(found))}; accepted is {short(width)}"
    for column, value in enumerate(mode.squares):
        group = mode.place(column)
        if max(group.low - value, value - group.high) > mode.width * square:
            yield (
                f"column {column} of {mode.name} stands for the squared singular value in "
                f"{group}; its own is {nearest_float(value)}"
            )
            return


def _core_objections(whole: Exact, core: Exact, modes: list[_Mode]) -> Iterator[str]:
    """Yield what speaks against a core."""
    out, inputs = modes
    width, size = max(mode.width for mode in modes), norm(whole)
    off = norm(minus(core, _contract(whole, out.factor, inputs.factor)))
    if off > width * size:
        yield f"core is off by {short(off)}; accepted is {short(width * size)}"
    defects = [root(mode.proof.squares()[1]) for mode in (out, inputs, inputs)]
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
            f"slices of the core for {mode.name} have inner products of {short(root(mixed))}; "
            f"accepted is {short(allowed)}"
        )
    for a, square in enumerate(diagonal):
        group = mode.place(a)
        if max(group.low - square * unit * unit, square * unit * unit - group.high) > allowed:
            place = f"slice {a} of the core for {mode.name}"
            yield f"{place} must have its squared norm in {group}"
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
    return tuple(interval_at(mode.groups, top - column) for column in columns)


# ---- inner products


def _inner(first: Array, second: Array) -> Exact:
    """Return `Σ_o Σ_ij A[o,i,j] B[o,i,j]`, as an array without axes."""
    (a, a_unit), (b, b_unit) = integers(unpack(first)), integers(unpack(second))
    return objects([int(np.sum(a * b))], ()), a_unit * b_unit


def _total(number: Exact) -> Fraction:
    return int(number[0]) * number[1]


def _terms(tensor: Array) -> int:
    """Return d_out d², the products of an inner product of two tensors."""
    return len(tensor) * dimension(tensor.shape[1]) ** 2
