"""What of clones is scored: a representation, in a setting, within folds of clones."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold

from ._clonal_representations import ClonalEmbedding
from ._clonal_sets import MIN_CLONES, ClonalSets
from ._representations import Representation

SETTINGS = ("transductive", "transductive_split", "inductive")
_NO_VARIANCE = 1e-10  # of the first component's


class View(NamedTuple):
    """A representation in a setting: what is scored.

    ``features(train)`` returns vectors ``(2n, k)`` of all populations, given the numbers of the
    training populations. ``folds`` are the clones scored together; if ``held_out``, the others
    train.
    """

    representation: str
    setting: str
    features: Callable[[np.ndarray], np.ndarray]
    folds: list[np.ndarray]
    held_out: bool


class Pairs(NamedTuple):
    """Clones ``clones (m,)`` and their vectors: ``(m, d)`` reduced, ``(m, k)`` as they were."""

    clones: np.ndarray
    early: np.ndarray
    late: np.ndarray
    raw_early: np.ndarray
    raw_late: np.ndarray


def clonal_views(
    embedding: ClonalEmbedding | None,
    baselines: list[Representation],
    setting: str,
    folds: list[np.ndarray],
) -> list[View]:
    """Return each representation in each setting asked for, the model's embedding first.

    Of baselines no split beside the transductive is made: held out or not, they differ by little.
    """
    every = [np.sort(np.concatenate(folds))]
    features = {}
    if embedding is not None:
        fixed = embedding.transductive
        features["gde"] = dict(zip(SETTINGS, (fixed, fixed, embedding.inductive), strict=True))
    for baseline in baselines:
        features[baseline.name] = dict.fromkeys(SETTINGS, baseline.features)
    settings = SETTINGS if setting == "both" else (setting,)
    return [
        View(
            name,
            where,
            by_setting[where],
            every if where == "transductive" else folds,
            where == "inductive",
        )
        for name, by_setting in features.items()
        for where in settings
        if name == "gde" or where != "transductive_split"
    ]


def clone_folds(n: int, n_splits: int, seed: int) -> list[np.ndarray]:
    """Divide clones at random; raise a ``ValueError`` if a fold would have too few."""
    if n_splits == 1:
        return [np.arange(n)]
    if n // n_splits < MIN_CLONES:
        raise ValueError(
            f"n_splits={n_splits} leaves {n // n_splits} of {n} clones in a fold, but at least "
            f"{MIN_CLONES} are needed. Lower min_cells or n_splits, or use setting='transductive'."
        )
    splits = KFold(n_splits, shuffle=True, random_state=seed).split(np.arange(n))
    return [test for _, test in splits]


def pairs_of(view: View, sets: ClonalSets, n_components: int) -> list[Pairs]:
    """Return the pairs of each fold, on common principal components of the training clones."""
    every, pairs = np.arange(len(sets.clones)), []
    for test in view.folds:
        train = np.setdiff1d(every, test) if view.held_out else every
        sides = np.split(view.features(sets.populations(train)), 2)
        raw = [side[test] for side in sides]
        pairs.append(
            Pairs(test, *reduced([side[train] for side in sides], raw, n_components), *raw)
        )
    return pairs


def reduced(
    train: list[np.ndarray], test: list[np.ndarray], n_components: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return both sides of ``test`` on the leading principal components of both of ``train``.

    Each side is centred by its own mean, so that the components are those in which clones differ
    and not those in which times do. Who belongs to whom plays no part.
    """
    means = [side.mean(0) for side in train]
    pooled = np.concatenate([side - mean for side, mean in zip(train, means, strict=True)])
    with np.errstate(invalid="ignore"):  # shares of a variance of zero
        pca = PCA(min(n_components, *pooled.shape), random_state=0).fit(pooled)
    size = pca.explained_variance_
    axes = pca.components_[size > _NO_VARIANCE * size[0]]
    early, late = ((side - mean) @ axes.T for side, mean in zip(test, means, strict=True))
    return early, late
