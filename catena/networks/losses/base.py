"""What every loss is: its settings, and a scalar of prediction, target and weight."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from catena.config import Config
from catena.errors import nearest_names

if TYPE_CHECKING:
    from torch import Tensor

Offsets = Sequence[Sequence[int]]
"""Of affinities: per channel the step z, y, x in voxels from a voxel to the one it is joined to."""


class Loss(Config):
    """One term of a head's loss.

    A subclass adds its name as the default of ``type``, its parameters as fields, and ``__call__``; the
    registry :data:`catena.networks.losses.LOSSES` names all of them. No subclass imports torch when it
    is loaded: configuration stays quick.
    """

    needs_offsets: ClassVar[bool] = False
    """Whether the loss looks at which voxels an affinity joins."""

    weight: float = Field(1.0, gt=0, description="Factor of this term in its head's loss.")

    @abstractmethod
    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Return the loss, before the factor ``self.weight``.

        Parameters
        ----------
        prediction
            ``(b, c, z, y, x)`` float in [0, 1]: the sigmoid is taken already.
        target
            Of the same shape, in [0, 1].
        weight
            Non-negative, of the same shape or broadcastable to it; 0 where nothing is known.
        offsets
            Of the channels, if they are affinities.

        Returns
        -------
        Tensor
            A scalar; 0 where all weights are 0.
        """

    @model_validator(mode="before")
    @classmethod
    def _knows_its_parameters(cls, values: Any) -> Any:
        """Name a loss's own parameters: the report on a union of losses would name those of another one."""
        if isinstance(values, Mapping):
            unknown = [str(key) for key in values if key not in cls.model_fields]
            if unknown:
                valid = ", ".join(name for name in cls.model_fields if name != "type")
                raise ValueError(
                    f"the loss {cls.model_fields['type'].default} has no parameter {', '.join(map(repr, unknown))} "
                    f"({nearest_names(unknown[0], cls.model_fields)}); its parameters are {valid}"
                )
        return values
