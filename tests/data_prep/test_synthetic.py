"""What a synthetic volume promises."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cc3d
import numpy as np
import pytest
import yaml
from funlib.geometry import Coordinate
from scipy import ndimage

from catena.errors import GeometryError
from data_prep.defects import Sections, plan_sections
from data_prep.scene import NeuriteKind
from data_prep.synthetic import SyntheticVolume, synthesise

ISOTROPIC = Coordinate(8, 8, 8)
SECTIONS = Coordinate(40, 8, 8)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def volume() -> SyntheticVolume:
    return synthesise(Coordinate(64, 96, 96), ISOTROPIC, seed=3)


@pytest.fixture(scope="module")
def stack() -> SyntheticVolume:
    return synthesise(Coordinate(20, 96, 96), SECTIONS, seed=3)


def aligned(sections: Sections) -> Sections:
    """Return the same sections, none of them displaced or missing."""
    return replace(sections, shift_vox=np.zeros_like(sections.shift_vox), missing=np.zeros_like(sections.missing))


def test_dtypes_and_shapes(volume: SyntheticVolume) -> None:
    for array, dtype in ((volume.raw, np.uint8), (volume.labels, np.uint64), (volume.mitochondria, np.uint64)):
        assert array.shape == (64, 96, 96)
        assert array.dtype == dtype
    assert volume.roi.shape == Coordinate(512, 768, 768)


def test_same_arguments_give_the_same_bytes_whatever_the_workers(volume: SyntheticVolume) -> None:
    again = synthesise(Coordinate(64, 96, 96), ISOTROPIC, seed=3, workers=3)
    for name in ("raw", "labels", "mitochondria"):
        np.testing.assert_array_equal(getattr(again, name), getattr(volume, name))


def test_another_seed_gives_another_volume(volume: SyntheticVolume) -> None:
    other = synthesise(Coordinate(64, 96, 96), ISOTROPIC, seed=4)
    assert np.mean(other.raw == volume.raw) < 0.1
    assert np.mean((np.diff(other.labels, axis=2) != 0) == (np.diff(volume.labels, axis=2) != 0)) < 0.95


def test_each_label_is_one_connected_component(volume: SyntheticVolume) -> None:
    labels = np.unique(volume.labels)
    pieces = cc3d.connected_components(volume.labels, connectivity=6)
    assert pieces.max() == np.count_nonzero(labels)
    np.testing.assert_array_equal(labels, np.arange(len(labels)))


def test_labels_are_dense(volume: SyntheticVolume) -> None:
    assert np.mean(volume.labels == 0) < 0.02


def test_a_label_knows_its_neurite(volume: SyntheticVolume) -> None:
    assert len(volume.neurite_of_label) == volume.labels.max() + 1
    assert volume.neurite_of_label[0] == 0
    assert volume.neurite_of_label[1:].min() >= 1
    assert volume.neurite_of_label.max() <= volume.scene.neurites


def test_centre_lines_run_through_the_bodies_they_made(volume: SyntheticVolume) -> None:
    scene = volume.scene
    voxel = (scene.nodes_nm // 8).astype(int)
    inside = np.all((voxel >= 0) & (voxel < volume.labels.shape), axis=1) & (scene.radius_nm > 50)
    label = volume.labels[tuple(voxel[inside].T)]
    agreement = np.mean(volume.neurite_of_label[label] == scene.neurite[inside])
    assert agreement > 0.7  # not 1: space is bent by up to 50 nm before it is drawn


def test_bodies_are_long_processes(volume: SyntheticVolume) -> None:
    """A ball of n voxels is (6n/π)^⅓ wide; processes that cross the volume are far longer than that."""
    sizes = np.bincount(volume.labels.ravel().astype(np.int64))
    boxes = ndimage.find_objects(volume.labels.astype(np.int32))
    inner = [i for i in range(1, len(sizes)) if sizes[i] >= 1000]
    lengths = np.array([np.linalg.norm([s.stop - s.start for s in boxes[i - 1]]) for i in inner])
    balls = (6 * sizes[inner] / np.pi) ** (1 / 3)
    assert len(inner) >= 30
    assert np.median(lengths / balls) > 1.8


def test_calibres_vary_from_thin_axons_to_trunks(volume: SyntheticVolume) -> None:
    scene = volume.scene
    kind = scene.kind[scene.neurite]
    diameter = 2 * scene.radius_nm
    assert 80 < np.median(diameter[kind == NeuriteKind.AXON]) < 160
    assert diameter[kind == NeuriteKind.TRUNK].max() > 350
    assert diameter.min() > 60  # nothing thinner than a few voxels


def test_neurites_branch(volume: SyntheticVolume) -> None:
    parent = volume.scene.parent
    children = np.bincount(parent[parent >= 0], minlength=len(parent))
    assert np.count_nonzero(children > 1) >= 10


def test_membranes_are_darker_than_cytoplasm(volume: SyntheticVolume) -> None:
    labels = volume.labels.astype(np.int64)
    edge = np.zeros(labels.shape, bool)
    for axis in range(3):
        step = np.diff(labels, axis=axis) != 0
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(0, -1), slice(1, None)
        edge[tuple(low)] |= step
        edge[tuple(high)] |= step
    far = ndimage.distance_transform_edt(~edge) > 4
    cytoplasm = volume.raw[far & (volume.mitochondria == 0)]
    assert volume.raw[edge].mean() < cytoplasm.mean() - 30
    assert np.mean(volume.raw[edge] < np.median(cytoplasm)) > 0.95  # continuous: hardly a gap to leak through


def test_mitochondria_are_dark_and_lie_in_one_neuron_each(volume: SyntheticVolume) -> None:
    inside = volume.mitochondria > 0
    assert volume.mitochondria.max() >= 3
    assert 0.02 < inside.mean() < 0.2
    pairs = np.unique(np.stack([volume.mitochondria[inside], volume.labels[inside]]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1] == volume.mitochondria.max()
    assert pairs[1].min() >= 1
    assert volume.raw[inside].mean() < volume.raw[~inside].mean() - 15


def test_isotropic_volumes_have_no_missing_or_displaced_sections(volume: SyntheticVolume) -> None:
    assert not volume.sections.missing.any()
    assert not volume.sections.shift_vox.any()
    assert volume.raw.min() > 0


def test_missing_sections_are_black_and_keep_their_labels(stack: SyntheticVolume) -> None:
    missing = stack.sections.missing
    assert missing.any()
    assert not stack.raw[missing].any()
    assert (stack.raw[~missing] > 0).all()
    assert (stack.labels[missing] > 0).mean() > 0.95


def test_labels_follow_misaligned_sections(stack: SyntheticVolume) -> None:
    straight = synthesise(Coordinate(20, 96, 96), SECTIONS, seed=3, sections=aligned(stack.sections))
    assert np.abs(stack.sections.shift_vox).max() >= 2
    reach = int(np.abs(stack.sections.shift_vox).max())
    middle = slice(reach, 96 - reach)
    for z, (dy, dx) in enumerate(stack.sections.shift_vox):
        there = (z, slice(reach + dy, 96 - reach + dy), slice(reach + dx, 96 - reach + dx))
        moved = stack.neurite_of_label[stack.labels[z, middle, middle]]
        expected = straight.neurite_of_label[straight.labels[there]]
        known = (moved > 0) & (expected > 0)  # 0 also where dust was dropped, which depends on the whole volume
        assert known.mean() > 0.9
        np.testing.assert_array_equal(moved[known], expected[known])


def test_image_follows_misaligned_sections(stack: SyntheticVolume) -> None:
    straight = synthesise(Coordinate(20, 96, 96), SECTIONS, seed=3, sections=aligned(stack.sections))
    moved = np.flatnonzero(np.abs(stack.sections.shift_vox).max(axis=1) >= 3)
    for z in moved[~stack.sections.missing[moved]]:
        dy, dx = stack.sections.shift_vox[z]
        image = stack.raw[z, 20:76, 20:76].ravel().astype(float)
        there = straight.raw[z, 20 + dy : 76 + dy, 20 + dx : 76 + dx].ravel().astype(float)
        here = straight.raw[z, 20:76, 20:76].ravel().astype(float)
        assert np.corrcoef(image, there)[0, 1] > max(0.85, np.corrcoef(image, here)[0, 1] + 0.04)


def test_processes_overlap_from_section_to_section(stack: SyntheticVolume) -> None:
    """An annotator could follow them: most voxels lie under the same label, unless a section is displaced."""
    straight = synthesise(Coordinate(20, 96, 96), SECTIONS, seed=3, sections=aligned(stack.sections))
    assert np.mean(straight.labels[1:] == straight.labels[:-1]) > 0.6


def test_contrast_changes_from_section_to_section(stack: SyntheticVolume) -> None:
    means = stack.raw[~stack.sections.missing].mean(axis=(1, 2))
    assert means.std() > 2


def test_voxel_size_is_honoured() -> None:
    """The same scene with voxels half as large: every second voxel's neighbourhood shows the same neurite."""
    coarse = synthesise(Coordinate(24, 32, 32), Coordinate(8, 8, 8), seed=5)
    fine = synthesise(Coordinate(48, 64, 64), Coordinate(4, 4, 4), seed=5)
    np.testing.assert_array_equal(coarse.scene.nodes_nm, fine.scene.nodes_nm)
    wide, narrow = coarse.neurite_of_label[coarse.labels], fine.neurite_of_label[fine.labels][::2, ::2, ::2]
    assert np.mean(wide == narrow) > 0.9


