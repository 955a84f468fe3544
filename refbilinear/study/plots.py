"""Pictures of findings, each a function from numbers to PNG bytes, drawn with matplotlib.

Orange is positive, purple negative, as in `tiles`.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from refbilinear.spec.arrays import Array
from refbilinear.study.experiments import Variation
from refbilinear.study.extras import need
from refbilinear.study.findings import STRENGTHS, Explanation, MaskFinding, OutputFinding
from refbilinear.study.likeness import Likeness
from refbilinear.study.tiles import Tile, image, tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POSITIVE, NEGATIVE, NEUTRAL = "#b35806", "#542788", "#555555"
STYLES: tuple[dict[str, Any], ...] = (
    {"color": POSITIVE, "marker": "o"},
    {"color": NEGATIVE, "marker": "s", "linestyle": "--"},
)
EACH_SIGN = 3
SHOWN, MOST_ROWS = 20, 16


def training_curve(history: Sequence[dict[str, Any]]) -> bytes:
    """Draw loss and accuracy against epochs, on the training and on the test examples."""
    figure = _figure(8, 3.2)
    epochs = [epoch["number"] for epoch in history]
    panels = {"loss": "cross-entropy (nats)", "accuracy": "accuracy"}
    for axes, (name, label) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        axes.plot(epochs, [epoch[name] for epoch in history], color=NEUTRAL, label="training")
        judged = [epoch[f"validation_{name}"] for epoch in history]
        axes.plot(epochs, judged, color=POSITIVE, linestyle="--", label="test")
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.axes[0].set_yscale("log")
    return _png(figure)


def eigenvectors(findings: Sequence[OutputFinding], shape: tuple[int, int]) -> bytes:
    """Draw the top eigenvectors of the first outputs: three positive ones, three negative."""
    findings = findings[:MOST_ROWS]
    figure = _figure(1.25 * 2 * EACH_SIGN, 1.4 * len(findings))
    names = [found.name for found in findings]
    size = 13 if max(map(len, names)) < 3 else 9
    tiles(figure.subplots(), [_of_both_signs(found, shape) for found in findings], names, size)
    return _png(figure)


def _of_both_signs(found: OutputFinding, shape: tuple[int, int]) -> list[Tile | None]:
    """Return the leading eigenvectors of either sign, the strongest of each at the outside."""
    eigenvalues = found.spectrum.eigenvalues
    positive = np.flatnonzero(eigenvalues > 0)[:EACH_SIGN]
    negative = np.flatnonzero(eigenvalues < 0)[:EACH_SIGN]
    row: list[Tile | None] = [None] * (2 * EACH_SIGN)
    row[: len(positive)] = [_eigenvector(found, k, shape) for k in positive]
    row[len(row) - len(negative) :] = [_eigenvector(found, k, shape) for k in negative[::-1]]
    return row


def _eigenvector(found: OutputFinding, k: int, shape: tuple[int, int]) -> Tile:
    values, vectors = found.spectrum
    return Tile(vectors[:, k].reshape(shape), f"λ = {values[k]:+.3g}")


def spectra(findings: Sequence[OutputFinding]) -> bytes:
    """Draw the eigenvalues of each output by descending magnitude, coloured by sign."""
    columns = min(5, len(findings))
    rows = -(-len(findings) // columns)
    figure = _figure(1.9 * columns + 0.6, 1.6 * rows + 0.5)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(findings) :]:
        axes.set_axis_off()
    for axes, found in zip(grid.flat, findings, strict=False):
        _stems(axes, found.spectrum.eigenvalues[:SHOWN])
        axes.set_title(f"{_called(found.name)}, rank {found.effective_rank:.1f}", fontsize=9)
    figure.supxlabel("eigenvalue, by magnitude", fontsize=10)
    figure.supylabel("λ", fontsize=10)
    return _png(figure)


def truncation_curve(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Draw the test accuracy against the number of eigenvectors kept for each class."""
    return _png(truncation_figure(curves))


