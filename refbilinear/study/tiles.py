"""Signed images in rows and columns on one axes: an axes for each takes seconds to lay out.

Signed quantities stand on a diverging scale that is symmetric about zero: orange is positive,
purple negative, white nothing. Both hold for colour-blind readers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from refbilinear.spec.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIVERGING = "PuOr_r"
GAP, TITLE = 0.08, 0.17
"""Between tiles, and what a title takes, in widths of a tile."""


class Tile(NamedTuple):
    """An image (h, w) and what stands above it."""

    values: Array
    title: str = ""


def image(axes: "Axes", values: Array) -> Any:
    """Draw an image that fills its axes."""
    largest = float(np.abs(values).max(initial=0)) or 1.0
    axes.set_axis_off()
    return axes.imshow(values, cmap=DIVERGING, vmin=-largest, vmax=largest)


def tiles(
    axes: "Axes", rows: Sequence[Sequence[Tile | None]], names: Sequence[str] = (), size: int = 9
) -> None:
    """Draw rows of images of one shape, each on a scale of its own; None leaves a place empty.

    Parameters
    ----------
    axes : matplotlib axes
    rows : sequence of sequences of Tile or None
        At least one tile in all.
    names : sequence of str
        Of the rows, where they have some; they stand on the left.
    size : int
        Of their letters.
    """
    there = [tile for row in rows for tile in row if tile is not None]
    height = there[0].values.shape[0] / there[0].values.shape[1]
    step = height + GAP + (TITLE if any(tile.title for tile in there) else 0)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            if tile is not None:
                _place(axes, tile, j * (1 + GAP), -i * step, height)
    for i, name in enumerate(names):
        axes.text(-0.15, -i * step - height / 2, name, fontsize=size, ha="right", va="center")
    columns = max(map(len, rows))
    axes.set_axis_off()
    axes.set(xlim=(0, columns * (1 + GAP) - GAP), ylim=(-len(rows) * step + GAP, step - height))


def _place(axes: "Axes", tile: Tile, left: float, top: float, height: float) -> None:
    """Draw one image below and right of a point."""
    largest = float(np.abs(tile.values).max(initial=0)) or 1.0
    axes.imshow(
        tile.values / largest, cmap=DIVERGING, vmin=-1, vmax=1,
        extent=(left, left + 1, top - height, top),
    )  # fmt: skip
    axes.text(left + 0.5, top + 0.02, tile.title, fontsize=8, ha="center", va="bottom")
