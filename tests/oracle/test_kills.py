"""The vectors bite: each mistake of the catalogue that a vector can show is shown by two, and by its flag."""

from dataclasses import replace

import judge
import numpy as np
import pytest
from judge import RUN, layer_of
from test_the_tests import FORWARD, GRADIENTS, STEPS, TENSORS, coarse, transposed

import refbilinear
from refbilinear import pack, unpack
from refbilinear.analysis import eigenpairs
from refbilinear.oracle import vectors
from refbilinear.oracle.catalogue import BY_RUNNING, FLAGS, MUTANTS, WITHDRAWN
from refbilinear.oracle.vectors import LAYER

SUITE = vectors.load()


def changed(op, **change):
    """Answer for other inputs: `change[name]` takes all inputs."""

    def run(held):
        return RUN[op](held | {name: of(held) for name, of in change.items() if name in held})

    return run


def after(op, change):
    """Answer rightly, then change the answer."""
    return lambda held: change(held, RUN[op](held))


def forward_by(number):
    (mistake,) = [f for name, f in FORWARD.items() if name.split()[0] == str(number)]
    return lambda held: {"y": mistake(layer_of(held), held["x"])}


def tensor_by(number):
    mistake = next(f for name, f in TENSORS.items() if name.split()[0] == str(number))
    return lambda held: {"tensor": mistake(layer_of(held))}


def backward_by(number):
    mistake = next(f for name, f in GRADIENTS.items() if name.split()[0] == str(number))

    def run(held):
        found = mistake(layer_of(held), held["x"], held["dy"])
        return {name: one for name, one in found._asdict().items() if one is not None}

    return run


def one_term(held, out):
    """The left half of the product rule in the gradient of x."""
    layer = layer_of(held)
    ds = held["dy"] if layer.w_out is None else held["dy"] @ layer.w_out
    dx = (ds * refbilinear.project(layer, held["x"]).right) @ layer.w_left
    return out | {"x": dx if layer.w_skip is None else dx + held["dy"] @ layer.w_skip}


def step_by(number):
    mistake = next(f for name, f in STEPS.items() if name.split()[0] == str(number))

    def run(held):
        state = [held[name] for name in ("theta", "g", "m", "v")]
        settings = {n: float(held[n]) for n in vectors.SETTINGS}
        return mistake(*state, int(held["t"]), **settings)._asdict()

    return run


# ---- forward


def single(held):
    down = {n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in held.items()}
    return {"y": RUN["forward"](down)["y"].astype(held["x"].dtype)}


def tensor_float(held):
    """Operands of every product with 11 bits, as TF32 has."""

    def bits(a):
        m, e = np.frexp(a)
        return np.ldexp(np.round(np.ldexp(m, 11)), e - 11).astype(a.dtype)

    layer, x = layer_of(held), bits(held["x"])
    y = (x @ bits(layer.w_left).T + (0 if layer.b_left is None else layer.b_left)) * (
        x @ bits(layer.w_right).T + (0 if layer.b_right is None else layer.b_right)
    )
    y = bits(y) @ bits(layer.w_out).T + (0 if layer.b_out is None else layer.b_out)
    return {"y": y if layer.w_skip is None else y + x @ bits(layer.w_skip).T}


def swapped_gate(held):
    layer = layer_of(held)
    a, b = refbilinear.project(layer, held["x"])
    return {
        "y": refbilinear.spec.layer.combine(
            layer, held["x"], refbilinear.Projections(a, np.maximum(b, 0))
        )
    }


def tail_dropped(held):
    layer = layer_of(held)
    whole = layer.d_hidden // 8 * 8
    if whole == layer.d_hidden:
        return RUN["forward"](held)
    kept = {
        name: held[name][:whole]
        for name in ("w_left", "w_right", "b_left", "b_right")
        if name in held
    }
    return RUN["forward"](held | kept | {"w_out": held["w_out"][:, :whole]})


def nan_ignored(held):
    return {"y": np.nan_to_num(RUN["forward"](held)["y"], nan=0.0)}


