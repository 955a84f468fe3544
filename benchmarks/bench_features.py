"""The top interactions of one output feature among many input features, against the usual ways.

First ours is verified: at a small size against rational arithmetic, pair by pair; at the size of
the case on sparse integer weights, which float32 adds exactly in any order, against q formed of a
subset of the features: pairs, values and the order of ties must be equal. Then every way is timed
in a process of its own, from weights to pairs, and its peak memory read there.

    python benchmarks/bench_features.py --out features.json --table features.md
    python benchmarks/bench_features.py --cases 64x32x500 --rounds 1

The usual ways go through whole rows of q in blocks, because q itself may not fit (1 GB in float32
at 16,384 features, twice that to symmetrise it), and keep the k largest of the triangle:

    numpy           A = w_left W_dec and C = w_right W_dec, two products a block, `argpartition`
    torch           the same with `topk`
    torch, model    `W_decᵀ Q W_dec` with Q formed first, one product a block, `topk`

Each is timed on some of its blocks, and that part of its time multiplied. `a_and_c_seconds` is what
`feature_layer` takes, which ours does not need.
"""

import argparse
import gc
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import machine
import refbilinear as rb
from refbilinear.analysis.features import (
    feature_form,
    feature_layer,
    top_interactions,
)

K = 8
"""How many pairs."""
BLOCK = 1024
"""Rows of q at a time, of the usual ways."""
TIMED = 2
"""Blocks that these are timed on."""
SUBSET = 2048
"""Features that are verified at the size of a case."""
MANY = 1000
"""How many pairs of them."""


class Case(NamedTuple):
    """Sizes of a layer and its dictionary."""

    d_hidden: int
    d_in: int
    n_features: int

    @property
    def name(self) -> str:
        """The name that `--cases` takes."""
        return "x".join(map(str, self))


CASES = (Case(3072, 768, 16384),)


class Problem(NamedTuple):
    """A layer, the encoder direction of an output feature, and a decoder, all float32."""

    layer: rb.BilinearLayer
    e: np.ndarray
    decoder: np.ndarray


def problem(case: Case) -> Problem:
    """Return weights that are the same on every run; the columns of the decoder have length 1."""
    rng = np.random.default_rng(0)
    shapes = (case.d_hidden, case.d_in), (case.d_hidden, case.d_in), (case.d_in, case.d_hidden)
    arrays = [
        rng.standard_normal(shape, np.float32) / np.float32(shape[1] ** 0.5) for shape in shapes
    ]
    decoder = rng.standard_normal((case.d_in, case.n_features), np.float32)
    decoder /= np.linalg.norm(decoder, axis=0)
    e = rng.standard_normal(case.d_in, np.float32)
    return Problem(rb.BilinearLayer(*arrays), e / np.linalg.norm(e), decoder)


# ---- the ways ----


def ours(given: Problem) -> tuple[float, Any]:
    """Return the seconds of the whole, and the pairs."""
    start = time.perf_counter()
    found = top_interactions(feature_form(*given), K)
    return time.perf_counter() - start, found


def in_parts(
    setup: Callable[[], Any], step: Callable[[Any, slice], Any], n_features: int
) -> tuple[float, None]:
    """Return the seconds of a setup and of all blocks of rows, extrapolated from some."""
    start = time.perf_counter()
    state = setup()
    of_setup = time.perf_counter() - start
    blocks = list(spans(n_features))[:TIMED]
    start = time.perf_counter()
    for rows in blocks:
        step(state, rows)
    done = sum(rows.stop - rows.start for rows in blocks)
    return of_setup + (time.perf_counter() - start) * n_features / done, None


def spans(size: int) -> Iterator[slice]:
    """Yield blocks of rows."""
    for start in range(0, size, BLOCK):
        yield slice(start, min(size, start + BLOCK))


def with_numpy(given: Problem) -> tuple[float, None]:
    """Return the seconds of two products a block, and `argpartition`."""
    layer, e, decoder = given

    def setup() -> tuple[np.ndarray, ...]:
        return layer.w_left @ decoder, layer.w_right @ decoder, (e / 2) @ layer.w_out

    def step(state: tuple[np.ndarray, ...], rows: slice) -> np.ndarray:
        a, c, half = state
        q = (a[:, rows].T * half) @ c
        q += (c[:, rows].T * half) @ a
        sizes = np.abs(np.tril(q, rows.start)).ravel()
        return np.argpartition(sizes, len(sizes) - K)[-K:]

    return in_parts(setup, step, decoder.shape[1])


