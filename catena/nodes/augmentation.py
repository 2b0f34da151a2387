"""Put the augmentation nodes in order."""

from __future__ import annotations

from collections.abc import Mapping

import gunpowder as gp

from catena.augmentation.roles import Role
from catena.nodes.augment_config import AugmentConfig
from catena.nodes.copy_paste_augment import CopyPasteAugment
from catena.nodes.cut_blur_augment import CutBlurAugment
from catena.nodes.cut_noise_augment import CutNoiseAugment
from catena.nodes.defect_augment import DefectAugment
from catena.nodes.deform_augment import DeformAugment
from catena.nodes.intensity_augment import IntensityAugment
from catena.nodes.motion_blur_augment import MotionBlurAugment
from catena.nodes.noise_augment import NoiseAugment
from catena.nodes.stripes_augment import StripesAugment

_IMAGE_NODES = {
    "defects": DefectAugment,
    "motion_blur": MotionBlurAugment,
    "stripes": StripesAugment,
    "cut_blur": CutBlurAugment,
    "cut_noise": CutNoiseAugment,
    "intensity": IntensityAugment,
    "noise": NoiseAugment,
}
"""Per section of the configuration the node that changes the image, in the order in which they follow."""


def augment(
    pipeline: gp.Pipeline,
    config: AugmentConfig,
    raw: gp.ArrayKey,
    others: Mapping[gp.ArrayKey, Role] | None = None,
) -> gp.Pipeline:
    """Append augmentation to `pipeline`: geometry for all arrays, then intensities of `raw`.

    Parameters
    ----------
    pipeline
        Provides `raw` as float32 ``(z, y, x)`` in [-1, 1], and whatever else moves with it.
    config
        Resolved for the voxel size (see :meth:`AugmentConfig.resolved`).
    others
        What the other arrays are, labels and masks; needed where they are moved by augmentations of
        other packages or get copies of objects. Copied are objects of the first labels.
    """
    if not config.enabled:
        return pipeline
    others = dict(others or {})
    if config.deform and config.deform.probability > 0:
        pipeline += DeformAugment(config.deform)
    pipeline += gp.SimpleAugment(mirror_only=list(config.mirror or ()), transpose_only=list(config.transpose or ()))
    labels = [key for key, role in others.items() if role == "labels"]
    if config.copy_paste and labels:
        along = tuple(key for key in others if key != labels[0])
        pipeline += CopyPasteAugment(raw, labels[0], config.copy_paste, config.mirror or (), along)
    for name, node in _IMAGE_NODES.items():
        settings = getattr(config, name)
        if settings:
            pipeline += node(raw, settings)
    extras = [extra for extra in config.extra if extra.within == "crop"]
    if extras:
        from catena.augmentation.resolve import resolve
        from catena.nodes.augment import Augment

        roles: dict[gp.ArrayKey, Role] = {raw: "image", **others}
        for number, extra in enumerate(extras):
            pipeline += Augment(resolve(extra), roles, kind=extra.kind, stream=number)
    return pipeline
