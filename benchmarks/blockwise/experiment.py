"""Run the stages from fragments to segmentation as a user would: a file and a command."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from benchmarks.blockwise.source import mirror_tiled
from catena.arrays import create_array, open_array
from catena.evaluation.baseline import AFFINITY_OFFSETS
from catena.ledger import Ledger
from catena.segmentation import relabel
from local_shape_descriptors.lookup_tables import LookupTables

WORKERS = 2
VOLUME = "volume"
STAGES = ("fragments", "agglomerate", "lookup_tables", "segmentation")


@dataclass(frozen=True, eq=False)
class Finished:
    """An experiment that has run.

    Attributes
    ----------
    folder
        Of the volume's results.
    seconds
        Wall time of the command, start-up included.
    stages
        Wall time of every stage, with the start of its workers.
    peak_mb
        Largest memory of a worker, in any stage.
    """

    folder: Path
    seconds: float
    stages: dict[str, float]
    peak_mb: float

    def fragments(self) -> NDArray[np.uint64]:
        """Return the fragments, (z, y, x)."""
        return np.asarray(open_array(self.folder / "volume.zarr/volumes/fragments").read(), np.uint64)

    def tables(self) -> LookupTables:
        """Return the lookup tables."""
        (only,) = (self.folder / "luts").glob("*.zarr")
        return LookupTables.load(only)

    def segmentation(self, threshold: float) -> NDArray[np.uint64]:
        """Return the segmentation at a threshold, (z, y, x)."""
        tables = self.tables()
        return relabel(self.fragments(), tables.ids, tables.at(threshold))


def write_affinities(
    path: Path, values: NDArray[np.uint8], voxel_size: Coordinate, shape: Coordinate, chunk: Coordinate
) -> Path:
    """Write affinities, mirror-tiled to `shape`; return the array's path."""
    path = path / "volumes/pred_affs"
    array = create_array(
        path,
        roi=Roi((0, 0, 0), shape * voxel_size),
        voxel_size=voxel_size,
        dtype=np.uint8,
        channels=3,
        chunk_shape_vox=chunk,
        attributes={
            "offsets": [list(offset) for offset in AFFINITY_OFFSETS],
            "types": ["channel", "space", "space", "space"],  # without it volara cannot read the array
        },
    )
    for first in range(0, int(shape[0]), int(chunk[0])):
        last = min(first + int(chunk[0]), int(shape[0]))
        part = Roi(Coordinate(first, 0, 0) * voxel_size, Coordinate(last - first, *shape[1:]) * voxel_size)
        array.write(part, mirror_tiled(values, shape, (first, last)))
    return path


def segment_blockwise(
    folder: Path,
    name: str,
    affinities: Path,
    block: Coordinate,
    *,
    fragments: Mapping[str, Any] | None = None,
    agglomerate: Mapping[str, Any] | None = None,
    volume: Mapping[str, Any] | None = None,
    only: str | None = None,
) -> Finished:
    """Run the stages with two workers and return what came of it.

    Parameters
    ----------
    folder
        Where the experiment lies.
    name
        Of the experiment.
    affinities
        Path of the array.
    block
        Block shape, voxels.
    fragments, agglomerate, volume
        Further settings of these sections.
    only
        Run this stage alone.

    Raises
    ------
    RuntimeError
        With what the command said, if it fails.
    """
    settings = {
        "task": "local_shape_descriptors",
        "experiment": name,
        "output": str(folder / "runs"),
        "volumes": {VOLUME: {"inputs": {"affinities": str(affinities)}, **(volume or {})}},
        "fragments": {"block_shape_vox": [int(each) for each in block], **(fragments or {})},
        "agglomerate": {**(agglomerate or {})},
        "execution": {"default": {"workers": WORKERS}},
    }
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(settings))
    stages = ["--only", only] if only else ["--from", STAGES[0], "--to", STAGES[-1]]
    seconds = timed([sys.executable, "-m", "catena", "run", str(config), *stages])
    return _finished(folder / "runs" / name, seconds)


def timed(command: list[str], folder: Path | None = None) -> float:
    """Run a command in a process of its own and return its wall time; raises what it said if it fails."""
    began = time.monotonic()
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if ended.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)} ended with {ended.returncode}: {(ended.stdout + ended.stderr)[-2000:]}"
        )
    return seconds


def _finished(experiment: Path, seconds: float) -> Finished:
    with Ledger(experiment / "ledger.sqlite", read_only=True) as ledger:
        records = {stage: ledger.read(VOLUME, stage, "published") for stage in STAGES}
    done = {stage: record for stage, record in records.items() if record is not None}
    peaks = [float(each.report["figures"].get("peak_memory_mb", 0)) for each in done.values()]
    stages = {stage: record.seconds for stage, record in done.items()}
    return Finished(experiment / "volumes" / VOLUME, seconds, stages, max(peaks))
