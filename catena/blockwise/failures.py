"""Blocks that failed: one small file each, with the error and the log that holds the rest.

Those that failed after all retries are quarantined: their numbers lie in one file, and no run tries them until told to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from catena.blockwise.job import write_json

_QUARANTINE = "quarantine.json"


@dataclass(frozen=True)
class BlockFailure:
    """Why a block failed the last time it was tried.

    Attributes
    ----------
    block
        Row-major block number.
    error
        One line: the exception, or how the worker died.
    log
        Log file of the worker that tried it; empty if none did.
    """

    block: int
    error: str
    log: str

    def __str__(self) -> str:
        return f"block {self.block}: {self.error}" + (f" (log: {self.log})" if self.log else "")


def record_failure(folder: Path, failure: BlockFailure) -> None:
    """Keep `failure` under the stage's `folder`, in place of an earlier one of the same block."""
    write_json(folder / "failures" / f"{failure.block}.json", asdict(failure))


def read_failures(folder: Path) -> Iterator[BlockFailure]:
    """Yield the failures kept under `folder` in the order of the blocks, those of blocks done since included."""
    paths = (folder / "failures").glob("[0-9]*.json")
    for path in sorted(paths, key=lambda each: int(each.stem)):
        yield BlockFailure(**json.loads(path.read_text()))


def quarantine(folder: Path, blocks: Iterable[int]) -> None:
    """Have the stage in `folder` leave `blocks` alone from now on, and no others."""
    write_json(folder / _QUARANTINE, {"blocks": sorted(blocks)})


def read_quarantine(folder: Path) -> list[int]:
    """Return the blocks of the stage in `folder` that are left alone, sorted; some may have been done before."""
    path = folder / _QUARANTINE
    blocks: list[int] = json.loads(path.read_text())["blocks"] if path.exists() else []
    return blocks
