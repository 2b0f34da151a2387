"""From a configuration to the network it describes."""

from __future__ import annotations

from typing import overload

from catena.networks.autocontext import AutocontextNetwork
from catena.networks.base import BaseNetwork
from catena.networks.config import AnyNetworkConfig, AutocontextConfig, NetworkConfig
from catena.networks.network import Network


@overload
def build_network(config: NetworkConfig) -> Network: ...
@overload
def build_network(config: AutocontextConfig) -> AutocontextNetwork: ...
@overload
def build_network(config: AnyNetworkConfig) -> BaseNetwork: ...
def build_network(config: AnyNetworkConfig) -> BaseNetwork:
    """Build a network with freshly drawn weights (seed torch first for reproducible ones)."""
    return Network(config) if isinstance(config, NetworkConfig) else AutocontextNetwork(config)
