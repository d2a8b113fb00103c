"""What is known of a population before any model: the baselines of every comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import RBFSampler
from sklearn.preprocessing import StandardScaler

from ..data import PopulationIndex, RowSource, as_dense, group_cells, log_normalized
from ..data import population_moments as moments_of

_MAX_KERNEL_CELLS = 20_000


class Representation(NamedTuple):
    """A population as a vector, and what was fitted to get it.

    ``features(train)`` returns the vectors of all populations, ``(P, k)``, given the numbers of the
    training populations; ``steps`` are transformers that are fitted on those alone.
    ``noise(train)`` returns the vectors' sampling covariances, ``(P, k, k)``, where there is a
    model that accounts for them.
    """

    name: str
    setting: str
    features: Callable[[np.ndarray], np.ndarray]
    steps: tuple = ()
    noise: Callable[[np.ndarray], np.ndarray] | None = None


class Cells(NamedTuple):
    """The cells from which baselines are computed."""

    source: RowSource
    index: PopulationIndex
    is_counts: bool
    obs: pd.DataFrame


def population_moments(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of every feature in every population, ``(P, d)`` each."""
    return moments_of(cells.source, cells.index, cells.is_counts)


class _UpTo(TransformerMixin, BaseEstimator):
    """PCA with as many components as the training populations allow, at most ``n``."""

    def __init__(self, n: int = 10):
        self.n = n

    def fit(self, x: np.ndarray, y: None = None) -> _UpTo:
        self.pca_ = PCA(min(self.n, len(x) - 1, x.shape[1]), random_state=0).fit(x)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        return self.pca_.transform(x)


def _majority(cells: Cells, **_: object) -> Representation:
    return Representation("majority", "no cells", lambda train: np.zeros((len(cells.index), 1)))


def _mean_sd(cells: Cells, moments: tuple, **_: object) -> Representation:
    features = np.concatenate(moments, 1)
    return Representation("mean_sd", "inductive", lambda train: features)


def _pseudobulk_pca(cells: Cells, moments: tuple, **_: object) -> Representation:
    return Representation("pseudobulk_pca", "inductive", lambda train: moments[0], (_UpTo(10),))


def _composition(cells: Cells, cell_type_key: str | None = None, **_: object) -> Representation:
    codes, names = group_cells(cells.obs, [cell_type_key])
    table = np.full((len(cells.index), len(names)), 0.5)  # a pseudo-count: half a cell
    known = (codes >= 0) & (cells.index.codes >= 0)
    np.add.at(table, (cells.index.codes[known], codes[known]), 1)
    log = np.log(table / table.sum(1, keepdims=True))
    clr = log - log.mean(1, keepdims=True)
    return Representation("composition", "inductive", lambda train: clr)


def _kernel_mean(
    cells: Cells, seed: int = 0, max_cells: int = _MAX_KERNEL_CELLS, **_: object
) -> Representation:
    """Mean of random Fourier features; scale and bandwidth are those of the training cells."""
    rng = np.random.default_rng(seed)
    n_each = max(2, max_cells // len(cells.index))
    rows = [
        c if len(c) <= n_each else rng.choice(c, n_each, replace=False)
        for c in map(cells.index.cells, range(len(cells.index)))
    ]
    of = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    x = cells.source[np.concatenate(rows)]
    x = log_normalized(x) if cells.is_counts else x

    def features(train: np.ndarray) -> np.ndarray:
        in_train = np.flatnonzero(np.isin(of, train))
        scale = StandardScaler(with_mean=False).fit(x[in_train])
        n_few = min(1000, len(in_train))
        few = np.random.default_rng(seed).choice(len(in_train), n_few, False)
        some = as_dense(scale.transform(x[in_train[few]]))
        sampler = RBFSampler(
            gamma=0.5 / _bandwidth(some) ** 2, n_components=256, random_state=seed
        ).fit(some[:1])
        sums = np.zeros((len(rows), 256))
        for start in range(0, len(of), 4096):
            piece = slice(start, start + 4096)
            wave = sampler.transform(scale.transform(x[piece]))
            np.add.at(sums, of[piece], wave)
        return sums / np.bincount(of, minlength=len(rows))[:, None]

    return Representation("kernel_mean", "inductive", features)


def _bandwidth(x: np.ndarray) -> float:
    """Return the median distance; where most rows are alike, that of those which differ."""
    distance = pdist(x)
    width = np.median(distance)
    if width > 0:
        return float(width)
    apart = distance[distance > 0]
    return float(np.median(apart)) if len(apart) else 1.0


BASELINES: dict[str, Callable[..., Representation]] = {
    "majority": _majority,
    "mean_sd": _mean_sd,
    "pseudobulk_pca": _pseudobulk_pca,
    "composition": _composition,
    "kernel_mean": _kernel_mean,
}
