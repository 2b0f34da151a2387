"""Work through the blocks of a stage with worker processes, resumably.

Daisy schedules, retries and keeps the done marks. Around it: workers are started by a launcher of ours
rather than by Daisy, so that they log to one file each, die with the master and can be
ended at once; signals end a run in an orderly way; and what failed is named.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Roi
from numpy.typing import ArrayLike, NDArray

from catena.blockwise.blocks import BlockGrid
from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.failures import BlockFailure, quarantine, read_failures, read_quarantine, record_failure
from catena.blockwise.faults import fault_place, fault_point
from catena.blockwise.job import WorkerJob, WorkerSpec
from catena.blockwise.launchers import Launcher, WorkerExit, open_launcher
from catena.blockwise.marks import BlockMarks
from catena.blockwise.report import BlockwiseReport, FailedBlocksError
from catena.blockwise.running import any_ready, block_of, clear_notes
from catena.blockwise.status import TRACKING, ProgressFile, State
from catena.errors import GeometryError, StageError
from catena.interruption import Interruption

Progress = Callable[[float, float, str], None]
"""Called with blocks ended, blocks to do in all (those skipped left out), and a remark."""

_TICK_S = 0.1
_FAREWELL_S = 5.0  # for workers to close what they hold once no block is left


def run_blockwise(
    name: str,
    grid: BlockGrid,
    worker: WorkerSpec,
    folder: str | Path,
    execution: ExecutionConfig,
    skip: ArrayLike | None = None,
    progress: Progress | None = None,
    retry_failed: bool = False,
) -> BlockwiseReport:
    """Have every block of `grid` worked on that is neither done nor skipped.

    Parameters
    ----------
    name
        The stage, for messages and status. Fault points are passed in the places ``STAGE.worker`` and
        ``STAGE.master``; STAGE is what follows the last dot.
    grid
        The blocks; the same on every rerun in `folder`.
    worker
        What to do with a block.
    folder
        Done marks, logs and failures lie here; the caller sees to it that it belongs to one
        configuration (its fingerprint) and to one run at a time.
    execution
        How many workers, where, and how patient to be.
    skip
        Boolean, in the shape of the grid: True for blocks with nothing to do.
    progress
        Called in this thread a few times a second; what it raises ends the run.
    retry_failed
        Try the blocks again that an earlier run has quarantined, having failed with them after all retries. Otherwise
        they are left alone, and named when the others are done.

    Returns
    -------
    BlockwiseReport
        When every block is done or skipped.

    Raises
    ------
    FailedBlocksError
        A :class:`~catena.errors.StageError` that names the blocks that failed after all retries, in this run or an
        earlier one, once all others are done.
    StageError
        If no worker could be set up, or the folder holds another grid.
    GeometryError
        If `skip` has another shape than the grid.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM: workers are ended, done blocks are kept, a rerun goes on.
    """
    worker.require_importable()
    skipped = _skip_mask(skip, grid)
    job = WorkerJob(name, worker, grid, Path(folder).absolute())
    _require_same_grid(job)
    if retry_failed:
        quarantine(job.folder, ())
    run = _Run(job, execution, skipped)
    return run.finished() if run.left == 0 else run.work(progress)


class _Run:
    """One run of one stage, from the first worker to the report."""

    def __init__(self, job: WorkerJob, execution: ExecutionConfig, skip: NDArray[np.bool_]) -> None:
        self.job = job
        self.execution = execution
        self.began = time.monotonic()
        self.marks = BlockMarks(job.folder / TRACKING, job.grid.shape)
        done = self.marks.done()
        self.skip = skip & ~done
        self.skipped = int(self.skip.sum())
        self.resumed = int(done.sum())
        quarantined = np.zeros(len(job.grid), dtype=bool)
        quarantined[read_quarantine(job.folder)] = True
        self.quarantined = quarantined.reshape(job.grid.shape) & ~done & ~self.skip
        self.left = len(job.grid) - self.resumed - self.skipped - int(self.quarantined.sum())
        self.states = _LatestStates()
        self.worker_deaths = 0
        self.setup_failure: str | None = None
        self.scheduler_error: BaseException | None = None
        self.stopping = False
        self.interrupted = False

    def work(self, progress: Progress | None) -> BlockwiseReport:
        """Run all blocks that are left and report, or raise what ended the run."""
        job_path = self.job.write()
        clear_notes(self.job.folder)
        launcher = open_launcher(self.execution, job_path)
        noted = ProgressFile(self.job.folder, self.job.name, self.skipped, self.resumed)
        noted.write("running", self.failed)
        state: State = "stopped"
        try:
            with fault_place(f"{self.job.stage}.master"), _daisy_without_logs(), Interruption() as interruption:
                self._schedule(launcher, noted, interruption, progress)
            self._raise_what_ended_it(interruption)
            state = "failed" if self.report().failed else "finished"
        finally:
            noted.write(state, self.failed)
        return self.finished()

    def finished(self) -> BlockwiseReport:
        """Return the report of blocks none of which is left; quarantine and raise those that failed."""
        report = self.report()
        if not report.failed:
            return report
        if self.states.abandoned:  # the fault of the workers: any block might have been the one
            raise FailedBlocksError(
                report, f" (given up after {self.worker_deaths} workers died; see execution.max_worker_restarts)"
            )
        quarantine(self.job.folder, [failure.block for failure in report.failures])
        raise FailedBlocksError(report, quarantined=True)

    @property
    def failed(self) -> int:
        """Number of blocks that have failed so far, those of earlier runs that are not tried again included."""
        return self.states.failed + int(self.quarantined.sum())

    def _schedule(
        self, launcher: Launcher, noted: ProgressFile, interruption: Interruption, progress: Progress | None
    ) -> None:
        # in a thread of its own: the main thread, if it sat in Rust, would not see SIGTERM
        thread = threading.Thread(target=self._serve, args=(launcher,), name=self.job.name, daemon=True)
        thread.start()
        try:
            while thread.is_alive() and interruption.signal is None and self.setup_failure is None:
                thread.join(_TICK_S)
                self._tick(noted, progress)
                if self.states.ended:
                    # the scheduler waits for all workers, also for those whose jobs wait in a cluster's queue
                    self.stopping = True
                    launcher.stop(patience_s=_FAREWELL_S)
            # Ctrl-C is caught by the scheduler while it runs, and by us before and after
            ctrl_c = isinstance(self.scheduler_error, KeyboardInterrupt)
            self.interrupted = ctrl_c or interruption.signal is not None
        finally:
            self.stopping = True
            _end(thread, launcher)

    def _serve(self, launcher: Launcher) -> None:
        import daisy.v2 as daisy
        from daisy import _daisy

        try:
            # what daisy.Server.run_blockwise calls, less its wrapping of workers in processes of Daisy's own
            pipeline = daisy.Pipeline.from_task(self._task(launcher))
            _daisy._run_distributed_server(pipeline, None, self.states, host=launcher.host)
        except BaseException as error:  # KeyboardInterrupt included: this is not the thread that it is meant for
            self.scheduler_error = error

    def _task(self, launcher: Launcher) -> Any:
        import daisy.v2 as daisy

        grid = self.job.grid
        # Daisy is told of no context: our grid knows it, border blocks then need no enlarged region, and no
        # block waits for another, since none reads what another writes
        block = Roi(grid.roi.begin, grid.block_shape)
        return daisy.Task(
            re.sub(r"\W", "_", self.job.name),
            grid.roi,
            block,
            block,
            process_function=lambda *, context: self._worker(launcher, context),
            read_write_conflict=False,
            fit="shrink",
            max_workers=min(self.execution.workers, self.left),
            max_retries=self.execution.max_retries,
            max_worker_restarts=self.execution.max_worker_restarts,
            timeout=self.execution.timeout_s,
            tracking_path=str(self.job.folder / TRACKING),
            resource_tracking=True,
            skip_mask=self.skip | self.quarantined,
        )

    def _worker(self, launcher: Launcher, context: Any) -> None:
        """Run one worker to its end, in a thread of the scheduler; raising tells it that the worker died."""
        worker_id = int(context["worker_id"])
        try:
            ended = launcher.work(worker_id, context.to_env())
        except OSError as error:
            self.setup_failure = f"no worker can be started: {error}"
            raise
        if ended.code == 0 or self.stopping:
            return
        self.worker_deaths += 1
        cause = _cause_of(ended, self.execution.timeout_s)
        block = block_of(self.job.folder, worker_id)
        if block is not None:
            record_failure(self.job.folder, BlockFailure(block, f"worker {cause}", str(ended.log)))
        elif not any_ready(self.job.folder):
            self.setup_failure = f"a worker {cause} before its first block: {_last_line(ended.log)} (log: {ended.log})"
        raise StageError(f"worker {worker_id} {cause}; see {ended.log}")

    def _tick(self, noted: ProgressFile, progress: Progress | None) -> None:
        noted.write("running", self.failed)
        if not self.states.changed():
            return
        done = int(self.marks.done().sum())
        if done > self.resumed:
            fault_point("block.seen_done")
        if progress is not None:
            remark = f"{self.failed} failed" if self.failed else ""
            progress(float(done + self.failed), float(len(self.job.grid) - self.skipped), remark)

    def _raise_what_ended_it(self, interruption: Interruption) -> None:
        if self.interrupted:
            done, total = int(self.marks.done().sum()), len(self.job.grid)
            raise KeyboardInterrupt(
                f"{self.job.name}: stopped by {interruption.name}, {done} of {total} blocks are done and kept; "
                "run again to go on"
            )
        if self.setup_failure is not None:
            raise StageError(f"{self.job.name}: {self.setup_failure}")
        if self.scheduler_error is not None:
            raise StageError(f"{self.job.name}: the scheduler ended with {self.scheduler_error}") from (
                self.scheduler_error
            )

    def report(self) -> BlockwiseReport:
        """Return what became of the blocks so far: those neither done nor skipped have failed."""
        done = self.marks.done()
        failed = np.flatnonzero(~done & ~self.skip).tolist()
        known = {failure.block: failure for failure in read_failures(self.job.folder)} if failed else {}
        return BlockwiseReport(
            name=self.job.name,
            total=len(self.job.grid),
            done=int(done.sum()),
            failed=len(failed),
            skipped=self.skipped,
            resumed=self.resumed,
            seconds=time.monotonic() - self.began,
            peak_memory_bytes=self.marks.peak_memory_bytes(),
            worker_deaths=self.worker_deaths,
            failures=tuple(known.get(block, BlockFailure(block, "not tried", "")) for block in failed),
        )


class _LatestStates:
    """Daisy's observer: keeps what the scheduler said last, for the thread that runs the show."""

    def __init__(self) -> None:
        self.failed = 0
        self.abandoned = False
        self.ended = False
        self._said = 0
        self._heard = 0

    def on_start(self, states: Mapping[str, Any]) -> None:
        """Hear the first state."""
        self.on_progress(states)

    def on_progress(self, states: Mapping[str, Any]) -> None:
        """Hear a state, about twice a second."""
        for state in states.values():
            self.failed = state.failed_count + state.orphaned_count
            self.abandoned = state.abandoned
            self.ended = state.completed_count + self.failed >= state.total_block_count
        self._said += 1

    def on_finish(self, states: Mapping[str, Any]) -> None:
        """Hear the last state."""
        self.on_progress(states)

    def changed(self) -> bool:
        """Tell whether anything was said since the last call."""
        said, heard, self._heard = self._said, self._heard, self._said
        return said != heard


