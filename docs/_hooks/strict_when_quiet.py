"""MkDocs hook: lets ``--quiet`` silence everything but warnings.

MkDocs itself silences warnings too, and then ``--strict`` has none to count: every build passes.
"""

from __future__ import annotations

import logging
from typing import Any


def on_startup(**_: Any) -> None:
    """Let warnings through; called by MkDocs."""
    logger = logging.getLogger("mkdocs")
    logger.setLevel(min(logger.level, logging.WARNING))
