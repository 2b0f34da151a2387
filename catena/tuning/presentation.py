"""What the end of a search says: the best settings beside the configured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from catena.progress import format_seconds, wide_console
from catena.tuning.trials import Trial, best_of

_SCORES = ("voi_split", "voi_merge", "voi_sum", "adapted_rand_error")


def print_trial(trial: Trial, total: int) -> None:
    """Print a line of a finished trial."""
    shown = ", ".join(f"{name.partition('.')[2] or name} {_short(value)}" for name, value in trial.drawn.items())
    Console(highlight=False).print(
        f"trial {trial.number + 1} of {total}: VOI {trial.value:.3f} with {trial.merge_function} below "
        f"{trial.scores['threshold']:g} ({shown}; {format_seconds(trial.seconds)})",
        soft_wrap=True,
    )


def print_comparison(trials: Sequence[Trial], merge_function: str, console: Console | None = None) -> None:
    """Print scores and settings of the best trial beside those of the configuration (trial -1)."""
    configured, best = trials[0], best_of(trials)
    table = Table(title=f"best of {len(trials) - 1} trials on validation")
    for name, side in (("", "left"), ("configured", "right"), ("best", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    left, right = _column(configured, merge_function), _column(best, best.merge_function)
    for name, value in left.items():
        if name in _SCORES or value != right[name]:
            table.add_row(name, _short(value), _short(right[name]))
    (console or wide_console()).print(table)


def _column(trial: Trial, merge_function: str) -> Mapping[str, Any]:
    scores = trial.results[merge_function]
    flat = {name: scores[name] for name in _SCORES}
    settings = {f"fragments.{name}": value for name, value in trial.settings.items()}
    chosen = {"agglomerate.merge_function": merge_function, "segmentation.threshold": scores["threshold"]}
    return {**flat, **settings, **chosen}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
