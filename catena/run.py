"""Run what is not yet done: plan, fingerprint, make, publish, record.

A stage makes its outputs in a staging place named after its fingerprint. Once it is complete they
are moved to their final place and the ledger says so; until then the earlier result stays. Every
step may be cut short by SIGKILL: the next run finishes it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from catena.arrays import output_error
from catena.blockwise.faults import fault_place, fault_point
from catena.config import to_yaml
from catena.errors import CatenaError, ConfigError, StageError
from catena.experiment import ExperimentConfig, check_volumes
from catena.fingerprint import explain_difference
from catena.graphs.staged_tables import begin_attempt, belongs_here, drop_staged, is_published, publish_table
from catena.ledger import Ledger, Record
from catena.lock import ExperimentLock
from catena.node_fingerprints import NodeFingerprints
from catena.plan import Node, Selection, parents, plan
from catena.publishing import move_into_place, recorded_outputs, remove_staging, with_outputs, without_outputs
from catena.task import STAGING, Job, Output, Progress, Stage, StageReport, Task, folder_of

LONG_S = 600.0
RECORD_EVERY_S = 10.0


@dataclass(frozen=True)
class Outcome:
    """What became of one node."""

    node: Node
    action: str
    reason: str
    seconds: float
    report: StageReport


class Reporter:
    """What a run tells its user; this one says nothing."""

    def begin(self, node: Node, reason: str) -> Progress:
        """Announce that `node` runs, and why; return its progress callback."""
        return _silent

    def end(self, outcome: Outcome) -> None:
        """Tell what became of a node."""

    def note(self, text: str) -> None:
        """Tell, before the first stage, what a user is to know of this run."""


def _silent(done: float, total: float, message: str = "") -> None:
    """Ignore progress."""


@dataclass
class _Run:
    task: Task
    config: ExperimentConfig
    ledger: Ledger
    selection: Selection
    reporter: Reporter
    redone: set[Node] = field(default_factory=set)
    fingerprints: NodeFingerprints = field(init=False)

    def __post_init__(self) -> None:
        self.fingerprints = NodeFingerprints(self.task, self.config, self.ledger, self.selection.verify_inputs)


def why_not_current(task: Task, config: ExperimentConfig, ledger: Ledger, nodes: Sequence[Node]) -> dict[Node, str]:
    """Return why a run would redo what is published of `nodes`; one that it would leave alone is not in it.

    Only what a fingerprint covers is compared, and nothing is written. `nodes` are in the order of
    :func:`catena.plan.plan`.

    Raises
    ------
    CatenaError
        If the inputs cannot be read.
    """
    current = _Run(task, config, ledger, Selection(), Reporter())
    reasons: dict[Node, str] = {}
    for node in nodes:
        done = ledger.read(node.volume, node.stage, "published")
        above = [each.label for each in parents(task, config, node) if each in reasons]
        if done is None:
            continue
        if _is_stale(current, node, done):
            reasons[node] = _difference(done, current.fingerprints.of(node)[1])
        elif above:
            reasons[node] = f"{above[0]} is redone first"
    return reasons


def run(
    task: Task, config: ExperimentConfig, selection: Selection | None = None, reporter: Reporter | None = None
) -> list[Outcome]:
    """Run the selected part of an experiment; what is done already is left alone.

    Returns
    -------
    list of Outcome
        One per node considered, in the order in which they ran.

    Raises
    ------
    CatenaError
        Whatever stops the run: bad configuration or data, another run holding the lock, failed blocks.
    """
    selection = selection or Selection()
    nodes = plan(task, config, selection)
    everywhere = any(not node.volume for node in nodes)  # a stage of the whole experiment may read any volume
    check_volumes(config, config.volumes if everywhere else sorted({node.volume for node in nodes}))
    with ExperimentLock(config.folder), Ledger(config.folder / "ledger.sqlite") as ledger:
        current = _Run(task, config, ledger, selection, reporter or Reporter())
        _reach_graphs(current, nodes)
        _finish_publishing(current)
        _confirm_long_work(current, nodes)
        _check_stages(current, nodes)
        with _writing(config.experiment):
            (config.folder / "config.yaml").write_text(to_yaml(config))
        return [_run_node(current, node) for node in nodes]


def _run_node(run: _Run, node: Node) -> Outcome:
    stage = run.task.stage(node.stage)
    reason = _why(run, node)
    if reason is None:
        done = run.ledger.read(node.volume, node.stage, "published")
        report = _report_from(done.report if done else {})
        outcome = Outcome(node, "done", "up to date", done.seconds if done else 0.0, report)
    else:
        _refuse_before_first(run, node, reason)
        with _in_master(node):
            outcome = _make(run, node, stage, reason)
        run.redone.add(node)
        run.fingerprints.forget()  # a stage may depend on the bytes that this one has just made
    run.reporter.end(outcome)
    return outcome


def _why(run: _Run, node: Node) -> str | None:
    """Return why `node` has to run, or None if its published result is what it would make."""
    done = run.ledger.read(node.volume, node.stage, "published")
    fingerprint, explanation = run.fingerprints.of(node)
    if done is None:
        return "not done yet"
    if done.fingerprint != fingerprint:
        return _difference(done, explanation)
    missing = [name for name, output in _outputs(run, node).items() if not _exists(run, node, output)]
    if missing:
        return f"{', '.join(missing)} missing"
    if run.selection.redo == node.stage or (run.selection.redo and _parents_redone(run, node)):
        return "redo asked for"
    return None


def _difference(done: Record, explanation: Mapping[str, Any]) -> str:
    return "; ".join(explain_difference(done.explanation, explanation)[:4]) or "changed"


def _parents_redone(run: _Run, node: Node) -> bool:
    return bool(parents(run.task, run.config, node) & run.redone)


def _refuse_before_first(run: _Run, node: Node, reason: str) -> None:
    first = run.selection.first
    if first is None:
        return
    names = [stage.name for stage in run.task.stages]
    if names.index(node.stage) < names.index(first):
        raise ConfigError(f"{node.label} has to run first ({reason}), but the run was to begin at '{first}'")


def _make(run: _Run, node: Node, stage: Stage, reason: str) -> Outcome:
    fingerprint, explanation = run.fingerprints.of(node)
    volume = node.volume
    inputs, retry = stage.inputs(run.config, volume), run.selection.retry_failed
    job = Job(run.task.name, stage.name, volume, run.config, fingerprint, inputs, retry)
    earlier = run.ledger.read(volume, node.stage, "staged")
    spent = earlier.seconds if earlier is not None and earlier.fingerprint == fingerprint else 0.0
    _forget_stale_staging(run, node, job)
    if "redo asked for" in reason and spent == 0.0:
        _drop_staging(run, node, job)
    progress = run.reporter.begin(node, reason)
    begin = time.monotonic()

    def record(state: str, report: StageReport | None = None) -> Record:
        seconds = spent + time.monotonic() - begin
        return Record(fingerprint, state, seconds, explanation, _report_to(report or StageReport()))

    run.ledger.write(volume, node.stage, "staged", record("running"))
    fault_point("stage.recorded")

    def beat() -> None:
        run.ledger.write(volume, node.stage, "staged", record("running"))

    try:
        with _writing(node.label):
            job.staging.mkdir(parents=True, exist_ok=True)
            _tie_to_store(run, node, job)
            fault_point("stage.tied_to_store")
            report = stage.run(job, _beating(progress, beat))
    except BaseException:
        run.ledger.write(volume, node.stage, "staged", record("failed"))
        raise
    fault_point("stage.made")
    finished = with_outputs(record("publishing", report), _outputs(run, node))
    run.ledger.write(volume, node.stage, "staged", finished)
    _publish(run, node, job, finished)
    return Outcome(node, "made", reason, finished.seconds, report)


def _beating(progress: Progress, beat: Callable[[], None]) -> Progress:
    """Return `progress`, calling `beat` every `RECORD_EVERY_S` or so: SIGKILL then loses little of the record."""
    last = time.monotonic()

    def report(done: float, total: float, message: str = "") -> None:
        nonlocal last
        if time.monotonic() - last >= RECORD_EVERY_S:
            last = time.monotonic()
            beat()
        progress(done, total, message)

    return report


@contextmanager
def _writing(label: str) -> Iterator[None]:
    """Turn a bare OSError into an OutputError that says what was being done."""
    try:
        yield
    except CatenaError:
        raise
    except OSError as error:
        raise output_error(label, error) from error


def _finish_publishing(run: _Run) -> None:
    """Complete what a killed run had made but not wholly moved into place, and remove what it left when it was."""
    for stage in run.task.stages:
        for volume in [""] if not stage.per_volume else list(run.config.volumes):
            node = Node(stage.name, volume)
            staged = run.ledger.read(volume, stage.name, "staged")
            if staged is None and run.ledger.read(volume, stage.name, "published") is not None:
                remove_staging(folder_of(run.config, volume) / STAGING, stage.name)
            elif staged is not None and staged.state == "publishing":
                job = Job(run.task.name, stage.name, volume, run.config, staged.fingerprint)
                with _in_master(node):
                    _publish(run, node, job, staged)


def _in_master(node: Node) -> AbstractContextManager[None]:
    """Say to fault points what they belong to."""
    return fault_place(f"{node.stage}.master")


def _publish(run: _Run, node: Node, job: Job, record: Record) -> None:
    """Move every output into place; safe to repeat after a crash at any point."""
    fault_point("publish.recorded")
    for output in recorded_outputs(record) or _outputs(run, node).values():
        with _writing(node.label):
            _publish_output(run, node, job, output, record.fingerprint)
        fault_point("publish.output_in_place")
    done = replace(without_outputs(record), state="done")
    run.ledger.publish(node.volume, node.stage, done)
    fault_point("publish.recorded_done")
    shutil.rmtree(job.staging, ignore_errors=True)


def _publish_output(run: _Run, node: Node, job: Job, output: Output, fingerprint: str) -> None:
    if output.kind != "table":
        move_into_place(job.staged(output), job.folder / output.path, array=output.kind == "array")
        return
    with _graph(run, node) as store:
        publish_table(store, job.table(output), output.path, fingerprint)


def _forget_stale_staging(run: _Run, node: Node, job: Job) -> None:
    """Remove what an earlier attempt with other settings left in staging."""
    remove_staging(job.staging.parent, node.stage, keep=job.staging)
    if tables := _tables(run, node):
        with _graph(run, node) as store:
            drop_staged(store, [each.path for each in tables], keep=[job.table(each) for each in tables])


def _drop_staging(run: _Run, node: Node, job: Job) -> None:
    shutil.rmtree(job.staging, ignore_errors=True)
    if tables := _tables(run, node):
        with _graph(run, node) as store:
            drop_staged(store, [each.path for each in tables])


def _tie_to_store(run: _Run, node: Node, job: Job) -> None:
    """Go on with an earlier attempt only if its rows lie in the graph store that is used now."""
    if tables := _tables(run, node):
        with _graph(run, node) as store:
            if not belongs_here(store, node.stage, job.staging):
                shutil.rmtree(job.staging)
                drop_staged(store, [each.path for each in tables])
                begin_attempt(store, node.stage, job.staging)


def _confirm_long_work(run: _Run, nodes: Sequence[Node]) -> None:
    """Refuse to throw away more than `LONG_S` recorded seconds of work unless told to."""
    if run.selection.yes:
        return
    losing: dict[str, float] = {}
    stale: set[Node] = set()
    hint = ""
    for node in nodes:
        done = run.ledger.read(node.volume, node.stage, "published")
        changed = bool(parents(run.task, run.config, node) & stale) or _is_stale(run, node, done)
        elsewhere = not changed and not all(_exists(run, node, table) for table in _tables(run, node))
        if elsewhere:
            hint = "; or bring the graph over from the store where it lies: catena graph copy"
        if changed or elsewhere:
            stale.add(node)
            seconds = (done.seconds if done is not None else 0.0) + _staged_seconds_lost(run, node, stale)
            if seconds > 0:
                losing[node.label] = seconds
    if sum(losing.values()) > LONG_S:
        lines = ", ".join(f"{label} ({seconds / 60:.0f} min)" for label, seconds in losing.items() if seconds > 30)
        raise ConfigError(
            f"this would redo work that took {sum(losing.values()) / 60:.0f} min: {lines}; say --yes to do so{hint}"
        )


def _check_stages(run: _Run, nodes: Sequence[Node]) -> None:
    """Ask every stage that will run whether it can here, which is to stop the run now, and what is to be told of it."""
    stale: set[Node] = set()
    notes: dict[str, None] = {}  # what several volumes have in common is told once
    for node in nodes:
        done = run.ledger.read(node.volume, node.stage, "published")
        if parents(run.task, run.config, node) & stale or _is_stale(run, node, done):
            stale.add(node)
            stage = run.task.stage(node.stage)
            stage.check(run.config, node.volume)
            notes.update(dict.fromkeys(stage.notes(run.config, node.volume)))
    for note in notes:
        run.reporter.note(note)


def _staged_seconds_lost(run: _Run, node: Node, stale: set[Node]) -> float:
    """Return the time that went into an unfinished attempt which the coming run would not go on with."""
    staged = run.ledger.read(node.volume, node.stage, "staged")
    if staged is None:
        return 0.0
    goes_on = staged.fingerprint == run.fingerprints.of(node)[0] and not parents(run.task, run.config, node) & stale
    return 0.0 if goes_on else staged.seconds


def _is_stale(run: _Run, node: Node, done: Record | None) -> bool:
    if done is None or run.selection.redo == node.stage:
        return True
    return run.fingerprints.of(node)[0] != done.fingerprint


def _outputs(run: _Run, node: Node) -> Mapping[str, Output]:
    return run.task.stage(node.stage).outputs(run.config, node.volume)


def _tables(run: _Run, node: Node) -> list[Output]:
    return [output for output in _outputs(run, node).values() if output.kind == "table"]


def _exists(run: _Run, node: Node, output: Output) -> bool:
    if output.kind == "table":
        with _graph(run, node) as store:
            return is_published(store, output.path, run.fingerprints.of(node)[0])
    return (folder_of(run.config, node.volume) / output.path).exists()


def _reach_graphs(run: _Run, nodes: Sequence[Node]) -> None:
    """Open the graph stores that will be needed: one out of reach is to stop the run now, not after training."""
    for node in {each.volume: each for each in nodes if _tables(run, each)}.values():
        with _graph(run, node):
            pass


@contextmanager
def _graph(run: _Run, node: Node) -> Iterator[Any]:
    opener: Callable[..., Any] | None = run.task.open_graph
    if opener is None or not node.volume:
        raise StageError(f"{node.label} makes a table, but its task opens no graph store for it")
    with opener(run.config, node.volume) as store:
        yield store


def _report_to(report: StageReport) -> dict[str, Any]:
    return {"blocks": dict(report.blocks), "voxels": report.voxels, "figures": dict(report.figures)}


def _report_from(values: Mapping[str, Any]) -> StageReport:
    return StageReport(values.get("blocks", {}), values.get("voxels", 0), values.get("figures", {}))
