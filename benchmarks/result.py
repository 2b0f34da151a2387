"""What a benchmark measures, and the file that others read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

WIDTH = 120


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    value: float
    unit: str
    better: Literal["higher", "lower"]


def write_results(path: Path, figures: Mapping[str, Figure], command: str, *, keep: bool = False) -> None:
    """Write figures as ``{name: {value, unit, better, command}}``.

    Parameters
    ----------
    path
        The file.
    figures
        Those measured.
    command
        What measured them.
    keep
        Keep the file's other figures: only a part of the benchmark was run.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    values = json.loads(path.read_text()) if keep and path.exists() else {}
    values |= {
        name: {"value": each.value, "unit": each.unit, "better": each.better, "command": command}
        for name, each in figures.items()
    }
    path.write_text(json.dumps(values, indent=1) + "\n")


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | float]]) -> None:
    """Print a table of what lies behind the figures."""
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(each if isinstance(each, str) else f"{each:.4g}" for each in row))
    Console(width=max(WIDTH, Console().width)).print(table)
