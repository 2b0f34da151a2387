from __future__ import annotations

import gunpowder as gp
import numpy as np

from catena.nodes.augment_config import CopyPasteConfig
from catena.nodes.copy_paste_augment import CopyPasteAugment, Paste, draw_pastes, paste, paste_labels, unused_ids

RAW, LABELS, MASK = gp.ArrayKey("RAW"), gp.ArrayKey("LABELS"), gp.ArrayKey("MASK")
ALWAYS = CopyPasteConfig(probability=1, min_voxels=2, max_fraction=0.5)
SHAPE = (4, 14, 14)


def scene():
    """An object with an id beyond what a float can hold, in a gradient that is its own fingerprint."""
    labels = np.zeros(SHAPE, np.uint64)
    labels[1:3, 2:6, 3:5] = 2**53 + 1
    raw = np.linspace(-1, 1, labels.size, dtype=np.float32).reshape(SHAPE)
    return raw, labels


def pasted(seed, config=ALWAYS):
    raw, labels = scene()
    pastes = draw_pastes(np.random.default_rng(seed), labels, config, (0, 1, 2), np.unique(labels))
    return paste(raw, pastes, with_rim=True), paste_labels(labels, pastes), pastes


def test_the_copy_brings_its_image_with_it_under_a_new_id():
    raw, labels = scene()
    for seed in range(20):
        new_raw, new_labels, (drawn,) = pasted(seed)
        copied = new_labels == drawn.new_id
        assert set(np.unique(new_labels)) <= {0, drawn.new_id, 2**53 + 1}
        assert 4 <= np.count_nonzero(copied) <= 16
        np.testing.assert_array_equal(new_raw[drawn.target], raw[drawn.source])
        assert (labels[drawn.source] == 2**53 + 1).all()
        np.testing.assert_array_equal(new_labels[~copied], labels[~copied])


def test_an_object_that_a_copy_cuts_stays_one():
    labels = np.full((1, 1, 5), 7, np.uint64)
    across = (np.array([0]), np.array([0]), np.array([2]))
    assert paste_labels(labels, [Paste(across, across, across, across, new_id=1)]).ravel().tolist() == [7, 7, 1, 7, 7]


def test_what_surrounds_the_object_in_plane_is_copied_in_the_image_only():
    raw, _ = scene()
    new_raw, new_labels, (drawn,) = pasted(3)
    np.testing.assert_array_equal(new_raw[drawn.rim_target], raw[drawn.rim_source])
    assert len(drawn.rim_target[0]) > len(drawn.target[0])
    assert np.count_nonzero(new_labels == drawn.new_id) == len(drawn.target[0])


def test_copies_may_be_mirrored():
    shifts = []
    for seed in range(20):
        _, _, (drawn,) = pasted(seed)
        offset = np.array(drawn.target) - np.array(drawn.source)
        shifts.append(bool((offset == offset[:, :1]).all()))
    assert 0 < sum(shifts) < 20
    _, _, (plain,) = pasted(0, CopyPasteConfig(**{**ALWAYS.model_dump(), "mirror": False}))
    offset = np.array(plain.target) - np.array(plain.source)
    assert (offset == offset[:, :1]).all()


def test_objects_too_small_or_too_large_stay_alone():
    _, labels = scene()
    for config in (CopyPasteConfig(probability=1), CopyPasteConfig(probability=1, min_voxels=1, max_fraction=0.01)):
        assert draw_pastes(np.random.default_rng(0), labels, config, (0, 1, 2), np.unique(labels)) == []


def test_new_ids_are_free_and_fit_into_small_types():
    assert unused_ids(np.array([0, 1, 3, 254], np.uint8), 3) == [2, 4, 5]


def test_node_pastes_into_arrays_of_different_boxes_alike(pipelines):
    raw, labels = scene()
    arrays = {RAW: raw, LABELS: labels, MASK: (labels != 0).astype(np.uint8)}
    boxes = {RAW: ((0, 0, 0), SHAPE), LABELS: ((0, 1, 1), (4, 12, 12)), MASK: ((0, 1, 1), (4, 12, 12))}
    node = CopyPasteAugment(RAW, LABELS, ALWAYS, along=(MASK,))
    one, again = (pipelines.request(arrays, [node], boxes, seed=2) for _ in range(2))
    for key in arrays:
        np.testing.assert_array_equal(one[key].data, again[key].data)
    copied = one[LABELS].data == 1
    assert copied.any()
    assert one[MASK].data[copied].all()
    moved = one[RAW].data[:, 1:13, 1:13][copied]
    assert np.isin(moved, raw[labels != 0]).all()
    np.testing.assert_array_equal(scene()[0], raw)


def test_ids_of_labels_around_the_shared_box_are_taken(pipelines):
    raw, labels = scene()
    labels[:, 0, :] = 1  # seen in the larger box of the labels only
    boxes = {RAW: ((0, 1, 1), (4, 12, 12)), LABELS: ((0, 0, 0), SHAPE)}
    node = CopyPasteAugment(RAW, LABELS, ALWAYS)
    after = pipelines.request({RAW: raw, LABELS: labels}, [node], boxes, seed=2)[LABELS].data
    np.testing.assert_array_equal(after == 1, labels == 1)
    assert (after == 2).any()


def test_node_without_labels_in_the_request_does_nothing(pipelines):
    raw, labels = scene()
    node = CopyPasteAugment(RAW, LABELS, ALWAYS)
    batch = pipelines.request({RAW: raw, LABELS: labels}, [node], {RAW: ((0, 0, 0), SHAPE)})
    np.testing.assert_array_equal(batch[RAW].data, raw)
