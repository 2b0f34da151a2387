"""A small grid, a folder, and workers that can import the test's entries."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from funlib.geometry import Coordinate, Roi

from catena.blockwise import BlockGrid, BlockwiseReport, ExecutionConfig, WorkerSpec, run_blockwise

sys.path.insert(0, str(Path(__file__).parent))  # what starts masters and clusters are modules beside the tests

from smoothing import begin, make_volume

ENTRIES = Path(__file__).parent / "entries"


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(ENTRIES))
    monkeypatch.setenv("PYTHONPATH", str(ENTRIES))
    return ENTRIES


@pytest.fixture
def grid() -> BlockGrid:
    """3 × 3 × 2 blocks of 4³ voxels of 10 × 2 × 2 nm, cropped on every axis; one voxel of context."""
    return BlockGrid(Roi((100, -4, 6), (90, 18, 14)), Coordinate(10, 2, 2), Coordinate(4, 4, 4), Coordinate(1, 1, 1))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def visit(entries: Path, grid: BlockGrid, out: Path, tmp_path: Path) -> Callable[..., BlockwiseReport]:
    """Run `blockwise_entries:visit` over the grid; options go to the execution, arguments to the entry."""

    def run(arguments: dict[str, Any] | None = None, **options: Any) -> BlockwiseReport:
        callback = {name: options.pop(name) for name in ("skip", "progress", "retry_failed") if name in options}
        execution = ExecutionConfig.model_validate({"workers": 2} | options)
        worker = WorkerSpec("blockwise_entries:visit", {"out": str(out)} | (arguments or {}))
        return run_blockwise("visit", grid, worker, tmp_path / "stage", execution, **callback)

    return run


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return make_volume(tmp_path)


@pytest.fixture
def start(entries: Path, volume: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a master that smoothes the volume; arguments are those of `begin`."""
    return lambda *arguments, **options: begin(volume, *arguments, **options)
