"""Many small pictures of crops in rows and columns, with the outlines of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.errors import DataError
from catena.viewing.colours import image_as_rgb, label_colours
from catena.viewing.figure import INK, new_figure, save_figure


@dataclass(frozen=True)
class Panel:
    """One section of a crop.

    Attributes
    ----------
    image
        ``(y, x)``, -1 is shown black and 1 white.
    labels
        ``(y, x)`` ids of one shape with the image; 0 has no outline.
    """

    image: NDArray[np.float32]
    labels: NDArray[Any]


def write_contact_sheet(
    path: str | Path,
    rows: Sequence[Sequence[Panel]],
    column_titles: Sequence[str],
    row_titles: Sequence[str],
    *,
    title: str = "",
    edge_in: float = 1.3,
) -> Path:
    """Write a PNG file with a row of panels per crop, and return its path.

    Parameters
    ----------
    rows
        Panels of one shape, as many per row as there are column titles.
    edge_in
        Width of a panel, inches.

    Raises
    ------
    DataError
        If there is no panel, or rows and titles do not match.
    OutputError
        If the file cannot be written.
    """
    if not rows or {len(row) for row in rows} != {len(column_titles)} or len(rows) != len(row_titles):
        raise DataError(
            f"a contact sheet of {len(row_titles)} by {len(column_titles)} panels was given rows of "
            f"{[len(row) for row in rows]}"
        )
    height, width = rows[0][0].image.shape
    panel_in = edge_in * height / width
    head_in = 0.75
    size = (0.35 + edge_in * len(column_titles), head_in + panel_in * len(rows))
    figure = new_figure(*size, dpi=150)
    axes = figure.subplots(len(rows), len(column_titles), squeeze=False)
    figure.subplots_adjust(
        left=0.3 / size[0],
        right=1 - 0.05 / size[0],
        bottom=0.05 / size[1],
        top=1 - head_in / size[1],
        wspace=0.03,
        hspace=0.03,
    )
    for axis, name in zip(axes[0], column_titles, strict=True):
        axis.set_title(name.replace(" ", "\n", 1), fontsize=min(7, 110 / len(name)), color=INK)
    for line, row, name in zip(axes, rows, row_titles, strict=True):
        line[0].set_ylabel(name, fontsize=7, color=INK)
        for axis, panel in zip(line, row, strict=True):
            axis.imshow(outlined(panel), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
    figure.suptitle(title, fontsize=8, color=INK, y=1 - 0.05 / size[1], va="top")
    return save_figure(figure, path)


def outlined(panel: Panel) -> NDArray[np.uint8]:
    """Return the image in grey, with the outermost voxels of every label in its colour; ``(y, x, 3)``."""
    picture = image_as_rgb(panel.image, (-1, 1))
    edge = outlines(panel.labels)
    picture[edge] = label_colours(panel.labels)[edge]
    return picture


def outlines(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which voxels ``(y, x)`` of labels other than 0 have a neighbour of another label.

    >>> outlines(np.array([[1, 1, 2, 0]])).tolist()
    [[False, True, True, False]]
    """
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        differ = np.diff(labels.astype(np.int64), axis=axis) != 0
        low, high = [slice(None)] * 2, [slice(None)] * 2
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        edge[tuple(low)] |= differ
        edge[tuple(high)] |= differ
    inside: NDArray[np.bool_] = edge & (labels != 0)
    return inside
