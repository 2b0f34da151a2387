"""What a run shows: a progress bar per stage with rate and time left, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from catena.errors import CatenaError
from catena.ledger import Ledger, Record
from catena.lock import is_held
from catena.plan import Node, Selection, plan
from catena.run import Outcome, Reporter, why_not_current
from catena.task import Progress as ProgressCallback
from catena.task import Task

LINE_EVERY_S = 20.0


class ConsoleReporter(Reporter):
    """Show a bar per stage on a terminal, and plain lines where there is none."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
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


def print_status(task: Task, config: Any, console: Console | None = None) -> None:
    """Print one row per stage and volume: its state, blocks, seconds and what would happen on a run."""
    console = console or Console(highlight=False)
    path = config.folder / "ledger.sqlite"
    if not path.exists():
        console.print(f"{config.experiment}: nothing has been run yet (no ledger at {path})")
        return
    table = Table(title=f"{config.experiment}: {task.name}")
    for name in ("stage", "state", "done", "failed", "skipped", "left", "Mvoxel/s", "seconds", "time left"):
        table.add_column(name, justify="left" if name in ("stage", "state") else "right")
    with Ledger(path, read_only=True) as ledger:
        nodes = plan(task, config, Selection())
        try:
            changed, doubt = why_not_current(task, config, ledger, nodes), None
        except CatenaError as error:
            changed, doubt = {}, error
        held = is_held(config.folder)
        for node in nodes:
            table.add_row(node.label, *_status_row(task, config, ledger, node, held, changed.get(node)))
    console.print(table)
    if doubt is not None:
        console.print(f"whether these results are up to date cannot be told: {doubt}", soft_wrap=True)


def _status_row(task: Task, config: Any, ledger: Ledger, node: Node, held: bool, changed: str | None) -> list[str]:
    staged = ledger.read(node.volume, node.stage, "staged")
    done = ledger.read(node.volume, node.stage, "published")
    record = staged or done
    if record is None:
        return ["not started", *[""] * 7]
    blocks = dict(record.report.get("blocks", {}))
    voxels, left = record.report.get("voxels", 0), ""
    rate = voxels / record.seconds / 1e6 if voxels and record.seconds else None
    if staged is not None:
        live = task.stage(node.stage).live_status(config, node.volume, record.fingerprint)
        if live is not None:
            blocks, rate = dict(live.blocks), live.mvoxel_per_s
            left = "" if live.seconds_left is None or not held else format_seconds(live.seconds_left)
    counts = [str(blocks.get(key, "")) for key in ("done", "failed", "skipped", "left")]
    return [
        _state(staged, done, held, changed),
        *counts,
        "" if rate is None else f"{rate:.2f}",
        f"{record.seconds:.1f}",
        left,
    ]


def _state(staged: Record | None, done: Record | None, held: bool, changed: str | None) -> str:
    if staged is None:
        return "done" if changed is None else f"changed: {changed}"
    state = staged.state if held or staged.state == "failed" else "interrupted"
    return f"{state} (earlier result kept)" if done is not None else state
