"""Mistakes of a layer's forward and backward pass."""

import time
from collections.abc import Callable

import numpy as np

from refbilinear.oracle.agreement import layer_of
from refbilinear.oracle.answers import Inputs, Outputs, Run, by_name
from refbilinear.oracle.wrong import Wrong, after, before, each, transposed
from refbilinear.spec.arrays import Array, affine
from refbilinear.spec.layer import BilinearLayer, Projections, backward, combine, project

WEIGHTS = ("w_left", "w_right", "w_out", "w_skip")
FACTORS = ("w_left", "w_right", "b_left", "b_right")
BIASES = {"b_left": "b_right", "b_right": "b_left"}
LANES = 8
TF32_BITS = 11
PAUSE = 1e-5

Factor = tuple[Array, Array | int]


# ---- parameters of the layer, wrong before the pass


def biases_swapped(run: Run) -> Run:
    """Add to each factor the bias of the other, or none."""
    return lambda held: run({BIASES.get(name, name): one for name, one in held.items()})


def interleaved(held: Inputs) -> Inputs:
    """Take even rows of fused weights and biases for the left half, odd rows for the right."""
    found: Inputs = {}
    for left, right in (("w_left", "w_right"), ("b_left", "b_right")):
        if left in held and right in held:
            fused = np.concatenate([held[left], held[right]])
            found |= {left: fused[0::2], right: fused[1::2]}
    return found


def fortran_order(w: Array) -> Array:
    """Return what a buffer in C order holds, read by columns."""
    return w.ravel().reshape(w.shape, order="F")


def first_units(count: Callable[[BilinearLayer], int]) -> Wrong:
    """Loop over the first `count(layer)` hidden units: the others contribute nothing."""

    def change(held: Inputs) -> Inputs:
        found = {name: held[name].copy() for name in FACTORS if name in held}
        for one in found.values():
            one[count(layer_of(held)) :] = 0
        return found

    return before(change)


def up_to_inputs(layer: BilinearLayer) -> int:
    """Return d_in; above d_hidden the loop reads memory that is not the layer's."""
    if layer.d_in > layer.d_hidden:
        raise NotImplementedError("a loop beyond the hidden units reads foreign memory")
    return layer.d_in


# ---- the formula


def product_by(product: Callable[[Factor, Factor], Array]) -> Wrong:
    """Combine the two factors, each given as `(w x, b)`, by another product."""

    def answer(held: Inputs) -> Outputs:
        layer, x = layer_of(held), held["x"]
        left, right = x @ layer.w_left.T, x @ layer.w_right.T
        hidden = product((left, held.get("b_left", 0)), (right, held.get("b_right", 0)))
        y = affine(hidden, layer.w_out, layer.b_out)
        return {"y": y if layer.w_skip is None else y + x @ layer.w_skip.T}

    return lambda run: answer


def gate(a: Array) -> Array:
    """Return max(a, 0)."""
    return np.maximum(a, 0)


# ---- precision


def single(run: Run) -> Run:
    """Compute in float32, whatever comes in and goes out."""

    def answer(held: Inputs) -> Outputs:
        found = run({name: one.astype(np.float32) for name, one in held.items()})
        return {name: one.astype(held["x"].dtype) for name, one in found.items()}

    return answer


def tf32(a: Array) -> Array:
    """Return numbers rounded to 11 bits, as the tensor cores of a GPU round their operands."""
    mantissa, exponent = np.frexp(a)
    whole = np.round(np.ldexp(mantissa, TF32_BITS))
    rounded: Array = np.ldexp(whole, exponent - TF32_BITS)
    return rounded


def coarse_operands(run: Run) -> Run:
    """Round both operands of every matrix product, and no sum."""

    def times(x: Array, w: Array | None, b: Array | None) -> Array:
        return affine(x, w, b) if w is None else affine(tf32(x), tf32(w), b)

    def answer(held: Inputs) -> Outputs:
        layer, x = layer_of(held), held["x"]
        left, right = times(x, layer.w_left, layer.b_left), times(x, layer.w_right, layer.b_right)
        y = times(left * right, layer.w_out, layer.b_out)
        return {"y": y if layer.w_skip is None else y + times(x, layer.w_skip, None)}

    return answer


