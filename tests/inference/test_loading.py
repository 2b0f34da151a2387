from pathlib import Path

import pytest
import torch

from catena.errors import ArrayNotFoundError, ConfigError, DataError, OutputError
from catena.inference import load_network, save_network
from catena.networks import NetworkConfig, UNetConfig, build_network

CONFIG = NetworkConfig(unet=UNetConfig(feature_maps=2, growth=1, downsampling=((2, 2, 2),)), heads={"affinities": 3})


def checkpoint(path: Path, **changes: object) -> Path:
    network = build_network(CONFIG)
    state = {"network_config": CONFIG.model_dump(mode="json"), "network": network.state_dict(), "iteration": 7}
    torch.save({**state, "optimiser": {"lr": 1.0}, **changes}, path)
    return path


def test_a_checkpoint_gives_network_config_and_metadata(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "a.pt")
    loaded = load_network(path, expected=CONFIG)
    assert loaded.config == CONFIG
    assert loaded.metadata == {"network_config": CONFIG.model_dump(mode="json"), "iteration": 7}
    assert not loaded.network.training
    saved = torch.load(path, weights_only=True)["network"]
    assert all(torch.equal(saved[name], each) for name, each in loaded.network.state_dict().items())


def test_safetensors_keep_network_and_metadata(tmp_path: Path) -> None:
    network = build_network(CONFIG).to(memory_format=torch.channels_last_3d)
    save_network(tmp_path / "a.safetensors", network, {"iteration": 7, "note": "x"})
    loaded = load_network(tmp_path / "a.safetensors")
    assert loaded.config == CONFIG
    assert (loaded.metadata["iteration"], loaded.metadata["note"]) == (7, "x")
    x = torch.randn(1, 1, 20, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(x)["affinities"], network(x)["affinities"])


def test_weights_rounded_in_the_file_are_loaded_as_float32(tmp_path: Path) -> None:
    network = build_network(CONFIG)
    save_network(tmp_path / "a.safetensors", network)
    save_network(tmp_path / "b.safetensors", network, dtype=torch.bfloat16)
    exact, rounded = (load_network(tmp_path / name).network.state_dict() for name in ("a.safetensors", "b.safetensors"))
    for name, each in rounded.items():
        assert each.dtype == torch.float32
        assert torch.equal(each, exact[name].bfloat16().float())
    assert not all(torch.equal(each, exact[name]) for name, each in rounded.items())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArrayNotFoundError, match=r"no checkpoint at .*nothing\.pt"):
        load_network(tmp_path / "nothing.pt")


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    for name in ("a.pt", "a.safetensors"):
        (tmp_path / name).write_bytes(b"PNG not at all")
        with pytest.raises(DataError, match=r"a\.(pt|safetensors) is not a "):
            load_network(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(DataError, match="no network_config and no network"):
        load_network(tmp_path / "list.pt")


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (marker,))

    checkpoint(tmp_path / "evil.pt", extra=Evil())
    with pytest.raises(DataError, match="loaded safely"):
        load_network(tmp_path / "evil.pt")
    assert not marker.exists()


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    weights = build_network(CONFIG).state_dict()
    weights["heads.mitochondria.weight"] = weights.pop("heads.affinities.bias")
    weights["heads.affinities.weight"] = torch.zeros(4, 2, 1, 1, 1)
    with pytest.raises(DataError) as caught:
        load_network(checkpoint(tmp_path / "a.pt", network=weights))
    message = str(caught.value)
    assert "heads.affinities.bias is missing" in message
    assert "heads.mitochondria.weight is not part of the network" in message
    assert "heads.affinities.weight has shape (4, 2, 1, 1, 1), expected (3, 2, 1, 1, 1)" in message


def test_another_architecture_shows_the_difference(tmp_path: Path) -> None:
    expected = NetworkConfig(unet=CONFIG.unet.model_copy(update={"feature_maps": 5}), heads={"affinities": 3})
    with pytest.raises(ConfigError, match=r"holds another network: unet\.feature_maps is 2, not 5"):
        load_network(checkpoint(tmp_path / "a.pt"), expected=expected)
    with pytest.raises(ConfigError, match=r"network_config: unknown key 'head' \(did you mean 'heads'"):
        load_network(checkpoint(tmp_path / "b.pt", network_config={"head": {"affinities": 3}}))


def test_saving_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        save_network(tmp_path / "no" / "folder" / "a.safetensors", build_network(CONFIG))
