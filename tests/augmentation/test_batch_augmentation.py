from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from catena.augmentation.batch import BatchAugmentation
from catena.augmentation.dense_labels import DenseLabels
from catena.errors import ConfigError, DataError

kornia = pytest.importorskip("kornia.augmentation", reason="kornia (extra 'augment') is not installed")

SHAPE = (1, 1, 6, 16, 16)
ROLES = {"image": "image", "labels": "labels", "mask": "mask"}
SECTIONS = (40.0, 4.0, 4.0)
HUGE = 2**60 + 1
"""An id that no float holds."""


def scene(batch=1) -> dict[str, Tensor]:
    """Labels in blocks, and an image that is bright where label HUGE is."""
    generator = np.random.default_rng(0)
    blocks = generator.choice(np.array([0, 3, HUGE]), (batch, 1, 3, 4, 4)).repeat(2, 2).repeat(4, 3).repeat(4, 4)
    labels = torch.from_numpy(blocks)
    return {
        "image": (labels == HUGE).to(torch.float32) * 2 - 1,
        "labels": labels,
        "mask": (labels != 0).to(torch.uint8),
    }


def apply(augmentation, arrays=None, seed=3, voxel_size=(1.0, 1.0, 1.0), roles=None, **settings):
    return BatchAugmentation(augmentation, **settings)(arrays or scene(), roles or ROLES, seed, voxel_size)


GEOMETRIC = {
    "rotation of volumes": lambda: kornia.RandomRotation3D((30.0, 30.0, 30.0), p=1.0),
    "affine map of volumes": lambda: kornia.RandomAffine3D((10.0, 10.0, 10.0), p=1.0),
    "flip of volumes": lambda: kornia.RandomDepthicalFlip3D(p=1.0),
    "rotation of sections": lambda: kornia.RandomRotation(90.0, p=1.0),
    "elastic map of sections": lambda: kornia.RandomElasticTransform((9, 9), (3.0, 3.0), alpha=(3.0, 3.0), p=1.0),
}
INTENSITY = {
    "motion blur of volumes": lambda: kornia.RandomMotionBlur3D(3, 35.0, 0.5, p=1.0),
    "equalisation of volumes": lambda: kornia.RandomEqualize3D(p=1.0),
    "noise in sections": lambda: kornia.RandomGaussianNoise(std=0.1, p=1.0),
    "gamma of sections": lambda: kornia.RandomGamma((0.5, 0.6), p=1.0),
}


@pytest.mark.parametrize("make", GEOMETRIC.values(), ids=GEOMETRIC)
def test_image_labels_and_mask_move_together_and_only_the_image_is_interpolated(make):
    before, after = scene(), apply(make())
    assert not torch.equal(before["labels"], after["labels"])
    assert set(after["labels"].unique().tolist()) <= {0, 3, HUGE}
    torch.testing.assert_close(after["mask"] != 0, after["labels"] != 0)
    certain = (after["image"] == 1) | (after["image"] == -1)
    assert certain.float().mean() > 0.2
    agree = (after["labels"] == HUGE)[certain] == (after["image"] == 1)[certain]
    assert agree.float().mean() > 0.97  # nearest and linear sampling part at a border within rounding


@pytest.mark.parametrize("make", INTENSITY.values(), ids=INTENSITY)
def test_intensities_change_and_labels_do_not(make):
    before = scene() | {"image": torch.linspace(-0.8, 0.6, 1536).reshape(SHAPE)}
    after = apply(make(), before)
    assert not torch.allclose(before["image"], after["image"], atol=1e-3)
    assert after["image"].abs().max() <= 1
    assert after["image"].shape == before["image"].shape
    for name in ("labels", "mask"):
        torch.testing.assert_close(after[name], before[name])


