"""The model of an experiment: its network, its heads, and how they follow from type and voxel size."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, Self

from funlib.geometry import Coordinate
from pydantic import Field, model_validator

from catena.config import Config
from catena.errors import ConfigError
from catena.networks.config import (
    AnyNetworkConfig,
    AutocontextConfig,
    ConvolutionPass,
    NetworkConfig,
    PerAxis,
    Positive,
    UNetConfig,
)
from catena.networks.rsunet import RSUNET
from catena.networks.voxel_size import unet_for_voxel_size
from local_shape_descriptors.heads import (
    NEIGHBOURHOODS,
    NEURONS,
    SHORT,
    HeadConfig,
    Offsets,
    fill_heads,
    named_neighbourhood,
)

AUTOCONTEXT = ("aclsd", "acrlsd")
LSDS = "lsds"
"""The head that the first network of autocontext passes on."""


class FirstConfig(Config):
    """Autocontext (aclsd, acrlsd): the network that describes shapes for the one that predicts affinities."""

    iterations: int | None = Field(
        None,
        ge=1,
        description="Of its own training, before the second's, where inputs.first names no trained one. Default: "
        "train.iterations.",
    )
    trained: bool = Field(
        False, description="Whether it goes on being trained with the second. Default: it is frozen, as published."
    )


class ModelConfig(Config):
    """The network and what it is trained to predict; what is not given follows from the voxel size."""

    type: Literal["aff", "lsd", "mtlsd", "mtlsdmito", "aclsd", "acrlsd"] = Field(
        "mtlsd",
        description="aff: affinities; lsd: local shape descriptors; mtlsd: both from one network; mtlsdmito: and "
        "affinities of mitochondria; aclsd: affinities from the descriptors that a first network predicts; acrlsd: "
        "from these and raw.",
    )
    dimensions: Literal[2, 3] = Field(
        3, description="2: every section on its own, with affinities and descriptors in plane."
    )
    neighbourhood: Offsets = Field(
        SHORT,
        min_length=2,
        description="Affinity offsets z, y, x, or the name of a published set: " + ", ".join(NEIGHBOURHOODS) + ".",
    )
    heads: dict[str, HeadConfig] = Field(
        default_factory=dict,
        min_length=1,
        description="Outputs by name: changes to those that the type brings, and any further ones.",
    )
    first: FirstConfig = FirstConfig()
    lsd_sigma_nm: float = Field(80.0, gt=0, description="Standard deviation of the descriptors' Gaussian window.")
    lsd_downsample: int = Field(2, ge=1, description="Descriptors are computed at every n-th voxel.")
    levels: int = Field(3, ge=1, description="Downsampling steps, chosen from the voxel size.")
    factor: int = Field(2, ge=2, description="Downsampling factor of a step.")
    architecture: Literal["unet", "rsunet"] = Field(
        "unet", description="rsunet: the residual symmetric U-Net, where what follows is not given."
    )
    feature_maps: Positive | tuple[Positive, ...] = Field(
        12, description="Feature maps at full resolution, or at every level; more are better and slower."
    )
    growth: float = Field(5, ge=1, description="Every level below has this many times the feature maps.")
    downsampling: tuple[PerAxis, ...] | None = Field(None, description="Instead of `levels` and `factor`.")
    kernels_down: tuple[ConvolutionPass, ...] | None = Field(
        None, description="Kernel shapes per level on the way down, bottleneck last. Default: from the voxel size."
    )
    kernels_up: tuple[ConvolutionPass, ...] | None = Field(
        None, description="Kernel shapes per level on the way up, full resolution first. Default: from the voxel size."
    )
    padding: Literal["valid", "same"] = Field(
        "valid",
        description="valid: every output voxel sees real context. same: crops are padded with zeros in training, which "
        "is several times cheaper per output voxel; prediction never pads.",
    )
    activation: Literal["relu", "leaky_relu", "elu", "silu"] = Field("relu", description="After every convolution.")
    upsampling: Literal["nearest", "projected", "transposed", "linear"] = Field(
        "nearest", description="projected: as nearest (published), with fewer feature maps, much cheaper."
    )
    residual: bool = Field(False, description="Add the input of every level's convolutions to their output.")
    pre_activation: bool = Field(False, description="Normalisation and activation come before a convolution.")
    skip: Literal["concatenate", "add"] = Field(
        "concatenate", description="How features of the way down join those of the way up."
    )
    normalisation: Literal["none", "batch", "group"] = Field(
        "none",
        description="batch: running statistics when predicting; group: blocks would differ, prediction refuses it.",
    )
    equivariant_crop: bool = Field(False, description="Crop on the way up as published; prediction needs no such crop.")

    @model_validator(mode="before")
    @classmethod
    def _fill_from_type(cls, values: Any) -> Any:
        """Fill neighbourhood and heads with what type and dimensions say, so that a saved configuration says all."""
        if not isinstance(values, Mapping):
            return values
        flat = values.get("dimensions", 3) == 2
        preset = {"levels": 4, **RSUNET} if values.get("architecture") == "rsunet" else {}
        filled = {"neighbourhood": SHORT[1:] if flat else SHORT, **preset, **values}
        filled |= named_neighbourhood(filled)
        given = filled.get("heads") or {}
        if isinstance(given, Mapping):
            filled["heads"] = fill_heads(str(filled.get("type", "mtlsd")), given)
        return filled

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(set(self.neighbourhood)) < len(self.neighbourhood):
            raise ValueError(f"neighbourhood names an offset twice: {[list(each) for each in self.neighbourhood]}")
        if self.is_autocontext and self.heads.get(LSDS, HeadConfig(target="foreground")).target != LSDS:
            raise ValueError(f"heads.{LSDS}: type {self.type} passes local shape descriptors on; its target is lsds")
        if self.dimensions == 2:
            self._require_flat()
        for name, head in self.heads.items():
            if not name.isidentifier() or name == "affs":  # affs: what predictions of affinities are called
                raise ValueError(f"heads.{name}: a head needs a name of letters, digits and '_', other than 'affs'")
            if name in ("affinities", LSDS) and head.target != name:
                raise ValueError(f"heads.{name}: its target is {head.target}; give a head of that target another name")
            if head.neighbourhood is not None and head.target != "affinities":
                raise ValueError(f"heads.{name}.neighbourhood is for affinities; its target is {head.target}")
            if self.dimensions == 2 and any(offset[0] for offset in self.offsets(name)):
                raise ValueError(f"a 2D model has no affinities across sections; heads.{name} has {self.offsets(name)}")
        return self

    def _require_flat(self) -> None:
        """Refuse what was given of a 2D network if any of it looks or pools across sections."""
        passes = (*(self.kernels_down or ()), *(self.kernels_up or ()))
        given = [*(kernel for each in passes for kernel in each), *(self.downsampling or ())]
        deep = [list(each) for each in given if each[0] != 1]
        if deep:
            raise ValueError(f"a 2D model neither convolves nor pools along z; found {deep[0]}, expected [1, …]")

    @property
    def channels(self) -> dict[str, int]:
        """Channels of every output of the network."""
        return {name: head.channels(self.neighbourhood, self.dimensions) for name, head in self.heads.items()}

    @property
    def is_autocontext(self) -> bool:
        """Whether one network's descriptors are another one's input."""
        return self.type in AUTOCONTEXT

    def offsets(self, head: str) -> Offsets:
        """Return the affinity offsets of a head; none if it has another target."""
        settings = self.heads[head]
        return (settings.neighbourhood or self.neighbourhood) if settings.target == "affinities" else ()

    def labels(self) -> tuple[str, ...]:
        """Return the names of the labels that the heads are trained on, neurons first."""
        names = dict.fromkeys(head.labels for head in self.heads.values())
        return tuple(sorted(names, key=lambda name: name != NEURONS))

    def fingerprinted(self) -> dict[str, Any]:
        """Return as plain values what training depends on; heads in their order, on which the first weights depend."""
        values = self.model_dump(mode="json")
        targets = {head.target for head in self.heads.values()}
        # how long the first network was trained shows in its weights, which are an input of the pair's training
        unused = {"first"} if not self.is_autocontext else set()
        unused |= set() if "affinities" in targets else {"neighbourhood"}
        unused |= set() if LSDS in targets else {"lsd_sigma_nm", "lsd_downsample"}
        values = {name: each for name, each in values.items() if name not in unused}
        if self.is_autocontext:
            values["first"] = {"trained": self.first.trained}
        only_for = {"neighbourhood": "affinities", "distance_nm": "distance"}
        values["heads"] = [
            [name, {key: each for key, each in head.items() if head["target"] == only_for.get(key, head["target"])}]
            for name, head in values["heads"].items()
        ]
        return values

    def first_model(self) -> ModelConfig:
        """Return the model of the first network of autocontext: descriptors from raw."""
        return self.model_copy(update={"type": "lsd", "heads": {LSDS: self.heads[LSDS]}})

    def only(self, heads: Collection[str]) -> ModelConfig:
        """Return this model with these of its heads."""
        return self.model_copy(update={"heads": {name: each for name, each in self.heads.items() if name in heads}})

    def unet(self, voxel_size: Coordinate) -> UNetConfig:
        """Return the U-Net for data of `voxel_size` (any unit)."""
        settings: dict[str, Any] = {name: getattr(self, name) for name in _OF_THE_UNET}
        kernels = {"kernels_down": self.kernels_down, "kernels_up": self.kernels_up}
        settings |= {name: value for name, value in kernels.items() if value is not None}
        return unet_for_voxel_size(
            voxel_size,
            self.levels,
            self.factor,
            dimensions=self.dimensions,
            downsampling=self.downsampling,
            **settings,
        )

    def network(self, voxel_size: Coordinate, first: NetworkConfig | None = None) -> AnyNetworkConfig:
        """Return the network for data of `voxel_size` (any unit); `first`: of autocontext, where it is trained already.

        Raises
        ------
        ConfigError
            If the parts do not fit together.
        """
        unet = self.unet(voxel_size)
        if not self.is_autocontext:
            return NetworkConfig(unet=unet, heads=self.channels)
        first = first or NetworkConfig(unet=unet, heads=self.first_model().channels)
        alike = {"padding": unet.padding, "equivariant_crop": unet.equivariant_crop}  # weights serve either
        first = first.model_copy(update={"unet": first.unet.model_copy(update=alike)})
        channels = self.channels
        with_raw = self.type == "acrlsd"
        second = {
            "in_channels": channels.pop(LSDS) + with_raw * first.in_channels,
            "unet": unet.model_dump(),
            "heads": channels,
        }
        settings = {"first": first.model_dump(), "second": second, "with_raw": with_raw}
        return AutocontextConfig.parse({**settings, "train_first": self.first.trained}, "model")


def require_local(model: ModelConfig) -> None:
    """Refuse, before it is trained, a network whose values depend on where patches lie.

    Raises
    ------
    ConfigError
        If it normalises over the patch.
    """
    if model.normalisation == "group":
        raise ConfigError(
            "model.normalisation group depends on where patches lie, so neither validation nor blockwise prediction "
            "can use the network; take batch or none"
        )


_OF_THE_UNET = (
    "feature_maps",
    "growth",
    "padding",
    "activation",
    "residual",
    "pre_activation",
    "skip",
    "upsampling",
    "normalisation",
    "equivariant_crop",
)
