"""Tasks and stages: a small graph of steps, each of which says what it reads, what it makes and from which settings.

A task registers a :class:`Task` through the entry point group ``catena.tasks``. What runs, in which
order and whether at all is decided by :mod:`catena.run`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from catena.errors import ArrayNotFoundError, ConfigError, nearest_names
from catena.experiment import ExperimentConfig

if TYPE_CHECKING:
    from catena.planning.rates import Estimation
    from catena.pretrained import Pretrained

TASK_GROUP = "catena.tasks"
STAGING = ".staging"
"""Folder beside the results in which they are made."""


@dataclass(frozen=True)
class Given:
    """An input that exists outside the experiment: an array, a file, or files: all of a folder with one suffix.

    Files may also be a single one, of any suffix.
    """

    path: str
    kind: Literal["array", "file", "files"] = "array"
    voxel_size_nm: tuple[Any, Any, Any] | None = None
    suffix: str = ""

    def files(self) -> list[Path]:
        """Return the file at `path`, or those of the folder there that end in `suffix`, in any case, sorted.

        Raises
        ------
        ArrayNotFoundError
            If there is nothing, or no such file in the folder.
        """
        place = Path(self.path)
        if not place.is_dir():
            if not place.is_file():
                raise ArrayNotFoundError(f"{place} does not exist")
            return [place]
        found = sorted(each for each in place.iterdir() if each.is_file() and each.suffix.lower() == self.suffix)
        if not found:
            raise ArrayNotFoundError(f"no file of the folder {place} ends in {self.suffix}")
        return found


@dataclass(frozen=True)
class Made:
    """An input that a stage of this experiment makes; `volume` is empty for a stage of the whole experiment."""

    stage: str
    output: str
    volume: str


Input = Given | Made


@dataclass(frozen=True)
class Output:
    """Something a stage makes.

    Attributes
    ----------
    path
        ``file`` and ``folder``: place below the stage's folder. ``array``: container and data set
        below it. ``table``: name in the volume's graph store.
    content
        File in this folder on whose bytes the stages below depend, rather than on this stage's
        fingerprint (a checkpoint).
    """

    path: str
    kind: Literal["array", "file", "folder", "table"]
    content: str | None = None


class Progress(Protocol):
    """How a stage tells how far it is."""

    def __call__(self, done: float, total: float, message: str = "") -> None:
        """Report `done` of `total` units of work."""
        ...


@dataclass(frozen=True)
class StageReport:
    """What a stage has to say once it is complete.

    Attributes
    ----------
    blocks
        Numbers of blocks ``done``, ``failed`` and ``skipped``; empty for a stage without blocks.
    voxels
        Voxels worked on, for the rate.
    figures
        Anything worth keeping: threshold, scores, iterations.
    """

    blocks: Mapping[str, int] = field(default_factory=dict)
    voxels: int = 0
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One run of one stage: where everything is. Picklable as plain values through :meth:`spec`.

    Attributes
    ----------
    folder
        Where the stage's outputs are published: the experiment's folder, or the volume's.
    staging
        Where they are made. Moved to `folder` only once the stage is complete.
    retry_failed
        Try blocks again that have failed after all retries.
    """

    task: str
    stage: str
    volume: str
    config: ExperimentConfig
    fingerprint: str
    inputs: Mapping[str, Input] = field(default_factory=dict)
    retry_failed: bool = False

    @property
    def folder(self) -> Path:
        """Published place of the outputs."""
        return folder_of(self.config, self.volume)

    @property
    def staging(self) -> Path:
        """Place of the outputs in the making; named after the fingerprint."""
        return self.folder / STAGING / f"{self.stage}-{self.fingerprint[:16]}"

    def staged(self, output: Output) -> Path:
        """Return where to make `output`, which is not a table."""
        return self.staging / output.path

    def table(self, output: Output) -> str:
        """Return the name under which to make a table."""
        return f"staged_{self.fingerprint[:16]}_{output.path}"

    def spec(self) -> dict[str, Any]:
        """Return this job as plain values, for a worker on this or another host."""
        return {
            "task": self.task,
            "stage": self.stage,
            "volume": self.volume,
            "config": self.config.model_dump(mode="json"),
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True)
class LiveStatus:
    """How far an unfinished stage is, as seen from another process.

    Attributes
    ----------
    state
        ``running``, ``finished``, ``failed``, ``stopped`` or ``dead``, as the stage itself noted it last.
    seconds
        Duration of the last run so far.
    slowest
        Block numbers and seconds, slowest first.
    failures
        A line for each failed block.
    """

    blocks: Mapping[str, int]
    mvoxel_per_s: float | None = None
    seconds_left: float | None = None
    state: str = "running"
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    slowest: tuple[tuple[int, float], ...] = ()
    failures: tuple[str, ...] = ()


