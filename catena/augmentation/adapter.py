"""What a foreign augmentation is turned into: something that acts on arrays with roles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from catena.augmentation.roles import GEOMETRY_DEPENDENT, Role
from catena.errors import ConfigError
from catena.nodes.extra_config import Kind

Arrays = dict[str, Tensor]


@dataclass(frozen=True)
class Context:
    """What is known about the arrays of a batch.

    Attributes
    ----------
    roles
        By name of the array.
    voxel_size
        Along ``z, y, x``, any unit.
    seed
        Of this batch, for augmentations with a generator of their own.
    """

    roles: Mapping[str, Role]
    voxel_size: tuple[float, float, float] = (1, 1, 1)
    seed: int = 0

    def names(self, *roles: Role) -> list[str]:
        """Return the names of the arrays of these roles."""
        return [name for name, role in self.roles.items() if role in roles]


@dataclass
class Adapter(ABC):
    """An augmentation that acts on float32 arrays ``(b, c, z, y, x)`` with roles.

    Images lie in [0, 1], labels are dense numbers (see :class:`~catena.augmentation.dense_labels.DenseLabels`).
    Random numbers come from global states, seeded outside.
    """

    augmentation: Any
    kind: Kind = field(default="intensity")

    @property
    def name(self) -> str:
        """What messages call it."""
        made = getattr(self.augmentation, "func", self.augmentation)  # of a functools.partial
        shown = made if hasattr(made, "__qualname__") else type(made)
        return f"{shown.__module__}.{shown.__qualname__}"

    def check_roles(self, context: Context) -> None:
        """Refuse arrays of a role that this augmentation would make wrong.

        Raises
        ------
        ConfigError
            Naming the augmentation and the array.
        """
        if self.kind == "intensity":
            return
        dependent = context.names(*GEOMETRY_DEPENDENT)
        if dependent:
            raise self.refusal(
                f"moves voxels, and {', '.join(dependent)} depend on directions between voxels: "
                "augment labels, and compute targets from them afterwards"
            )

    def try_out(self, context: Context) -> None:
        """Refuse what a small batch already shows not to work, whatever numbers are drawn.

        Raises
        ------
        ConfigError
            As :meth:`check_roles`.
        """
        return

    @abstractmethod
    def apply(self, arrays: Arrays, context: Context) -> Arrays:
        """Return the arrays that changed."""

    def refusal(self, reason: str) -> ConfigError:
        """Return the error that says why this augmentation cannot be used."""
        return ConfigError(f"{self.name} {reason}")