def truncation_figure(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> "Figure":
    """Return the figure of `truncation_curve`, from entries with `k` and `accuracy` by name."""
    figure = _figure(5.2, 3.2)
    axes = figure.subplots()
    axes.set_xscale("log")
    for (name, entries), style in zip(curves.items(), STYLES, strict=False):
        ranks, shares = ([entry[key] for entry in entries] for key in ("k", "accuracy"))
        axes.plot(ranks, shares, label=name, **style)
    first = next(iter(curves.values()))
    axes.axhline(first[-1]["accuracy"], color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.set_xticks([entry["k"] for entry in first], [str(entry["k"]) for entry in first])
    axes.minorticks_off()
    axes.set(xlabel="eigenvectors kept for each class", ylabel="test accuracy")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def explanations(found: Sequence[Explanation], shape: tuple[int, int] | None) -> bytes:
    """Draw examples, and what each input and each eigenvector adds to an output there, by rows."""
    figure = _figure(9, 2.9 * len(found))
    grid = figure.subplots(len(found), 3, width_ratios=[1, 1.25, 1.6], squeeze=False)
    for row, parts in zip(grid, found, strict=True):
        _explanation_row(figure, row, parts, shape)
    return _png(figure)


def _explanation_row(
    figure: "Figure", row: Array, parts: Explanation, shape: tuple[int, int] | None
) -> None:
    left, middle, right = row
    if shape is None:
        left.bar(range(len(parts.x)), parts.x, color=NEUTRAL)
        _stems(middle, parts.of_inputs)
    else:
        left.imshow(parts.x.reshape(shape), cmap="Greys")
        left.set(xticks=[], yticks=[])
        shown = image(middle, parts.of_inputs.reshape(shape))
        figure.colorbar(shown, ax=middle, shrink=0.8)
    left.set_title(f"test example {parts.example},\nof class {parts.label}", fontsize=10)
    middle.set_title(f"what each input adds\nto {_called(parts.name)}", fontsize=10)
    _stems(right, parts.of_eigenvectors[:SHOWN])
    rest = parts.of_linear + parts.of_constant
    words = f"what each eigenvector adds to {_called(parts.name)}"
    right.set_title(f"{words}\n(with {rest:.2f} beside it: {parts.value:.2f})", fontsize=10)
    right.set_xlabel("eigenvector, by |λ|")


def masks(found: Sequence[MaskFinding], shape: tuple[int, int] | None) -> bytes:
    """Draw the masks as images, and accuracy and success against strength, beside the controls."""
    return _png(masks_figure(found, shape))


def masks_figure(found: Sequence[MaskFinding], shape: tuple[int, int] | None) -> "Figure":
    """Return the figure of `masks`."""
    rows = 1 if shape is None else 2
    figure = _figure(max(8, 0.95 * len(found)), 3.2 + 1.4 * (rows - 1))
    parts: Any = figure.subfigures(rows, 1, height_ratios=[3.2, 1.4][:rows], squeeze=False)[:, 0]
    panels = {"accuracy": "accuracy", "success": "share taken for the mask's class"}
    for axes, (name, label) in zip(parts[0].subplots(1, 2), panels.items(), strict=True):
        own = np.mean([getattr(one.curve, name) for one in found], axis=0)
        copies = [getattr(curve, name) for one in found for curve in one.controls]
        axes.plot(STRENGTHS, own, label="mask", **STYLES[0])
        axes.plot(STRENGTHS, np.mean(copies, axis=0), label="its entries permuted", **STYLES[1])
        axes.set(xlabel="standard deviation, over that of the inputs", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    if shape is not None:
        row = [Tile(one.mask.reshape(shape), f"for {one.name}") for one in found]
        tiles(parts[1].subplots(), [row])
    return figure


def likenesses(found: Sequence[Likeness]) -> bytes:
    """Draw the overlaps of subspaces and the cosines of outputs, of every two models."""
    figure = _figure(8.5, 3.2)
    left, right = figure.subplots(1, 2)
    first, overlaps = found[0], np.array([one.overlaps for one in found], dtype=float)
    left.set_xscale("log")
    for output in range(overlaps.shape[1]):
        left.plot(first.ranks, _mean(overlaps[:, output]), color=NEUTRAL, alpha=0.3)
    every = overlaps.reshape(-1, overlaps.shape[-1])
    left.plot(first.ranks, _mean(every), label="mean over outputs", **STYLES[0])
    left.plot(first.ranks, first.chance, label="random subspaces", **STYLES[1])
    left.set_xticks(first.ranks, [str(k) for k in first.ranks])
    left.minorticks_off()
    left.set(xlabel="first eigenvectors k", ylabel="overlap of their subspaces", ylim=(0, 1.05))
    left.legend(frameon=False)
    for one in found:
        right.plot(one.outputs, np.array(one.cosines, dtype=float), "o", color=POSITIVE, alpha=0.6)
    right.axhline(0, color=NEUTRAL, linewidth=0.6)
    right.set(xlabel="output", ylabel="cosine of the two forms")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return _png(figure)


def _mean(overlaps: Array) -> Array:
    """Return the mean over rows where all rows have a number, NaN elsewhere."""
    return np.asarray(overlaps.mean(axis=0))


def side_by_side(
    first: Sequence[OutputFinding],
    second: Sequence[OutputFinding],
    names: tuple[str, str],
    shape: tuple[int, int],
) -> bytes:
    """Draw the strongest eigenvectors of each output, of two models beside each other."""
    rows = min(len(first), MOST_ROWS)
    figure = _figure(1.25 * 2 * EACH_SIGN, 1.4 * rows + 0.3)
    labels = [found.name for found in first[:rows]]
    for axes, findings, name in zip(figure.subplots(1, 2), (first, second), names, strict=True):
        axes.set_title(name, fontsize=10, parse_math=False, pad=14)
        tiles(axes, [_strongest(found, shape) for found in findings[:rows]], labels)
    return _png(figure)


def _strongest(found: OutputFinding, shape: tuple[int, int]) -> list[Tile]:
    most = min(EACH_SIGN, len(found.spectrum.eigenvalues))
    return [_eigenvector(found, k, shape) for k in range(most)]


def noise_sweep(found: Sequence[Variation], shape: tuple[int, int] | None) -> bytes:
    """Draw accuracy and effective rank against noise, and the leading eigenvectors."""
    figure = _figure(9, 3 + (0 if shape is None else 0.95 * len(found)))
    charts, pictures = _stacked(figure, len(found), shape)
    left, right = charts.subplots(1, 2)
    noises = [one.noise for one in found]
    for name, label, style in zip(
        ("accuracy", "validation_accuracy"), ("training", "test"), STYLES, strict=False
    ):
        left.plot(noises, [one.trained.history[-1][name] for one in found], label=label, **style)
    left.set(xlabel="noise", ylabel="accuracy")
    left.legend(frameon=False)
    right.plot(noises, [one.effective_rank for one in found], **STYLES[0])
    right.set(xlabel="noise", ylabel="effective rank, mean")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    _leading_rows(pictures, found, shape)
    return _png(figure)


def overfitting(found: Sequence[Variation], shape: tuple[int, int] | None) -> bytes:
    """Draw accuracy against epochs of trainings on too few examples, and their eigenvectors."""
    figure = _figure(9, 3 + (0 if shape is None else 0.95 * len(found)))
    charts, pictures = _stacked(figure, len(found), shape)
    for axes, one in zip(charts.subplots(1, len(found), sharey=True), found, strict=True):
        history = one.trained.history
        for name, label, style in zip(
            ("accuracy", "validation_accuracy"), ("training", "test"), STYLES, strict=False
        ):
            line = {**style, "marker": None}
            axes.plot(
                [e["number"] for e in history], [e[name] for e in history], label=label, **line
            )
        axes.set_title(f"{one.examples} examples, {one.words}", fontsize=10)
        axes.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.05))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    _leading_rows(pictures, found, shape)
    return _png(figure)


def _stacked(figure: "Figure", rows: int, shape: tuple[int, int] | None) -> tuple[Any, Any]:
    """Return a place for charts and, below, one for rows of images; none without a shape."""
    if shape is None:
        return figure, None
    parts: Any = figure.subfigures(2, 1, height_ratios=[3, 0.95 * rows])
    return parts[0], parts[1]


def _leading_rows(figure: Any, found: Sequence[Variation], shape: tuple[int, int] | None) -> None:
    """Draw the leading eigenvector of each output, a row for each training."""
    if shape is None:
        return
    rows = [[Tile(vector.reshape(shape)) for vector in one.leading] for one in found]
    rows[0] = [
        Tile(*pair) for pair in zip((t.values for t in rows[0]), found[0].names, strict=True)
    ]
    tiles(figure.subplots(), rows, [one.words for one in found])


def _called(name: str) -> str:
    return f"output {name}" if name.isdecimal() else name


def _stems(axes: "Axes", values: Array) -> None:
    colours = np.where(values > 0, POSITIVE, NEGATIVE)
    axes.bar(range(1, len(values) + 1), values, color=colours.tolist(), width=0.8)
    axes.axhline(0, color=NEUTRAL, linewidth=0.6)


def _figure(width: float, height: float) -> "Figure":
    figure: Figure = need("matplotlib.figure", "drawing").Figure(
        figsize=(width, height), layout="constrained"
    )
    return figure


def _png(figure: "Figure") -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
