"""What a stage does about chunks that a killed process cut short."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import Array
from catena.blockwise import BlockGrid, BlockwiseReport, ExecutionConfig
from catena.blockwise.stage import BlockFunction, BlockwiseStage, keep_or_create
from catena.errors import GeometryError
from catena.experiment import ExperimentConfig
from catena.task import Input, Job, Output

ROI = Roi((0, 0, 0), (8, 8, 8))


GRID = BlockGrid(ROI, Coordinate(1, 1, 1), Coordinate(8, 8, 8), Coordinate(0, 0, 0))


def volume(path: Path, grid: BlockGrid = GRID) -> Array:
    return keep_or_create(path, grid, dtype=np.uint8, chunk_shape_vox=Coordinate(4, 4, 4))


def test_a_resumed_array_keeps_its_chunks_and_loses_those_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "v.zarr" / "raw"
    volume(path).write(ROI, np.full((8, 8, 8), 7, np.uint8))
    cut_short = path / "0.0.1.4f2a.partial"
    cut_short.write_bytes(b"half a chunk")
    resumed = volume(path)
    assert not cut_short.exists()
    assert (resumed.read() == 7).all()


def test_an_array_in_which_blocks_would_share_chunks_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "v.zarr" / "raw"
    with pytest.raises(GeometryError, match=r"v\.zarr/raw: blocks of \(6, 8, 8\) voxels, .* cut chunks of \(4, 4, 4\)"):
        volume(path, replace(GRID, block_shape_vox=Coordinate(6, 8, 8)))
    assert not path.exists()


class Copy(BlockwiseStage):
    """Makes one array, in one block."""

    name, version = "copy", 1

    def inputs(self, config: Any, volume: str) -> Mapping[str, Input]:
        return {}

    def outputs(self, config: Any, volume: str) -> Mapping[str, Output]:
        return {"raw": Output("v.zarr/raw", "array"), "nodes": Output("nodes", "table")}

    def settings(self, config: Any, volume: str) -> Mapping[str, Any]:
        return {}

    def grid(self, config: Any, volume: str) -> BlockGrid:
        return GRID

    def prepare(self, job: Job, grid: BlockGrid) -> None:
        volume(job.staged(Output("v.zarr/raw", "array")))

    def execution(self, config: Any) -> ExecutionConfig:
        return ExecutionConfig(workers=1)

    def block_function(self, job: Job) -> BlockFunction:
        raise NotImplementedError


def test_nothing_that_a_dead_worker_cut_short_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volumes = {"v": {"raw": "raw.zarr/raw"}}
    config = ExperimentConfig.parse({"task": "t", "experiment": "e", "output": str(tmp_path), "volumes": volumes})
    job = Job("t", "copy", "v", config, "f" * 64)
    cut_short = job.staging / "v.zarr" / "raw" / "0.0.1.4f2a.partial"

    def a_worker_dies(*_: object, **__: object) -> BlockwiseReport:
        cut_short.write_bytes(b"half a chunk")
        return BlockwiseReport("copy", total=1, done=1, failed=0, skipped=0, resumed=0, seconds=0.1, worker_deaths=1)

    monkeypatch.setattr("catena.blockwise.stage.run_blockwise", a_worker_dies)
    Copy().run(job, lambda done, total, message="": None)
    assert cut_short.parent.exists()
    assert not cut_short.exists()
