"""Processes that torchrun has started: one of them runs the experiment, the others help it to train."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

from catena.errors import CatenaError, StageError
from catena.training.place import PATIENCE, Place, Work

_POLL_S = 0.2


def by_torchrun() -> bool:
    """Tell whether torchrun has started this process, and others with it."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_follower() -> bool:
    """Tell whether torchrun has started this process, and another one leads."""
    return by_torchrun() and os.environ["RANK"] != "0"


@contextmanager
def leading() -> Iterator[None]:
    """Have processes that :func:`follow_torchrun` take part in every training while it lasts.

    Nothing where torchrun has not started this process.
    """
    if not by_torchrun():
        yield
        return
    torchrun().led = True
    try:
        yield
    finally:
        torchrun().announce(None)


def follow_torchrun() -> None:
    """Take part in every training of the leading process, until it has no more.

    Raises
    ------
    StageError
        If the processes have lost one another.
    """
    while (follow := torchrun().awaited()) is not None:
        try:
            follow(torchrun().next_training())
        except RuntimeError as error:
            if isinstance(error, CatenaError):
                raise
            raise StageError(f"the processes that train together have lost one another: {error}") from error


@dataclass
class Torchrun:
    """The part of a process among those of a torchrun, and how far they have come together.

    Attributes
    ----------
    place
        Of the process; its store serves the whole run.
    led
        Whether the others wait to be told what to do, rather than run the same script.
    """

    place: Place
    led: bool = False
    trainings: int = 0
    announcements: int = 0

    def next_training(self, follow: Work | None = None) -> Place:
        """Return the place in the next training, with a store of its own, and tell those who wait for it."""
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]

        if self.led and follow is not None:
            self.announce(follow)
        self.trainings += 1
        return replace(self.place, store=PrefixStore(f"catena/training_{self.trainings}", self.place.store))

    def announce(self, follow: Work | None) -> None:
        """Tell those who wait what comes next: a training, or None for the end."""
        self.place.store.set(self._next_key(), pickle.dumps(follow))

    def awaited(self) -> Work | None:
        """Wait for what is announced next."""
        key = self._next_key()
        while not self.place.store.check([key]):  # a wait inside the store would hold back signals
            time.sleep(_POLL_S)
        follow: Work | None = pickle.loads(self.place.store.get(key))  # from the leader, never from a disk
        return follow

    def _next_key(self) -> str:
        self.announcements += 1
        return f"catena/announcement_{self.announcements}"


@cache
def torchrun() -> Torchrun:
    """Return this process's part in the torchrun that has started it."""
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    return Torchrun(Place(rank, size, int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]), store))
