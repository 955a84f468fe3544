"""How far NumPy's eigensolver is from exact: the largest ratios that it reaches, and inertia timed.

    rho1 = ‖QX − XΛ‖_F / (n · 2u ‖Q‖_F)        rho2 = ‖I − XᵀX‖_F / (n · 2u)

Up to n = 25 certificates accept 10 of the first and 1000 of the second. Every matrix is screened
in more digits than its own, float32 in float64 and float64 in longdouble (with its 64 bits a ratio
is off by about a thousandth; where longdouble is float64 the screening is rough). Of each family
and size, those with the largest ratios are then evaluated exactly, on integers, and the exact
ratios, rounded up, are reported. NumPy computes the eigenpairs of float32 matrices in float64 and
rounds them. The times of inertia are of the processor, so that others on the machine count less.

    python benchmarks/calibrate_eigen.py --count 100000 --json eigen.json
    python benchmarks/calibrate_eigen.py --count 2000 --sizes 32 64

The families: random symmetric; clusters of eigenvalues 1e-10 apart; small integers, so with ties,
also of +λ and −λ; low rank; and apart from these, graded over up to 300 decades, up to n = 25 and
beyond it, where LAPACK divides and conquers and vectors of graded matrices lose orthogonality.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import machine
from refbilinear.oracle.certificates import certify
from refbilinear.oracle.inertia import inertia, inertias

SMALL, LARGE = range(2, 26), range(26, 65, 2)
KEPT = 2
"""How many of the worst of each family, size and ratio are evaluated exactly."""


class Family(NamedTuple):
    """Matrices of one kind: their sizes, and their share of the count."""

    name: str
    sizes: range
    share: float


FAMILIES = (
    Family("random", SMALL, 0.25),
    Family("clustered", SMALL, 0.25),
    Family("tied", SMALL, 0.25),
    Family("low rank", SMALL, 0.25),
    Family("graded", SMALL, 0.1),
    Family("graded beyond 25", LARGE, 0.05),
)


def matrices(family: str, count: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return a stack of symmetric matrices of a family."""
    normal = rng.standard_normal((count, n, n))
    if family.startswith("graded"):
        decades = rng.uniform(0, rng.choice([10, 30, 100, 300], (count, 1, 1)), (count, n, n))
        by_rows = rng.random((count, 1, 1)) < 0.5
        normal *= 10.0 ** -np.where(by_rows, decades[:, :, :1], decades)
        return np.tril(normal) + np.tril(normal, -1).swapaxes(1, 2)
    values = {
        "random": rng.standard_normal((count, n)),
        "clustered": rng.integers(1, 4, (count, n)) + 1e-10 * rng.standard_normal((count, n)),
        "tied": rng.integers(-2, 3, (count, n)),
        "low rank": rng.standard_normal((count, n)) * (np.arange(n) < max(1, n // 3)),
    }[family]
    basis = normal if family == "random" else np.linalg.qr(normal)[0]
    product = (basis * values[:, None, :]) @ basis.swapaxes(1, 2)
    return (product + product.swapaxes(1, 2)) / 2


def screened(stack: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return the eigenpairs of a stack, and both ratios of each matrix in more digits, (2, n)."""
    values, vectors = np.linalg.eigh(stack)
    wide = np.float64 if stack.dtype == np.float32 else np.longdouble
    q, lam, x = (array.astype(wide) for array in (stack, values, vectors))
    unit = stack.shape[-1] * np.finfo(stack.dtype).eps
    residual = norms(q @ x - x * lam[:, None, :]) / (unit * norms(q))
    defect = norms(np.eye(stack.shape[-1]) - x.swapaxes(1, 2) @ x) / unit
    return (values, vectors), np.stack([residual, defect])


def norms(stack: np.ndarray) -> np.ndarray:
    """Return the Frobenius norm of each matrix, none of which is zero."""
    largest = np.abs(stack).max(axis=(1, 2), keepdims=True)
    largest = np.where(largest == 0, 1, largest)
    return np.sqrt(((stack / largest) ** 2).sum(axis=(1, 2))) * largest[:, 0, 0]


def calibrate(family: Family, dtype: str, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the largest exact ratios of a family, and where they were met."""
    each = max(1, round(count * family.share / (2 * len(family.sizes))))
    row: dict[str, Any] = {"family": family.name, "dtype": dtype, "matrices": 0, "refused": 0}
    row |= {"rho1": 0.0, "rho1_n": None, "rho2": 0.0, "rho2_n": None}
    for n in family.sizes:
        progress(f"{family.name} {dtype} n = {n}")
        stack = matrices(family.name, each, n, rng).astype(dtype)
        stack = stack[np.abs(stack).max(axis=(1, 2)) > 0]
        pairs, ratios = screened(stack)
        row["matrices"] += len(stack)
        for found in exact(stack, *pairs, worst(ratios)):
            row["refused"] += not found.certified
            for name, ratio in (("rho1", found.residual_ratio), ("rho2", found.defect_ratio)):
                if ratio > row[name]:
                    row |= {name: ratio, f"{name}_n": n}
    return row


def worst(ratios: np.ndarray) -> list[int]:
    """Return which matrices have the largest of either ratio."""
    return sorted(set(np.argsort(ratios, axis=1)[:, -KEPT:].ravel().tolist()))


def exact(
    stack: np.ndarray, values: np.ndarray, vectors: np.ndarray, which: list[int]
) -> Iterator[Any]:
    """Yield the certificate of each of some matrices."""
    for i in which:
        pairs = SimpleNamespace(eigenvalues=values[i], eigenvectors=vectors[i])
        yield certify(pairs, stack[i], order="ascending")


# ---- inertia


def dense(n: int) -> np.ndarray:
    """Return a random symmetric matrix."""
    normal = np.random.default_rng(n).standard_normal((n, n))
    return normal + normal.T


def tied(n: int) -> np.ndarray:
    """Return HΛHᵀ without rounding, Λ of few integers with zeros, H of dyadic reflections."""
    rng = np.random.default_rng(n)
    matrix = np.diag(rng.integers(-2, 3, n).astype(float))
    for _ in range(4):
        v = np.zeros(n)
        v[rng.permutation(n)[:4]] = rng.choice([-1.0, 1.0], 4)
        matrix = matrix - np.outer(matrix @ v, v) / 2
        matrix = matrix - np.outer(v, v @ matrix) / 2
    return matrix


def timings(n: int) -> dict[str, Any]:
    """Return the seconds of one inertia by elimination, and of the inertias at 2n shifts."""
    matrix = dense(n)
    ends = np.linalg.eigvalsh(matrix)
    shifts = np.concatenate([ends - 1e-9, ends + 1e-9])
    return {
        "n": n,
        "random": seconds(lambda: inertia(matrix, 0.5)),
        "tied": seconds(lambda: inertia(tied(n), 1)),
        "inertias_2n": seconds(lambda: inertias(matrix, shifts)),
    }


def seconds(run: Any) -> float:
    """Return the least seconds of two runs, of the processor."""
    best = float("inf")
    for _ in range(2):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


# ---- the command


def progress(text: str) -> None:
    """Show what runs, on a terminal alone."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def positive(text: str) -> int:
    """Return the number of at least 1 that a text is."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"must be a number of at least 1; got {text}")
    return int(text)


def writable(text: str) -> Path:
    """Return the path of a file in a folder that is there."""
    path = Path(text)
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in a folder that exists; got {text}")
    return path


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--count", type=positive, default=100_000, help="matrices, graded apart (default: 100000)")
    add("--json", type=writable, help="file to write (default: standard output)")
    add("--seed", type=int, default=0, help="of the matrices (default: 0)")
    add("--sizes", type=positive, nargs="*", default=[64, 96, 128], help="of the timed inertias")
    return parser.parse_args()


def main() -> None:
    """Calibrate, time, write."""
    options = parse()
    rng = np.random.default_rng(options.seed)
    results = machine.describe(machine.blas_threads()) | {"count": options.count}
    results["rows"] = [
        calibrate(family, dtype, options.count, rng)
        for family in FAMILIES
        for dtype in ("float32", "float64")
    ]
    results["inertia"] = []
    for n in options.sizes:
        progress(f"inertia n = {n}")
        results["inertia"].append(timings(n))
    progress("")
    machine.write(results, options.json)


if __name__ == "__main__":
    main()
