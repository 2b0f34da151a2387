"""A commented configuration for new data, chosen from their voxel size."""

from __future__ import annotations

import numpy as np
from funlib.geometry import Coordinate

from catena.arrays import Array, open_array
from catena.nodes.augment_config import AugmentConfig, DeformConfig, is_anisotropic
from local_shape_descriptors.config import default_block_shape
from local_shape_descriptors.model import ModelConfig

TEMPLATE = """\
# Neurons from {raw}: {shape} voxels of {voxel_size} nm (z, y, x).
# Run:      catena run {name}.yaml          (kill it any time and run it again)
# Defaults: catena config {name}.yaml
task: local_shape_descriptors
experiment: {name}
output: runs                       # results go to runs/{name}
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
    regions:                       # voxels, half open; the threshold is chosen on validation, reported on test
      train: {{z: [0, {train}]}}
      validation: {{z: [{train}, {validation}]}}
      test: {{z: [{validation}, {depth}]}}
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


def template(*, raw: str, labels: str | None = None, name: str = "experiment") -> str:
    """Return a configuration whose network, augmentation and blocks suit the data.

    Raises
    ------
    ArrayNotFoundError
        If raw or labels are not there.
    GeometryError
        If they carry no voxel size, or it differs.
    """
    array = open_array(raw)
    if labels is not None:
        from catena.experiment import VolumeConfig, check_volume

        check_volume(VolumeConfig(raw=raw, labels=labels), "volume")
    sections = is_anisotropic(array.voxel_size)
    augment = AugmentConfig().resolved(array.voxel_size)
    model = ModelConfig()
    deform = augment.deform or DeformConfig(probability=0)
    block = Coordinate(np.minimum(default_block_shape(array.voxel_size), array.shape_vox))
    return TEMPLATE.format(
        raw=raw,
        name=name,
        shape=" x ".join(str(each) for each in array.shape_vox),
        voxel_size=" x ".join(f"{each:g}" for each in array.voxel_size_nm),
        labels=_labels(labels, array),
        sigma=model.lsd_sigma_nm,
        downsampling=[list(each) for each in model.unet(array.voxel_size).downsampling],
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


def _labels(labels: str | None, array: Array) -> str:
    depth = int(array.shape_vox[0])
    bounds = {"train": depth * 6 // 10, "validation": depth * 8 // 10, "depth": depth}
    return UNLABELLED.format(**bounds) if labels is None else LABELLED.format(labels=labels, **bounds)
