"""PNG files, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from catena.errors import OutputError


def write_png(path: str | Path, png: bytes) -> Path:
    """Write an encoded picture and return its path; folders are made, an older picture is replaced.

    Raises
    ------
    OutputError
        If the file cannot be written; an older one is then still there.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(png)
        partial.replace(path)
    except OSError as error:
        if partial.is_file():
            partial.unlink()
        raise OutputError(f"cannot write the picture {path}: {error}") from error
    return path
