"""What is segmented: neurons, and mitochondria where a model predicts them. The same stages do either."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from catena.evaluation.zeros import ZeroPolicy
from catena.experiment import VolumeConfig
from catena.segmentation.config import AgglomerateConfig, FragmentsConfig
from catena.task import Given, Input, Made, Stage
from local_shape_descriptors.config import LocalShapeDescriptorsConfig

Settings = LocalShapeDescriptorsConfig


class Objects(ABC):
    """A kind of objects: where their affinities and labels are, how they are segmented, and what results are called.

    Attributes
    ----------
    name
        Of the ground truth.
    head
        Of the network: its affinities.
    prefix
        Before the names of stages, files, arrays and tables.
    section
        Before the names of settings in the configuration.
    background
        Whether voxels without an object are ground truth, too: a false object counts there.
    """

    name: ClassVar[str]
    head: ClassVar[str]
    prefix: ClassVar[str]
    section: ClassVar[str]
    background: ClassVar[bool]
    segmentation_array: ClassVar[str]

    def called(self, name: str) -> str:
        """Return what a stage, file, array or table of these objects is called, given what that of neurons is."""
        return self.prefix + name

    @abstractmethod
    def fragments(self, config: Settings) -> FragmentsConfig:
        """Return how affinities are cut into fragments."""

    @abstractmethod
    def agglomerate(self, config: Settings) -> AgglomerateConfig:
        """Return how fragments are merged."""

    @abstractmethod
    def threshold(self, config: Settings) -> float | None:
        """Return the configured threshold."""

    @abstractmethod
    def zeros(self, config: Settings) -> ZeroPolicy:
        """Return how voxels that the segmentation leaves at 0 are scored."""

    @abstractmethod
    def labels(self, volume: VolumeConfig) -> str | None:
        """Return the path of a volume's ground truth."""

    @abstractmethod
    def given(self, volume: VolumeConfig) -> str | None:
        """Return the path of affinities made elsewhere."""

    def affinities(self, config: Settings, volume: str) -> Input:
        """Return where a volume's affinities come from: given, or predicted."""
        settings = config.volume(volume)
        path = self.given(settings)
        if path is not None:
            return Given(path, voxel_size_nm=settings.voxel_size_nm)
        return Made("predict", self.head, volume)

    @abstractmethod
    def segmented(self, config: Settings, volume: str) -> bool:
        """Tell whether there are affinities of a volume, given or predicted."""

    def predicted(self, config: Settings) -> bool:
        """Tell whether the model predicts their affinities; a head of that name may have another target."""
        return self.head in config.model.heads and bool(config.model.offsets(self.head))

    def scored_with(self, config: Settings, region: str) -> list[str]:
        """Return the volumes that have ground truth in `region`."""
        volumes = config.volumes.items()
        return [name for name, each in volumes if self.labels(each) is not None and region in each.regions]


class _Neurons(Objects):
    name, head, prefix, section = "neurons", "affinities", "", ""
    background = False
    segmentation_array = "segmentation"

    def fragments(self, config: Settings) -> FragmentsConfig:
        return config.fragments

    def agglomerate(self, config: Settings) -> AgglomerateConfig:
        return config.agglomerate

    def threshold(self, config: Settings) -> float | None:
        return config.segmentation.threshold

    def zeros(self, config: Settings) -> ZeroPolicy:
        return config.evaluate.zeros

    def labels(self, volume: VolumeConfig) -> str | None:
        return volume.labels

    def given(self, volume: VolumeConfig) -> str | None:
        return volume.inputs.affinities

    def segmented(self, config: Settings, volume: str) -> bool:
        return self.given(config.volume(volume)) is not None or self.predicted(config)


class _Mitochondria(Objects):
    name, head, prefix, section = "mitochondria", "mitochondria", "mitochondria_", "mitochondria."
    background = True
    segmentation_array = "mitochondria"

    def fragments(self, config: Settings) -> FragmentsConfig:
        return config.mitochondria.fragments

    def agglomerate(self, config: Settings) -> AgglomerateConfig:
        return config.mitochondria.agglomerate

    def threshold(self, config: Settings) -> float | None:
        return config.mitochondria.threshold

    def zeros(self, config: Settings) -> ZeroPolicy:
        return "one_object"  # what is 0 is said to be no mitochondrion

    def labels(self, volume: VolumeConfig) -> str | None:
        return volume.other_labels.get(self.name)

    def given(self, volume: VolumeConfig) -> str | None:
        return volume.inputs.other_affinities.get(self.name)

    def segmented(self, config: Settings, volume: str) -> bool:
        settings = config.volume(volume)
        predicted = settings.inputs.affinities is None and self.predicted(config)
        return self.given(settings) is not None or predicted


NEURONS: Objects = _Neurons()
MITOCHONDRIA: Objects = _Mitochondria()
ALL_OBJECTS = (NEURONS, MITOCHONDRIA)


def step_of(stage: str) -> tuple[Objects, str]:
    """Return the objects that a stage of this name is for, and what the stage is called for neurons.

    >>> step_of("mitochondria_fragments")[1], step_of("predict")[1]
    ('fragments', 'predict')
    """
    of_mitochondria = stage.startswith(MITOCHONDRIA.prefix)
    return (MITOCHONDRIA if of_mitochondria else NEURONS), stage.removeprefix(MITOCHONDRIA.prefix)


class ObjectsStage(Stage):
    """A stage that runs once for each kind of objects there are affinities of.

    Attributes
    ----------
    step
        The name of the stage for neurons.
    """

    step: ClassVar[str]

    def __init__(self, objects: Objects = NEURONS) -> None:
        self.objects = objects
        self.name = objects.called(self.step)

    def applies(self, config: Any, volume: str) -> bool:
        """Tell whether there are affinities; a model of descriptors alone is trained and predicted, no more."""
        return self.objects.segmented(config, volume)

    def made(self, step: str, output: str, volume: str) -> Made:
        """Return an output of another stage for the same objects."""
        return Made(self.objects.called(step), output, volume)
