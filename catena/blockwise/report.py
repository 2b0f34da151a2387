"""What a blockwise run has to say when it ends."""

from __future__ import annotations

from dataclasses import dataclass

from catena.blockwise.failures import BlockFailure
from catena.errors import StageError

_NAMED = 5
RETRY = "the failed ones are tried again only with --retry-failed: correct the cause first"


@dataclass(frozen=True)
class BlockwiseReport:
    """The blocks of a stage after a run.

    Attributes
    ----------
    name
        The stage.
    total, done, failed, skipped
        Numbers of blocks; `done` includes those that earlier runs have done, `skipped` are those
        masked out. ``total == done + failed + skipped`` once the run has ended by itself.
    resumed
        How many of `done` earlier runs had done.
    seconds
        Wall time of this run.
    peak_memory_bytes
        Largest memory of any worker; 0 if nothing was measured.
    worker_deaths
        Workers that ended abnormally.
    failures
        One for each failed block.
    """

    name: str
    total: int
    done: int
    failed: int
    skipped: int
    resumed: int
    seconds: float
    peak_memory_bytes: int = 0
    worker_deaths: int = 0
    failures: tuple[BlockFailure, ...] = ()

    @property
    def peak_memory_mb(self) -> float:
        """Largest memory of any worker, in megabytes."""
        return self.peak_memory_bytes / 1e6


class FailedBlocksError(StageError):
    """A stage of which some blocks failed; :attr:`report` tells what became of the others.

    Parameters
    ----------
    report
        Of the whole stage.
    reason
        Put behind the number of failed blocks.
    quarantined
        Whether the failed blocks are left alone until they are asked for.
    """

    def __init__(self, report: BlockwiseReport, reason: str = "", quarantined: bool = False) -> None:
        self.report = report
        named = [str(failure) for failure in report.failures[:_NAMED]]
        more = len(report.failures) - len(named)
        lines = [f"{report.name}: {report.failed} of {report.total} blocks failed{reason}", *named]
        lines += [f"and {more} more"] if more else []
        kept = f"{report.done} blocks are done and kept"
        lines.append(f"{kept}; {RETRY if quarantined else 'running again tries the others again'}")
        super().__init__("\n  ".join(lines))