def zeros_skipped(held):
    """A product with a zero weight is left out, whatever the input is."""
    return RUN["forward"]({n: np.where(np.isnan(a), 0, a) for n, a in held.items()})


def inf_cancelled(held):
    return {"y": np.where(np.isnan(RUN["forward"](held)["y"]), 0, RUN["forward"](held)["y"])}


def uninitialised(held):
    if 0 in held["w_left"].shape:
        return {"y": np.full((len(held["x"]), layer_of(held).d_out), 7.0, held["x"].dtype)}
    return RUN["forward"](held)


# ---- tensor and matrix


def over_output(held):
    whole = unpack(RUN["tensor"](held)["tensor"])
    if whole.shape[0] != whole.shape[1]:
        raise NotImplementedError
    mixed = (whole + whole.swapaxes(0, 1)) / 2
    return {"tensor": pack((mixed + mixed.swapaxes(1, 2)) / 2)}


def linear_scaled(factor):
    def change(held, out):
        if not layer_of(held).has_constant:
            return out
        tensor = out["tensor"].copy()
        d = refbilinear.dimension(tensor.shape[1])
        tensor[:, -d:-1] *= factor
        return {"tensor": tensor}

    return after("tensor", change)


def corner_without_biases(held):
    out, layer = RUN["tensor"](held)["tensor"].copy(), layer_of(held)
    if layer.b_left is not None and layer.b_right is not None:
        both = layer.b_left * layer.b_right
        out[:, -1] -= both if layer.w_out is None else layer.w_out @ both
    return {"tensor": out}


def packed_columns(held, out):
    whole = unpack(out["tensor"])
    i, j = np.triu_indices(whole.shape[-1])
    return {"tensor": whole[:, i, j]}


def off_diagonal(factor):
    def change(held, out):
        i, j = np.tril_indices(refbilinear.dimension(out["tensor"].shape[1]))
        return {"tensor": (out["tensor"] * np.where(i == j, 1, factor)).astype(out["tensor"].dtype)}

    return after("tensor", change)


def diagonal(factor):
    def change(held, out):
        i, j = np.tril_indices(refbilinear.dimension(out["tensor"].shape[1]))
        return {"tensor": (out["tensor"] * np.where(i == j, factor, 1)).astype(out["tensor"].dtype)}

    return after("tensor", change)


def unsymmetrised(product):
    """The packed entries by a product of columns, without biases."""

    def run(held):
        layer = layer_of(held)
        if layer.has_constant:
            raise NotImplementedError
        i, j = np.tril_indices(layer.d_in)
        left, right = layer.w_left, layer.w_right
        pairs = product(left[:, i], left[:, j], right[:, i], right[:, j])
        return {"tensor": pairs if layer.w_out is None else layer.w_out @ pairs}

    return run


def of_matrix(weights):
    """Σ_o of the tensor with other weights than u."""

    def run(held):
        tensor = RUN["tensor"]({n: a for n, a in held.items() if n in LAYER})["tensor"]
        return {"matrix": refbilinear.interaction_matrix(tensor, weights(held["u"]))}

    return run


def form_of(on_diagonal, off):
    def run(held):
        i, j = np.tril_indices(held["x"].shape[1])
        pairs = held["x"][:, i] * held["x"][:, j] * np.where(i == j, on_diagonal, off)
        return {"y": pairs.astype(held["x"].dtype) @ held["tensor"].T}

    return run


# ---- losses


def scaled(op, value, dy):
    """Value and gradient times factors of n and d_out."""

    def change(held, out):
        n, m = held["y"].shape
        return {"value": out["value"] * value(n, m), "dy": out["dy"] * dy(n, m)}

    return after(op, change)


def unshifted(held):
    powers = np.exp(held["y"])
    total, rows = powers.sum(axis=1), np.arange(len(powers))
    dy = powers / total[:, None]
    dy[rows, held["labels"]] -= 1
    value = (np.log(total) - held["y"][rows, held["labels"]]).mean()
    return {"value": value, "dy": dy / len(dy)}


