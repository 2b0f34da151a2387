"""Lookup tables from fragments to segments, at every threshold, and the threshold that validation chooses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from catena.blockwise.faults import fault_point
from catena.errors import DataError
from catena.evaluation import sweep_thresholds
from catena.segmentation import iterate_lookup_tables
from catena.task import Input, Job, Made, Output, Progress, StageReport, input_path
from local_shape_descriptors.agglomeration import edges_table
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.fragments import settings_of
from local_shape_descriptors.graph import open_graph
from local_shape_descriptors.objects import NEURONS, Objects, ObjectsStage
from local_shape_descriptors.scoring import Truth, count_fragments, truth_inputs

Settings = LocalShapeDescriptorsConfig


_ROWS = 1 << 18
"""Fragments per chunk: what a worker holds at a time, however large the volume."""


@dataclass(frozen=True)
class LookupTables:
    """Segments of all fragments at all thresholds, read as far as they are asked for.

    Attributes
    ----------
    thresholds
        ``(t,)`` float64, ascending.
    first_ids
        uint64, the lowest fragment id of every chunk of rows.
    segments
        ``(t, n)`` uint64 zarr array, one chunk row per threshold.
    """

    thresholds: NDArray[np.float64]
    first_ids: NDArray[np.uint64]
    segments: Any
    _ids: Any

    @classmethod
    def write(
        cls, folder: Path, ids: NDArray[np.uint64], thresholds: NDArray[np.float64], rows: Iterable[NDArray[np.uint64]]
    ) -> Self:
        """Write one zarr group and open it.

        Parameters
        ----------
        folder
            Becomes the group; what is there is replaced.
        ids
            ``(n,)`` uint64 fragment ids, ascending.
        thresholds
            ``(t,)``, ascending.
        rows
            The segments of all fragments, one threshold after the other; one at a time is held in memory.
        """
        group = zarr.open_group(str(folder), mode="w")
        group.array("ids", ids, chunks=(_ROWS,))
        group.array("first_ids", ids[::_ROWS])
        group.array("thresholds", thresholds)
        segments = group.create_dataset(
            "segments", shape=(len(thresholds), len(ids)), chunks=(1, _ROWS), dtype="uint64", write_empty_chunks=False
        )
        for number, row in enumerate(rows):
            segments[number] = row
        return cls.load(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open what :meth:`write` wrote."""
        group = zarr.open_group(str(folder), mode="r")
        return cls(group["thresholds"][:], group["first_ids"][:], group["segments"], group["ids"])

    @property
    def ids(self) -> NDArray[np.uint64]:
        """All fragment ids, ascending; as many as the volume has."""
        ids: NDArray[np.uint64] = self._ids[:]
        return ids

    def at(self, threshold: float) -> NDArray[np.uint64]:
        """Return the segments of all fragments at one of the thresholds.

        Raises
        ------
        DataError
            If there is no table for it.
        """
        segments: NDArray[np.uint64] = self.segments[self.row(threshold)]
        return segments

    def between(self, threshold: float, low: int, high: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the ids from `low` to `high` (inclusive) and their segments, with others around them.

        Only the chunks that hold them are read: a worker's memory does not grow with the volume.

        Raises
        ------
        DataError
            If there is no table for the threshold.
        """
        first, last = (int(np.searchsorted(self.first_ids, np.uint64(each), side="right")) for each in (low, high))
        rows = slice(max(first - 1, 0) * _ROWS, last * _ROWS)
        return self._ids[rows], self.segments[self.row(threshold), rows]

    def row(self, threshold: float) -> int:
        """Return the number of a threshold's table.

        Raises
        ------
        DataError
            If there is no table for it.
        """
        row = int(np.argmin(np.abs(self.thresholds - threshold)))
        if abs(self.thresholds[row] - threshold) > 1e-9:
            raise DataError(
                f"no lookup table at threshold {threshold}; the nearest is {self.thresholds[row]:g}. "
                "Add it to lookup_tables.thresholds or change lookup_tables.step"
            )
        return row


class LookupTablesStage(ObjectsStage):
    """Turn merge scores into lookup tables; choose the threshold on the validation region."""

    step, version = "lookup_tables", 2

    def inputs(self, config: Settings, volume: str) -> Mapping[str, Input]:
        """Return the graph, and fragments and truth where a validation region has them."""
        inputs: dict[str, Input] = {
            "nodes": self.made("fragments", "nodes", volume),
            "edges": self.made("agglomerate", "edges", volume),
        }
        if volume in self.objects.scored_with(config, "validation"):
            inputs["fragments"] = self.made("fragments", "fragments", volume)
            inputs |= truth_inputs(config, volume, self.objects)
        return inputs

    def outputs(self, config: Settings, volume: str) -> Mapping[str, Output]:
        """Return the tables and, with a validation region, the chosen threshold."""
        outputs = {"lookup_tables": Output(self.objects.called("luts"), "folder")}
        if volume in self.objects.scored_with(config, "validation"):
            outputs["threshold"] = Output(self.objects.called("threshold.json"), "file")
        return outputs

    def settings(self, config: Settings, volume: str) -> Mapping[str, Any]:
        """Return the thresholds and how validation scores them."""
        scoring = {}
        if volume in self.objects.scored_with(config, "validation"):
            region = config.volume(volume).regions["validation"].model_dump(mode="json")
            scoring = {
                "validation": region,
                "zeros": self.objects.zeros(config),
                "minimum_label_voxels": config.evaluate.minimum_label_voxels,
            }
        return {"lookup_tables": {"thresholds": list(config.lookup_tables.values)}, **scoring}

    def run(self, job: Job, progress: Progress) -> StageReport:
        """Make all tables in one pass over the edges."""
        config = settings_of(job)
        outputs = self.outputs(config, job.volume)
        with open_graph(config, job.volume) as store:
            ids = store.read(self.objects.called("nodes"), ["id"])["id"]
            edges = store.read(edges_table(config, self.objects), ["u", "v", "merge_score", "forced"])
        thresholds = np.array(config.lookup_tables.values)
        forced = np.stack([edges["u"][edges["forced"]], edges["v"][edges["forced"]]], axis=1)
        rows = iterate_lookup_tables(
            ids, edges["u"], edges["v"], edges["merge_score"], forced, config.lookup_tables.values
        )
        path = tables_path(config, job.staged(outputs["lookup_tables"]), self.objects)
        tables = LookupTables.write(path, ids, thresholds, rows)
        fault_point("lookup_tables.written")
        figures: dict[str, Any] = {"fragments": len(ids), "edges": len(edges["u"])}
        if "threshold" in outputs:
            figures |= self._choose(job, tables, job.staged(outputs["threshold"]))
        progress(1, 1)
        return StageReport(figures=figures)

    def _choose(self, job: Job, tables: LookupTables, path: Path) -> dict[str, Any]:
        config = settings_of(job)
        truth = Truth(config, job.volume, "validation", objects=self.objects)
        counts = count_fragments(truth, input_path(job, "fragments"), self.objects.zeros(config))
        sweep = sweep_thresholds(counts, tables.ids, tables.segments, tables.thresholds)
        best = sweep.best_threshold
        chosen = {"threshold": best, "chosen_on": "validation", "voi_sum": float(sweep.at(best).voi_sum)}
        path.write_text(json.dumps(chosen, indent=1))
        return chosen


def tables_path(config: Settings, folder: str | Path, objects: Objects = NEURONS) -> Path:
    """Return the group of lookup tables for the configured merge function in a volume's ``luts`` folder."""
    return Path(folder) / f"{objects.agglomerate(config).merge_function}.zarr"


def threshold_source(config: Settings, volume: str, objects: Objects = NEURONS) -> Input | None:
    """Return what decides the threshold of `volume` when the configuration does not: a validated volume's choice."""
    if objects.threshold(config) is not None:
        return None
    validated = [name for name in objects.scored_with(config, "validation") if objects.segmented(config, name)]
    if not validated:
        return None
    chosen = volume if volume in validated else validated[0]
    return Made(objects.called("lookup_tables"), "threshold", chosen)


def given_threshold(config: Settings, objects: Objects = NEURONS) -> float:
    """Return the threshold where no validation chooses it: configured, or the default."""
    given = objects.threshold(config)
    return config.segmentation.default_threshold if given is None else given


def threshold_of(job: Job, objects: Objects = NEURONS) -> tuple[float, str]:
    """Return the threshold of a job that has the input ``threshold`` or not, and where it comes from."""
    config = settings_of(job)
    if (given := objects.threshold(config)) is not None:
        return given, "configured"
    source = job.inputs.get("threshold")
    if source is None:
        return config.segmentation.default_threshold, "default: no volume has a validation region with labels"
    chosen = json.loads(Path(input_path(job, "threshold")).read_text())
    where = source.volume if isinstance(source, Made) else source.path
    return float(chosen["threshold"]), f"chosen on validation of {where}"
