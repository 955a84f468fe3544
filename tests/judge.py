"""The specification's answers to the vectors, and whether an answer may stand.

The judge knows the vectors alone: exact ones by `==`, bounded ones by their own K, twin or allowed
error, pairs and factors by what they leave of the matrix, never vector by vector.
"""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np

import laws
import refbilinear
from refbilinear import BilinearMLP
from refbilinear.analysis import eigenpairs
from refbilinear.oracle import agreement, bounds, exact
from refbilinear.oracle.vectors import LAYER
from refbilinear.spec.arrays import constant

UNIT = {"f64": Fraction(1, 2**53), "f32": Fraction(1, 2**24)}
TINY = {"f64": Fraction(1, 2**1074), "f32": Fraction(1, 2**149)}


class WrongError(AssertionError):
    """An answer that a vector does not admit."""


# ---- the specification's answers


def layer_of(inputs):
    return agreement.layer_of(inputs)


def backward(inputs):
    gradients = refbilinear.backward(layer_of(inputs), inputs["x"], inputs["dy"])
    return {name: one for name, one in gradients._asdict().items() if one is not None}


def adamw(inputs):
    state = (inputs[name] for name in ("theta", "g", "m", "v"))
    settings = agreement.settings_of(inputs)
    return refbilinear.adamw(*state, int(inputs["t"]), **settings)._asdict()


def spectral(inputs):
    return eigenpairs.eigendecompose(inputs["Q"], int(inputs["k"]))._asdict()


def truncate(inputs):
    pairs, k = eigenpairs.eigendecompose(inputs["Q"]), int(inputs["k"])
    left_out = pairs.eigenvalues[k:]
    return {"matrix": eigenpairs.reconstruct(pairs, k), "tail": left_out @ left_out}


def hosvd(inputs):
    """The left singular vectors of each unfolding, as many as it has rows or rank allows."""
    whole = refbilinear.unpack(inputs["tensor"])
    m, d, _ = whole.shape
    u_out, s_out, _ = np.linalg.svd(whole.reshape(m, d * d), full_matrices=False)
    u_in, _, _ = np.linalg.svd(whole.transpose(1, 0, 2).reshape(d, m * d), full_matrices=False)
    u_out = u_out[:, s_out > 1e-9 * s_out[0]]
    core = np.einsum("oij,oa,ib,jc->abc", whole, u_out, u_in, u_in)
    return {"u_out": u_out, "u_in": u_in, "core": core}


def fold(inputs):
    """Folding of the package, after gain, embedding bias and scale went into the layer."""
    layer, dtype = layer_of(inputs), inputs["w_left"].dtype
    gain = inputs.get("gain", constant(1, layer.d_in, dtype))
    shift = gain * inputs.get("b_embed", constant(0, layer.d_in, dtype))
    scale = inputs.get("left_scale", dtype.type(1))
    residual = "residual" in inputs
    passed = inputs.get("b_embed", 0) if residual else 0
    changed = {
        "w_left": scale * layer.w_left * gain,
        "w_right": layer.w_right * gain,
        "b_left": scale * (layer.w_left @ shift + (0 if layer.b_left is None else layer.b_left)),
        "b_right": layer.w_right @ shift + (0 if layer.b_right is None else layer.b_right),
        "b_out": constant(0, layer.d_out, dtype)
        + (0 if layer.b_out is None else layer.b_out)
        + passed,
    }
    if layer.w_skip is not None:
        changed["w_skip"] = layer.w_skip * gain
        changed["b_out"] = changed["b_out"] + layer.w_skip @ shift
    model = BilinearMLP(
        inputs.get("w_embed"), [replace(layer, **changed)], inputs.get("w_head"), residual
    )
    return refbilinear.parameters(refbilinear.fold(model))


