"""Say what is going on, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what was done and its wall time, so that a long run can be followed."""
    began = time.monotonic()
    yield
    print(f"{time.strftime('%H:%M:%S')} {what}: {time.monotonic() - began:.1f} s", flush=True)


def shortest(work: Callable[[], Result], repeats: int = 3) -> tuple[float, Result]:
    """Return the shortest wall time of some repeats, and the result; the first call, which may compile, does not count.

    On a shared machine the shortest time is the one that others disturbed least.
    """
    result = work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return min(seconds), result
