"""What the rows of the table are, and how each is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.datasets import Dataset
from benchmarks.accuracy.experiment import Experiment
from benchmarks.accuracy.regions import Labels, Region, choose_and_score
from benchmarks.accuracy.table import Row
from benchmarks.accuracy.waterz_reference import published_fragments, waterz_fragments, waterz_tables
from catena.arrays import open_array
from catena.evaluation import ZERO_POLICIES, Scores, ZeroPolicy
from catena.progress import format_seconds
from catena.segmentation.boundary import short_range_channels
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.evaluation import segment_baseline
from local_shape_descriptors.pretrained import ModelCard, cards
from local_shape_descriptors.scoring import Truth

WEIGHT = "fib25"
BENCH = "make bench BENCH=accuracy PART="
Config = LocalShapeDescriptorsConfig
Affinities = NDArray[np.uint8]


def trained(name: str, dataset: Dataset, what: str, overrides: tuple[str, ...] = ()) -> Row:
    """Train a network, segment and score."""
    experiment = Experiment("run", dataset.config, overrides)
    experiment.finish()
    metrics, training = experiment.metrics(), experiment.training()
    return Row(
        name,
        what,
        experiment.command,
        own_scores(metrics, experiment.reference),
        metrics["threshold"],
        training.iterations,
        format_seconds(training.seconds),
        training.seconds,
    )


def shipped(name: str, dataset: Dataset) -> Row:
    """Segment and score with the network that comes with Catena."""
    experiment = shipped_experiment(dataset)
    experiment.finish()
    metrics, card = experiment.metrics(), cards()[WEIGHT]
    scores = own_scores(metrics, experiment.reference)
    what = f"Catena, shipped network `{WEIGHT}`"
    return Row(name, what, experiment.command, scores, metrics["threshold"], card.iterations, card.hardware)


def with_waterz(name: str, dataset: Dataset, what: str, fragments_of: Callable[[Affinities], Labels]) -> Row:
    """Segment the shipped network's affinities with fragments and waterz."""
    experiment = shipped_experiment(dataset)
    experiment.finish()
    array = open_array(experiment.affinities)
    short = list(short_range_channels(array.affinity_offsets, len(array.affinity_offsets)).all)
    affinities = np.ascontiguousarray(array.read()[short])
    fragments = fragments_of(affinities)
    ids, tables = waterz_tables(affinities, fragments, experiment.config.lookup_tables.values)

    def region(truth: Truth, labels: Labels, reference: Labels | None) -> Region:
        begin, shape = (truth.roi.begin - array.offset) // array.voxel_size, truth.roi.shape // array.voxel_size
        part = tuple(slice(b, b + n) for b, n in zip(begin, shape, strict=True))
        return Region(fragments[part], labels, ids, tables, reference)

    threshold, scores = _scored(experiment, region)
    card = cards()[WEIGHT]
    return Row(name, what, BENCH + name, scores, threshold, card.iterations, card.hardware)


def published(name: str, dataset: Dataset) -> Row:
    """Score the published segmentation beside the shipped network's."""
    experiment = shipped_experiment(dataset)
    experiment.finish()
    if experiment.reference is None:
        raise LookupError(f"{dataset.config} names no reference")
    scores = reference_scores(experiment.metrics(), experiment.reference)
    return Row(name, f"published {experiment.reference.upper()}", experiment.command, scores)


def baseline(name: str, dataset: Dataset) -> Row:
    """Segment raw without a network, as ``catena evaluate`` does, and score it under every policy."""
    experiment = Experiment("evaluate", dataset.config)

    def region(truth: Truth, labels: Labels, reference: Labels | None) -> Region:
        made = segment_baseline(experiment.config, experiment.volume, truth)
        return Region(made.fragments.labels, labels, made.fragments.ids, made.tables, reference)

    threshold, scores = _scored(experiment, region)
    return Row(name, "no-learning baseline", BENCH + name, scores, threshold, training="none")


