"""What a network looks like: a U-Net with mixed 2D and 3D kernels, and its output heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from catena.config import Config

Positive = Annotated[int, Field(ge=1)]
PerAxis = tuple[Positive, Positive, Positive]
"""A number of voxels along z, y, x."""
ConvolutionPass = tuple[PerAxis, ...]
"""Kernel shapes of the convolutions that follow one another at one level."""


class UNetConfig(Config):
    """A U-Net; levels count from the full resolution (0) down to the bottleneck.

    Upsampling is by voxel repetition, by a learned kernel of exactly the downsampling factor, or by
    linear interpolation without the voxels for which it would need a neighbour beyond the border. All
    keep the network exactly equivariant to shifts by the product of its factors.
    """

    feature_maps: Positive | tuple[Positive, ...] = Field(
        12, description="Feature maps at full resolution, or at every level, bottleneck last."
    )
    growth: float = Field(
        5, ge=1, description="Each level below has this many times the feature maps, unless they are given per level."
    )
    downsampling: tuple[PerAxis, ...] = Field(
        ((2, 2, 2), (2, 2, 2)), description="Downsampling factors [z, y, x] between each level and the next."
    )
    kernels_down: tuple[ConvolutionPass, ...] | None = Field(
        None,
        description="Kernel shapes of the convolutions per level on the way down, the bottleneck last. "
        "Default: two of [3, 3, 3] at every level.",
    )
    kernels_up: tuple[ConvolutionPass, ...] | None = Field(
        None, description="Kernel shapes per level on the way up, full resolution first. Default: as on the way down."
    )
    padding: Literal["valid", "same"] = Field(
        "valid",
        description="'valid' convolutions shrink the output, every voxel of which sees real context; 'same' pads "
        "with zeros, so that output and input have one shape. Prediction never pads, whichever was trained.",
    )
    activation: Literal["relu", "leaky_relu", "elu", "silu"] = "relu"
    residual: bool = Field(False, description="Add the input of every level's convolutions to their output.")
    pre_activation: bool = Field(
        False, description="Normalisation and activation come before a convolution instead of after it."
    )
    skip: Literal["concatenate", "add"] = Field(
        "concatenate", description="How features of the way down join those of the way up."
    )
    upsampling: Literal["nearest", "projected", "transposed", "linear"] = Field(
        "nearest",
        description="'nearest' repeats voxels (published as constant upsampling); 'projected' first brings the "
        "feature maps down to those of the level above with a 1x1x1 convolution, much cheaper; 'transposed' learns "
        "a transposed convolution; 'linear' interpolates after such a 1x1x1 convolution, and loses the voxels beyond "
        "the outermost centres.",
    )
    normalisation: Literal["none", "batch", "group"] = Field(
        "none",
        description="'batch' uses running statistics when predicting. 'group' takes statistics over the patch, so "
        "what is predicted depends on where patches lie: refused wherever blocks must agree.",
    )
    equivariant_crop: bool = Field(
        False,
        description="Crop feature maps on the way up so that the output is a multiple of the product of the "
        "downsampling factors (valid convolutions only). Prediction here aligns patches and needs no such crop.",
    )

    @property
    def levels(self) -> int:
        """Number of downsampling steps."""
        return len(self.downsampling)

    @property
    def passes_down(self) -> tuple[ConvolutionPass, ...]:
        """Kernel shapes per level on the way down, bottleneck last."""
        return self.kernels_down or (((3, 3, 3), (3, 3, 3)),) * (self.levels + 1)

    @property
    def passes_up(self) -> tuple[ConvolutionPass, ...]:
        """Kernel shapes per level on the way up, full resolution first."""
        return self.kernels_up or self.passes_down[: self.levels]

    @property
    def is_local(self) -> bool:
        """Whether an output voxel depends on a fixed neighbourhood only, once trained."""
        return self.normalisation != "group"

    def feature_maps_at(self, level: int) -> int:
        """Return the number of feature maps at `level`."""
        if isinstance(self.feature_maps, tuple):
            return self.feature_maps[level]
        return round(self.feature_maps * self.growth**level)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.passes_down) != self.levels + 1:
            raise ValueError(
                f"kernels_down has {len(self.passes_down)} levels; {self.levels} downsampling steps need "
                f"{self.levels + 1} (the bottleneck counts)"
            )
        if len(self.passes_up) != self.levels:
            raise ValueError(f"kernels_up has {len(self.passes_up)} levels; downsampling has {self.levels}")
        for kernels in (*self.passes_down, *self.passes_up):
            if not kernels or any(size % 2 == 0 for kernel in kernels for size in kernel):
                raise ValueError(
                    f"every level needs at least one convolution, and kernels must be odd; found {kernels}"
                )
        if isinstance(self.feature_maps, tuple) and len(self.feature_maps) != self.levels + 1:
            raise ValueError(
                f"feature_maps names {len(self.feature_maps)} levels; {self.levels} downsampling steps need "
                f"{self.levels + 1} (the bottleneck counts)"
            )
        if self.skip == "add" and self.upsampling == "nearest" and self.levels:
            raise ValueError(
                "skip: add needs as many feature maps from below as there are above; with upsampling: nearest there "
                "are those of the level below: use projected, transposed or linear"
            )
        if self.equivariant_crop and self.padding == "same":
            raise ValueError("equivariant_crop needs padding: valid; with 'same' there is nothing to crop")
        return self


class NetworkConfig(Config):
    """A U-Net and the 1x1x1 sigmoid heads on its feature maps at full resolution."""

    in_channels: Positive = 1
    unet: UNetConfig = UNetConfig()
    heads: dict[str, Positive] = Field(
        {"affinities": 3}, min_length=1, description="Name and number of channels of every output."
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        wrong = [name for name in self.heads if not name.isidentifier()]
        if wrong:
            raise ValueError(f"a head's name must be a plain identifier, found {wrong}")
        return self


def architecture_differences(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> str:
    """Name the settings in which two dumped network configurations differ; empty if they are equal.

    >>> architecture_differences({"unet": {"growth": 2}}, {"unet": {"growth": 3}})
    'unet.growth is 2, not 3'
    """
    lines = []
    for key in sorted({*found, *wanted}):
        there, here = found.get(key), wanted.get(key)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            below = architecture_differences(there, here, f"{prefix}{key}.")
            lines += [below] if below else []
        elif there != here:
            lines.append(f"{prefix}{key} is {there}, not {here}")
    return "; ".join(lines)
