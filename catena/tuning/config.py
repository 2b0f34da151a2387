"""Which settings of segmentation are tried, within which bounds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from catena.config import Config
from catena.segmentation.config import FragmentsConfig, parse_merge_function

Method = Literal["basins", "seeded", "mutex"]
Unit = Annotated[float, Field(ge=0, le=1)]
Bias = Annotated[float, Field(ge=-1, le=1)]
Voxels = Annotated[int, Field(ge=0)]
METHODS: tuple[Method, ...] = ("basins", "seeded", "mutex")
OF_METHOD: dict[str, tuple[str, ...]] = {
    "basins": ("threshold", "grow", "distance_cap"),
    "seeded": ("threshold", "grow", "seed_window", "minimum_size", "minimum_mean_affinity", "epsilon_agglomerate"),
    "mutex": (
        "threshold",
        "grow",
        "attractive_bias",
        "repulsive_bias",
        "minimum_size",
        "minimum_mean_affinity",
        "epsilon_agglomerate",
    ),
}
"""Settings of fragments that are tried with each method; all others stay as configured."""


class TuneConfig(Config):
    """What `catena tune` tries, as [lowest, highest] of every setting of fragments; twice the same keeps it fixed.

    Every merge function and every threshold of the lookup tables is tried with every choice of fragments.
    """

    trials: int = Field(50, ge=1, description="Choices of fragments to try.")
    random_trials: int = Field(10, ge=1, description="The first ones are drawn at random; the others learn from them.")
    methods: tuple[Method, ...] | None = Field(
        None, min_length=1, description="Of fragments. Default: all that can work with the affinities."
    )
    merge_functions: tuple[str, ...] = Field(
        ("mean", "hist_quant_10", "hist_quant_25", "hist_quant_50", "hist_quant_75", "hist_quant_90"),
        min_length=1,
        description="Of agglomeration.",
    )
    context_vox: int = Field(
        100,
        ge=0,
        description="Voxels (of the smallest edge) around the validation region that are segmented with it: what meets "
        "only there is one object all the same, and the more of the volume is seen the truer the scores are.",
    )
    threshold: tuple[Unit, Unit] = Field((0.1, 0.8), description="As fragments.threshold.")
    grow: tuple[Voxels, Voxels] = Field((0, 16), description="As fragments.grow.")
    distance_cap: tuple[Voxels, Voxels] = Field((4, 32), description="basins: as fragments.distance_cap.")
    seed_window: tuple[Voxels, Voxels] = Field((3, 24), description="seeded: as fragments.seed_window.")
    minimum_size: tuple[Voxels, Voxels] = Field((0, 500), description="seeded, mutex: as fragments.minimum_size.")
    minimum_mean_affinity: tuple[Unit, Unit] = Field(
        (0.0, 0.5), description="seeded, mutex: as fragments.minimum_mean_affinity."
    )
    epsilon_agglomerate: tuple[Unit, Unit] = Field(
        (0.0, 0.2), description="seeded, mutex: as fragments.epsilon_agglomerate."
    )
    attractive_bias: tuple[Bias, Bias] = Field((-0.7, -0.1), description="mutex: as fragments.attractive_bias.")
    repulsive_bias: tuple[Bias, Bias] = Field((-1.0, -0.3), description="mutex: as fragments.repulsive_bias.")

    @model_validator(mode="after")
    def _can_be_tried(self) -> Self:
        for method in self.methods or METHODS:
            for name in OF_METHOD[method]:
                low, high = getattr(self, name)
                if low > high:
                    raise ValueError(f"{name} [{low}, {high}]: the lowest value comes first")
                for value in (low, high):
                    FragmentsConfig.parse({"method": method, name: value}, f"tune.{name} {value}")
        for function in self.merge_functions:
            parse_merge_function(function)
        return self
