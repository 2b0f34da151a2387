"""The configuration of an experiment that segments neurons."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, Self

from funlib.geometry import Coordinate
from pydantic import ConfigDict, Field, model_validator

from catena.blockwise.execution import ExecutionConfig, inherit
from catena.config import Config
from catena.errors import ConfigError
from catena.evaluation.baseline import BaselineConfig
from catena.evaluation.zeros import ZeroPolicy
from catena.experiment import ExperimentConfig, Name, Path_
from catena.graphs.setting import SQLITE, check_setting
from catena.nodes.augment_config import AugmentConfig, is_anisotropic
from catena.segmentation.config import AgglomerateConfig, FragmentsConfig
from catena.training.config import TrainConfig, TrainExecution
from catena.tuning.config import TuneConfig
from local_shape_descriptors.model import ModelConfig

Shape = tuple[int, int, int]


class PseudoLabelsConfig(Config):
    """Volumes without ground truth to train on, too, as another experiment has segmented them."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    experiment: Name = Field(
        alias="from", description="Name of the experiment, below the same `output`; its segmentations are the labels."
    )
    volumes: tuple[Name, ...] = Field(min_length=1, description="Which of its volumes.")
    min_confidence: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Only voxels count whose affinities say what training on the segmentation asks of them, at least "
        "so surely: the mean of 2a - 1 over short-range affinities a that are to be 1, of 1 - 2a over those to be 0.",
    )
    share: float = Field(0.5, gt=0, lt=1, description="Of the crops that come from these volumes, together.")


class TrainStageConfig(TrainConfig):
    """How a network is trained, and on which labels beside ground truth. Every field changes the result."""

    pseudo_labels: PseudoLabelsConfig | None = Field(
        None, description="Semi-supervised: train on segmentations of another experiment, too. Default: not."
    )

    def plain(self, **changes: Any) -> TrainConfig:
        """Return how the network is trained, whatever on, with `changes`."""
        return TrainConfig.parse({**self.model_dump(exclude={"pseudo_labels"}), **changes}, "train")

    def fingerprinted(self) -> dict[str, Any]:
        """Return the fields as plain values, without those that came later and say what was done before them.

        What another experiment is called is no result either: its volumes are inputs.
        """
        values = super().fingerprinted()
        pseudo = values.pop("pseudo_labels")
        return values if pseudo is None else {**values, "pseudo_labels": {**pseudo, "from": None}}


class PredictConfig(Config):
    """Blockwise prediction."""

    block_shape_vox: Shape | None = Field(None, description="Voxels z, y, x of a block. Default: from the voxel size.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the network's arithmetic; auto: bfloat16 where the hardware is made for it."
    )


class FragmentsStageConfig(FragmentsConfig):
    """Blockwise fragment extraction."""

    block_shape_vox: Shape | None = Field(
        None,
        description="Voxels z, y, x of a block, also of agglomeration and segmentation. Default: from the voxel size.",
    )


class AgglomerateStageConfig(AgglomerateConfig):
    """Agglomeration into the region adjacency graph."""

    store: str = Field(
        "sqlite",
        description="Where the graph lies. sqlite: a file beside the results, for workers on one host. "
        "postgresql://USER@HOST/DATABASE or mongodb://HOST/DATABASE: on a server, in a namespace EXPERIMENT_VOLUME "
        "unless ?namespace= names another. Passwords come from the environment. Not part of the result.",
    )
    memory_gb: float = Field(
        8.0,
        gt=0,
        description="scope graph: memory that agglomeration of the whole graph may take on the master's machine. A "
        "graph that needs more is refused with the ways out. Not part of the result.",
    )

    @model_validator(mode="before")
    @classmethod
    def _names_a_store(cls, values: Any) -> Any:
        """Check the store here, for the error of a field would show its value, and with it a password."""
        if isinstance(values, Mapping):
            check_setting(str(values.get("store", SQLITE)))
        return values


class MitochondriaFragmentsConfig(FragmentsConfig):
    """How affinities of mitochondria are cut into fragments."""

    grow: int = Field(
        0,
        ge=0,
        le=32,
        description="As fragments.grow. Mitochondria lie apart, and what is between them is none of them: 0.",
    )


class MitochondriaConfig(Config):
    """Segmentation of mitochondria, where a model predicts them (mtlsdmito).

    Blocks, graph store, thresholds and workers are those of the neurons' stages.
    """

    fragments: MitochondriaFragmentsConfig = MitochondriaFragmentsConfig()
    agglomerate: AgglomerateConfig = AgglomerateConfig()
    threshold: float | None = Field(
        None, ge=0, le=1, description="As segmentation.threshold; validation needs `other_labels` of mitochondria."
    )


class LookupTablesConfig(Config):
    """Fragments to segments, at every threshold at once."""

    thresholds: tuple[float, ...] | None = Field(None, description="Instead of 0 to 1 by `step`.")
    step: float = Field(0.02, gt=0, le=1, description="Distance of the thresholds.")

    @property
    def values(self) -> tuple[float, ...]:
        """The thresholds, ascending."""
        if self.thresholds is not None:
            return self.thresholds
        return tuple(round(i * self.step, 10) for i in range(round(1 / self.step) + 1))

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        values = self.values
        if not values or any(b <= a for a, b in pairwise(values)) or not 0 <= values[0] <= 1:
            raise ValueError(f"thresholds must ascend within [0, 1], found {list(values)}")
        return self