def test_calibre_thickens_neurites_and_leaves_membranes_alone() -> None:
    thin = synthesise(Coordinate(48, 64, 64), ISOTROPIC, seed=5)
    thick = synthesise(Coordinate(48, 64, 64), ISOTROPIC, seed=5, calibre=2.0)
    kinds = thick.scene.kind[thick.scene.neurite], thin.scene.kind[thin.scene.neurite]
    axons = [np.median(v.scene.radius_nm[k == NeuriteKind.AXON]) for v, k in zip((thick, thin), kinds, strict=True)]
    assert axons[0] == pytest.approx(2 * axons[1], rel=0.15)
    assert thick.labels.max() < thin.labels.max() / 2
    assert thick.recipe != thin.recipe


@pytest.mark.parametrize("calibre", [0.0, -1.0, 4.5, float("nan")])
def test_absurd_calibres_are_refused(calibre: float) -> None:
    with pytest.raises(GeometryError, match=r"calibre must lie between 0\.5 and 4"):
        synthesise(Coordinate(16, 32, 32), ISOTROPIC, 1, calibre=calibre)


def test_planned_sections_are_bounded_and_reproducible() -> None:
    first, second = plan_sections(400, True, seed=1), plan_sections(400, True, seed=1)
    np.testing.assert_array_equal(first.shift_vox, second.shift_vox)
    assert np.abs(first.shift_vox).max() <= 26
    assert 0 < first.missing.mean() < 0.1
    assert not first.missing[[0, -1]].any()