# ---- NaN, infinities, empty sizes


def nan_for_zero(array: Array) -> Array:
    """Count a NaN as 0, as a sum does that leaves NaN out."""
    return np.where(np.isnan(array), array.dtype.type(0), array)


def inf_cancels(held: Inputs, out: Outputs) -> Outputs:
    """Count as 0 a NaN that came of Inf - Inf or 0 Inf, no input being NaN."""
    if any(np.isnan(one).any() for one in held.values()):
        return {}
    return {"y": nan_for_zero(out["y"])}


def zeros_where_empty(held: Inputs, out: Outputs) -> Outputs:
    """Return early where no weight is, and forget what biases and skip path still add."""
    return {} if held["w_left"].size else {"y": 0 * out["y"]}


# ---- memory


def input_overwritten(run: Run) -> Run:
    """Take the buffer of x for the result."""

    def answer(held: Inputs) -> Outputs:
        x, y = held["x"], run(held)["y"]
        width = min(x.shape[-1], y.shape[-1])
        x[..., :width] = y[..., :width]
        return {"y": y}

    return answer


def as_if_contiguous(array: Array) -> Array:
    """Return what stands in memory from the lowest address on, whatever the strides.

    Of an array whose entries share memory, as broadcast ones do, the array itself.
    """
    extent = sum((n - 1) * abs(step) for n, step in zip(array.shape, array.strides, strict=True))
    if array.flags.c_contiguous or extent + array.itemsize < array.nbytes:
        return array
    forwards = array[tuple(slice(None, None, -1 if step < 0 else 1) for step in array.strides)]
    strides = np.empty(array.shape, array.dtype).strides
    return np.lib.stride_tricks.as_strided(forwards, strides=strides, writeable=False)


def as_if_aligned(array: Array) -> Array:
    """Return the bytes from the aligned address below on, in the order of the machine."""
    beyond = array.__array_interface__["data"][0] % array.itemsize
    memory = np.roll(array.ravel().view(np.uint8), beyond)
    return memory.view(array.dtype.newbyteorder("=")).reshape(array.shape)


def race(run: Run) -> Run:
    """Form the product in a buffer that all threads share, and pause after each factor."""
    shared: dict[tuple[int, ...], Array] = {}

    def answer(held: Inputs) -> Outputs:
        layer, x = layer_of(held), held["x"]
        ones = np.ones((len(x), layer.d_hidden), x.dtype)
        hidden = shared.setdefault((*ones.shape, x.itemsize), ones.copy())
        hidden[...] = ones
        for factor in project(layer, x):
            hidden *= factor
            time.sleep(PAUSE)
        return {"y": combine(layer, x, Projections(hidden, ones))}

    return answer


# ---- gradients


def _halves(held: Inputs) -> tuple[BilinearLayer, Array, Array, Array]:
    """Return the layer, ∂L/∂(a ⊙ b) and the two factors a and b."""
    layer = layer_of(held)
    ds = held["dy"] if layer.w_out is None else held["dy"] @ layer.w_out
    return layer, ds, *project(layer, held["x"])


def one_term(held: Inputs, out: Outputs) -> Outputs:
    """Leave out of the gradient of x what comes through the right factor."""
    layer, ds, a, _ = _halves(held)
    return {"x": out["x"] - (ds * a) @ layer.w_right}


def left_for_right(held: Inputs, out: Outputs) -> Outputs:
    """Compute `∂a = s ⊙ a`, and what follows from it."""
    layer, _, a, _ = _halves(held)
    found = by_name(backward(layer, held["x"], held["dy"], Projections(a, a)))
    return {name: one for name, one in found.items() if name != "w_out"}


def last_row_dropped(dy: Array) -> Array:
    """Return a gradient in which the last example does not count."""
    return np.concatenate([dy[:-1], 0 * dy[-1:]])


