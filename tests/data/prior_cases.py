"""Cells with all kinds of keys, and a set prior of every kind on them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scgde.data import KernelSets, MixtureSets, NoisyLabelSets, PopulationIndex

N = 600
RNG = np.random.default_rng(0)
OBS = pd.DataFrame(
    {
        "time": np.where(np.arange(N) % 10 == 0, np.nan, RNG.uniform(0, 10, N)),
        "day": RNG.integers(1, 9, N),
        "count": RNG.integers(0, 21, N),
        "positive": RNG.uniform(0.5, 3, N),
        "half": 0.5,
        "name": "x",
        "flag": True,
        "infinite": np.inf,
        "missing": np.nan,
        "both": 1.0,
        "_scvi_time": 1.0,
    }
)
OBSM = {
    "spatial": RNG.uniform(0, 10, (N, 2)),
    "sparse": sp.csr_matrix(RNG.poisson(1.0, (N, 3))),
    "both": np.zeros((N, 2)),
}
INDEX = PopulationIndex(RNG.integers(-1, 8, N), pd.Index(list("abcdefgh")))

PRIORS = {
    "kernel": KernelSets("time", 0.7),
    "coordinates": KernelSets("spatial", 1.5),
    "groups": KernelSets("day", 0.5),
    "normal": NoisyLabelSets("time", "Normal", noise_kwargs={"scale": 0.5}),
    "poisson": NoisyLabelSets("count", "Poisson", "rate"),
    "binomial": NoisyLabelSets(
        "count", "Binomial", "probs", {"total_count": 20}, values=[0.1, 0.5, 0.8]
    ),
    "mixture": MixtureSets(3),
}
every_prior = pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)


def bound(prior, rows=None, index=INDEX):
    sets = prior.bind(OBS, OBSM, index)
    return sets if rows is None else sets.restrict(rows)


def draws(sets, epoch=0, **kwargs):
    options = {"populations_per_batch": 4, "cells_per_population": 15, "n_steps": 20, **kwargs}
    sampler = sets.sampler(**options)
    sampler.set_epoch(epoch)
    return list(sampler)


def weights(sets, values):
    """Return weights of all cells, sets x cells."""
    names, measures = sets.measures(values)
    dense = np.zeros((len(names), N))
    for row, (rows, weight) in zip(dense, measures, strict=True):
        assert len(np.unique(rows)) == len(rows)
        row[rows] = weight
    return dense


def normalized(weight):
    weight = np.where(INDEX.codes >= 0, np.nan_to_num(weight), 0)
    return weight / weight.sum()
