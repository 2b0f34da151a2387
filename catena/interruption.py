"""Ctrl-C and SIGTERM noted rather than acted upon, so that work can come to an orderly end."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Context in which SIGINT and SIGTERM only set :attr:`signal`.

    Outside the main thread, where Python handles no signals, it changes nothing.

    Parameters
    ----------
    second_acts
        Whether a second signal acts at once, as it would have without this.

    Attributes
    ----------
    signal
        The last signal that came, None if none did.
    """

    def __init__(self, second_acts: bool = False) -> None:
        self.signal: signal.Signals | None = None
        self._second_acts = second_acts
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        if self._second_acts:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            # None: a handler that Python did not install, and cannot put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @property
    def name(self) -> str:
        """The signal's name."""
        return (self.signal or signal.SIGINT).name
