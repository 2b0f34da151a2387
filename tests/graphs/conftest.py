"""The stores that the contract holds for: each backend opens the same, at first empty, store again and again."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catena.graphs import GraphStore, open_store, sqlite_url

Opener = Callable[[], GraphStore]


@pytest.fixture
def sqlite_opener(tmp_path: Path) -> Opener:
    return lambda: open_store(sqlite_url(tmp_path / "folder" / "rag.sqlite"))


@pytest.fixture(params=["sqlite"])
def opener(request: pytest.FixtureRequest) -> Opener:
    """Open the store under test; the fixture NAME_opener of each backend is asked for only when it is its turn."""
    return request.getfixturevalue(f"{request.param}_opener")  # type: ignore[no-any-return]


@pytest.fixture
def store(opener: Opener) -> Iterator[GraphStore]:
    with opener() as opened:
        yield opened