def accumulated(run: Run) -> Run:
    """Add gradients to those of the call before that had these shapes."""
    total: dict[tuple[object, ...], Outputs] = {}

    def answer(held: Inputs) -> Outputs:
        found = run(held)
        key = tuple((name, one.shape, one.dtype) for name, one in found.items())
        before_this = total.get(key, {})
        total[key] = {name: one + before_this.get(name, 0) for name, one in found.items()}
        return total[key]

    return answer


def stale(run: Run) -> Run:
    """Use the factors of the first call with these shapes ever after."""
    kept: dict[tuple[object, ...], Projections] = {}

    def answer(held: Inputs) -> Outputs:
        layer, x = layer_of(held), held["x"]
        key = tuple((name, one.shape, one.dtype) for name, one in held.items())
        return by_name(backward(layer, x, held["dy"], kept.setdefault(key, project(layer, x))))

    return answer


SHARED: dict[str, Wrong] = {
    "forward.biases_swapped": biases_swapped,
    "forward.right_bias_dropped": each(np.zeros_like, "b_right"),
    "forward.output_bias_dropped": each(np.zeros_like, "b_out"),
    "forward.w_out_transposed": each(transposed, "w_out"),
    "forward.w_left_transposed": each(transposed, "w_left"),
    "forward.interleaved": before(interleaved),
    "forward.left_twice": before(lambda held: {"w_right": held["w_left"]}),
    "forward.last_unit_skipped": first_units(lambda layer: layer.d_hidden - 1),
    "forward.hidden_loop_to_d_in": first_units(up_to_inputs),
    "forward.fortran_order": each(fortran_order, *WEIGHTS),
    "forward.simd_tail_dropped": first_units(lambda layer: layer.d_hidden // LANES * LANES),
}
"""Mistakes in a layer's parameters: they show in whatever is made of the layer."""

FORWARD: dict[str, Wrong] = SHARED | {
    "forward.biases_after_product": product_by(lambda a, b: a[0] * b[0] + a[1] + b[1]),
    "forward.cross_terms_dropped": product_by(lambda a, b: a[0] * b[0] + a[1] * b[1]),
    "forward.sum_for_product": product_by(lambda a, b: a[0] + a[1] + b[0] + b[1]),
    "forward.gate_left_on": product_by(lambda a, b: gate(a[0] + a[1]) * (b[0] + b[1])),
    "forward.halves_swapped": product_by(lambda a, b: (a[0] + a[1]) * gate(b[0] + b[1])),
    "forward.first_row_broadcast": each(lambda x: np.broadcast_to(x[:1], x.shape), "x"),
    "forward.outputs_reversed": after(lambda held, out: {"y": out["y"][..., ::-1]}),
    "forward.float32_accumulation": single,
    "forward.coarse_operands": coarse_operands,
    "forward.input_overwritten": input_overwritten,
    "run.nan_swallowed": lambda run: (
        lambda held: run({n: nan_for_zero(a) for n, a in held.items()})
    ),
    "run.inf_cancels": after(inf_cancels),
    "run.empty": after(zeros_where_empty),
    "run.layout": each(as_if_contiguous, "x"),
    "run.alignment": each(as_if_aligned, "x"),
    "run.race": race,
}

BACKWARD: dict[str, Wrong] = {
    "backward.one_term": after(one_term),
    "backward.left_right_swapped": after(
        lambda held, out: {"w_left": out["w_right"], "w_right": out["w_left"]}
    ),
    "backward.left_for_right": after(left_for_right),
    "backward.bias_of_factor_missing": each(np.zeros_like, "b_left", "b_right"),
    "backward.sign": after(lambda held, out: {"w_right": -out["w_right"]}),
    "backward.bias_missing": after(
        lambda held, out: {"b_right": 0 * out["b_right"]} if "b_right" in out else {}
    ),
    "backward.w_out_transposed": after(
        lambda held, out: {"w_out": transposed(out["w_out"])} if "w_out" in out else {}
    ),
    "backward.last_row_dropped": each(last_row_dropped, "dy"),
    "backward.accumulated": accumulated,
    "backward.stale": stale,
}
