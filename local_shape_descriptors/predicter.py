"""Predict a volume in memory, and open the network that blockwise prediction shares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.blockwise.devices import claim_gpu
from catena.errors import ConfigError
from catena.networks.config import AnyNetworkConfig, AutocontextConfig
from catena.task import Job, Made, input_path
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.heads import Offsets
from local_shape_descriptors.model import ModelConfig

if TYPE_CHECKING:
    from catena.inference import LoadedNetwork, Predictor
    from catena.inference.prediction import Precision

BEST = "best.pt"


def predict(
    raw: NDArray[Any], checkpoint: str | Path | LoadedNetwork, *, device: str | None = None, **settings: Any
) -> dict[str, NDArray[np.uint8]]:
    """Predict every voxel of a volume in memory.

    Parameters
    ----------
    raw
        ``(z, y, x)`` uint8, uint16, or floating point in [0, 1].
    checkpoint
        A file that training wrote, or what :func:`catena.inference.load_network` made of it.
    device
        As torch names it. Default: a GPU if there is one.
    **settings
        Further arguments of :class:`catena.inference.Predictor`.

    Returns
    -------
    dict
        ``affinities`` ``(c, z, y, x)`` and ``lsds`` ``(10, z, y, x)``, as far as the network has
        them; uint8, value · 255.

    Raises
    ------
    ArrayNotFoundError
        If there is no checkpoint.
    DataError
        If raw or the checkpoint cannot be used.
    """
    from catena.inference import Predictor, load_network  # imports torch, which every worker would wait for

    loaded = load_network(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint
    chosen = device or default_device()
    return Predictor(loaded.network, device=chosen, **{"precision": fast_precision(chosen), **settings}).array(raw)


def default_device(job: Path | None = None) -> str:
    """Return ``cuda`` if there is a GPU, else ``cpu``; for a worker of the job in this folder a GPU it has claimed."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return "cuda" if job is None else f"cuda:{claim_gpu(job, torch.cuda.device_count())}"


def fast_precision(device: str) -> Precision:
    """Return bfloat16 where the hardware is made for it, else float32."""
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.cpu.get_capabilities().get("avx512_bf16", False) else "float32"


def prediction_precision(config: LocalShapeDescriptorsConfig, device: str) -> Precision:
    """Return the precision an experiment predicts with on `device`."""
    chosen = config.predict.precision
    return fast_precision(device) if chosen == "auto" else chosen


def checkpoint_path(job: Job, name: str = "checkpoint") -> Path:
    """Return the checkpoint that is an input of a job: given, or the best one trained."""
    path = Path(input_path(job, name))
    return path / BEST if isinstance(job.inputs[name], Made) else path


def open_predictor(checkpoint: Path, config: LocalShapeDescriptorsConfig, job: Path | None = None) -> Predictor:
    """Load a checkpoint for an experiment, in a worker on the GPU that it claims in its job's folder.

    Raises
    ------
    ConfigError
        If its outputs are not those that the experiment's model has.
    """
    from catena.inference import Predictor, load_network

    loaded = load_network(checkpoint)
    found, expected = dict(loaded.config.heads), config.model.channels
    if found != expected:
        raise ConfigError(
            f"{checkpoint} predicts {_describe(found)}, but model.type {config.model.type} with this neighbourhood "
            f"predicts {_describe(expected)}; change model.type or model.neighbourhood, or take another checkpoint"
        )
    _check_offsets(checkpoint, loaded.metadata, config.model)
    device = default_device(job)
    return Predictor(loaded.network, device=device, precision=prediction_precision(config, device))


def other_network(checkpoint: str | Path, model: ModelConfig, voxel_size: Coordinate) -> str:
    """Return in what a checkpoint's network differs from that of `model`, which need not be: empty if in nothing.

    Padding and cropping do not count, for weights serve either and prediction does neither.

    Raises
    ------
    DataError
        If it is no checkpoint.
    ConfigError
        If the parts of `model` do not fit together.
    """
    from catena.inference import load_network

    there, here = _as_built(load_network(checkpoint).config), _as_built(model.network(voxel_size))
    different = [name for name in there if there[name] != here[name]]
    if "downsampling" in different:  # from which kernels follow
        different = [name for name in different if not name.startswith("kernels")]
    return "; ".join(f"model.{name} there {there[name]}, here {here[name]}" for name in different)


def _as_built(config: AnyNetworkConfig) -> dict[str, Any]:
    """Return what a network is made of, the same in whatever words it was asked for; of two networks the second."""
    if isinstance(config, AutocontextConfig):
        return {**_as_built(config.second), "type": "acrlsd" if config.with_raw else "aclsd"}
    unet = config.unet
    written = unet.model_dump(mode="json", exclude={"growth", "padding", "equivariant_crop"})
    return {
        **written,
        "feature_maps": [unet.feature_maps_at(level) for level in range(unet.levels + 1)],
        "kernels_down": [[list(kernel) for kernel in each] for each in unet.passes_down],
        "kernels_up": [[list(kernel) for kernel in each] for each in unet.passes_up],
        "type": "one network",
    }


def trained_model(checkpoint: str | Path, metadata: Mapping[str, Any]) -> ModelConfig | None:
    """Return the model that a checkpoint's metadata say it was trained as; None where they say nothing.

    Raises
    ------
    ConfigError
        If that is no model.
    """
    settings = metadata.get("user_config", {}).get("model")
    return None if settings is None else ModelConfig.parse(settings, f"{checkpoint}: model")


def _check_offsets(checkpoint: Path, metadata: Mapping[str, Any], model: ModelConfig) -> None:
    """Refuse a checkpoint that says it was trained with other affinity offsets; some say nothing."""
    trained = trained_model(checkpoint, metadata)
    if trained is None:
        return
    for head in model.heads:
        if trained.offsets(head) != model.offsets(head):
            raise ConfigError(
                f"{checkpoint} was trained with {_listed(trained.offsets(head))} as the neighbourhood of {head}, this "
                f"experiment says {_listed(model.offsets(head))}; give it the one it was trained with"
            )


def _listed(offsets: Offsets) -> list[list[int]]:
    return [list(each) for each in offsets]


def _describe(heads: dict[str, int]) -> str:
    return ", ".join(f"{name} ({channels})" for name, channels in heads.items())
