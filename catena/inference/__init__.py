"""From a checkpoint and raw data to predictions.

What needs torch is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from catena.inference.preparation import check_raw, prepare_raw

if TYPE_CHECKING:
    from catena.inference.loading import LoadedNetwork, load_network, save_network
    from catena.inference.prediction import Predictor, mirrored_reader, predict_array

_LAZY = {
    "LoadedNetwork": "loading",
    "load_network": "loading",
    "save_network": "loading",
    "Predictor": "prediction",
    "mirrored_reader": "prediction",
    "predict_array": "prediction",
}

__all__ = [
    "LoadedNetwork",
    "Predictor",
    "check_raw",
    "load_network",
    "mirrored_reader",
    "predict_array",
    "prepare_raw",
    "save_network",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
