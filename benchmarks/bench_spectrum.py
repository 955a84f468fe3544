"""Leading eigenpairs of many output directions, against PyTorch's and NumPy's dense way.

First the result is verified: residuals by products of its own, and the eigenvalues of one direction
by NumPy's `eigh`. Then each way is timed in processes of its own, in turn.

    python benchmarks/bench_spectrum.py --out spectrum.json --table spectrum.md
    python benchmarks/bench_spectrum.py --cases 3072x768x10 --directions 8 --rounds 1

A case is d_hidden x d_in x k, and any such is one. Ours is `spectra` of all directions. Theirs is,
for each direction, one product, its symmetric part and all eigenpairs; on large cases of two
directions, multiplied, which the rows say. Ratios are their time over ours. Memory is the peak of
NumPy's allocations, in a run of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import machine
from refbilinear import BilinearLayer, output_form
from refbilinear.analysis.directions import Spectra, spectra

TOLERANCE = 1e-10


class Case(NamedTuple):
    """A layer's sizes, how many pairs are asked for, and how many directions a baseline takes."""

    d_hidden: int
    d_in: int
    k: int
    baseline: int

    @property
    def name(self) -> str:
        """The name that `--cases` takes."""
        return f"{self.d_hidden}x{self.d_in}x{self.k}"


CASES = (Case(3072, 768, 10, 64), Case(11008, 4096, 4, 2), Case(512, 784, 10, 64))
SMALL = Case(48, 32, 3, 2)
DIRECTIONS = 64


# ---- the ways


def ours(layer: BilinearLayer, U: np.ndarray, k: int) -> Spectra:
    """Find the leading pairs of all directions at once."""
    return spectra(layer, U, k, TOLERANCE)


def torch_way(layer: BilinearLayer, U: np.ndarray, k: int) -> np.ndarray:
    """Form each matrix by one product, and take all its eigenpairs."""
    torch = import_module("torch")
    torch.set_num_threads(machine.blas_threads())
    left, right, weights = (torch.tensor(a) for a in (layer.w_left, layer.w_right, U @ layer.w_out))
    found = []
    for w in weights:
        product = (left * w[:, None]).T @ right
        values, vectors = torch.linalg.eigh((product + product.T) / 2)
        order = values.abs().argsort(descending=True)[:k]
        found.append((values[order], vectors[:, order]))
    return np.stack([values.numpy() for values, _ in found])


def numpy_way(layer: BilinearLayer, U: np.ndarray, k: int) -> np.ndarray:
    """Do the same by NumPy."""
    found = []
    for u in U:
        values, vectors = np.linalg.eigh(output_form(layer, u).matrix)
        order = np.argsort(-np.abs(values))[:k]
        found.append((values[order], vectors[:, order]))
    return np.stack([values for values, _ in found])


WAYS: dict[str, Callable[..., Any]] = {"ours": ours, "torch": torch_way, "numpy": numpy_way}


def problem(case: Case, directions: int) -> tuple[BilinearLayer, np.ndarray]:
    """Return the layer and the directions, the same in every process."""
    rng, hidden = np.random.default_rng(0), (case.d_hidden, case.d_in)
    left, right = rng.standard_normal((2, *hidden))
    w_out = rng.standard_normal((directions, case.d_hidden))
    return BilinearLayer(left, right, w_out), np.eye(directions)


# ---- right first


def verify(case: Case, directions: int) -> dict[str, Any]:
    """Return the worst residual over |λ₁|, the error against NumPy's `eigh`, and the memory."""
    layer, U = problem(case, directions)
    tracemalloc.start()
    found = ours(layer, U, case.k)
    memory = tracemalloc.get_traced_memory()[1] / (layer.w_left.nbytes + layer.w_right.nbytes)
    tracemalloc.stop()
    worst = 0.0
    for number in range(len(U) if case.baseline >= len(U) else case.baseline):
        values, vectors = found.spectrum(number)
        left, right = layer.w_left @ vectors, layer.w_right @ vectors
        w = layer.w_out[number][:, None] / 2
        rest = layer.w_left.T @ (w * right) + layer.w_right.T @ (w * left) - vectors * values
        worst = max(worst, float(np.linalg.norm(rest, axis=0).max() / abs(values[0])))
    dense = np.linalg.eigvalsh(output_form(layer, U[0]).matrix)
    dense = dense[np.argsort(-np.abs(dense))][: case.k]
    error = np.abs(np.sort(np.abs(dense)) - np.sort(np.abs(found.eigenvalues[0]))).max()
    if not (worst <= 2 * TOLERANCE and error <= TOLERANCE * np.abs(dense[0])):
        raise SystemExit(f"{case.name}: residual {worst:.1e}, error {error:.1e} of {dense[0]:.1e}")
    return {"residual": worst, "error": float(error / abs(dense[0])), "memory": memory}


