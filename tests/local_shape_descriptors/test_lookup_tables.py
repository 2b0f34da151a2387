"""Lookup tables on disk: read whole, or as far as a block needs them."""

from pathlib import Path

import numpy as np
import pytest

import local_shape_descriptors.lookup_tables as module
from catena.errors import DataError
from local_shape_descriptors.lookup_tables import LookupTables

IDS = np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29], np.uint64)
ROWS = np.stack([IDS, np.full_like(IDS, 2)])


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LookupTables:
    monkeypatch.setattr(module, "_ROWS", 3)  # chunks 2 3 5 | 7 11 13 | 17 19 23 | 29
    return LookupTables.write(tmp_path / "luts.zarr", IDS, np.array([0.0, 0.3]), iter(ROWS))


def test_come_back_as_written(tables: LookupTables, tmp_path: Path) -> None:
    for each in (tables, LookupTables.load(tmp_path / "luts.zarr")):
        assert each.ids.tolist() == IDS.tolist()
        assert each.at(0.3).tolist() == ROWS[1].tolist()
        np.testing.assert_array_equal(each.segments[:], ROWS)


@pytest.mark.parametrize(
    ("low", "high", "chunks"),
    [(1, 1, []), (1, 2, IDS[:3]), (3, 6, IDS[:3]), (6, 7, IDS[:6]), (7, 17, IDS[3:9]), (24, 40, IDS[6:]), (1, 99, IDS)],
)
def test_only_the_chunks_around_a_block_are_read(tables: LookupTables, low: int, high: int, chunks: np.ndarray) -> None:
    ids, segments = tables.between(0.0, low, high)
    assert ids.tolist() == list(chunks)
    assert segments.tolist() == list(chunks)


def test_no_fragments_at_all(tmp_path: Path) -> None:
    empty = np.empty(0, np.uint64)
    tables = LookupTables.write(tmp_path / "luts.zarr", empty, np.array([0.5]), [empty])
    assert tables.between(0.5, 1, 9)[0].size == 0
    assert tables.at(0.5).size == 0


def test_a_threshold_without_a_table_is_refused(tables: LookupTables) -> None:
    with pytest.raises(DataError, match=r"no lookup table at threshold 0\.29; the nearest is 0\.3"):
        tables.between(0.29, 1, 9)
