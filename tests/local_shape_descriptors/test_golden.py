"""The output of a stage's version never changes: when one of these digests does, raise that stage's `version`.

The input is made of integers alone, so the digests hold on every machine.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from funlib.persistence.graphs import SQLiteGraphDataBase
from funlib.persistence.types import Vec

from catena.arrays import create_array, open_array
from catena.plan import Selection
from catena.run import run
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.graph import open_graph
from local_shape_descriptors.lookup_tables import LookupTables
from local_shape_descriptors.task import TASK

GOLDEN = {
    "basins-graph": {
        "fragments": "2: 59c7e98a5ae0c39f",
        "agglomerate": "3: fe99e9369a3d094b2cf1018d60c2f72d",
        "lookup_tables": "2: 201f20d9707c5eea",
        "segmentation": "1: 199bcb3ee7fa54a1",
    },
    "seeded-blocks": {
        "fragments": "2: d002d249e993b856",
        "agglomerate": "3: 5cbf9ffb1a549d7411c2521436d64b9c",
        "lookup_tables": "2: a6568b2622666c8f",
        "segmentation": "1: 85f3b3dec4e83820",
    },
}
OFFSETS = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]


def integer_affinities(shape: tuple[int, int, int] = (24, 30, 36)) -> np.ndarray:
    """Smooth blobs out of a linear congruential generator and running sums."""
    size = int(np.prod(shape)) * 3
    state = np.empty(size, np.uint64)
    seed = np.uint64(12345)
    with np.errstate(over="ignore"):
        for at in range(size):
            seed = seed * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
            state[at] = seed >> np.uint64(40)
    values = (state % np.uint64(256)).astype(np.int64).reshape(3, *shape)
    for axis in (1, 2, 3):
        for _ in range(2):
            values = values + np.roll(values, 1, axis) + np.roll(values, -1, axis)
    low, high = values.min(), values.max()
    return ((values - low) * 255 // (high - low)).astype(np.uint8)


def digest(*arrays: np.ndarray) -> str:
    total = hashlib.sha256()
    for each in arrays:
        total.update(str((each.shape, each.dtype.str)).encode() + np.ascontiguousarray(each).tobytes())
    return total.hexdigest()[:16]


@pytest.mark.parametrize("name", list(GOLDEN))
def test_outputs_are_those_of_the_stage_versions(name: str, tmp_path: Path) -> None:
    method, scope = name.split("-")
    values = integer_affinities()
    array = create_array(
        tmp_path / "a.zarr/affinities",
        roi=Roi((0, 0, 0), Coordinate(values.shape[1:]) * 8),
        voxel_size=Coordinate(8, 8, 8),
        dtype="uint8",
        chunk_shape_vox=Coordinate(12, 12, 12),
        channels=3,
        attributes={"offsets": OFFSETS},
    )
    array.write(array.roi, values)
    settings: dict[str, Any] = {
        "task": "local_shape_descriptors",
        "experiment": "golden",
        "output": str(tmp_path / "runs"),
        "volumes": {"v": {"inputs": {"affinities": str(tmp_path / "a.zarr/affinities")}}},
        "fragments": {"method": method, "block_shape_vox": [12, 12, 12]},
        "agglomerate": {"scope": scope},
        "execution": {"default": {"workers": 1}},
    }
    config = LocalShapeDescriptorsConfig.parse(settings)
    run(TASK, config, Selection(last="segmentation"))
    folder = config.volume_folder("v")
    with open_graph(config, "v") as store:
        nodes = store.read("nodes")
        edges = store.read("edges_hist_quant_75")
    tables = LookupTables.load(folder / "luts/hist_quant_75.zarr")
    volumes = folder / "volume.zarr/volumes"
    found = {
        "fragments": digest(open_array(volumes / "fragments").read(), *nodes.values()),
        "agglomerate": digest(*(edges[key] for key in ("u", "v", "contact", "affinity_sum", "forced")))
        + digest(np.round(edges["merge_score"], 6), np.round(edges["distance"], 6)),
        "lookup_tables": digest(tables.ids, np.asarray(tables.segments)),
        "segmentation": digest(open_array(volumes / "segmentation").read()),
    }
    versions = {stage: f"{TASK.stage(stage).version}: {each}" for stage, each in found.items()}
    assert versions == GOLDEN[name]
    opens_in_volara(folder / "rag.sqlite", nodes, edges)


def opens_in_volara(file: Path, nodes: dict[str, np.ndarray], edges: dict[str, np.ndarray]) -> None:
    """Open the graph as ``volara.dbs.SQLite(path=file, edge_attrs={"merge_score": "float"}).open("r")`` does."""
    database = SQLiteGraphDataBase(
        file,
        position_attribute="position",
        node_attrs={"position": Vec(float, 3), "size": int, "filtered": bool},
        edge_attrs={"distance": float, "merge_score": float},
        mode="r",
    )
    with closing(database.con):
        graph = database.read_graph()
    positions = np.stack([nodes[f"position_{axis}"] for axis in range(3)], axis=1)
    assert {node: values["position"] for node, values in graph.nodes.items()} == dict(
        zip(nodes["id"].tolist(), map(tuple, positions.tolist()), strict=True)
    )
    assert graph.number_of_edges() == len(edges["u"])
    for u, v, score in zip(edges["u"].tolist(), edges["v"].tolist(), edges["merge_score"].tolist(), strict=True):
        apart = np.subtract(graph.nodes[u]["position"], graph.nodes[v]["position"])
        assert graph.edges[u, v] == {"distance": pytest.approx(np.linalg.norm(apart)), "merge_score": score}
    assert database.total_roi == Roi((0, 0, 0), (24 * 8, 30 * 8, 36 * 8))