RUN = {
    "forward": lambda held: {"y": refbilinear.forward(layer_of(held), held["x"])},
    "tensor": lambda held: {"tensor": refbilinear.interaction_tensor(layer_of(held))},
    "matrix": lambda held: {
        "matrix": refbilinear.interaction_matrix(
            refbilinear.interaction_tensor(layer_of(held)), held["u"]
        )
    },
    "form": lambda held: {"y": refbilinear.quadratic_form(held["tensor"], held["x"])},
    "backward": backward,
    "squared_error": lambda held: refbilinear.squared_error(held["y"], held["t"])._asdict(),
    "cross_entropy": lambda held: refbilinear.cross_entropy(held["y"], held["labels"])._asdict(),
    "adamw": adamw,
    "spectrum": spectral,
    "truncate": truncate,
    "hosvd": hosvd,
    "fold": fold,
}


# ---- the judge


def need(holds, words):
    if not holds:
        raise WrongError(words)


def judge(group, vector, run):
    """Raise WrongError unless what `run(inputs)` returns may stand."""
    inputs = {name: array.copy() for name, array in vector.inputs.items()}
    if vector.result == "invalid":
        try:
            run(inputs)
        except (TypeError, ValueError):
            return
        raise WrongError("must be refused")
    with np.errstate(all="ignore"):
        outputs = run(inputs)
    JUDGES.get(group.op, by_numbers)(group, vector, outputs)


def by_numbers(group, vector, outputs):
    need(set(outputs) == set(vector.expected), f"must return {sorted(vector.expected)}")
    for name, want in vector.expected.items():
        got = np.asarray(outputs[name])
        need(got.shape == want.shape, f"{name} has shape {got.shape}")
        if vector.result == "acceptable":
            continue
        if group.tier == "exact":
            need(np.array_equal(got, want, equal_nan=True), f"{name} differs")
        else:
            within(group.dtype, vector, name, got)


def within(dtype, vector, name, got):
    """|got − expected − residual| ≤ γ_K twin, or allowed, and what the residual leaves."""
    unit = UNIT[dtype]
    need(np.isfinite(got).all(), f"{name} is not finite")
    flat = [exact.fractions(a).ravel() for a in (got, vector.expected[name], vector.residual[name])]
    if name in vector.allowed:
        allowed = exact.fractions(vector.allowed[name]).ravel()
    else:
        k = vector.K[name]
        allowed = exact.fractions(vector.twin[name]).ravel() * (k * unit / (1 - k * unit))
    for mine, high, low, most in zip(*flat, allowed, strict=True):
        left = unit * unit * abs(high) + TINY[dtype]
        need(abs(mine - high - low) <= most + left, f"{name} is {float(mine - high - low):.1e} off")


def by_tensor(group, vector, parameters):
    """The tensor over [x; 1] of the layer that was returned, exactly."""
    held = {name: exact.fractions(array) for name, array in parameters.items()}
    layer = layer_of({name: one for name, one in held.items() if name in LAYER})
    zero = constant(0, layer.d_hidden, object)
    layer = replace(layer, b_left=zero if layer.b_left is None else layer.b_left)
    want = vector.expected["tensor"]
    got = exact.interaction_tensor(layer)
    need(got.shape == want.shape, f"the tensor has shape {got.shape}")
    if group.tier == "exact":
        need((got == exact.fractions(want)).all(), "the tensor differs")
    else:
        unit, k = UNIT[group.dtype], vector.K["tensor"]
        exactly = exact.fractions(want) + exact.fractions(vector.residual["tensor"])
        allowed = exact.fractions(vector.twin["tensor"]) * (k * unit / (1 - k * unit))
        left = unit * unit * abs(exact.fractions(want))
        need((abs(got - exactly) <= allowed + left).all(), "the tensor is too far off")


def ratio(dtype, n):
    """Ten of LAPACK's own n eps (oracle, section 4)."""
    return 20 * max(n, 1) * float(UNIT[dtype])


