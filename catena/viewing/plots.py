"""Plots: what a threshold trades."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from catena.errors import ConfigError
from catena.evaluation.scores import Scores
from catena.evaluation.sweep import Sweep
from catena.viewing.figure import FAINT, INK, new_figure, save_figure

# Okabe and Ito's palette, told apart by colour-blind readers
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _SKY, _BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
)
_CURVES = (_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _SKY)
_MARKERS = ("s", "^", "D", "v", "P", "X")


def write_voi_plot(
    path: str | Path,
    sweeps: Mapping[str, Sweep],
    threshold: float,
    *,
    baseline: Scores | None = None,
    references: Mapping[str, Scores] | None = None,
    title: str | None = None,
) -> Path:
    """Plot VOI split against VOI merge over agglomeration thresholds.

    Parameters
    ----------
    path
        PNG file; its folder is made.
    sweeps
        Name of a region (``validation``, ``test``) → its sweep; a curve each.
    threshold
        The chosen one, marked on every curve.
    baseline
        Scores of the no-learning baseline.
    references
        Other segmentations to compare with, by name.
    title
        Above the plot.

    Raises
    ------
    ConfigError
        If there is no sweep, or `threshold` was not swept.
    OutputError
        If the file cannot be written.
    """
    if not sweeps:
        raise ConfigError("a VOI plot needs the sweep of at least one region")
    figure = new_figure(5.2, 4.4)
    axes = figure.add_axes((0.12, 0.12, 0.84, 0.78 if title else 0.84))
    for (name, sweep), colour in zip(sweeps.items(), _CURVES, strict=False):
        _draw_sweep(axes, name, sweep, threshold, colour)
    points = ({"no-learning baseline": baseline} if baseline else {}) | dict(references or {})
    for (name, scores), marker in zip(points.items(), _MARKERS, strict=False):
        label = f"{name}: {scores.voi_sum:.2f}"
        axes.plot(scores.voi_merge, scores.voi_split, marker, color=_BLACK, markersize=6, linestyle="none", label=label)
    _frame(axes, "VOI merge, H(truth | segmentation), bits", "VOI split, H(segmentation | truth), bits", title)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    _draw_equal_sums(axes)
    axes.legend(fontsize=8, labelcolor=INK, title="VOI sum, bits", title_fontsize=8, edgecolor="none", framealpha=0.9)
    return save_figure(figure, path)


def _draw_sweep(axes: Any, name: str, sweep: Sweep, threshold: float, colour: str) -> None:
    chosen = sweep.at(threshold)
    axes.plot(sweep.voi_merge, sweep.voi_split, "-", color=colour, linewidth=1.4, marker=".", markersize=4)
    axes.plot(
        chosen.voi_merge,
        chosen.voi_split,
        "o",
        color=colour,
        markersize=9,
        markeredgecolor="white",
        markeredgewidth=1.2,
        zorder=4,
        label=f"{name}, threshold {threshold:g}: {chosen.voi_sum:.2f}",
    )


def _draw_equal_sums(axes: Any) -> None:
    """Draw faint lines along which the VOI sum is constant, a round step apart."""
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    step = next((each for each in (0.25, 0.5, 1, 2, 5, 10) if (right + top) / each <= 8), 20)
    for total in np.arange(step, right + top, step):
        label = f"equal sums, every {step:g}" if total == step else None
        style = {"color": FAINT, "linewidth": 0.5, "linestyle": (0, (4, 4)), "zorder": 0}
        axes.plot([0, total], [total, 0], scalex=False, scaley=False, label=label, **style)


def _frame(axes: Any, x: str, y: str, title: str | None) -> None:
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(which="both", labelsize=8, colors=INK, width=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=INK, linewidth=0.6)
    if title:
        axes.set_title(title, fontsize=10, color=INK, loc="left", weight="bold")
