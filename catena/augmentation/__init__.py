"""Augmentations of other packages, or plain callables, applied to all arrays of a batch consistently.

:class:`~catena.augmentation.batch.BatchAugmentation` works on tensors ``(b, c, z, y, x)`` of any
device; :class:`catena.nodes.augment.Augment` makes a gunpowder node of it.
"""

from catena.augmentation.roles import GEOMETRY_DEPENDENT, NEAREST, Role

__all__ = ["GEOMETRY_DEPENDENT", "NEAREST", "Role"]
