from __future__ import annotations

from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from scipy.ndimage import gaussian_filter

from catena.arrays import create_array
from catena.blockwise import ExecutionConfig
from catena.blockwise.blocks import BlockGrid
from catena.blockwise.job import WorkerSpec
from catena.blockwise.launchers import LAUNCHERS
from catena.blockwise.report import BlockwiseReport
from catena.blockwise.stage import open_block_function
from catena.targets import affinities, erode_boundaries
from data_prep.synthetic import synthesise

OFFSETS = [Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)]
VOXEL_SIZE = Coordinate(8, 8, 8)
SHAPE = Coordinate(48, 48, 52)


def write(path: Path, values: np.ndarray, voxel_size: Coordinate = VOXEL_SIZE, **options: Any) -> str:
    array = create_array(
        path,
        roi=Roi((0, 0, 0), Coordinate(values.shape[-3:]) * voxel_size),
        voxel_size=voxel_size,
        dtype=values.dtype,
        chunk_shape_vox=Coordinate(16, 16, 16),
        channels=values.shape[0] if values.ndim == 4 else None,
        overwrite=True,
        **options,
    )
    array.write(array.roi, values)
    return str(path)


@pytest.fixture(autouse=True)
def _forked_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the workers of runs in this process: they do what workers do, but a fresh Python imports for seconds.

    Those of ``catena run`` as a command, and of tests/blockwise, are fresh.
    """

    class Launcher(forked.ForkedLauncher):
        def __init__(self, execution: ExecutionConfig, job_path: Path) -> None:
            request.getfixturevalue("fork_server")  # only where a worker is started
            super().__init__(execution, job_path)

    monkeypatch.setitem(LAUNCHERS, "local", Launcher)


@pytest.fixture(scope="session")
def em(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small phantom on disk: raw, labels and affinities as a fair network would predict them."""
    folder = tmp_path_factory.mktemp("em")
    volume = synthesise(SHAPE, VOXEL_SIZE, seed=3)
    true, _ = affinities(erode_boundaries(volume.labels, 1), OFFSETS)
    noise = np.random.default_rng(0).standard_normal(true.shape).astype(np.float32)
    predicted = np.stack([gaussian_filter(each, 1.0) for each in true.astype(np.float32) + 0.8 * noise])
    return {
        "raw": write(folder / "em.zarr/volumes/raw", volume.raw),
        "labels": write(folder / "em.zarr/volumes/labels/neuron_ids", volume.labels),
        "mitochondria": write(folder / "em.zarr/volumes/labels/mitochondria", volume.mitochondria),
        "affinities": write(
            folder / "affinities.zarr/volumes/pred_affs",
            np.clip(predicted * 255, 0, 255).astype(np.uint8),
            attributes={"offsets": [list(each) for each in OFFSETS]},
        ),
    }


@pytest.fixture
def settings(em: dict[str, str], tmp_path: Path) -> dict[str, Any]:
    """A configuration that starts from affinities: 3 x 3 x 4 blocks in every stage."""
    return {
        "task": "local_shape_descriptors",
        "experiment": "e",
        "output": str(tmp_path / "runs"),
        "volumes": {
            "phantom": {
                "raw": em["raw"],
                "labels": em["labels"],
                "regions": {"train": {"z": [0, 16]}, "validation": {"z": [16, 32]}, "test": {"z": [32, 48]}},
            }
        },
        "inputs": {"affinities": em["affinities"]},
        "fragments": {"block_shape_vox": [16, 16, 16]},
        "execution": {"default": {"workers": 2}},
    }


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do blocks one after the other right here: what is tested is their work, and worker processes take seconds."""

    def run_here(name: str, grid: BlockGrid, spec: WorkerSpec, *_: Any, **__: Any) -> BlockwiseReport:
        process = open_block_function(spec.arguments)
        for block in grid:
            process(block)
        return BlockwiseReport(name, len(grid), len(grid), 0, 0, 0, 0.0)

    monkeypatch.setattr("catena.blockwise.stage.run_blockwise", run_here)
