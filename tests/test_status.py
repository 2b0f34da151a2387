"""What another terminal is told of a run, from a folder as runs leave it."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from rich.console import Console

from catena.blockwise import BlockFailure, BlockGrid, WorkerSpec
from catena.blockwise.failures import record_failure
from catena.blockwise.job import WorkerJob
from catena.blockwise.status import TRACKING, ProgressFile
from catena.ledger import Ledger, Record
from catena.lock import ExperimentLock
from catena.status import StageStatus, experiment_status, print_status, watch_status
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.task import TASK

GRID = BlockGrid(Roi((0, 0, 0), (1, 2, 3)), Coordinate(1, 1, 1), Coordinate(1, 1, 1), Coordinate(0, 0, 0))
FINGERPRINT = "f" * 64


@pytest.fixture
def config(tmp_path: Path) -> LocalShapeDescriptorsConfig:
    volumes = {"v": {"inputs": {"affinities": "a.zarr/affs"}}}
    values = {"task": "local_shape_descriptors", "experiment": "e", "output": str(tmp_path), "volumes": volumes}
    found: LocalShapeDescriptorsConfig = LocalShapeDescriptorsConfig.parse(values)
    found.folder.mkdir()
    return found


def note(config: LocalShapeDescriptorsConfig, stage: str, state: str, slot: str = "staged") -> None:
    figures = {"peak_memory_mb": 250.0, "slowest_blocks": [[3, 7.5]]}
    report = {"blocks": {"done": 6, "failed": 0, "skipped": 0}, "voxels": 6_000_000, "figures": figures}
    with Ledger(config.folder / "ledger.sqlite") as ledger:
        ledger.write("v", stage, slot, Record(FINGERPRINT, state, 2.0, {}, report))  # type: ignore[arg-type]


def blocks_of(config: LocalShapeDescriptorsConfig, stage: str) -> ProgressFile:
    """Lay out the folder of a stage of which one of six blocks is skipped, two are done and one failed."""
    folder = config.volume_folder("v") / ".staging" / f"{stage}-{FINGERPRINT[:16]}" / "blockwise"
    WorkerJob(f"v.{stage}", WorkerSpec("a:b"), GRID, folder).write()
    marks = {
        "done": np.array([1, 0, 1, 0, 0, 0], np.uint8),
        "wall_seconds": np.array([0.5, 0, 4, 0, 0, 0], np.float32),
        "peak_rss_bytes": np.array([3e8, 0, 4e8, 0, 0, 0], np.uint64),
    }
    for name, values in marks.items():
        path = folder / TRACKING / name / "c/0/0/0"
        path.parent.mkdir(parents=True)
        values.tofile(path)
    record_failure(folder, BlockFailure(1, "ValueError: poison", "worker_0.log"))
    progress = ProgressFile(folder, f"v.{stage}", skipped=1, resumed=0)
    time.sleep(0.01)  # a rate needs time
    progress.write("running", 1)
    return progress


def stages(config: LocalShapeDescriptorsConfig) -> dict[str, StageStatus]:
    status = experiment_status(TASK, config, compare=False)
    assert status is not None
    return {each.node.stage: each for each in status.stages}


def shown(config: LocalShapeDescriptorsConfig) -> str:
    console = Console(file=io.StringIO(), width=160)
    print_status(TASK, config, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_nothing_yet(config: LocalShapeDescriptorsConfig) -> None:
    assert experiment_status(TASK, config) is None
    assert "nothing has been run yet" in shown(config)


def test_a_running_stage_tells_blocks_rate_memory_and_what_is_slow(config: LocalShapeDescriptorsConfig) -> None:
    with ExperimentLock(config.folder):
        note(config, "fragments", "running")
        blocks_of(config, "fragments")
        found = stages(config)["fragments"]
        assert found.state == "running"
        assert found.blocks == {"done": 2, "failed": 1, "skipped": 1, "left": 2}
        assert found.mvoxel_per_s is not None
        assert found.seconds_left is not None
        assert found.peak_memory_bytes == 400_000_000
        assert found.slowest == ((2, 4.0), (0, 0.5))
        assert found.failures == ("block 1: ValueError: poison (log: worker_0.log)",)
        text = shown(config)
    assert "slowest blocks: 2 (4.0 s), 0 (0.5 s)" in text
    assert "failed: block 1: ValueError: poison (log: worker_0.log)" in text
    assert "400" in text


def test_a_killed_stage_is_stopped_also_while_another_runs(config: LocalShapeDescriptorsConfig) -> None:
    note(config, "fragments", "done", "published")
    note(config, "fragments", "running")
    blocks_of(config, "fragments")
    assert stages(config)["fragments"].description == "stopped (earlier result kept)"
    with ExperimentLock(config.folder):  # a later run, which has not come to the fragments
        note(config, "agglomerate", "running")
        found = stages(config)
        assert (found["fragments"].state, found["agglomerate"].state) == ("stopped", "running")
        assert found["fragments"].seconds_left is None
        note(config, "fragments", "running")  # now it has
        assert stages(config)["fragments"].state == "running"
    assert {stages(config)[name].state for name in ("fragments", "agglomerate")} == {"stopped"}


def test_stopped_failed_and_done(config: LocalShapeDescriptorsConfig) -> None:
    for stage, state in (("fragments", "stopped"), ("agglomerate", "failed")):
        note(config, stage, "failed")  # what the ledger says of anything that was raised, Ctrl-C too
        blocks_of(config, stage).write(state, 1)  # type: ignore[arg-type]
    note(config, "segmentation", "done", "published")
    found = stages(config)
    assert [found[name].state for name in ("fragments", "agglomerate", "segmentation")] == ["stopped", "failed", "done"]
    done = found["segmentation"]
    assert (done.mvoxel_per_s, done.peak_memory_bytes, done.slowest) == (3.0, 250_000_000, ((3, 7.5),))
    assert found["lookup_tables"].state == "not started"


def test_watching_ends_with_the_run(config: LocalShapeDescriptorsConfig) -> None:
    note(config, "fragments", "done", "published")
    console = Console(file=io.StringIO(), width=160)
    with ExperimentLock(config.folder):
        note(config, "agglomerate", "running")
        watcher = threading.Thread(target=watch_status, args=(TASK, config, 0.05, console))
        watcher.start()
        time.sleep(0.3)
        assert watcher.is_alive()
    watcher.join(120)
    assert not watcher.is_alive()
    last: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "v: agglomerate" in last
    assert "stopped" in last
