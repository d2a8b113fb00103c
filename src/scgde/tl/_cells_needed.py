from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import listed, require, require_counts, require_positive
from ..data._groups import text_categories
from ..stats import (
    NormalPrior,
    cells_for_ellipsoid,
    cells_for_power,
    donors_for_power,
    ellipsoid_size,
    hotelling_power,
    pooled_cell_covariance,
)
from ._populations import Populations, embedded_populations, require_donors, sampling_noise

_DONORS_PER_DIMENSION = 5
_FEWEST_DONORS = 5  # of a pair: with four, one dimension leaves no degree of freedom


def cells_needed(
    adata: AnnData,
    *,
    embedding_key: str = "gde",
    radius: float | None = None,
    relative_radius: float = 0.25,
    groupby: str | None = None,
    donor_key: str | None = None,
    power: float = 0.8,
    level: float = 0.05,
    n_dims: int = 8,
    key_added: str = "gde_cells_needed",
) -> pd.DataFrame:
    r"""Say how many cells a population needs: for an error bar, or to tell groups of donors apart.

    An embedding's sampling covariance is that of one cell over the number of cells, so cells
    measured once say what more of them would give.

    Parameters
    ----------
    adata
        Cells, after :func:`embed_populations`; of the order of a hundred cells a population tell
        the covariance well.
    embedding_key
        ``key_added`` of :func:`embed_populations`.
    radius
        Wanted size of the joint confidence ellipsoid, in units of the embedding: the root mean
        square of its semi-axes in the leading ``n_dims`` axes
        (:func:`~scgde.stats.ellipsoid_size`).
    relative_radius
        Used without ``radius``: the size as a share of the standard deviation between populations
        (root mean square over the same axes, without sampling noise).
    groupby
        Column of ``.obs``, constant within donors. If given, the number of cells of each donor with
        which Hotelling's test between groups of the donors at hand reaches ``power``.
    donor_key
        Column of the donor; by default the one set up with the model, else every population is its
        own donor. Populations of a donor count by their cells.
    power
        Wanted power.
    level
        Significance of the test; the ellipsoid's confidence is ``1 - level``.
    n_dims
        Leading axes of the true embeddings that count. With ``groupby`` at most a fifth of the
        donors.
    key_added
        Where to write.

    Returns
    -------
    Without ``groupby``, DataFrame indexed by population: ``n_cells``; ``size`` of its ellipsoid now
    (NaN where there are not more cells than dimensions); ``wanted_size``; ``n_cells_needed``;
    ``n_dims``. With it, one row for each pair of groups: ``group_a``, ``group_b``; donors ``n_a``,
    ``n_b``; ``n_dims``; ``distance`` of the groups in standard deviations of donors (Mahalanobis,
    without sampling noise); ``n_cells`` of a donor now (harmonic mean); ``power`` now;
    ``power_limit`` with unlimited cells; ``n_cells_needed`` of each donor, ``inf`` where no number
    is enough; ``n_donors_needed`` in both groups together, with unlimited cells. Also written to
    ``.uns[key_added]``: ``table`` and ``params``.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a key or the covariance is absent, or there are too few donors: two in each
        group and five in each pair of groups.

    Notes
    -----
    Donors vary around their group by :math:`S + C / m`: S the spread of true embeddings, C the
    covariance of one cell, m the cells of each. The squared distance of group means
    :math:`d' (S + C / m)^{-1} d` is freed of what chance adds to it: the sampling covariance of d,
    and the error of S (Lachenbruch & Mickey 1968). It is an estimate from the donors at hand
    nevertheless, and so is the power: with ten donors it may be off by a factor.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(12, 40)
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.embed_populations(adata, model)
    >>> table = scgde.tl.cells_needed(adata)
    >>> len(table), "gde_cells_needed" in adata.uns
    (12, True)
    """
    require_counts(n_dims=n_dims)
    require_positive(relative_radius=relative_radius)
    if radius is not None:
        require_positive(radius=radius)
    for argument, value in (("power", power), ("level", level)):
        if not 0 < value < 1:
            raise ValueError(f"{argument}={value!r} must be between 0 and 1.")
    study = embedded_populations(adata, embedding_key, donor_key)
    noise = sampling_noise(study, embedding_key)
    if groupby is None:
        table = _for_ellipsoids(study, noise, radius, relative_radius, level, n_dims)
    else:
        table = _for_groups(study, noise, groupby, power, level, n_dims)
    adata.uns[key_added] = {
        "table": table,
        "params": {
            "embedding_key": embedding_key,
            "groupby": groupby or "",
            "donor_key": study.donor_key or "",
            "power": power,
            "level": level,
        },
    }
    return table


def _for_ellipsoids(
    study: Populations,
    noise: np.ndarray,
    radius: float | None,
    relative_radius: float,
    level: float,
    n_dims: int,
) -> pd.DataFrame:
    z = study.embedding.to_numpy(dtype=np.float64)
    n_cells = study.table["n_cells"].to_numpy()
    prior = NormalPrior.fit(z, noise)
    spread, axes = _leading_axes(prior.cov, min(n_dims, len(z) - 1))
    wanted = relative_radius * np.sqrt(spread.mean()) if radius is None else float(radius)
    cell_covs = np.einsum("la,plk,kb->pab", axes, noise, axes) * n_cells[:, None, None]
    return pd.DataFrame(
        {
            "n_cells": n_cells,
            "size": [
                ellipsoid_size(c, int(n), 1 - level) if n > len(c) else np.nan
                for c, n in zip(cell_covs, n_cells, strict=True)
            ],
            "wanted_size": wanted,
            "n_cells_needed": [cells_for_ellipsoid(c, wanted, 1 - level) for c in cell_covs],
            "n_dims": axes.shape[1],
        },
        index=study.embedding.index,
    )


