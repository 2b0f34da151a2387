"""The picture of a search: how it went, and what each setting did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catena.tuning.config import OF_METHOD
from catena.tuning.trials import Trial, best_of
from catena.viewing.figure import FAINT, INK, new_figure, save_figure

_COLOURS = {"basins": "#0072B2", "seeded": "#E69F00", "mutex": "#009E73"}
_COLUMNS = 3


def write_trials_plot(path: str | Path, trials: Sequence[Trial], title: str) -> Path:
    """Draw the score of every trial in their order, over every setting that was tried, and by merge function.

    Parameters
    ----------
    path
        PNG file; its folder is made.
    trials
        As :func:`catena.tuning.search.search` returns them: the configuration's own settings first.
    title
        Above the picture.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    tried = [trial for trial in trials if trial.number >= 0]
    methods = list(dict.fromkeys(str(trial.settings["method"]) for trial in tried))
    names = list(dict.fromkeys(name for method in methods for name in OF_METHOD[method]))
    rows = -(-(len(names) + 2) // _COLUMNS)
    figure = new_figure(9, 2.4 * rows + 0.5)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    _draw_history(axes[0], tried, trials[0])
    _draw_merge_functions(axes[1], tried)
    for place, name in zip(axes[2:], names, strict=False):
        _draw_setting(place, name, tried)
    for place in axes[len(names) + 2 :]:
        place.set_axis_off()
    for place in axes:
        place.tick_params(labelsize=7, colors=INK, width=0.6)
        place.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=7, frameon=False, labelcolor=INK)
    figure.suptitle(title, fontsize=10, color=INK)
    figure.tight_layout()
    return save_figure(figure, path)


def _draw_history(axes: Any, tried: Sequence[Trial], configured: Trial) -> None:
    for method, colour in _COLOURS.items():
        own = [trial for trial in tried if trial.settings["method"] == method]
        if own:
            label = f"{method}, {len(own)}"
            axes.plot(
                *zip(*((trial.number, trial.value) for trial in own), strict=True), ".", color=colour, label=label
            )
    best = np.minimum.accumulate([trial.value for trial in tried])
    axes.plot([trial.number for trial in tried], best, color=INK, linewidth=1, label="best so far")
    axes.axhline(configured.value, color=FAINT, linewidth=0.8, linestyle="--", label="configured fragments")
    _name(axes, "trial")


def _draw_merge_functions(axes: Any, tried: Sequence[Trial]) -> None:
    """Draw every trial's score with every merge function."""
    functions = list(tried[0].results)
    for row, function in enumerate(functions):
        values = [trial.results[function]["voi_sum"] for trial in tried]
        axes.plot([row] * len(values), values, "_", color=FAINT, markersize=9)
    best = best_of(tried)
    axes.plot(functions.index(best.merge_function), best.value, "o", color=INK, markersize=5)
    axes.set_xticks(range(len(functions)), [name.replace("hist_quant_", "q") for name in functions])
    _name(axes, "merge function")


def _draw_setting(axes: Any, name: str, tried: Sequence[Trial]) -> None:
    for method, colour in _COLOURS.items():
        own = [trial for trial in tried if trial.settings["method"] == method and name in OF_METHOD[method]]
        if own:
            axes.plot(*zip(*((trial.settings[name], trial.value) for trial in own), strict=True), ".", color=colour)
    _name(axes, name)


def _name(axes: Any, x: str) -> None:
    axes.set_xlabel(x, fontsize=8, color=INK)
    axes.set_ylabel("VOI sum, bits", fontsize=8, color=INK)
