"""What every graph store must do, run against each of them."""

import multiprocessing
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from catena.errors import StoreError
from catena.graphs import GraphStore, TableSchema, open_store

EDGES = TableSchema({"u": "uint64", "v": "uint64", "merge_score": "float32"}, key=("u", "v"))
NODES = TableSchema({"id": "uint64", "pos_0": "int64", "pointer": "int8", "root": "bool"}, key=("id",))
STATISTICS = TableSchema({"u": "uint64", "contact": "int64", "histogram": "(4,)uint32"}, key=("u",), kind="arrays")

Columns = dict[str, np.ndarray]


def edges(*rows: tuple[int, int, float]) -> Columns:
    u, v, score = zip(*rows, strict=True) if rows else ((), (), ())
    return {
        "u": np.array(u, dtype=np.uint64),
        "v": np.array(v, dtype=np.uint64),
        "merge_score": np.array(score, dtype=np.float32),
    }


def statistics(*rows: tuple[int, int]) -> Columns:
    u = np.array([row[0] for row in rows], dtype=np.uint64)
    contact = np.array([row[1] for row in rows], dtype=np.int64)
    histogram = np.repeat(contact[:, None], 4, axis=1).astype(np.uint32)
    return {"u": u, "contact": contact, "histogram": histogram}


def same(found: Columns, expected: Columns) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_follows_the_protocol(store: GraphStore) -> None:
    assert isinstance(store, GraphStore)
    assert "://" in store.url


def test_rows_come_back_by_key_in_their_dtypes(store: GraphStore, opener: Callable[[], GraphStore]) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 7, edges((50, 60, 0.1), (50, 51, 0.25)))
    store.write_block("edges", 2, edges((2**63 - 2, 2**63 - 1, 1.0), (1, 9, 0.0)))
    expected = edges((1, 9, 0.0), (50, 51, 0.25), (50, 60, 0.1), (2**63 - 2, 2**63 - 1, 1.0))
    same(store.read("edges"), expected)
    with opener() as another:
        same(another.read("edges"), expected)


def test_every_dtype_survives(store: GraphStore) -> None:
    store.create("nodes", NODES)
    written = {
        "id": np.array([3, 5], dtype=np.uint64),
        "pos_0": np.array([-40, 2**40]),
        "pointer": np.array([13, -1], dtype=np.int8),
        "root": np.array([True, False]),
    }
    store.write_block("nodes", 0, written)
    same(store.read("nodes"), written)


def test_writing_a_block_again_replaces_only_its_rows(store: GraphStore) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 0, edges((1, 2, 0.5), (1, 3, 0.5)))
    store.write_block("edges", 1, edges((10, 11, 0.5)))
    for _ in range(2):
        store.write_block("edges", 0, edges((1, 4, 0.75)))
        same(store.read("edges"), edges((1, 4, 0.75), (10, 11, 0.5)))
        assert store.count("edges") == 2


def test_blocks_without_rows_count_as_written(store: GraphStore) -> None:
    store.create("edges", EDGES)
    assert store.blocks_written("edges").tolist() == []
    store.write_block("edges", 9, edges())
    store.write_block("edges", 4, edges((1, 2, 0.5)))
    assert store.blocks_written("edges").tolist() == [4, 9]
    store.write_block("edges", 4, edges())
    assert store.blocks_written("edges").tolist() == [4, 9]
    assert store.count("edges") == 0
    same(store.read("edges"), edges())


def test_reads_columns_and_blocks(store: GraphStore) -> None:
    store.create("edges", EDGES)
    for block in range(5):
        store.write_block("edges", block, edges((block * 10 + 1, block * 10 + 2, block / 8)))
    found = store.read("edges", columns=["merge_score", "block"], blocks=[3, 1, 99, 3])
    same(found, {"merge_score": np.array([1 / 8, 3 / 8], dtype=np.float32), "block": np.array([1, 3])})
    same(store.read("edges", blocks=[]), edges())


