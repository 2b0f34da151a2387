"""The name under which a run's jobs stand in a cluster's queue, kept on disk until they have ended."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from catena.blockwise.job import write_json


class JobName:
    """A name of this run alone, and those of earlier runs whose jobs may be left.

    A run of its own name: the reaper of a killed run must not cancel the jobs of the next one.

    Parameters
    ----------
    folder
        The stage's folder, in which ``cluster_jobs.json`` lists the names that may still have jobs.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "cluster_jobs.json"
        self.name = f"catena-{secrets.token_hex(6)}"
        self.earlier: list[str] = json.loads(self._path.read_text())["names"] if self._path.exists() else []
        self._write([*self.earlier, self.name])

    def earlier_ended(self) -> None:
        """Note that no job of an earlier run is left."""
        self.earlier = []
        self._write([self.name])

    def ended(self) -> None:
        """Note that no job of this run is left."""
        self._write(self.earlier)

    def _write(self, names: Sequence[str]) -> None:
        write_json(self._path, {"names": list(names)})
