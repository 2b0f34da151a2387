"""A commented configuration for new data, chosen from their voxel size."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

import numpy as np
import yaml
from funlib.geometry import Coordinate

from catena.arrays import Array, open_array
from catena.errors import GeometryError
from catena.experiment import VolumeConfig, check_volume
from catena.nodes.augment_config import AugmentConfig, DeformConfig, is_anisotropic
from local_shape_descriptors.config import LocalShapeDescriptorsConfig, default_block_shape
from local_shape_descriptors.model import ModelConfig

VOLUME = "volume"
MINIMUM_DEPTH = 3
"""Labelled sections, that each of the three regions gets one."""

TEMPLATE = """\
# Neurons from {source}: {shape} voxels of {voxel_size} nm (z, y, x).
# Run:      catena run {file}          (kill it any time and run it again)
# Defaults: catena config {file}
task: local_shape_descriptors
experiment: {name}
output: runs                       # results go to runs/{folder}
seed: 0

volumes:
  volume:
    raw: {raw}
{labels}
model:
  type: mtlsd                      # aff, lsd or mtlsd (both at once, usually best)
  lsd_sigma_nm: {sigma:g}                 # reach of the shape descriptors; about a neurite's radius
  feature_maps: 12                 # more maps: better and slower (published: 12)
  growth: 5                        # times as many maps at every level below
  downsampling: {downsampling}   # {why_downsampling}

train:
  iterations: 100000               # a first look: 5000
  learning_rate: 5.0e-5

augment:                           # chosen for {kind} data
  mirror: {mirror}
  transpose: {transpose}
  deform: {{probability: {deform.probability:g}, control_point_spacing: {spacing}, jitter: {jitter}, rotate: {rotate}}}

fragments:
  block_shape_vox: {block}   # blocks of fragments, agglomeration and segmentation
  per_section: {per_section}               # {why_sections}

predict:
  block_shape_vox: {block}

agglomerate:
  merge_function: hist_quant_75
  store: sqlite                    # a file beside the results

execution:                         # never changes a result
  default: {{launcher: local}}       # one worker per core
"""

LABELLED = """\
    labels: {labels}
    regions:                       # of what is labelled: voxels, half open; test is for the last scores only
      train: {{z: {train}{plane}}}
      validation: {{z: {validation}{plane}}}
      test: {{z: {test}{plane}}}
"""

UNLABELLED = """\
    # labels: data.zarr/volumes/labels/neuron_ids        (to train: one id per neuron, 0 = unlabelled)
    # regions:                     (voxels, half open; the threshold is chosen on validation, reported on test)
    #   train: {{z: [0, {train}]}}
    #   validation: {{z: [{train}, {validation}]}}
    #   test: {{z: [{validation}, {depth}]}}

inputs:
  checkpoint: path/to/checkpoint.pt # a trained network; without labels there is nothing to train on