@pytest.mark.parametrize("kind", ["rows", "arrays"])
def test_pieces_make_up_the_whole(store: GraphStore, kind: str) -> None:
    schema = TableSchema(EDGES.columns, key=EDGES.key, kind=kind)  # type: ignore[arg-type]
    store.create("edges", schema)
    for block in range(4):
        store.write_block("edges", block, edges(*((block * 10 + i, 100, 0.5) for i in range(5))))
    pieces = list(store.iterate("edges", ["u"], rows=7))
    assert len(pieces) > 1
    assert np.concatenate([piece["u"] for piece in pieces]).tolist() == store.read("edges")["u"].tolist()
    assert len(store.read("edges")["u"]) == 20


def test_arrays_of_many_blocks(store: GraphStore) -> None:
    store.create("statistics", STATISTICS)
    store.write_block("statistics", 3, statistics((8, 2), (1, 5)))
    store.write_block("statistics", 1, statistics((8, 7)))
    store.write_block("statistics", 2, statistics())
    same(store.read("statistics"), statistics((8, 7), (8, 2), (1, 5)))
    assert store.read("statistics", ["block"])["block"].tolist() == [1, 3, 3]
    assert store.count("statistics") == 3
    store.write_block("statistics", 3, statistics((1, 1)))
    same(store.read("statistics", blocks=[3]), statistics((1, 1)))
    assert store.read("statistics", blocks=[])["histogram"].shape == (0, 4)


def test_replaces_a_table_from_a_stream(store: GraphStore) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 5, edges((5, 6, 0.5)))
    stream = (edges((i, 100 + i, 0.5)) | {"block": np.array([i // 2])} for i in range(4))
    store.replace_all("edges", stream)
    same(store.read("edges"), edges((0, 100, 0.5), (1, 101, 0.5), (2, 102, 0.5), (3, 103, 0.5)))
    assert store.blocks_written("edges").tolist() == [0, 1]
    store.write_block("edges", 1, edges())
    assert store.read("edges")["u"].tolist() == [0, 1]


def test_replaces_arrays(store: GraphStore) -> None:
    store.create("statistics", STATISTICS)
    rows = statistics((4, 1), (2, 2), (3, 3), (2, 4)) | {"block": np.array([1, 0, 1, 0])}
    store.replace_all("statistics", [rows, rows])
    assert store.read("statistics", ["u", "block"])["u"].tolist() == [2, 2, 2, 2, 4, 3, 4, 3]
    store.replace_all("statistics", statistics((9, 9)) | {"block": np.array([7])})
    same(store.read("statistics"), statistics((9, 9)))


def test_a_failed_replacement_changes_nothing(store: GraphStore) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 5, edges((5, 6, 0.5)))

    def stream() -> Iterator[Columns]:
        yield edges((1, 2, 0.5)) | {"block": np.array([0])}
        raise KeyError("the source broke")

    with pytest.raises(KeyError, match="the source broke"):
        store.replace_all("edges", stream())
    same(store.read("edges"), edges((5, 6, 0.5)))
    assert store.blocks_written("edges").tolist() == [5]


def test_creating_again_is_nothing_but_another_schema_is_refused(store: GraphStore) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 0, edges((1, 2, 0.5)))
    store.create("edges", EDGES)
    assert store.count("edges") == 1
    with pytest.raises(StoreError, match="another schema"):
        store.create("edges", NODES)
    assert store.schema("edges") == EDGES


def test_renames_and_drops(store: GraphStore) -> None:
    for name in ("old", "new"):
        store.create(name, EDGES)
    store.write_block("old", 0, edges((1, 2, 0.5)))
    with pytest.raises(StoreError, match="there already"):
        store.rename("old", "new")
    store.rename("old", "new", replace=True)
    assert store.tables() == ("new",)
    same(store.read("new"), edges((1, 2, 0.5)))
    assert store.blocks_written("new").tolist() == [0]
    store.create("old", EDGES)  # its index must not collide with the renamed table's
    assert store.count("old") == 0
    store.drop("new")
    store.drop("new")
    assert store.tables() == ("old",)


def test_metadata(store: GraphStore, opener: Callable[[], GraphStore]) -> None:
    assert store.get_metadata("voxel_size") is None
    assert store.get_metadata("voxel_size", [1]) == [1]
    store.set_metadata("voxel_size", [40, 4, 4])
    store.set_metadata("voxel_size", [8, 8, 8])
    with opener() as another:
        assert another.get_metadata("voxel_size") == [8, 8, 8]


def test_all_metadata(store: GraphStore) -> None:
    assert store.metadata() == {}
    for key, value in (("z", [1]), ("a", {"b": None}), ("gone", 3), ("gone", None)):
        store.set_metadata(key, value)
    assert list(store.metadata().items()) == [("a", {"b": None}), ("z", [1])]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"u": np.array([1])}, r"takes the columns \['u', 'v', 'merge_score'\]"),
        (edges((1, 2, 0.5)) | {"u": np.array([1, 2])}, "differ in length"),
        (edges((1, 2, float("nan"))), "1 of 1 values are NaN"),
        (edges((1, 2**63, 0.5)), "do not fit uint64"),
        (edges((1, 2, 0.5)) | {"u": np.array([-1])}, "do not fit uint64"),
        (edges((1, 2, 0.5)) | {"u": np.array([1.5])}, "expected uint64, found float64"),
        (edges((1, 2, 0.5)) | {"u": np.array([[1]])}, r"expected an array of shape \('n',\)"),
        (edges((1, 2, 0.5), (1, 2, 0.75)), "same key"),
    ],
)
def test_refuses_columns_that_do_not_fit(store: GraphStore, columns: Columns, message: str) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 0, edges((7, 8, 0.5)))
    with pytest.raises(StoreError, match=message):
        store.write_block("edges", 0, columns)
    same(store.read("edges"), edges((7, 8, 0.5)))


