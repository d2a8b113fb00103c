"""Whether populations of several groups of donors differ in intrinsic dimension."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import t as student_t
from scipy.stats import ttest_ind

from .._errors import listed, require
from ..stats import contrast_test, fit_groups

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


def group_differences(
    result: pd.DataFrame,
    table: pd.DataFrame,
    quantities: list[str],
    groupby: str,
    donor_key: str | None,
    block_key: str | None,
    n_permutations: int,
    seed: int,
) -> pd.DataFrame:
    """Test over donors whether groups differ in their mean dimension.

    Parameters
    ----------
    result
        Estimates by population.
    table
        Columns constant within populations, in the same order.
    quantities
        Columns of ``result``.
    groupby, donor_key, block_key
        Columns of ``table``; without a donor key every population is a donor.
    n_permutations, seed
        Of :func:`~scgde.stats.contrast_test`.
    """
    for argument, key in (("groupby", groupby), ("donor_key", donor_key), ("block_key", block_key)):
        if key is not None:
            require(argument, key, table.columns, "the columns constant within populations")
    units = pd.DataFrame(
        {
            "donor": table.index if donor_key is None else table[donor_key].to_numpy(),
            "group": table[groupby].to_numpy(),
            "block": "" if block_key is None else table[block_key].to_numpy(),
            **{q: result[q].to_numpy() for q in quantities},
        }
    )
    units = units[units["group"].notna() & units[quantities].notna().all(axis=1)]
    if units[["donor", "block"]].isna().any(axis=None):
        raise ValueError(
            f"donor_key or block_key is missing for some populations that have a {groupby!r}. Fill "
            "it in, or set their group to missing to leave them out."
        )
    for key, column in ((groupby, "group"), (block_key, "block")):
        several = units.groupby("donor", observed=True)[column].nunique()
        if (several > 1).any():
            raise ValueError(
                f"{key!r} varies within donors ({listed(several.index[several > 1], 3)}). A donor "
                "counts once, in one group: leave some populations out, or give no donor_key."
            )
    columns = {"group": "first", "block": "first", **dict.fromkeys(quantities, "mean")}
    donors = units.groupby("donor", observed=True, sort=True).agg(columns)
    groups, names = pd.factorize(donors["group"].astype(str), sort=True)
    sizes = np.bincount(groups, minlength=len(names))
    if len(names) < 2 or sizes.min() < 2:
        found = ", ".join(f"{n!r}: {k}" for n, k in zip(names, sizes, strict=True))
        raise ValueError(
            f"groupby={groupby!r} has donors in groups {{{found}}}; a test needs two groups or "
            "more, of two donors or more each."
        )
    blocks = pd.factorize(donors["block"])[0]
    contrasts = np.array(list(combinations(range(len(names)), 2)))
    rows = []
    for quantity in quantities:
        z = donors[quantity].to_numpy(dtype=float)
        if np.ptp(z) == 0:  # nothing to permute
            test = np.ones((3, len(contrasts)))
        else:
            found = contrast_test(z[:, None], groups, contrasts, blocks, n_permutations, seed)
            test = (found.p_value, found.p_max_t, found.smallest_p_value)
        for i, (a, b) in enumerate(contrasts):
            rows.append(
                (
                    quantity,
                    names[a],
                    names[b],
                    *_difference(z, groups, blocks, a, b),
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
