"""Validate a network by really segmenting a region."""

from __future__ import annotations

from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.errors import DataError
from catena.inference import Predictor
from catena.networks import BaseNetwork
from catena.segmentation import segment
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.evaluation import sweep_segmentation
from local_shape_descriptors.geometry import block_slices
from local_shape_descriptors.predicter import fast_precision
from local_shape_descriptors.scoring import Truth


def score_network(config: LocalShapeDescriptorsConfig, volume: str, network: BaseNetwork) -> dict[str, float]:
    """Predict and segment the validation region of a volume and score it at its best threshold.

    Returns
    -------
    dict
        ``voi_sum``, ``voi_split``, ``voi_merge`` (bits), ``adapted_rand_error``, ``threshold``. A model
        without affinities gets ``voi_sum`` = mean squared error of its descriptors instead, which is
        what there is to choose by.
    """
    truth = Truth(config, volume, "validation", minimum_voxels=0)
    geometry = truth.geometry
    device = next(network.parameters()).device
    predictor = Predictor(network, device=device, precision=fast_precision(str(device)))
    raw = geometry.open(str(config.volume(volume).raw), voxel_size_nm=config.volume(volume).voxel_size_nm)

    def read(begin_vox: Coordinate, shape_vox: Coordinate) -> NDArray[Any]:
        roi = Roi(raw.offset + begin_vox * raw.voxel_size, shape_vox * raw.voxel_size)
        return raw.read(roi, outside="reflect")

    begin = (truth.roi.begin - raw.offset) // raw.voxel_size
    predicted = predictor.block(read, begin, truth.roi.shape // raw.voxel_size)
    if "affinities" not in predicted:
        return {"voi_sum": descriptor_error(config, volume, truth, predicted["lsds"])}
    offsets = tuple(Coordinate(each) for each in config.model.offsets("affinities"))
    # Default methods, whatever the experiment's: choosing others later must not train again.
    sweep = sweep_segmentation(segment(predicted["affinities"], offsets, geometry.voxel_size), truth)
    best = sweep.at(sweep.best_threshold)
    return {
        "voi_sum": best.voi_sum,
        "voi_split": best.voi_split,
        "voi_merge": best.voi_merge,
        "adapted_rand_error": best.adapted_rand_error,
        "threshold": sweep.best_threshold,
    }


def descriptor_error(
    config: LocalShapeDescriptorsConfig, volume: str, truth: Truth, predicted: NDArray[np.uint8]
) -> float:
    """Return the mean squared error of predicted descriptors where training would ask for them.

    That is, against descriptors of eroded labels, on voxels whose label is known, save for the rims that erosion takes.

    Raises
    ------
    DataError
        If there is no such voxel.
    """
    from catena.targets import erode_boundaries, shape_descriptors
    from local_shape_descriptors.targets import TargetSettings

    geometry, roi = truth.geometry, truth.roi.intersect(truth.labels.roi)
    settings = TargetSettings(config.model, geometry.voxel_size, geometry.units_per_nm)
    nothing = DataError(f"the validation region {truth.roi} of {truth.labels.path} has no labelled voxel to score")
    if roi.empty:
        raise nothing
    labels = truth.labels.read(roi)
    eroded = erode_boundaries(labels, only_xy=settings.in_plane)
    counts = ((labels != 0) | config.volume(volume).background_labelled) & ((eroded != 0) | (labels == 0))
    if truth.mask is not None:
        counts &= truth.mask.read(roi, outside="zero") != 0
    if not counts.any():
        raise nothing
    target = shape_descriptors(
        eroded,
        geometry.voxel_size,
        config.model.lsd_sigma_nm * geometry.units_per_nm,
        config.model.lsd_downsample,
        units_per_nm=geometry.units_per_nm,
        in_plane=config.model.dimensions == 2,
    )
    found = predicted[(slice(None), *block_slices(roi, truth.roi, geometry.voxel_size))]
    error = (found.astype(np.float32) / 255 - target) ** 2
    return float(error[:, counts].mean())
