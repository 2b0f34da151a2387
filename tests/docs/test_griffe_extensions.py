from __future__ import annotations

from pathlib import Path

import pytest

griffe = pytest.importorskip("griffe", reason="griffe comes with the extra 'docs'")

HOOKS = Path(__file__).parents[2] / "docs" / "_hooks"


def rewritten(docstring: str, extension: str, folder: Path) -> str:
    """Return the docstring of a function after `extension` has seen it."""
    text = docstring.replace("\n", "\n    ")
    (folder / "room.py").write_text(f'def other(): ...\n\ndef function():\n    """{text}"""\n')
    extensions = griffe.load_extensions(str(HOOKS / extension))
    found: str = griffe.load("room", search_paths=[folder], extensions=extensions)["function"].docstring.value
    return found


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
    assert rewritten(docstring, "sphinx_roles.py", tmp_path) == expected


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Add.\n\n>>> 1 + 1\n2\n\nMore.", "Add.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nMore."),
        ("Add.\n\n>>> 1 + 1\n2", "Add.\n\n```pycon\n>>> 1 + 1\n2\n```"),
        ("Add.\n\nExamples\n--------\n>>> 1 + 1\n2", "Add.\n\nExamples\n--------\n>>> 1 + 1\n2"),
    ],
)
def test_doctests_outside_examples_are_fenced(docstring: str, expected: str, tmp_path: Path) -> None:
    assert rewritten(docstring, "doctests.py", tmp_path) == expected
