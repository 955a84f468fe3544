"""Mistakes of spectra, of what is kept of them, and of the HOSVD."""

from collections.abc import Callable

import numpy as np

from refbilinear.oracle.answers import (
    Inputs,
    Outputs,
    Run,
    contracted,
    eigenpairs,
    factors,
    rebuilt,
)
from refbilinear.oracle.wrong import Wrong, after, each
from refbilinear.spec.arrays import Array
from refbilinear.spec.packed import unpack

# ---- spectra


def pairs_by(change: Callable[[Array, Array], tuple[Array, Array]]) -> Wrong:
    """Change all pairs, then keep the first k."""

    def answer(run: Run, held: Inputs) -> Outputs:
        k, every = int(held["k"]), run(held | {"k": np.array(len(held["Q"]))})
        values, vectors = change(every["eigenvalues"], every["eigenvectors"])
        return {"eigenvalues": values[:k], "eigenvectors": vectors[:, :k]}

    return lambda run: lambda held: answer(run, held)


def by_order(order: Callable[[Array], Array]) -> Wrong:
    """Give the pairs another order: `order(values)` are their places."""
    return pairs_by(lambda values, x: (values[order(values)], x[:, order(values)]))


def per_sign(values: Array) -> Array:
    """Return the places of the largest and the smallest in turn."""
    down = np.argsort(-values)
    return np.stack([down, down[::-1]], axis=1).ravel()[: len(values)]


def float32_solver(run: Run) -> Run:
    """Solve in float32, whatever comes in and goes out."""

    def answer(held: Inputs) -> Outputs:
        found = run(held | {"Q": held["Q"].astype(np.float32)})
        return {name: one.astype(held["Q"].dtype) for name, one in found.items()}

    return answer


def lower_triangle(q: Array) -> Array:
    """Return what a solver sees that reads one triangle."""
    return np.tril(q) + np.tril(q, -1).T


SPECTRUM: dict[str, Wrong] = {
    "spectrum.by_value": by_order(lambda values: np.argsort(-values)),
    "spectrum.ascending": by_order(lambda values: np.argsort(abs(values))),
    "spectrum.rows": pairs_by(lambda values, x: (values, x.T)),
    "spectrum.values_permuted": pairs_by(lambda values, x: (np.roll(values, 1), x)),
    "spectrum.singular_values": pairs_by(lambda values, x: (abs(values), x)),
    "spectrum.unnormalised": pairs_by(lambda values, x: (values, 2 * x)),
    "spectrum.float32_solver": float32_solver,
    "spectrum.duplicated_vector": pairs_by(
        lambda values, x: (values, np.concatenate([x[:, :1], x[:, :-1]], axis=1))
    ),
    "spectrum.unsymmetrised": each(lower_triangle, "Q"),
    "spectrum.shifted": pairs_by(
        lambda values, x: (values + 1e-9 * float(abs(values).max(initial=0)), x)
    ),
    "spectrum.top_k_per_sign": by_order(per_sign),
}


# ---- truncations


def kept(
    choose: Callable[[Array, int], Array], weight: Callable[[Array], Array] = lambda values: values
) -> Wrong:
    """Sum other pairs: `choose(values, k)` are their places."""

    def of(held: Inputs, out: Outputs) -> Outputs:
        values, vectors = eigenpairs(held["Q"])
        places = choose(values, int(held["k"]))
        return {"matrix": rebuilt(weight(values[places]), vectors[:, places])}

    return after(of)


def leading(values: Array, k: int) -> Array:
    """Return the places of the first k."""
    return np.arange(len(values))[:k]


def tail_not_squared(held: Inputs, out: Outputs) -> Outputs:
    """Sum the eigenvalues left out as they are."""
    return {"tail": eigenpairs(held["Q"])[0][int(held["k"]) :].sum()}


TRUNCATE: dict[str, Wrong] = {
    "truncate.wrong_end": kept(lambda values, k: np.arange(len(values))[len(values) - k :]),
    "truncate.by_value": kept(lambda values, k: np.argsort(-values)[:k]),
    "truncate.off_by_one": kept(lambda values, k: leading(values, k + 1)),
    "truncate.magnitudes": kept(leading, abs),
    "truncate.positive_only": kept(lambda values, k: leading(values, k)[values[:k] > 0]),
    "truncate.tail_not_squared": after(tail_not_squared),
}


# ---- HOSVD


def one_triangle(held: Inputs, out: Outputs) -> Outputs:
    """Take the inputs' factor from an unfolding in which one triangle is zero."""
    whole = unpack(held["tensor"])
    _, u_in = factors(np.tril(whole))
    return {"u_in": u_in, "core": contracted(whole, out["u_out"], u_in)}


def core_untransposed(held: Inputs, out: Outputs) -> Outputs:
    """Contract the tensor with the factors, not their transposes, where all are square."""
    u_out, u_in = out["u_out"], out["u_in"]
    if any(u.shape[0] != u.shape[1] for u in (u_out, u_in)):
        raise NotImplementedError("a factor is not square")
    return {"core": contracted(unpack(held["tensor"]), u_out.T, u_in.T)}


def rank_before_core(held: Inputs, out: Outputs) -> Outputs:
    """Compute the core without the last column of u_in."""
    cut = np.concatenate([out["u_in"][:, :-1], 0 * out["u_in"][:, -1:]], axis=1)
    return {"core": contracted(unpack(held["tensor"]), out["u_out"], cut)}


def padded(held: Inputs, out: Outputs) -> Outputs:
    """Give the outputs a square factor, whatever the rank."""
    whole = unpack(held["tensor"])
    m, d, _ = whole.shape
    u_out = np.linalg.svd(whole.reshape(m, d * d), full_matrices=True)[0]
    return {"u_out": u_out, "core": contracted(whole, u_out, out["u_in"])}


HOSVD: dict[str, Wrong] = {
    "hosvd.unsymmetrised": after(one_triangle),
    "hosvd.mode_order": after(lambda held, out: {"core": out["core"].transpose(2, 1, 0)}),
    "hosvd.core_untransposed": after(core_untransposed),
    "hosvd.rank_before_core": after(rank_before_core),
    "hosvd.padded": after(padded),
}