def over_the_batch(held, out):
    powers = np.exp(held["y"] - held["y"].max(axis=0))
    shares = powers / powers.sum(axis=0) - np.eye(held["y"].shape[1])[held["labels"]]
    return out | {"dy": shares / len(shares)}


def next_label(held):
    return (held["labels"] + 1) % held["y"].shape[1]


# ---- calls that remember


class Accumulating:
    """Gradients are added to those of the call before, if the shapes are those."""

    def __init__(self):
        self.before = {}

    def __call__(self, held):
        found = {name: one.copy() for name, one in RUN["backward"](held).items()}
        key = tuple((name, one.shape) for name, one in found.items())
        if key in self.before:
            found = {name: one + self.before[key][name] for name, one in found.items()}
        self.before[key] = found
        return found


class Stale:
    """The factors of the first call with these shapes are used ever after."""

    def __init__(self):
        self.kept = {}

    def __call__(self, held):
        layer = layer_of(held)
        key = tuple((name, one.shape, one.dtype) for name, one in held.items())
        factors = self.kept.setdefault(key, refbilinear.project(layer, held["x"]))
        found = refbilinear.backward(layer, held["x"], held["dy"], factors)
        return {name: one for name, one in found._asdict().items() if one is not None}


# ---- spectra


def pairs_by(change):
    """Change all pairs, then keep k."""

    def run(held):
        values, vectors_ = change(*eigenpairs.eigendecompose(held["Q"]))
        k = int(held["k"])
        return {"eigenvalues": values[:k], "eigenvectors": vectors_[:, :k]}

    return run


def by_order(order):
    return pairs_by(lambda v, x: (v[order(v)], x[:, order(v)]))


def single_solver(held):
    found = eigenpairs.eigendecompose(held["Q"].astype(np.float32), int(held["k"]))
    return {name: one.astype(held["Q"].dtype) for name, one in found._asdict().items()}


def one_triangle(held):
    values, columns = np.linalg.eigh(held["Q"])
    order = np.lexsort((-values, -abs(values)))[: int(held["k"])]
    return {"eigenvalues": values[order], "eigenvectors": columns[:, order]}


def per_sign(v):
    """The largest and the smallest in turn."""
    down = np.argsort(-v)
    return np.stack([down, down[::-1]], axis=1).ravel()[: len(v)]


def repeated(v, x):
    return v, x[:, [0, *range(x.shape[1] - 1)]] if x.shape[1] else x


def truncated(choose, weight=lambda values: values):
    def run(held):
        values, x = eigenpairs.eigendecompose(held["Q"])
        k = int(held["k"])
        kept = choose(values, k)
        near = (x[:, kept] * weight(values[kept])) @ x[:, kept].T
        return {"matrix": (near + near.T) / 2, "tail": values[k:] @ values[k:]}

    return run


def lead(values, k):
    return np.arange(len(values))[:k]


def sum_of_tail(held, out):
    values = eigenpairs.eigendecompose(held["Q"]).eigenvalues
    return out | {"tail": values[int(held["k"]) :].sum()}


# ---- HOSVD


def factors_by(change):
    return after("hosvd", change)


def lower_only(held, out):
    whole = np.tril(unpack(held["tensor"]))
    d = whole.shape[-1]
    u_in = np.linalg.svd(whole.transpose(1, 0, 2).reshape(d, -1), full_matrices=False)[0]
    return out | {"u_in": u_in, "core": cores(unpack(held["tensor"]), out["u_out"], u_in)}


def cores(whole, u_out, u_in):
    return np.einsum("oij,oa,ib,jc->abc", whole, u_out, u_in, u_in)


def untransposed(held, out):
    u_out, u_in, whole = out["u_out"], out["u_in"], unpack(held["tensor"])
    if u_out.shape[0] != u_out.shape[1]:
        raise NotImplementedError
    return out | {"core": np.einsum("oij,ao,bi,cj->abc", whole, u_out, u_in, u_in)}


def cut(held, out):
    u_in = out["u_in"].copy()
    u_in[:, -1] = 0
    return out | {"core": cores(unpack(held["tensor"]), out["u_out"], u_in)}


