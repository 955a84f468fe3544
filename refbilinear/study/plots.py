"""Pictures of findings, each a function from numbers to PNG bytes, drawn with matplotlib.

Signed quantities stand on a diverging scale that is symmetric about zero: orange is positive,
purple negative, white nothing. Both hold for colour-blind readers and in grey print.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from refbilinear.spec.arrays import Array
from refbilinear.study.extras import need
from refbilinear.study.findings import Explanation, OutputFinding

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POSITIVE, NEGATIVE, NEUTRAL = "#b35806", "#542788", "#555555"
DIVERGING = "PuOr_r"
EACH_SIGN = 3
SHOWN = 20


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
    """Draw the top eigenvectors of each output as images: three positive, three negative."""
    figure = _figure(1.25 * 2 * EACH_SIGN, 1.35 * len(findings))
    grid = figure.subplots(len(findings), 2 * EACH_SIGN, squeeze=False)
    for row, found in zip(grid, findings, strict=True):
        _eigenvector_row(row, found, shape)
    return _png(figure)


def _eigenvector_row(row: Array, found: OutputFinding, shape: tuple[int, int]) -> None:
    """Draw the leading eigenvectors of either sign, the strongest of each at the outside."""
    eigenvalues, vectors = found.spectrum
    positive = np.flatnonzero(eigenvalues > 0)[:EACH_SIGN]
    negative = np.flatnonzero(eigenvalues < 0)[:EACH_SIGN]
    for axes in row:
        axes.set_axis_off()
    panels = [*zip(row, positive, strict=False), *zip(row[::-1], negative, strict=False)]
    for axes, k in panels:
        _image(axes, vectors[:, k].reshape(shape))
        axes.set_title(f"λ = {eigenvalues[k]:+.3g}", fontsize=8)
    name = {"transform": row[0].transAxes, "fontsize": 13, "ha": "right", "va": "center"}
    row[0].text(-0.25, 0.5, str(found.output), **name)


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
        axes.set_title(f"output {found.output}, rank {found.effective_rank:.1f}", fontsize=9)
    figure.supxlabel("eigenvalue, by magnitude", fontsize=10)
    figure.supylabel("λ", fontsize=10)
    return _png(figure)


def truncation_curve(truncation: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw the test accuracy against the number of eigenvectors kept for each class."""
    return _png(truncation_figure(truncation))


def truncation_figure(truncation: Sequence[Mapping[str, Any]]) -> "Figure":
    """Return the figure of `truncation_curve`, from entries with `k` and `accuracy`."""
    figure = _figure(5.2, 3.2)
    axes = figure.subplots()
    ranks = [entry["k"] for entry in truncation]
    shares = [entry["accuracy"] for entry in truncation]
    axes.set_xscale("log")
    axes.plot(ranks, shares, marker="o", color=POSITIVE)
    axes.axhline(shares[-1], color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.set_xticks(ranks, [str(k) for k in ranks])
    axes.minorticks_off()
    axes.set(xlabel="eigenvectors kept for each class", ylabel="test accuracy")
    axes.grid(alpha=0.3)
    return figure


def explanation(parts: Explanation, shape: tuple[int, int] | None) -> bytes:
    """Draw one example, what each input adds to its output, and what each eigenvector adds."""
    figure = _figure(9, 3)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.25, 1.6])
    if shape is None:
        left.bar(range(len(parts.x)), parts.x, color=NEUTRAL)
        _stems(middle, parts.of_inputs)
    else:
        left.imshow(parts.x.reshape(shape), cmap="Greys")
        left.set(xticks=[], yticks=[])
        shown = _image(middle, parts.of_inputs.reshape(shape))
        figure.colorbar(shown, ax=middle, shrink=0.8)
    left.set_title(f"an example of class {parts.label}", fontsize=10)
    middle.set_title(f"what each input adds\nto output {parts.output}", fontsize=10)
    _stems(right, parts.of_eigenvectors[:SHOWN])
    rest = parts.of_linear + parts.of_constant
    right.set_title(
        f"what each eigenvector adds\n(with {rest:.2f} of linear and constant: {parts.value:.2f})",
        fontsize=10,
    )
    right.set_xlabel("eigenvector, by |λ|")
    return _png(figure)


def _stems(axes: "Axes", values: Array) -> None:
    colours = np.where(values > 0, POSITIVE, NEGATIVE)
    axes.bar(range(1, len(values) + 1), values, color=colours.tolist(), width=0.8)
    axes.axhline(0, color=NEUTRAL, linewidth=0.6)


def _image(axes: "Axes", values: Array) -> Any:
    largest = float(np.abs(values).max(initial=0)) or 1.0
    axes.set_axis_off()
    return axes.imshow(values, cmap=DIVERGING, vmin=-largest, vmax=largest)


def _figure(width: float, height: float) -> "Figure":
    figure: Figure = need("matplotlib.figure", "drawing").Figure(
        figsize=(width, height), layout="constrained"
    )
    return figure


def _png(figure: "Figure") -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
