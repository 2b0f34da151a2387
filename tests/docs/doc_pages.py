"""What the documentation's pages contain: fenced blocks and words in code type."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])

_FENCE = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*) -->\n)?(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^ *```$", re.M | re.S
)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes
    ----------
    note
        Text of an HTML comment in the line before it.
    line
        Lines of the page before its first one.
    """

    language: str
    text: str
    note: str
    line: int


def name_of(page: Path) -> str:
    """Return a page's path for the name of a test."""
    return str(page.relative_to(ROOT))


def blocks(page: str, *languages: str) -> list[Block]:
    """Return the fenced blocks of a page in some languages, in order."""
    return [
        Block(found["language"], found["text"], found["note"] or "", page.count("\n", 0, found.start("text")))
        for found in _FENCE.finditer(page)
        if found["language"] in languages
    ]


def words_in_code(page: str) -> list[str]:
    """Return what stands between single backticks, outside fenced blocks."""
    return _CODE.findall(_FENCE.sub("", page))
