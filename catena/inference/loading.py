"""Load a trained network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from catena.errors import ArrayNotFoundError, ConfigError, DataError, OutputError
from catena.networks.base import BaseNetwork
from catena.networks.build import build_network
from catena.networks.config import AnyNetworkConfig, architecture_differences, parse_network_config

_BULKY = ("network", "unaveraged", "optimiser", "random_states", "scaler")


@dataclass(frozen=True)
class LoadedNetwork:
    """A trained network and where it comes from.

    Attributes
    ----------
    network
        In evaluation mode, on the CPU.
    config
        What it was built from.
    metadata
        What else the checkpoint tells, without optimiser and random states: iteration, user
        configuration, metrics.
    """

    network: BaseNetwork
    config: AnyNetworkConfig
    metadata: dict[str, Any]


def load_network(path: str | Path, expected: AnyNetworkConfig | None = None) -> LoadedNetwork:
    """Load the network of a checkpoint, executing nothing in it.

    Parameters
    ----------
    path
        A checkpoint of training, or a ``.safetensors`` file written by :func:`save_network`.
    expected
        What the network should be; any other is refused.

    Raises
    ------
    ArrayNotFoundError
        If there is no such file.
    DataError
        If it is not a checkpoint, or its weights do not fit its own configuration.
    ConfigError
        If the network is not the expected one; the message names the differences.
    """
    path = Path(path)
    if not path.is_file():
        raise ArrayNotFoundError(f"no checkpoint at {path}")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    missing = [key for key in ("network_config", "network") if not isinstance(state.get(key), Mapping)]
    if missing:
        raise DataError(f"{path} is not a checkpoint of Catena: it has no {' and no '.join(missing)}")
    config = parse_network_config(state["network_config"], f"{path}: network_config")
    if expected is not None and config != expected:
        raise ConfigError(f"{path} holds another network: {_differences(config, expected)}")
    with torch.device("meta"):
        network = build_network(config)
    _check_weights(path, state["network"], network.state_dict())
    network.load_state_dict(state["network"], assign=True)
    return LoadedNetwork(network.eval(), config, {key: each for key, each in state.items() if key not in _BULKY})


def save_network(
    path: str | Path,
    network: BaseNetwork,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the weights and configuration of a network alone, to a ``.safetensors`` file.

    Parameters
    ----------
    metadata
        Plain values to keep with it.
    dtype
        What weights are rounded to in the file; they are loaded as float32 whatever it is.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    header = {"network_config": json.dumps(network.config.model_dump(mode="json"))}
    header |= {key: json.dumps(value) for key, value in (metadata or {}).items()}
    weights = {name: _as_float(each.detach().cpu(), dtype).contiguous() for name, each in network.state_dict().items()}
    try:
        save_file(weights, path, metadata=header)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {path}: {error}") from error


def _differences(found: AnyNetworkConfig, wanted: AnyNetworkConfig) -> str:
    return architecture_differences(found.model_dump(mode="json"), wanted.model_dump(mode="json"))


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each raise their own
        reason = str(error).split("\n")[0]
        raise DataError(f"{path} is not a checkpoint that can be loaded safely: {reason}") from error
    return state if isinstance(state, dict) else {}


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            header = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            weights = {name: _as_float(file.get_tensor(name), torch.float32) for name in file.keys()}  # noqa: SIM118
            return header | {"network": weights}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a network saved by Catena: {error}") from error


def _as_float(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype) if values.is_floating_point() else values


def _check_weights(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    lines = [f"{name} is missing" for name in expected if name not in found]
    lines += [f"{name} is not part of the network" for name in found if name not in expected]
    lines += [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    if lines:
        more = f"; and {len(lines) - 8} more" if len(lines) > 8 else ""
        raise DataError(f"the weights in {path} do not fit its network_config: {'; '.join(lines[:8])}{more}")
