"""Whether populations of several groups of donors differ in intrinsic dimension."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import t as student_t
from scipy.stats import ttest_ind

from .._errors import listed
from ..data import require_label, text_categories
from ..stats import contrast_test, fit_groups
from ._compare_common import Units
from ._compare_groups import require_contrasts

COLUMNS = (
    "quantity",
    "group_1",
    "group_2",
    "difference",
    "low",
    "high",
    "p_value",
    "p_max_t",
    "smallest_p_value",
    "n_donors_1",
    "n_donors_2",
)


def group_units(
    table: pd.DataFrame,
    has_estimate: np.ndarray,
    population_keys: list[str],
    groupby: str,
    donor_key: str | None,
    block_key: str | None,
) -> Units:
    """Return the donors that are compared; raise if they cannot be.

    Parameters
    ----------
    table
        Columns constant within populations, ``(P, .)``.
    has_estimate
        Populations that get an estimate, ``(P,)``.
    population_keys
        Columns that make a population.
    groupby, donor_key, block_key
        Columns of ``table``; without a donor key every population is a donor.
    """
    for argument, key in (("groupby", groupby), ("donor_key", donor_key), ("block_key", block_key)):
        if key is not None:
            require_label(argument, key, table)
    levels = text_categories(table[groupby])
    member = has_estimate & (levels.codes >= 0)
    donor = table.index.to_series() if donor_key is None else table[donor_key]
    block = pd.Series("", index=table.index) if block_key is None else table[block_key]
    if (donor.isna() | block.isna())[member].any():
        raise ValueError(
            f"donor_key or block_key is missing for some populations that have a {groupby!r}. Fill "
            "it in, or set their group to missing to leave them out."
        )
    donor = donor.astype(str).to_numpy()[member]
    codes = {"group": levels.codes[member], "block": pd.factorize(block[member])[0]}
    donors, first, unit = np.unique(donor, return_index=True, return_inverse=True)
    for key, of in ((groupby, codes["group"]), (block_key, codes["block"])):
        several = np.unique(donor[of != of[first][unit]])
        if len(several):
            raise ValueError(
                f"{key!r} varies within donors ({listed(several, 3)}). A donor counts once, in one "
                "group: leave some populations out, or give no donor_key."
            )
    if donor_key is not None:
        others = [k for k in population_keys if k not in (donor_key, groupby, block_key)]
        _require_alike(table.loc[member], donor, others)
    groups, names = codes["group"][first], np.asarray(levels.categories, dtype=object)
    sizes = np.bincount(groups, minlength=len(names))
    if len(names) < 2 or sizes.min() < 2:
        found = ", ".join(f"{n!r}: {k}" for n, k in zip(names, sizes, strict=True))
        raise ValueError(
            f"groupby={groupby!r} has donors with an estimate in groups {{{found}}}; a test needs "
            "two groups or more, of two donors or more each. Set the others to missing."
        )
    of_population = np.full(len(table), -1)
    of_population[member] = unit
    blocks = np.unique(codes["block"][first], return_inverse=True)[1]
    units = Units(of_population, donors, np.arange(len(donors)), groups, blocks, names)
    require_contrasts(units, _pairs(units), block_key)
    return units


def _require_alike(table: pd.DataFrame, donor: np.ndarray, keys: list[str]) -> None:
    """Raise unless the mean over a donor's populations is of the same ones for every donor.

    ``keys`` are what populations are made of beside the donor, such as the cell type. Those that
    name a part of one donor only (samples), or the donor as a whole, are no matter.
    """
    texts = {key: table[key].astype(str).to_numpy() for key in keys}
    shared = [
        key
        for key, text in texts.items()
        if pd.Series(donor).groupby(text).nunique().max() > 1
        and pd.Series(text).groupby(donor).nunique().max() > 1
    ]
    if not shared:
        return
    named = [", ".join(f"{k}={texts[k][i]!r}" for k in shared) for i in range(len(table))]
    counts = pd.crosstab(donor, np.asarray(named, dtype=object))
    shares = counts.div(counts.sum(axis=1), axis=0)
    if np.allclose(shares, shares.iloc[0]):
        return
    # What is lacking altogether is named first.
    off = (shares - shares.median()).abs().where(counts > 0, np.inf).to_numpy()
    i, j = np.unravel_index(off.argmax(), off.shape)
    of, population = counts.index[i], counts.columns[j]
    what = "has no population" if counts.iloc[i, j] == 0 else "has another share of populations"
    raise ValueError(
        f"Means over a donor's populations would be over different ones: donor {of!r} {what} "
        f"of {population} with an estimate. Leave out what some donors lack (set their "
        "group to missing), or compare one at a time."
    )


def _pairs(units: Units) -> np.ndarray:
    return np.array(list(combinations(range(len(units.levels)), 2)))


def group_differences(
    result: pd.DataFrame, units: Units, quantities: list[str], n_permutations: int, seed: int
) -> pd.DataFrame:
    """Test over donors whether groups differ in their mean dimension.

    Parameters
    ----------
    result
        Estimates by population.
    units
        Donors, as of :func:`group_units`.
    quantities
        Columns of ``result``.
    n_permutations, seed
        Of :func:`~scgde.stats.contrast_test`.
    """
    member = units.of_population >= 0
    donors = result[quantities][member].groupby(units.of_population[member]).mean()
    contrasts, sizes, rows = _pairs(units), np.bincount(units.groups), []
    for quantity in quantities:
        z = donors[quantity].to_numpy(dtype=float)
        if np.ptp(z) == 0:  # nothing to permute
            test = np.ones((3, len(contrasts)))
        else:
            found = contrast_test(
                z[:, None], units.groups, contrasts, units.blocks, n_permutations, seed
            )
            test = (found.p_value, found.p_max_t, found.smallest_p_value)
        for i, (a, b) in enumerate(contrasts):
            rows.append(
                (
                    quantity,
                    units.levels[a],
                    units.levels[b],
                    *_difference(z, units.groups, units.blocks, a, b),
                    *(float(p[i]) for p in test),
                    int(sizes[a]),
                    int(sizes[b]),
                )
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def _difference(
    z: np.ndarray, groups: np.ndarray, blocks: np.ndarray, a: int, b: int
) -> tuple[float, float, float]:
    """Return the difference of two groups' means, second less first, with a 95 % t interval.

    Welch's; with blocks, that of least squares on group and block, whose variance is pooled.
    """
    if blocks.max() == 0:
        if np.ptp(z) == 0:
            return 0.0, 0.0, 0.0
        interval = ttest_ind(z[groups == b], z[groups == a], equal_var=False).confidence_interval()
        difference = z[groups == b].mean() - z[groups == a].mean()
        return float(difference), float(interval.low), float(interval.high)
    fit = fit_groups(z[:, None], groups, blocks)
    contrast = np.eye(len(fit.effects))[b] - np.eye(len(fit.effects))[a]
    difference = float(contrast @ fit.effects[:, 0])
    sd = np.sqrt(contrast @ fit.noise @ contrast * fit.covariance[0, 0])
    half = float(student_t.ppf(0.975, fit.df) * sd)
    return difference, difference - half, difference + half
