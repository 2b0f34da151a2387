"""How fast training goes, and how much of the time it waits for crops."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

_Item = TypeVar("_Item")


@dataclass
class Clock:
    """Time since the start, and how much of it went into waiting for crops."""

    begin: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    steps: int = 0

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return time.perf_counter() - self.begin

    @property
    def per_second(self) -> float:
        """Steps per second."""
        return self.steps / self.elapsed if self.steps else 0.0

    @property
    def waiting_fraction(self) -> float:
        """Part of the time in which there was nothing to train on."""
        return self.waited / self.elapsed if self.steps else 0.0


def timed(items: Iterator[_Item], clock: Clock) -> Generator[_Item]:
    """Yield all items, and note in `clock` how long each was waited for."""
    while True:
        asked = time.perf_counter()
        item = next(items, None)
        if item is None:
            return
        if clock.steps == 0:
            clock.begin = time.perf_counter()  # opening data and starting workers are not the pipeline's speed
        else:
            clock.waited += time.perf_counter() - asked
        clock.steps += 1
        yield item
