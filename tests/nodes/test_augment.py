from __future__ import annotations

import re
from pathlib import Path

import gunpowder as gp
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi

from catena.config import to_yaml
from catena.errors import ConfigError
from catena.nodes import Augment
from catena.nodes.add_affinities import AddAffinities
from catena.nodes.augment import padded, with_context
from catena.nodes.augment_config import AugmentConfig
from catena.nodes.augmentation import augment

kornia = pytest.importorskip("kornia.augmentation", reason="kornia (extra 'augment') is not installed")

RAW, LABELS, MASK = gp.ArrayKey("RAW"), gp.ArrayKey("LABELS"), gp.ArrayKey("MASK")
AFFINITIES, AFFINITIES_MASK = gp.ArrayKey("AFFINITIES"), gp.ArrayKey("AFFINITIES_MASK")
ROLES = {RAW: "image", LABELS: "labels", MASK: "mask"}
HUGE = 2**60 + 1
BOXES = {RAW: ((10, 20, 20), (8, 24, 24)), LABELS: ((12, 27, 25), (4, 12, 12)), MASK: ((12, 27, 25), (4, 12, 12))}
INNER = (slice(2, 6), slice(7, 19), slice(5, 17))
"""Where the labels' box lies in that of raw."""


def arrays():
    labels = np.random.default_rng(0).choice(np.array([3, HUGE], np.uint64), (6, 12, 12))
    labels = labels.repeat(5, 0).repeat(5, 1).repeat(5, 2)
    return {RAW: np.where(labels == 3, 1, -1).astype(np.float32), LABELS: labels, MASK: np.ones(labels.shape, np.uint8)}


def rotation():
    return Augment(kornia.RandomRotation3D((20.0, 20.0, 20.0), p=1.0), ROLES)


def cause(error: BaseException | None) -> BaseException | None:
    while error is not None and not isinstance(error, ConfigError):
        error = error.__cause__ or error.__context__
    return error


def test_arrays_of_different_boxes_move_together_and_labels_are_never_mixed(pipelines):
    for seed in range(3):
        batch = pipelines.request(arrays(), [rotation()], BOXES, seed=seed)
        labels, raw = batch[LABELS].data, batch[RAW].data[INNER]
        assert labels.dtype == np.uint64
        assert set(np.unique(labels)) <= {0, 3, HUGE}
        known = (batch[MASK].data != 0) & (np.abs(raw) == 1)
        assert known.mean() > 0.2
        assert ((labels == 3)[known] == (raw == 1)[known]).mean() > 0.98
    assert not np.array_equal(labels, arrays()[LABELS][12:16, 27:39, 25:37])


def test_mirrored_labels_are_complete(pipelines):
    """The box is off the centre of raw; what its mirror image holds was asked for as well."""
    node = Augment(kornia.RandomHorizontalFlip3D(p=1.0), ROLES)
    batch = pipelines.request(arrays(), [node], BOXES)
    assert batch[MASK].data.all()
    mirrored = arrays()[LABELS][10:18, 20:44, 20:44][:, :, ::-1]
    np.testing.assert_array_equal(batch[LABELS].data, mirrored[INNER])


@pytest.mark.parametrize(
    "make", [rotation, lambda: Augment(kornia.RandomMotionBlur3D(3, 35.0, 0.5, p=1.0), ROLES)], ids=["turn", "blur"]
)
def test_a_batch_is_a_function_of_its_seed(pipelines, make):
    one, again, other = (pipelines.request(arrays(), [make()], BOXES, seed=s) for s in (1, 1, 2))
    for key in BOXES:
        np.testing.assert_array_equal(one[key].data, again[key].data)
    assert not np.array_equal(one[RAW].data, other[RAW].data)


def test_two_nodes_of_one_pipeline_draw_different_numbers(pipelines):
    boxes = {RAW: ((0, 0, 0), (4, 8, 8))}
    flat = {RAW: np.zeros((4, 8, 8), np.float32)}
    first, second = (
        pipelines.request(flat, [Augment(kornia.RandomGaussianNoise(p=1.0), {RAW: "image"}, stream=n)], boxes)[RAW].data
        for n in (0, 1)
    )
    assert not np.array_equal(first, second)


