"""What a run shows: a progress bar per stage with rate and time left, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from catena.plan import Node
from catena.run import Outcome, Reporter
from catena.task import Progress as ProgressCallback
from catena.task import Task

LINE_EVERY_S = 20.0


class ConsoleReporter(Reporter):
    """Show a bar per stage on a terminal, and plain lines where there is none."""

    def __init__(self, console: Console | None = None, stderr: bool = False) -> None:
        self.console = console or Console(highlight=False, stderr=stderr)
        self._bars: Progress | None = None
        self._bar: TaskID | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=30),
                TaskProgressColumn(),
                TextColumn("{task.fields[message]}"),
                TimeRemainingColumn(compact=True),
            )
            self._bars = Progress(*columns, console=self.console)
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def begin(self, node: Node, reason: str) -> ProgressCallback:
        """Open a bar (or print a line) for `node`."""
        self.console.print(
            f"{node.label}: {reason}" if self._bars is None else f"[dim]{node.label}: {reason}", end="\n"
        )
        if self._bars is not None:
            self._bar = self._bars.add_task(node.label, total=None, message="")
        return _Meter(self, node)

    def advance(self, node: Node, done: float, total: float, message: str) -> None:
        """Draw progress."""
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, completed=done, total=total, message=message)
        elif self._bars is None:
            self.console.print(f"{node.label}: {done:.0f} of {total:.0f} {message}")

    def end(self, outcome: Outcome) -> None:
        """Close the bar and say what became of the node."""
        if self._bars is not None and self._bar is not None:
            self._bars.remove_task(self._bar)
            self._bar = None
        if outcome.action == "made":
            self.console.print(f"{outcome.node.label}: done in {format_seconds(outcome.seconds)}{_rate(outcome)}")

    def note(self, text: str) -> None:
        """Print a line."""
        self.console.print(f"note: {text}", markup=False, soft_wrap=True)


class _Meter:
    """A progress callback that adds a rate and, without a terminal, keeps quiet most of the time."""

    def __init__(self, reporter: ConsoleReporter, node: Node) -> None:
        self.reporter, self.node = reporter, node
        self.began = self.shown = time.monotonic()
        self.first: float | None = None

    def __call__(self, done: float, total: float, message: str = "") -> None:
        now = time.monotonic()
        self.first = done if self.first is None else self.first
        if not self.reporter.console.is_terminal and now - self.shown < LINE_EVERY_S:
            return
        self.shown = now
        rate = (done - self.first) / max(now - self.began, 1e-3)
        self.reporter.advance(self.node, done, total, f"{rate:.2f}/s {message}".strip())


def wide_console() -> Console:
    """Return a console for tables, which are not squeezed into 80 columns where there is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


def format_seconds(seconds: float) -> str:
    """Return a duration for people.

    >>> format_seconds(75)
    '1:15'
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _rate(outcome: Outcome) -> str:
    if not outcome.report.voxels or not outcome.seconds:
        return ""
    return f", {outcome.report.voxels / outcome.seconds / 1e6:.2f} Mvoxel/s"


def print_summary(task: Task, config: Any, outcomes: Sequence[Outcome], console: Console | None = None) -> None:
    """Print the table of stages and, for each volume that was touched, what the task has to say of it."""
    console = console or Console(highlight=False)
    table = Table(title=f"{config.experiment}: {task.name}")
    for name, side in (
        ("stage", "left"),
        ("blocks", "right"),
        ("seconds", "right"),
        ("Mvoxel/s", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for outcome in outcomes:
        blocks, voxels = outcome.report.blocks, outcome.report.voxels
        rate = f"{voxels / outcome.seconds / 1e6:.2f}" if voxels and outcome.seconds else ""
        note = "" if outcome.action == "made" else "up to date"
        table.add_row(outcome.node.label, str(sum(blocks.values()) or ""), f"{outcome.seconds:.1f}", rate, note)
    console.print(table)
    if task.summary is None:
        return
    for volume in dict.fromkeys(outcome.node.volume for outcome in outcomes if outcome.node.volume):
        for name, text in task.summary(config, volume):
            console.print(f"{volume}: {name}: {text}", soft_wrap=True)
