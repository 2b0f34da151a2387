"""U-Nets: configuration, legal shapes, modules and losses.

The modules that need torch are imported on first use, so that configuration and shape arithmetic
stay quick to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from catena.networks.config import NetworkConfig, UNetConfig, architecture_differences
from catena.networks.losses import LOSSES, Loss, LossTerm, total_loss, weighted_mse
from catena.networks.rsunet import RSUNET
from catena.networks.shapes import UNetShapes
from catena.networks.voxel_size import unet_for_voxel_size

if TYPE_CHECKING:
    from catena.networks.network import Network, build_network

_LAZY = {"Network": "network", "build_network": "network"}

__all__ = [
    "LOSSES",
    "RSUNET",
    "Loss",
    "LossTerm",
    "Network",
    "NetworkConfig",
    "UNetConfig",
    "UNetShapes",
    "architecture_differences",
    "build_network",
    "total_loss",
    "unet_for_voxel_size",
    "weighted_mse",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