class SegmentationConfig(Config):
    """Which lookup table makes the segmentation."""

    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Default: the best on the validation region of this volume or of one that has one.",
    )
    default_threshold: float = Field(
        0.5, ge=0, le=1, description="Used where no volume of the experiment has a validation region with labels."
    )


class EvaluateConfig(Config):
    """Scores against ground truth."""

    zeros: ZeroPolicy = Field("one_object", description="How voxels that the segmentation leaves at 0 count.")
    baseline: bool = Field(True, description="Also score a segmentation made without learning, from smoothed raw.")
    baseline_settings: BaselineConfig = BaselineConfig()
    minimum_label_voxels: int = Field(0, ge=0, description="Labels of fewer voxels are ignored.")


class PreviewConfig(Config):
    """The picture of a volume."""

    region: Literal["train", "validation", "test", "all"] = Field(
        "test", description="What is drawn; everything if the volume has no such region."
    )
    max_edge_vox: int = Field(384, ge=16, description="A larger volume is drawn about its centre.")


class Inputs(Config):
    """Results made elsewhere that are used instead of making them."""

    checkpoint: Path_ | None = Field(None, description="A trained network; training does not run.")
    first: Path_ | None = Field(
        None, description="aclsd, acrlsd: a trained network that predicts descriptors; it is not trained here first."
    )
    affinities: Path_ | None = Field(
        None, description="Affinities of the only volume (with several, use volumes.NAME.inputs.affinities)."
    )


class Execution(Config):
    """Where and how stages run; never part of a fingerprint.

    A stage's section says only what differs from `default`; one with another launcher inherits no more than patience.
    """

    default: ExecutionConfig = ExecutionConfig()
    train: TrainExecution = TrainExecution()
    content: ExecutionConfig | None = None
    predict: ExecutionConfig | None = None
    fragments: ExecutionConfig | None = None
    agglomerate: ExecutionConfig | None = None
    segmentation: ExecutionConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, values: Any) -> Any:
        """Fill what a stage's section does not say from ``default``."""
        if not isinstance(values, Mapping) or not isinstance(values.get("default"), Mapping):
            return values
        own = {
            name: inherit(section, values["default"])
            for name, section in values.items()
            if name not in ("default", "train") and isinstance(section, Mapping)
        }
        return {**values, **own}

    def of(self, stage: str) -> ExecutionConfig:
        """Return where a blockwise stage runs."""
        own: ExecutionConfig | None = getattr(self, stage)
        return own or self.default


class LocalShapeDescriptorsConfig(ExperimentConfig):
    """An experiment that segments neurons with affinities and local shape descriptors."""

    task: Literal["local_shape_descriptors"] = "local_shape_descriptors"
    inputs: Inputs = Inputs()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainStageConfig = TrainStageConfig()
    predict: PredictConfig = PredictConfig()
    fragments: FragmentsStageConfig = FragmentsStageConfig()
    agglomerate: AgglomerateStageConfig = AgglomerateStageConfig()
    mitochondria: MitochondriaConfig = MitochondriaConfig()
    lookup_tables: LookupTablesConfig = LookupTablesConfig()
    segmentation: SegmentationConfig = SegmentationConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    tune: TuneConfig = TuneConfig()
    preview: PreviewConfig = PreviewConfig()
    execution: Execution = Execution()

    @model_validator(mode="before")
    @classmethod
    def _hand_affinities_to_the_volume(cls, values: Any) -> Any:
        """Make ``inputs.affinities`` a property of the only volume, where the stages look for it."""
        given = values.get("inputs") if isinstance(values, Mapping) else None
        path = given.get("affinities") if isinstance(given, Mapping) else None
        volumes = values.get("volumes") if path is not None else None
        if not isinstance(volumes, Mapping):
            return values
        if len(volumes) != 1:
            raise ValueError("inputs.affinities needs a single volume; use volumes.NAME.inputs.affinities")
        name, volume = next(iter(volumes.items()))
        below = {**(volume.get("inputs") or {}), "affinities": path}
        return {**values, "volumes": {name: {**volume, "inputs": below}}}

    @model_validator(mode="after")
    def _has_a_table(self) -> Self:
        values = self.lookup_tables.values
        chosen = {
            "segmentation.threshold": self.segmentation.threshold,
            "segmentation.default_threshold": self.segmentation.default_threshold,
            "mitochondria.threshold": self.mitochondria.threshold,
        }
        for name, each in chosen.items():
            if each is not None and min(abs(each - value) for value in values) > 1e-9:
                nearest = min(values, key=lambda value, each=each: abs(each - value))  # type: ignore[misc]
                raise ValueError(
                    f"{name}: no lookup table at threshold {each}; the nearest is {nearest:g}. Add it to "
                    "lookup_tables.thresholds, or change lookup_tables.step"
                )
        return self

    def scored_with(self, region: str) -> list[str]:
        """Return the volumes that have labels in `region`."""
        return [name for name, each in self.volumes.items() if each.labels is not None and region in each.regions]


def default_block_shape(voxel_size: Coordinate) -> Coordinate:
    """Return a block shape of about two million voxels, flatter for anisotropic data."""
    return Coordinate(32, 256, 256) if is_anisotropic(voxel_size) else Coordinate(128, 128, 128)


def block_shape(given: Shape | None, voxel_size: Coordinate, where: str) -> Coordinate:
    """Return the block shape to use.

    Raises
    ------
    ConfigError
        If the given one is not positive.
    """
    if given is None:
        return default_block_shape(voxel_size)
    if min(given) < 1:
        raise ConfigError(f"{where}: a block shape must be positive, found {list(given)}")
    return Coordinate(given)
