"""Ctrl-C and SIGTERM as a request to stop after the current iteration."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class StopRequest:
    """Context in which the first SIGINT or SIGTERM only sets :attr:`signal`; a second one acts at once.

    Outside the main thread, where Python handles no signals, it changes nothing.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
            for each in self._before:
                signal.signal(each, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._main:
            self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for each, handler in self._before.items():
            # None: a handler that Python did not install, and cannot put back
            signal.signal(each, signal.SIG_DFL if handler is None else handler)
