"""Affinities to fragments: ids in an array, one row per fragment in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.blockwise.blocks import Block, BlockGrid
from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.faults import fault_point
from catena.blockwise.masks import kept_voxels
from catena.blockwise.stage import BlockFunction, BlockwiseStage, keep_or_create
from catena.graphs import TableSchema
from catena.segmentation import extract_fragments, fragment_channels, fragment_context
from catena.task import Input, Job, Made, Output
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.geometry import VolumeGeometry, block_slices, fragment_grid, open_input, volume_geometry
from local_shape_descriptors.graph import graph_url, open_graph
from local_shape_descriptors.masks import mask_inputs, mask_settings, skipped_blocks, volume_masks
from local_shape_descriptors.objects import ObjectsStage

Settings = LocalShapeDescriptorsConfig

POSITION = ("position_0", "position_1", "position_2")
NODES = TableSchema(
    {
        "id": "uint64",
        **dict.fromkeys(POSITION, "float64"),
        "size": "int64",
        "filtered": "bool",
        "root": "int64",
        "pointer": "int8",
    },
    key=("id",),
)
"""A fragment: position (nm) of its root voxel's centre, voxels, a mark that volara expects and that is never set (what
is filtered out is no fragment at all), row-major index of the root voxel in the volume, and the neighbour in which it
goes on across a block face (see :class:`catena.segmentation.Fragments`)."""


class FragmentsStage(ObjectsStage, BlockwiseStage):
    """Extract fragments block by block."""

    step, version = "fragments", 2

    def check(self, config: Settings, volume: str) -> None:
        """Refuse also a method that cannot work with what will be predicted, before hours of training."""
        super().check(config, volume)
        if isinstance(self.objects.affinities(config, volume), Made):
            offsets = [Coordinate(each) for each in config.model.offsets(self.objects.head)]
            voxel_size = volume_geometry(config, volume).voxel_size
            fragment_channels(offsets, len(offsets), self.objects.fragments(config), voxel_size)

    def inputs(self, config: Settings, volume: str) -> Mapping[str, Input]:
        """Return the affinities, and what says where fragments are wanted."""
        graph_url(config, volume)  # refuses an unusable store before hours of training and prediction
        return {"affinities": self.objects.affinities(config, volume), **mask_inputs(config, volume)}

    def outputs(self, config: Settings, volume: str) -> Mapping[str, Output]:
        """Return the array of ids and the table of nodes."""
        array = f"volume.zarr/volumes/{self.objects.called('fragments')}"
        return {"fragments": Output(array, "array"), "nodes": Output(self.objects.called("nodes"), "table")}

    def settings(self, config: Settings, volume: str) -> Mapping[str, Any]:
        """Return the method's settings and the blocks: ids depend on them."""
        geometry = volume_geometry(config, volume)
        shape = fragment_grid(config, geometry, Coordinate(0, 0, 0)).block_shape_vox
        values = {**self.objects.fragments(config).result_settings(), "block_shape_vox": list(shape)}
        fragments = {"fragments": values, "roi": repr(geometry.roi)}
        return {**fragments, **mask_settings(config, volume)}

    def execution(self, config: Settings) -> ExecutionConfig:
        """Return where the blocks run."""
        return config.execution.of(self.step)

    def grid(self, config: Settings, volume: str) -> BlockGrid:
        """Return the blocks with the context that makes the method's result exact."""
        geometry = volume_geometry(config, volume)
        return fragment_grid(config, geometry, fragment_context(self.objects.fragments(config), geometry.voxel_size))

    def skip(self, job: Job, grid: BlockGrid) -> NDArray[np.bool_] | None:
        """Skip blocks that a mask leaves nothing of."""
        return skipped_blocks(settings_of(job), job.volume, grid)

    def prepare(self, job: Job, grid: BlockGrid) -> None:
        """Create the array and the table."""
        config = settings_of(job)
        outputs, geometry = self.outputs(config, job.volume), volume_geometry(config, job.volume)
        offsets = open_input(job, "affinities", geometry).affinity_offsets  # refused here rather than in every worker
        fragment_channels(offsets, len(offsets), self.objects.fragments(config), geometry.voxel_size)
        keep_or_create(
            job.staged(outputs["fragments"]),
            grid,
            dtype="uint64",
            chunk_shape_vox=chunk_shape(grid),
            units_per_nm=geometry.units_per_nm,
        )
        with open_graph(settings_of(job), job.volume) as store:
            store.create(job.table(outputs["nodes"]), NODES)

    def block_function(self, job: Job) -> BlockFunction:
        """Open everything and return the work of one block."""
        config = settings_of(job)
        geometry, grid = volume_geometry(config, job.volume), self.grid(config, job.volume)
        outputs = self.outputs(config, job.volume)
        affinities = open_input(job, "affinities", geometry)
        masks = volume_masks(config, job.volume)
        target = geometry.open(str(job.staged(outputs["fragments"])), "r+")
        store, table = open_graph(config, job.volume), job.table(outputs["nodes"])
        offsets, method = affinities.affinity_offsets, self.objects.fragments(config)

        def process(block: Block) -> None:
            roi = block.read_roi.intersect(grid.roi).intersect(affinities.roi)
            fragments = extract_fragments(
                affinities.read(roi),
                offsets,
                method,
                voxel_size=geometry.voxel_size,
                core=block_slices(block.write_roi, roi, geometry.voxel_size),
                block_index=block.index,
                block_shape_vox=grid.block_shape_vox,
                core_begin_vox=(block.write_roi.begin - grid.roi.begin) // geometry.voxel_size,
                mask=kept_voxels(masks, roi, geometry.voxel_size),
            )
            target.write(block.write_roi, fragments.labels)
            fault_point("fragments.after_arrays")
            store.write_block(table, block.index, node_columns(fragments, block, grid, geometry))
            fault_point("fragments.after_graph")

        return process


def node_columns(fragments: Any, block: Block, grid: BlockGrid, geometry: VolumeGeometry) -> dict[str, NDArray[Any]]:
    """Return the rows of a block's fragments for the table :data:`NODES`."""
    begin = np.array((block.write_roi.begin - grid.roi.begin) // geometry.voxel_size)
    in_volume = fragments.roots + begin
    shape = tuple(int(each) for each in grid.roi.shape // geometry.voxel_size)
    size = np.array(geometry.voxel_size)
    centres = (np.array(grid.roi.begin) + (in_volume + 0.5) * size) / geometry.units_per_nm
    return {
        "id": fragments.ids,
        **{name: np.ascontiguousarray(centres[:, axis]) for axis, name in enumerate(POSITION)},
        "size": fragments.sizes,
        "filtered": np.zeros(len(fragments.ids), bool),
        "root": np.ravel_multi_index(tuple(in_volume.T), shape).astype(np.int64),
        "pointer": fragments.pointers,
    }


def settings_of(job: Job) -> Settings:
    """Return a job's configuration as this task's own."""
    if not isinstance(job.config, Settings):
        raise TypeError(f"stage {job.stage} of {job.task} cannot work with a {type(job.config).__name__}")
    return job.config


def chunk_shape(grid: BlockGrid) -> Coordinate:
    """Return chunks that divide a block: no two blocks write one chunk.

    Each edge is the block's own up to 64 voxels, else its largest divisor up to 64.
    """
    return Coordinate(max(d for d in range(1, min(64, n) + 1) if n % d == 0) for n in grid.block_shape_vox)
