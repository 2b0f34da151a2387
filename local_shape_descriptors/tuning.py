"""Find the settings of segmentation that score best on the validation regions, from affinities that are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.blockwise.masks import kept_voxels
from catena.config import to_yaml
from catena.errors import ConfigError, StageError
from catena.evaluation import Sweep, sweep_thresholds
from catena.experiment import check_volumes
from catena.fingerprint import fingerprint_array, fingerprint_values
from catena.ledger import Ledger
from catena.lock import ExperimentLock
from catena.plan import Node, Selection, plan
from catena.run import why_not_current
from catena.segmentation import (
    AgglomerateConfig,
    FragmentsConfig,
    edge_statistics,
    extract_fragments,
    fragment_channels,
    merge_fragments,
)
from catena.task import load_task
from catena.tuning.config import METHODS, Method, TuneConfig
from catena.tuning.plot import write_trials_plot
from catena.tuning.search import Tell, import_optuna, search
from catena.tuning.trials import Results, Trial, TrialStore, best_of, to_csv
from local_shape_descriptors.agglomeration import AgglomerateStage
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.evaluation import count_in_memory
from local_shape_descriptors.fragments import FragmentsStage
from local_shape_descriptors.geometry import block_slices
from local_shape_descriptors.masks import mask_settings, volume_masks
from local_shape_descriptors.scoring import Truth
from local_shape_descriptors.super_predicter_daisy import predicted_array

Settings = LocalShapeDescriptorsConfig


@dataclass(frozen=True)
class Tuned:
    """What a search leaves.

    Attributes
    ----------
    trials
        The configuration's own settings first, then one for each choice of fragments.
    config
        The experiment with the best settings.
    path
        Where it is written.
    """

    trials: list[Trial]
    config: Settings
    path: Path


def tune(config: Settings, tell: Tell | None = None) -> Tuned:
    """Try settings of fragments, merge functions and thresholds; write the best ones, a table and a picture.

    Everything is done in memory, with the kernels of the blockwise stages, on the validation regions and what is around
    them. What is minimised is the mean VOI sum of the regions at one threshold for all.

    Parameters
    ----------
    tell
        Called with each finished trial and how many there are to be.

    Raises
    ------
    ConfigError
        If no volume has a validation region with labels, one overlaps training or test, or Optuna is not installed.
    StageError
        If affinities are not predicted yet, or out of date.
    """
    import_optuna()
    names = tuned_volumes(config)
    folder = config.folder / "tuning"
    with ExperimentLock(config.folder):
        require_affinities(config, names)
        regions = [Region(config, name) for name in names]
        space = config.tune.model_copy(update={"methods": usable_methods(config.tune, config.fragments, regions)})
        score = Scorer(config, regions)
        store = TrialStore(folder / "study.sqlite")
        study = study_of(config, space, regions)
        trials = search(store, study, space, config.fragments, score, seed=config.seed, tell=tell)
        found = with_best(config, best_of(trials))
        (folder / "trials.csv").write_text(to_csv(trials))
        write_trials_plot(folder / "trials.png", trials, f"{config.experiment}: validation of {', '.join(names)}")
        (folder / "best.yaml").write_text(to_yaml(found))
    return Tuned(trials, found, folder / "best.yaml")


def tuned_volumes(config: Settings) -> list[str]:
    """Return the volumes whose validation regions are scored.

    Raises
    ------
    ConfigError
        If there is none, or regions for training, validation and test overlap.
    GeometryError
        If the arrays of a volume do not fit together.
    """
    names = config.scored_with("validation")
    if not names:
        raise ConfigError(
            "nothing to tune on: no volume has labels and a region 'validation'; give a volume both "
            "(volumes.NAME.labels, volumes.NAME.regions.validation)"
        )
    check_volumes(config, names)
    return names


def require_affinities(config: Settings, names: Iterable[str]) -> None:
    """Refuse volumes without affinities of the configured network.

    Raises
    ------
    StageError
        Naming the command that predicts them.
    """
    task = load_task(config.task)
    command = "run: catena predict CONFIG --volume"
    for name in names:
        if config.volume(name).inputs.affinities is not None:
            continue
        if _published(config, name) is None:
            raise StageError(f"the affinities of {name} are not predicted yet; {command} {name}")
        with Ledger(config.folder / "ledger.sqlite", read_only=True) as ledger:
            nodes = plan(task, config, Selection(last="predict", volume=name))
            stale = why_not_current(task, config, ledger, nodes)
        if (reason := stale.get(Node("predict", name))) is not None:
            raise StageError(f"the affinities of {name} are out of date ({reason}); {command} {name}")


def _published(config: Settings, volume: str) -> str | None:
    """Return the fingerprint of the published prediction of a volume."""
    path = config.folder / "ledger.sqlite"
    if not path.exists():
        return None
    with Ledger(path, read_only=True) as ledger:
        record = ledger.read(volume, "predict", "published")
    return None if record is None else record.fingerprint


class Region:
    """A validation region in memory: affinities with context around it, labels, and where anything is segmented."""

    def __init__(self, config: Settings, volume: str) -> None:
        settings = config.volume(volume)
        self.truth = Truth(config, volume, "validation")
        geometry, roi = self.truth.geometry, self.truth.roi
        self.voxel_size = geometry.voxel_size
        given = settings.inputs.affinities
        path = given or str(config.volume_folder(volume) / "volume.zarr" / predicted_array("affinities"))
        affinities = geometry.open(path, voxel_size_nm=settings.voxel_size_nm if given else None)
        self.offsets: list[Coordinate] = list(affinities.affinity_offsets)
        reach = config.tune.context_vox * min(geometry.voxel_size)
        context = Coordinate(-(-reach // each) * each for each in geometry.voxel_size)
        whole = roi.grow(context, context).intersect(geometry.roi).intersect(affinities.roi)
        self.scored = block_slices(roi, whole, geometry.voxel_size)
        self.affinities: NDArray[Any] = affinities.read(whole)
        self.labels = self.truth.read(roi)
        self.mask = kept_voxels(volume_masks(config, volume), whole, geometry.voxel_size)
        self.identity = {
            "affinities": fingerprint_array(affinities) if given else _published(config, volume),
            "labels": fingerprint_array(self.truth.labels),
            "labels_mask": None if self.truth.mask is None else fingerprint_array(self.truth.mask),
            "region": repr(roi),
            "mask": None if settings.mask is None else fingerprint_array(settings.open("mask")),
            "skip_empty": settings.skip_empty,
            **mask_settings(config, volume),
        }


class Scorer:
    """Segments the regions with given fragments, and scores every merge function at its best threshold."""

    def __init__(self, config: Settings, regions: list[Region]) -> None:
        self.regions = regions
        self.thresholds = config.lookup_tables.values
        self.zeros = config.evaluate.zeros
        self.functions = merge_functions(config)

    def __call__(self, fragments: FragmentsConfig) -> Results:
        """Return threshold and scores by merge function."""
        sweeps = [self._sweeps(region, fragments) for region in self.regions]
        results = {}
        for name in self.functions:
            mean = mean_sweep([each[name] for each in sweeps])
            best = mean.at(mean.best_threshold)
            results[name] = {
                "threshold": mean.best_threshold,
                "voi_split": best.voi_split,
                "voi_merge": best.voi_merge,
                "voi_sum": best.voi_sum,
                "adapted_rand_error": best.adapted_rand_error,
            }
        return results

    def _sweeps(self, region: Region, config: FragmentsConfig) -> dict[str, Sweep]:
        """Return the sweep of every merge function; fragments, their contacts and what is counted are made once."""
        found = extract_fragments(
            region.affinities, region.offsets, config, voxel_size=region.voxel_size, mask=region.mask
        )
        bins = max(each.bins for each in self.functions.values())
        edges = edge_statistics(region.affinities, region.offsets, found.labels, bins=bins)
        counts = count_in_memory(found.labels[region.scored], region.labels, region.truth, self.zeros)
        sweeps = {}
        for name, method in self.functions.items():
            made = merge_fragments(found, region.affinities, region.offsets, method, self.thresholds, edges)
            sweeps[name] = sweep_thresholds(counts, found.ids, made.tables, made.thresholds)
        return sweeps


def merge_functions(config: Settings) -> Mapping[str, AgglomerateConfig]:
    """Return how fragments are merged, by merge function: the configured one, which wins a tie, and those to try."""
    names = dict.fromkeys((config.agglomerate.merge_function, *config.tune.merge_functions))
    return {name: config.agglomerate.model_copy(update={"merge_function": name}) for name in names}


def mean_sweep(sweeps: list[Sweep]) -> Sweep:
    """Return the mean scores of regions that share their thresholds."""
    names = ("voi_split", "voi_merge", "adapted_rand_error")
    means = [np.mean([getattr(each, name) for each in sweeps], axis=0) for name in names]
    return Sweep(sweeps[0].thresholds, *means)


def usable_methods(space: TuneConfig, fragments: FragmentsConfig, regions: Iterable[Region]) -> tuple[Method, ...]:
    """Return the methods to try: those named, or all that can work with the affinities of every region."""
    if space.methods is not None:
        return space.methods
    return tuple(method for method in METHODS if all(_works(method, fragments, region) for region in regions))


def _works(method: Method, fragments: FragmentsConfig, region: Region) -> bool:
    config = FragmentsConfig(method=method, per_section=fragments.per_section)
    try:
        fragment_channels(region.offsets, len(region.offsets), config, region.voxel_size)
    except ConfigError:
        if method == "mutex":
            return False
        raise
    return True


def study_of(config: Settings, space: TuneConfig, regions: Iterable[Region]) -> str:
    """Return the name of a study: the hash of all that its trials depend on; not how many there are to be."""
    return fingerprint_values(
        {
            "versions": [FragmentsStage.version, AgglomerateStage.version],
            "seed": config.seed,
            "space": space.model_dump(mode="json", exclude={"trials"}),
            "fragments": config.fragments.result_settings(),
            "agglomerate": config.agglomerate.model_dump(mode="json", exclude={"store", "memory_gb"}),
            "thresholds": list(config.lookup_tables.values),
            "zeros": config.evaluate.zeros,
            "minimum_label_voxels": config.evaluate.minimum_label_voxels,
            "regions": [region.identity for region in regions],
        }
    )


def with_best(config: Settings, best: Trial) -> Settings:
    """Return the experiment with the settings of a trial."""
    values = config.model_dump(mode="json")
    values["fragments"] |= best.settings
    values["agglomerate"]["merge_function"] = best.merge_function
    values["segmentation"]["threshold"] = best.scores["threshold"]
    return type(config).parse(values, "tuning/best.yaml")