def padded(held, out):
    whole = unpack(held["tensor"])
    m, d, _ = whole.shape
    u_out = np.linalg.svd(whole.reshape(m, d * d), full_matrices=True)[0]
    return out | {"u_out": u_out, "core": cores(whole, u_out, out["u_in"])}


# ---- folding


def folding(change):
    """Change parameters of the folded layer; `change` takes inputs and parameters."""
    return after("fold", lambda held, out: out | change(held, out))


def without(*names):
    return lambda held: RUN["fold"]({name: one for name, one in held.items() if name not in names})


def eye(held, name, size):
    return held.get(name, np.eye(size, dtype=held["w_left"].dtype))


def head_of(held):
    return eye(held, "w_head", layer_of(held).d_out)


def embedding_of(held):
    return eye(held, "w_embed", layer_of(held).d_in)


def plain_layer(held):
    """Whether folding is of embedding, head and residual alone."""
    if set(held) & {"gain", "left_scale", "b_embed"}:
        raise NotImplementedError
    return layer_of(held)


def head_twice(held, out):
    return {"w_skip": head_of(held) @ out["w_skip"]}


def skip_of(held, path):
    layer = plain_layer(held)
    skip = 0 * path if layer.w_skip is None else head_of(held) @ layer.w_skip @ embedding_of(held)
    return {"w_skip": skip + path}


def gain_again(held, out):
    if not {"gain", "w_embed"} <= set(held):
        return {"w_left": out["w_left"] * held["gain"]}
    return {"w_left": (layer_of(held).w_left * held["gain"] ** 2) @ held["w_embed"]}


def gain_on_the_left(held, out):
    return {"w_right": layer_of(held).w_right @ embedding_of(held)} if "gain" in held else {}


