"""Matplotlib figures without pyplot: no global state, no display, one way to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from catena.errors import OutputError

INK = "#222222"
FAINT = "#8a8a8a"


def new_figure(width_in: float, height_in: float, dpi: int = 200) -> Any:
    """Return an empty figure on an Agg canvas; inches."""
    figure = Figure(figsize=(width_in, height_in), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Any, path: str | Path) -> Path:
    """Write `figure` as a PNG file, whole or not at all, and return its path; folders are made.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(partial, format="png")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write the picture {path}: {error}") from error
    return path
