"""The task: from raw EM to neurons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from catena.pretrained import Pretrained
from catena.task import Stage, Task
from local_shape_descriptors import pretrained
from local_shape_descriptors.agglomeration import AgglomerateStage
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.content import ContentStage
from local_shape_descriptors.estimation import ESTIMATION
from local_shape_descriptors.evaluation import EvaluateStage
from local_shape_descriptors.fragments import FragmentsStage
from local_shape_descriptors.graph import open_graph
from local_shape_descriptors.lookup_tables import LookupTablesStage
from local_shape_descriptors.objects import ALL_OBJECTS, MITOCHONDRIA, NEURONS, Objects
from local_shape_descriptors.preview import PreviewStage, show
from local_shape_descriptors.pseudo_labels import PseudoLabelsStage
from local_shape_descriptors.segmentation import SegmentationStage
from local_shape_descriptors.super_predicter_daisy import PredictStage
from local_shape_descriptors.template import template
from local_shape_descriptors.training_stage import TrainFirstStage, TrainStage


def summary(config: Any, volume: str) -> list[tuple[str, str]]:
    """Return what the end of a run says of a volume: scores beside the baseline's, and where results are."""
    folder = config.volume_folder(volume)
    rows: list[tuple[str, str]] = []
    for objects in ALL_OBJECTS:
        metrics, of_what = folder / objects.called("metrics.json"), "" if objects is NEURONS else f", {objects.name}"
        if metrics.exists():
            rows += [
                (region + of_what, describe_scores(flat)) for region, flat in json.loads(metrics.read_text()).items()
            ]
    made = {each.segmentation_array: f"volume.zarr/volumes/{each.segmentation_array}" for each in ALL_OBJECTS}
    rows += [
        (name, str(folder / path))
        for name, path in {**made, "preview": "preview.png"}.items()
        if (folder / path).exists()
    ]
    return rows


def view_augmentations(config: Any, path: Path, number: int) -> Path:
    """Draw training crops before and after augmentation; what that needs is loaded only now."""
    from local_shape_descriptors.augmentation_sheet import write_augmentation_sheet

    return write_augmentation_sheet(config, path, number)


def view_errors(config: Any, volume: str | None, region: str, number: int, path: Path, tell: Any) -> Path | None:
    """Draw the worst mergers and splits of a segmentation; what that needs is loaded only now."""
    from catena.status import why_outdated
    from local_shape_descriptors.error_sheet import volume_with_truth, write_errors

    volume = volume_with_truth(config, volume, region)
    if (reason := why_outdated(TASK, config, "segmentation", volume)) is not None:
        tell(f"note: this segmentation is not what the configuration makes now ({reason})")
    return write_errors(config, volume, region, number, path, tell)


def tune(config: Any, tell: Any = None) -> Any:
    """Search for the best settings of segmentation; what that needs is loaded only now."""
    from local_shape_descriptors import tuning

    return tuning.tune(config, tell)


def describe_scores(flat: dict[str, Any]) -> str:
    """Return one line of scores, of what there is: against labels, along skeletons."""
    scores = []
    if "voi_sum" in flat:
        scores.append(
            f"VOI {flat['voi_split']:.3f} split + {flat['voi_merge']:.3f} merge = {flat['voi_sum']:.3f}, "
            f"adapted Rand error {flat['adapted_rand_error']:.3f}"
        )
    if "erl_nm" in flat:
        scores.append(f"expected run length {flat['erl_nm']:.0f} nm ({flat['nerl']:.3f} of a perfect one)")
    line = f"{', '.join(scores) or 'no skeleton here'}, threshold {flat['threshold']:g}"
    if "baseline_voi_sum" in flat:
        line += (
            f" | no-learning baseline: VOI {flat['baseline_voi_split']:.3f} + {flat['baseline_voi_merge']:.3f} = "
            f"{flat['baseline_voi_sum']:.3f}, adapted Rand error {flat['baseline_adapted_rand_error']:.3f}"
        )
    return line


def chain(objects: Objects) -> tuple[Stage, ...]:
    """Return the stages that segment one kind of objects."""
    steps = FragmentsStage, AgglomerateStage, LookupTablesStage, SegmentationStage, EvaluateStage
    return tuple(step(objects) for step in steps)


TASK = Task(
    name="local_shape_descriptors",
    config=LocalShapeDescriptorsConfig,
    stages=(
        PseudoLabelsStage(),
        TrainFirstStage(),
        TrainStage(),
        ContentStage(),
        PredictStage(),
        *(stage for objects in ALL_OBJECTS for stage in chain(objects)),
        PreviewStage(),
    ),
    targets=(
        "predict",
        *(each.called(step) for each in ALL_OBJECTS for step in ("segmentation", "evaluate")),
        "preview",
    ),
    beside={stage.name: (MITOCHONDRIA.called(stage.name),) for stage in chain(NEURONS)},
    open_graph=open_graph,
    summary=summary,
    template=template,
    view=show,
    view_augmentations=view_augmentations,
    view_errors=view_errors,
    tune=tune,
    pretrained=Pretrained(pretrained.cards, pretrained.configure, "segmentation", pretrained.publish),
    estimation=ESTIMATION,
)
