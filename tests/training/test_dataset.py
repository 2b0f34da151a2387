from __future__ import annotations

import multiprocessing

import pytest
import torch
from toy_training import ToyCrops

from catena.errors import DataError
from catena.training.dataset import Batch, CropDataset, batches, crop_seed


def made(workers: int, start: int = 0, stop: int = 7, seed: int = 1, batch_size: int = 2) -> list[Batch]:
    return list(batches(CropDataset(ToyCrops(), seed=seed, start=start, stop=stop, batch_size=batch_size), workers))


def same(one: list[Batch], two: list[Batch]) -> bool:
    return len(one) == len(two) and all(
        torch.equal(a.raw, b.raw)
        and all(torch.equal(a.targets[head], b.targets[head]) for head in a.targets)
        and all(torch.equal(a.weights[head], b.weights[head]) for head in a.weights)
        for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_do_not_depend_on_the_number_of_workers(workers):
    assert same(made(workers), made(0))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_later_start_gives_the_later_batches(workers):
    assert same(made(workers, start=3), made(0)[3:])


def test_every_batch_and_every_seed_differs():
    everything = [batch.raw for batch in made(0)] + [batch.raw for batch in made(0, seed=2)]
    assert len({each.sum().item() for each in everything}) == 14
    assert len({crop_seed(s, i, j) for s in range(4) for i in range(40) for j in range(4)}) == 4 * 40 * 4


def test_crops_are_stacked():
    (batch,) = made(0, stop=1, batch_size=3)
    assert batch.raw.shape == (3, 1, 20, 20, 20)
    assert {head: tuple(each.shape) for head, each in batch.targets.items()} == {
        "lsds": (3, 2, 4, 4, 4),
        "affinities": (3, 1, 4, 4, 4),
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_data_arrives_as_it_was_raised(workers):
    dataset = CropDataset(ToyCrops(fails=True), seed=0, start=0, stop=4)
    with pytest.raises(DataError, match=r"^no crop to be had$"):
        next(batches(dataset, workers))
    assert not multiprocessing.active_children()


def test_workers_end_with_the_iteration_even_while_an_error_is_kept():
    data = batches(CropDataset(ToyCrops(), seed=0, start=0, stop=100), 2)
    next(data)
    assert len(multiprocessing.active_children()) == 2
    data.close()
    assert not multiprocessing.active_children()


def test_all_of_a_batch_is_pinned_for_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 1)  # there is none without a GPU
    one = torch.zeros(1)
    pinned = Batch(one, {"a": one}, {"a": one}, (3,), {"labels": one}).pin_memory()
    assert (pinned.raw, pinned.targets["a"], pinned.weights["a"], pinned.labels["labels"]) == (1, 1, 1, 1)
    assert pinned.seeds == (3,)
