"""Chunks that a killed process left half written."""

from __future__ import annotations

from pathlib import Path


def remove_partial_files(folder: str | Path) -> int:
    """Remove the ``*.partial`` files that zarr leaves beside a chunk when it is killed while writing it.

    Call it while nobody writes: before the first block of a stage that is resumed.

    Parameters
    ----------
    folder
        The array's folder (``data.zarr/volumes/fragments``); a missing one has none.

    Returns
    -------
    int
        How many were removed.
    """
    removed = 0
    for path in Path(folder).rglob("*.partial"):
        path.unlink(missing_ok=True)
        removed += 1
    return removed
