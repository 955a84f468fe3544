"""Mistakes of the interaction tensor, of its matrix in a direction, and of its quadratic form."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refbilinear.oracle.agreement import layer_of
from refbilinear.oracle.answers import Inputs, Outputs, Run
from refbilinear.oracle.wrong import Wrong, after, before, each, transposed
from refbilinear.spec.arrays import Array, constant
from refbilinear.spec.packed import dimension, pair_indices, unpack

Index = slice | Array


# ---- the tensor


def entries_by(product: Callable[[Array, Array, Array, Array], Array]) -> Wrong:
    """Make entries of `w_out product(left_i, left_j, right_i, right_j)`, over `[x; 1]` or x."""

    def answer(run: Run, held: Inputs) -> Outputs:
        layer = layer_of(held)
        nothing = {name: np.zeros_like(held[name]) for name in ("w_left", "b_left") if name in held}
        rest = run(held | nothing)["tensor"]  # what the skip path and b_out add
        d = dimension(rest.shape[1])
        left, right = (
            _beside(layer.w_left, layer.b_left, d),
            _beside(layer.w_right, layer.b_right, d),
        )
        i, j = pair_indices(d)
        pairs = product(left[:, i], left[:, j], right[:, i], right[:, j])
        return {"tensor": rest + (pairs if layer.w_out is None else layer.w_out @ pairs)}

    return lambda run: lambda held: answer(run, held)


def _beside(w: Array, b: Array | None, d: int) -> Array:
    """Return `[w | b]` of d columns."""
    column = constant(0, (len(w), d - w.shape[1]), w.dtype) if b is None else b[:, None]
    return np.concatenate([w, column], axis=1)


def where(places: Callable[[int], Index], change: Callable[[Array], Any]) -> Wrong:
    """Put other numbers at the `places(d)` of the packed tensor."""

    def of(held: Inputs, out: Outputs) -> Outputs:
        tensor = out["tensor"].copy()
        at = places(dimension(tensor.shape[1]))
        tensor[:, at] = change(tensor[:, at])
        return {"tensor": tensor}

    return after(of)


def diagonal(d: int) -> Array:
    """Return the places of (i, i)."""
    return np.flatnonzero(np.equal(*pair_indices(d)))


def off_diagonal(d: int) -> Array:
    """Return the places of (i, j), i > j."""
    return np.flatnonzero(np.greater(*pair_indices(d)))


def where_linear(change: Callable[[Array], Any]) -> Wrong:
    """Put other numbers beside the constant."""
    wrong = where(lambda d: slice(-d, -1), change)
    return lambda run: lambda held: (wrong(run) if layer_of(held).has_constant else run)(held)


def constant_missing(held: Inputs, out: Outputs) -> Outputs:
    """Leave the output bias alone in the corner."""
    if not layer_of(held).has_constant:
        return {}
    tensor = out["tensor"].copy()
    tensor[:, -1] = held.get("b_out", 0)
    return {"tensor": tensor}


def over_output(held: Inputs, out: Outputs) -> Outputs:
    """Symmetrise over the output and the first input, and keep lower triangles."""
    whole = unpack(out["tensor"])
    if whole.shape[0] != whole.shape[1]:
        raise NotImplementedError("outputs are not as many as coordinates")
    i, j = pair_indices(len(whole))
    return {"tensor": (whole + whole.swapaxes(0, 1))[:, i, j] / 2}


def column_major(held: Inputs, out: Outputs) -> Outputs:
    """Pack the lower triangle by columns, which is the upper one by rows."""
    whole = unpack(out["tensor"])
    i, j = np.triu_indices(whole.shape[-1])
    return {"tensor": whole[:, i, j]}


# ---- the form


def form_by(on_diagonal: int, beside: int) -> Wrong:
    """Weight the products of coordinates otherwise than 1 and 2."""

    def answer(held: Inputs) -> Outputs:
        x = held["x"]
        i, j = pair_indices(x.shape[-1])
        weights = np.where(i == j, on_diagonal, beside).astype(x.dtype)
        return {"y": (weights * x[..., i] * x[..., j]) @ held["tensor"].T}

    return lambda run: answer


def pair_index_32_bit(i: Array, j: Array) -> Array:
    """Return `i (i + 1) / 2 + j` in 32 bits: wrong from i = 46341 on, which no vector can reach.

    Examples
    --------
    >>> pair_index_32_bit(np.array([2, 46341]), np.array([1, 0]))
    array([          4, -1073716337], dtype=int32)
    """
    row = i.astype(np.int32)
    return row * (row + 1) // 2 + j.astype(np.int32)


def index_32_bit(held: Inputs) -> Inputs:
    """Fetch packed numbers from where `pair_index_32_bit` says they stand."""
    places = pair_index_32_bit(*pair_indices(held["x"].shape[-1]))
    return {"tensor": held["tensor"][:, places]}


TENSOR: dict[str, Wrong] = {
    "tensor.no_half": entries_by(lambda li, lj, ri, rj: li * rj + lj * ri),
    "tensor.not_symmetrised": entries_by(lambda li, lj, ri, rj: li * rj),
    "tensor.antisymmetric": entries_by(lambda li, lj, ri, rj: (li * rj - lj * ri) / 2),
    "tensor.symmetrised_over_output": after(over_output),
    "tensor.left_twice": before(lambda held: {"w_right": held["w_left"]}),
    "tensor.w_out_transposed": each(transposed, "w_out"),
    "tensor.diagonal_halved": where(diagonal, lambda b: b / 2),
    "tensor.diagonal_doubled": where(diagonal, lambda b: 2 * b),
    "tensor.output_axis_last": after(lambda held, out: {"tensor": transposed(out["tensor"])}),
    "tensor.linear_missing": where_linear(lambda b: 0),
    "tensor.linear_not_halved": where_linear(lambda b: 2 * b),
    "tensor.constant_missing": after(constant_missing),
    "packed.column_major": after(column_major),
    "packed.root_two": where(off_diagonal, lambda b: b * math.sqrt(2)),
}

MATRIX: dict[str, Wrong] = {
    "tensor.one_triangle": after(lambda held, out: {"matrix": np.tril(out["matrix"])}),
    "packed.wrong_triangle": after(lambda held, out: {"matrix": np.triu(np.tril(out["matrix"]))}),
    "matrix.magnitude_of_u": each(abs, "u"),
    "spectrum.one_output": each(lambda u: 0 * u + (np.arange(len(u)) == 0), "u"),
    "spectrum.summed_over_outputs": each(lambda u: 0 * u + u.sum(), "u"),
}

FORM: dict[str, Wrong] = {
    "packed.not_doubled": form_by(1, 1),
    "packed.diagonal_doubled_too": form_by(2, 2),
    "packed.index_32_bit": before(index_32_bit),
}
