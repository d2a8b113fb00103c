from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scgde.data import PopulationIndex, SetSampler, split_cells


@pytest.fixture
def index():
    codes = np.repeat([0, 1, 2, 3, 4], [2, 5, 30, 100, 400])
    rng = np.random.default_rng(0)
    return PopulationIndex(rng.permutation(codes), pd.Index(list("abcde")))


def draws(index, **kwargs):
    options = {"populations_per_batch": 3, "cells_per_population": 20, "n_steps": 20, **kwargs}
    epoch = options.pop("epoch", 0)
    sampler = SetSampler(index, **options)
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("draw", ["same", "disjoint"])
def test_cells_belong_to_their_population(index, draw):
    for d in draws(index, draw=draw):
        assert len(set(d.population)) == 3
        for rows in (d.context, d.target):
            assert rows.shape == (3, 20)
            assert (index.codes[rows] == d.population[:, None]).all()


def test_populations_come_round_equally_often(index):
    counts = np.bincount(np.concatenate([d.population for d in draws(index)]))
    assert counts.max() - counts.min() <= 1
    assert counts.sum() == 60


def test_no_replacement_where_there_are_enough_cells(index):
    for d in draws(index, draw="same"):
        for population, rows in zip(d.population, d.context, strict=True):
            assert len(np.unique(rows)) == min(20, index.sizes[population])


def test_small_populations_use_all_their_cells_evenly(index):
    for d in draws(index, draw="same"):
        for population, rows in zip(d.population, d.context, strict=True):
            if index.sizes[population] <= 5:
                counts = np.unique(rows, return_counts=True)[1]
                assert counts.max() - counts.min() <= 1


def test_disjoint_draws_share_no_cell(index):
    for d in draws(index, draw="disjoint"):
        for population, context, target in zip(d.population, d.context, d.target, strict=True):
            shared = np.intersect1d(context, target)
            assert len(shared) == 0 or index.sizes[population] < 4


def test_seed_epoch_and_rank_make_the_draw(index):
    first = draws(index, seed=1, epoch=2)
    assert all(
        (a.context == b.context).all()
        for a, b in zip(first, draws(index, seed=1, epoch=2), strict=True)
    )
    for other in (
        {"seed": 2, "epoch": 2},
        {"seed": 1, "epoch": 3},
        {"seed": 1, "epoch": 2, "rank": 1},
    ):
        assert any(
            (a.context != b.context).any()
            for a, b in zip(first, draws(index, **other), strict=True)
        )


def test_fixed_draws_are_the_same_in_every_epoch(index):
    a, b = draws(index, fixed=True, epoch=0), draws(index, fixed=True, epoch=5)
    assert all((x.context == y.context).all() for x, y in zip(a, b, strict=True))


def test_split_holds_out_whole_populations(index):
    training, held_out = split_cells(index, 0.6, seed=0)
    assert len(training) + len(held_out) == 537
    assert not set(index.codes[training]) & set(index.codes[held_out])
    assert len(set(index.codes[held_out])) == 2


def test_split_never_divides_a_donor():
    codes = np.repeat(np.arange(12), 10)
    index = PopulationIndex(codes, pd.Index([str(i) for i in range(12)]))
    donors = codes // 2
    training, held_out = split_cells(index, 0.7, by="donor", donors=donors, seed=3)
    assert not set(donors[training]) & set(donors[held_out])
    assert len(held_out) > 0


def test_split_by_cell_takes_a_share_of_each(index):
    training, held_out = split_cells(index, 0.9, by="cell")
    np.testing.assert_array_equal(np.bincount(index.codes[held_out]), [0, 0, 3, 10, 40])
    assert len(np.intersect1d(training, held_out)) == 0


@pytest.mark.parametrize("train_size", [0, -1, 1.2])
def test_split_refuses_impossible_shares(index, train_size):
    with pytest.raises(ValueError, match="train_size"):
        split_cells(index, train_size)
