"""Run length along the skeletons of a volume, region by region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from funlib.geometry import Roi
from numpy.typing import NDArray

from catena.arrays import Array
from catena.errors import GeometryError
from catena.evaluation import Skeleton, expected_run_length, read_swc, segments_at
from catena.experiment import SkeletonsConfig
from catena.task import Given
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.geometry import VolumeGeometry
from local_shape_descriptors.objects import NEURONS, Objects
from local_shape_descriptors.scoring import slabs

Settings = LocalShapeDescriptorsConfig
Relabel = Callable[[NDArray[np.uint64]], NDArray[np.uint64]]


def skeletons_of(config: Settings, volume: str, objects: Objects = NEURONS) -> SkeletonsConfig | None:
    """Return where the skeletons of a volume are; they are of neurons."""
    return config.volume(volume).skeletons if objects is NEURONS else None


def skeleton_files(settings: SkeletonsConfig) -> Given:
    """Return the files as an input of a stage."""
    return Given(settings.path, kind="files", suffix=".swc")


def skeleton_settings(settings: SkeletonsConfig) -> dict[str, Any]:
    """Return what changes run length, apart from the files."""
    return settings.model_dump(mode="json", exclude={"path"})


def read_skeletons(config: Settings, volume: str) -> list[Skeleton]:
    """Read the skeletons of a volume; none if it has none.

    Raises
    ------
    ArrayNotFoundError
        If there is no such file or folder, or no SWC file in it.
    DataError
        As :func:`catena.evaluation.read_swc`.
    GeometryError
        If not a single node lies inside the volume.
    """
    settings = config.volume(volume).skeletons
    if settings is None:
        return []
    skeletons = [read_swc(path, settings.nm_per_unit) for path in skeleton_files(settings).files()]
    grid = config.volume(volume).grid()
    if not any(len(each.within(grid.roi, grid.units_per_nm).nodes_nm) for each in skeletons):
        nodes = np.concatenate([each.nodes_nm for each in skeletons])
        corners = np.array([grid.roi.begin, grid.roi.end]) / grid.units_per_nm
        raise GeometryError(
            f"volumes.{volume}.skeletons: none of the {len(nodes)} nodes in {settings.path} lies in the volume. They "
            f"lie at {_extent(nodes)} nm (z, y, x), the volume at {_extent(corners)}. They are of "
            f"another volume or unit: nm_per_unit is {settings.nm_per_unit}; for positions in voxels it is the voxel "
            "size, for µm 1000"
        )
    return skeletons


def _extent(positions: NDArray[np.float64]) -> str:
    if not len(positions):
        return "no place"
    low, high = ([round(float(each)) for each in corner] for corner in (positions.min(axis=0), positions.max(axis=0)))
    return f"{low} to {high}"


def crop_skeletons(skeletons: Sequence[Skeleton], roi: Roi, geometry: VolumeGeometry) -> list[Skeleton]:
    """Return what lies inside `roi`; nothing if there is no length in it to run along.

    Single nodes are kept beside longer pieces: they may show that a segment merges two neurons.
    """
    inside = [each.within(roi, geometry.units_per_nm) for each in skeletons]
    inside = [each for each in inside if len(each.nodes_nm)]
    return inside if any(each.edge_lengths_nm.any() for each in inside) else []


def flat_run_length(
    segmentation: Array,
    skeletons: Sequence[Skeleton],
    roi: Roi,
    geometry: VolumeGeometry,
    ignored_nodes: int = 0,
    relabel: Relabel | None = None,
) -> dict[str, float]:
    """Return the run length of a segmentation as ``erl_nm``, ``nerl``, ``ignored_nodes`` and ``merged_segments``.

    Parameters
    ----------
    segmentation
        Segments, or fragments; in the world units of `geometry`.
    skeletons
        As :func:`crop_skeletons` returns them for `roi`.
    relabel
        Turns fragments at nodes into segments.
    """
    found = segments_at_nodes(segmentation, np.concatenate([each.nodes_nm for each in skeletons]), roi, geometry)
    ids = found if relabel is None else relabel(found)
    per_skeleton = np.split(ids, np.cumsum([len(each.nodes_nm) for each in skeletons])[:-1])
    run = expected_run_length(skeletons, per_skeleton, ignored_nodes)
    return {
        "erl_nm": run.erl_nm,
        "nerl": run.nerl,
        "ignored_nodes": run.ignored_nodes,
        "merged_segments": run.merged_segments,
    }


def segments_at_nodes(
    segmentation: Array, nodes_nm: NDArray[np.float64], roi: Roi, geometry: VolumeGeometry
) -> NDArray[np.uint64]:
    """Return the segment at every node in `roi`, read slab by slab; slabs without a node are not read."""
    found = np.zeros(len(nodes_nm), np.uint64)
    for slab in slabs(roi, geometry.voxel_size):
        z = nodes_nm[:, 0] * geometry.units_per_nm
        here = (z >= slab.begin[0]) & (z < slab.end[0])
        if here.any():
            found[here] = segments_at(
                segmentation.read(slab, outside="zero").astype(np.uint64, copy=False),
                nodes_nm[here],
                voxel_size=geometry.voxel_size,
                offset=slab.begin,
                units_per_nm=geometry.units_per_nm,
            )
    return found
