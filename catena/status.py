"""How far an experiment is, stage by stage, read from its folder by any process at any time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from catena.errors import CatenaError
from catena.ledger import Ledger, Record
from catena.lock import held_since
from catena.plan import Node, Selection, plan
from catena.progress import format_seconds, wide_console
from catena.run import why_not_current
from catena.task import LiveStatus, Task

_NAMED = 5
_COUNTS = ("done", "failed", "skipped", "left")


@dataclass(frozen=True)
class StageStatus:
    """A stage of one volume.

    Attributes
    ----------
    state
        ``not started``, ``running``, ``stopped`` (a run of it ended early, killed or not), ``failed`` or ``done``.
    earlier_result
        Whether a complete result of an earlier run is in place meanwhile.
    changed
        Why a run would redo what is done; None if it would not.
    blocks
        Numbers of blocks ``done``, ``failed``, ``skipped`` and ``left``; empty for a stage without blocks.
    seconds
        Wall time spent, over all attempts.
    slowest
        Block numbers and seconds, slowest first.
    failures
        A line for each failed block, with the log that tells more.
    """

    node: Node
    state: str
    earlier_result: bool = False
    changed: str | None = None
    blocks: Mapping[str, int] = field(default_factory=dict)
    mvoxel_per_s: float | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    peak_memory_bytes: int = 0
    slowest: tuple[tuple[int, float], ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The state in words."""
        if self.changed is not None:
            return f"changed: {self.changed}"
        return f"{self.state} (earlier result kept)" if self.earlier_result else self.state


@dataclass(frozen=True)
class ExperimentStatus:
    """All stages of an experiment.

    Attributes
    ----------
    running
        Whether a run is going on.
    doubt
        Why it cannot be told whether results are up to date; None if it can.
    """

    stages: tuple[StageStatus, ...]
    running: bool
    doubt: str | None = None


def experiment_status(task: Task, config: Any, compare: bool = True) -> ExperimentStatus | None:
    """Return how far every stage of every volume is; None if nothing has been run yet. Nothing is written.

    Parameters
    ----------
    compare
        Also tell which results a run would redo, for which the inputs are sampled.
    """
    path = config.folder / "ledger.sqlite"
    if not path.exists():
        return None
    since = held_since(config.folder)
    with Ledger(path, read_only=True) as ledger:
        nodes = plan(task, config, Selection())
        changed, doubt = _compare(task, config, ledger, nodes) if compare else ({}, None)
        stages = tuple(_stage_status(task, config, ledger, node, since, changed.get(node)) for node in nodes)
    return ExperimentStatus(stages, since is not None, doubt)


def why_outdated(task: Task, config: Any, stage: str, volume: str) -> str | None:
    """Return why a run would redo the published result of a stage; None if it would not, or there is none."""
    path = config.folder / "ledger.sqlite"
    if not path.exists():
        return None
    with Ledger(path, read_only=True) as ledger:
        nodes = plan(task, config, Selection(last=stage, volume=volume))
        changed, doubt = _compare(task, config, ledger, nodes)
    return doubt or changed.get(Node(stage, volume))


def _compare(task: Task, config: Any, ledger: Ledger, nodes: list[Node]) -> tuple[dict[Node, str], str | None]:
    try:
        return why_not_current(task, config, ledger, nodes), None
    except CatenaError as error:
        return {}, str(error)


def _stage_status(
    task: Task, config: Any, ledger: Ledger, node: Node, since: float | None, changed: str | None
) -> StageStatus:
    staged = ledger.read(node.volume, node.stage, "staged")
    done = ledger.read(node.volume, node.stage, "published")
    if staged is not None:
        live = task.stage(node.stage).live_status(config, node.volume, staged.fingerprint)
        return _attempt(node, staged, live, since, earlier_result=done is not None)
    if done is None:
        return StageStatus(node, "not started")
    voxels, figures = done.report.get("voxels", 0), done.report.get("figures", {})
    return StageStatus(
        node,
        "done",
        changed=changed,
        blocks=dict(done.report.get("blocks", {})),
        mvoxel_per_s=voxels / done.seconds / 1e6 if voxels and done.seconds else None,
        seconds=done.seconds,
        peak_memory_bytes=round(figures.get("peak_memory_mb", 0) * 1e6),
        slowest=tuple((int(block), float(seconds)) for block, seconds in figures.get("slowest_blocks", ())),
    )


