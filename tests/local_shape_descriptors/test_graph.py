"""Where the graph of a volume lies, and which stores are refused."""

from pathlib import Path

import pytest

from catena.blockwise.launchers import LAUNCHERS, LocalLauncher
from catena.errors import ConfigError, StoreError
from catena.plan import Selection, plan
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.graph import open_graph
from local_shape_descriptors.task import TASK


def config(folder: Path, store: str = "sqlite", **execution: object) -> LocalShapeDescriptorsConfig:
    return LocalShapeDescriptorsConfig.parse(
        {
            "task": "local_shape_descriptors",
            "experiment": "e",
            "output": str(folder),
            "volumes": {"a": {"raw": "a.zarr/raw"}, "b": {"raw": "b.zarr/raw"}},
            "inputs": {"checkpoint": "trained.pt"},
            "agglomerate": {"store": store},
            "execution": execution,
        }
    )


def test_every_volume_has_a_graph_of_its_own(tmp_path: Path) -> None:
    for volume in ("a", "b"):
        open_graph(config(tmp_path), volume).close()
        assert (tmp_path / "e/volumes" / volume / "rag.sqlite").exists()


@pytest.mark.parametrize(
    "store", ["sqlite:////scratch/rag.sqlite", "postgresql://me:secret@host/db", "mongodb://host/db"]
)
def test_a_store_that_volumes_would_share_is_refused(tmp_path: Path, store: str) -> None:
    with pytest.raises(ConfigError, match=r"PostgreSQL and MongoDB stores are not there yet") as caught:
        open_graph(config(tmp_path, store), "a")
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"agglomerate.store"):  # already when the run is planned
        plan(TASK, config(tmp_path, store), Selection())
    assert not list(tmp_path.iterdir())


def test_workers_on_other_hosts_cannot_share_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cluster(LocalLauncher):
        spans_hosts = True

    monkeypatch.setitem(LAUNCHERS, "cluster", Cluster)
    with pytest.raises(StoreError, match="serves a single host"):
        open_graph(config(tmp_path, agglomerate={"launcher": "cluster"}), "a")
