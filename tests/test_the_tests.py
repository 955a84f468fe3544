"""The laws bite: every planted mistake breaks the law that is there for it.

The numbers are those of the catalogue of mistakes (the design of the oracle, section 8).
"""

from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

import laws
import refbilinear
from refbilinear import AdamWState, BilinearLayer, BilinearMLP, Loss, pack
from refbilinear.analysis import eigenpairs
from refbilinear.analysis.eigenpairs import Spectrum
from refbilinear.oracle import twins
from strategies import FLOATS, OPTIONAL, random_array, random_layer

# ---- fixed cases, all sizes distinct, every optional parameter there


def rng(seed=0):
    return np.random.default_rng(seed)


def drawn(shape, seed=0, dtype=object):
    return random_array(rng(seed), shape, dtype)


FULL = random_layer(rng(1))
BARE = random_layer(rng(2), ("w_out",))
X, DY, U = drawn((4, 3), 3), drawn((4, 2), 4), drawn((2,), 5)
TENSOR, Z = drawn((2, 6), 6), drawn((4, 3), 7)
SQUARE = random_layer(rng(8), OPTIONAL, (3, 5, 3))
SQUARE_MODEL = BilinearMLP(drawn((3, 3), 9), [SQUARE], drawn((3, 3), 10), residual=True)
DEEP = BilinearMLP(drawn((2, 3), 11), [random_layer(rng(12), OPTIONAL, (2, 3, 2))] * 2, None, True)
BASIS = laws.dyadic_basis([np.array([1, -1, 0, 1, 1]), np.array([0, 1, 1, 0, 0])], 5)
KNOWN = [5, -7, 2, -2, 1]
TIED = [2, 2, -2, 0, 1]
MATRIX = laws.float_matrix(KNOWN, BASIS)
ROUGH = refbilinear.symmetric_part(rng(30).standard_normal((5, 5)))
LOGITS = np.array([[1, 2, -3], [0.5, -1, 4], [2, 2, 1], [-1, 0, 3]])
LABELS = np.array([0, 1, 2, 2])
STATE = (
    np.array([1.5, -2, 0.75]), np.array([1e-8, -2e-8, 3.0]),
    np.array([2e-8, 1e-8, -1.0]), np.array([1e-16, 3e-16, 2.0]),
)  # fmt: skip


def floats(dtype, seed):
    layer = random_layer(rng(seed), sizes=(7, 5, 3), dtype=dtype)
    return layer, drawn((4, 7), seed + 1, dtype), drawn((4, 3), seed + 2, dtype)


FLOAT = {dtype: floats(dtype, 20) for dtype in FLOATS}

CASES = {
    laws.forward_is_the_definition: [(FULL, X), (BARE, X)],
    laws.form_equals_forward: [(FULL, X), (BARE, X)],
    laws.swap_changes_nothing: [(FULL, X)],
    laws.gauge_changes_nothing: [(FULL, X, drawn((5,), 13), drawn((5,), 14))],
    laws.unit_order_changes_nothing: [(FULL, X)],
    laws.outputs_permute: [(random_layer(rng(1), OPTIONAL, (3, 5, 4)), X)],
    laws.inputs_permute: [(FULL, X)],
    laws.linear_in_the_output_weights: [(FULL, X, drawn((2, 5), 15))],
    laws.hidden_blocks_add: [(FULL, X)],
    laws.zero_unit_changes_nothing: [(FULL, X)],
    laws.split_unit_changes_nothing: [(FULL, X)],
    laws.batch_is_a_stack: [(FULL, X)],
    laws.second_differences_are_constant: [(FULL, X, drawn((3,), 16))],
    laws.tensor_is_the_definition: [(FULL,), (BARE,)],
    laws.forms_agree: [(FULL, X, U), (BARE, X, U)],
    laws.linear_in_the_direction: [(FULL, U, drawn((2,), 17))],
    laws.polarisation: [(TENSOR, X, Z)],
    laws.quadratic_form_is_the_definition: [(TENSOR, X)],
    laws.tensor_gradient_is_the_differences: [(TENSOR, X, DY)],
    laws.packing_is_the_order: [(np.arange(20.0).reshape(2, 10),)],
    laws.backward_is_the_differences: [(FULL, X, DY)],
    laws.gauge_of_the_gradient: [(FULL, X, DY)],
    laws.fold_is_the_model: [(SQUARE_MODEL, X)],
    laws.mlp_is_its_layers: [(DEEP, X)],
    laws.mlp_backward_is_the_differences: [(DEEP, X, drawn((4, 2), 18))],
    laws.squared_error_is_the_definition: [(X, Z)],
    laws.cross_entropy_is_the_decimal: [(LOGITS, LABELS), (LOGITS * 1e4, LABELS)],
    laws.adamw_is_the_decimal: [(*STATE, 3)],
    laws.eigenpairs_are_accurate: [(MATRIX,), (ROUGH,)],
    laws.eigenvalues_keep_trace_and_norm: [(MATRIX,), (ROUGH,)],
    laws.pairs_are_in_order: [(MATRIX,)],
    laws.spectrum_is_known: [(KNOWN, BASIS), (TIED, BASIS)],
    laws.truncation_is_the_best: [(KNOWN, BASIS), (TIED, BASIS)],
    laws.contributions_sum_to_the_form: [(MATRIX, np.arange(1.0, 6))],
    laws.asymmetry_is_refused: [(MATRIX,)],
    laws.forward_is_in_bound: [FLOAT[dtype][:2] for dtype in FLOATS],
    laws.backward_is_in_bound: [FLOAT[dtype] for dtype in FLOATS],
    laws.tensor_is_in_bound: [FLOAT[dtype][:1] for dtype in FLOATS],
    laws.nan_stays_in_its_row: [(*FLOAT[dtype][:2], np.nan) for dtype in FLOATS],
    laws.inputs_are_left_alone: [FLOAT[dtype] for dtype in FLOATS],
    laws.without_hidden_units: [(random_layer(rng(19), OPTIONAL, (3, 0, 2)), X)],
}


