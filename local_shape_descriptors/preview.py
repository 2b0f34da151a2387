"""The picture of a volume: raw, affinities, descriptors, fragments, segmentation, ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from catena.task import Given, Input, Job, Made, Output, Progress, Stage, StageReport
from catena.viewing.kinds import Kind
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.fragments import settings_of
from local_shape_descriptors.geometry import open_input, volume_geometry
from local_shape_descriptors.objects import MITOCHONDRIA, NEURONS

Settings = LocalShapeDescriptorsConfig
TITLES = {
    "raw": "raw",
    "affinities": "affinities",
    "lsds": "shape descriptors",
    "fragments": "fragments",
    "segmentation": "segmentation",
    "labels": "ground truth",
    "mitochondria": "mitochondria",
    "mitochondria_labels": "mitochondria, ground truth",
}
LABELS = ("fragments", "segmentation", "ground truth", "mitochondria", "mitochondria, ground truth")


class PreviewStage(Stage):
    """Draw the central planes of everything a volume has."""

    name, version = "preview", 1

    def applies(self, config: Settings, volume: str) -> bool:
        """Only where there are affinities."""
        return NEURONS.segmented(config, volume)

    def inputs(self, config: Settings, volume: str) -> Mapping[str, Input]:
        """Return the arrays to draw."""
        settings = config.volume(volume)
        inputs: dict[str, Input] = {}
        if settings.raw is not None:
            inputs["raw"] = Given(settings.raw, voxel_size_nm=settings.voxel_size_nm)
        inputs["affinities"] = NEURONS.affinities(config, volume)
        if isinstance(inputs["affinities"], Made) and "lsds" in config.model.heads:
            inputs["lsds"] = Made("predict", "lsds", volume)
        inputs["fragments"] = Made("fragments", "fragments", volume)
        inputs["segmentation"] = Made("segmentation", "segmentation", volume)
        if settings.labels is not None:
            inputs["labels"] = Given(settings.labels, voxel_size_nm=settings.voxel_size_nm)
        if MITOCHONDRIA.segmented(config, volume):
            inputs["mitochondria"] = Made(MITOCHONDRIA.called("segmentation"), "segmentation", volume)
            if (labels := MITOCHONDRIA.labels(settings)) is not None:
                inputs["mitochondria_labels"] = Given(labels, voxel_size_nm=settings.voxel_size_nm)
        return inputs

    def outputs(self, config: Settings, volume: str) -> Mapping[str, Output]:
        """Return the picture."""
        return {"preview": Output("preview.png", "file")}

    def settings(self, config: Settings, volume: str) -> Mapping[str, Any]:
        """Return what is drawn."""
        return {"preview": config.preview.model_dump(mode="json"), "roi": repr(preview_roi(config, volume))}

    def run(self, job: Job, progress: Progress) -> StageReport:
        """Draw."""
        from catena.viewing.planes import read_planes
        from catena.viewing.preview import write_preview

        config = settings_of(job)
        geometry, roi = volume_geometry(config, job.volume), preview_roi(config, job.volume)
        arrays = {name: open_input(job, name, geometry) for name in job.inputs}
        panels = {TITLES[name]: read_planes(array, roi) for name, array in arrays.items()}
        write_preview(
            job.staged(self.outputs(config, job.volume)["preview"]),
            panels,
            geometry.voxel_size,
            units_per_nm=geometry.units_per_nm,
            kinds={TITLES[name]: "labels" for name in arrays if TITLES[name] in LABELS},
            overlay=TITLES["segmentation"] if "raw" in arrays else None,
            title=f"{config.experiment}: {job.volume}",
        )
        progress(1, 1)
        return StageReport()


def preview_roi(config: Settings, volume: str) -> Roi:
    """Return the part of a volume that is drawn: the configured region, about its centre if it is large."""
    geometry, settings = volume_geometry(config, volume), config.volume(volume)
    name = config.preview.region
    roi = settings.region_roi(name).intersect(geometry.roi) if name in settings.regions else geometry.roi
    shape = np.array(roi.shape // geometry.voxel_size)
    longest = config.preview.max_edge_vox * min(geometry.voxel_size) // np.array(geometry.voxel_size)
    kept = np.minimum(shape, np.maximum(longest, 1))
    begin = roi.begin + Coordinate((shape - kept) // 2) * geometry.voxel_size
    return Roi(begin, Coordinate(kept) * geometry.voxel_size)


def show(config: Settings, volume: str, *, screenshot: Path | None = None, host: str = "127.0.0.1") -> None:
    """Open what there is of a volume in Neuroglancer, and serve it until Ctrl-C."""
    from catena.arrays import open_array
    from catena.viewing.neuroglancer import build_viewer, serve
    from local_shape_descriptors.super_predicter_daisy import predicted_array

    settings, folder = config.volume(volume), config.volume_folder(volume) / "volume.zarr" / "volumes"
    paths: dict[str, str] = {}
    if settings.raw is not None:
        paths["raw"] = settings.raw
    affinities = settings.inputs.affinities or str(folder / Path(predicted_array("affinities")).name)
    made = {
        "affinities": affinities,
        "shape descriptors": str(folder / Path(predicted_array("lsds")).name),
        "fragments": str(folder / "fragments"),
        "segmentation": str(folder / "segmentation"),
        "mitochondria": str(folder / MITOCHONDRIA.segmentation_array),
    }
    paths |= {name: path for name, path in made.items() if Path(path).exists()}
    if settings.labels is not None:
        paths["ground truth"] = settings.labels
    if (labels := MITOCHONDRIA.labels(settings)) is not None:
        paths["mitochondria, ground truth"] = labels
    arrays = {name: open_array(path, voxel_size_nm=settings.voxel_size_nm) for name, path in paths.items()}
    kinds: dict[str, Kind] = {name: "labels" for name in LABELS if name in arrays}
    viewer = build_viewer(arrays, kinds=kinds, host=host)
    if screenshot is None:
        serve(viewer)
    else:
        from catena.viewing.screenshot import screenshot as take

        take(viewer, screenshot)
