"""A worker's connection to its scheduler, made anew where it breaks."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from catena.errors import StageError

PATIENCE_S = 300.0
_REFUSED_S = 5.0  # a machine that answers, and on which nobody listens any more: the run has ended
_PROBE_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0


class SchedulerConnection:
    """Acquires blocks and gives them back.

    When the connection breaks, it is made anew, with pauses that double. A block in hand is lost then: the
    scheduler, which saw the connection end, has it done again, to the same result. A link that carries nothing for a
    while breaks no connection; what was sent arrives later.

    Raises
    ------
    StageError
        From all methods, when the scheduler could not be reached for `PATIENCE_S`, or its machine
        answers that nobody listens.
    """

    def __init__(self) -> None:
        import daisy.v2 as daisy

        self._context = daisy.Context.from_env()
        self._host, self._port = self._context["hostname"], int(self._context["port"])
        self.worker_id = int(self._context["worker_id"])
        self._pause_s = _FIRST_PAUSE_S
        self._broken_since: float | None = None
        self._client: Any = None
        try:
            # unlike later, a refusal means that the run has ended: there is then no block to acquire
            self._client = daisy.Client(self._context)
        except (RuntimeError, OSError) as error:
            self._reconnect(error)

    @contextmanager
    def acquire_block(self) -> Iterator[Any]:
        """Hand out a block of Daisy's, whose status may be set, or None when none is left; take it back after."""
        try:
            with ExitStack() as lent:
                acquired = self._acquire(lent)
                yield acquired
        except RuntimeError as error:
            _require_broken_connection(error)
            print("the connection broke before the block was given back; it will be done again", flush=True)
            self._reconnect(error)

    def _acquire(self, lent: ExitStack) -> Any:
        while True:
            try:
                acquired = lent.enter_context(self._client.acquire_block())
            except RuntimeError as error:
                _require_broken_connection(error)
                self._reconnect(error)
            else:
                self._pause_s, self._broken_since = _FIRST_PAUSE_S, None
                return acquired

    def _reconnect(self, cause: Exception) -> None:
        """Connect again; pauses and patience go on from where they were until a block has been acquired."""
        print(f"no connection to {self._host}:{self._port} ({cause}); trying again", flush=True)
        if self._broken_since is None:
            self._broken_since = time.monotonic()
        while True:
            time.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            failure = self._try()
            if failure is None:
                return
            patience = _REFUSED_S if isinstance(failure, ConnectionRefusedError) else PATIENCE_S
            if time.monotonic() - self._broken_since > patience:
                raise StageError(f"lost the scheduler at {self._host}:{self._port}: {failure}") from failure

    def _try(self) -> Exception | None:
        """Connect, or return why that cannot be done."""
        import daisy.v2 as daisy

        try:
            # Daisy's own attempt would last minutes where packets are lost
            socket.create_connection((self._host, self._port), timeout=_PROBE_S).close()
            client = daisy.Client(self._context)
        except (RuntimeError, OSError) as error:
            return error
        if not client.connected:
            return ConnectionRefusedError("nobody listens there")
        self._client = client
        return None


def _require_broken_connection(error: RuntimeError) -> None:
    """Raise what is no error of Daisy's client, which has no class of its own for its errors."""
    if type(error) is not RuntimeError:
        raise error
