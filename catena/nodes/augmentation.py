"""Put the augmentation nodes in order."""

from __future__ import annotations

import gunpowder as gp

from catena.nodes.augment_config import AugmentConfig
from catena.nodes.defect_augment import DefectAugment
from catena.nodes.deform_augment import DeformAugment
from catena.nodes.intensity_augment import IntensityAugment
from catena.nodes.noise_augment import NoiseAugment


def augment(pipeline: gp.Pipeline, config: AugmentConfig, raw: gp.ArrayKey) -> gp.Pipeline:
    """Append augmentation to `pipeline`: geometry for all arrays, then intensities of `raw`.

    Parameters
    ----------
    pipeline
        Provides `raw` as float32 ``(z, y, x)`` in [-1, 1], and whatever else moves with it.
    config
        Resolved for the voxel size (see :meth:`AugmentConfig.resolved`).
    """
    if not config.enabled:
        return pipeline
    if config.deform and config.deform.probability > 0:
        pipeline += DeformAugment(config.deform)
    pipeline += gp.SimpleAugment(mirror_only=list(config.mirror or ()), transpose_only=list(config.transpose or ()))
    if config.defects:
        pipeline += DefectAugment(raw, config.defects)
    if config.intensity:
        pipeline += IntensityAugment(raw, config.intensity)
    if config.noise:
        pipeline += NoiseAugment(raw, config.noise)
    return pipeline
