"""Predict affinities and descriptors of a whole volume, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.arrays import Array
from catena.blockwise.blocks import Block, BlockGrid
from catena.blockwise.devices import one_worker_per_gpu
from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.faults import fault_point
from catena.blockwise.stage import BlockFunction, BlockwiseStage, keep_or_create, tracking_folder
from catena.errors import ConfigError, GeometryError
from catena.task import Given, Input, Job, Made, Output, input_path
from local_shape_descriptors.config import LocalShapeDescriptorsConfig, block_shape
from local_shape_descriptors.fragments import chunk_shape, settings_of
from local_shape_descriptors.geometry import volume_geometry
from local_shape_descriptors.masks import mask_inputs, mask_settings, prediction_margin, skipped_predictions
from local_shape_descriptors.model import require_local
from local_shape_descriptors.predicter import checkpoint_path, open_predictor, other_network

Settings = LocalShapeDescriptorsConfig
SAMPLES = 8
_SHORT = {"affinities": "affs"}


def predicted_array(head: str) -> str:
    """Return where, in a volume's container, a head's prediction lies.

    >>> predicted_array("affinities"), predicted_array("mitochondria")
    ('volumes/pred_affs', 'volumes/pred_mitochondria')
    """
    return f"volumes/pred_{_SHORT.get(head, head)}"


class PredictStage(BlockwiseStage):
    """Predict every voxel; context beyond the volume is mirrored."""

    name, version = "predict", 1

    def applies(self, config: Settings, volume: str) -> bool:
        """Not where affinities are given."""
        return config.volume(volume).inputs.affinities is None

    def check(self, config: Settings, volume: str) -> None:
        """Refuse, before it is trained, a network that cannot predict in blocks."""
        super().check(config, volume)
        if config.inputs.checkpoint is None:
            require_local(config.model)

    def notes(self, config: Settings, volume: str) -> list[str]:
        """Tell where the network that is given is another one than the model's settings describe: it is used."""
        given = config.inputs.checkpoint
        if given is None or not Path(given).is_file():
            return []
        different = other_network(given, config.model, volume_geometry(config, volume).voxel_size)
        return [f"the network of {given} is used, not that of the model settings: {different}"] if different else []

    def inputs(self, config: Settings, volume: str) -> Mapping[str, Input]:
        """Return raw and the trained network."""
        settings = config.volume(volume)
        if settings.raw is None:
            raise ConfigError(f"volumes.{volume} has no raw to predict from")
        inputs = {"raw": Given(settings.raw, voxel_size_nm=settings.voxel_size_nm), **mask_inputs(config, volume)}
        if config.inputs.checkpoint is not None:
            return {**inputs, "checkpoint": Given(config.inputs.checkpoint, kind="file")}
        return {**inputs, "checkpoint": Made("train", "checkpoints", "")}

    def outputs(self, config: Settings, volume: str) -> Mapping[str, Output]:
        """Return one array per head of the network."""
        return {head: Output(f"volume.zarr/{predicted_array(head)}", "array") for head in config.model.heads}

    def settings(self, config: Settings, volume: str) -> Mapping[str, Any]:
        """Return precision, blocks and region, and what is left out of it."""
        geometry = volume_geometry(config, volume)
        boxes = mask_settings(config, volume)
        masked = boxes or any(name in self.inputs(config, volume) for name in ("mask", "content"))
        margin = {"margin_vox": list(prediction_margin(config, geometry))} if masked else {}
        return {
            **boxes,
            **margin,
            "predict": {
                "precision": config.predict.precision,
                "block_shape_vox": list(self._block_shape(config, volume)),
            },
            "heads": {head: _offsets(config, head) for head in config.model.heads},
            "roi": repr(geometry.roi),
        }

    def execution(self, config: Settings) -> ExecutionConfig:
        """Return where the blocks run: on a worker per GPU, if there are any."""
        return one_worker_per_gpu(config.execution.of(self.name))

    def grid(self, config: Settings, volume: str) -> BlockGrid:
        """Return the blocks; each reads its own context from raw, which no other block writes."""
        geometry = volume_geometry(config, volume)
        return BlockGrid(geometry.roi, geometry.voxel_size, self._block_shape(config, volume), Coordinate(0, 0, 0))

    def _block_shape(self, config: Settings, volume: str) -> Coordinate:
        voxel_size = volume_geometry(config, volume).voxel_size
        return block_shape(config.predict.block_shape_vox, voxel_size, "predict.block_shape_vox")

    def skip(self, job: Job, grid: BlockGrid) -> NDArray[np.bool_] | None:
        """Skip blocks where no fragments are wanted, and no context for fragments is read either."""
        return skipped_predictions(settings_of(job), job.volume, grid)

    def prepare(self, job: Job, grid: BlockGrid) -> None:
        """Check raw and checkpoint, then create the arrays."""
        config = settings_of(job)
        geometry = volume_geometry(config, job.volume)
        check_sample(geometry.open(input_path(job, "raw"), voxel_size_nm=config.volume(job.volume).voxel_size_nm))
        open_predictor(checkpoint_path(job), config)  # refused here rather than in every worker
        for head, output in self.outputs(config, job.volume).items():
            keep_or_create(
                job.staged(output),
                grid,
                dtype="uint8",
                chunk_shape_vox=chunk_shape(grid),
                channels=config.model.channels[head],
                units_per_nm=geometry.units_per_nm,
                attributes={"offsets": offsets} if (offsets := _offsets(config, head)) else None,
            )

    def block_function(self, job: Job) -> BlockFunction:
        """Load the network and return the work of one block."""
        config = settings_of(job)
        geometry = volume_geometry(config, job.volume)
        raw = geometry.open(input_path(job, "raw"), voxel_size_nm=config.volume(job.volume).voxel_size_nm)
        predictor = open_predictor(checkpoint_path(job), config, tracking_folder(job))
        targets = {
            head: geometry.open(str(job.staged(output)), "r+")
            for head, output in self.outputs(config, job.volume).items()
        }

        def read(begin_vox: Coordinate, shape_vox: Coordinate) -> NDArray[Any]:
            return raw.read(Roi(raw.offset + begin_vox * raw.voxel_size, shape_vox * raw.voxel_size), outside="reflect")

        def process(block: Block) -> None:
            begin = (block.write_roi.begin - raw.offset) // raw.voxel_size
            shape = block.write_roi.shape // raw.voxel_size
            for head, values in predictor.block(read, begin, shape, heads=list(targets)).items():
                targets[head].write(block.write_roi, values)
                fault_point("predict.after_array")

        return process


def _offsets(config: Settings, head: str) -> list[list[int]]:
    return [list(offset) for offset in config.model.offsets(head)]


def check_sample(raw: Array) -> None:
    """Refuse raw that no network can work with, from a few cubes spread over it.

    Raises
    ------
    DataError
        If the dtype is wrong, values are not finite or out of range, or the sample is constant.
    GeometryError
        If raw has channels.
    """
    from catena.inference import check_raw

    if raw.channels is not None:
        raise GeometryError(f"{raw.path} has {raw.channels} channels; raw must be (z, y, x)")
    shape = np.array(raw.shape_vox)
    size = np.minimum(64, shape)
    spread = np.linspace(0, 1, SAMPLES)
    parts = []
    for step in range(SAMPLES):
        place = np.array([spread[step], spread[step * 3 % SAMPLES], spread[step * 5 % SAMPLES]])
        begin = ((shape - size) * place).astype(int)
        z, y, x = (slice(int(b), int(b + s)) for b, s in zip(begin, size, strict=True))
        parts.append(np.asarray(raw.data[z, y, x]).ravel())
    check_raw(np.concatenate(parts), where=raw.path)
