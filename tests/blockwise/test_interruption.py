"""Runs that are ended from outside: nothing lost, nothing left behind, a rerun goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array, open_array

MASTER = """
import sys
from funlib.geometry import Coordinate, Roi
from catena.blockwise import BlockGrid, ExecutionConfig, WorkerSpec, run_blockwise

folder, sleep_s = sys.argv[1], float(sys.argv[2])
grid = BlockGrid(Roi((0, 0, 0), (20, 18, 14)), Coordinate(1, 1, 1), Coordinate(4, 6, 8), Coordinate(1, 1, 1))
arguments = {"source": folder + "/v.zarr/source", "target": folder + "/v.zarr/target", "sleep_s": sleep_s}
try:
    report = run_blockwise(
        "smooth", grid, WorkerSpec("blockwise_entries:smooth", arguments), folder + "/stage", ExecutionConfig(workers=2)
    )
    print("REPORT", report.done, report.resumed)
except KeyboardInterrupt as stopped:
    print("STOPPED", stopped)
    sys.exit(130)
"""
BLOCKS = 30

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A random source and an empty target in the blocks' chunks."""
    one, roi = Coordinate(1, 1, 1), Roi((0, 0, 0), (20, 18, 14))
    options = {"roi": roi, "voxel_size": one, "chunk_shape_vox": Coordinate(4, 6, 8)}
    source = create_array(str(tmp_path / "v.zarr/source"), dtype=np.uint8, **options)
    source.write(roi, np.random.default_rng(0).integers(0, 255, (20, 18, 14), dtype=np.uint8))
    create_array(str(tmp_path / "v.zarr/target"), dtype=np.uint32, **options)
    return tmp_path


@pytest.fixture
def start(entries: Path, volume: Path) -> Start:
    def begin(sleep_s: float = 0.0, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", MASTER, str(volume), str(sleep_s)],
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            text=True,
        )

    return begin


def expected(volume: Path) -> np.ndarray:
    values = np.pad(open_array(str(volume / "v.zarr/source")).read().astype(np.uint32), 1)
    for axis in range(3):
        values = values + np.roll(values, 1, axis) + np.roll(values, -1, axis)
    return values[1:-1, 1:-1, 1:-1]


def done(volume: Path) -> int:
    marks = volume / "stage/blocks/done/c/0/0/0"
    return int(np.fromfile(marks, np.uint8).sum()) if marks.exists() else 0


def workers(volume: Path) -> list[int]:
    """Return the processes whose command line names the stage's job."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if str(volume / "stage/job.json").encode() in arguments:
            found.append(int(path.parent.name))
    return found


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def finish(start: Start, volume: Path) -> str:
    master = start()
    printed, _ = master.communicate(timeout=60)
    assert master.returncode == 0, printed
    np.testing.assert_array_equal(open_array(str(volume / "v.zarr/target")).read(), expected(volume))
    return printed


def test_an_unbroken_run(start: Start, volume: Path) -> None:
    assert finish(start, volume) == f"REPORT {BLOCKS} 0\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_order(start: Start, volume: Path, number: signal.Signals) -> None:
    master = start(sleep_s=0.3)
    wait_for(lambda: done(volume) >= 2)
    began = time.monotonic()
    master.send_signal(number)
    printed, _ = master.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert master.returncode == 130
    assert printed.startswith(f"STOPPED smooth: stopped by {number.name}, ")
    assert workers(volume) == []
    kept = done(volume)
    assert 2 <= kept < BLOCKS
    assert finish(start, volume) == f"REPORT {BLOCKS} {kept}\n"


def test_a_killed_master_leaves_no_workers(start: Start, volume: Path) -> None:
    master = start(sleep_s=0.3)
    wait_for(lambda: done(volume) >= 2)
    assert len(workers(volume)) == 2
    master.kill()
    master.communicate()
    wait_for(lambda: not workers(volume), seconds=5)
    kept = done(volume)
    assert 2 <= kept < BLOCKS
    assert finish(start, volume) == f"REPORT {BLOCKS} {kept}\n"


@pytest.mark.parametrize("until", ["started", "working"])
def test_workers_die_with_the_master_at_once(start: Start, volume: Path, until: str) -> None:
    master = start(sleep_s=30)
    wait_for(lambda: workers(volume) if until == "started" else len(list((volume / "stage/running").glob("*"))) == 2)
    master.kill()
    master.communicate()
    wait_for(lambda: not workers(volume), seconds=5)
    assert done(volume) == 0


@pytest.mark.parametrize(
    "point",
    ["smooth.before_arrays:3", "smooth.after_arrays:3", "block.before_done_mark:3", "block.after_done_mark:3"],
)
def test_a_worker_killed_between_any_two_steps_of_a_commit(start: Start, volume: Path, point: str) -> None:
    hits = volume / "hits"
    hits.mkdir()
    master = start(CATENA_FAULT=point, CATENA_FAULT_ONCE=str(hits))
    printed, _ = master.communicate(timeout=60)
    assert [hit.name for hit in hits.iterdir()] == [f"smooth.worker@{point.partition(':')[0]}"]
    assert printed == f"REPORT {BLOCKS} 0\n"
    np.testing.assert_array_equal(open_array(str(volume / "v.zarr/target")).read(), expected(volume))


def test_a_master_killed_while_blocks_are_being_marked(start: Start, volume: Path) -> None:
    master = start(sleep_s=0.1, CATENA_FAULT="smooth.master@block.seen_done:2")
    master.communicate(timeout=60)
    assert master.returncode == -signal.SIGKILL
    wait_for(lambda: not workers(volume), seconds=5)
    kept = done(volume)
    assert 0 < kept < BLOCKS
    assert finish(start, volume) == f"REPORT {BLOCKS} {kept}\n"