def by_pairs(group, vector, outputs):
    q, k = vector.inputs["Q"], int(vector.inputs["k"])
    values, vectors = outputs["eigenvalues"], outputs["eigenvectors"]
    n, known = len(q), vector.expected["eigenvalues"].astype(float)
    need((values.shape, vectors.shape) == ((k,), (n, k)), "shapes")
    need(np.isfinite(values).all() and np.isfinite(vectors).all(), "not finite")
    proof = laws.certificate(q, values, vectors)
    accepted = ratio(group.dtype, n)
    need(proof.residual <= accepted * proof.norm, "residual")
    need(proof.defect <= accepted, "not orthonormal")
    error = accepted * proof.norm / math.sqrt(1 - accepted)
    for mine, true in zip(sorted(values), sorted(known[:k]), strict=True):
        need(abs(Fraction(float(mine)) - Fraction(true)) <= error, "eigenvalue")
    need((abs(values[:-1]) >= abs(values[1:])).all(), "order")


def by_truncation(group, vector, outputs):
    """Section 4, items 5 and 6, for pairs of the accepted quality."""
    q, k, near = vector.inputs["Q"], int(vector.inputs["k"]), outputs["matrix"]
    need(near.shape == q.shape and np.isfinite(near).all(), "shape")
    sizes = np.sort(abs(np.linalg.eigvalsh(q.astype(np.float64))))[::-1]
    accepted, norm, n = ratio(group.dtype, len(q)), laws.norm(laws.exact(q)), len(q)
    drift = accepted * (2 * norm + sizes.max(initial=0))
    gap = sizes[k - 1] - sizes[k] if 0 < k < n else norm
    skew = norm * accepted * (2 + accepted)
    skew += bounds.gamma(k + 2, q.dtype) * n * norm
    off = laws.norm(laws.exact(near) - laws.exact(vector.expected["matrix"]))
    if gap > 2 * drift:
        need(off <= math.sqrt(n) * (drift * (1 + norm / (gap - drift)) + skew), "the matrix")
    else:
        rest = laws.norm(laws.exact(q) - laws.exact(near))
        best = math.sqrt(float(vector.expected["tail"]))
        need(best - drift - skew <= rest <= best + 2 * drift + skew, "not optimal")
    error = accepted * norm / math.sqrt(1 - accepted)
    slack = 2 * math.sqrt(n) * norm * error + n * error**2 + bounds.gamma(n + 1, q.dtype) * norm**2
    need(abs(float(outputs["tail"]) - float(vector.expected["tail"])) <= slack, "tail")


def by_factors(group, vector, outputs):
    whole = laws.exact(refbilinear.unpack(vector.inputs["tensor"]))
    u_out, u_in, core = (laws.exact(outputs[name]) for name in ("u_out", "u_in", "core"))
    m, d, _ = whole.shape
    rank = int((vector.expected["squares_out"] > 0).sum())
    need(u_out.shape == (m, rank) and u_in.shape == (d, d) and core.shape == (rank, d, d), "shapes")
    accepted = ratio(group.dtype, m * d)
    for u in (u_out, u_in):
        need(laws.norm(laws.exact(np.eye(u.shape[1])) - u.T @ u) <= accepted, "not orthonormal")
    again = np.tensordot(u_out, core, (1, 0))
    again = np.tensordot(np.tensordot(again, u_in.T, (1, 0)), u_in.T, (1, 0))
    need(laws.norm(again - whole) <= 5 * accepted * laws.norm(whole), "no reconstruction")
    largest = float(vector.expected["squares_out"].sum())
    for mode, squares in (
        (0, vector.expected["squares_out"][:rank]),
        (1, vector.expected["squares_in"]),
    ):
        unfolded = np.moveaxis(core, mode, 0).reshape(core.shape[mode], -1)
        gram = unfolded @ unfolded.T
        error = laws.norm(gram - np.diag(laws.exact(squares)))
        need(error <= 10 * accepted * largest, f"slices of mode {mode}")


JUDGES = {"fold": by_tensor, "spectrum": by_pairs, "truncate": by_truncation, "hosvd": by_factors}


def passes(group, vector, run):
    """Whether an implementation's answer may stand; one that cannot answer is neither."""
    try:
        judge(group, vector, run)
    except WrongError:
        return False
    return True
