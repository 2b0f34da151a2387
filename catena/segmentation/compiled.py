"""The one way kernels of this package are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile `function` without the GIL and keep the machine code on disk.

    Where no folder for the cache can be written (a read-only installation without a home folder), the kernel is
    compiled anew in every process instead of failing on import; ``NUMBA_CACHE_DIR`` names another folder.
    """
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return cast(Function, numba.njit(nogil=True)(function))
