"""Matplotlib figures without pyplot: no global state, no display, one way to a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from catena.viewing.png_file import write_png

INK = "#222222"
FAINT = "#8a8a8a"


def new_figure(width_in: float, height_in: float, dpi: int = 200) -> Any:
    """Return an empty figure on an Agg canvas; inches."""
    figure = Figure(figsize=(width_in, height_in), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: str | Path) -> Path:
    """Write `figure` as a PNG file and return its path; see :func:`catena.viewing.png_file.write_png`."""
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return write_png(path, png.getvalue())