MISTAKES = {
    "forward": {
        **{
            f"forward.{name}": forward_by(number)
            for number, name in {
                1: "biases_swapped", 2: "biases_after_product", 3: "cross_terms_dropped",
                4: "right_bias_dropped", 6: "w_out_transposed", 7: "w_left_transposed",
                8: "interleaved", 10: "gate_left_on", 11: "left_twice", 12: "sum_for_product",
                13: "last_unit_skipped", 14: "hidden_loop_to_d_in", 15: "fortran_order",
                18: "first_row_broadcast", 19: "outputs_reversed",
            }.items()
        },
        "forward.output_bias_dropped": lambda held: RUN["forward"]({n: a for n, a in held.items() if n != "b_out"}),
        "forward.halves_swapped": swapped_gate,
        "forward.float32_accumulation": single,
        "forward.coarse_operands": tensor_float,
        "forward.simd_tail_dropped": tail_dropped,
        "run.nan_swallowed": nan_ignored,
        "run.inf_cancels": inf_cancelled,
        "run.empty": uninitialised,
    },
    "tensor": {
        "tensor.no_half": after("tensor", lambda held, out: {"tensor": 2 * out["tensor"]}),
        "tensor.not_symmetrised": unsymmetrised(lambda li, lj, ri, rj: li * rj),
        "tensor.antisymmetric": unsymmetrised(lambda li, lj, ri, rj: (li * rj - lj * ri) / 2),
        "tensor.symmetrised_over_output": over_output,
        "tensor.left_twice": changed("tensor", w_right=lambda held: held["w_left"]),
        "tensor.w_out_transposed": changed("tensor", w_out=lambda held: transposed(held["w_out"])),
        "tensor.diagonal_halved": diagonal(0.5),
        "tensor.diagonal_doubled": diagonal(2),
        "tensor.output_axis_last": after("tensor", lambda held, out: {"tensor": transposed(out["tensor"])}),
        "tensor.linear_missing": linear_scaled(0),
        "tensor.linear_not_halved": linear_scaled(2),
        "tensor.constant_missing": corner_without_biases,
        "packed.column_major": after("tensor", packed_columns),
        "packed.root_two": off_diagonal(np.sqrt(2)),
    },
    "matrix": {
        "tensor.one_triangle": after("matrix", lambda held, out: {"matrix": np.tril(out["matrix"])}),
        "packed.wrong_triangle": after("matrix", lambda held, out: {"matrix": np.diag(np.diag(out["matrix"]))}),
        "matrix.magnitude_of_u": of_matrix(abs),
        "spectrum.one_output": of_matrix(lambda u: u * (np.arange(len(u)) == 0)),
        "spectrum.summed_over_outputs": of_matrix(lambda u: u * 0 + u.sum()),
    },
    "form": {
        "packed.not_doubled": form_of(1, 1),
        "packed.diagonal_doubled_too": form_of(2, 2),
    },
    "backward": {
        **{
            f"backward.{name}": backward_by(number)
            for number, name in {
                72: "left_right_swapped", 73: "left_for_right",
                74: "bias_of_factor_missing", 75: "sign", 76: "bias_missing",
                77: "w_out_transposed", 78: "last_row_dropped",
            }.items()
        },
        "backward.one_term": after("backward", one_term),
        "backward.accumulated": Accumulating(),
        "backward.stale": Stale(),
    },
    "squared_error": {
        "loss.sum_for_mean": scaled("squared_error", lambda n, m: n, lambda n, m: n),
        "loss.mean_over_all": scaled("squared_error", lambda n, m: 1 / m, lambda n, m: 1 / m),
        "loss.mean_over_outputs": scaled("squared_error", lambda n, m: n / m, lambda n, m: n / m),
        "loss.factor_two_missing": scaled("squared_error", lambda n, m: 1, lambda n, m: 0.5),
    },
    "cross_entropy": {
        "cross_entropy.no_shift": unshifted,
        "cross_entropy.shift_not_undone": after(
            "cross_entropy", lambda held, out: out | {"value": out["value"] - held["y"].max(axis=1).mean()}
        ),
        "cross_entropy.labels_off_by_one": changed("cross_entropy", labels=next_label),
        "cross_entropy.over_batch": after("cross_entropy", over_the_batch),
        "cross_entropy.base_two": scaled("cross_entropy", lambda n, m: 1 / np.log(2), lambda n, m: 1),
    },
    "adamw": {
        **{
            f"adamw.{name}": step_by(number)
            for number, name in {
                81: "coupled_decay", 82: "no_correction", 83: "epsilon_inside",
                84: "epsilon_before", 85: "decay_unscaled", 86: "decay_after",
                87: "t_off_by_one", 88: "second_moment_of_g", 90: "momentum_sign",
            }.items()
        },
        "adamw.decay_on_biases": lambda held: RUN["adamw"](
            held | ({"weight_decay": np.array(0.01)} if held["theta"].ndim == 1 else {})
        ),
    },
    "spectrum": {
        "spectrum.by_value": by_order(lambda v: np.argsort(-v)),
        "spectrum.ascending": by_order(lambda v: np.argsort(abs(v))),
        "spectrum.rows": pairs_by(lambda v, x: (v, x.T)),
        "spectrum.values_permuted": pairs_by(lambda v, x: (np.roll(v, 1), x)),
        "spectrum.singular_values": pairs_by(lambda v, x: (abs(v), x)),
        "spectrum.unnormalised": pairs_by(lambda v, x: (v, 2 * x)),
        "spectrum.float32_solver": single_solver,
        "spectrum.duplicated_vector": pairs_by(repeated),
        "spectrum.unsymmetrised": one_triangle,
        "spectrum.shifted": pairs_by(lambda v, x: (v + 1e-9 * abs(v).max(initial=0), x)),
        "spectrum.top_k_per_sign": by_order(per_sign),
    },
    "truncate": {
        "truncate.wrong_end": truncated(lambda v, k: np.arange(len(v))[len(v) - k :]),
        "truncate.by_value": truncated(lambda v, k: np.argsort(-v)[:k]),
        "truncate.off_by_one": truncated(lambda v, k: lead(v, k + 1)),
        "truncate.magnitudes": truncated(lead, abs),
        "truncate.positive_only": truncated(lambda v, k: lead(v, k)[v[:k] > 0]),
        "truncate.tail_not_squared": after("truncate", sum_of_tail),
    },
    "hosvd": {
        "hosvd.unsymmetrised": factors_by(lower_only),
        "hosvd.mode_order": factors_by(lambda held, out: out | {"core": out["core"].transpose(2, 1, 0)}),
        "hosvd.core_untransposed": factors_by(untransposed),
        "hosvd.rank_before_core": factors_by(cut),
        "hosvd.padded": factors_by(padded),
    },
    "fold": {
        "fold.w_out_forgotten": folding(lambda held, out: {"w_out": head_of(held)}),
        "fold.bias_not_scaled": folding(lambda held, out: {"b_left": out["b_left"] * 2} if "left_scale" in held else {}),
        "fold.transposed": folding(lambda held, out: {"w_left": plain_layer(held).w_left @ transposed(embedding_of(held))}),
        "fold.norm_twice": folding(gain_again),
        "fold.gain_on_one_half": folding(gain_on_the_left),
        "fold.embedding_in_left_only": folding(lambda held, out: {"w_right": plain_layer(held).w_right}),
        "fold.head_before_bias": folding(lambda held, out: {"b_out": plain_layer(held).b_out}),
        "fold.residual_without_embedding": folding(
            lambda held, out: skip_of(held, head_of(held)) if "residual" in held else {}
        ),
        "fold.head_twice_on_skip": folding(head_twice),
        "fold.half_left_out": without("left_scale"),
        "fold.decoder_bias": without("b_embed"),
    },
}  # fmt: skip
CASES = [(op, name) for op, mistakes in MISTAKES.items() for name in mistakes]


