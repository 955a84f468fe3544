"""Honest implementations before the judge: the worst error over bound, and no false alarm.

Layers, tensors, batches and losses are drawn at random; every result of every implementation is
compared with the exact one, and its error divided by its bound. An implementation is

    simulated      the specification on a simulated machine: a claim of precision, one of six orders
                   of summation, fused or not (see `refbilinear.oracle.machines`)
    numpy          the specification itself, float32 and float64
    kernel         `refbilinear.fast`, which fuses
    einsum         the definitions as NumPy's einsum, with and without optimisation
    torch          PyTorch with autograd, one thread and two
    jax            JAX, jitted, with grad; on CPUs it flushes subnormal results to zero, and so it
                   is judged by the claims that say so

A result is judged where all of its numbers are; where the bound is infinite the exact result may
overflow and nothing is judged. The exit status is 1 if a bound was exceeded.

    python benchmarks/judge_honest.py --problems 10000 --out honest.json --table honest.md
    python benchmarks/judge_honest.py --problems 200 --only simulated jax --seed 3
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import machine
import refbilinear as rb
from refbilinear.oracle import bounds, exact, training
from refbilinear.oracle.claims import CLAIMS
from refbilinear.oracle.machines import ORDERS, simulate

SIZES = ((3, 5, 2), (5, 3, 4), (1, 4, 2), (2, 1, 3), (7, 6, 1), (4, 8, 5), (11, 9, 3), (3, 19, 2))
OPTIONAL = ("w_out", "b_left", "b_right", "b_out", "w_skip")
FEW = 6  # combinations that JAX compiles for
SMALL = 0.2  # the share of problems near underflow
SETTINGS = {"learning_rate": 0.01, "weight_decay": 0.1, "beta1": 0.875, "beta2": 0.9990234375}

Results = dict[str, Any]


class Problem(NamedTuple):
    """A layer and all that its functions need."""

    number: int
    layer: rb.BilinearLayer
    x: np.ndarray
    z: np.ndarray
    dy: np.ndarray
    u: np.ndarray
    tensor: np.ndarray
    labels: np.ndarray
    state: list[np.ndarray]
    t: int

    @property
    def form(self) -> rb.QuadraticForm:
        """A form of its own."""
        matrix = rb.unpack(self.tensor[0])
        return rb.QuadraticForm(matrix, self.x[0], self.x[0, 0])

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Two eigenvalues and two columns that stand for eigenvectors."""
        return self.x[1:3, 0], np.ascontiguousarray(self.z[:2].T)

    @property
    def dtype(self) -> type:
        """float32 or float64."""
        return self.x.dtype.type