# ---- a process that times one of them


def work(way: str, case: Case, directions: int) -> None:
    """Be a process that times one way; print its seconds for one direction."""
    count = directions if way == "ours" else min(directions, case.baseline)
    layer, U = problem(case, directions)
    WAYS[way](*problem(SMALL, 2), SMALL.k)
    start = time.perf_counter()
    WAYS[way](layer, U[:count], case.k)
    seconds = (time.perf_counter() - start) / count
    print(json.dumps({"seconds": seconds, "directions": count}))


def in_its_own_process(way: str, case: Case, options: argparse.Namespace) -> dict[str, float]:
    """Return what `work` prints."""
    names = ("OPENBLAS", "OMP", "MKL")
    threads = {f"{library}_NUM_THREADS": str(options.threads) for library in names}
    command = [sys.executable, __file__, "--work", way, case.name, str(options.directions)]
    environment = os.environ | threads
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise SystemExit(f"{way} on {case.name} failed ({done.returncode}): {reason}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def compare(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Verify a case and time all ways in turn; return its row."""
    row = case._asdict() | {"case": case.name, "load": os.getloadavg()[0]}
    row |= verify(case, options.directions)
    ways = [way for way in WAYS if way != "torch" or installed("torch")]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way in ways:
            found[way].append(in_its_own_process(way, case, options))
    for way in ways:
        row[f"{way}_ms"] = 1e3 * median(one["seconds"] for one in found[way])
        pairs = zip(found[way], found["ours"], strict=True)
        row[f"{way}_ratio"] = median(a["seconds"] / b["seconds"] for a, b in pairs)
        row[f"{way}_directions"] = found[way][0]["directions"]
    return row


# ---- the table


def markdown(results: dict[str, Any]) -> str:
    """Return the table, and below it how and where it was measured."""
    lines = [
        "| d_hidden, d_in | k | ms each | memory | residual | torch | NumPy |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in results["rows"]:
        torch = f"{row['torch_ratio']:.1f}" if "torch_ratio" in row else "–"
        lines.append(
            f"| {row['d_hidden']}, {row['d_in']} | {row['k']} | {row['ours_ms']:.0f} | "
            f"{row['memory']:.1f} | {row['residual']:.1e} | {torch} | "
            f"{row['numpy_ratio']:.1f} |"
        )
    return "\n".join([*lines, "", LEGEND.format_map(results["machine"] | results), ""])


LEGEND = """\
{processor}, threads: {threads}; Python {python}, NumPy {numpy}, PyTorch {torch}; load before the
run {load:.2f}. Medians over rounds ({rounds}), each in a process of its own, by
`benchmarks/bench_spectrum.py`, of {directions} directions, random weights in float64. The last
columns are the dense way's time over ours, where many directions would take too long of two.
*memory*: what is held besides the weights, in units of w_left and w_right. *residual*: the worst
over |λ₁|."""


# ---- the command


def installed(package: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def case_of(text: str) -> Case:
    """Return the case of a name; any d_hidden x d_in x k is one."""
    known = {case.name: case for case in CASES}
    if text in known:
        return known[text]
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(
            f"must be one of {', '.join(known)}, or d_hidden x d_in x k as 48x32x3; got {text}"
        )
    return Case(*map(int, parts), baseline=2)


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
    add("--cases", nargs="+", type=case_of, default=CASES, help="(default: all)")
    add("--directions", type=positive, default=DIRECTIONS, help="(default: 64)")
    add("--rounds", type=positive, default=3, help="of all, in turn (default: 3)")
    add("--threads", type=positive, default=machine.blas_threads(), help="of all (default: all)")
    add("--work", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Verify, time, write."""
    options = parse()
    if options.work:
        way, name, directions = options.work
        work(way, case_of(name), int(directions))
        return
    results: dict[str, Any] = {
        "machine": machine.describe(options.threads) | {"torch": installed("torch")},
        "rounds": options.rounds,
        "directions": options.directions,
        "rows": [compare(case, options) for case in options.cases],
    }
    machine.write(results, options.out)
    if options.table:
        options.table.write_text(markdown(results), encoding="utf-8")


if __name__ == "__main__":
    main()