def killers(op, run):
    """Return the vectors that a mistake fails; where it cannot be made, it is not asked."""
    found = []
    for group in SUITE.groups:
        for vector in group.vectors if group.op == op else ():
            try:
                if not judge.passes(group, vector, run):
                    found.append(vector)
            except (
                AttributeError,
                KeyError,
                TypeError,
                ValueError,
                IndexError,
                NotImplementedError,
            ):
                continue
    return found


@pytest.mark.parametrize(("op", "name"), CASES, ids=[name for _, name in CASES])
def test_a_mistake_is_shown_by_two_vectors_and_by_its_flag(op, name):
    found = killers(op, MISTAKES[op][name])
    assert len(found) >= 2
    own = {flag for flag, note in FLAGS.items() if name in note.kills}
    assert own & {flag for vector in found for flag in vector.flags}


def test_a_skipped_zero_is_shown():
    found = killers("forward", zeros_skipped)
    assert "ZeroTimesNotANumber" in {flag for vector in found for flag in vector.flags}


def test_coarse_inputs_are_shown_by_bounds():
    for op in ("forward", "tensor", "backward", "matrix"):
        run = lambda held, op=op: RUN[op]({name: coarse(one) for name, one in held.items()})  # noqa: E731
        assert "RealNumbers" in {flag for vector in killers(op, run) for flag in vector.flags}


def test_the_catalogue_is_whole():
    assert sorted(mutant.number for mutant in MUTANTS.values()) == list(range(1, 112))
    killed = {name for note in FLAGS.values() for name in note.kills}
    assert killed == {name for _, name in CASES} == set(MUTANTS) - set(BY_RUNNING)
    assert set(SUITE.notes) == set(FLAGS)
    assert SUITE.withdrawn == WITHDRAWN


def test_the_mistakes_are_those_of_the_laws():
    """The mistakes taken from elsewhere are still there under their numbers."""
    layer = refbilinear.BilinearLayer([[1.0, 2]], [[3.0, 4]], w_out=[[1.0]])
    held = {"w_left": layer.w_left, "w_right": layer.w_right, "w_out": layer.w_out}
    assert (tensor_by(22)(held)["tensor"] == 2 * RUN["tensor"](held)["tensor"]).all()
    assert replace(layer, b_out=[1.0]).has_constant