@pytest.mark.parametrize("make", [*GEOMETRIC.values(), *INTENSITY.values()], ids=[*GEOMETRIC, *INTENSITY])
def test_a_result_is_a_function_of_the_seed_and_global_states_stay(make):
    augmentation = make()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = (random.random(), np.random.random(), torch.rand(1))  # noqa: NPY002
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    one = apply(augmentation, seed=5)
    assert (random.random(), np.random.random(), torch.rand(1)) == expected  # noqa: NPY002
    torch.rand(7)
    again = apply(augmentation, seed=5)
    for name in ROLES:
        torch.testing.assert_close(one[name], again[name], rtol=0, atol=0)


def test_several_images_see_the_same_parameters():
    arrays = scene() | {"image_2": scene()["image"]}
    for make in (INTENSITY["noise in sections"], GEOMETRIC["rotation of volumes"]):
        after = apply(make(), arrays, roles={**ROLES, "image_2": "image"})
        torch.testing.assert_close(after["image"], after["image_2"])


def test_every_section_has_its_own_noise_unless_it_is_same_on_batch():
    flat = {"image": torch.zeros(SHAPE)}
    own = apply(kornia.RandomGaussianNoise(std=0.1, p=1.0), flat)["image"][0, 0]
    same = apply(kornia.RandomGaussianNoise(std=0.1, p=1.0, same_on_batch=True), flat)["image"][0, 0]
    assert not torch.equal(own[0], own[1])
    torch.testing.assert_close(same[0], same[1])


def test_sections_of_a_crop_are_turned_alike():
    columns = torch.arange(3)[None, None, None, :, None].repeat_interleave(4, 3).expand(1, 1, 6, 12, 12) + 1
    turned = apply(kornia.RandomRotation(45.0, p=1.0), {"labels": columns}, roles={"labels": "labels"})["labels"][0, 0]
    assert not torch.equal(turned[0], columns[0, 0, 0])
    torch.testing.assert_close(turned, turned[:1].expand(6, 12, 12))


@pytest.mark.parametrize("make", [GEOMETRIC["rotation of volumes"], GEOMETRIC["affine map of volumes"]])
def test_rotations_of_sections_stay_in_plane(make):
    sections = torch.arange(1, 7)[None, None, :, None, None].expand(SHAPE).contiguous()
    arrays, roles = {"labels": sections}, {"labels": "labels"}
    in_plane = apply(make(), arrays, voxel_size=SECTIONS, roles=roles)["labels"]
    filled = in_plane != 0  # beyond the crop there is nothing
    torch.testing.assert_close(in_plane[filled], sections[filled])
    assert filled.float().mean() > 0.5
    free = apply(make(), arrays, voxel_size=(4.0, 4.0, 4.0), roles=roles)["labels"]
    assert not torch.equal(free[free != 0], sections[free != 0])


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (kornia.RandomAffine3D((0.0, 0.0, 0.0), shears=(20.0,) * 6, p=0.1), "voxel sizes differ (40, 4, 4)"),
        (kornia.RandomPerspective3D(0.5, p=0.1), "is a perspective"),
        (kornia.RandomThinPlateSpline(p=0.1), "interpolates labels"),
        (kornia.CenterCrop3D((4, 8, 8)), "changes the shape of a crop"),
        (kornia.RandomMixUpV2(), "in a way that labels cannot follow; use one of RandomTransplantation"),
    ],
    ids=["shear across sections", "perspective", "spline", "crop", "mix-up"],
)
def test_what_cannot_be_right_is_refused_before_anything_is_drawn(augmentation, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(").replace(")", r"\)")):
        BatchAugmentation(augmentation).check(ROLES, SECTIONS)


@pytest.mark.parametrize("target", ["affinities", "descriptors"])
@pytest.mark.parametrize("make", [GEOMETRIC["flip of volumes"], lambda: kornia.RandomTransplantation3D(p=1.0)])
def test_moving_voxels_under_targets_that_depend_on_directions_is_refused(make, target):
    roles = {"image": "image", "labels": "labels", "target": target}
    with pytest.raises(ConfigError, match=r"target depend on directions .* compute targets from them afterwards"):
        BatchAugmentation(make()).check(roles)
    with pytest.raises(ConfigError, match="target depend on directions"):
        apply(make(), scene() | {"target": torch.zeros(SHAPE)}, roles={**ROLES, "target": target})
    BatchAugmentation(INTENSITY["gamma of sections"]()).check(roles)


