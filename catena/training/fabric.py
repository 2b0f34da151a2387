"""The device, arithmetic and processes of a training, through Lightning Fabric."""

from __future__ import annotations

import logging
from typing import Any

import torch

from catena.errors import ConfigError
from catena.training.config import TrainExecution
from catena.training.place import Place


def open_fabric(execution: TrainExecution, precision: str, place: Place) -> Any:
    """Return Fabric, set up for this process.

    Raises
    ------
    ConfigError
        If the device is not there, or cannot compute in this precision.
    """
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import DDPStrategy

    for name in ("lightning.fabric", "lightning.pytorch"):  # they announce the precision on stderr
        logging.getLogger(name).setLevel(logging.WARNING)
    device = "cuda" if on_gpu(execution) else "cpu"
    chosen = chosen_precision(device, precision)
    fabric = Fabric(
        accelerator=device,
        devices=place.local_size,
        num_nodes=place.size // place.local_size,
        strategy=DDPStrategy() if place.size > 1 else "auto",
        precision={"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}[chosen],
        # Without naming the environment, Fabric takes a Slurm job's, and warns wherever srun is installed.
        plugins=[_environment(place)],
    )
    fabric.launch()
    if device == "cuda":
        torch.backends.cudnn.deterministic = True
    return fabric


def on_gpu(execution: TrainExecution) -> bool:
    """Tell whether training runs on a GPU.

    Raises
    ------
    ConfigError
        If it should and there is none.
    """
    there = torch.cuda.is_available()
    if execution.device == "cuda" and not there:
        raise ConfigError("execution.train.device is cuda, but torch finds no GPU here; use cpu or auto")
    return there and execution.device != "cpu"


def chosen_precision(device: str, precision: str) -> str:
    """Return the precision to compute in: what 'auto' means on `device`, or the one asked for.

    Raises
    ------
    ConfigError
        If it is float16 on a CPU.
    """
    if precision == "float16" and device == "cpu":
        raise ConfigError("train.precision float16 is for GPUs; on a CPU use bfloat16, float32 or auto")
    if precision != "auto":
        return precision
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return "bfloat16" if fast else "float32"


def _environment(place: Place) -> Any:
    """Return what tells Fabric which of all processes this is; none is started by Fabric."""
    from lightning.fabric.plugins.environments import LightningEnvironment

    class Environment(LightningEnvironment):
        @property
        def creates_processes_externally(self) -> bool:
            return True

        def local_rank(self) -> int:
            return place.local_rank

        def node_rank(self) -> int:
            return place.rank // place.local_size

    return Environment()
