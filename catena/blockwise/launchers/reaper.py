"""A process that outlives its master, in whatever way that ends, and then cancels what it left on the cluster."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence

# More than once: a submission that was under way when the master died may arrive after the first.
_SCRIPT = """
trap '' TERM INT HUP
cat > /dev/null
for pause in 0 1 2 4 8; do
  sleep $pause
  {command} < /dev/null > /dev/null 2>&1
done
"""


class Reaper:
    """Waits, in a session of its own, for the end of a pipe that this process alone holds open.

    Parameters
    ----------
    command
        Cancels everything that may be left; harmless when nothing is.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            ["sh", "-c", _SCRIPT.format(command=shlex.join(command))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """End the reaper: nothing is left."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
