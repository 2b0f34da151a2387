"""One run at a time per experiment: a lock file that survives neither its process nor its host's boot."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from catena.errors import LockedError, OutputError

HEARTBEAT_S = 5.0
STALE_S = 120.0


class ExperimentLock:
    """Hold `folder`/lock.json while a run works on an experiment.

    The file names host, boot id, process, the process's start time and a heartbeat. A lock of this
    host is stale when the boot id differs or no process with that start time lives; a lock of
    another host is stale when its heartbeat is older than `STALE_S` seconds.

    Raises
    ------
    LockedError
        On entering, if another live process holds the lock.
    OutputError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock.json"
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._keep_beating, daemon=True, name="lock-heartbeat")

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._acquire()
        except OSError as error:
            if isinstance(error, LockedError):
                raise
            raise OutputError(f"cannot write to {self.path.parent}: {error}") from error
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._beat.join()
        if read_holder(self.path).get("token") == self._identity["token"]:
            self.path.unlink(missing_ok=True)

    def _acquire(self) -> None:
        self._identity = identity()
        draft = self.path.with_name(f"lock.{self._identity['token']}.tmp")
        draft.write_text(json.dumps(self._identity))
        try:
            for _ in range(20):
                try:
                    os.link(draft, self.path)  # atomic: fails if a lock is there
                    return
                except FileExistsError:
                    self._remove_if_stale()
            raise LockedError(f"cannot take the lock {self.path}: other processes keep taking it")
        finally:
            draft.unlink(missing_ok=True)

    def _remove_if_stale(self) -> None:
        holder = read_holder(self.path)
        if not holder:
            time.sleep(0.05)
            return
        if not is_stale(holder):
            raise LockedError(
                f"this experiment is being run by process {holder['pid']} on {holder['host']} since {holder['since']}; "
                f"wait for it or stop it (lock: {self.path})"
            )
        grave = self.path.with_name(f"lock.{self._identity['token']}.stale")
        with contextlib.suppress(FileNotFoundError):  # another process may bury it first
            self.path.rename(grave)
            if read_holder(grave).get("token") != holder["token"]:  # a live lock slipped in between
                os.link(grave, self.path)
            grave.unlink()

    def _keep_beating(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            draft = self.path.with_name(f"lock.{self._identity['token']}.tmp")
            draft.write_text(json.dumps({**self._identity, "heartbeat": time.time()}))
            draft.rename(self.path)


def identity() -> dict[str, Any]:
    """Return what a lock file says of this process."""
    return {
        "host": socket.gethostname(),
        "boot_id": _boot_id(),
        "pid": os.getpid(),
        "started": _process_start(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "heartbeat": time.time(),
        "token": f"{os.getpid()}-{time.time_ns()}",
    }


def read_holder(path: Path) -> dict[str, Any]:
    """Return the content of a lock file, or an empty dictionary if it is gone or unreadable."""
    try:
        holder: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return holder


def is_stale(holder: dict[str, Any]) -> bool:
    """Tell whether the process that wrote a lock is gone."""
    if holder["host"] == socket.gethostname():
        return bool(holder["boot_id"] != _boot_id() or _process_start(holder["pid"]) != holder["started"])
    return bool(time.time() - float(holder["heartbeat"]) > STALE_S)


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "unknown"


def _process_start(pid: int) -> str | None:
    """Return the start time of a live process in clock ticks since boot, None if there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
