"""The tables of a report, made of its metrics: headers and rows of strings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

Metrics = Mapping[str, Any]
REPORTED = 5
"""The k of which the overlap of seeds is said in words."""


class Table(NamedTuple):
    """Header and rows, and what they say."""

    header: list[str]
    rows: list[list[str]]
    caption: str


def tables(metrics: Metrics) -> Iterator[tuple[str, Table]]:
    """Yield the tables of what is there, by the name of their section."""
    for name, make in TABLES.items():
        if name in metrics:
            table = make(metrics[name])
            if table.rows:
                yield name, table


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a terminal, every column as wide as its widest entry, right-aligned.

    Examples
    --------
    >>> print(text_table(["k", "accuracy"], [["1", "0.5000"], ["10", "0.9750"]]))
     k  accuracy
     1    0.5000
    10    0.9750
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(entry.rjust(width) for entry, width in zip(line, widths, strict=True))
        for line in [header, *rows]
    )


def _outputs(outputs: Sequence[Metrics]) -> Table:
    leading = [f"λ{k}" for k in range(1, len(outputs[0]["eigenvalues"]) + 1)]
    header = ["output", *leading, "λ > 0", "λ < 0", "effective rank", "|linear|", "constant"]
    words = (
        "The largest eigenvalues by magnitude, of the forms of the inputs (input space). The "
        "counts of positive and negative ones leave out what rounding could make."
    )
    return Table(header, [_output_row(output) for output in outputs], words)


def _output_row(output: Metrics) -> list[str]:
    return [
        output["name"],
        *(f"{value:+.3g}" for value in output["eigenvalues"]),
        str(output["positive"]),
        str(output["negative"]),
        f"{output['effective_rank']:.2f}",
        f"{output['linear_norm']:.3g}",
        f"{output['constant']:.3g}",
    ]


def _truncation(curves: Mapping[str, Sequence[Metrics]]) -> Table:
    shares = {
        name: {str(one["k"]): one["accuracy"] for one in curve[:-1]}
        | {"all": curve[-1]["accuracy"]}
        for name, curve in curves.items()
    }
    ranks = max(shares.values(), key=len)
    rows = [[k, *(_share(curve.get(k)) for curve in shares.values())] for k in ranks]
    words = "Test accuracy with the first eigenvectors of each output, by magnitude."
    return Table(["eigenvectors", *shares], rows, words)


def _masks(masks: Metrics) -> Table:
    """Return means over outputs; no rows where there are no masks."""
    names = ("accuracy", "control_accuracy", "success", "control_success")
    rows = [
        [f"{strength:g}", *(_share(mean(o[name][i] for o in masks["outputs"])) for name in names)]
        for i, strength in enumerate(masks.get("strengths", ()))
    ]
    header = ["mask strength", "accuracy", "permuted", "taken", "permuted"]
    words = (
        "Means over the masks of all outputs, on a thousand test examples or all. The strength is "
        "the standard deviation of what is added to an input, over that of the inputs; taken are "
        "the examples of other classes that the mask's own class gets."
    )
    return Table(header, rows, words)


def _seeds(seeds: Metrics) -> Table:
    rows = [
        [str(seed), _share(share)]
        for seed, share in zip(seeds["seeds"], seeds["accuracies"], strict=True)
    ]
    pairs = seeds["pairs"]
    likeness = [pair["cosine"] for pair in pairs if pair["cosine"] is not None]
    words = f"Mean cosine of two seeds' tensors: {mean(likeness):.3f}." if likeness else ""
    for i, (k, chance) in enumerate(zip(pairs[0]["ranks"], pairs[0]["chance"], strict=True)):
        overlaps = [of[i] for pair in pairs for of in pair["overlaps"]]
        if k == REPORTED and None not in overlaps:
            words += (
                f" The first {k} eigenvectors of an output span subspaces with an overlap of "
                f"{mean(overlaps):.3f}; that of random ones is {chance:.3f}."
            )
    return Table(["seed", "test accuracy"], rows, words)


def _noise(trainings: Sequence[Metrics]) -> Table:
    return Table(
        ["noise", "training accuracy", "test accuracy", "effective rank"],
        [[f"{one['noise']:g}", *_variation(one)] for one in trainings],
        "Trainings that differ in the noise on their inputs alone. The training accuracy is that "
        "of the last epoch as it was met, with noise.",
    )


def _overfitting(trainings: Sequence[Metrics]) -> Table:
    rows = [
        [
            f"{one['noise']:g}",
            f"{one['weight_decay']:g}",
            str(one["train_examples"]),
            *_variation(one),
        ]
        for one in trainings
    ]
    header = ["noise", "decay", "examples", "training accuracy", "test accuracy", "effective rank"]
    words = (
        "Trainings on the first ten examples of each class alone, in small batches and five times "
        "as many epochs. The training accuracy is that of the last epoch as it was met, with noise."
    )
    return Table(header, rows, words)


def _variation(one: Metrics) -> list[str]:
    shares = [_share(one[name]) for name in ("train_accuracy", "test_accuracy")]
    return [*shares, f"{one['effective_rank']:.1f}"]


def _likeness(likeness: Metrics) -> Table:
    header = ["output", "cosine", *(f"overlap {k}" for k in likeness["ranks"])]
    of = zip(likeness["outputs"], likeness["cosines"], likeness["overlaps"], strict=True)
    rows = [[str(o), _signed(cosine), *map(_overlap, overlaps)] for o, cosine, overlaps in of]
    rows.append(["random", "", *map(_overlap, likeness["chance"])])
    words = (
        f"Cosine of the two tensors as a whole: {_signed(likeness['cosine']) or 'none'}. Overlap k "
        "is the mean squared cosine of the principal angles between the first k eigenvectors of "
        "both, as long as both forms have so many that rounding did not make."
    )
    return Table(header, rows, words)


def _overlap(share: float | None) -> str:
    return "" if share is None else f"{share:.3f}"


def _signed(cosine: float | None) -> str:
    return "" if cosine is None else f"{cosine:+.3f}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.4f}"


TABLES: dict[str, Callable[[Any], Table]] = {
    "outputs": _outputs,
    "truncation": _truncation,
    "masks": _masks,
    "likeness": _likeness,
    "seeds": _seeds,
    "noise": _noise,
    "overfitting": _overfitting,
}