def draw(number: int, seed: int, dtype: type) -> Problem:
    """Return a problem, always the same for its number, seed and dtype."""
    rng = np.random.default_rng([number, seed, dtype == np.float32])
    kind = number % (len(SIZES) * 2 ** len(OPTIONAL))
    d, h, m = SIZES[kind % len(SIZES)]
    present = [name for bit, name in enumerate(OPTIONAL) if kind // len(SIZES) >> bit & 1]
    m = m if "w_out" in present else h
    small = rng.random() < SMALL
    least = np.finfo(dtype).minexp // 4

    def normal(*shape: int) -> np.ndarray:
        scale = 2.0 ** int(rng.integers(least, 1)) if small else 1.0
        array = (rng.standard_normal(shape) * scale).astype(dtype)
        return np.where(np.abs(array) < np.finfo(dtype).tiny, dtype(scale), array)

    shapes = {"w_out": (m, h), "b_left": (h,), "b_right": (h,), "b_out": (m,), "w_skip": (m, d)}
    parameters = {name: normal(*shapes[name]) for name in present}
    layer = rb.BilinearLayer(normal(h, d), normal(h, d), **parameters)
    state = [normal(4) for _ in range(3)]
    return Problem(
        number, layer, normal(4, d), normal(4, d), normal(4, m), normal(m),
        normal(m, rb.n_pairs(d)), rng.integers(0, m, 4), [*state, np.abs(normal(4))],
        int(rng.integers(1, 50)),
    )  # fmt: skip


# ---- what is judged: exact results and bounds


def truth(p: Problem) -> Results:
    """Return every exact result."""
    return {
        "forward": exact.forward(p.layer, p.x),
        "backward": exact.backward(p.layer, p.x, p.dy),
        "tensor": exact.interaction_tensor(p.layer),
        "matrix": exact.interaction_matrix(p.tensor, p.u),
        "output_form": exact.output_form(p.layer, p.u),
        "form_value": exact.form_value(p.form, p.x),
        "quadratic_form": exact.quadratic_form(p.tensor, p.x),
        "bilinear_form": exact.bilinear_form(p.tensor, p.x, p.z),
        "tensor_gradient": exact.tensor_gradient(p.x, p.dy),
        "truncated_form": exact.truncated_form(*p.pairs, p.x),
        "squared_error": exact.squared_error(p.x, p.z),
        "cross_entropy": exact.cross_entropy(p.dy, p.labels),
        "adamw": exact.adamw(*p.state, p.t, **SETTINGS),
    }


def limits(p: Problem, claim: str) -> Results:
    """Return every bound of a claim; cross-entropy and AdamW have one in plain precision."""
    found = {
        "forward": bounds.forward_bound(p.layer, p.x, claim),
        "backward": bounds.backward_bound(p.layer, p.x, p.dy, claim),
        "tensor": bounds.tensor_bound(p.layer, claim),
        "matrix": bounds.matrix_bound(p.tensor, p.u, claim),
        "output_form": bounds.output_form_bound(p.layer, p.u, claim),
        "form_value": bounds.form_value_bound(p.form, p.x, claim),
        "quadratic_form": bounds.quadratic_form_bound(p.tensor, p.x, claim),
        "bilinear_form": bounds.bilinear_form_bound(p.tensor, p.x, p.z, claim),
        "tensor_gradient": bounds.tensor_gradient_bound(p.x, p.dy, claim),
        "truncated_form": bounds.truncated_form_bound(*p.pairs, p.x, claim),
        "squared_error": bounds.squared_error_bound(p.x, p.z, claim),
    }
    if CLAIMS[claim].storage is None:
        found["cross_entropy"] = training.cross_entropy_bound(p.dy, p.labels, claim)
        found["adamw"] = training.adamw_bound(*p.state, p.t, **SETTINGS, claim=claim)
    return found


# ---- the implementations


def calls(p: Problem) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Return the functions that only add, multiply and divide, with their arguments."""
    return {
        "forward": (rb.forward, (p.layer, p.x)),
        "backward": (rb.backward, (p.layer, p.x, p.dy)),
        "tensor": (rb.interaction_tensor, (p.layer,)),
        "matrix": (rb.interaction_matrix, (p.tensor, p.u)),
        "output_form": (rb.output_form, (p.layer, p.u)),
        "form_value": (rb.form_value, (p.form, p.x)),
        "quadratic_form": (rb.quadratic_form, (p.tensor, p.x)),
        "bilinear_form": (rb.bilinear_form, (p.tensor, p.x, p.z)),
        "tensor_gradient": (rb.tensor_gradient, (p.x, p.dy)),
        "truncated_form": (bounds.truncated_form, (*p.pairs, p.x)),
        "squared_error": (rb.squared_error, (p.x, p.z)),
    }


def specification(p: Problem) -> Results:
    """Return what `refbilinear` computes in the dtype of the problem."""
    return {name: function(*arguments) for name, (function, arguments) in calls(p).items()} | {
        "cross_entropy": rb.cross_entropy(p.dy, p.labels),
        "adamw": rb.adamw(*p.state, p.t, **SETTINGS),
    }


def simulated(p: Problem, claim: str, order: str, fused: bool) -> Results:
    """Return what the specification gives on a simulated machine."""
    run = partial(simulate, claim=claim, order=order, fused=fused, seed=p.number)
    return {name: run(function, *arguments) for name, (function, arguments) in calls(p).items()}


def kernel(p: Problem) -> Results:
    """Return what the compiled kernel computes."""
    from refbilinear import fast

    return {
        "tensor": fast.interaction_tensor(p.layer),
        "quadratic_form": fast.quadratic_form(p.tensor, p.x),
        "bilinear_form": fast.bilinear_form(p.tensor, p.x, p.z),
        "tensor_gradient": fast.tensor_gradient(p.x, p.dy),
    }


def augmented(layer: rb.BilinearLayer) -> tuple[np.ndarray, ...]:
    """Return `[w_left | b_left]`, `[w_right | b_right]` and `w_out`, as other code writes them."""
    dtype, zero = layer.dtype, np.zeros((layer.d_hidden, 1), layer.dtype)
    out = np.eye(layer.d_out, dtype=dtype) if layer.w_out is None else layer.w_out
    if not layer.has_constant:
        return layer.w_left, layer.w_right, out
    b_left, b_right = (zero if b is None else b[:, None] for b in (layer.b_left, layer.b_right))
    return np.hstack([layer.w_left, b_left]), np.hstack([layer.w_right, b_right]), out


def with_paths(layer: rb.BilinearLayer, tensor: Any) -> Any:
    """Add skip path and output bias to a whole tensor, (d_out, d, d), in place."""
    if layer.w_skip is not None:
        tensor[:, -1, :-1] += layer.w_skip / 2
        tensor[:, :-1, -1] += layer.w_skip / 2
    if layer.b_out is not None:
        tensor[:, -1, -1] += layer.b_out
    return tensor


def einsum(p: Problem, optimize: bool) -> Results:
    """Return the definitions as NumPy's einsum, symmetrised at the end."""
    left, right, out = augmented(p.layer)
    half = np.einsum("oh,hi,hj->oij", out, left, right, optimize=optimize)
    whole = with_paths(p.layer, (half + half.swapaxes(1, 2)) / 2)
    lower = np.tril_indices(whole.shape[1])
    matrices = rb.unpack(p.tensor)
    half_of_u = np.einsum("o,oh,hi,hj->ij", p.u, p.layer.w_out, p.layer.w_left, p.layer.w_right,
                          optimize=optimize) if p.layer.w_out is not None else None  # fmt: skip
    gradient = np.einsum("no,ni,nj->oij", p.dy, p.x, p.x, optimize=optimize)
    rows = np.tril_indices(p.x.shape[1])
    found = {
        "tensor": whole[:, lower[0], lower[1]],
        "matrix": np.einsum("o,oij->ij", p.u, matrices, optimize=optimize),
        "tensor_gradient": gradient[:, rows[0], rows[1]],
    }
    if optimize:  # without, einsum forms each triple product: d² + 1 roundings, another bound
        found["quadratic_form"] = np.einsum("oij,nj->noi", matrices, p.x)
        found["quadratic_form"] = np.einsum("noi,ni->no", found["quadratic_form"], p.x)
        found["bilinear_form"] = np.einsum("oij,nj->noi", matrices, p.z)
        found["bilinear_form"] = np.einsum("noi,ni->no", found["bilinear_form"], p.x)
    if half_of_u is not None:
        found["output_form"] = rb.QuadraticForm((half_of_u + half_of_u.T) / 2, None, None)
    return found


def torch_eager(p: Problem, threads: int) -> Results:
    """Return what PyTorch computes, gradients by autograd."""
    import torch

    torch.set_num_threads(threads)
    of = {name: torch.tensor(w) for name, w in rb.parameters(p.layer).items()}
    leaves = {name: w.requires_grad_() for name, w in of.items()}
    x = torch.tensor(p.x, requires_grad=True)
    y = layer_forward(torch.nn.functional.linear, leaves, x)
    y.backward(torch.tensor(p.dy))
    gradients = {name: leaf.grad.numpy() for name, leaf in (leaves | {"x": x}).items()}
    left, right, out = (torch.tensor(w) for w in augmented(p.layer))
    half = torch.einsum("oh,hi,hj->oij", out, left, right)
    whole = with_paths(p.layer, ((half + half.transpose(1, 2)) / 2).numpy())
    lower = np.tril_indices(whole.shape[1])
    matrices = torch.from_numpy(rb.unpack(p.tensor))
    rows = torch.einsum("oij,nj->noi", matrices, torch.from_numpy(p.x))
    logits = torch.tensor(p.dy, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(p.labels))
    loss.backward()
    return {
        "forward": y.detach().numpy(),
        "backward": rb.Gradients(**{n: gradients.get(n) for n in rb.Gradients._fields}),
        "tensor": whole[:, lower[0], lower[1]],
        "quadratic_form": torch.einsum("noi,ni->no", rows, torch.from_numpy(p.x)).numpy(),
        "cross_entropy": rb.Loss(loss.detach().numpy(), logits.grad.numpy()),
        "adamw": torch_adamw(p),
    }


def torch_adamw(p: Problem) -> rb.AdamWState:
    """Return a step of `torch.optim.AdamW` from the given state."""
    import torch

    theta, g, m, v = (torch.tensor(a) for a in p.state)
    theta.requires_grad_().grad = g
    options = {"lr": SETTINGS["learning_rate"], "weight_decay": SETTINGS["weight_decay"]}
    betas = (SETTINGS["beta1"], SETTINGS["beta2"])
    optimizer = torch.optim.AdamW([theta], betas=betas, foreach=False, **options)
    step = torch.tensor(float(p.t - 1))
    optimizer.state[theta] = {"step": step, "exp_avg": m, "exp_avg_sq": v}
    optimizer.step()
    return rb.AdamWState(theta.detach().numpy(), m.numpy(), v.numpy())


def layer_forward(linear: Callable[..., Any], of: dict[str, Any], x: Any) -> Any:
    """Return the layer as a user of another library writes it."""
    get = of.get
    y = linear(x, of["w_left"], get("b_left")) * linear(x, of["w_right"], get("b_right"))
    if "w_out" in of:
        y = linear(y, of["w_out"], get("b_out"))
    elif "b_out" in of:
        y = y + of["b_out"]
    return y + linear(x, of["w_skip"]) if "w_skip" in of else y


@cache
def jax_functions() -> tuple[Callable[..., Any], ...]:
    """Return jitted forward, gradients, tensor, form and loss."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def linear(x: Any, w: Any, b: Any = None) -> Any:
        return x @ w.T if b is None else x @ w.T + b

    def forward(of: dict[str, Any], x: Any) -> Any:
        return layer_forward(linear, of, x)

    def pull_back(of: dict[str, Any], x: Any, dy: Any) -> Any:
        return jax.vjp(forward, of, x)[1](dy)

    def tensor(left: Any, right: Any, out: Any) -> Any:
        half = jnp.einsum("oh,hi,hj->oij", out, left, right)
        return (half + half.swapaxes(1, 2)) / 2

    def form(matrices: Any, x: Any) -> Any:
        return jnp.einsum("noi,ni->no", jnp.einsum("oij,nj->noi", matrices, x), x)

    def loss(y: Any, labels: Any) -> Any:
        logs = jax.nn.log_softmax(y)
        return -jnp.mean(logs[jnp.arange(len(y)), labels])

    return tuple(map(jax.jit, (forward, pull_back, tensor, form, jax.value_and_grad(loss))))


def jax_jitted(p: Problem) -> Results:
    """Return what JAX computes, compiled for the problem's shapes."""
    forward, pull_back, tensor, form, loss = jax_functions()
    of = {name: np.array(w) for name, w in rb.parameters(p.layer).items()}
    gradients, dx = pull_back(of, p.x, p.dy)
    whole = with_paths(p.layer, np.array(tensor(*augmented(p.layer))))
    lower = np.tril_indices(whole.shape[1])
    by_name = {name: np.array(g) for name, g in gradients.items()} | {"x": np.array(dx)}
    value, dy = loss(p.dy, p.labels)
    return {
        "forward": np.array(forward(of, p.x)),
        "backward": rb.Gradients(**{n: by_name.get(n) for n in rb.Gradients._fields}),
        "tensor": whole[:, lower[0], lower[1]],
        "quadratic_form": np.array(form(rb.unpack(p.tensor), p.x)),
        "cross_entropy": rb.Loss(np.array(value), np.array(dy)),
    }


def implementations(p: Problem, only: list[str], machines: int) -> Iterator[tuple[str, str, Any]]:
    """Yield (name, claim, results) of all implementations that are there and asked for."""
    own = "f32" if p.dtype == np.float32 else "f64"
    if "simulated" in only:
        yield from simulations(p, own, machines)
    if "numpy" in only:
        yield "numpy", own, specification(p)
    if "einsum" in only:
        for optimize in (False, True):
            yield f"einsum optimize={optimize}", own, einsum(p, optimize)
    if "kernel" in only:
        yield "kernel", own, kernel(p)
    if "torch" in only:
        for threads in (1, 2):
            yield f"torch {threads} threads", own, torch_eager(p, threads)
    if "jax" in only and p.number % (len(SIZES) * 2 ** len(OPTIONAL)) in few():
        yield "jax", f"{own}-ftz", jax_jitted(p)


def few() -> list[int]:
    """Return the combinations of sizes and parameters that JAX compiles for."""
    every = len(SIZES) * 2 ** len(OPTIONAL)
    return [every * k // FEW + 5 * k for k in range(FEW)]


def simulations(p: Problem, own: str, machines: int) -> Iterator[tuple[str, str, Any]]:
    """Yield some of the simulated machines, in turn over the problems."""
    claims = [name for name in CLAIMS if (name[:3] == "f64") == (own == "f64")]
    choices = [(c, o, f) for c in claims for o in ORDERS for f in (False, True)]
    for k in range(machines):
        claim, order, fused = choices[(p.number * machines + k) * 7 % len(choices)]
        yield f"{order}{' fused' * fused}", claim, simulated(p, claim, order, fused)


# ---- the judgement


def parts(name: str, result: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of a result under the names they are reported by."""
    if not isinstance(result, tuple):
        yield name, result
        return
    for field, part in zip(result._fields, result, strict=True):
        if part is not None:
            yield f"{name}.{field}", part


def worst_ratio(got: Any, want: Any, allowed: Any, known: float) -> float | None:
    """Return the largest |got − want| / allowed, or `known` where no ratio is larger.

    None where nothing can be judged. In float64 first; exactly where that leaves a doubt.
    """
    got, want, allowed = (np.asarray(a).ravel() for a in (got, want, allowed))
    judged = np.isfinite(allowed.astype(float))
    if not judged.any():
        return None
    mine, true, limit = got[judged].astype(float), want[judged], allowed[judged].astype(float)
    if not np.isfinite(mine).all():
        return float("inf")
    near = np.array([float(number) for number in true])
    doubt = np.abs(mine - near) + (np.abs(mine) + np.abs(near)) * 2.0**-52 + 5e-324
    worst = known
    for k in np.flatnonzero(~(doubt <= worst * limit)):
        error = abs(Fraction(mine[k]) - true[k])
        if error:
            ratio = float(error / Fraction(limit[k])) if limit[k] else float("inf")
            worst = max(worst, ratio)
    return worst


class Tally:
    """What has been judged."""

    def __init__(self) -> None:
        self.worst: dict[str, dict[str, float]] = {}
        self.judged: Counter[str] = Counter()
        self.alarms: list[dict[str, Any]] = []

    def judge(self, p: Problem, name: str, claim: str, got: Results, want: Results,
              limit: Results) -> None:  # fmt: skip
        """Compare all results of one implementation."""
        for output in got.keys() & limit.keys():
            true, allowed = (dict(parts(output, of[output])) for of in (want, limit))
            for part, array in parts(output, got[output]):
                known = min(self.worst.get(part, {}).get(claim, 0.0), 1.0)
                ratio = worst_ratio(array, true[part], allowed[part], known)
                if ratio is not None:
                    self.note(p, name, claim, part, ratio)

    def note(self, p: Problem, name: str, claim: str, part: str, ratio: float) -> None:
        """Count a judged result and keep the worst."""
        self.judged[name] += 1
        of_part = self.worst.setdefault(part, {})
        of_part[claim] = max(of_part.get(claim, 0.0), ratio)
        if not ratio <= 1:
            self.alarms.append({"problem": p.number, "by": name, "claim": claim, "of": part,
                                "dtype": p.dtype.__name__, "ratio": ratio})  # fmt: skip


def run(numbers: range, seed: int, only: list[str], machines: int) -> Tally:
    """Judge all implementations on the given problems, in float32 and float64."""
    tally = Tally()
    for number in progress(numbers):
        for dtype in (np.float32, np.float64):
            p = draw(number, seed, dtype)
            want, limit = cache(partial(truth, p)), cache(partial(limits, p))
            with np.errstate(all="ignore"):
                for name, claim, got in implementations(p, only, machines):
                    tally.judge(p, name, claim, got, want(), limit(claim))
    return tally


def progress(numbers: range) -> Iterator[int]:
    """Yield the numbers, with a bar where someone looks."""
    from tqdm import tqdm

    return iter(tqdm(numbers, unit="problem", disable=not sys.stderr.isatty()))


def table(tally: Tally) -> str:
    """Return the worst ratios as a Markdown table."""
    claims = [claim for claim in CLAIMS if any(claim in of for of in tally.worst.values())]
    lines = ["| result | " + " | ".join(claims) + " |", "|---" * (len(claims) + 1) + "|"]
    for part, of in sorted(tally.worst.items()):
        cells = [f"{of[claim]:.2f}" if claim in of else "" for claim in claims]
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def available() -> list[str]:
    """Return the implementations whose libraries are installed."""
    wanted = {"kernel": "refbilinear._kernel", "torch": "torch", "jax": "jax"}
    names = ("simulated", "numpy", "einsum", "kernel", "torch", "jax")
    return [name for name in names if name not in wanted or find_spec(wanted[name])]


def main() -> int:
    """Run the campaign that the arguments ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--problems", type=int, default=1000, help="each in float32 and in float64")
    add("--first", type=int, default=0, help="number of the first problem")
    add("--seed", type=int, default=0)
    add("--machines", type=int, default=2, help="simulated machines a problem")
    add("--only", nargs="+", default=available(), choices=available(), help="what to judge")
    add("--out", type=Path, help="file for the JSON; otherwise it is printed")
    add("--table", type=Path, help="file for the worst ratios as a Markdown table")
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.problems)
    tally = run(numbers, options.seed, options.only, options.machines)
    results = {
        "machine": machine.describe(len(os.sched_getaffinity(0))),
        "problems": 2 * len(numbers), "seed": options.seed, "first": options.first,
        "judged": dict(tally.judged), "total": tally.judged.total(),
        "false_alarms": tally.alarms, "worst": tally.worst,
    }  # fmt: skip
    machine.write(results, options.out)
    if options.table:
        options.table.write_text(table(tally), encoding="utf-8")
    return 1 if tally.alarms else 0


if __name__ == "__main__":
    sys.exit(main())
