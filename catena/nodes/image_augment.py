"""What nodes that change an image, and never its labels, have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import gunpowder as gp
import numpy as np
from numpy.typing import NDArray

from catena.config import Config

Settings = TypeVar("Settings", bound=Config)


class ImageAugment(gp.BatchFilter, ABC, Generic[Settings]):
    """Change `raw` (float32 ``(z, y, x)`` in [-1, 1]) by a pure function of the request's seed.

    Nothing but `raw` is requested or touched. A subclass wraps one kernel, and sets `stream` to a
    number of its own, so that two nodes never draw the same numbers from one seed.

    Parameters
    ----------
    raw
        Key of the image.
    config
        Settings of the kernel.
    """

    stream: ClassVar[int | None] = None
    """Number of this node's random stream; None: that of the bare seed, which the oldest nodes draw from."""

    def __init__(self, raw: gp.ArrayKey, config: Settings):
        self.raw = raw
        self.config = config

    def setup(self) -> None:
        """Announce that only the image changes."""
        self.enable_autoskip()
        self.updates(self.raw, self.spec[self.raw])

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> None:
        """Augment the image in place of the one that came."""
        seed: Any = request.random_seed if self.stream is None else [request.random_seed, self.stream]
        batch[self.raw].data = self.change(np.random.default_rng(seed), batch[self.raw].data)

    @abstractmethod
    def change(self, rng: np.random.Generator, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the augmented image; the given one stays as it is."""