def with_torch(given: Problem) -> tuple[float, None]:
    """Return the seconds of two products a block, and `topk`."""
    import torch

    left, right, out, e, decoder = in_torch(given)

    def setup() -> tuple[Any, ...]:
        return left @ decoder, right @ decoder, (e / 2) @ out

    def step(state: tuple[Any, ...], rows: slice) -> Any:
        a, c, half = state
        q = (a[:, rows].T * half) @ c
        q += (c[:, rows].T * half) @ a
        return torch.topk(q.tril(rows.start).abs().flatten(), K)

    return in_parts(setup, step, decoder.shape[1])


def with_torch_in_model_space(given: Problem) -> tuple[float, None]:
    """Return the seconds of one product a block behind Q, and `topk`."""
    import torch

    left, right, out, e, decoder = in_torch(given)

    def setup() -> Any:
        product = (left.T * ((e / 2) @ out)) @ right
        return decoder.T @ (product + product.T)

    def step(state: Any, rows: slice) -> Any:
        return torch.topk((state[rows] @ decoder).tril(rows.start).abs().flatten(), K)

    return in_parts(setup, step, decoder.shape[1])


def in_torch(given: Problem) -> tuple[Any, ...]:
    """Return the weights as tensors."""
    import torch

    torch.set_num_threads(machine.blas_threads())
    layer, e, decoder = given
    arrays = layer.w_left, layer.w_right, layer.w_out, e, decoder
    return tuple(torch.from_numpy(np.array(array)) for array in arrays)


def a_and_c(given: Problem) -> tuple[float, None]:
    """Return the seconds of `feature_layer`."""
    start = time.perf_counter()
    feature_layer(given.layer, given.decoder)
    return time.perf_counter() - start, None


WAYS: dict[str, Callable[[Problem], tuple[float, Any]]] = {"ours": ours, "numpy": with_numpy}
if find_spec("torch"):
    WAYS |= {"torch": with_torch, "torch, model space": with_torch_in_model_space}
WAYS["a_and_c"] = a_and_c


def run(name: str, case: Case) -> dict[str, float]:
    """Return what a way takes in this process: seconds, and the peak of its whole memory in GB."""
    given = problem(case)
    gc.collect()
    seconds, _ = WAYS[name](given)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": seconds, "peak_gigabytes": peak * unit / 1e9}


