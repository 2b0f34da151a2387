"""The run ledger: which stage of which volume has been done, from what, and how long it took.

Only the master process writes it. A stage has at most two rows: the *published* result that lies at
its final place, and the *staged* attempt that will replace it once it is complete.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from catena.errors import OutputError
from catena.sqlite import strict_option

Slot = Literal["published", "staged"]

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS records (
    volume TEXT NOT NULL, stage TEXT NOT NULL, slot TEXT NOT NULL, fingerprint TEXT NOT NULL,
    state TEXT NOT NULL, seconds REAL NOT NULL, updated REAL NOT NULL, explanation TEXT NOT NULL, report TEXT NOT NULL,
    PRIMARY KEY (volume, stage, slot)){strict_option()};
CREATE TABLE IF NOT EXISTS contents (fingerprint TEXT PRIMARY KEY, content TEXT NOT NULL){strict_option()};
"""


@dataclass(frozen=True)
class Record:
    """One row of the ledger.

    Attributes
    ----------
    fingerprint
        What the result depends on, hashed.
    state
        ``running``, ``failed``, ``publishing`` or ``done``.
    seconds
        Wall-clock time spent so far, over all attempts.
    explanation
        What went into the fingerprint, to tell later what changed.
    report
        What the stage had to say: blocks done, failed, skipped, voxels, figures.
    """

    fingerprint: str
    state: str
    seconds: float = 0.0
    explanation: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    updated: float = 0.0


class Ledger:
    """Records of one experiment in `path` (SQLite).

    Raises
    ------
    OutputError
        If the file cannot be written.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        try:
            target = f"file:{path}?mode=ro" if read_only else str(path)
            self._connection = sqlite3.connect(target, uri=read_only, timeout=30, check_same_thread=False)
            if not read_only:
                self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise OutputError(f"cannot open the run ledger {path}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def read(self, volume: str, stage: str, slot: Slot) -> Record | None:
        """Return one record, or None; `volume` is empty for a stage of the whole experiment."""
        row = self._connection.execute(
            "SELECT fingerprint, state, seconds, explanation, report, updated FROM records "
            "WHERE volume = ? AND stage = ? AND slot = ?",
            (volume, stage, slot),
        ).fetchone()
        if row is None:
            return None
        return Record(row[0], row[1], row[2], json.loads(row[3]), json.loads(row[4]), row[5])

    def write(self, volume: str, stage: str, slot: Slot, record: Record) -> None:
        """Write one record in a transaction of its own."""
        self._run([_upsert(volume, stage, slot, record)])

    def publish(self, volume: str, stage: str, record: Record) -> None:
        """Make `record` the published one and forget the staged attempt, in one transaction."""
        forget = ("DELETE FROM records WHERE volume = ? AND stage = ? AND slot = 'staged'", (volume, stage))
        self._run([_upsert(volume, stage, "published", record), forget])

    def content(self, fingerprint: str) -> str | None:
        """Return the full content hash recorded for an input whose sampled fingerprint is `fingerprint`."""
        row = self._connection.execute("SELECT content FROM contents WHERE fingerprint = ?", (fingerprint,)).fetchone()
        return None if row is None else str(row[0])

    def record_content(self, fingerprint: str, content: str) -> None:
        """Remember the full content hash of an input."""
        self._run([("INSERT OR REPLACE INTO contents VALUES (?, ?)", (fingerprint, content))])

    def _run(self, statements: list[tuple[str, tuple[Any, ...]]]) -> None:
        try:
            with self._connection:
                for statement, values in statements:
                    self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise OutputError(f"cannot write the run ledger {self.path}: {error}") from error


def _upsert(volume: str, stage: str, slot: Slot, record: Record) -> tuple[str, tuple[Any, ...]]:
    values = (
        volume,
        stage,
        slot,
        record.fingerprint,
        record.state,
        record.seconds,
        time.time(),
        json.dumps(record.explanation, default=str),
        json.dumps(record.report, default=str),
    )
    return "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values
