"""A worker process: acquires blocks until none is left.

Started by a launcher as ``python -m catena.blockwise.worker FOLDER/job.json``, with ``DAISY_CONTEXT`` set.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from catena.blockwise.blocks import Block
from catena.blockwise.connection import SchedulerConnection
from catena.blockwise.failures import BlockFailure, record_failure
from catena.blockwise.faults import fault_place, fault_point
from catena.blockwise.job import ProcessBlock, WorkerJob
from catena.blockwise.lifeline import die_with_parent
from catena.blockwise.memory import note_peak_memory
from catena.blockwise.running import RunningNote


def work(job: WorkerJob) -> None:
    """Set up and work on blocks until the scheduler has none left.

    A block that raises is noted as failed and given back; the worker sets itself up afresh, since
    the error may have spoilt what it holds, and goes on.
    """
    client = SchedulerConnection()
    print(f"{job.name}: worker {client.worker_id}, process {os.getpid()} on {socket.gethostname()}, {time.ctime()}")
    make = job.worker.load()
    with RunningNote(job.folder, client.worker_id) as note:
        more = True
        while more:
            with ExitStack() as opened:
                process: Any = make(job.worker.arguments)
                if isinstance(process, AbstractContextManager):
                    process = opened.enter_context(process)
                note.ready()
                more = _work_until_failure(job, client, process, note)


def _work_until_failure(job: WorkerJob, client: SchedulerConnection, process: ProcessBlock, note: RunningNote) -> bool:
    """Return False when no block is left, True when one has failed."""
    import daisy.v2 as daisy

    while True:
        with client.acquire_block() as acquired:
            if acquired is None:
                return False
            block = job.grid.block(job.grid.index_at(acquired.write_roi.begin))
            note.working_on(block.index)
            failed = not _succeeds(job, process, block, client.worker_id)
            note_peak_memory(job.folder, client.worker_id)
            if failed:
                # not by raising: Daisy would send the traceback on and print it in the master's terminal
                acquired.status = daisy.BlockStatus.FAILED
            else:
                fault_point("block.before_done_mark")
        fault_point("block.after_done_mark")
        note.working_on(None)
        if failed:
            return True


def _succeeds(job: WorkerJob, process: ProcessBlock, block: Block, worker_id: int) -> bool:
    began = time.monotonic()
    try:
        process(block)
    except Exception as error:
        print(f"block {block.index} failed", flush=True)
        traceback.print_exc()
        log = job.folder / "logs" / f"worker_{worker_id}.log"
        record_failure(job.folder, BlockFailure(block.index, f"{type(error).__name__}: {error}", str(log)))
        return False
    print(f"block {block.index} done in {time.monotonic() - began:.3f} s", flush=True)
    return True


def main(arguments: list[str]) -> int:
    """Run the worker whose job lies in the file named by the only argument."""
    die_with_parent()
    if len(arguments) != 1:
        print("usage: python -m catena.blockwise.worker FOLDER/job.json", file=sys.stderr)
        return 2
    job = WorkerJob.read(Path(arguments[0]))
    with fault_place(f"{job.stage}.worker"):
        work(job)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