def alone(name: str, case: Case) -> dict[str, float]:
    """Return what a way takes in a fresh process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as executor:
        return executor.submit(run, name, case).result()


# ---- right first ----


def require(right: bool, words: str) -> None:
    """Stop unless a result is right."""
    if not right:
        raise SystemExit(f"wrong: {words}")


def coefficients(q: np.ndarray) -> list[tuple[int, int, Any]]:
    """Return all pairs i ≥ j and what stands before f_i f_j, by descending magnitude."""
    pairs = [(i, j, q[i, j] * (1 + (i != j))) for i in range(len(q)) for j in range(i + 1)]
    return sorted(pairs, key=lambda pair: (-abs(pair[2]), pair[:2]))


def verify_small() -> None:
    """Compare all pairs of integer weights with rational arithmetic, ties and order included."""
    exact = np.vectorize(Fraction, otypes=[object])
    rng = np.random.default_rng(1)
    for d_hidden in (2, 9):
        shapes = (d_hidden, 5), (d_hidden, 5), (3, d_hidden), (3,), (5, 40)
        left, right, out, e, decoder = (rng.integers(-2, 3, shape) for shape in shapes)
        a, c, w = exact(left) @ decoder, exact(right) @ decoder, exact(e) @ exact(out)
        q = ((a.T * w) @ c + (c.T * w) @ a) / 2
        floats = (array.astype(np.float32) for array in (left, right, out))
        form = feature_form(rb.BilinearLayer(*floats), np.float32(e), np.float32(decoder))
        found = top_interactions(form, 100)
        mine = [(i, j, Fraction(v)) for i, j, v in zip(*(p.tolist() for p in found), strict=True)]
        require(mine == coefficients(q)[:100], f"pairs of {d_hidden} units")


def sparse(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    """Return rows with up to `count` entries ±1, the others 0."""
    array = np.zeros(shape, np.float32)
    places = rng.integers(0, shape[1], (shape[0], count))
    np.put_along_axis(array, places, rng.choice(np.float32([-1, 1]), places.shape), axis=1)
    return array


def verify(case: Case) -> None:
    """Compare the pairs of a subset with those of q, formed, of integers that no sum rounds."""
    rng, few = np.random.default_rng(2), min(SUBSET, case.n_features)
    left, right = (sparse(rng, (case.d_hidden, case.d_in), 4) for _ in range(2))
    out = sparse(rng, (case.d_hidden, case.d_in), 3).T
    e, decoder = sparse(rng, (1, case.d_in), 9)[0], sparse(rng, (few, case.d_in), 40).T
    form = feature_form(rb.BilinearLayer(left, right, out), e, decoder)
    # No partial sum is larger than Q and q of absolute values, and all are multiples of ½.
    largest = whole(*(abs(array) for array in (left, right, out, e, decoder))).max()
    require(largest < 2**22, "the integers of the check are too large")
    q = whole(left, right, out, e, decoder)
    q = np.tril(2 * q)
    np.fill_diagonal(q, q.diagonal() / 2)
    rows, columns = np.nonzero(q)
    order = np.lexsort((columns, rows, -abs(q[rows, columns])))[:MANY]
    found = top_interactions(form, len(order))
    want = rows[order], columns[order], q[rows[order], columns[order]]
    same = all(np.array_equal(mine, other) for mine, other in zip(found, want, strict=True))
    require(same, f"the largest pairs of {case.name}")


def whole(*arrays: np.ndarray) -> np.ndarray:
    """Return q in float64, formed through A and C."""
    left, right, out, e, decoder = (array.astype(np.float64) for array in arrays)
    half = ((left @ decoder).T * (e @ out / 2)) @ (right @ decoder)
    return half + half.T


# ---- rounds, and what they say ----


def compare(case: Case, rounds: int) -> dict[str, Any]:
    """Verify a case and time it; return its row."""
    verify(case)
    row: dict[str, Any] = case._asdict() | {"k": K}
    row["load"] = machine.describe(machine.blas_threads())["load"]
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name in WAYS:
            taken[name].append(alone(name, case))
    for name, runs in taken.items():
        row[name] = {key: median(one[key] for one in runs) for key in runs[0]}
        pairs = zip(runs, taken["ours"], strict=True)
        row[name]["ratio"] = median(one["seconds"] / mine["seconds"] for one, mine in pairs)
    row["a_and_c_seconds"] = row.pop("a_and_c")["seconds"]
    return row


def table(results: dict[str, Any]) -> str:
    """Return the rows as Markdown."""
    lines = ["| d_hidden × d_in × features | way | seconds | times ours | peak GB |"]
    lines += ["|---|---|---:|---:|---:|"]
    for row in results["rows"]:
        sizes = " × ".join(str(row[name]) for name in Case._fields)
        for name in WAYS:
            if name in row:
                one = row[name]
                lines.append(
                    f"| {sizes} | {name} | {one['seconds']:.2f} | {one['ratio']:.1f} "
                    f"| {one['peak_gigabytes']:.2f} |"
                )
    return "\n".join(lines) + "\n"


# ---- the command ----


def sizes(text: str) -> Case:
    """Return the case of a name, d_hidden x d_in x n_features."""
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(
            f"must be d_hidden x d_in x n_features, as 64x32x500; got {text}"
        )
    return Case(*map(int, parts))


def positive(text: str) -> int:
    """Return the number of at least 1 that a text is."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"must be a number of at least 1; got {text}")
    return int(text)


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, help="JSON file to write (default: standard output)")
    add("--table", type=Path, help="Markdown file to write")
    names = ", ".join(case.name for case in CASES)
    add("--cases", nargs="+", type=sizes, default=CASES, help=f"sizes (default: {names})")
    add("--rounds", type=positive, default=3, help="of all, in turn (default: 3)")
    return parser.parse_args()


def main() -> None:
    """Verify, time, write."""
    options = parse()
    verify_small()
    results: dict[str, Any] = {"machine": machine.describe(machine.blas_threads())}
    results |= {"rounds": options.rounds, "rows": []}
    for case in options.cases:
        if sys.stderr.isatty():
            sys.stderr.write(f"{case.name}\n")
        results["rows"].append(compare(case, options.rounds))
    results["gemm_gflops"] = machine.gemm_rate(np.float32) / 1e9
    machine.write(results, options.out)
    if options.table is not None:
        options.table.write_text(table(results), encoding="utf-8")


if __name__ == "__main__":
    main()
