"""How training crops are augmented; what is not given follows from the voxel size."""

from __future__ import annotations

from typing import Annotated, Self

from funlib.geometry import Coordinate
from pydantic import Field, model_validator

from catena.config import Config
from catena.errors import ConfigError
from catena.nodes.extra_config import ExtraConfig

Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]

ANISOTROPIC = 2.0
"""Voxels at least this many times longer along z than in plane are sections, not a volume."""


def is_anisotropic(voxel_size: Coordinate) -> bool:
    """Whether data of this voxel size (any unit, z, y, x) are treated section by section."""
    return bool(voxel_size[0] >= ANISOTROPIC * max(voxel_size[1:]))


class DeformConfig(Config):
    """Elastic deformation, rotation in plane and misaligned sections; they move image and labels alike."""

    probability: Probability = Field(0.5, description="Fraction of the crops that are deformed.")
    control_point_spacing: tuple[int, int, int] = Field((40, 40, 40), description="Voxels, z, y, x.")
    jitter: tuple[NonNegative, NonNegative, NonNegative] = Field(
        (2, 2, 2), description="Standard deviation of the control points' displacement, voxels z, y, x."
    )
    rotate: bool = Field(True, description="Rotate in plane by an angle in [0, π/2).")
    slip_probability: Probability = Field(0.01, description="Per section: it alone is displaced in plane.")
    shift_probability: Probability = Field(0.01, description="Per section: it and all that follow are displaced.")
    max_misalignment: int = Field(1, ge=0, description="Largest displacement of a section, voxels.")

    @model_validator(mode="after")
    def _spacing_is_positive(self) -> Self:
        if min(self.control_point_spacing) < 1:
            raise ValueError(f"control_point_spacing must be at least 1 voxel, found {self.control_point_spacing}")
        return self


class IntensityConfig(Config):
    """Contrast and brightness; values refer to raw scaled to [0, 1]."""

    scale: tuple[NonNegative, NonNegative] = Field((0.9, 1.1), description="Range of the contrast factor.")
    shift: tuple[float, float] = Field((-0.1, 0.1), description="Range of the brightness offset.")
    per_section: bool = Field(False, description="Draw anew for every section.")

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name, (low, high) in {"scale": self.scale, "shift": self.shift}.items():
            if low > high:
                raise ValueError(f"{name} is a range [low, high], found [{low}, {high}]")
        return self


class NoiseConfig(Config):
    """Additive noise and out-of-focus blur; values refer to raw scaled to [0, 1]."""

    noise_probability: Probability = 0.25
    noise_max_sigma: NonNegative = Field(0.05, description="Largest standard deviation of Gaussian noise.")
    blur_probability: Probability = 0.1
    blur_max_sigma: NonNegative = Field(1.0, description="Largest standard deviation of the blur in plane, voxels.")


class DefectConfig(Config):
    """Spoiled sections, image only; probabilities are per section."""

    missing_probability: Probability = Field(0.0, description="The section is black.")
    low_contrast_probability: Probability = 0.0
    low_contrast_scale: Probability = 0.5
    artefact_probability: Probability = Field(0.0, description="A dark or bright fold or stain covers a part of it.")
    partly_missing_probability: Probability = Field(0.0, description="It is black beyond a random straight line.")

    @model_validator(mode="after")
    def _probabilities_fit(self) -> Self:
        total = sum(getattr(self, name) for name in type(self).model_fields if name.endswith("_probability"))
        if total > 1:
            raise ValueError(f"the probabilities of a section's defects add up to {total}, more than 1")
        return self


class MotionBlurConfig(Config):
    """A stage that moved while a section was imaged."""

    probability: Probability = Field(0.1, description="Fraction of the crops in which it happened.")
    max_sections: int = Field(2, ge=1, description="Most consecutive sections that are blurred.")
    max_length: int = Field(11, ge=2, description="Longest path of the motion in plane, voxels.")


class CutBlurConfig(Config):
    """A box in which the image has a lower resolution in plane (CutBlur)."""

    probability: Probability = Field(0.1, description="Fraction of the crops with such a box.")
    max_fraction: Annotated[float, Field(gt=0, le=1)] = Field(0.25, description="Longest edge, of the crop's edge.")
    max_factor: int = Field(8, ge=2, description="Largest factor by which the resolution is lower.")


class CutNoiseConfig(Config):
    """A box with uniform noise; values refer to raw scaled to [0, 1]."""

    probability: Probability = Field(0.1, description="Fraction of the crops with such a box.")
    max_fraction: Annotated[float, Field(gt=0, le=1)] = Field(0.25, description="Longest edge, of the crop's edge.")
    amplitude: NonNegative = Field(0.2, description="Largest deviation.")