class Stage(ABC):
    """One step of a task.

    A subclass sets `name`, `version` (raised whenever the same inputs give another output) and
    whether it runs once per volume, and implements the methods below, which must not touch the disk
    except in :meth:`run`.
    """

    name: str
    version: ClassVar[int]
    per_volume: ClassVar[bool] = True

    def check(self, config: Any, volume: str) -> None:
        """Refuse, before the first stage of a run begins, what this one would need and cannot have here.

        Raises
        ------
        CatenaError
            Such as a program that is not installed.
        """
        return

    def notes(self, config: Any, volume: str) -> Iterable[str]:
        """Return what a user is to know before this stage runs, a line each; it may look at inputs that are given.

        Raises
        ------
        CatenaError
            If such an input cannot be used.
        """
        return ()

    def applies(self, config: Any, volume: str) -> bool:
        """Tell whether this stage makes sense for `volume` at all (no evaluation without ground truth)."""
        return True

    def lacks(self, config: Any, volume: str) -> str:
        """Return what `volume` lacks where this stage does not apply, as in "it has no labels"; empty if unknown."""
        return ""

    @abstractmethod
    def inputs(self, config: Any, volume: str) -> Mapping[str, Input]:
        """Return what the stage reads, by name."""

    @abstractmethod
    def outputs(self, config: Any, volume: str) -> Mapping[str, Output]:
        """Return what the stage makes, by name."""

    @abstractmethod
    def settings(self, config: Any, volume: str) -> Mapping[str, Any]:
        """Return the result-relevant settings as plain values: no paths, workers, devices or credentials."""

    @abstractmethod
    def run(self, job: Job, progress: Progress) -> StageReport:
        """Make the outputs in ``job.staging``; called again after a crash, it goes on where it was."""

    def live_status(self, config: Any, volume: str, fingerprint: str) -> LiveStatus | None:
        """Return how far the attempt with `fingerprint` is, or None if that cannot be told."""
        return None


@dataclass(frozen=True)
class Task:
    """A task: its configuration model and its stages in the order they are shown.

    Attributes
    ----------
    targets
        Names of the stages whose outputs a plain ``catena run`` is for; the others run only as far
        as these need them.
    beside
        Per stage those that go with it when it is the last one asked for: the same for other objects.
    open_graph
        Opens the graph store of a volume, for tables; with ``mode="r"`` to look at it only. None if the task has none.
    summary
        Turns a volume's published folder into rows (name, text) shown at the end of a run.
    template
        Writes a commented configuration for new data; used by ``catena init``.
    view
        Lists the layers of a volume for the viewer.
    view_augmentations
        Writes a picture of ``number`` training crops before and after augmentation to a path.
    view_errors
        Draws the worst errors of a volume's segmentation in a region, telling of each; the picture's path, or None if
        there is no error.
    tune
        Searches for the best settings of segmentation, telling of each trial.
    pretrained
        Networks that come with the task.
    estimation
        What ``catena plan`` is told of the stages.
    """

    name: str
    config: type[ExperimentConfig]
    stages: tuple[Stage, ...]
    targets: tuple[str, ...]
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    open_graph: Callable[..., Any] | None = None
    summary: Callable[[Any, str], list[tuple[str, str]]] | None = None
    template: Callable[..., str] | None = None
    view: Callable[..., Any] | None = None
    view_augmentations: Callable[[Any, Path, int], Path] | None = None
    view_errors: Callable[..., Path | None] | None = None
    tune: Callable[..., Any] | None = None
    pretrained: Pretrained | None = None
    estimation: Estimation | None = None

    def stage(self, name: str) -> Stage:
        """Return a stage by name.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        names = [stage.name for stage in self.stages]
        raise ConfigError(f"task {self.name} has no stage '{name}' ({nearest_names(name, names)})")


def folder_of(config: ExperimentConfig, volume: str) -> Path:
    """Return the folder that holds what a stage makes for `volume`, or for the experiment if empty."""
    return config.volume_folder(volume) if volume else config.folder


def load_task(name: str) -> Task:
    """Return the installed task called `name`.

    Raises
    ------
    ConfigError
        If no installed package registers it.
    """
    registered = {each.name: each for each in entry_points(group=TASK_GROUP)}
    if name not in registered:
        raise ConfigError(f"unknown task '{name}' ({nearest_names(name, registered)})")
    task: Task = registered[name].load()
    return task


def job_from_spec(spec: Mapping[str, Any]) -> tuple[Stage, Job]:
    """Rebuild a stage and its job from :meth:`Job.spec`."""
    task = load_task(spec["task"])
    stage = task.stage(spec["stage"])
    config = task.config.parse(spec["config"], where="job")
    inputs = stage.inputs(config, spec["volume"])
    return stage, Job(task.name, stage.name, spec["volume"], config, spec["fingerprint"], inputs)


def published(config: ExperimentConfig, task: Task, reference: Made) -> Path:
    """Return the published path of what `reference` names (an array, file or folder)."""
    stage = task.stage(reference.stage)
    output = stage.outputs(config, reference.volume)[reference.output]
    return folder_of(config, reference.volume) / output.path


def input_path(job: Job, name: str) -> str:
    """Return the path of an input of a job: as given, or where the stage above published it."""
    source = job.inputs[name]
    if isinstance(source, Given):
        return source.path
    return str(published(job.config, load_task(job.task), source))