def test_refuses_numbers_for_a_flag(store: GraphStore) -> None:
    store.create("flags", TableSchema({"id": "uint64", "root": "bool"}, key=("id",)))
    with pytest.raises(StoreError, match="expected bool, found int64"):
        store.write_block("flags", 0, {"id": np.array([1]), "root": np.array([2])})


def test_refuses_a_key_that_another_block_owns(store: GraphStore) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 0, edges((1, 2, 0.5)))
    with pytest.raises(StoreError, match="same key"):
        store.write_block("edges", 1, edges((1, 2, 0.5)))


def test_names_the_nearest_table_and_column(store: GraphStore) -> None:
    with pytest.raises(StoreError, match=r"no table 'edges' .it holds no tables"):
        store.read("edges")
    store.create("edges", EDGES)
    with pytest.raises(StoreError, match="did you mean 'edges'"):
        store.count("edge")
    with pytest.raises(StoreError, match="did you mean 'merge_score'"):
        store.read("edges", ["merge_scores"])


def test_a_closed_store_says_so(opener: Callable[[], GraphStore]) -> None:
    store = opener()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.tables()


def _write_blocks(url: str, worker: int, blocks: int) -> None:
    with open_store(url) as store:
        store.create("edges", EDGES)
        for block in range(worker, 3 * blocks, 3):
            store.write_block("edges", block, edges(*((block * 100 + i, 10**6, 0.5) for i in range(20))))


def test_concurrent_writers(opener: Callable[[], GraphStore]) -> None:
    with opener() as store:
        url = store.url
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_write_blocks, args=(url, worker, 20)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with opener() as store:
        assert store.count("edges") == 60 * 20
        assert store.blocks_written("edges").tolist() == list(range(60))
        assert len(store.read("edges")["u"]) == 60 * 20
