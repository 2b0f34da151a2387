from __future__ import annotations

from pathlib import Path

import pytest

griffe = pytest.importorskip("griffe", reason="griffe comes with the extra 'docs'")

EXTENSION = Path(__file__).parents[2] / "docs" / "_hooks" / "sphinx_roles.py"


def link(path: str, shown: str) -> str:
    return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("See :func:`other`.", f"See {link('room.other', 'other')}."),
        ("See :class:`~far.away.Thing`.", f"See {link('far.away.Thing', 'Thing')}."),
        ("See :meth:`far.method`.", f"See {link('far.method', 'far.method')}."),
        ("A plain `name` and ``code``.", "A plain `name` and ``code``."),
    ],
)
def test_roles_become_links_that_may_be_missing(docstring: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text(f'def other(): ...\n\ndef function():\n    """{docstring}"""\n')
    extensions = griffe.load_extensions(str(EXTENSION))
    module = griffe.load("room", search_paths=[tmp_path], extensions=extensions)
    assert module["function"].docstring.value == expected