def _end(thread: threading.Thread, launcher: Launcher) -> None:
    """Return once the scheduler and all workers have ended, by themselves or not."""
    while thread.is_alive():
        # the scheduler has no other ear; while it runs, it catches the signal before Python does
        signal.raise_signal(signal.SIGINT)
        thread.join(_TICK_S)
        launcher.stop()
    launcher.stop(patience_s=_FAREWELL_S)


def _skip_mask(skip: ArrayLike | None, grid: BlockGrid) -> NDArray[np.bool_]:
    mask = np.zeros(grid.shape, dtype=bool) if skip is None else np.asarray(skip, dtype=bool)
    if mask.shape != grid.shape:
        raise GeometryError(f"the mask of blocks to skip has shape {mask.shape}, the grid of blocks {grid.shape}")
    return mask


def _require_same_grid(job: WorkerJob) -> None:
    path = job.folder / "job.json"
    if path.exists() and WorkerJob.read(path).grid != job.grid:
        raise StageError(f"{job.name}: {job.folder} holds the marks of another grid of blocks; remove it to start anew")


def _cause_of(ended: WorkerExit, timeout_s: float) -> str:
    from daisy._daisy import EXIT_BLOCK_TIMEOUT

    if ended.code == EXIT_BLOCK_TIMEOUT:
        return f"was killed, its block took longer than timeout_s={timeout_s:g}"
    if ended.code == -signal.SIGKILL:
        return "was killed (SIGKILL), perhaps for using too much memory"
    if ended.code < 0:
        return f"was killed ({signal.strsignal(-ended.code)})"
    return f"ended with exit code {ended.code}"


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "it left no message"


@contextmanager
def _daisy_without_logs() -> Iterator[None]:
    """Keep Daisy from making a folder ``daisy_logs`` where the user happens to be."""
    from daisy import logging as daisy_logging

    before = daisy_logging.get_log_basedir()
    daisy_logging.set_log_basedir(None)
    try:
        yield
    finally:
        daisy_logging.set_log_basedir(before)
