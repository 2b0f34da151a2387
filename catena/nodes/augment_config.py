"""How training crops are augmented; what is not given follows from the voxel size."""

from __future__ import annotations

from typing import Annotated, Self

from funlib.geometry import Coordinate
from pydantic import Field, model_validator

from catena.config import Config
from catena.errors import ConfigError

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

    @model_validator(mode="after")
    def _probabilities_fit(self) -> Self:
        total = self.missing_probability + self.low_contrast_probability + self.artefact_probability
        if total > 1:
            raise ValueError(f"the probabilities of a section's defects add up to {total}, more than 1")
        return self


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

    def resolved(self, voxel_size: Coordinate) -> AugmentConfig:
        """Return this configuration with every part that was not given chosen for `voxel_size`.

        Sections (anisotropic data) are deformed and mirrored in plane only, differ in contrast, and
        have defects; published values of the LSD paper for zebrafinch and CREMI, and for FIB-SEM.

        Raises
        ------
        ConfigError
            If axes of different voxel size would be exchanged.
        """
        given = {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name) is not None}
        resolved = AugmentConfig(**{**_defaults(voxel_size), **given})
        if len({voxel_size[axis] for axis in resolved.transpose or ()}) > 1:
            raise ConfigError(
                f"augment.transpose: axes {list(resolved.transpose or ())} have voxel sizes {tuple(voxel_size)}; "
                "only axes of one voxel size can be exchanged"
            )
        return resolved


def _defaults(voxel_size: Coordinate) -> dict[str, object]:
    sections = is_anisotropic(voxel_size)
    isotropic = len(set(voxel_size)) == 1
    plane = (1, 2) if voxel_size[1] == voxel_size[2] else ()
    return {
        "mirror": (0, 1, 2),
        "transpose": (0, 1, 2) if isotropic else plane,
        "deform": _section_deform(rotate=bool(plane)) if sections else DeformConfig(rotate=bool(plane)),
        "intensity": IntensityConfig(per_section=sections),
        "noise": NoiseConfig(),
        "defects": DefectConfig(missing_probability=0.03, low_contrast_probability=0.01, artefact_probability=0.03)
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
