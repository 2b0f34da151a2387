"""Griffe extension: turns Sphinx roles in docstrings (``:func:`name```) into links that may be missing."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|attr|mod|data|exc):`(~?)([\w.]+)`")


class SphinxRoles(griffe.Extension):
    """Rewrites the docstring of every object that is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring; called by Griffe."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(lambda found: _link(found, obj), obj.docstring.value)


def _link(found: re.Match[str], obj: griffe.Object) -> str:
    short, name = found.groups()
    shown = name.rpartition(".")[2] if short else name
    return f'<autoref identifier="{_resolved(name, obj)}" optional><code>{shown}</code></autoref>'


def _resolved(name: str, obj: griffe.Object) -> str:
    """Return the full path of a name as seen from `obj`; the name itself where it cannot be told."""
    try:
        return obj.resolve(name)
    except griffe.NameResolutionError:
        return name