def check(law, of):
    for case in CASES[law]:
        law(of, *case)


@pytest.mark.parametrize("law", CASES, ids=lambda law: law.__name__)
def test_the_package_obeys(law):
    check(law, laws.package())


# ---- mistakes of a forward pass


def forward_of(change):
    """Return the forward pass of a changed layer."""
    return lambda layer, x: refbilinear.forward(replace(layer, **change(layer)), x)


def forward_by(combine):
    """Return a forward pass from `combine(layer, x, left, right)`, without biases before it."""

    def forward(layer, x):
        y = combine(layer, x, x @ layer.w_left.T, x @ layer.w_right.T)
        y = y if layer.w_out is None else y @ layer.w_out.T
        y = y if layer.b_out is None else y + layer.b_out
        return y if layer.w_skip is None else y + x @ layer.w_skip.T

    return forward


def bias(b):
    return 0 if b is None else b


def transposed(w):
    """Return a matrix of the same shape read from the transposed buffer."""
    return w.T.reshape(w.shape)


def interleaved(layer):
    fused = np.concatenate([layer.w_left, layer.w_right])
    return {"w_left": fused[0::2], "w_right": fused[1::2]}


def first_units(layer, count):
    y = laws.units(laws.with_out(layer), slice(0, count))
    return {name: getattr(y, name) for name in ("w_left", "w_right", "w_out", "b_left", "b_right")}


def gated(layer, x, left, right):
    a, b = left + bias(layer.b_left), right + bias(layer.b_right)
    return np.where(a > 0, a, 0 * a) * b


def single_precision(layer, x):
    values = {n: w.astype(np.float32) for n, w in refbilinear.parameters(layer).items()}
    return refbilinear.forward(BilinearLayer(**values), x.astype(np.float32)).astype(x.dtype)


