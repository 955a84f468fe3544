"""The published results on MNIST and Fashion-MNIST, by our own training and analysis.

    truncation   784 → 512 → (512 products) → 10, 20 epochs, batch 256, decay 1, noise .15: accuracy
                 with the first k eigenvectors a class, in model space and in input space
    ranks        784 → 256 → (256 products) → 10, 100 epochs, batch 2048, with and without noise .5
                 and decay 1: accuracy and mean effective rank, in model space and in input space

No residual, no bias; AdamW, learning rate 1e-3 with the cosine schedule. Each run is written as
soon as it is done, and a file that has some of them is gone on with:

    python benchmarks/papers.py --out benchmarks/results/papers.json --seeds 5

needs the data sets (`REFBILINEAR_DATA`, or pooch), and two to four minutes a run. `--table` prints
the tables of docs/papers.md from such a file, `--check` holds the page against it.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import machine
import refbilinear as rb
from refbilinear.analysis import effective_rank, input_space_forms, model_space_forms
from refbilinear.analysis.truncation import Forms, truncation_curve
from refbilinear.study import Dataset, load_dataset

RANKS = (1, 2, 3, 5, 10, 20, 30)
NOISE_AND_DECAY = ((0.5, 1.0), (0.5, 0.0), (0.0, 0.0), (0.0, 1.0))
ASKED = ("study", "data", "seed", "width", "epochs", "batch_size", "noise", "weight_decay")

PUBLISHED = {
    "mnist": ((98.01, 98.34, 97.49, 97.49), (26, 82, 38.5, 15.5)),
    "fashion-mnist": ((86.04, 86.80, 88.50, 87.31), (20, 88, 47, 12)),
}
"""Accuracy in %, and rank in model space, of an independent reproduction of Pearce et al. 2025."""

TRUNCATED = (23.07, 47.74, 69.40, 77.87, 97.08, 97.95, 98.07)
"""Accuracy in % with the first k of `RANKS` in model space, likewise; 98.07 whole."""

Run = dict[str, Any]


def plan(seeds: int) -> Iterator[Run]:
    """Yield the settings of every run: all of one seed before the next seed."""
    for seed in range(seeds):
        yield dict(zip(ASKED, ("truncation", "mnist", seed, 512, 20, 256, 0.15, 1.0), strict=True))
        for data, setting in product(PUBLISHED, NOISE_AND_DECAY):
            yield dict(zip(ASKED, ("ranks", data, seed, 256, 100, 2048, *setting), strict=True))


def run(asked: Run, data: Dataset) -> Run:
    """Train and analyse one model."""
    start = time.perf_counter()
    rng = np.random.default_rng(asked["seed"])
    width = asked["width"]
    model = rb.init_mlp(rng, data.x.shape[1], width, width, data.classes, dtype=np.float32)
    *_, last = rb.train(
        model, data.x, data.y, rng=rng, epochs=asked["epochs"], batch_size=asked["batch_size"],
        noise=asked["noise"], weight_decay=asked["weight_decay"],
    )  # fmt: skip
    trained = time.perf_counter() - start
    of_model, of_input = model_space_forms(last.model), input_space_forms(last.model)
    found = {
        "accuracy": rb.accuracy(rb.mlp_forward(last.model, data.x_test), data.y_test),
        "training_accuracy": last.accuracy,
        "model_rank": mean_rank(of_model),
        "input_rank": mean_rank(of_input),
    }
    if asked["study"] == "truncation":
        found["model_space"] = curve(of_model, data.x_test @ last.model.w_embed.T, data)
        found["input_space"] = curve(of_input, data.x_test, data)
    return asked | found | {"training_seconds": round(trained, 1)}


def mean_rank(forms: Forms) -> float:
    """Return the mean over classes of the effective rank."""
    return mean(effective_rank(pairs.eigenvalues) for pairs in forms.spectra)


def curve(forms: Forms, x: np.ndarray, data: Dataset) -> list[float]:
    """Return the accuracy with the first k eigenvectors a class, for k of `RANKS`."""
    return truncation_curve(forms, x, lambda y: rb.accuracy(y, data.y_test), RANKS).tolist()


def chosen(runs: list[Run], **wanted: Any) -> list[Run]:
    """Return the runs with these settings."""
    return [one for one in runs if all(one[name] == value for name, value in wanted.items())]


# ---- the tables


def ranks_table(runs: list[Run]) -> Iterator[str]:
    """Yield the rows of the table of accuracies and ranks."""
    yield row(
        "data", "noise", "decay", "seeds", "accuracy, %", "published",
        "rank in model space", "published", "rank in input space",
    )  # fmt: skip
    yield row(*["---"] * 9)
    for data, (shares, ranks) in PUBLISHED.items():
        for (noise, decay), share, rank in zip(NOISE_AND_DECAY, shares, ranks, strict=True):
            of = chosen(runs, study="ranks", data=data, noise=noise, weight_decay=decay)
            ours = [spread([one[key] for one in of], 1) for key in ("model_rank", "input_rank")]
            accuracy = percent([one["accuracy"] for one in of]), f"{share:.2f}"
            yield row(data, f"{noise:g}", f"{decay:g}", len(of), *accuracy, ours[0], rank, ours[1])


def truncation_table(runs: list[Run]) -> Iterator[str]:
    """Yield the rows of the table of truncated accuracies."""
    of = chosen(runs, study="truncation")
    yield row("eigenvectors a class", "model space, %", "published", "input space, %")
    yield row(*["---"] * 4)
    for i, (k, share) in enumerate(zip(RANKS, TRUNCATED, strict=True)):
        ours = [percent([one[space][i] for one in of]) for space in ("model_space", "input_space")]
        yield row(k, ours[0], f"{share:.2f}", ours[1])
    yield row("all", percent([one["accuracy"] for one in of]), "98.07", "the same")


def percent(shares: list[float]) -> str:
    """Return mean ± standard deviation over seeds, in %."""
    return spread([100 * share for share in shares], 2)


def spread(values: list[float], digits: int) -> str:
    """Return mean ± standard deviation over seeds."""
    off = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{off}"


def row(*cells: Any) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


TABLES = (ranks_table, truncation_table)


def lacking(page: Path, runs: list[Run]) -> str:
    """Return the rows that a page lacks."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return "\n".join(one for make in TABLES for one in make(runs) if one not in lines)


def main() -> None:
    """Do the runs that the file lacks, writing it after each; or print, or check, the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the file of runs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="print the tables, train nothing")
    parser.add_argument("--check", type=Path, help="a page that must hold the tables")
    options = parser.parse_args()
    held: Run = {"machine": machine.describe(machine.blas_threads()), "runs": []}
    if options.out.exists():
        held = json.loads(options.out.read_text(encoding="utf-8"))
    if options.check:
        sys.exit(lacking(options.check, held["runs"]) or 0)
    if options.table:
        tables = (line for make in TABLES for line in (*make(held["runs"]), ""))
        sys.stdout.write("\n".join(tables))
        return
    for asked in plan(options.seeds):
        if not chosen(held["runs"], **asked):
            held["runs"].append(run(asked, load_dataset(asked["data"], np.float32)))
            machine.write(held, options.out)
            sys.stderr.write(f"{json.dumps(held['runs'][-1])}\n")


if __name__ == "__main__":
    main()
