"""What can go wrong, as a small hierarchy.

Every class also subclasses the builtin it resembles, so ``except ValueError`` keeps working for a
caller who knows nothing of Catena. A message says what was found, what was expected, where, and
what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class CatenaError(Exception):
    """Anything Catena refuses to do, with the reason; the command line prints it without a traceback."""


class ConfigError(CatenaError, ValueError):
    """A configuration that cannot be used: unknown key, wrong type, contradiction."""


class ArrayNotFoundError(CatenaError, FileNotFoundError):
    """A container, data set or checkpoint that is not where the configuration says."""


class GeometryError(CatenaError, ValueError):
    """Voxel sizes, offsets, shapes or regions of interest that do not fit together."""


class DataError(CatenaError, ValueError):
    """Array content that cannot be used: wrong dtype, constant, not finite, no labels."""


class StoreError(CatenaError, RuntimeError):
    """A graph store that cannot be reached, read or written."""


class LockedError(CatenaError, RuntimeError):
    """Another process is already running the same experiment."""


class StageError(CatenaError, RuntimeError):
    """A stage that did not finish: failed blocks, or a worker that could not start."""


class OutputError(CatenaError, OSError):
    """Results that cannot be written: disk full, read-only folder."""


def nearest_names(name: str, valid: Iterable[str], count: int = 3) -> str:
    """Return a phrase that names the valid names nearest to `name`, or all of them.

    >>> nearest_names("iteration", ["iterations", "seed"])
    "did you mean 'iterations'?"
    """
    names = [str(each) for each in valid]
    close = get_close_matches(name, names, n=count, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(each) for each in close) + "?"
    return "valid names: " + ", ".join(sorted(names))
