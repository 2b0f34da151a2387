"""Training: data from gunpowder, a loop that reads top to bottom, checkpoints that resume exactly.

What needs torch is imported on first use; the configuration models load at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from catena.training.config import TrainConfig, TrainExecution

if TYPE_CHECKING:
    from catena.training.checkpoints import Checkpoints, load_checkpoint
    from catena.training.dataset import Crop, CropDataset
    from catena.training.loop import train
    from catena.training.run import Trained

_LAZY = {
    "Checkpoints": "checkpoints",
    "Crop": "dataset",
    "CropDataset": "dataset",
    "Trained": "run",
    "load_checkpoint": "checkpoints",
    "train": "loop",
}

__all__ = [
    "Checkpoints",
    "Crop",
    "CropDataset",
    "TrainConfig",
    "TrainExecution",
    "Trained",
    "load_checkpoint",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
