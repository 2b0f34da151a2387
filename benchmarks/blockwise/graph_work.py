"""Work on a graph in a process of its own: ``python -m benchmarks.blockwise.graph_work FOLDER WHAT``."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.segmentation import THRESHOLDS, EdgeStatistics, agglomerate_graph, iterate_lookup_tables
from catena.segmentation.ascent import STAY

TABLES = THRESHOLDS[1:]  # 50: at 0 nothing merges
_WARM_UP = 1000


def main(folder: Path, what: str) -> None:
    """Read the graph; work on a little part of it, so that nothing is compiled while time runs, then on all of it."""
    unused = {"lookup_tables": {"positions", "contact", "affinity_sum", "histogram"}, "mean": {"histogram"}}
    names = [path.stem for path in folder.glob("*.npy") if path.stem not in unused.get(what, set())]
    columns = {name: np.load(folder / f"{name}.npy") for name in names}
    work(what, columns, _WARM_UP)
    began = time.monotonic()
    work(what, columns, columns["u"].size)
    taken = {"seconds": time.monotonic() - began, "peak_mb": peak_mb()}
    (folder / f"{what}.json").write_text(json.dumps(taken))


def work(what: str, columns: dict[str, NDArray[Any]], edges: int) -> None:
    """Make all lookup tables of the first edges, one after the other, or merge them with a merge function."""
    none, ids = np.empty((0, 2), np.uint64), columns["ids"]
    part = {name: values[:edges] for name, values in columns.items()}
    if what == "lookup_tables":
        for _ in iterate_lookup_tables(ids, part["u"], part["v"], part["merge_score"], none, TABLES):
            pass
        return
    histogram = part.get("histogram", np.empty((part["u"].size, 0), np.uint32))
    statistics = EdgeStatistics(part["u"], part["v"], part["contact"], part["affinity_sum"], histogram)
    agglomerate_graph(ids, columns["positions"], np.full(ids.size, STAY, np.int8), statistics, none, what)


def peak_mb() -> float:
    """Return the largest memory that this process has had.

    Not ``getrusage``: a child's peak starts there with that of the parent it was forked from.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError("the kernel does not tell the peak memory of a process (VmHWM in /proc/self/status)")
    return int(found.group(1)) * 1024 / 1e6


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
