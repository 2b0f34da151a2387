"""From affinities to a segmentation with the graph on a server: PostgreSQL itself, and MongoDB's protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mongodb_server import MongoDBServer
from postgresql_server import PASSWORD, PostgreSQLServer

from catena.arrays import open_array
from catena.errors import ConfigError
from catena.graphs.transfer import copy_graph
from catena.plan import Selection
from catena.run import run
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.graph import open_graph
from local_shape_descriptors.task import TASK

STAGES = ["fragments", "agglomerate", "lookup_tables", "segmentation"]


@pytest.fixture
def postgresql(postgresql_server: PostgreSQLServer) -> str:
    return postgresql_server.url()


@pytest.fixture
def mongodb(mongodb_server: MongoDBServer) -> str:
    return f"mongodb://127.0.0.1:{mongodb_server.port}/graphs"


def configured(settings: dict[str, Any], **changes: Any) -> LocalShapeDescriptorsConfig:
    return LocalShapeDescriptorsConfig.parse({**settings, **changes})


def made(config: LocalShapeDescriptorsConfig) -> list[str]:
    outcomes = run(TASK, config, Selection(last="segmentation"))
    return [each.node.stage for each in outcomes if each.action == "made"]


def files_with(text: str, folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file() and text.encode() in each.read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", "mongodb"])
def test_a_graph_on_a_server(
    settings: dict[str, Any],
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    store: str = request.getfixturevalue(kind)
    settings["fragments"]["block_shape_vox"] = [32, 32, 32]
    in_file = configured(settings)
    on_server = configured(settings, experiment="On-Server", agglomerate={"store": store})
    assert made(in_file) == STAGES
    with monkeypatch.context() as patch:
        patch.setattr("catena.run.shutil.rmtree", lambda *given, **options: None)  # job files and logs of workers stay
        assert made(on_server) == STAGES

    # the same to the last bit
    one, other = (each.volume_folder("phantom") / "volume.zarr/volumes" for each in (in_file, on_server))
    for array in ("fragments", "segmentation"):
        np.testing.assert_array_equal(open_array(one / array).read(), open_array(other / array).read())
    with open_graph(in_file, "phantom") as expected, open_graph(on_server, "phantom") as found:
        assert found.tables() == expected.tables()
        for table in ("nodes", "forced_edges", "edges_hist_quant_75"):
            for name, values in expected.read(table).items():
                np.testing.assert_array_equal(found.read(table, [name])[name], values)
    assert not (on_server.volume_folder("phantom") / "rag.sqlite").exists()

    # the place is written down, the password is not
    assert len(files_with("127.0.0.1", on_server.folder)) >= 3  # config.yaml, job files
    assert files_with(PASSWORD, on_server.folder) == []

    # the same names elsewhere are not the same experiment
    with pytest.raises(ConfigError, match=rf"holds the graph of other results, those in {on_server.folder}"):
        made(configured(on_server.model_dump(mode="json"), output=str(tmp_path / "elsewhere")))

    # a finished experiment moves with its graph
    moved = configured(settings, experiment="On-Server")
    with open_graph(on_server, "phantom", mode="r") as source, open_graph(moved, "phantom") as target:
        copy_graph(source, target)
    assert made(moved) == []