def coarse(array):
    """Return float32 numbers with the mantissa of bfloat16."""
    single = np.asarray(array, np.float32)
    return (single.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(array.dtype)


def overwriting(layer, x):
    y = refbilinear.forward(layer, x)
    x *= 2
    return y


FORWARD = {
    "1 biases swapped": forward_of(lambda one: {"b_left": one.b_right, "b_right": one.b_left}),
    "2 biases after the product": forward_by(
        lambda layer, x, a, b: a * b + bias(layer.b_left) + bias(layer.b_right)
    ),
    "3 cross terms of the biases dropped": forward_by(
        lambda layer, x, a, b: a * b + bias(layer.b_left) * bias(layer.b_right)
    ),
    "4 second bias dropped": forward_of(lambda one: {"b_right": None}),
    "5 output bias dropped": forward_of(lambda one: {"b_out": None}),
    "5 skip dropped": forward_of(lambda one: {"w_skip": None}),
    "6 output weights transposed": forward_of(lambda one: {"w_out": transposed(one.w_out)}),
    "7 left weights transposed": forward_of(lambda one: {"w_left": transposed(one.w_left)}),
    "8 fused weight read interleaved": forward_of(interleaved),
    "10 gate left on": forward_by(gated),
    "11 left weights used twice": forward_of(lambda one: {"w_right": one.w_left}),
    "12 sum for product": forward_by(
        lambda layer, x, a, b: a + bias(layer.b_left) + b + bias(layer.b_right)
    ),
    "13 last hidden unit skipped": forward_of(lambda one: first_units(one, one.d_hidden - 1)),
    "14 hidden loop runs to d_in": forward_of(lambda one: first_units(one, one.d_in)),
    "15 buffer read in Fortran order": forward_of(
        lambda one: {"w_left": one.w_left.ravel().reshape(one.w_left.shape, order="F")}
    ),
    "18 first row for the whole batch": lambda layer, x: refbilinear.forward(
        layer, np.broadcast_to(x[:1], x.shape) if x.ndim > 1 else x
    ),
    "19 outputs reversed": lambda layer, x: refbilinear.forward(layer, x)[:, ::-1],
    "floats leak": lambda layer, x: refbilinear.forward(layer, x).astype(float),
}


# ---- mistakes of a tensor


def tensor_by(product):
    """Return a tensor whose pairs are `product(left_i, left_j, right_i, right_j)`, by columns."""

    def interaction_tensor(layer):
        left, right = layer.w_left, layer.w_right
        d = refbilinear.dimension(refbilinear.interaction_tensor(layer).shape[1])
        if layer.has_constant:
            left, right = np.c_[left, layer.b_left], np.c_[right, layer.b_right]
        i, j = np.tril_indices(d)
        tensor = layer.w_out @ product(left[:, i], left[:, j], right[:, i], right[:, j])
        if layer.has_constant:
            tensor[:, -d:-1] += layer.w_skip / 2
            tensor[:, -1] += layer.b_out
        return tensor

    return interaction_tensor


def tensor_of(change):
    return lambda layer: refbilinear.interaction_tensor(replace(layer, **change(layer)))


def scaled_tensor(*, diagonal=1, linear=1, corner=1):
    def interaction_tensor(layer):
        tensor = refbilinear.interaction_tensor(layer)
        d = refbilinear.dimension(tensor.shape[1])
        i, j = np.tril_indices(d)
        tensor = tensor * np.where(i == j, Fraction(diagonal), 1)
        if layer.has_constant:
            tensor[:, -d:-1] *= linear
            tensor[:, -1] *= corner
        return tensor

    return interaction_tensor


TENSORS = {
    "22 no half": lambda layer: 2 * refbilinear.interaction_tensor(layer),
    "23 not symmetrised": tensor_by(lambda li, lj, ri, rj: li * rj),
    "25 left weights twice": tensor_by(lambda li, lj, ri, rj: li * lj),
    "26 output weights transposed": tensor_of(lambda one: {"w_out": transposed(one.w_out)}),
    "27 diagonal halved": scaled_tensor(diagonal=Fraction(1, 2)),
    "28 diagonal doubled": scaled_tensor(diagonal=2),
    "30 antisymmetric part": tensor_by(lambda li, lj, ri, rj: (li * rj - lj * ri) / 2),
    "31 output axis last": lambda layer: transposed(refbilinear.interaction_tensor(layer)),
    "32 bias block missing": scaled_tensor(linear=0),
    "33 bias block not halved": scaled_tensor(linear=2),
    "34 constant of the biases missing": tensor_of(
        lambda one: {
            "b_out": None
            if one.b_out is None
            else one.b_out - one.w_out @ (one.b_left * one.b_right)
        }
    ),
    "34 output bias missing": tensor_of(lambda one: {"b_out": None}),
}


def packed_columns(packed):
    """Read the packed numbers as the lower triangle by columns."""
    d = refbilinear.dimension(packed.shape[-1])
    whole = refbilinear.unpack(packed) * 0
    j, i = np.triu_indices(d)
    whole[..., i, j] = whole[..., j, i] = packed
    return whole


def lower_only(packed):
    return np.tril(refbilinear.unpack(packed))


def root_two(matrices):
    i, j = np.tril_indices(matrices.shape[-1])
    return pack(matrices) * np.where(i == j, 1, np.sqrt(2))


def weighted_form(*, diagonal, other):
    def quadratic_form(tensor, x):
        i, j = np.tril_indices(x.shape[-1])
        return (x[..., i] * x[..., j] * np.where(i == j, diagonal, other)) @ tensor.T

    return quadratic_form


# ---- mistakes of a spectrum


def reordered(order):
    def eigendecompose(matrix, k=None):
        values, vectors = eigenpairs.eigendecompose(matrix)
        chosen = order(values)[: len(values) if k is None else k]
        return Spectrum(values[chosen], vectors[:, chosen])

    return eigendecompose


def respectrum(change):
    def eigendecompose(matrix, k=None):
        return Spectrum(*change(*eigenpairs.eigendecompose(matrix, k)))

    return eigendecompose


def single_solver(matrix, k=None):
    pairs = eigenpairs.eigendecompose(matrix.astype(np.float32), k)
    return Spectrum(*(part.astype(np.float64) for part in pairs))


def duplicated(values, vectors):
    return values, vectors[:, [0, *range(vectors.shape[1] - 1)]]


def one_triangle(matrix, k=None):
    values, vectors = np.linalg.eigh(matrix)
    return Spectrum(values, vectors)


def truncated(choose, weight=lambda values: values):
    def reconstruct(pairs, k=None):
        values, vectors = pairs
        index = choose(values, len(values) if k is None else k)
        columns = vectors[:, index]
        return refbilinear.symmetric_part((columns * weight(values[index])) @ columns.T)

    return reconstruct


def leading(values, k):
    return np.arange(len(values))[:k]


SPECTRA = {
    "43 sorted by value": ("pairs_are_in_order", reordered(lambda v: np.argsort(-v))),
    "44 ascending magnitude": ("pairs_are_in_order", reordered(lambda v: np.argsort(abs(v)))),
    "45 vectors as rows": ("eigenpairs_are_accurate", respectrum(lambda v, x: (v, x.T))),
    "46 values permuted alone": (
        "eigenpairs_are_accurate", respectrum(lambda v, x: (np.roll(v, 1), x))
    ),
    "47 singular values": ("eigenpairs_are_accurate", respectrum(lambda v, x: (abs(v), x))),
    "47 singular values, traced": (
        "eigenvalues_keep_trace_and_norm", respectrum(lambda v, x: (abs(v), x))
    ),
    "48 not normalised": ("eigenpairs_are_accurate", respectrum(lambda v, x: (v, 2 * x))),
    "49 float32 solver": ("eigenpairs_are_accurate", single_solver),
    "50 duplicated vector": ("eigenpairs_are_accurate", respectrum(duplicated)),
    "51 one triangle read": ("asymmetry_is_refused", one_triangle),
    "53 shifted by 1e-9": ("eigenpairs_are_accurate", respectrum(lambda v, x: (v + 1e-9, x))),
    "53 shifted, known": ("spectrum_is_known", respectrum(lambda v, x: (v + 1e-9, x))),
    "signs left free": ("pairs_are_in_order", respectrum(lambda v, x: (v, -x))),
    "k ignored": ("pairs_are_in_order", lambda matrix, k=None: eigenpairs.eigendecompose(matrix)),
}  # fmt: skip
TRUNCATIONS = {
    "56 wrong end kept": truncated(lambda v, k: np.arange(len(v))[len(v) - k :]),
    "57 top by value": truncated(lambda v, k: np.argsort(-v)[:k]),
    "58 k off by one": truncated(lambda v, k: leading(v, k + 1)),
    "59 magnitudes in the sum": truncated(leading, abs),
    "60 positive part only": truncated(lambda v, k: leading(v, k)[v[:k] > 0]),
    "61 tail of squares": truncated(leading, lambda v: v * v),
}


def plain_contributions(pairs, x):
    return pairs.eigenvalues * (x @ pairs.eigenvectors)


# ---- mistakes of a gradient


def gradients_by(change):
    def backward(layer, x, dy):
        gradients = refbilinear.backward(layer, x, dy)
        return gradients._replace(**change(layer, x, dy, gradients))

    return backward


def hidden(layer, x, dy):
    """Return s and the two factors with their biases."""
    return dy @ layer.w_out, *refbilinear.project(layer, x)


def one_term(layer, x, dy, gradients):
    s, _, b = hidden(layer, x, dy)
    return {"x": (s * b) @ layer.w_left + dy @ layer.w_skip}


def left_for_right(layer, x, dy, gradients):
    s, a, _ = hidden(layer, x, dy)
    return {"w_left": (s * a).T @ x}


def right_without_bias(layer, x, dy, gradients):
    s, _, b = hidden(layer, x, dy)
    return {"w_left": (s * (b - layer.b_right)).T @ x}


def last_row_dropped(layer, x, dy, gradients):
    return {"w_out": refbilinear.backward(layer, x[:-1], dy[:-1]).w_out}


GRADIENTS = {
    "71 one term of the product rule": gradients_by(one_term),
    "72 left and right swapped": gradients_by(
        lambda layer, x, dy, g: {"w_left": g.w_right, "w_right": g.w_left}
    ),
    "73 left factor for the right": gradients_by(left_for_right),
    "74 right factor without its bias": gradients_by(right_without_bias),
    "75 sign": gradients_by(lambda layer, x, dy, g: {"w_right": -g.w_right}),
    "76 bias gradient missing": gradients_by(lambda layer, x, dy, g: {"b_right": 0 * g.b_right}),
    "76 bias gradient None": gradients_by(lambda layer, x, dy, g: {"b_left": None}),
    "77 output gradient transposed": gradients_by(
        lambda layer, x, dy, g: {"w_out": transposed(g.w_out)}
    ),
    "78 last row dropped": gradients_by(last_row_dropped),
    "skip gradient forgotten in x": gradients_by(
        lambda layer, x, dy, g: {"x": g.x - dy @ layer.w_skip}
    ),
}
GAUGED = ("71", "75", "72", "73", "74", "76 bias gradient missing", "77", "78")


def doubled_off_diagonal(x, dy):
    i, j = np.tril_indices(x.shape[1])
    return refbilinear.tensor_gradient(x, dy) * np.where(i == j, 1, 2)


def without_residual(model, x, dy):
    return refbilinear.mlp_backward(replace(model, residual=False), x, dy)


def stale_head(model, x, dy):
    gradients = refbilinear.mlp_backward(model, x, dy)
    return gradients._replace(layers=gradients.layers[::-1])


# ---- mistakes of a loss and of the optimiser


def loss_of(value=1, dy=1):
    def squared_error(y, t):
        loss = refbilinear.squared_error(y, t)
        return Loss(loss.value * value, loss.dy * dy)

    return squared_error


def entropy_of(change):
    return lambda y, labels: Loss(*change(y, labels, *refbilinear.cross_entropy(y, labels)))


def unshifted(y, labels):
    with np.errstate(all="ignore"):
        powers = np.exp(y)
        totals = powers.sum(axis=1)
        value = (np.log(totals) - y[np.arange(len(y)), labels]).mean()
        dy = powers / totals[:, None]
    dy[np.arange(len(y)), labels] -= 1
    return Loss(value, dy / len(y))


def shift_kept(y, labels, value, dy):
    return value - y.max(axis=1).mean(), dy


def over_the_batch(y, labels, value, dy):
    powers = np.exp(y - y.max(axis=0))
    shares = powers / powers.sum(axis=0)
    return value, (shares - np.eye(y.shape[1])[labels]) / len(y)


ENTROPIES = {
    "67 sum for mean": entropy_of(lambda y, labels, value, dy: (value * len(y), dy * len(y))),
    "69 mean over outputs": entropy_of(lambda y, k, v, dy: (v, dy * len(y) / y.shape[1])),
    "91 no shift": unshifted,
    "92 shift not undone": entropy_of(shift_kept),
    "93 labels off by one": lambda y, labels: refbilinear.cross_entropy(y, (labels + 1) % 3),
    "94 softmax over the batch": entropy_of(over_the_batch),
    "95 logarithm of base 2": entropy_of(lambda y, k, v, dy: (v / np.log(2), dy)),
    "75 sign of the gradient": entropy_of(lambda y, labels, value, dy: (value, -dy)),
}


def adamw_by(step):
    """Return AdamW with a step of one's own: `step(theta, m, v, c1, c2, rate, decay, eps)`."""

    def adamw(theta, g, m, v, t, *, learning_rate, weight_decay, beta1, beta2, epsilon):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        c1, c2 = 1 - beta1**t, 1 - beta2**t
        moved = step(theta, m, v, c1, c2, learning_rate, weight_decay, epsilon)
        return AdamWState(moved, m, v)

    return adamw


def adamw_of(change):
    """Return AdamW of changed arguments."""

    def adamw(theta, g, m, v, t, **settings):
        arguments = {"theta": theta, "g": g, "m": m, "v": v, "t": t} | settings
        return refbilinear.adamw(**arguments | change(arguments))

    return adamw


def momentum_sign(theta, g, m, v, t, **settings):
    return refbilinear.adamw(theta, g, -m, v, t, **settings)


def second_moment_of_g(theta, g, m, v, t, **settings):
    root = np.sqrt(abs(g))
    return refbilinear.adamw(theta, g, m, v, t, **settings)._replace(
        v=refbilinear.adamw(theta, root, m, v, t, **settings).v
    )


STEPS = {
    "81 coupled decay": adamw_of(
        lambda a: {"g": a["g"] + a["weight_decay"] * a["theta"], "weight_decay": 0.0}
    ),
    "82 no bias correction": adamw_by(
        lambda p, m, v, c1, c2, rate, decay, eps: (
            p * (1 - rate * decay) - rate * m / (np.sqrt(v) + eps)
        )
    ),
    "83 epsilon inside the root": adamw_by(
        lambda p, m, v, c1, c2, rate, decay, eps: (
            p * (1 - rate * decay) - rate * (m / c1) / np.sqrt(v / c2 + eps)
        )
    ),
    "84 epsilon before the correction": adamw_by(
        lambda p, m, v, c1, c2, rate, decay, eps: (
            p * (1 - rate * decay) - rate * (m / c1) / ((np.sqrt(v) + eps) / np.sqrt(c2))
        )
    ),
    "85 decay not scaled": adamw_by(
        lambda p, m, v, c1, c2, rate, decay, eps: (
            p * (1 - decay) - rate * (m / c1) / (np.sqrt(v / c2) + eps)
        )
    ),
    "86 decay after the step": adamw_by(
        lambda p, m, v, c1, c2, rate, decay, eps: (
            (p - rate * (m / c1) / (np.sqrt(v / c2) + eps)) * (1 - rate * decay)
        )
    ),
    "87 t off by one": adamw_of(lambda a: {"t": a["t"] + 1}),
    "88 second moment of g": second_moment_of_g,
    "90 sign of the momentum": momentum_sign,
}


# ---- mistakes of folding


def fold_of(change):
    """Return folding with parameters of the folded layer changed."""

    def fold(model):
        folded = refbilinear.fold(model)
        return replace(folded, **change(model, model.layers[0], folded))

    return fold


def wrong_skip(path):
    """Return folding whose skip path is `path(head, skip, embed, identity)`."""
    eye = laws.exact(np.eye(3))
    return fold_of(
        lambda model, layer, folded: {
            "w_skip": path(model.w_head, layer.w_skip, model.w_embed, eye)
        }
    )


FOLDS = {
    "36 head forgotten": fold_of(lambda model, layer, folded: {"w_out": layer.w_out}),
    "102 biases halved": fold_of(lambda model, layer, folded: {"b_left": layer.b_left / 2}),
    "103 folded weight transposed": fold_of(
        lambda model, layer, folded: {"w_left": layer.w_left @ model.w_embed.T}
    ),
    "106 embedding in the left only": fold_of(
        lambda model, layer, folded: {"w_right": layer.w_right}
    ),
    "107 head before the bias": fold_of(lambda model, layer, folded: {"b_out": layer.b_out}),
    "108 residual without the embedding": wrong_skip(lambda H, S, E, eye: H @ S @ E + H),
    "109 head on the skip twice": wrong_skip(lambda H, S, E, eye: H @ H @ (S + eye) @ E),
    "residual forgotten": wrong_skip(lambda H, S, E, eye: H @ S @ E),
    "skip forgotten": wrong_skip(lambda H, S, E, eye: H @ E),
}


# ---- the table


def first_output(tensor, u):
    return refbilinear.interaction_matrix(tensor, u * 0 + (np.arange(len(u)) == 0))


def forgotten_identity(model, x):
    return refbilinear.mlp_forward(replace(model, residual=False), x)


def mistake(law, name, **replaced):
    return pytest.param(law, replaced, id=f"{law.__name__}-{name}")


MISTAKES = [
    *[mistake(laws.forward_is_the_definition, name, forward=f) for name, f in FORWARD.items()],
    *[mistake(laws.tensor_is_the_definition, name, interaction_tensor=f) for name, f in TENSORS.items()],
    *[mistake(laws.form_equals_forward, name, interaction_tensor=f) for name, f in TENSORS.items()],
    *[mistake(laws.backward_is_the_differences, name, backward=f) for name, f in GRADIENTS.items()],
    *[
        mistake(laws.gauge_of_the_gradient, name, backward=f)
        for name, f in GRADIENTS.items()
        if name.startswith(GAUGED) and not name.startswith("71")
    ],
    *[mistake(getattr(laws, law), name, eigendecompose=f) for name, (law, f) in SPECTRA.items()],
    *[mistake(laws.truncation_is_the_best, name, reconstruct=f) for name, f in TRUNCATIONS.items()],
    *[mistake(laws.cross_entropy_is_the_decimal, name, cross_entropy=f) for name, f in ENTROPIES.items()],
    *[mistake(laws.adamw_is_the_decimal, name, adamw=f) for name, f in STEPS.items()],
    *[mistake(laws.fold_is_the_model, name, fold=f) for name, f in FOLDS.items()],
    mistake(laws.swap_changes_nothing, "4 second bias dropped", forward=FORWARD["4 second bias dropped"]),
    mistake(laws.swap_changes_nothing, "10 gate left on", forward=FORWARD["10 gate left on"]),
    mistake(laws.gauge_changes_nothing, "12 sum for product", forward=FORWARD["12 sum for product"]),
    mistake(laws.gauge_changes_nothing, "11 twice", forward=FORWARD["11 left weights used twice"]),
    mistake(laws.unit_order_changes_nothing, "13 last unit", forward=FORWARD["13 last hidden unit skipped"]),
    mistake(laws.unit_order_changes_nothing, "15 Fortran", forward=FORWARD["15 buffer read in Fortran order"]),
    mistake(laws.outputs_permute, "19 reversed", forward=FORWARD["19 outputs reversed"]),
    mistake(laws.outputs_permute, "31 axis", interaction_tensor=TENSORS["31 output axis last"]),
    mistake(laws.inputs_permute, "7 transposed", forward=FORWARD["7 left weights transposed"]),
    mistake(laws.inputs_permute, "23 one triangle", interaction_tensor=TENSORS["23 not symmetrised"]),
    mistake(
        laws.linear_in_the_output_weights, "6 magnitude",
        forward=forward_of(lambda one: {"w_out": abs(one.w_out)}),
    ),
    mistake(laws.hidden_blocks_add, "14 to d_in", forward=FORWARD["14 hidden loop runs to d_in"]),
    mistake(laws.zero_unit_changes_nothing, "13 last unit", forward=FORWARD["13 last hidden unit skipped"]),
    mistake(laws.split_unit_changes_nothing, "14 to d_in", forward=FORWARD["14 hidden loop runs to d_in"]),
    mistake(laws.batch_is_a_stack, "18 first row", forward=FORWARD["18 first row for the whole batch"]),
    mistake(laws.second_differences_are_constant, "10 gate", forward=FORWARD["10 gate left on"]),
    mistake(laws.forms_agree, "22 no half", interaction_tensor=TENSORS["22 no half"]),
    mistake(
        laws.forms_agree, "32 linear part missing",
        output_form=lambda layer, u: (f := refbilinear.output_form(layer, u))._replace(linear=0 * f.linear),
    ),
    mistake(
        laws.forms_agree, "33 linear part not halved",
        homogeneous_matrix=lambda f: refbilinear.homogeneous_matrix(f._replace(linear=2 * f.linear)),
    ),
    mistake(
        laws.forms_agree, "34 constant forgotten",
        form_value=lambda f, x: refbilinear.form_value(f._replace(constant=Fraction(0)), x),
    ),
    mistake(
        laws.linear_in_the_direction, "35 magnitude of the direction",
        interaction_matrix=lambda tensor, u: refbilinear.interaction_matrix(tensor, abs(u)),
    ),
    mistake(laws.linear_in_the_direction, "52 first output only", interaction_matrix=first_output),
    mistake(
        laws.linear_in_the_direction, "54 summed before u",
        interaction_matrix=lambda tensor, u: refbilinear.interaction_matrix(
            tensor * 0 + tensor.sum(axis=0), u
        ),
    ),
    mistake(laws.packing_is_the_order, "29 one triangle zero", unpack=lower_only),
    mistake(laws.packing_is_the_order, "39 by columns", unpack=packed_columns),
    mistake(laws.packing_is_the_order, "40 root two", pack=root_two),
    mistake(laws.packing_is_the_order, "41 upper read", unpack=lambda p: np.triu(lower_only(p))),
    mistake(
        laws.quadratic_form_is_the_definition, "37 not doubled",
        quadratic_form=weighted_form(diagonal=1, other=1),
    ),
    mistake(
        laws.quadratic_form_is_the_definition, "38 diagonal doubled too",
        quadratic_form=weighted_form(diagonal=2, other=2),
    ),
    mistake(
        laws.polarisation, "37 not doubled", quadratic_form=weighted_form(diagonal=1, other=1)
    ),
    mistake(
        laws.polarisation, "one half of the pair",
        bilinear_form=lambda tensor, x, z: np.stack(
            [((x @ np.tril(whole)) * z).sum(axis=1) for whole in refbilinear.unpack(tensor)], axis=1
        ),
    ),
    mistake(laws.tensor_gradient_is_the_differences, "70 doubled", tensor_gradient=doubled_off_diagonal),
    mistake(
        laws.tensor_gradient_is_the_differences, "78 last row dropped",
        tensor_gradient=lambda x, dy: refbilinear.tensor_gradient(x[:-1], dy[:-1]),
    ),
    mistake(laws.mlp_backward_is_the_differences, "residual forgotten", mlp_backward=without_residual),
    mistake(laws.mlp_backward_is_the_differences, "layers reversed", mlp_backward=stale_head),
    mistake(laws.mlp_is_its_layers, "residual forgotten", mlp_forward=forgotten_identity),
    mistake(laws.squared_error_is_the_definition, "67 sum for mean", squared_error=loss_of(4, 4)),
    mistake(
        laws.squared_error_is_the_definition, "68 mean over all",
        squared_error=loss_of(Fraction(1, 3), Fraction(1, 3)),
    ),
    mistake(
        laws.squared_error_is_the_definition, "70 factor 2 missing",
        squared_error=loss_of(dy=Fraction(1, 2)),
    ),
    mistake(laws.squared_error_is_the_definition, "75 sign", squared_error=loss_of(dy=-1)),
    mistake(laws.spectrum_is_known, "50 duplicated vector", eigendecompose=SPECTRA["50 duplicated vector"][1]),
    mistake(laws.contributions_sum_to_the_form, "not squared", contributions=plain_contributions),
    mistake(laws.forward_is_in_bound, "16 single precision", forward=single_precision),
    mistake(
        laws.forward_is_in_bound, "17 coarse inputs",
        forward=lambda layer, x: refbilinear.forward(layer, coarse(x)),
    ),
    mistake(
        laws.backward_is_in_bound, "17 coarse inputs",
        backward=lambda layer, x, dy: refbilinear.backward(layer, coarse(x), dy),
    ),
    mistake(
        laws.tensor_is_in_bound, "16 single precision",
        interaction_tensor=lambda one: coarse(refbilinear.interaction_tensor(one)),
    ),
    mistake(
        laws.nan_stays_in_its_row, "96 swallowed",
        forward=lambda layer, x: refbilinear.forward(layer, np.nan_to_num(x)),
    ),
    mistake(
        laws.nan_stays_in_its_row, "spread to the batch",
        forward=lambda layer, x: refbilinear.forward(layer, x) + 0 * x.sum(),
    ),
    mistake(laws.inputs_are_left_alone, "21 overwritten", forward=overwriting),
    mistake(
        laws.without_hidden_units, "99 skip lost",
        forward=lambda layer, x: refbilinear.forward(replace(layer, w_skip=None), x),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("law", "replaced"), MISTAKES)
def test_a_mistake_breaks_its_law(law, replaced):
    with pytest.raises(AssertionError), np.errstate(invalid="ignore"):
        check(law, laws.package(**replaced))


def test_there_are_many_mistakes_and_no_law_without_one():
    assert len(MISTAKES) >= 100
    assert {parameter.values[0] for parameter in MISTAKES} == set(CASES)


# ---- the bounds are not vacuous


def problem(seed, dtype):
    """Return a layer, x, dy and a tensor from a seed."""
    layer = random_layer(rng(seed), sizes=(5, 4, 3), dtype=dtype)
    return (
        layer,
        drawn((2, 5), seed, dtype),
        drawn((2, 3), seed + 1, dtype),
        drawn((3, 15), seed, dtype),
    )


BOUNDED = {
    "fold": lambda of, layer, x, dy, tensor: laws.fold_is_in_bound(
        of, laws.small_mlp(layer, embed=x.T, head=dy)
    ),
    "form_value": lambda of, layer, x, dy, tensor: laws.form_value_is_in_bound(
        of, of.output_form(layer, dy[0]), x
    ),
    "forward": lambda of, layer, x, dy, tensor: laws.forward_is_in_bound(of, layer, x),
    "backward": lambda of, layer, x, dy, tensor: laws.backward_is_in_bound(of, layer, x, dy),
    "tensor": lambda of, layer, x, dy, tensor: laws.tensor_is_in_bound(of, layer),
    "matrix": lambda of, layer, x, dy, tensor: laws.matrix_is_in_bound(of, tensor, dy),
    "output_form": lambda of, layer, x, dy, tensor: laws.output_form_is_in_bound(of, layer, dy[0]),
    "quadratic_form": lambda of, layer, x, dy, tensor: laws.quadratic_form_is_in_bound(
        of, tensor, x
    ),
    "bilinear_form": lambda of, layer, x, dy, tensor: laws.bilinear_form_is_in_bound(
        of, tensor, x, x[::-1]
    ),
    "tensor_gradient": lambda of, layer, x, dy, tensor: laws.tensor_gradient_is_in_bound(of, x, dy),
    "squared_error": lambda of, layer, x, dy, tensor: laws.squared_error_is_in_bound(
        of, dy, dy[::-1]
    ),
    "mlp_forward": lambda of, layer, x, dy, tensor: laws.mlp_forward_is_in_bound(
        of, laws.small_mlp(layer), x
    ),
    "mlp_backward": lambda of, layer, x, dy, tensor: laws.mlp_backward_is_in_bound(
        of, laws.small_mlp(layer), x, dy
    ),
    "folded_form": lambda of, layer, x, dy, tensor: laws.folded_form_is_in_bound(
        of, laws.small_mlp(layer), x
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", BOUNDED)
def test_a_thousandth_of_the_bound_is_exceeded(name, dtype, monkeypatch):
    law, problems = BOUNDED[name], [problem(seed, dtype) for seed in range(8)]
    for one in problems:
        law(laws.package(), *one)
    gamma = twins.gamma
    monkeypatch.setattr(twins, "gamma", lambda roundings, unit: gamma(roundings, unit) / 1000)
    with pytest.raises(AssertionError):
        for one in problems:
            law(laws.package(), *one)


def test_a_leak_is_seen():
    for leak in (0.5, np.float64(1), np.int64(1), True):
        with pytest.raises(AssertionError):
            laws.exact_numbers(np.array([Fraction(1), leak], dtype=object))
    laws.exact_numbers(np.array([Fraction(1), 0], dtype=object), None, Fraction(1))


def test_differences_differentiate_polynomials_of_their_degree_and_no_higher():
    for degree in range(1, 9):
        value = partial(lambda power, s: (s + 2) ** power, degree)
        assert laws.derivative(value, degree) == degree * 2 ** (degree - 1)
    assert laws.derivative(lambda s: s**3, 2) != 0