"""


def template(*, raw: str, labels: str | None = None, name: str = "experiment", path: str | None = None) -> str:
    """Return a configuration whose network, augmentation and blocks suit the data.

    Parameters
    ----------
    raw, labels
        Container and data set joined.
    name
        Of the experiment.
    path
        Where the configuration will lie, for the commands in it. Default: ``NAME.yaml``.

    Raises
    ------
    ConfigError
        If the name cannot be that of a folder.
    ArrayNotFoundError
        If raw or labels are not there.
    GeometryError
        If they carry no voxel size, it differs, or too few sections are labelled to share out.
    DataError
        If labels are not integers or empty, or raw is constant.
    """
    volumes = {VOLUME: {"raw": raw, "labels": labels}}
    LocalShapeDescriptorsConfig.parse(
        {"task": "local_shape_descriptors", "experiment": name, "volumes": volumes}, "catena init"
    )
    array = open_array(raw)
    sections = is_anisotropic(array.voxel_size)
    augment = AugmentConfig().resolved(array.voxel_size)
    deform = augment.deform or DeformConfig(probability=0)
    block = Coordinate(np.minimum(default_block_shape(array.voxel_size), array.shape_vox))
    return TEMPLATE.format(
        source=raw,
        raw=_scalar(raw),
        file=shlex.quote(path or f"{name}.yaml"),
        name=_scalar(name),
        folder=name,
        shape=" x ".join(str(each) for each in array.shape_vox),
        voxel_size=" x ".join(f"{each:g}" for each in array.voxel_size_nm),
        labels=_unlabelled(array) if labels is None else _labelled(raw, labels, array),
        sigma=lsd_sigma_nm(array.voxel_size_nm),
        downsampling=[list(each) for each in ModelConfig().unet(array.voxel_size).downsampling],
        why_downsampling="in plane first, until voxels are isotropic" if sections else "all axes alike",
        kind="anisotropic" if sections else "isotropic",
        mirror=list(augment.mirror or ()),
        transpose=list(augment.transpose or ()),
        deform=deform,
        spacing=list(deform.control_point_spacing),
        jitter=list(deform.jitter),
        rotate=str(deform.rotate).lower(),
        block=list(block),
        per_section=str(sections).lower(),
        why_sections="sections are thick: fragments in each of them" if sections else "fragments in 3D",
    )


def lsd_sigma_nm(voxel_size_nm: Sequence[float]) -> float:
    """Return how far shape descriptors reach, as in the published configurations.

    Isotropic data: 80 nm. Cut sections: 80 nm for pixels of 4 nm, 100 for 6, 120 for 8 and more.

    >>> lsd_sigma_nm((8, 8, 8)), lsd_sigma_nm((30, 6, 6))
    (80.0, 100.0)
    """
    if not is_anisotropic(Coordinate(round(1000 * each) for each in voxel_size_nm)):
        return 80.0
    return float(np.clip(round(40 + 10 * max(voxel_size_nm[1:]), -1), 80, 120))


def _unlabelled(array: Array) -> str:
    depth = int(array.shape_vox[0])
    train, validation = _shares(depth)
    return UNLABELLED.format(train=train, validation=validation, depth=depth)


def _labelled(raw: str, labels: str, array: Array) -> str:
    """Return the lines of a volume with labels: regions share out what is labelled, not all of raw."""
    from local_shape_descriptors.training_volumes import TrainingVolume, open_source  # what reads data is loaded here

    check_volume(VolumeConfig(raw=raw, labels=labels), VOLUME)
    found = open_source(TrainingVolume(raw, labels, name=f"volumes.{VOLUME}"))
    grid = array.in_units(found.units_per_nm)
    begin = (found.labelled.begin - grid.offset) // grid.voxel_size
    end = (found.labelled.end - grid.offset) // grid.voxel_size
    depth = int(end[0] - begin[0])
    if depth < MINIMUM_DEPTH:
        raise GeometryError(
            f"{labels} is labelled in {depth} section(s), z {begin[0]} to {end[0]}; training, validation and test need "
            f"{MINIMUM_DEPTH} at least: label more, or leave --labels out and write regions yourself"
        )
    plane = "".join(
        f", {axis}: [{low}, {high}]"
        for axis, low, high, size in zip("yx", begin[1:], end[1:], array.shape_vox[1:], strict=True)
        if high - low < size
    )
    z = [int(begin[0] + each) for each in (0, *_shares(depth), depth)]
    return LABELLED.format(labels=_scalar(labels), train=z[:2], validation=z[1:3], test=z[2:], plane=plane)


def _shares(depth: int) -> tuple[int, int]:
    """Return where, of `depth` sections, those to train on end, and those to validate on."""
    return depth * 6 // 10, depth * 8 // 10


def _scalar(text: str) -> str:
    """Return `text` as YAML that reads back as it, quoted where it must be."""
    return yaml.safe_dump(text, allow_unicode=True, width=sys.maxsize).removesuffix("...\n").strip()
