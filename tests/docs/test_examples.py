"""Python in the documentation runs; what cannot run says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_pages import PAGES, Block, blocks, name_of

NOT_RUN = "not run: "
PAGES_WITH_PYTHON = [page for page in PAGES if blocks(page.read_text(), "python")]


def runs(block: Block) -> bool:
    return not (block.note.startswith(NOT_RUN) and block.note.removeprefix(NOT_RUN).strip())


def test_blocks_are_found_with_their_place_and_reason() -> None:
    page = "text\n\n```python\na = 1\n```\n\n<!-- not run: too slow -->\n```python\nb\n```\n\n```yaml\nc: 1\n```\n"
    found = blocks(page, "python")
    assert [(each.text, each.line, runs(each)) for each in found] == [("a = 1\n", 3, True), ("b\n", 8, False)]


def test_without_a_reason_a_block_runs() -> None:
    assert runs(Block("python", "", "not run: ", 0))


@pytest.mark.parametrize("page", PAGES_WITH_PYTHON, ids=name_of)
def test_examples_run_in_order_in_one_session(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session: dict[str, object] = {"__name__": "__main__"}
    examples = blocks(page.read_text(), "python")
    for example in examples:
        # the empty lines make a traceback point into the page
        compiled = compile("\n" * example.line + example.text, str(page), "exec")
        if runs(example):
            exec(compiled, session)
    assert any(runs(example) for example in examples)
