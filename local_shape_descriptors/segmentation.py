"""Fragments to segmentation, through one lookup table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.blockwise.blocks import Block, BlockGrid
from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.faults import fault_point
from catena.blockwise.stage import BlockFunction, BlockwiseStage, keep_or_create
from catena.segmentation import relabel
from catena.task import Input, Job, Output, Progress, input_path
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.fragments import chunk_shape, settings_of
from local_shape_descriptors.geometry import fragment_grid, open_input, volume_geometry
from local_shape_descriptors.lookup_tables import (
    LookupTables,
    given_threshold,
    tables_path,
    threshold_of,
    threshold_source,
)
from local_shape_descriptors.masks import skipped_blocks
from local_shape_descriptors.objects import ObjectsStage

Settings = LocalShapeDescriptorsConfig


class SegmentationStage(ObjectsStage, BlockwiseStage):
    """Write the segmentation block by block."""

    step, version = "segmentation", 1

    def inputs(self, config: Settings, volume: str) -> Mapping[str, Input]:
        """Return fragments, tables and, unless configured, what chose the threshold."""
        inputs: dict[str, Input] = {
            "fragments": self.made("fragments", "fragments", volume),
            "lookup_tables": self.made("lookup_tables", "lookup_tables", volume),
        }
        threshold = threshold_source(config, volume, self.objects)
        return inputs if threshold is None else {**inputs, "threshold": threshold}

    def outputs(self, config: Settings, volume: str) -> Mapping[str, Output]:
        """Return the array of segment ids."""
        return {"segmentation": Output(f"volume.zarr/volumes/{self.objects.segmentation_array}", "array")}

    def settings(self, config: Settings, volume: str) -> Mapping[str, Any]:
        """Return the threshold, as far as it is configured."""
        if threshold_source(config, volume, self.objects) is not None:
            return {}
        return {"segmentation": {"threshold": given_threshold(config, self.objects)}}

    def execution(self, config: Settings) -> ExecutionConfig:
        """Return where the blocks run."""
        return config.execution.of(self.step)

    def grid(self, config: Settings, volume: str) -> BlockGrid:
        """Return the blocks; they need no context."""
        return fragment_grid(config, volume_geometry(config, volume), Coordinate(0, 0, 0))

    def skip(self, job: Job, grid: BlockGrid) -> NDArray[np.bool_] | None:
        """Skip the blocks that have no fragments because they were skipped before."""
        return skipped_blocks(settings_of(job), job.volume, grid)

    def prepare(self, job: Job, grid: BlockGrid) -> None:
        """Create the array."""
        config = settings_of(job)
        threshold, origin = threshold_of(job, self.objects)
        keep_or_create(
            job.staged(self.outputs(config, job.volume)["segmentation"]),
            grid,
            dtype="uint64",
            chunk_shape_vox=chunk_shape(grid),
            units_per_nm=volume_geometry(config, job.volume).units_per_nm,
            attributes={"threshold": threshold, "threshold_origin": origin},
        )

    def block_function(self, job: Job) -> BlockFunction:
        """Open everything and return the work of one block."""
        config = settings_of(job)
        geometry = volume_geometry(config, job.volume)
        fragments = open_input(job, "fragments", geometry)
        target = geometry.open(str(job.staged(self.outputs(config, job.volume)["segmentation"])), "r+")
        tables = LookupTables.load(tables_path(config, input_path(job, "lookup_tables"), self.objects))
        threshold = threshold_of(job, self.objects)[0]
        voxels = self.grid(config, job.volume).voxels_per_block

        def process(block: Block) -> None:
            # a fragment's id tells its block: of the table, this block needs what lies between these two
            ids, segments = tables.between(threshold, block.index * voxels + 1, (block.index + 1) * voxels)
            target.write(block.write_roi, relabel(fragments.read(block.write_roi), ids, segments))
            fault_point("segmentation.after_arrays")

        return process

    def finish(self, job: Job, progress: Progress) -> Mapping[str, Any]:
        """Report the threshold."""
        threshold, origin = threshold_of(job, self.objects)
        return {"threshold": threshold, "threshold_origin": origin}
