"""The accuracy table: networks, waterz, the published segmentation and the baseline on held-out regions of real data.

Every row is one command that a user would type; what is finished is not trained again. Thresholds are chosen on the
validation region, scores are those of the test region. A smoke run does the same on a phantom, with two iterations of
training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy.datasets import REAL, phantoms
from benchmarks.accuracy.rows import ROWS
from benchmarks.accuracy.table import figures_of, markdown
from benchmarks.blockwise.timing import step
from benchmarks.result import Figure

PARTS = tuple(ROWS)
SMOKE_PARTS = ("aff", "shipped", "waterz", "waterz_watershed", "ffn", "baseline")
"""One of each kind."""


def measure(smoke: bool = False, parts: Sequence[str] = ()) -> dict[str, Figure]:
    """Print the table of some rows, or of all whose data are there, and return its figures."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        datasets = phantoms(Path(folder)) if smoke else REAL
        for name in parts or (SMOKE_PARTS if smoke else PARTS):
            dataset, make = ROWS[name]
            missing = datasets[dataset].missing()
            if missing is not None:
                print(f"{name} left out: {missing}", flush=True)
                continue
            with step(f"row {name}"):
                made.append(make(name, datasets[dataset]))
    if made:
        print(f"\n{markdown(made)}\n", flush=True)
    return figures_of(made)
