"""What a benchmark measures, and the file that others read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    value: float
    unit: str
    better: Literal["higher", "lower"]


def write_results(path: Path, figures: Mapping[str, Figure], command: str) -> None:
    """Write figures as ``{name: {value, unit, better, command}}``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {
        name: {"value": each.value, "unit": each.unit, "better": each.better, "command": command}
        for name, each in figures.items()
    }
    path.write_text(json.dumps(values, indent=1) + "\n")
