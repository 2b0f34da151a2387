"""Pauses between tries to reach a server, growing until patience is at its end."""

from __future__ import annotations

import time

FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0


class Pauses:
    """Growing pauses until `patience_s` have passed since the first failure."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._next_s = FIRST_PAUSE_S
        self._deadline: float | None = None

    @property
    def left_s(self) -> float:
        """Seconds left."""
        return self._patience_s if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether it is time to give up; the first question starts the clock."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._patience_s
        return time.monotonic() >= self._deadline

    def wait(self) -> None:
        """Wait for a while, longer each time."""
        time.sleep(min(self._next_s, self.left_s))
        self._next_s = min(2 * self._next_s, _LONGEST_PAUSE_S)
