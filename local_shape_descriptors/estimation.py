"""What ``catena plan`` is told of the stages that segment neurons."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from catena.blockwise.content import CELL_EDGE
from catena.blockwise.execution import ExecutionConfig
from catena.errors import StageError
from catena.experiment import VolumeConfig
from catena.graphs.setting import SQLITE
from catena.planning.rates import Estimation, Rates, Sample
from catena.segmentation.config import AgglomerateConfig
from local_shape_descriptors.agglomeration import require_memory
from local_shape_descriptors.config import Execution, LocalShapeDescriptorsConfig
from local_shape_descriptors.lookup_tables import given_threshold
from local_shape_descriptors.objects import NEURONS, step_of
from local_shape_descriptors.predicter import BEST
from local_shape_descriptors.super_predicter_daisy import predicted_array

Settings = LocalShapeDescriptorsConfig

FRAGMENTS_PER_MVOXEL = 1500.0
EDGES_PER_FRAGMENT = 6.0
PIECES_PER_FRAGMENT = 0.5
_SHAPE = "fragments.block_shape_vox"

# One core of a laptop, 64 x 72 x 72 voxels to a block, the demo's network; what is stored is nearly incompressible
# where a network hesitates. To be replaced by measured figures wherever anything can be measured.
_SEGMENTING = {
    "fragments": Rates(3.0, 280e6, 60.0, {"fragments": 8}, {"fragments": 0.02}, {"nodes": FRAGMENTS_PER_MVOXEL}, 120.0),
    "segmentation": Rates(0.3, 240e6, 30.0, {"segmentation": 8}, {"segmentation": 0.01}),
}


def rates(config: Settings, volume: str, stage: str) -> Rates:
    """Return stated rates of a blockwise stage."""
    if stage == "predict":
        heads = {head: float(channels) for head, channels in config.model.channels.items()}
        shares = dict.fromkeys(heads, 0.7)
        return Rates(20.0, 650e6, 900.0, heads, shares, block_shape_setting="predict.block_shape_vox")
    if stage == "content":
        cells = 1 / CELL_EDGE**3
        return Rates(0.02, 200e6, 4.0, {"content": cells}, {"content": 0.1})
    objects, step = step_of(stage)
    if step == "agglomerate":
        return _agglomerate(objects.agglomerate(config))
    return _SEGMENTING[step].measured(block_shape_setting=_SHAPE)


def _agglomerate(method: AgglomerateConfig) -> Rates:
    edges = FRAGMENTS_PER_MVOXEL * EDGES_PER_FRAGMENT
    rows = {"edges": edges, "forced": FRAGMENTS_PER_MVOXEL * PIECES_PER_FRAGMENT}
    if method.scope == "graph":
        rows["statistics"] = edges
    return Rates(
        1.5, 280e6, 50.0, rows_per_mvoxel=rows, row_bytes=90.0, block_shape_setting=_SHAPE, rows_need_neighbours=True
    )


def sample(config: Settings, folder: Path, done: Collection[tuple[str, str]]) -> Sample:
    """Return the experiment with its output in `folder`, from what there is: affinities, or a trained network.

    Ground truth is left out, for scores are no part of an estimate; the graph is a file, and all runs on this machine.
    """
    checkpoint = config.inputs.checkpoint
    if checkpoint is None and ("train", "") in done:
        checkpoint = str((config.folder / "checkpoints" / BEST).absolute())
    volumes, reasons = {}, {}
    for name, volume in config.volumes.items():
        affinities = volume.inputs.affinities
        if affinities is None and ("predict", name) in done and "affinities" in config.model.heads:
            affinities = str((config.volume_folder(name) / f"volume.zarr/{predicted_array('affinities')}").absolute())
        if affinities is None and checkpoint is None:
            reasons[name] = "there is no trained network yet"
        else:
            volumes[name] = _without_truth(volume, affinities)
    if not volumes:
        return Sample(None, "segmentation", reasons)
    update: dict[str, Any] = {
        "output": str(folder),
        "volumes": volumes,
        "inputs": config.inputs.model_copy(update={"checkpoint": checkpoint}),
        "agglomerate": config.agglomerate.model_copy(update={"store": SQLITE}),
        "segmentation": config.segmentation.model_copy(update={"threshold": given_threshold(config)}),
        "execution": _here(config),
    }
    sampled = config.model_copy(update=update)
    last = "segmentation" if any(NEURONS.segmented(sampled, name) for name in volumes) else "predict"
    return Sample(sampled, last, reasons)


def _without_truth(volume: VolumeConfig, affinities: str | None) -> VolumeConfig:
    inputs = volume.inputs.model_copy(update={"affinities": affinities})
    truth: dict[str, Any] = {"labels": None, "labels_mask": None, "other_labels": {}, "references": {}}
    bare = {**truth, "skeletons": None, "regions": {}, "skip_empty": False}
    return volume.model_copy(update={**bare, "inputs": inputs})


def _here(config: Settings) -> Execution:
    """Return settings that run every stage on this machine, with as many threads as configured."""
    stages = [name for name in Execution.model_fields if name not in ("default", "train")]
    own = {
        name: ExecutionConfig(workers=1, cores_per_worker=config.execution.of(name).cores_per_worker) for name in stages
    }
    return Execution(**own)


def refuse(config: Settings, stage: str, rows: Mapping[str, int]) -> str | None:
    """Return why a graph of that size would not be agglomerated; None if it would."""
    objects, step = step_of(stage)
    if step != "agglomerate" or objects.agglomerate(config).scope != "graph":
        return None
    try:
        require_memory(rows.get("statistics", 0), config, objects)
    except StageError as error:
        return str(error)
    return None


ESTIMATION = Estimation(rates, sample, refuse)
