"""Lookup tables and whole-graph agglomeration of 10 million edges, each in a process of its own."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.blockwise.experiment import timed
from benchmarks.blockwise.synthetic_graph import write_graph
from benchmarks.blockwise.timing import step
from benchmarks.result import Figure, show

FULL_EDGES, SMOKE_EDGES = 10_000_000, 200_000
WORK = ("lookup_tables", "mean", "hist_quant_75")


def measure(smoke: bool) -> dict[str, Figure]:
    """Return seconds and peak memory of processes that make tables, and that agglomerate."""
    edges = SMOKE_EDGES if smoke else FULL_EDGES
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with step(f"a local graph of {edges:,} edges"):
            nodes = write_graph(folder, edges)
        for what in WORK:
            with step(what):
                timed([sys.executable, "-m", "benchmarks.blockwise.graph_work", str(folder), what])
            rows[what] = json.loads((folder / f"{what}.json").read_text())
    table = [(what, row["seconds"], row["peak_mb"]) for what, row in rows.items()]
    show(f"{edges:,} edges, {nodes:,} fragments, one core", ("work", "seconds", "peak MB of the process"), table)
    slowest = max(WORK[1:], key=lambda what: rows[what]["seconds"])
    return {
        "lut_seconds": Figure(rows["lookup_tables"]["seconds"], "s", "lower"),
        "lut_peak_mb": Figure(rows["lookup_tables"]["peak_mb"], "MB", "lower"),
        "graph_seconds": Figure(rows[slowest]["seconds"], "s", "lower"),
        "graph_peak_mb": Figure(max(rows[what]["peak_mb"] for what in WORK[1:]), "MB", "lower"),
    }
