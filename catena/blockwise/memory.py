"""How much memory a worker has had at most, noted by itself.

What the kernel counts for a process it has started (``ru_maxrss``) begins with the memory of the one that started it: a
worker of a master with torch loaded would seem to need half a gigabyte more than it does.
"""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_FOLDER = "memory"


def note_peak_memory(folder: Path, worker_id: int) -> None:
    """Note in ``FOLDER/memory/WORKER`` the largest memory this process has had, where the system tells it (Linux)."""
    if not _STATUS.exists():
        return
    kilobytes = next(line.split()[1] for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    path = folder / _FOLDER / str(worker_id)
    earlier = int(path.read_text()) if path.exists() else 0  # of a worker of that number in a run before this one
    if int(kilobytes) * 1024 > earlier:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}")
        partial.write_text(str(int(kilobytes) * 1024))
        partial.replace(path)


def noted_peak_memory(folder: Path) -> int | None:
    """Return the largest memory, in bytes, that any worker of a stage has noted; None if none has."""
    notes = [int(path.read_text()) for path in (folder / _FOLDER).glob("[0-9]*")]
    return max(notes, default=None)