def _attempt(
    node: Node, staged: Record, live: LiveStatus | None, since: float | None, earlier_result: bool
) -> StageStatus:
    state = _state(staged, live, since)
    if live is None:
        return StageStatus(node, state, earlier_result, seconds=staged.seconds)
    return StageStatus(
        node,
        state,
        earlier_result,
        blocks=dict(live.blocks),
        mvoxel_per_s=live.mvoxel_per_s,
        seconds=max(staged.seconds, live.seconds),
        seconds_left=live.seconds_left if state == "running" else None,
        peak_memory_bytes=live.peak_memory_bytes,
        slowest=live.slowest,
        failures=live.failures,
    )


def _state(staged: Record, live: LiveStatus | None, since: float | None) -> str:
    """Return the state of an attempt; one that no live run has touched since it began was cut short."""
    if staged.state == "failed":
        return "stopped" if live is not None and live.state == "stopped" else "failed"
    return "running" if since is not None and staged.updated >= since else "stopped"


def print_status(task: Task, config: Any, console: Console | None = None) -> None:
    """Print one row per stage and volume, what is slow and what has failed."""
    console = console or wide_console()
    console.print(_shown(task, config, experiment_status(task, config)))


def watch_status(task: Task, config: Any, every_s: float = 5.0, console: Console | None = None) -> None:
    """Show the status again every few seconds until no run is going on."""
    console = console or wide_console()
    status = experiment_status(task, config, compare=False)
    with Live(_shown(task, config, status), console=console, auto_refresh=False) as live:
        while status is not None and status.running:
            time.sleep(every_s)
            status = experiment_status(task, config, compare=False)
            live.update(_shown(task, config, status), refresh=True)


def _shown(task: Task, config: Any, status: ExperimentStatus | None) -> RenderableType:
    if status is None:
        return Text(f"{config.experiment}: nothing has been run yet (no ledger at {config.folder / 'ledger.sqlite'})")
    table = Table(title=f"{config.experiment}: {task.name}")
    for name in ("stage", "state", *_COUNTS, "Mvoxel/s", "seconds", "time left", "peak MB"):
        table.add_column(name, justify="left" if name in ("stage", "state") else "right")
    for stage in status.stages:
        table.add_row(*_row(stage))
    lines = [Text(line) for stage in status.stages for line in _remarks(stage)]
    if status.doubt is not None:
        lines.append(Text(f"whether these results are up to date cannot be told: {status.doubt}"))
    return Group(table, *lines)


def _row(stage: StageStatus) -> list[str]:
    if stage.state == "not started":
        return [stage.node.label, stage.description, *[""] * 8]
    return [
        stage.node.label,
        stage.description,
        *(str(stage.blocks.get(key, "")) for key in _COUNTS),
        "" if stage.mvoxel_per_s is None else f"{stage.mvoxel_per_s:.2f}",
        f"{stage.seconds:.1f}",
        "" if stage.seconds_left is None else format_seconds(stage.seconds_left),
        f"{stage.peak_memory_bytes / 1e6:.0f}" if stage.peak_memory_bytes else "",
    ]


def _remarks(stage: StageStatus) -> list[str]:
    """Return the slowest blocks of a stage that is not done, and its failures."""
    lines = []
    if stage.slowest and stage.state != "done":
        blocks = ", ".join(f"{block} ({seconds:.1f} s)" for block, seconds in stage.slowest)
        lines.append(f"{stage.node.label}: slowest blocks: {blocks}")
    lines += [f"{stage.node.label}: failed: {failure}" for failure in stage.failures[:_NAMED]]
    if len(stage.failures) > _NAMED:
        lines.append(f"{stage.node.label}: and {len(stage.failures) - _NAMED} more failed blocks")
    return lines
