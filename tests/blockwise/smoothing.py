"""A small blockwise run in a process of its own, as started, watched and checked by the tests that end it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array, open_array

ROI = Roi((0, 0, 0), (20, 18, 14))
BLOCK_SHAPE = Coordinate(4, 6, 8)
BLOCKS = 30
MASTER = Path(__file__).parent / "master.py"


def make_volume(folder: Path) -> Path:
    """Make a random source and an empty target in the blocks' chunks."""
    one = Coordinate(1, 1, 1)
    options: dict[str, Any] = {"roi": ROI, "voxel_size": one, "chunk_shape_vox": BLOCK_SHAPE}
    source = create_array(str(folder / "v.zarr/source"), dtype=np.uint8, **options)
    source.write(ROI, np.random.default_rng(0).integers(0, 255, tuple(ROI.shape), dtype=np.uint8))
    create_array(str(folder / "v.zarr/target"), dtype=np.uint32, **options)
    return folder


def begin(
    volume: Path,
    sleep_s: float = 0.0,
    execution: Mapping[str, Any] | None = None,
    prefix: Sequence[str] = (),
    **variables: str,
) -> subprocess.Popen[str]:
    """Start a master, behind a command if need be, that smoothes the volume, `sleep_s` per block."""
    settings = json.dumps({"workers": 2} | dict(execution or {}))
    return subprocess.Popen(
        [*prefix, sys.executable, str(MASTER), str(volume), str(sleep_s), settings],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        text=True,
    )


def expected(volume: Path) -> np.ndarray:
    values = np.pad(open_array(str(volume / "v.zarr/source")).read().astype(np.uint32), 1)
    for axis in range(3):
        values = values + np.roll(values, 1, axis) + np.roll(values, -1, axis)
    smoothed: np.ndarray = values[1:-1, 1:-1, 1:-1]
    return smoothed


def require_smoothed(volume: Path) -> None:
    np.testing.assert_array_equal(open_array(str(volume / "v.zarr/target")).read(), expected(volume))


def finish(start: Callable[[], subprocess.Popen[str]], volume: Path) -> str:
    """Run to the end, check the result and return what the master printed."""
    master = start()
    printed, _ = master.communicate(timeout=120)
    assert master.returncode == 0, printed
    require_smoothed(volume)
    return printed


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


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
