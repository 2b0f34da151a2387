"""Gunpowder nodes, one per file: thin shells around pure functions.

A node draws its random numbers from ``BatchRequest.random_seed`` alone, so a batch is a pure function
of the seed of its request. Nothing is imported here before it is asked for: gunpowder is slow to
load, and the command line reads :class:`~catena.nodes.augment_config.AugmentConfig` without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catena.nodes.augment import Augment

__all__ = ["Augment"]


def __getattr__(name: str) -> Any:
    if name != "Augment":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from catena.nodes.augment import Augment

    return Augment
