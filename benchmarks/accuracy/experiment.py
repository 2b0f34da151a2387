"""An experiment run as a user would: a command, and the files it leaves."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from catena.config import apply_overrides, load_yaml
from catena.ledger import Ledger
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.super_predicter_daisy import predicted_array


@dataclass(frozen=True)
class Training:
    """How long a network was trained."""

    iterations: int
    seconds: float


@dataclass(frozen=True)
class Experiment:
    """One command of Catena on an experiment with a single volume.

    Attributes
    ----------
    verb
        ``run`` or ``evaluate``.
    path
        The experiment's file.
    overrides
        ``key.path=value``.
    """

    verb: str
    path: str
    overrides: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What a user types."""
        return shlex.join(["catena", *self._arguments])

    @cached_property
    def config(self) -> LocalShapeDescriptorsConfig:
        """The resolved configuration."""
        return LocalShapeDescriptorsConfig.parse(apply_overrides(load_yaml(Path(self.path)), list(self.overrides)))

    @property
    def volume(self) -> str:
        """Name of the only volume."""
        (name,) = self.config.volumes
        return name

    @property
    def reference(self) -> str | None:
        """Name of the segmentation that is scored beside ours, if there is one."""
        return next(iter(self.config.volume(self.volume).references), None)

    @property
    def affinities(self) -> Path:
        """The predicted affinities."""
        return self.config.volume_folder(self.volume) / "volume.zarr" / predicted_array("affinities")

    def finish(self) -> None:
        """Run the command, which does only what is not done yet; its progress goes to the console.

        Raises
        ------
        RuntimeError
            If it fails; it has said why.
        """
        ended = subprocess.run([sys.executable, "-m", "catena", *self._arguments])
        if ended.returncode != 0:
            raise RuntimeError(f"{self.command} ended with {ended.returncode}")

    def metrics(self) -> dict[str, Any]:
        """Return what ``metrics.json`` says of the test region."""
        metrics: dict[str, Any] = json.loads((self.config.volume_folder(self.volume) / "metrics.json").read_text())
        return dict(metrics["test"])

    def training(self) -> Training:
        """Return how long the network was trained, breaks of a run that was stopped left out.

        Raises
        ------
        LookupError
            If the experiment has trained none.
        """
        with Ledger(self.config.folder / "ledger.sqlite", read_only=True) as ledger:
            record = ledger.read("", "train", "published")
        if record is None:
            raise LookupError(f"{self.config.folder} has no finished training")
        return Training(int(record.report["figures"]["iterations"]), record.seconds)

    @property
    def _arguments(self) -> list[str]:
        return [self.verb, self.path, *self.overrides]
