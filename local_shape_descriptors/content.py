"""Where raw holds anything: a coarse array that spares the stages below the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funlib.geometry import Coordinate, Roi

from catena.blockwise.blocks import Block, BlockGrid
from catena.blockwise.content import cell_shape, cells_with_content
from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.faults import fault_point
from catena.blockwise.masks import RoiMask, skip_mask
from catena.blockwise.stage import BlockFunction, BlockwiseStage, keep_or_create
from catena.task import Given, Input, Job, Output
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.fragments import settings_of
from local_shape_descriptors.geometry import block_slices, open_input, volume_geometry
from local_shape_descriptors.masks import CONTENT, mask_settings

Settings = LocalShapeDescriptorsConfig
CELLS_PER_BLOCK = Coordinate(8, 8, 8)


class ContentStage(BlockwiseStage):
    """Tell cell by cell whether raw is empty; runs only where empty parts are to be skipped."""

    name, version = "content", 1

    def applies(self, config: Settings, volume: str) -> bool:
        """Only where `skip_empty` is set."""
        return config.volume(volume).skips_empty

    def inputs(self, config: Settings, volume: str) -> Mapping[str, Input]:
        """Return raw."""
        settings = config.volume(volume)
        return {"raw": Given(str(settings.raw), voxel_size_nm=settings.voxel_size_nm)}

    def outputs(self, config: Settings, volume: str) -> Mapping[str, Output]:
        """Return the array of cells, 1 where there is something."""
        return {"content": Output(CONTENT, "array")}

    def settings(self, config: Settings, volume: str) -> Mapping[str, Any]:
        """Return what counts as empty, and the region."""
        geometry = volume_geometry(config, volume)
        values = {"skip_empty": config.volume(volume).skip_empty, "roi": repr(geometry.roi)}
        return {**values, **mask_settings(config, volume)}

    def execution(self, config: Settings) -> ExecutionConfig:
        """Return where the blocks run."""
        return config.execution.of(self.name)

    def grid(self, config: Settings, volume: str) -> BlockGrid:
        """Return blocks of eight cells along each axis, with a cell of context."""
        geometry = volume_geometry(config, volume)
        cell = cell_shape(geometry.voxel_size)
        return BlockGrid(geometry.roi, geometry.voxel_size, cell * CELLS_PER_BLOCK, cell)

    def skip(self, job: Job, grid: BlockGrid) -> Any:
        """Skip blocks outside all boxes: nobody asks what is there."""
        boxes = settings_of(job).volume(job.volume).boxes()
        return skip_mask([RoiMask(boxes)] if boxes else [], grid, grid.context_vox * 2)

    def prepare(self, job: Job, grid: BlockGrid) -> None:
        """Create the array."""
        config = settings_of(job)
        size = grid.context
        keep_or_create(
            job.staged(self.outputs(config, job.volume)["content"]),
            grid,
            roi=in_cells(grid.roi, size),
            voxel_size=size,
            dtype="uint8",
            chunk_shape_vox=CELLS_PER_BLOCK,
            units_per_nm=volume_geometry(config, job.volume).units_per_nm,
        )

    def block_function(self, job: Job) -> BlockFunction:
        """Open raw and the array, and return the work of one block."""
        config = settings_of(job)
        geometry, grid = volume_geometry(config, job.volume), self.grid(config, job.volume)
        raw = open_input(job, "raw", geometry)
        target = geometry.open(str(job.staged(self.outputs(config, job.volume)["content"])), "r+")
        given = config.volume(job.volume).skip_empty
        value = None if given is True else float(given)

        def process(block: Block) -> None:
            roi = block.read_roi.intersect(raw.roi)
            core = block_slices(block.write_roi, roi, geometry.voxel_size)
            found = cells_with_content(raw.read(roi), core, grid.context_vox, value)
            target.write(in_cells(block.write_roi, grid.context), found.astype("uint8"))
            fault_point("content.after_array")

        return process


def in_cells(roi: Roi, cell: Coordinate) -> Roi:
    """Return `roi` with its shape rounded up to whole cells (world units)."""
    return Roi(roi.begin, -(-roi.shape // cell) * cell)
