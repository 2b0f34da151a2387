"""What the outputs of a network are trained to be: the heads of a model, and those that its type brings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from catena.config import Config
from catena.errors import nearest_names
from catena.experiment import Name
from catena.networks.losses import Loss, LossTerm, MeanSquaredError

Offsets = tuple[tuple[int, int, int], ...]

NEURONS = "neurons"
"""The labels of a volume that are not among its ``other_labels``."""

SHORT: Offsets = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


def _along(*steps: int) -> Offsets:
    """Return the three directions at each of some distances."""
    return tuple((step * z, step * y, step * x) for step in steps for z, y, x in SHORT)


NEIGHBOURHOODS: dict[str, Offsets] = {
    "short": SHORT,
    "in_plane": SHORT[1:],
    "aff6": _along(1, 10),
    "aff12": (
        *((0, 0, -1), (0, -1, 0), (-1, 0, 0), (-2, 0, 0), (-3, 0, 0), (-4, 0, 0)),
        *((0, 0, -3), (0, 0, -9), (0, 0, -27), (0, -3, 0), (0, -9, 0), (0, -27, 0)),
    ),
    "fib25": _along(1, 3, 5, 13),
    "zebrafinch": (
        *_along(1, 3),
        *((-5, 0, 0), (0, -9, 0), (0, 0, -9), (-15, 0, 0), (0, -27, 0), (0, 0, -27)),
    ),
}
"""Published sets of affinity offsets, z, y, x, by the names by which a configuration may call them."""

TYPES: dict[str, dict[str, dict[str, Any]]] = {
    "aff": {"affinities": {}},
    "lsd": {"lsds": {}},
    "mtlsd": {"lsds": {}, "affinities": {}},
    "mtlsdmito": {
        "lsds": {},
        "affinities": {},
        "mitochondria": {"target": "affinities", "labels": "mitochondria", "neighbourhood": "short"},
    },
    "aclsd": {"lsds": {}, "affinities": {}},
    "acrlsd": {"lsds": {}, "affinities": {}},
}
"""Per model type: its heads, and the settings in which they differ from a head's defaults."""


class HeadConfig(Config):
    """One output of the network: what it is trained to be, on which labels, with which losses."""

    target: Literal["affinities", "lsds", "foreground", "contour", "distance"] = Field(
        description="affinities; lsds: local shape descriptors; foreground: inside an object; contour: at the rim of "
        "one; distance: signed distance to the rim. Default for heads called affinities or lsds: the name."
    )
    labels: Name = Field(NEURONS, description="neurons: `labels` of a volume; else a name among its `other_labels`.")
    neighbourhood: Offsets | None = Field(
        None, description="Of affinities: offsets z, y, x, or the name of a published set. Default: the model's."
    )
    weight: float = Field(1.0, gt=0, description="Of this head in the sum of all losses.")
    losses: tuple[LossTerm, ...] = Field(
        (MeanSquaredError(),), min_length=1, description="What is added up: of each loss its `type` and parameters."
    )
    distance_nm: float = Field(
        64.0, gt=0, description="Of the target distance: how deep inside an object its value is 0.88."
    )

    @property
    def weighted_losses(self) -> tuple[Loss, ...]:
        """The losses, each with the head's weight in its own."""
        return tuple(each.model_copy(update={"weight": each.weight * self.weight}) for each in self.losses)

    def channels(self, neighbourhood: Offsets, dimensions: int) -> int:
        """Return the number of channels; `neighbourhood` is the model's."""
        if self.target == "affinities":
            return len(self.neighbourhood or neighbourhood)
        if self.target == "lsds":
            return 10 if dimensions == 3 else 6
        return 1


def fill_heads(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the heads that a model's type brings, changed and followed by those that are given.

    Raises
    ------
    ValueError
        If a neighbourhood is called by a name that it has not.
    """
    heads = {name: {"target": name, **settings} for name, settings in TYPES.get(kind, {}).items()}
    for name, settings in given.items():
        if not isinstance(settings, Mapping):
            settings = settings.model_dump() if isinstance(settings, HeadConfig) else settings or {}
        named = {"target": name} if name in ("affinities", "lsds") else {}
        heads[name] = {**heads.get(name, named), **settings}
    return {name: {**each, **named_neighbourhood(each)} for name, each in heads.items()}


def named_neighbourhood(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the offsets that a neighbourhood called by its name stands for, as settings to merge.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    name = settings.get("neighbourhood")
    if not isinstance(name, str):
        return {}
    if name not in NEIGHBOURHOODS:
        raise ValueError(f"no neighbourhood is called {name!r} ({nearest_names(name, NEIGHBOURHOODS)})")
    return {"neighbourhood": NEIGHBOURHOODS[name]}