_affinities_only = partial(
    trained, what="affinities only, trained equally long", overrides=("experiment=fib25_long_aff", "model.type=aff")
)
_published_waterz = partial(
    with_waterz, what="the same affinities, published fragments, waterz", fragments_of=published_fragments
)
_waterz_alone = partial(with_waterz, what="the same affinities, waterz alone", fragments_of=waterz_fragments)
ROWS: dict[str, tuple[str, Callable[[str, Dataset], Row]]] = {
    "quick": ("fib25", partial(trained, what="Catena, `fib25.yaml`")),
    "mtlsd": ("fib25_long", partial(trained, what="Catena, `fib25_long.yaml`")),
    "aff": ("fib25_long", _affinities_only),
    "shipped": ("fib25_long", shipped),
    "waterz": ("fib25_long", _published_waterz),
    "waterz_watershed": ("fib25_long", _waterz_alone),
    "ffn": ("fib25_long", published),
    "baseline": ("fib25", baseline),
    "snemi3d": ("snemi3d", partial(trained, what="Catena, `snemi3d.yaml`")),
    "snemi3d_baseline": ("snemi3d", baseline),
}
"""Rows by name: the data set, and what makes the row."""


def shipped_experiment(dataset: Dataset) -> Experiment:
    """Return the experiment that scores the network that comes with Catena."""
    card = cards()[WEIGHT]
    given = ("experiment=fib25_pretrained", f"inputs.checkpoint=local_shape_descriptors/weights/{WEIGHT}.safetensors")
    experiment = Experiment("evaluate", dataset.config, given)
    return Experiment("evaluate", dataset.config, (*given, *differences(card, experiment.config)))


def differences(card: ModelCard, config: Config) -> tuple[str, ...]:
    """Return the overrides that an experiment needs to use a network as its card says.

    The architecture is the weight's; what it predicts, and how that is segmented, the experiment has to say.
    """
    wanted: dict[str, tuple[Any, Any]] = {
        f"model.{key}": (getattr(card.model, key), getattr(config.model, key)) for key in ("type", "neighbourhood")
    }
    for key in type(card.fragments).model_fields:
        wanted[f"fragments.{key}"] = getattr(card.fragments, key), getattr(config.fragments, key)
    wanted["agglomerate.merge_function"] = card.merge_function, config.agglomerate.merge_function
    return tuple(f"{key}={_plain(there)}" for key, (there, here) in wanted.items() if there != here)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def own_scores(metrics: Mapping[str, Any], reference: str | None) -> dict[ZeroPolicy, Scores]:
    """Return the scores that ``metrics.json`` has of the segmentation; common voxels are those the reference labels."""
    prefixes = {policy: "" if policy == metrics["zeros"] else f"{policy}_" for policy in ZERO_POLICIES}
    if reference is not None:
        prefixes["common"] = f"common_{reference}_"
    return _found(metrics, prefixes)


def reference_scores(metrics: Mapping[str, Any], reference: str) -> dict[ZeroPolicy, Scores]:
    """Return the scores that ``metrics.json`` has of a reference."""
    return _found(metrics, {policy: f"reference_{reference}_{policy}_" for policy in ZERO_POLICIES})


def _found(metrics: Mapping[str, Any], prefixes: Mapping[ZeroPolicy, str]) -> dict[ZeroPolicy, Scores]:
    keys = ("voi_split", "voi_merge", "adapted_rand_error")
    return {
        policy: Scores(*(float(metrics[prefix + key]) for key in keys))
        for policy, prefix in prefixes.items()
        if prefix + keys[0] in metrics  # nothing in common, no score
    }


def _scored(
    experiment: Experiment, region: Callable[[Truth, Labels, Labels | None], Region]
) -> tuple[float, dict[ZeroPolicy, Scores]]:
    config, volume = experiment.config, experiment.volume
    made = {}
    for name in ("validation", "test"):
        truth = Truth(config, volume, name)
        reference = None
        if experiment.reference is not None:
            path = config.volume(volume).references[experiment.reference]
            reference = truth.geometry.open(path).read(truth.roi, outside="zero").astype(np.uint64)
        made[name] = region(truth, truth.read(truth.roi), reference)
    thresholds, zeros = config.lookup_tables.values, config.evaluate.zeros
    return choose_and_score(made["validation"], made["test"], thresholds, zeros, truth.geometry.voxel_size)
