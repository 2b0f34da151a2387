"""Fingerprints of a run's nodes: stage, version, settings and inputs as they are now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from catena.arrays import open_array
from catena.errors import ArrayNotFoundError, DataError
from catena.experiment import ExperimentConfig
from catena.fingerprint import fingerprint_array, fingerprint_file, fingerprint_values, hash_content
from catena.ledger import Ledger
from catena.plan import Node
from catena.task import Given, Made, Task, folder_of

Explanation = dict[str, Any]
"""What went into a fingerprint, as plain values."""


class NodeFingerprints:
    """Fingerprints of nodes, each computed once until told to forget.

    Parameters
    ----------
    task, config
        What the nodes belong to.
    ledger
        Keeps what is known of the content of inputs.
    verify_inputs
        Read all of every given array and compare it with what the ledger knows.
    """

    def __init__(self, task: Task, config: ExperimentConfig, ledger: Ledger, verify_inputs: bool = False) -> None:
        self._task = task
        self._config = config
        self._ledger = ledger
        self._verify_inputs = verify_inputs
        self._nodes: dict[Node, tuple[str, Explanation]] = {}
        self._given: dict[Given, str] = {}

    def of(self, node: Node) -> tuple[str, Explanation]:
        """Return the fingerprint of a node and what went into it; of its inputs as they are now.

        Raises
        ------
        CatenaError
            If an input cannot be read, or has changed unnoticed.
        """
        if node not in self._nodes:
            self._nodes[node] = self._compute(node)
        return self._nodes[node]

    def forget(self) -> None:
        """Compute the fingerprints of nodes anew: what they read was made anew. Given inputs stay as they are."""
        self._nodes.clear()

    def _compute(self, node: Node) -> tuple[str, Explanation]:
        stage = self._task.stage(node.stage)
        sources = stage.inputs(self._config, node.volume)
        inputs = {name: self._of_input(source) for name, source in sources.items()}
        settings = dict(stage.settings(self._config, node.volume))
        explanation = {"stage": stage.name, "version": stage.version, "config": settings, "inputs": inputs}
        explanation = yaml.safe_load(yaml.safe_dump(_plain(explanation)))
        return fingerprint_values(explanation), explanation

    def _of_input(self, source: Given | Made) -> str:
        if isinstance(source, Given):
            if source not in self._given:
                self._given[source] = self._of_given(source)
            return self._given[source]
        output = self._task.stage(source.stage).outputs(self._config, source.volume)[source.output]
        if output.content is None:
            return self.of(Node(source.stage, source.volume))[0]
        path = folder_of(self._config, source.volume) / output.path / output.content
        return fingerprint_file(path) if path.exists() else "not made yet"

    def _of_given(self, source: Given) -> str:
        if source.kind == "file":
            if not Path(source.path).is_file():
                found = "is a folder, not a file" if Path(source.path).is_dir() else "does not exist"
                raise ArrayNotFoundError(f"{source.path} {found}")
            return fingerprint_file(source.path)
        if source.kind == "files":
            return fingerprint_values({"files": sorted(fingerprint_file(each) for each in source.files())})
        array = open_array(source.path, voxel_size_nm=source.voxel_size_nm)
        fingerprint = fingerprint_array(array)
        if self._verify_inputs:
            content, known = hash_content(array), self._ledger.content(fingerprint)
            if known is not None and known != content:
                raise DataError(
                    f"the content of {source.path} has changed since it was last verified, though its sample has not; "
                    "what was made from it is out of date: redo it with --redo, or restore the data"
                )
            self._ledger.record_content(fingerprint, content)
        return fingerprint


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
