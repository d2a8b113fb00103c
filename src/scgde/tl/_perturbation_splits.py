from __future__ import annotations

import numpy as np
import pandas as pd

from .._errors import listed, require, require_counts
from ._perturbation_screen import Screen


def perturbation_splits(
    screen: Screen,
    features: list[str],
    n_splits: int,
    test_size: float,
    held_out: list[str] | list[list[str]] | None,
    min_cells: int,
    seed: int,
) -> list[list[str]]:
    """Return the perturbations that each split holds out.

    Parameters
    ----------
    screen
        The populations.
    features
        The components whose features are known; a perturbation with others cannot be predicted.
    n_splits, test_size, seed
        Splits are the folds of a shuffled K-fold with K the nearest to ``1 / test_size``, so that
        each perturbation is held out once before any is twice; then of another.
    held_out
        Given splits, or one; names are compared as text. The other arguments are then not used.
    min_cells
        Perturbations without a population of so many cells are not held out.
    """
    known = set(features)
    largest = screen.table.groupby("perturbation")["n_cells"].max()
    can = sorted(
        name
        for name, parts in screen.components.items()
        if parts and known.issuperset(parts) and largest[name] >= min_cells
    )
    if held_out is not None:
        return _given(held_out, can, min_cells)
    require_counts(n_splits=n_splits)
    if not 0 < test_size <= 0.5:
        raise ValueError(f"test_size={test_size!r} must be above 0 and at most 0.5.")
    if len(can) < 3:
        raise ValueError(
            f"Only {len(can)} perturbations have features and {min_cells} cells; splits need "
            "three. Lower min_cells, or give features of more."
        )
    n_folds = min(round(1 / test_size), len(can))
    rng, splits = np.random.default_rng(seed), []
    while len(splits) < n_splits:
        folds = np.array_split(rng.permutation(np.array(can, dtype=object)), n_folds)
        splits += [fold.tolist() for fold in folds]
    return splits[:n_splits]


def require_training(screen: Screen, features: list[str], removed: list[str]) -> None:
    """Raise a ``ValueError`` if nothing with features is left once perturbations are removed."""
    known = set(features)
    left = (parts for name, parts in screen.components.items() if name not in removed)
    if not any(parts and known.issuperset(parts) for parts in left):
        raise ValueError(
            f"Without {listed(removed, 5)} no perturbation is left whose parts all have features, "
            "so there is nothing to learn from. Hold out fewer, or give features of more."
        )


def _given(held_out: list, can: list[str], min_cells: int) -> list[list[str]]:
    is_name = pd.api.types.is_scalar
    are_names = [] if is_name(held_out) else [is_name(name) for name in held_out]
    if is_name(held_out) or len(set(are_names)) > 1:
        raise TypeError(f"held_out={held_out!r} must be a list of perturbations, or of such lists.")
    splits = [[str(n) for n in split] for split in ([held_out] if all(are_names) else held_out)]
    if not splits or not all(splits):
        raise ValueError("held_out is empty, or has an empty split: name perturbations.")
    for split in splits:
        if len(set(split)) < len(split):
            raise ValueError(f"held_out names a perturbation twice: {listed(split)}.")
        for name in split:
            where = f"the perturbations with features and at least {min_cells} cells"
            require("held_out", name, can, where)
    return splits
