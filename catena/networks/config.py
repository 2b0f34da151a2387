"""What a network looks like: a U-Net with mixed 2D and 3D kernels, and its output heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from catena.config import Config
from catena.errors import ConfigError, nearest_names

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

    @property
    def aligned(self) -> bool:
        """Whether the output shifts with the input exactly, for prediction in patches: neither padded nor cropped."""
        return self.padding == "valid" and not self.equivariant_crop

    @property
    def unpadded(self) -> Self:
        """The same with valid convolutions and no crop."""
        return self.model_copy(update={"padding": "valid", "equivariant_crop": False})

    @property
    def peak_maps(self) -> int:
        """Feature maps at full resolution that are there at once, at most: joined and convolved."""
        maps = self.feature_maps_at(0)
        joined = maps + self.feature_maps_at(1 if self.upsampling == "nearest" and self.levels else 0)
        return 2 * joined + (2 if self.residual else 1) * maps

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

    architecture: Literal["unet"] = "unet"
    in_channels: Positive = 1
    unet: UNetConfig = UNetConfig()
    heads: dict[str, Positive] = Field(
        {"affinities": 3}, min_length=1, description="Name and number of channels of every output."
    )

    @property
    def trained_heads(self) -> dict[str, int]:
        """Name and number of channels of every head that training changes."""
        return self.heads

    @property
    def is_local(self) -> bool:
        """Whether an output voxel depends on a fixed neighbourhood only, once trained."""
        return self.unet.is_local

    @property
    def unpadded(self) -> Self:
        """The same network as it predicts: with valid convolutions and no crop."""
        return self.model_copy(update={"unet": self.unet.unpadded})

    @property
    def peak_maps(self) -> int:
        """Feature maps at full resolution that are there at once, at most."""
        return self.unet.peak_maps

    @model_validator(mode="after")
    def _names(self) -> Self:
        wrong = [name for name in self.heads if not name.isidentifier()]
        if wrong:
            raise ValueError(f"a head's name must be a plain identifier, found {wrong}")
        return self


class AutocontextConfig(Config):
    """Two networks one after the other: raw → descriptors → affinities (ACLSD, ACRLSD)."""

    architecture: Literal["autocontext"] = "autocontext"
    first: NetworkConfig = Field(description="From raw to descriptors.")
    second: NetworkConfig = Field(description="From descriptors, and raw if `with_raw`, to affinities.")
    passed_on: str = Field("lsds", description="The head of the first that the second sees.")
    with_raw: bool = Field(False, description="Whether the second sees raw too (ACRLSD), after the descriptors.")
    train_first: bool = Field(
        False, description="Whether the first is trained together with the second; else it stays what it is."
    )

    @property
    def in_channels(self) -> int:
        """Channels of raw."""
        return self.first.in_channels

    @property
    def heads(self) -> dict[str, int]:
        """Name and number of channels of every output: the first's, then the second's."""
        return {**self.first.heads, **self.second.heads}

    @property
    def trained_heads(self) -> dict[str, int]:
        """Name and number of channels of every head that training changes."""
        return self.heads if self.train_first else self.second.heads

    @property
    def is_local(self) -> bool:
        """Whether an output voxel depends on a fixed neighbourhood only, once trained."""
        return self.first.is_local and self.second.is_local

    @property
    def unpadded(self) -> Self:
        """The same networks as they predict: with valid convolutions and no crop."""
        return self.model_copy(update={"first": self.first.unpadded, "second": self.second.unpadded})

    @property
    def peak_maps(self) -> int:
        """Feature maps at full resolution that are there at once, at most."""
        return max(self.first.peak_maps, self.second.peak_maps) + sum(self.first.heads.values())

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        passed = self.first.heads.get(self.passed_on)
        if passed is None:
            raise ValueError(f"the first network has no head {self.passed_on}; it has {sorted(self.first.heads)}")
        expected = passed + (self.first.in_channels if self.with_raw else 0)
        if self.second.in_channels != expected:
            raise ValueError(
                f"second.in_channels is {self.second.in_channels}, but it is given {expected}: {passed} of "
                f"{self.passed_on}{' and those of raw' if self.with_raw else ''}"
            )
        twice = sorted({*self.first.heads} & {*self.second.heads})
        if twice:
            raise ValueError(f"both networks have a head {', '.join(twice)}; give them different names")
        if self.first.unet.padding != self.second.unet.padding:
            raise ValueError(
                f"padding of the first is {self.first.unet.padding}, of the second {self.second.unet.padding}; weights "
                "serve either, so give both the same"
            )
        return self


AnyNetworkConfig = NetworkConfig | AutocontextConfig


def parse_network_config(values: Mapping[str, Any], where: str = "network_config") -> AnyNetworkConfig:
    """Validate the configuration of whichever network it is, told by ``architecture`` (a U-Net if there is none).

    Raises
    ------
    ConfigError
        If it is not the configuration of a network.
    """
    known: dict[str, type[NetworkConfig | AutocontextConfig]] = {
        "unet": NetworkConfig,
        "autocontext": AutocontextConfig,
    }
    architecture = str(values.get("architecture", "unet"))
    if architecture not in known:
        raise ConfigError(f"{where}: unknown architecture {architecture!r} ({nearest_names(architecture, known)})")
    return known[architecture].parse(values, where)


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
