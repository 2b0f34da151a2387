"""Their side: the published pipeline out of gunpowder's nodes and `lsds`, ``PreCache`` and ``torch.Train``."""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from pathlib import Path

import gunpowder as gp
import numpy as np
import torch
from funlib.geometry import Coordinate, Roi
from lsd.train.gp import AddLocalShapeDescriptor
from torch import Tensor, nn

from benchmarks.training.experiment import LEARNING_RATE, THREADS, VOXEL_SIZE, WORKERS, Experiment
from catena.networks import BaseNetwork, build_network

RAW, LABELS = gp.ArrayKey("BENCH_RAW"), gp.ArrayKey("BENCH_LABELS")
AFFS, AFFS_WEIGHTS = gp.ArrayKey("BENCH_AFFS"), gp.ArrayKey("BENCH_AFFS_WEIGHTS")
LSDS, LSDS_WEIGHTS = gp.ArrayKey("BENCH_LSDS"), gp.ArrayKey("BENCH_LSDS_WEIGHTS")
PREDICTED_AFFS, PREDICTED_LSDS = gp.ArrayKey("BENCH_PREDICTED_AFFS"), gp.ArrayKey("BENCH_PREDICTED_LSDS")
OFFSETS = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
CACHED = 4 * WORKERS  # as many as our data workers prepare ahead


def batches_per_second(experiment: Experiment, count: int) -> float:
    """Return the rate of `count` batches after as many as there are processes."""
    return _rate(_pipeline(experiment), _request(experiment), count, WORKERS)


def steps_per_second(experiment: Experiment, count: int) -> float:
    """Return the rate of training steps after the first one."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    network = build_network(experiment.crops.network)
    with tempfile.TemporaryDirectory(dir=experiment.folder) as folder:
        pipeline = _pipeline(experiment) + gp.torch.Train(
            _AsTuple(network),
            _loss,
            torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, betas=(0.95, 0.999)),
            inputs={0: RAW},
            outputs={0: PREDICTED_AFFS, 1: PREDICTED_LSDS},
            loss_inputs={0: PREDICTED_AFFS, 1: AFFS, 2: AFFS_WEIGHTS, 3: PREDICTED_LSDS, 4: LSDS, 5: LSDS_WEIGHTS},
            checkpoint_basename=str(Path(folder) / "model"),
            save_every=10**6,
            device="cpu",
        )
        return _rate(pipeline, _request(experiment, predicted=True), count, 1)


def _rate(pipeline: gp.Pipeline, request: gp.BatchRequest, count: int, before: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with gp.build(pipeline) as built:
            for _ in range(before):
                built.request_batch(request)
            began = time.perf_counter()
            for _ in range(count):
                built.request_batch(request)
            return count / (time.perf_counter() - began)


def _pipeline(experiment: Experiment) -> gp.Pipeline:
    """Return the published pipeline for isotropic data, without masks of unlabelled voxels, up to its cache."""
    # A turned crop is longer by half at most; descriptors look 30 voxels further.
    context = experiment.crops.output_shape / 2 + Coordinate(40, 40, 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        deform = gp.ElasticAugment(
            control_point_spacing=[40, 40, 40],
            jitter_sigma=[2, 2, 2],
            rotation_interval=[0, math.pi / 2],
            prob_slip=0.01,
            prob_shift=0.01,
            max_misalign=1,
            subsample=8,
        )
    sources = (_source(RAW, experiment.raw, True), _source(LABELS, experiment.labels, False))
    return (
        sources
        + gp.MergeProvider()
        + gp.Normalize(RAW)
        + gp.Pad(RAW, None)
        + gp.Pad(LABELS, context * VOXEL_SIZE, mode="reflect")  # as we do: as many objects in every crop
        + gp.RandomLocation()
        + deform
        + gp.SimpleAugment()
        + gp.IntensityAugment(RAW, 0.9, 1.1, -0.1, 0.1)
        + gp.GrowBoundary(LABELS, steps=1)
        + AddLocalShapeDescriptor(LABELS, LSDS, lsds_mask=LSDS_WEIGHTS, sigma=80, downsample=2)
        + gp.AddAffinities(OFFSETS, LABELS, AFFS, dtype=np.float32)
        + gp.BalanceLabels(AFFS, AFFS_WEIGHTS)
        + gp.IntensityScaleShift(RAW, 2, -1)
        + gp.Unsqueeze([RAW])
        + gp.Stack(1)
        + gp.PreCache(cache_size=CACHED, num_workers=WORKERS)
    )


def _source(key: gp.ArrayKey, path: str, interpolatable: bool) -> gp.ZarrSource:
    container, dataset = path.split(".zarr/", 1)
    spec = gp.ArraySpec(interpolatable=interpolatable, voxel_size=VOXEL_SIZE)
    return gp.ZarrSource(f"{container}.zarr", {key: dataset}, {key: spec})


def _request(experiment: Experiment, predicted: bool = False, seed: int | None = None) -> gp.BatchRequest:
    crops = experiment.crops
    request = gp.BatchRequest(random_seed=seed)
    request[RAW] = gp.ArraySpec(roi=Roi(crops.output_begin * VOXEL_SIZE * -1, crops.input_shape * VOXEL_SIZE))
    keys = [AFFS, AFFS_WEIGHTS, LSDS, LSDS_WEIGHTS, *([PREDICTED_AFFS, PREDICTED_LSDS] if predicted else [])]
    for key in keys:
        request[key] = gp.ArraySpec(roi=crops.target)
    return request


class _AsTuple(nn.Module):
    """The network as gunpowder takes it."""

    def __init__(self, network: BaseNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        predicted = self.network(raw)
        return predicted["affinities"], predicted["lsds"]


def _loss(
    affs: Tensor, affs_target: Tensor, affs_weight: Tensor, lsds: Tensor, lsds_target: Tensor, lsds_weight: Tensor
) -> Tensor:
    return _weighted(affs, affs_target, affs_weight) + _weighted(lsds, lsds_target, lsds_weight)


def _weighted(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return (weight * (predicted - target) ** 2).sum() / weight.sum().clamp_min(1)
