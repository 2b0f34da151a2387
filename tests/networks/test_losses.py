"""Losses against their formulas, and MALIS against all pairs of voxels."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from catena.config import Config
from catena.errors import ConfigError
from catena.networks import LOSSES, LossTerm, total_loss, weighted_mse
from catena.networks.losses import Malis
from catena.networks.losses.maximin import maximin_weights

NAMES = ["bce", "dice", "focal", "mae", "malis", "mse", "smooth_l1", "tversky"]
OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


class Losses(Config):
    losses: dict[str, tuple[LossTerm, ...]]


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, 1, -1)


P, T, W = tensor(0.9, 0.2, 0.5, 0.0), tensor(1, 0, 1, 1), tensor(1, 2, 1, 0)


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ({"type": "mse"}, (0.01 + 2 * 0.04 + 0.25) / 4),
        ({"type": "mae"}, (0.1 + 2 * 0.2 + 0.5) / 4),
        ({"type": "smooth_l1", "beta": 0.25}, (0.1**2 / 0.5 + 2 * 0.2**2 / 0.5 + 0.5 - 0.125) / 4),
        ({"type": "bce"}, -(np.log(0.9) + 2 * np.log(0.8) + np.log(0.5)) / 4),
        ({"type": "focal", "gamma": 3}, -(0.1**3 * np.log(0.9) + 2 * 0.2**3 * np.log(0.8) + 0.5**3 * np.log(0.5)) / 4),
        ({"type": "dice"}, 1 - 2 * 1.4 / (0.81 + 2 * 0.04 + 0.25 + 2)),
        ({"type": "tversky", "alpha": 0.2, "beta": 0.5}, 1 - 1.4 / (1.4 + 0.2 * 0.4 + 0.5 * 0.6)),
    ],
)
def test_losses_are_their_formulas(term: dict[str, Any], expected: float) -> None:
    loss = LOSSES[term["type"]].parse(term)
    assert loss(P, T, W).item() == pytest.approx(expected, abs=1e-5)


def test_the_default_is_what_it_always_was() -> None:
    torch.manual_seed(0)
    prediction, target, weight = torch.rand(2, 3, 4, 5, 6), torch.rand(2, 3, 4, 5, 6), torch.rand(2, 1, 4, 5, 6)
    spread = weight.expand_as(prediction)
    before = (spread * (prediction - target).square()).sum() / spread.sum().clamp_min(1e-6)
    assert torch.equal(weighted_mse(prediction, target, weight), before)
    assert torch.equal(total_loss([LOSSES["mse"]()], prediction, target, weight), before)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_is_finite_where_sigmoids_saturate_and_0_where_nothing_is_known(name: str) -> None:
    torch.manual_seed(0)
    loss, target = LOSSES[name](), torch.tensor([0.0, 1.0] * 4).reshape(1, 1, 2, 2, 2).repeat(1, 3, 1, 1, 1)
    prediction = (1 - target).requires_grad_()
    wrong = loss(prediction, target, torch.ones_like(target), OFFSETS)
    wrong.backward()
    assert wrong.item() > 0.01
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()
    assert loss(target, target, torch.ones_like(target), OFFSETS).item() < 1e-5
    assert loss(prediction, target, torch.zeros(1, 3, 1, 1, 1), OFFSETS).item() == 0


def test_terms_add_up_by_their_weights() -> None:
    terms = [LOSSES["mse"](weight=2), LOSSES["dice"](weight=0.5)]
    expected = 2 * LOSSES["mse"]()(P, T, W) + 0.5 * LOSSES["dice"]()(P, T, W)
    assert total_loss(terms, P, T, W).item() == pytest.approx(expected.item())


def test_the_registry_and_the_field_of_configuration_know_the_same_losses() -> None:
    assert sorted(LOSSES) == NAMES
    terms = Losses.parse({"losses": {"affinities": [{"type": name, "weight": 2} for name in NAMES]}}).losses
    assert [type(each) for each in terms["affinities"]] == [LOSSES[name] for name in NAMES]
    again = TypeAdapter(tuple[LossTerm, ...]).validate_python([each.model_dump() for each in terms["affinities"]])
    assert again == terms["affinities"]


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            {"type": "tversky", "alfa": 1},
            r"tversky has no parameter 'alfa' \(did you mean 'alpha'.*weight, alpha, beta",
        ),
        ({"type": "mse", "gamma": 1}, r"mse has no parameter 'gamma' .*its parameters are weight$"),
        ({"type": "hinge"}, r"'hinge' found using 'type' does not match.*'bce', 'dice', 'focal', 'malis'"),
        ({"type": "focal", "gamma": 0}, r"gamma.*greater than or equal to 1"),
        ({"type": "mse", "weight": 0}, r"weight.*greater than 0"),
    ],
)
def test_wrong_losses_are_refused_with_what_is_valid(term: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Losses.parse({"losses": {"affinities": [term]}})


def test_maximin_by_hand() -> None:
    """Two objects of two voxels in a row, 1-1-2-2: their border decides four pairs, each inner edge one of two."""
    target = np.array([0, 1, 0, 1], np.float32).reshape(1, 1, 1, 4)
    found = maximin_weights(np.full_like(target, 0.5), target, target >= 0, [(0, 0, -1)])
    np.testing.assert_allclose(found.ravel(), [0, 0.5, 1, 0.5])


def test_maximin_is_that_of_all_pairs_of_voxels() -> None:
    rng = np.random.default_rng(3)
    for _ in range(3):
        labels = np.repeat(rng.integers(0, 4, (3, 3, 1)), 3, axis=2)
        offsets = (*OFFSETS, (0, -2, -1))
        known = rng.random((4, 3, 3, 3)) < 0.9
        affinities = rng.permutation(np.linspace(0.01, 0.99, known.size)).reshape(known.shape).astype(np.float32)
        target = target_of(labels, offsets)
        found = maximin_weights(affinities, target, known, offsets)
        np.testing.assert_allclose(found, brute_force(affinities, target, known, offsets), atol=1e-6)
        assert found[target == 1].sum() == pytest.approx(1, abs=1e-5)
        assert found[target == 0].sum() == pytest.approx(1, abs=1e-5)


def ends(shape: tuple[int, ...], offsets: Any) -> list[tuple[tuple[int, ...], int, int]]:
    """Every affinity inside the array with the two voxels it joins."""
    voxels = np.arange(np.prod(shape)).reshape(shape)
    found = []
    for index in np.ndindex(len(offsets), *shape):
        there = tuple(np.add(index[1:], offsets[index[0]]))
        if all(0 <= t < n for t, n in zip(there, shape, strict=True)):
            found.append((index, int(voxels[index[1:]]), int(voxels[there])))
    return found


def target_of(labels: NDArray[np.int64], offsets: Any) -> NDArray[np.float32]:
    target = np.zeros((len(offsets), *labels.shape), np.float32)
    for index, a, b in ends(labels.shape, offsets):
        target[index] = labels.flat[a] == labels.flat[b] != 0
    return target


def brute_force(affinities: Any, target: Any, known: Any, offsets: Any) -> NDArray[np.float64]:
    """The weakest edge of the best path of every pair, by Floyd and Warshall."""
    size = affinities[0].size
    edges = [each for each in ends(affinities.shape[1:], offsets) if known[each[0]]]
    home = {float(affinities[index]): index for index, _, _ in edges}
    within, between = np.zeros((size, size)), np.zeros((size, size))
    for index, a, b in edges:
        for best, value in (
            (within, affinities[index] * target[index]),
            (between, max(affinities[index], target[index])),
        ):
            best[a, b] = best[b, a] = max(best[a, b], value)
    for best in (within, between):
        for k in range(size):
            np.maximum(best, np.minimum(best[:, k, None], best[None, k]), out=best)
    total = np.zeros(affinities.shape)
    in_objects = [voxel for voxel in range(size) if (within[voxel, np.arange(size) != voxel] > 0).any()]
    for best, wanted in ((within, lambda a, b: within[a, b] > 0), (between, lambda a, b: 0 < between[a, b] < 1)):
        pairs = [best[a, b] for a, b in combinations(in_objects, 2) if wanted(a, b)]
        for value in pairs:
            total[home[float(value)]] += 1 / len(pairs)
    return total


def test_malis_moves_the_edges_that_decide_and_no_other() -> None:
    torch.manual_seed(1)
    labels = np.repeat([1, 2], 4)[None, None] * np.ones((2, 2, 1), int)
    target = torch.from_numpy(target_of(labels, OFFSETS))[None]
    prediction = torch.rand_like(target).requires_grad_()
    weight = torch.ones_like(target)
    Malis()(prediction, target, weight, OFFSETS).backward()
    assert prediction.grad is not None
    shares = maximin_weights(prediction.detach().numpy()[0], target.numpy()[0], weight.numpy()[0] > 0, OFFSETS)
    torch.testing.assert_close(prediction.grad, 2 * torch.from_numpy(shares)[None] * (prediction - target).detach())
    assert 0 < np.count_nonzero(shares) < 0.7 * shares.size
    doubled = Malis()(prediction.repeat(2, 1, 1, 1, 1), target.repeat(2, 1, 1, 1, 1), weight, OFFSETS)
    assert doubled.item() == pytest.approx(Malis()(prediction, target, weight, OFFSETS).item())
    with pytest.raises(ConfigError, match="3 channels, 1 offsets"):
        Malis()(prediction, target, weight, OFFSETS[:1])
