"""U-Nets: configuration, legal shapes, modules and losses.

The modules that need torch are imported on first use, so that configuration and shape arithmetic
stay quick to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from catena.networks.config import (
    AnyNetworkConfig,
    AutocontextConfig,
    NetworkConfig,
    UNetConfig,
    architecture_differences,
    parse_network_config,
)
from catena.networks.losses import LOSSES, Loss, LossTerm, total_loss, weighted_mse
from catena.networks.rsunet import RSUNET
from catena.networks.shapes import AutocontextShapes, NetworkShapes, UNetShapes, network_shapes
from catena.networks.voxel_size import unet_for_voxel_size

if TYPE_CHECKING:
    from catena.networks.autocontext import AutocontextNetwork
    from catena.networks.base import BaseNetwork
    from catena.networks.build import build_network
    from catena.networks.network import Network

_LAZY = {
    "AutocontextNetwork": "autocontext",
    "BaseNetwork": "base",
    "Network": "network",
    "build_network": "build",
}

__all__ = [
    "LOSSES",
    "RSUNET",
    "AnyNetworkConfig",
    "AutocontextConfig",
    "AutocontextNetwork",
    "AutocontextShapes",
    "BaseNetwork",
    "Loss",
    "LossTerm",
    "Network",
    "NetworkConfig",
    "NetworkShapes",
    "UNetConfig",
    "UNetShapes",
    "architecture_differences",
    "build_network",
    "network_shapes",
    "parse_network_config",
    "total_loss",
    "unet_for_voxel_size",
    "weighted_mse",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
