"""Which clones can be scored: those with cells early and late."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import listed, require, require_counts
from ..data import PopulationIndex
from ..data._groups import text_categories

MIN_CLONES = 20
SIDES = ("early", "late")


class ClonalSets(NamedTuple):
    """Clones with an early and a late population each.

    ``clones (n,)``, their names, sorted; ``clone_of (n_cells,)``, each cell's clone, -1 for those
    that are not scored; ``index``, the populations: clone i early is number i, late n + i;
    ``early`` and ``late``, the times of each side.
    """

    clones: pd.Index
    clone_of: np.ndarray
    index: PopulationIndex
    early: list[str]
    late: list[str]

    def populations(self, clones: np.ndarray) -> np.ndarray:
        """Return the numbers of the early, then the late populations of some clones."""
        return np.concatenate([clones, len(self.clones) + clones])

    def table(self) -> pd.DataFrame:
        """Return the number of cells of every clone on either side."""
        sizes = self.index.sizes.reshape(2, -1)
        return pd.DataFrame({"n_early": sizes[0], "n_late": sizes[1]}, index=self.clones)


def clonal_sets(
    adata: AnnData,
    clone_key: str,
    time_key: str,
    early: object,
    late: object,
    min_cells: int | tuple[int, int],
) -> ClonalSets:
    """Pool the cells of each clone at its early and at its late times.

    Raises
    ------
    KeyError, ValueError
        If a key or a time is unknown, early and late overlap, or fewer than 20 clones have
        ``min_cells`` on both sides.
    """
    require("clone_key", clone_key, adata.obs.columns, "adata.obs")
    require("time_key", time_key, adata.obs.columns, "adata.obs")
    if clone_key == time_key:
        raise ValueError(f"clone_key and time_key are both {clone_key!r}; name two columns.")
    clone, time = text_categories(adata.obs[clone_key]), text_categories(adata.obs[time_key])
    times = [
        _times(s, given, time, time_key) for s, given in zip(SIDES, (early, late), strict=True)
    ]
    both = [t for t in times[0] if t in times[1]]
    if both:
        raise ValueError(f"early={early!r} and late={late!r} overlap: {listed(both)} is in both.")
    least = (min_cells, min_cells) if np.ndim(min_cells) == 0 else tuple(min_cells)
    if len(least) != 2:
        raise ValueError(f"min_cells={min_cells!r} must be one number, or (early, late).")
    for number in least:
        require_counts(min_cells=number)
    at = np.stack([np.isin(time.astype(object), t) & (clone.codes >= 0) for t in times])
    names = np.asarray(clone.categories, dtype=object)
    sizes = np.stack([np.bincount(clone.codes[side], minlength=len(names)) for side in at])
    enough = sizes >= np.array(least)[:, None]
    scored = np.flatnonzero(enough.all(0))
    if len(scored) < MIN_CLONES:
        raise ValueError(
            f"{len(scored)} clones can be scored, but at least {MIN_CLONES} are needed: of "
            f"{len(names)} clones in adata.obs[{clone_key!r}], {enough[0].sum()} have "
            f"{least[0]} or more cells early ({listed(times[0])}: {at[0].sum()} cells of a clone), "
            f"{enough[1].sum()} have {least[1]} or more late ({listed(times[1])}: {at[1].sum()} "
            "cells). Lower min_cells, or pool more times."
        )
    scored = scored[np.argsort(names[scored])]  # a file may bring categories in another order
    number = np.full(len(names) + 1, -1)
    number[scored] = np.arange(len(scored))
    clone_of = number[clone.codes]  # a missing clone, -1, reads the last place
    codes = np.where(at[0], clone_of, clone_of + len(scored))
    codes[(clone_of < 0) | ~at.any(0)] = -1
    return ClonalSets(
        pd.Index(names[scored], name="clone"),
        clone_of,
        PopulationIndex(codes, pd.Index([f"{c}, {s}" for s in SIDES for c in names[scored]])),
        *times,
    )


def require_key(**values: str) -> None:
    """Raise an error for every keyword that is no text, or under which a file keeps nothing."""
    for argument, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"{argument}={value!r} must be text.")
        if "/" in value or not value:
            raise ValueError(
                f"{argument}={value!r} cannot be kept in a file: give a name without '/'."
            )


def _times(argument: str, given: object, time: pd.Categorical, time_key: str) -> list[str]:
    """Return times as they read in the column."""
    several = isinstance(given, Iterable) and not isinstance(given, str)
    values = list(given) if several else [given]
    if not values or pd.isna(pd.Series(values, dtype=object)).any():
        raise ValueError(
            f"{argument}={given!r} has no time or a missing one; name at least one that is in "
            f"adata.obs[{time_key!r}]."
        )
    wanted = list(text_categories(pd.Series(values)).categories)
    for value in wanted:
        require(argument, value, time.categories, f"adata.obs[{time_key!r}]")
    return wanted