def test_intensities_leave_labels_and_boxes_as_they_were(pipelines):
    node = Augment(kornia.RandomMotionBlur3D(3, 35.0, 0.5, p=1.0), ROLES)
    batch = pipelines.request(arrays(), [node], BOXES)
    np.testing.assert_array_equal(batch[LABELS].data, arrays()[LABELS][12:16, 27:39, 25:37])
    assert not np.array_equal(batch[RAW].data, arrays()[RAW][10:18, 20:44, 20:44])


def test_a_mix_is_given_a_second_crop(pipelines):
    from catena.nodes.random_location import RandomLocation

    anywhere = RandomLocation(Roi((0, 0, 0), (30, 60, 60)), Roi((10, 20, 20), (8, 24, 24)))

    def request(p):  # every node upstream of another changes its seed: the same nodes, then, for the same crop
        node = Augment(kornia.RandomTransplantation3D(excluded_labels=[0], p=p), ROLES)
        return pipelines.request(arrays(), [anywhere, node], BOXES, seed=4)

    one, again, plain = request(1.0), request(1.0), request(0.0)
    np.testing.assert_array_equal(one[LABELS].data, again[LABELS].data)
    copied = one[LABELS].data != plain[LABELS].data
    assert copied.any()
    assert set(np.unique(one[LABELS].data[copied])).isdisjoint({0, 3, HUGE})
    np.testing.assert_array_equal(one[RAW].data[INNER][~copied], plain[RAW].data[INNER][~copied])


def affinities():
    offsets = [Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)]
    return AddAffinities(LABELS, MASK, offsets, AFFINITIES, AFFINITIES_MASK)


def test_turning_affinities_is_refused_with_a_role_or_without(pipelines):
    boxes = {RAW: BOXES[RAW], AFFINITIES: BOXES[LABELS]}
    turn = kornia.RandomRotation3D((20.0, 20.0, 20.0), p=0.01)
    with pytest.raises(Exception, match=r"Augment.*setup") as caught:
        pipelines.request(arrays(), [affinities(), Augment(turn, {RAW: "image", AFFINITIES: "affinities"})], boxes)
    assert "depend on directions between voxels" in str(cause(caught.value))
    with pytest.raises(gp.pipeline.PipelineRequestError) as caught:
        pipelines.request(arrays(), [affinities(), Augment(turn, {RAW: "image"})], boxes)
    assert "AFFINITIES passes it without a role" in str(cause(caught.value))
    batch = pipelines.request(arrays(), [Augment(turn, ROLES), affinities()], boxes)
    assert batch[AFFINITIES].data.shape == (3, 4, 12, 12)


def test_rotations_in_sections_follow_the_voxel_size_of_the_arrays(pipelines):
    layers = np.arange(1, 31, dtype=np.uint64)[:, None, None].repeat(60, 1).repeat(60, 2)
    node = Augment(kornia.RandomRotation3D((30.0, 30.0, 30.0), p=1.0), {LABELS: "labels"})
    batch = pipelines.request({LABELS: layers}, [node], {LABELS: BOXES[LABELS]}, voxel_size=(40, 4, 4))
    found = batch[LABELS].data
    expected = np.broadcast_to(np.arange(13, 17)[:, None, None], found.shape)
    np.testing.assert_array_equal(found[found != 0], expected[found != 0])


