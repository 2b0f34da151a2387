"""One run at a time per experiment: a lock file that does not outlive its process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
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

    The file names host, boot id, pid namespace, process, the process's start time and a heartbeat. A
    lock is stale when its heartbeat is older than `STALE_S` seconds, or, where all of these are this
    process's own, at once when no process with that start time lives. A host's name alone proves
    nothing: two machines may be called localhost.

    Raises
    ------
    LockedError
        On entering, if another live process holds the lock. On leaving, if another run took it over
        meanwhile, as after a suspension: the work is then interrupted.
    OutputError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock.json"
        self._stop = threading.Event()
        self._lost = False
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
        if self._lost and (kind is None or issubclass(kind, KeyboardInterrupt)):
            raise LockedError(f"another run has taken the lock {self.path} over; this one has stopped") from error

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
            try:
                self._lost = not self._renew()
            except OSError:
                continue  # a full disk or a file server that hangs: the next beat tries again
            if self._lost:
                _interrupt_main()
                return

    def _renew(self) -> bool:
        """Renew the heartbeat; return False if the lock is another's by now."""
        token = self._identity["token"]
        holder = read_holder(self.path)
        if holder and holder["token"] != token:
            return False
        draft = self.path.with_name(f"lock.{token}.tmp")
        draft.write_text(json.dumps({**self._identity, "heartbeat": time.time()}))
        if holder:
            draft.rename(self.path)
            return True
        try:
            os.link(draft, self.path)  # gone, though nobody else's: atomic, as when it was taken
        finally:
            draft.unlink()
        return True


def _interrupt_main() -> None:
    """Stop the main thread as Ctrl-C does, even where it waits in a system call."""
    main = threading.main_thread().ident
    if main is not None:
        heard = callable(signal.getsignal(signal.SIGINT))  # a shell's background job ignores SIGINT
        signal.pthread_kill(main, signal.SIGINT if heard else signal.SIGTERM)


def identity() -> dict[str, Any]:
    """Return what a lock file says of this process."""
    return {
        "host": socket.gethostname(),
        "boot_id": _boot_id(),
        "pid_namespace": _pid_namespace(),
        "pid": os.getpid(),
        "started": _process_start(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "began": time.time(),
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


def held_since(folder: Path) -> float | None:
    """Return when the live process that holds the lock of `folder` took it (seconds since the epoch), or None.

    What a run has not touched since then was left by an earlier one.
    """
    holder = read_holder(folder / "lock.json")
    return float(holder.get("began", 0)) if holder and not is_stale(holder) else None


def is_stale(holder: dict[str, Any]) -> bool:
    """Tell whether the process that wrote a lock is gone."""
    if time.time() - float(holder["heartbeat"]) > STALE_S:
        return True
    here = {"host": socket.gethostname(), "boot_id": _boot_id(), "pid_namespace": _pid_namespace()}
    if any(holder.get(key) != value for key, value in here.items()):
        return False
    others_visible = _process_start(1) is not None  # not where /proc is missing or hides other users' processes
    return others_visible and _process_start(holder["pid"]) != holder["started"]


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "unknown"


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "unknown"


def _process_start(pid: int) -> str | None:
    """Return the start time of a live process in clock ticks since boot, None if none is seen or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
