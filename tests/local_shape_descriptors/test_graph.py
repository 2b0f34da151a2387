"""Where the graph of a volume lies, and which stores are refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from catena.blockwise.launchers import LAUNCHERS, LocalLauncher
from catena.config import to_yaml
from catena.errors import ConfigError, StoreError
from catena.plan import Selection, plan
from local_shape_descriptors.agglomeration import AgglomerateStage
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.graph import graph_url, open_graph
from local_shape_descriptors.task import TASK

POSTGRESQL = "postgresql://me@host:5433/graphs"


def config(
    folder: Path, store: str = "sqlite", experiment: str = "e", volumes: str = "ab", **execution: object
) -> LocalShapeDescriptorsConfig:
    return LocalShapeDescriptorsConfig.parse(
        {
            "task": "local_shape_descriptors",
            "experiment": experiment,
            "output": str(folder),
            "volumes": {name: {"raw": "a.zarr/raw"} for name in volumes},
            "inputs": {"checkpoint": "trained.pt"},
            "agglomerate": {"store": store},
            "execution": execution,
        }
    )


def namespace(experiment: str, store: str = POSTGRESQL, volumes: str = "ab") -> str:
    return graph_url(config(Path(), store, experiment, volumes), "a").partition("namespace=")[2]


def test_every_volume_has_a_graph_of_its_own(tmp_path: Path) -> None:
    for volume in ("a", "b"):
        open_graph(config(tmp_path), volume).close()
        assert (tmp_path / "e/volumes" / volume / "rag.sqlite").exists()
    urls = {graph_url(config(tmp_path, POSTGRESQL), volume) for volume in ("a", "b")}
    assert urls == {f"{POSTGRESQL}?namespace=e_a", f"{POSTGRESQL}?namespace=e_b"}


def test_names_become_legal_and_stay_apart() -> None:
    assert namespace("fib25") == "fib25_a"
    changed = [namespace(each) for each in ("FIB25", "Fib25", "fib-25", "fib.25", "25", "pg_x", "x" * 62, "x" * 80)]
    assert len({"fib25_a", *changed}) == 1 + len(changed)
    assert all(len(each) <= 63 for each in changed)
    assert changed[0].startswith("fib25_a_")
    assert not [each for each in changed if each.startswith(("pg_", "2"))]


def test_a_namespace_is_for_one_volume_unless_it_names_the_volume() -> None:
    one = f"{POSTGRESQL}?namespace=ours&sslmode=require"
    assert graph_url(config(Path(), one, volumes="a"), "a") == one
    with pytest.raises(ConfigError, match=r"would share the namespace 'ours'; .* write \?namespace=ours_\{volume\}"):
        graph_url(config(Path(), one), "a")
    with pytest.raises(ConfigError, match="would share"):  # already when the run is planned
        plan(TASK, config(Path(), one), Selection())
    assert namespace("e", f"{POSTGRESQL}?namespace=ours_{{volume}}") == "ours_a"
    with pytest.raises(ConfigError, match="a namespace is a small letter"):
        config(Path(), f"{POSTGRESQL}?namespace=Ours")


@pytest.mark.parametrize("store", ["sqlite:////scratch/rag.sqlite", "redis://host/1", "rag.sqlite", "postgres"])
def test_what_names_no_store_is_refused(store: str) -> None:
    with pytest.raises(ConfigError, match=r"agglomerate.store: expected sqlite .*postgresql://.*mongodb://.*found"):
        config(Path(), store)


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("postgresql://me:hunter2@host/db", r"'postgresql://me:\*\*\*@host/db'.* CATENA_STORE_PASSWORD.*~/.pgpass"),
        ("postgresql://host/db?user=me&password=hunter2", r"'postgresql://host/db\?user=me&password=\*\*\*'"),
        ("mongodb://me:hunter2@host/db", r"'mongodb://me:\*\*\*@host/db'.* CATENA_STORE_PASSWORD$"),
        ("mongodb://host/db?tlsCertificateKeyFilePassword=hunter2", r"KeyFilePassword=\*\*\*'"),
        ("redis://me:hunter2@host/1", r"'redis://me:\*\*\*@host/1'"),
        ("postgresql://me:hunter2@host", r"'postgresql://me:\*\*\*@host': expected"),
    ],
)
def test_a_password_is_refused_and_not_shown(store: str, shown: str) -> None:
    with pytest.raises(ConfigError, match=shown) as caught:
        config(Path(), store)
    assert "hunter2" not in str(caught.value)


def test_the_store_is_no_part_of_the_result() -> None:
    configs = [config(Path(), each, volumes="a") for each in ("sqlite", POSTGRESQL, "mongodb://host/db")]
    settings: list[Any] = [AgglomerateStage().settings(each, "a") for each in configs]
    assert settings[0] == settings[1] == settings[2]
    assert yaml.safe_load(to_yaml(configs[1]))["agglomerate"]["store"] == POSTGRESQL


def test_workers_on_other_hosts_cannot_share_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cluster(LocalLauncher):
        spans_hosts = True

    monkeypatch.setitem(LAUNCHERS, "cluster", Cluster)
    with pytest.raises(StoreError, match=r"serves a single host.* postgresql://.* mongodb://"):
        open_graph(config(tmp_path, agglomerate={"launcher": "cluster"}), "a")
    assert not list(tmp_path.iterdir())
    assert graph_url(config(tmp_path, POSTGRESQL, agglomerate={"launcher": "cluster"}), "a")