@pytest.mark.parametrize(
    ("shape", "voxel_size", "seed", "workers", "message"),
    [
        ((4, 32, 32), (8, 8, 8), 1, 1, "at least 8 voxels"),
        ((32, 32), (8, 8, 8), 1, 1, "z, y, x"),
        ((32, 32, 32), (8, 8), 1, 1, "whole nanometres"),
        ((32, 32, 32), (8, 0, 8), 1, 1, "whole nanometres"),
        ((32, 32, 32), (8, 64, 64), 1, 1, "too coarse"),
        ((32, 32, 32), (8, 8, 8), -1, 1, "seed must not be negative, found -1"),
        ((32, 32, 32), (8, 8, 8), 1, 0, "at least one worker is needed, found 0"),
    ],
)
def test_bad_arguments_are_refused(
    shape: tuple[int, ...], voxel_size: tuple[int, ...], seed: int, workers: int, message: str
) -> None:
    with pytest.raises(GeometryError, match=message):
        synthesise(Coordinate(shape), Coordinate(voxel_size), seed, workers=workers)


def test_sections_must_match_the_shape() -> None:
    with pytest.raises(GeometryError, match="12 sections are described, but the volume has 16"):
        synthesise(Coordinate(16, 32, 32), SECTIONS, 1, sections=plan_sections(12, True, 1))


@pytest.mark.slow
def test_demo_volume_is_no_toy() -> None:
    """What `make demo` synthesises, in the region on which its scores are reported."""
    command = r"/isotropic\.zarr --shape (\S+) --voxel-size (\S+) --calibre (\S+) --seed (\d+)"
    (arguments,) = re.findall(command, (ROOT / "Makefile").read_text())
    shape, voxel_size = (Coordinate(int(each) for each in text.split(",")) for text in arguments[:2])
    config = yaml.safe_load((ROOT / "configs/local_shape_descriptors/demo.yaml").read_text())
    begin, end = config["volumes"]["phantom"]["regions"]["test"]["z"]
    demo = synthesise(shape, voxel_size, seed=int(arguments[3]), calibre=float(arguments[2]), workers=2)
    sizes = np.bincount(demo.labels[begin:end].ravel().astype(np.int64))[1:]
    assert min(demo.labels.shape) >= 160
    assert np.count_nonzero(sizes >= 1000) >= 80
