"""What can be chosen between affinities and segmentation."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from funlib.geometry import Coordinate
from pydantic import Field, PositiveInt, field_validator, model_validator

from catena.config import Config
from catena.errors import ConfigError

ANISOTROPY_PER_SECTION = 2.0
"""From this ratio of section thickness to pixel size on, fragments are made section by section."""

_OF_MUTEX = frozenset({"attractive_bias", "repulsive_bias", "repulsive_stride", "mutex_context"})
_MERGE_FUNCTION = re.compile(r"^(mean|hist_quant_([1-9]\d?)(_initmax)?)$")


class FragmentsConfig(Config):
    """How affinities are cut into fragments."""

    method: Literal["basins", "seeded", "mutex"] = Field(
        "basins",
        description="basins: every voxel follows its steepest neighbour on the capped distance to the boundary; the"
        " result does not depend on the block layout. seeded: watershed from the maxima of the distance, as published;"
        " it depends on the layout near block faces. mutex: the mutex watershed, from short- and long-range affinities;"
        " it depends on the layout near block faces too.",
    )
    per_section: bool | None = Field(
        None,
        description="Make fragments in every section on its own, from the in-plane affinities only. null: chosen from"
        " the voxel size (sections at least 2 times as thick as a pixel is wide).",
    )
    threshold: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="A voxel is inside a neuron if the mean of its short-range affinities is above this value.",
    )
    grow: int = Field(
        8,
        ge=0,
        le=32,
        description="Fragments grow into the boundary by up to this many voxels (of the smallest edge), each boundary"
        " voxel to the nearest fragment. 0: boundaries stay 0, as published.",
    )
    distance_cap: int = Field(
        16,
        ge=2,
        le=32,
        description="basins: distances to the boundary beyond this many voxels (of the smallest edge) count as equal."
        " It sets the context that blocks read.",
    )
    seed_window: int = Field(
        10,
        ge=1,
        description="seeded: a seed is a maximum of the distance within a window of this many voxels (of the smallest"
        " edge; fewer along thicker axes).",
    )
    seeded_context: int = Field(
        16,
        ge=0,
        description="seeded: context around a block in voxels (of the smallest edge).",
    )
    minimum_mean_affinity: float = Field(
        0.0,
        ge=0,
        le=1,
        description="seeded, mutex: fragments whose mean affinity is below this value are dropped. Refused for basins:"
        " a block sees only a piece of a basin, so that the result would depend on the layout.",
    )
    minimum_size: int = Field(
        0,
        ge=0,
        description="seeded, mutex: fragments of fewer voxels are dropped. Refused for basins, as"
        " minimum_mean_affinity is.",
    )
    epsilon_agglomerate: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="seeded, mutex: fragments of a block are merged first with waterz (mean affinity) up to this score."
        " 0: not at all.",
    )
    attractive_bias: float = Field(
        -0.4,
        ge=-1,
        le=1,
        description="mutex: added to short-range affinities; a positive sum joins two voxels, a negative one keeps them"
        " apart, and the largest absolute sums come first.",
    )
    repulsive_bias: float = Field(
        -0.7, ge=-1, le=1, description="mutex: added to long-range affinities, likewise; lower values split more."
    )
    repulsive_stride: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (1, 1, 1),
        description="mutex: only every n-th long-range affinity along each axis z, y, x counts; larger strides split"
        " less and are faster.",
    )
    mutex_context: int = Field(16, ge=0, description="mutex: context around a block in voxels (of the smallest edge).")

    @model_validator(mode="after")
    def _refuse_what_depends_on_the_layout(self) -> Self:
        names = ("minimum_mean_affinity", "minimum_size", "epsilon_agglomerate")
        given = [name for name in names if getattr(self, name) > 0]
        if self.method == "basins" and given:
            raise ValueError(
                f"{' and '.join(given)} would make the result of method 'basins' depend on the block layout; set"
                " method: seeded, or leave it at 0"
            )
        return self

    def result_settings(self) -> dict[str, Any]:
        """Return what fragments depend on, as plain values: without what only another method looks at."""
        unused = frozenset() if self.method == "mutex" else _OF_MUTEX
        return self.model_dump(mode="json", include=set(FragmentsConfig.model_fields) - unused)

    def sectionwise(self, voxel_size: Coordinate) -> bool:
        """Return whether fragments are made section by section in data of `voxel_size`."""
        if self.per_section is not None:
            return self.per_section
        return bool(voxel_size[0] >= ANISOTROPY_PER_SECTION * min(voxel_size[1:]))


class AgglomerateConfig(Config):
    """How fragments are merged into neurons."""

    merge_function: str = Field(
        "hist_quant_75",
        description="The score of a contact: mean (1 - mean affinity) or hist_quant_Q (1 - the Q-th percentile of the"
        " affinities, Q from 1 to 99); with _initmax each contact of two fragments counts only with its maximum.",
    )
    scope: Literal["graph", "blocks"] = Field(
        "graph",
        description="graph: one agglomeration over the whole region adjacency graph, the same for every block layout."
        " blocks: waterz in every block with context, as published, for graphs larger than one machine's memory.",
    )
    histogram_bins: int = Field(
        64,
        ge=2,
        le=256,
        description="graph: bins of the affinity histogram that every edge keeps for hist_quant_Q. 64 bins let 10"
        " million edges agglomerate in 8 GB; waterz has 256.",
    )
    block_context: int = Field(
        48,
        ge=1,
        description="blocks: context around a block in voxels (of the smallest edge). With 24, as published, blocks of"
        " 84 voxels cubed differed from the whole volume by a quarter of a bit; with 48 by less than 0.05.",
    )

    @field_validator("merge_function")
    @classmethod
    def _known(cls, name: str) -> str:
        parse_merge_function(name)
        return name

    @property
    def bins(self) -> int:
        """Return the number of histogram bins that the merge function needs; 0 for the mean."""
        return 0 if parse_merge_function(self.merge_function)[0] is None else self.histogram_bins


def parse_merge_function(name: str) -> tuple[int | None, bool]:
    """Return the percentile (None for the mean) and whether contacts start with their maximum only.

    >>> parse_merge_function("hist_quant_75_initmax")
    (75, True)

    Raises
    ------
    ConfigError
        If there is no merge function of that name.
    """
    found = _MERGE_FUNCTION.match(name)
    if found is None:
        raise ConfigError(
            f"no merge function {name!r}; there are 'mean', 'hist_quant_Q' and 'hist_quant_Q_initmax' with Q from 1"
            " to 99"
        )
    quantile = found.group(2)
    return (None if quantile is None else int(quantile)), found.group(3) is not None