class StripesConfig(Config):
    """Straight stripes, as knives and ion beams leave them; values refer to raw scaled to [0, 1]."""

    probability: Probability = Field(0.1, description="Fraction of the crops with stripes.")
    max_stripes: int = Field(8, ge=1, description="Most stripes of a crop.")
    max_width: NonNegative = Field(3.0, description="Largest width, voxels.")
    max_amplitude: NonNegative = Field(0.3, description="Largest change of brightness.")
    through_sections: bool = Field(
        True, description="Stripes go through all sections, as curtains of an ion beam do; else each lies in one."
    )


class CopyPasteConfig(Config):
    """Objects of a crop, copied to another place of it in image and labels together."""

    probability: Probability = Field(0.2, description="Fraction of the crops to which objects are added.")
    max_objects: int = Field(2, ge=1, description="Most objects that are copied.")
    min_voxels: int = Field(200, ge=1, description="Smaller objects are not copied.")
    max_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        0.2, description="Larger objects, as a fraction of the crop's voxels, are not copied."
    )
    mirror: bool = Field(True, description="The copy may be mirrored, along the axes of `augment.mirror`.")


class AugmentConfig(Config):
    """Augmentation of training crops. Parts that are not given follow from the voxel size."""

    enabled: bool = True
    mirror: tuple[Annotated[int, Field(ge=0, le=2)], ...] | None = Field(
        None, description="Axes that may be mirrored (0 = z). Default: all."
    )
    transpose: tuple[Annotated[int, Field(ge=0, le=2)], ...] | None = Field(
        None, description="Axes that may be exchanged. Default: all that have one voxel size."
    )
    deform: DeformConfig | None = None
    intensity: IntensityConfig | None = None
    noise: NoiseConfig | None = None
    defects: DefectConfig | None = None
    motion_blur: MotionBlurConfig | None = Field(None, description="Off unless given.")
    cut_blur: CutBlurConfig | None = Field(None, description="Off unless given.")
    cut_noise: CutNoiseConfig | None = Field(None, description="Off unless given.")
    stripes: StripesConfig | None = Field(None, description="Off unless given.")
    copy_paste: CopyPasteConfig | None = Field(None, description="Off unless given.")
    extra: tuple[ExtraConfig, ...] = Field(
        (),
        description="Augmentations of other packages, applied in order after all others: names such as "
        "`kornia.augmentation.RandomMotionBlur3D`, each with its arguments.",
    )

    @property
    def within_step(self) -> tuple[ExtraConfig, ...]:
        """Augmentations of other packages that run in the training step."""
        return tuple(each for each in self.extra if each.within == "step") if self.enabled else ()

    def resolved(self, voxel_size: Coordinate, dimensions: int = 3) -> AugmentConfig:
        """Return this configuration with every part that was not given chosen for `voxel_size`.

        Sections (anisotropic data) are deformed and mirrored in plane only, differ in contrast, and
        have defects; published values of the LSD paper for zebrafinch and CREMI, and for FIB-SEM.

        Raises
        ------
        ConfigError
            If axes of different voxel size would be exchanged, or in 2D (`dimensions`) any with z.
        """
        given = {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name) is not None}
        resolved = AugmentConfig(**{**_defaults(voxel_size, dimensions), **given})
        if len({voxel_size[axis] for axis in resolved.transpose or ()}) > 1:
            raise ConfigError(
                f"augment.transpose: axes {list(resolved.transpose or ())} have voxel sizes {tuple(voxel_size)}; "
                "only axes of one voxel size can be exchanged"
            )
        if dimensions == 2 and 0 in (resolved.transpose or ()):
            raise ConfigError("augment.transpose: a 2D model sees sections as they are; axes 1 and 2 can be exchanged")
        return resolved


def _defaults(voxel_size: Coordinate, dimensions: int) -> dict[str, object]:
    sections = dimensions == 2 or is_anisotropic(voxel_size)
    isotropic = dimensions == 3 and len(set(voxel_size)) == 1
    plane = (1, 2) if voxel_size[1] == voxel_size[2] else ()
    return {
        "mirror": (0, 1, 2),
        "transpose": (0, 1, 2) if isotropic else plane,
        "deform": _section_deform(rotate=bool(plane)) if sections else DeformConfig(rotate=bool(plane)),
        "intensity": IntensityConfig(per_section=sections),
        "noise": NoiseConfig(),
        "defects": DefectConfig(
            # of a crop of one section nothing would be left
            missing_probability=0.03 if dimensions == 3 else 0.0,
            low_contrast_probability=0.01,
            artefact_probability=0.03,
        )
        if sections
        else DefectConfig(),
    }


def _section_deform(rotate: bool) -> DeformConfig:
    return DeformConfig(
        control_point_spacing=(4, 40, 40),
        jitter=(0, 2, 2),
        rotate=rotate,
        slip_probability=0.05,
        shift_probability=0.05,
        max_misalignment=10,
    )