def test_the_same_object_works_on_a_batch_in_the_training_step():
    node = rotation()
    labels = torch.arange(2 * 512).reshape(2, 1, 8, 8, 8) // 100
    raw = labels / labels.max() * 2 - 1
    after = node.on_batch({"RAW": raw, "LABELS": labels}, seed=1)
    assert after["RAW"].shape == raw.shape
    assert not torch.equal(after["LABELS"][0], labels[0])
    with pytest.raises(ConfigError, match="LSDS has no role; there are RAW, LABELS, MASK"):
        node.on_batch({"LSDS": raw}, seed=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_batch_on_the_gpu_stays_there_and_leaves_its_random_state():
    labels = (torch.arange(2 * 512).reshape(2, 1, 8, 8, 8) // 100).cuda()
    raw = labels / labels.max() * 2 - 1
    state = torch.cuda.get_rng_state()
    for make in (rotation, lambda: Augment(kornia.RandomMotionBlur3D(3, 35.0, 0.5, p=1.0), ROLES)):
        one, again = (make().on_batch({"RAW": raw, "LABELS": labels}, seed=1) for _ in range(2))
        assert one["RAW"].is_cuda
        assert torch.equal(one["RAW"], again["RAW"])
        assert torch.equal(one["LABELS"], again["LABELS"])
    assert torch.equal(torch.cuda.get_rng_state(), state)


def test_context_is_the_mirror_image_and_what_a_turn_in_plane_reaches():
    total = Roi((0, 0, 0), (10, 40, 40))
    #  y 4..12 and its mirror image 28..36 span 4..36; the diagonal of 32 x 20 is 38
    found = with_context(Roi((2, 4, 10), (6, 8, 20)), total, Coordinate(1, 1, 1))
    assert found == Roi((2, 1, 1), (6, 38, 38))
    assert with_context(total, total, Coordinate(1, 1, 1)) == total


def test_padding_puts_values_where_they_belong():
    values = np.ones((2, 1, 2, 3), np.uint8)
    whole = padded(values, Roi((4, 2, 0), (4, 4, 6)), Roi((0, 0, 0), (8, 8, 8)), Coordinate(4, 2, 2))
    assert whole.shape == (2, 2, 4, 4)
    assert whole.sum() == values.sum()
    assert whole[:, 1:, 1:3, :3].all()


def built(config):
    """Names of the nodes that follow the source."""
    pipeline = augment(gp.Pipeline(gp.BatchProvider()), config, RAW, {LABELS: "labels", MASK: "mask"})
    names: list[str] = []
    pipeline.traverse(lambda node: names.append(type(node.output).__name__), reverse=False)
    return names[-2::-1]


ISOTROPIC = Coordinate(8, 8, 8)
USUAL = ["DeformAugment", "SimpleAugment", "DefectAugment", "IntensityAugment", "NoiseAugment"]


def test_the_documentation_names_parts_in_the_order_of_the_nodes():
    table = (Path(__file__).parents[2] / "docs" / "augmentation.md").read_text().partition("## Built in")[2]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `augment.")]
    named = [name for row in rows for name in re.findall(r"`augment\.(\w+)`", row)]
    assert named.index("deform") < named.index("mirror") < named.index("copy_paste")
    given = {"copy_paste": {}, "motion_blur": {}, "stripes": {}, "cut_blur": {}, "cut_noise": {}}
    order = [name for name in built(AugmentConfig.parse(given).resolved(ISOTROPIC)) if name != "SimpleAugment"]
    nodes = {f"{name.title().replace('_', '')}Augment": name for name in named}
    nodes["DefectAugment"] = "defects"
    assert [nodes[name] for name in order] == [name for name in named if name not in ("mirror", "transpose")]


def test_what_is_new_is_off_unless_it_is_given():
    assert built(AugmentConfig().resolved(ISOTROPIC)) == USUAL
    given = AugmentConfig.parse(
        {
            "copy_paste": {},
            "motion_blur": {},
            "stripes": {},
            "cut_blur": {},
            "cut_noise": {},
            "extra": [{"kornia.augmentation.RandomMotionBlur3D": {"kernel_size": 3, "angle": 35.0, "direction": 0.5}}],
        }
    )
    order = built(given.resolved(ISOTROPIC))
    assert order[:4] == ["DeformAugment", "SimpleAugment", "CopyPasteAugment", "DefectAugment"]
    assert order[4:8] == ["MotionBlurAugment", "StripesAugment", "CutBlurAugment", "CutNoiseAugment"]
    assert order[-1] == "Augment"
    assert "name: kornia.augmentation.RandomMotionBlur3D" in to_yaml(given)
