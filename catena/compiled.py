"""The one way kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Result = TypeVar("Result")


def kernel(function: Callable[..., Result], **options: Any) -> Callable[..., Result]:
    """Compile `function` without the GIL and keep the machine code on disk; `options` are numba's.

    It is compiled for every combination of types it is called with; annotations name the usual ones, and are not
    checked where it is called.

    Where no folder for the cache can be written (a read-only installation without a home folder), the kernel is
    compiled anew in every process instead of failing on import; ``NUMBA_CACHE_DIR`` names another folder.
    """
    try:
        return cast(Callable[..., Result], numba.njit(cache=True, nogil=True, **options)(function))
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return cast(Callable[..., Result], numba.njit(nogil=True, **options)(function))
