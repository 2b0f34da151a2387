"""Networks that come with Catena: what there is, and segmenting with one of them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import yaml
from rich.table import Table

from catena.errors import ConfigError, nearest_names
from catena.plan import Selection
from catena.progress import ConsoleReporter, print_summary, wide_console
from catena.run import Reporter, run
from catena.task import TASK_GROUP, Task, load_task


class Card(Protocol):
    """What is told of every network."""

    @property
    def voxel_size_nm(self) -> tuple[float, float, float]:
        """Of the data it was trained on, z, y, x."""

    @property
    def description(self) -> str:
        """In a line."""

    @property
    def licence(self) -> str:
        """Of the data it was trained on."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Return all of it as plain values."""


@dataclass(frozen=True)
class Pretrained:
    """What a task brings.

    Attributes
    ----------
    cards
        Returns the networks by name.
    configure
        Turns name, path of raw, path of the output and overrides into an experiment that segments; refuses data that
        the network was not made for.
    last
        The stage that such an experiment runs up to.
    publish
        Puts the results of the finished experiment into the output; returns their paths.
    """

    cards: Callable[[], Mapping[str, Card]]
    configure: Callable[[str, str, Path, Sequence[str]], Any]
    last: str
    publish: Callable[[Any, Path], list[Path]]


def shipped() -> dict[str, tuple[Task, Card]]:
    """Return the networks of all installed tasks, by name."""
    tasks = [load_task(each.name) for each in entry_points(group=TASK_GROUP)]
    return {name: (task, card) for task in tasks if task.pretrained for name, card in task.pretrained.cards().items()}


def _found(name: str) -> tuple[Task, Pretrained]:
    """Return the task of a network, and what it brings."""
    known = shipped()
    task = known[name][0] if name in known else None
    if task is None or task.pretrained is None:
        there = nearest_names(name, known) if known else "there is none in this installation"
        raise ConfigError(f"no network '{name}' comes with Catena ({there})")
    return task, task.pretrained


def segment_with(
    name: str,
    raw: str,
    output: Path,
    overrides: Sequence[str] = (),
    reporter: Reporter | None = None,
    **selection: Any,
) -> list[Path]:
    """Segment a volume with a network that comes with Catena; return the paths of the results in `output`.

    Parameters
    ----------
    raw
        Container and data set joined.
    output
        A zarr container; what is worked with lies beside it, and may be removed once the results are there.
    overrides
        Settings of the experiment that this is: ``key.path=value``.
    reporter
        Told what is being done. Default: the console.
    selection
        As in :class:`catena.plan.Selection`.

    Raises
    ------
    CatenaError
        If there is no such network, it was not made for data like these, or whatever stops a run.
    """
    task, network = _found(name)
    config = network.configure(name, raw, output, overrides)
    selected = Selection(last=network.last, **selection)
    if reporter is not None:
        run(task, config, selected, reporter)
    else:
        with ConsoleReporter() as console:
            outcomes = run(task, config, selected, console)
        print_summary(task, config, outcomes)
    return network.publish(config, output)


def print_networks() -> None:
    """Print a line for each network."""
    table = Table()
    for column in ("name", "voxel size, nm", "what it is", "licence of its data"):
        table.add_column(column)
    for name, (_, card) in sorted(shipped().items()):
        table.add_row(name, describe_size(card.voxel_size_nm), card.description, card.licence)
    wide_console().print(table)


def print_card(name: str) -> None:
    """Print all that is known of a network.

    Raises
    ------
    ConfigError
        If there is no network of that name.
    """
    card = _found(name)[1].cards()[name]
    print(yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False, width=100, allow_unicode=True), end="")


def describe_size(voxel_size_nm: Sequence[float]) -> str:
    """Return a voxel size for people.

    >>> describe_size((40.0, 4.0, 4.0))
    '40 x 4 x 4'
    """
    return " x ".join(f"{each:g}" for each in voxel_size_nm)
