"""``catena plan``: estimate a run before it is made, refuse one that cannot fit, and propose what would."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.blockwise.blocks import BlockGrid
from catena.blockwise.execution import available_cores
from catena.blockwise.stage import BlockwiseStage
from catena.errors import ArrayNotFoundError, CatenaError, ConfigError, GeometryError
from catena.experiment import ExperimentConfig, check_volumes
from catena.ledger import Ledger
from catena.plan import Node, Selection, plan
from catena.planning.estimate import RunEstimate, StageEstimate, estimate_stage, write_voxels
from catena.planning.limits import (
    Planned,
    disk_problem,
    free_disk_bytes,
    machine_memory_bytes,
    memory_problem,
    proposals,
    waste_warning,
    worker_memory_limit,
)
from catena.planning.rates import Estimation, Rates, Sample
from catena.planning.sampling import SampledStage, folder_bytes, sampled_places, sampled_task, with_neighbours
from catena.run import Reporter, run, why_not_current
from catena.task import Job, Task, folder_of

SAMPLES = 2


@dataclass(frozen=True)
class _Measured:
    """What sampling has found: rates of blockwise stages, and sizes of what others leave, for a million voxels."""

    rates: Mapping[tuple[str, str], Rates]
    folders: Mapping[tuple[str, str], Mapping[str, float]]
    reasons: Mapping[str, str]


def estimate_run(
    task: Task,
    config: ExperimentConfig,
    *,
    volume: str | None = None,
    workers: int | None = None,
    quick: bool = False,
    samples: int = SAMPLES,
    reporter: Reporter | None = None,
    machine_bytes: int | None = None,
    free_bytes: int | None = None,
) -> RunEstimate:
    """Estimate what is left to do of an experiment.

    A few blocks are computed for real, one worker at a time, in a temporary folder; nothing is published. Where
    their input does not exist yet and cannot be made, rates that the task states are used.

    Parameters
    ----------
    volume
        Only this one.
    workers
        Instead of the numbers in the configuration.
    quick
        Compute no blocks; use stated rates.
    samples
        Places where blocks are sampled, each with its neighbours above: four blocks.
    machine_bytes, free_bytes
        Memory and disk space to reckon with. Default: what there is.

    Raises
    ------
    CatenaError
        If the configuration or the data cannot be used, or a sampled block fails.
    """
    if task.estimation is None:
        raise ConfigError(f"task {task.name} states no rates to estimate a run from")
    nodes = plan(task, config, Selection(volume=volume))
    check_volumes(config, sorted({node.volume for node in nodes} - {""}))
    done = _done(task, config, nodes)
    pending = [node for node in nodes if node not in done]
    grids, problems = _grids(task, config, pending)
    skips, notes = _skips(task, config, grids)
    measured = _Measured({}, {}, {}) if quick else _sample(task, config, done, grids, skips, samples, reporter)
    planned = [
        _planned(task, config, node, grids[node], skips[node], measured, workers, machine_bytes) for node in grids
    ]
    rest = [_folders(each, measured, planned) for each in pending if (each.stage, each.volume) in measured.folders]
    estimates = [each.estimate for each in planned] + rest
    free = free_disk_bytes(config.folder) if free_bytes is None else free_bytes
    stated = [f"{name}: {why}; its rates are stated, not measured" for name, why in measured.reasons.items()]
    known = {(each.stage, each.volume) for each in estimates}
    return RunEstimate(
        stages=tuple(_in_order(estimates, pending)),
        done=tuple(node.label for node in nodes if node in done),
        unknown=tuple(node.label for node in pending if (node.stage, node.volume) not in known),
        problems=(*problems, *_problems(task.estimation, config, planned, estimates, free)),
        warnings=tuple(filter(None, map(waste_warning, planned))),
        proposals=(*proposals(planned), *_fewer_workers(planned)),
        notes=(*notes, *stated),
        free_bytes=free,
    )


def _done(task: Task, config: ExperimentConfig, nodes: Sequence[Node]) -> set[Node]:
    """Return the stages whose results are in place and would not be redone."""
    path = config.folder / "ledger.sqlite"
    if not path.exists():
        return set()
    with Ledger(path, read_only=True) as ledger:
        there = {node for node in nodes if ledger.read(node.volume, node.stage, "published") is not None}
        return there - set(why_not_current(task, config, ledger, nodes))


def _grids(task: Task, config: ExperimentConfig, nodes: Sequence[Node]) -> tuple[dict[Node, BlockGrid], list[str]]:
    """Return the blocks of every blockwise stage, and why a stage can have none."""
    grids, problems = {}, []
    for node in nodes:
        stage = task.stage(node.stage)
        if isinstance(stage, BlockwiseStage):
            try:
                grids[node] = stage.grid(config, node.volume)
            except GeometryError as error:
                problems.append(f"{node.label}: {error}")
    return grids, problems


def _skips(
    task: Task, config: ExperimentConfig, grids: Mapping[Node, BlockGrid]
) -> tuple[dict[Node, NDArray[np.bool_] | None], list[str]]:
    """Return which blocks of every stage are skipped, as far as that is known before a stage above has run."""
    skips: dict[Node, NDArray[np.bool_] | None] = {}
    unknown = []
    for node, grid in grids.items():
        try:
            skips[node] = _skip(task, config, node, grid)
        except ArrayNotFoundError:
            skips[node] = _skip(task, _without_empty(config), node, grid)
            unknown.append(node.label)
    if not unknown:
        return skips, []
    return skips, [f"{', '.join(unknown)}: where raw is empty is not known yet, and counted as if it were not"]


def _skip(task: Task, config: ExperimentConfig, node: Node, grid: BlockGrid) -> NDArray[np.bool_] | None:
    stage: Any = task.stage(node.stage)
    job = Job(task.name, node.stage, node.volume, config, "", stage.inputs(config, node.volume))
    skip: NDArray[np.bool_] | None = stage.skip(job, grid)
    return skip


def _without_empty(config: ExperimentConfig) -> ExperimentConfig:
    """Return the configuration without what is known only once a stage has looked for it."""
    volumes = {name: each.model_copy(update={"skip_empty": False}) for name, each in config.volumes.items()}
    return config.model_copy(update={"volumes": volumes})


def _planned(
    task: Task,
    config: ExperimentConfig,
    node: Node,
    grid: BlockGrid,
    skip: NDArray[np.bool_] | None,
    measured: _Measured,
    workers: int | None,
    machine_bytes: int | None,
) -> Planned:
    stage: Any = task.stage(node.stage)
    execution = stage.execution(config)
    key = (node.stage, node.volume)
    rates = measured.rates.get(key) or _estimation(task).rates(config, node.volume, node.stage)
    count = workers or execution.workers
    at_once = count
    if execution.launcher == "local":
        at_once = min(count, max(1, available_cores() // execution.cores_per_worker))
    estimate = estimate_stage(node.stage, node.volume, grid, skip, rates, count, at_once)
    memory = machine_memory_bytes() if machine_bytes is None else machine_bytes
    return Planned(estimate, grid, rates, execution, worker_memory_limit(execution, estimate.workers, memory))


def _problems(
    estimation: Estimation,
    config: ExperimentConfig,
    planned: Sequence[Planned],
    estimates: Sequence[StageEstimate],
    free_bytes: int,
) -> list[str]:
    found = [memory_problem(each) for each in planned]
    found += [estimation.refuse(config, each.stage, each.rows) for each in estimates]
    found.append(disk_problem(estimates, free_bytes))
    return [each for each in found if each is not None]


def _fewer_workers(planned: Sequence[Planned]) -> list[str]:
    """Return numbers of workers that fit this machine, for stages that do not."""
    found = []
    for each in planned:
        if not each.fits and each.execution.memory_gb is None:
            count = int(each.memory_limit * each.estimate.workers // each.estimate.memory_bytes)
            found += [f"execution.{each.estimate.stage}.workers={count}"] if count else []
    return list(dict.fromkeys(found))


def _folders(node: Node, measured: _Measured, planned: Sequence[Planned]) -> StageEstimate:
    """Return the estimate of a stage without blocks whose outputs grow with the volume."""
    voxels = max((each.estimate.voxels for each in planned if each.estimate.volume == node.volume), default=0)
    sizes = measured.folders[node.stage, node.volume]
    stored = {name: round(each * voxels / 1e6) for name, each in sizes.items()}
    return StageEstimate(node.stage, node.volume, stored_bytes=stored)


def _in_order(estimates: Sequence[StageEstimate], nodes: Sequence[Node]) -> list[StageEstimate]:
    place = {(node.stage, node.volume): position for position, node in enumerate(nodes)}
    return sorted(estimates, key=lambda each: place[each.stage, each.volume])


def _sample(
    task: Task,
    config: ExperimentConfig,
    done: Collection[Node],
    grids: Mapping[Node, BlockGrid],
    skips: Mapping[Node, NDArray[np.bool_] | None],
    samples: int,
    reporter: Reporter | None,
) -> _Measured:
    """Run the stages on a few blocks in a temporary folder, as far as there is something to run them on."""
    with tempfile.TemporaryDirectory(prefix="catena-plan-") as folder:
        sample = _estimation(task).sample(config, Path(folder), {(node.stage, node.volume) for node in done})
        if sample.config is None or not grids:
            return _Measured({}, {}, sample.reasons)
        chosen, counted = _places(grids, skips, samples)
        volumes = {name: each for name, each in sample.config.volumes.items() if name in chosen}
        if not volumes:
            return _Measured({}, {}, sample.reasons)
        sample = replace(sample, config=sample.config.model_copy(update={"volumes": volumes}))
        return _run_sample(task, sample, grids, chosen, counted, reporter)


def _places(
    grids: Mapping[Node, BlockGrid], skips: Mapping[Node, NDArray[np.bool_] | None], samples: int
) -> tuple[dict[str, tuple[BlockGrid, list[int]]], dict[str, tuple[BlockGrid, list[int]]]]:
    """Return, per volume, the blocks to sample on the grid of its last stage, and those with all neighbours."""
    chosen, counted = {}, {}
    for node, grid in grids.items():  # the last stage of a volume stays
        skip = skips[node]
        kept = np.ones(grid.shape, bool) if skip is None else ~skip
        if kept.any():
            places = sampled_places(grid, kept, samples)
            chosen[node.volume] = (grid, with_neighbours(grid, places))
            numbers = [int(np.ravel_multi_index(tuple(int(n) for n in each), grid.shape)) for each in places]
            counted[node.volume] = (grid, numbers)
    return chosen, counted


def _run_sample(
    task: Task,
    sample: Sample,
    grids: Mapping[Node, BlockGrid],
    chosen: Mapping[str, tuple[BlockGrid, list[int]]],
    counted: Mapping[str, tuple[BlockGrid, list[int]]],
    reporter: Reporter | None,
) -> _Measured:
    config: Any = sample.config
    estimation, stages = _estimation(task), {}
    for stage in task.stages:
        if isinstance(stage, BlockwiseStage):

            def rates(volume: str, name: str = stage.name) -> Rates:
                return estimation.rates(config, volume, name)

            stages[stage.name] = SampledStage(stage, chosen, counted, rates, task.open_graph)
    outcomes = run(sampled_task(task, stages), config, Selection(last=sample.last), reporter)
    found = {(name, volume): each for name, stage in stages.items() for volume, each in stage.measured.items()}
    voxels = {name: int(write_voxels(grid).reshape(-1)[blocks].sum()) for name, (grid, blocks) in chosen.items()}
    folders: dict[tuple[str, str], Mapping[str, float]] = {}
    for node in (each.node for each in outcomes):
        if node.stage not in stages and node.volume in chosen:
            folders[node.stage, node.volume] = {
                name: folder_bytes(folder_of(config, node.volume) / output.path) / (voxels[node.volume] / 1e6)
                for name, output in task.stage(node.stage).outputs(config, node.volume).items()
                if output.kind == "folder"
            }
    return _Measured(found, folders, sample.reasons)


def _estimation(task: Task) -> Estimation:
    if task.estimation is None:
        raise CatenaError(f"task {task.name} states no rates")
    return task.estimation
