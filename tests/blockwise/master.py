"""A master in a process of its own: ``python master.py FOLDER SLEEP_S EXECUTION``, smoothing FOLDER/v.zarr.

It prints what became of the run, and exits as ``catena run`` does.
"""

from __future__ import annotations

import json
import sys

from funlib.geometry import Coordinate
from host_launcher import OtherHostLauncher
from smoothing import BLOCK_SHAPE, ROI

from catena.blockwise import BlockGrid, ExecutionConfig, WorkerSpec, run_blockwise
from catena.blockwise.launchers import LAUNCHERS
from catena.errors import CatenaError

LAUNCHERS["other_host"] = OtherHostLauncher


def main(folder: str, sleep_s: str, execution: str) -> int:
    """Run all blocks that are left."""
    one = Coordinate(1, 1, 1)
    grid = BlockGrid(ROI, one, BLOCK_SHAPE, context_vox=one)
    arguments = {"source": f"{folder}/v.zarr/source", "target": f"{folder}/v.zarr/target", "sleep_s": float(sleep_s)}
    worker = WorkerSpec("blockwise_entries:smooth", arguments)
    try:
        report = run_blockwise("smooth", grid, worker, f"{folder}/stage", ExecutionConfig(**json.loads(execution)))
    except KeyboardInterrupt as stopped:
        print("STOPPED", stopped)
        return 130
    except CatenaError as error:
        print("ERROR", error)
        return 1
    print("REPORT", report.done, report.resumed)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
