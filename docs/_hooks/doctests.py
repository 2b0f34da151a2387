"""Griffe extension: fences doctests that stand outside a section ``Examples``, where Markdown would quote them."""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"^Examples\n-+$", re.M)
_DOCTEST = re.compile(r"^>>> (?:.|\n(?!\n))*", re.M)


class Doctests(griffe.Extension):
    """Rewrites the docstring of every object that is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring; called by Griffe."""
        if obj.docstring is None:
            return
        text = obj.docstring.value
        section = _SECTION.search(text)
        end = section.start() if section else len(text)
        obj.docstring.value = _DOCTEST.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```", text[:end]) + text[end:]
