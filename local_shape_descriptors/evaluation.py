"""Score a segmentation on the validation and test regions, beside references and the no-learning baseline."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.blockwise.faults import fault_point
from catena.evaluation import Contingency, RegionScores, Scores, Skeleton, Sweep, score, sweep_thresholds
from catena.evaluation.baseline import AFFINITY_OFFSETS, pseudo_affinities
from catena.evaluation.zeros import ZERO_POLICIES, ZeroPolicy, apply_zero_policy
from catena.segmentation import FragmentsConfig, Segmentation, relabel, segment
from catena.task import Given, Input, Job, Output, Progress, StageReport, input_path
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.fragments import settings_of
from local_shape_descriptors.geometry import open_input, volume_geometry
from local_shape_descriptors.lookup_tables import (
    LookupTables,
    given_threshold,
    tables_path,
    threshold_of,
    threshold_source,
)
from local_shape_descriptors.objects import NEURONS, Objects, ObjectsStage
from local_shape_descriptors.run_length import (
    crop_skeletons,
    flat_run_length,
    read_skeletons,
    skeleton_files,
    skeleton_settings,
    skeletons_of,
)
from local_shape_descriptors.scoring import Truth, count, truth_inputs

Settings = LocalShapeDescriptorsConfig
REGIONS = ("validation", "test")
BASELINE_LIMIT_VOX = 200_000_000


class EvaluateStage(ObjectsStage):
    """Write ``metrics.json`` and the plot of VOI split against merge."""

    step, version = "evaluate", 2

    def applies(self, config: Settings, volume: str) -> bool:
        """Only volumes with labels or skeletons, and with a region to score, are evaluated."""
        return bool(scored_regions(config, volume, self.objects)) and super().applies(config, volume)

    def lacks(self, config: Settings, volume: str) -> str:
        """Return which of ground truth and regions is not there."""
        if not super().applies(config, volume):
            return ""
        settings, neurons = config.volume(volume), self.objects is NEURONS
        missing = []
        if self.objects.labels(settings) is None and skeletons_of(config, volume, self.objects) is None:
            where = "labels or skeletons" if neurons else f"other_labels.{self.objects.name}"
            missing.append(f"no {where} (volumes.{volume})")
        if not set(REGIONS) & set(settings.regions):
            missing.append(f"no region {' or '.join(REGIONS)} (volumes.{volume}.regions)")
        return " and ".join(missing)

    def check(self, config: Settings, volume: str) -> None:
        """Read the skeletons before anything is trained: they may not be there, or not lie in the volume."""
        if skeletons_of(config, volume, self.objects) is not None:
            read_skeletons(config, volume)

    def inputs(self, config: Settings, volume: str) -> Mapping[str, Input]:
        """Return fragments, tables, truth, references, raw for the baseline, and what chose the threshold."""
        settings = config.volume(volume)
        inputs: dict[str, Input] = {
            "fragments": self.made("fragments", "fragments", volume),
            "lookup_tables": self.made("lookup_tables", "lookup_tables", volume),
            **truth_inputs(config, volume, self.objects),
            **{
                f"references.{name}": Given(path, voxel_size_nm=settings.voxel_size_nm)
                for name, path in references_of(config, volume, self.objects).items()
            },
        }
        threshold = threshold_source(config, volume, self.objects)
        if threshold is not None:
            inputs["threshold"] = threshold
        if self._has_baseline(config, volume) and settings.raw is not None:
            inputs["raw"] = Given(settings.raw, voxel_size_nm=settings.voxel_size_nm)
        if (traced := skeletons_of(config, volume, self.objects)) is not None:
            inputs["skeletons"] = skeleton_files(traced)
        return inputs

    def _has_baseline(self, config: Settings, volume: str) -> bool:
        # dark raw is a membrane, nothing tells a mitochondrion
        neurons = self.objects is NEURONS
        return neurons and config.evaluate.baseline and config.volume(volume).labels is not None

    def outputs(self, config: Settings, volume: str) -> Mapping[str, Output]:
        """Return the figures and, with labels, the plot."""
        called = self.objects.called
        plot = {"plot": Output(called("voi.png"), "file")} if labelled_regions(config, volume, self.objects) else {}
        return {"metrics": Output(called("metrics.json"), "file"), **plot}

    def settings(self, config: Settings, volume: str) -> Mapping[str, Any]:
        """Return how scores are computed; for the baseline also how it is segmented."""
        regions = config.volume(volume).regions
        scored = scored_regions(config, volume, self.objects)
        neurons = self.objects is NEURONS
        values: dict[str, Any] = {
            "evaluate": config.evaluate.model_dump(mode="json", include=None if neurons else {"minimum_label_voxels"}),
            "regions": {name: regions[name].model_dump(mode="json") for name in scored},
        }
        if threshold_source(config, volume, self.objects) is None:
            values["threshold"] = given_threshold(config, self.objects)
        if (traced := skeletons_of(config, volume, self.objects)) is not None:
            values["skeletons"] = skeleton_settings(traced)
        if self._has_baseline(config, volume):
            values["fragments"] = baseline_fragments(config).result_settings()
            unused = {"store", "block_context", "memory_gb"}
            values["agglomerate"] = config.agglomerate.model_dump(mode="json", exclude=unused)
        return values

    def run(self, job: Job, progress: Progress) -> StageReport:
        """Score every region."""
        config = settings_of(job)
        outputs = self.outputs(config, job.volume)
        tables = LookupTables.load(tables_path(config, input_path(job, "lookup_tables"), self.objects))
        threshold, origin = threshold_of(job, self.objects)
        regions = scored_regions(config, job.volume, self.objects)
        labelled = labelled_regions(config, job.volume, self.objects)
        baseline = baseline_scores(config, job.volume) if "raw" in job.inputs else {}
        traced = read_skeletons(config, job.volume) if "skeletons" in job.inputs else []
        metrics: dict[str, Any] = {}
        sweeps: dict[str, Sweep] = {}
        references: dict[str, Scores] = {}
        for number, region in enumerate(regions):
            flat: dict[str, Any] = {
                "threshold": threshold,
                "merge_function": self.objects.agglomerate(config).merge_function,
            }
            if region in labelled:
                truth = Truth(config, job.volume, region, objects=self.objects)
                sweeps[region], flat = score_region(job, truth, tables, threshold, baseline.get(region), self.objects)
                names = references_of(config, job.volume, self.objects)
                found = reference_scores(job, truth, names)
                references = {name: each[config.evaluate.zeros] for name, each in found.items()}
                shared = scores_on_labelled_voxels(job, truth, tables, threshold, names)
                flat |= {**shared, **flat_references(found)}
            flat |= run_lengths(job, traced, region, tables, threshold)
            metrics[region] = {**flat, "threshold_origin": origin}
            progress(number + 1, len(regions))
        job.staged(outputs["metrics"]).write_text(json.dumps(metrics, indent=1))
        fault_point("evaluate.metrics_written")
        if labelled:
            scored = baseline.get(labelled[-1])
            write_plot(job, job.staged(outputs["plot"]), self.objects, sweeps, threshold, scored, references)
        return StageReport(figures=metrics)


def write_plot(
    job: Job,
    path: Path,
    objects: Objects,
    sweeps: Mapping[str, Sweep],
    threshold: float,
    baseline: RegionScores | None,
    references: Mapping[str, Scores],
) -> None:
    """Draw VOI split against merge; what that needs is loaded only now."""
    from catena.viewing.plots import write_voi_plot

    write_voi_plot(
        path,
        sweeps,
        threshold,
        baseline=baseline.scores if baseline is not None else None,
        references=references or None,
        title=f"{job.config.experiment}: {job.volume}{'' if objects is NEURONS else f', {objects.name}'}",
    )


def scored_regions(config: Settings, volume: str, objects: Objects = NEURONS) -> list[str]:
    """Return the regions in which a volume is scored: against labels, along skeletons, or both."""
    known = objects.labels(config.volume(volume)) is not None or skeletons_of(config, volume, objects) is not None
    return [name for name in REGIONS if name in config.volume(volume).regions] if known else []


def labelled_regions(config: Settings, volume: str, objects: Objects = NEURONS) -> list[str]:
    """Return the regions in which a volume is scored against labels."""
    return scored_regions(config, volume, objects) if objects.labels(config.volume(volume)) is not None else []


def run_lengths(
    job: Job, traced: Sequence[Skeleton], region: str, tables: LookupTables, threshold: float
) -> dict[str, float]:
    """Return run length in a region, ours and that of references; nothing where no skeleton runs."""
    config = settings_of(job)
    settings, geometry = config.volume(job.volume), volume_geometry(config, job.volume)
    roi = settings.region_roi(region)
    inside = crop_skeletons(traced, roi, geometry)
    if settings.skeletons is None or not inside:
        return {}
    ignored = settings.skeletons.ignored_nodes
    ids, segments = tables.ids, tables.at(threshold)
    fragments = open_input(job, "fragments", geometry)
    flat = flat_run_length(fragments, inside, roi, geometry, ignored, lambda each: relabel(each, ids, segments))
    for name in settings.references:
        other = flat_run_length(open_input(job, f"references.{name}", geometry), inside, roi, geometry, ignored)
        flat |= {f"reference_{name}_{key}": other[key] for key in ("erl_nm", "nerl", "merged_segments")}
    return flat


def references_of(config: Settings, volume: str, objects: Objects) -> Mapping[str, str]:
    """Return the paths of other segmentations to score beside ours; they are of neurons."""
    return config.volume(volume).references if objects is NEURONS else {}


def score_region(
    job: Job,
    truth: Truth,
    tables: LookupTables,
    threshold: float,
    baseline: RegionScores | None,
    objects: Objects,
) -> tuple[Sweep, dict[str, Any]]:
    """Return the sweep of a region and its flat figures, under every policy for zeros that the objects allow."""
    config = settings_of(job)
    main = objects.zeros(config)
    fragments = open_input(job, "fragments", truth.geometry)
    segments = tables.at(threshold)
    flat: dict[str, Any] = {}
    sweep: Sweep | None = None
    for policy in (main,) if objects.background else ZERO_POLICIES:
        counts = count(fragments, truth, policy, reference=fragments if policy == "common" else None)
        if counts.voxels == 0 and policy != main:  # nothing was segmented, nothing is common
            continue
        chosen = score(counts.relabelled(tables.ids, segments))
        if policy == main:
            sweep = sweep_thresholds(counts, tables.ids, tables.segments, tables.thresholds)
            scores = RegionScores(
                chosen, policy, threshold, objects.agglomerate(config).merge_function, baseline=baseline
            )
            flat = {**scores.to_flat(), **flat}
        else:
            flat |= flat_scores(chosen, policy)
    if sweep is None:
        raise ValueError(f"unknown policy {main}")
    return sweep, flat


def flat_scores(scores: Scores, prefix: str) -> dict[str, float]:
    """Return scores under keys that begin with `prefix`."""
    return {
        f"{prefix}_voi_split": scores.voi_split,
        f"{prefix}_voi_merge": scores.voi_merge,
        f"{prefix}_voi_sum": scores.voi_sum,
        f"{prefix}_adapted_rand_error": scores.adapted_rand_error,
    }


def scores_on_labelled_voxels(
    job: Job, truth: Truth, tables: LookupTables, threshold: float, names: Iterable[str]
) -> dict[str, float]:
    """Score ours on the voxels that each reference labels, to compare it with ``reference_<name>_common``."""
    fragments = open_input(job, "fragments", truth.geometry)
    flat: dict[str, float] = {}
    for name in names:
        reference = open_input(job, f"references.{name}", truth.geometry)
        counts = count(fragments, truth, "common", reference=reference)
        if counts.voxels == 0:
            continue
        flat |= flat_scores(score(counts.relabelled(tables.ids, tables.at(threshold))), f"common_{name}")
    return flat


def reference_scores(job: Job, truth: Truth, names: Iterable[str]) -> dict[str, dict[str, Scores]]:
    """Score other segmentations of the volume on a region, under every policy for zeros."""
    found: dict[str, dict[str, Scores]] = {}
    for name in names:
        array = open_input(job, f"references.{name}", truth.geometry)
        found[name] = {
            policy: score(count(array, truth, policy, reference=array if policy == "common" else None))
            for policy in ZERO_POLICIES
        }
    return found


def flat_references(found: Mapping[str, Mapping[str, Scores]]) -> dict[str, float]:
    """Return the scores of references as ``reference_<name>_<policy>_<figure>``."""
    flat: dict[str, float] = {}
    for name, policies in found.items():
        for policy, scores in policies.items():
            flat |= flat_scores(scores, f"reference_{name}_{policy}")
    return flat


def baseline_scores(config: Settings, volume: str) -> dict[str, RegionScores]:
    """Segment smoothed raw with the same kernels; choose the threshold on validation, score every region at it.

    Each region is segmented on its own, in memory. Nothing is returned where a region is larger than
    `BASELINE_LIMIT_VOX`, or where there is no validation region to choose on.
    """
    regions = labelled_regions(config, volume)
    if "validation" not in regions:
        return {}
    sweeps: dict[str, Sweep] = {}
    for region in regions:
        truth = Truth(config, volume, region)
        if int(np.prod(truth.roi.shape // truth.geometry.voxel_size)) > BASELINE_LIMIT_VOX:
            return {}
        sweeps[region] = sweep_segmentation(segment_baseline(config, volume, truth), truth, config.evaluate.zeros)
    threshold = sweeps["validation"].best_threshold
    zeros = config.evaluate.zeros
    return {
        region: RegionScores(sweep.at(threshold), zeros, threshold, config.agglomerate.merge_function)
        for region, sweep in sweeps.items()
    }


def baseline_fragments(config: Settings) -> FragmentsConfig:
    """Return how the baseline is cut into fragments: as predictions are, but raw has nothing for a mutex watershed."""
    if config.fragments.method != "mutex":
        return config.fragments
    return config.fragments.model_copy(update={"method": "seeded"})


def segment_baseline(config: Settings, volume: str, truth: Truth) -> Segmentation:
    """Segment smoothed raw of a region in memory, at all thresholds."""
    settings, geometry = config.volume(volume), truth.geometry
    raw = geometry.open(str(settings.raw), voxel_size_nm=settings.voxel_size_nm).read(truth.roi)
    affinities = pseudo_affinities(
        raw, geometry.voxel_size, config.evaluate.baseline_settings, units_per_nm=geometry.units_per_nm
    )
    return segment(
        affinities,
        AFFINITY_OFFSETS,
        geometry.voxel_size,
        baseline_fragments(config),
        config.agglomerate,
        thresholds=config.lookup_tables.values,
    )


def sweep_segmentation(made: Segmentation, truth: Truth, zeros: ZeroPolicy = "one_object") -> Sweep:
    """Score a segmentation made in memory of a region, at all its thresholds."""
    counts = count_in_memory(made.fragments.labels, truth.read(truth.roi), truth, zeros)
    return sweep_thresholds(counts, made.fragments.ids, made.tables, made.thresholds)


def count_in_memory(
    fragments: NDArray[np.uint64], labels: NDArray[np.uint64], truth: Truth, zeros: ZeroPolicy
) -> Contingency:
    """Count fragments of a region against its `labels`, which `truth` has read."""
    values, labels = apply_zero_policy(
        fragments, labels, zeros, voxel_size=truth.geometry.voxel_size, reference=fragments
    )
    return truth.require_labels(Contingency().add(values, labels))
