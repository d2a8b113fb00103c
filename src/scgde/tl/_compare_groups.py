from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from .._errors import listed, require
from ..data import require_label, text_categories
from ..stats import contrast_distances, contrast_test, fit_groups
from ._compare_common import Comparison, Units, leading_axes, unit_length
from ._populations import Populations, require_donors, sorted_codes

_DONORS_PER_DIMENSION = 3
_LEVEL = 0.05
_WIDER = 2


def compare_groups(
    populations: Populations,
    groupby: str,
    reference: str | None,
    block_key: str | None,
    n_dims: int,
    n_permutations: int,
    correction: str,
    n_bootstrap: int,
    seed: int,
) -> Comparison:
    """Compare groups of donors by permutation."""
    units = _group_units(populations, groupby, block_key)
    contrasts = _contrasts(units, reference)
    _require_donors_per_group(units, groupby)
    require_contrasts(units, contrasts, block_key)
    member = units.of_population >= 0
    n_cells = populations.table["n_cells"].to_numpy(dtype=float)
    weight = np.zeros((len(units.groups), len(member)))
    weight[units.of_population[member], np.flatnonzero(member)] = n_cells[member]
    z = weight @ populations.embedding.to_numpy(dtype=float) / weight.sum(1, keepdims=True)
    in_block = (units.blocks == np.arange(units.blocks.max() + 1)[:, None]).astype(float)
    z = z - (in_block @ z / in_block.sum(1, keepdims=True))[units.blocks]
    free = len(z) - units.blocks.max() - len(units.levels)
    axes = leading_axes(z, min(n_dims, z.shape[1], free, max(1, len(z) // _DONORS_PER_DIMENSION)))
    if axes.shape[1] == 0:
        raise ValueError("The embeddings of all donors are equal: there is nothing to compare.")
    x = z @ axes
    test = contrast_test(x, units.groups, contrasts, units.blocks, n_permutations, seed)
    adjusted = (
        test.p_max_t if correction == "max-t" else stats.false_discovery_control(test.p_value)
    )
    distances = contrast_distances(
        x, units.groups, contrasts, units.blocks, units.donors, n_bootstrap, seed=seed
    )
    fit = fit_groups(x, units.groups, units.blocks)
    d = fit.effects[contrasts[:, 1]] - fit.effects[contrasts[:, 0]]
    directions = unit_length(np.linalg.solve(fit.shrunk_covariance(), d.T).T @ axes.T)
    sizes = np.bincount(units.groups)
    names = units.levels[contrasts]
    tests = pd.DataFrame(
        {
            "a": names[:, 0],
            "b": names[:, 1],
            "unit": "donors",
            "statistic": test.statistic,
            "n_dims": axes.shape[1],
            "n_a": sizes[contrasts[:, 0]],
            "n_b": sizes[contrasts[:, 1]],
            "p_value": test.p_value,
            "p_adjusted": adjusted,
            "smallest_p_value": test.smallest_p_value,
            "distance": distances[:, 0],
            "low": distances[:, 1],
            "high": distances[:, 2],
        },
        index=[f"{b} vs {a}" for a, b in names],
    )
    _warn_of_spread(x, units, contrasts, tests.index)
    few = tests["smallest_p_value"] > _LEVEL
    if few.any():
        warnings.warn(
            f"{listed(tests.index[few], 3)}: so few donors can be arranged in so few ways that p "
            f"cannot fall below {tests['smallest_p_value'].max():.2g}. More donors per group (and "
            "block) are needed, or more permutations where n_permutations is small.",
            UserWarning,
            stacklevel=3,
        )
    scores = pd.concat(
        [
            pd.DataFrame(
                {
                    "contrast": contrast,
                    "unit": units.names,
                    "group": units.levels[units.groups],
                    "score": z @ direction,
                    "standard_error": np.nan,
                }
            )
            for contrast, direction in zip(tests.index, directions, strict=True)
        ]
    )
    return Comparison(units, contrasts, tests, directions, scores)


def _warn_of_spread(x: np.ndarray, units: Units, contrasts: np.ndarray, names: pd.Index) -> None:
    """Warn of contrasts in which the group of fewer donors is much the more spread out."""
    sizes = np.bincount(units.groups)
    spread = np.array([x[units.groups == g].var(0, ddof=1).sum() for g in range(len(sizes))])
    fewer = np.where(np.diff(sizes[contrasts], axis=1)[:, 0] < 0, contrasts[:, 1], contrasts[:, 0])
    more = contrasts.sum(1) - fewer
    wide = (sizes[fewer] < sizes[more]) & (spread[fewer] > _WIDER * spread[more])
    if wide.any():
        warnings.warn(
            f"{listed(names[wide], 3)}: the group of fewer donors has more than {_WIDER} times the "
            "variance of the other. The permutation test then rejects too often: compare as many "
            "donors of each, or ask for a smaller p-value.",
            UserWarning,
            stacklevel=4,
        )


def _group_units(populations: Populations, groupby: str, block_key: str | None) -> Units:
    """Return donors by group, with their blocks."""
    donor_key = populations.donor_key
    require_label("groupby", groupby, populations.table)
    column = text_categories(populations.table[groupby])
    levels = np.asarray(column.categories, dtype=object)
    if len(levels) < 2:
        raise ValueError(
            f"groupby={groupby!r} has the values [{listed(levels)}]; comparing needs two or more."
        )
    group = np.asarray(column.codes, dtype=int)
    require_donors(populations, group >= 0, groupby)
    block = np.zeros(len(group), dtype=int)
    if block_key is not None:
        require_label("block_key", block_key, populations.table)
        block = sorted_codes(populations.table[block_key])
        if (block[group >= 0] < 0).any():
            raise ValueError(
                f"block_key={block_key!r} is missing for some populations that have a "
                f"{groupby!r}. Fill it in, or set their group to missing to leave them out."
            )
    member = group >= 0
    pairs, unit = np.unique(
        np.stack([populations.donors[member], group[member]]), axis=1, return_inverse=True
    )
    of_population = np.full(len(group), -1)
    of_population[member] = unit
    donors, groups = np.unique(pairs[0], return_inverse=True)[1], pairs[1]
    in_two = pairs[0][np.flatnonzero(np.diff(pairs[0]) == 0)]
    by = None if donor_key is None else populations.table[donor_key].astype(str).to_numpy()
    names = populations.table.index.to_numpy() if by is None else by
    if len(in_two) and block_key != donor_key:
        shown = sorted({names[np.flatnonzero(populations.donors == d)[0]] for d in in_two})
        raise ValueError(
            f"groupby={groupby!r} varies within donors {listed(shown, 3)}: their samples are not "
            f"independent. Compare within donors: block_key={donor_key!r}."
        )
    first = np.array([np.flatnonzero(of_population == u)[0] for u in range(pairs.shape[1])])
    if (block[member] != block[first][unit]).any():
        raise ValueError(
            f"block_key={block_key!r} varies within a donor, who is one unit and has one block. "
            "Name a column that is constant within donors, or compare populations of one block."
        )
    blocks = np.unique(block[first], return_inverse=True)[1]
    labels = np.array([str(n) for n in names[first]], dtype=object)
    return Units(of_population, labels, donors, groups, blocks, levels)


def _contrasts(units: Units, reference: str | None) -> np.ndarray:
    if reference is None:
        return np.array(list(combinations(range(len(units.levels)), 2)))
    levels, name = list(units.levels), str(reference)
    # Whole numbers stored as floats read "1" as levels.
    if name not in levels and isinstance(reference, float) and reference.is_integer():
        name = str(int(reference))
    require("reference", name, levels, "groupby")
    base = levels.index(name)
    return np.array([(base, other) for other in range(len(units.levels)) if other != base])


def _require_donors_per_group(units: Units, groupby: str) -> None:
    """Raise unless each group has donors enough."""
    sizes = np.bincount(units.groups, minlength=len(units.levels))
    if (sizes < 2).any():
        raise ValueError(
            f"groupby={groupby!r} has groups of fewer than two donors: "
            f"{listed(units.levels[sizes < 2], 3)}. A test needs replicates: set up finer "
            "populations, such as the guides of a target, and group these. Or leave them out by "
            "setting them to missing, or compare two populations (a=..., b=...) by cells held out "
            "of training."
        )


def require_contrasts(units: Units, contrasts: np.ndarray, block_key: str | None) -> None:
    """Raise unless each contrast ``(C, 2)`` of groups has something to permute within blocks."""
    for a, b in contrasts:
        blocks = [set(units.blocks[units.groups == g]) for g in (a, b)]
        if not blocks[0] & blocks[1]:
            raise ValueError(
                f"block_key={block_key!r}: {units.levels[a]!r} and {units.levels[b]!r} never occur "
                "in the same block, so that group and block cannot be told apart. Use another "
                "block_key, or none."
            )
        own = np.isin(units.groups, (a, b))
        if own.sum() - len(set(units.blocks[own])) < 2:
            raise ValueError(
                f"{units.levels[a]!r} and {units.levels[b]!r} have {own.sum()} samples in "
                f"{len(set(units.blocks[own]))} blocks: too few to know how much donors differ."
            )