def test_vectors_are_turned_with_the_voxels():
    """A field that points to one voxel still does after a quarter turn, in anisotropic data."""
    sizes = torch.tensor(SECTIONS)
    target = torch.tensor([2.0, 5.0, 11.0])
    grid = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in SHAPE[2:]), indexing="ij"))
    vectors = ((target[:, None, None, None] - grid) * sizes[:, None, None, None])[None]
    marked = torch.zeros(SHAPE, dtype=torch.int64)
    marked[0, 0, 2, 5, 11] = 1
    roles = {"labels": "labels", "vectors": "vectors"}
    turn = kornia.RandomRotation90((1, 1), p=1.0)
    after = apply(turn, {"labels": marked, "vectors": vectors}, voxel_size=SECTIONS, roles=roles)
    place = after["labels"][0, 0].nonzero()[0].to(torch.float32)
    assert not torch.equal(place, target)
    points_to = grid + after["vectors"][0] / sizes[:, None, None, None]
    torch.testing.assert_close(points_to, place[:, None, None, None].expand_as(grid), atol=1e-3, rtol=0)
    with pytest.raises(ConfigError, match="vectors cannot be turned"):
        BatchAugmentation(GEOMETRIC["elastic map of sections"]()).check(roles)


def test_transplanted_objects_bring_their_image_and_stay_apart():
    arrays = scene(batch=2)
    arrays["image"] = torch.rand((2, *SHAPE[1:]), generator=torch.Generator().manual_seed(0)) * 2 - 1
    after = apply(kornia.RandomTransplantation3D(excluded_labels=[0], p=1.0), arrays)
    before = arrays["labels"]
    new = after["labels"][0][(after["labels"][0] != before[0])].unique()
    assert len(new) == 1
    assert new[0] > HUGE  # both crops have the ids 3 and HUGE: the copy is another object
    copied = after["labels"][0] == new[0]
    torch.testing.assert_close(after["image"][0][copied], arrays["image"][1][copied])
    torch.testing.assert_close(after["image"][0][~copied], arrays["image"][0][~copied])


def test_cutmix_copies_a_box_in_all_arrays():
    arrays = scene(batch=2)
    after = apply(kornia.RandomCutMixV2(p=1.0, cut_size=(0.4, 0.5), use_correct_lambda=True), arrays)
    torch.testing.assert_close(after["mask"] != 0, after["labels"] != 0)
    changed = (after["labels"] != arrays["labels"]).any()
    assert changed


def test_a_mix_of_a_single_crop_is_refused():
    with pytest.raises(ConfigError, match="mixes the crops of a batch, and there is only one"):
        apply(kornia.RandomTransplantation3D(p=1.0))


def test_containers_are_to_be_listed_one_by_one():
    with pytest.raises(ConfigError, match="list its members one by one"):
        BatchAugmentation(kornia.AugmentationSequential(kornia.RandomGamma()))


def test_dense_labels_go_there_and_back_and_notice_interpolation():
    labels = torch.tensor([0, 7, HUGE, 7]).reshape(1, 1, 1, 2, 2)
    dense = DenseLabels.of(labels)
    assert dense.values.flatten().tolist() == [0, 1, 2, 1]
    torch.testing.assert_close(dense.restore(dense.values), labels)
    for wrong in (0.5, 3.0, -1.0):
        with pytest.raises(DataError, match="interpolated"):
            dense.restore(torch.full_like(dense.values, wrong))


def test_objects_of_other_crops_keep_their_ids_where_they_are_free():
    dense = DenseLabels.of(torch.tensor([[4, 5], [5, 6]]).reshape(2, 1, 1, 1, 2))
    mixed = dense.values.flip(0)  # every crop holds the objects of the other
    assert dense.restore(mixed).flatten().tolist() == [10, 6, 4, 9]