def _for_groups(
    study: Populations,
    noise: np.ndarray,
    groupby: str,
    power: float,
    level: float,
    n_dims: int,
) -> pd.DataFrame:
    require("groupby", groupby, study.table.columns, "the columns constant within populations")
    column = text_categories(study.table[groupby])
    names, group = np.asarray(column.categories, dtype=object), np.asarray(column.codes, dtype=int)
    require_donors(study, group >= 0, groupby)
    if len(names) < 2:
        raise ValueError(
            f"groupby={groupby!r} has the values [{listed(names)}]; it needs two groups or more."
        )
    z, noise, n_cells, codes = _donors(study, noise, group, names, groupby)
    sizes = np.bincount(codes)
    if sizes.min() < 2 or np.sort(sizes)[:2].sum() < _FEWEST_DONORS:
        shown = ", ".join(f"{name!r} ({size})" for name, size in zip(names, sizes, strict=True))
        raise ValueError(
            f"groupby={groupby!r} has groups of so many donors: {shown}. Each needs two, and each "
            f"pair of groups {_FEWEST_DONORS}: set the small groups to missing to leave them out."
        )
    rows = []
    for a, b in combinations(range(len(names)), 2):
        of = np.isin(codes, (a, b))
        rows.append(
            {
                "group_a": names[a],
                "group_b": names[b],
                **_pair(z[of], noise[of], n_cells[of], codes[of] == b, power, level, n_dims),
            }
        )
    return pd.DataFrame(rows, index=[str(i) for i in range(len(rows))])


def _donors(
    study: Populations, noise: np.ndarray, group: np.ndarray, names: np.ndarray, groupby: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return each donor's embedding, sampling covariance, cells and group."""
    known = group >= 0
    z = study.embedding.to_numpy(dtype=np.float64)
    n_cells = study.table["n_cells"].to_numpy()
    found = []
    for donor in np.unique(study.donors[known]):
        own = np.flatnonzero(known & (study.donors == donor))
        if len(set(group[own])) > 1:
            name = study.table[study.donor_key].iloc[own[0]]
            raise ValueError(
                f"groupby={groupby!r} varies within donor {str(name)!r} "
                f"({listed(names[np.unique(group[own])])}); cells_needed compares groups of "
                "donors. Give donor_key the column of what was sampled once."
            )
        share = n_cells[own] / n_cells[own].sum()
        found.append(
            (
                share @ z[own],
                np.einsum("p,plk->lk", share**2, noise[own]),
                n_cells[own].sum(),
                group[own[0]],
            )
        )
    z, noise, n_cells, groups = zip(*found, strict=True)
    return np.stack(z), np.stack(noise), np.array(n_cells), np.array(groups)


def _pair(
    z: np.ndarray,
    noise: np.ndarray,
    n_cells: np.ndarray,
    in_b: np.ndarray,
    power: float,
    level: float,
    n_dims: int,
) -> dict:
    n, n_b = len(z), int(in_b.sum())
    n_a = n - n_b
    axes = _leading_axes(
        NormalPrior.fit(z, noise).cov, min(n_dims, max(1, n // _DONORS_PER_DIMENSION))
    )[1]
    z, noise = z @ axes, np.einsum("la,plk,kb->pab", axes, noise, axes)
    n_dims = axes.shape[1]
    means = np.stack([z[~in_b].mean(0), z[in_b].mean(0)])
    apart = means[1] - means[0]
    # Two means were fitted: the spread around them is too small by as many donors.
    spread = NormalPrior.fit(z - means[in_b.astype(int)], noise).cov * n / (n - 2)
    per_cell = pooled_cell_covariance(noise, n_cells)
    by_chance = spread * (1 / n_a + 1 / n_b)
    by_chance = by_chance + noise[~in_b].sum(0) / n_a**2 + noise[in_b].sum(0) / n_b**2

    def distance(m: float) -> float:
        total = spread + per_cell / m
        seen = apart @ np.linalg.solve(total, apart)
        seen -= np.trace(np.linalg.solve(total, by_chance))
        return float(np.sqrt(max(0.0, seen * (n - n_dims - 3) / (n - 2))))

    now = 1 / np.mean(1 / n_cells)
    return {
        "n_a": n_a,
        "n_b": n_b,
        "n_dims": n_dims,
        "distance": distance(np.inf),
        "n_cells": now,
        "power": hotelling_power(distance(now), n_a, n_b, n_dims, level),
        "power_limit": hotelling_power(distance(np.inf), n_a, n_b, n_dims, level),
        "n_cells_needed": cells_for_power(distance, n_a, n_b, n_dims, power, level),
        "n_donors_needed": donors_for_power(distance(np.inf), n_a / n, n_dims, power, level),
    }


def _leading_axes(cov: np.ndarray, n_dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest variances ``(k,)`` of a covariance ``(L, L)``, and their axes (L, k)."""
    values, vectors = np.linalg.eigh(cov)
    return values[::-1][:n_dims], vectors[:, ::-1][:, :n_dims]
