"""volara 1.0.2 on the same affinities: how long it takes, and how good it is at the best of a few settings."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mwatershed
import numpy as np
import zarr
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from benchmarks.blockwise.accuracy import Best
from benchmarks.blockwise.experiment import WORKERS, timed
from catena.evaluation import Contingency, score
from catena.evaluation.contingency import Relabeller

MODULE = "benchmarks.blockwise.volara_pipeline"
BLOCK, CONTEXT = Coordinate(60, 60, 60), Coordinate(15, 15, 15)
BIASES = (-0.2, -0.3, -0.4, -0.5, -0.6, -0.7, -0.8, -0.9)
"""Of the clustering of the graph: what an agglomeration threshold is elsewhere."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "bias -0.4 as in its README": {"bias": -0.4, "extract": {}},
    "bias -0.6": {"bias": -0.6, "extract": {}},
    "bias -0.8": {"bias": -0.8, "extract": {}},
}
"""Settings of the fragments among which the best is chosen on a part of the volume."""


@dataclass(frozen=True)
class VolaraRun:
    """A finished pipeline: its folder and the wall time of its process, start-up included."""

    folder: Path
    seconds: float

    def fragments(self) -> NDArray[np.uint64]:
        """Return the fragments, (z, y, x)."""
        return np.asarray(zarr.open(str(self.folder / "volara.zarr/fragments"), "r")[:], np.uint64)

    def best(self, labels: NDArray[np.uint64]) -> Best:
        """Return the best VOI over the biases of the graph's clustering (mutex watershed, as GraphMWS does it)."""
        part = self.fragments()[tuple(slice(0, n) for n in labels.shape)]
        ids = np.unique(part)
        relabelled = Contingency.of(part, labels).relabeller(ids)
        edges = self._edges()
        return min((_clustered(relabelled, ids, edges, bias) for bias in BIASES), key=lambda each: each.voi)

    def _edges(self) -> list[tuple[int, int, float]]:
        with sqlite3.connect(self.folder / "graph.sqlite") as connection:
            return connection.execute("SELECT u, v, adj_weight FROM edges WHERE adj_weight IS NOT NULL").fetchall()


def run_volara(folder: Path, affinities: Path, settings: Mapping[str, Any]) -> VolaraRun:
    """Run the pipeline in a process of its own with two workers; `folder` must not hold another run."""
    folder.mkdir(parents=True)
    said = folder / "settings.json"
    geometry = {"block": list(BLOCK), "context": list(CONTEXT), "workers": WORKERS}
    said.write_text(json.dumps({"affinities": str(affinities), **geometry, **settings}))
    here = Path(__file__).parents[2]
    code = f"import runpy, sys; sys.path.insert(0, {str(here)!r}); runpy.run_module('{MODULE}', run_name='__main__')"
    return VolaraRun(folder, timed([sys.executable, "-c", code, str(said)], folder))


def _clustered(
    relabelled: Relabeller, ids: NDArray[np.uint64], edges: list[tuple[int, int, float]], bias: float
) -> Best:
    weighted = sorted(((weight + bias, u, v) for u, v, weight in edges), key=lambda edge: abs(edge[0]), reverse=True)
    segment_of = dict(mwatershed.cluster([(weight > 0, u, v) for weight, u, v in weighted]))
    found = score(relabelled(np.array([segment_of.get(int(each), int(each)) for each in ids], np.uint64)))
    return Best(found.voi_sum, bias, found.voi_split, found.voi_merge)
