"""What to run, in which order: the stages that the wanted results need, volume by volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from catena.errors import ConfigError
from catena.experiment import ExperimentConfig
from catena.task import Made, Task


@dataclass(frozen=True)
class Node:
    """A stage of one volume (or of the whole experiment, when `volume` is empty)."""

    stage: str
    volume: str

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.volume}: {self.stage}" if self.volume else self.stage


@dataclass(frozen=True)
class Selection:
    """Which part of an experiment to run.

    Attributes
    ----------
    first, last
        Names of the first and last stage, as ``--from`` and ``--to``.
    redo
        Redo this stage and everything below it that is selected.
    volume
        Only this volume (and what it needs).
    yes
        Redo even work that took long.
    verify_inputs
        Read all of the inputs rather than a sample.
    retry_failed
        Try blocks again that have failed after all retries.
    """

    first: str | None = None
    last: str | None = None
    redo: str | None = None
    volume: str | None = None
    yes: bool = False
    verify_inputs: bool = False
    retry_failed: bool = False


def plan(task: Task, config: ExperimentConfig, selection: Selection) -> list[Node]:
    """Return the nodes that the selection needs, each after those it depends on.

    Raises
    ------
    ConfigError
        If a stage or volume is unknown, nothing is selected, the stage to redo is not among what is
        selected, or a stage needs one that does not apply.
    """
    names = [stage.name for stage in task.stages]
    for name in (selection.first, selection.last, selection.redo):
        if name is not None:
            task.stage(name)
    volumes = list(config.volumes) if selection.volume is None else [selection.volume]
    for volume in volumes:
        config.volume(volume)
    wanted = list(task.targets)
    if selection.last is not None:
        beside = () if selection.first == selection.last else task.beside.get(selection.last, ())
        wanted = [selection.last, *beside]
    order: list[Node] = []
    for name in wanted:
        for volume_name in volumes if task.stage(name).per_volume else [""]:
            _visit(task, config, Node(name, volume_name), order)
    rank = {name: position for position, name in enumerate(names)}
    place = {name: position for position, name in enumerate(config.volumes)}
    if not order:
        raise ConfigError(_nothing_to_run(task, config, wanted, volumes))
    nodes = _stable_order(task, config, order, rank, place)
    planned = list(dict.fromkeys(node.stage for node in nodes))
    if selection.redo is not None and selection.redo not in planned:
        raise ConfigError(f"'{selection.redo}' cannot be redone by this run, which has only: {', '.join(planned)}")
    return nodes


def _nothing_to_run(task: Task, config: ExperimentConfig, wanted: list[str], volumes: list[str]) -> str:
    reasons = [
        f"{Node(stage.name, volume).label} does not apply, for it has {lacks}"
        for stage in map(task.stage, wanted)
        for volume in volumes
        if stage.per_volume and (lacks := stage.lacks(config, volume))
    ]
    return "nothing to run: " + ("; ".join(reasons) or "no selected stage applies to the selected volumes")


def _visit(task: Task, config: ExperimentConfig, node: Node, order: list[Node]) -> None:
    stage = task.stage(node.stage)
    if node in order or not stage.applies(config, node.volume):
        return
    for source in stage.inputs(config, node.volume).values():
        if not isinstance(source, Made):
            continue
        above = Node(source.stage, source.volume)
        if not task.stage(above.stage).applies(config, above.volume):
            raise ConfigError(f"{node.label} needs {above.label}, which this configuration rules out")
        _visit(task, config, above, order)
    order.append(node)


def _stable_order(
    task: Task, config: ExperimentConfig, nodes: list[Node], rank: Mapping[str, int], place: Mapping[str, int]
) -> list[Node]:
    """Order nodes volume by volume and stage by stage as far as their dependencies allow."""
    left = sorted(nodes, key=lambda node: (place.get(node.volume, -1), rank[node.stage]))
    ordered: list[Node] = []
    while left:
        ready = next(node for node in left if parents(task, config, node) <= set(ordered))
        left.remove(ready)
        ordered.append(ready)
    return ordered


def parents(task: Task, config: ExperimentConfig, node: Node) -> set[Node]:
    """Return the nodes that `node` takes its inputs from."""
    sources = task.stage(node.stage).inputs(config, node.volume).values()
    return {Node(source.stage, source.volume) for source in sources if isinstance(source, Made)}
