from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from rich.progress import track
from scipy.stats import norm

from .._errors import require_choice, require_counts, require_zero_or_more, unknown
from ..data import as_keys, population_table
from ..metrics._dimension_consensus import explained
from ..metrics._local_dimension import LOCAL_METHODS, linear_dimension
from ._intrinsic_dimension_cells import DimensionCells, population_cells
from ._intrinsic_dimension_groups import group_differences
from ._intrinsic_dimension_local import LocalDimension, local_dimensions
from ._intrinsic_dimension_profile import DPA_DEFAULTS, QUANTITIES, DPADimensions, dpa_dimensions

METHODS = ("dpa", *LOCAL_METHODS)


def intrinsic_dimension(
    adata: AnnData,
    population_key: str | list[str],
    *,
    layer: str | None = None,
    use_rep: str | None = None,
    methods: Iterable[str] = ("dpa", "twonn", "gride", "mle"),
    null: Literal["permute"] | None = "permute",
    n_nulls: int = 10,
    n_components: int = 20,
    n_cells: int | None = None,
    n_subsamples: int = 40,
    dpa_kwargs: dict | None = None,
    groupby: str | None = None,
    donor_key: str | None = None,
    block_key: str | None = None,
    n_permutations: int = 9_999,
    key_added: str = "intrinsic_dimension",
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Estimate the intrinsic dimension of every population of cells.

    All populations are looked at with the same number N of cells, on which every estimate depends;
    intervals are by subsampling (:func:`~scgde.metrics.subsampled_estimate`). Real cells are noisy,
    and noise has as many dimensions as there are features: so the same estimates on a null, in
    which features do not hang together, stand beside, and the dimension above noise.

    Parameters
    ----------
    adata
        Cells. Counts are log-normalised; repeated cells count once.
    population_key
        Column or columns of ``.obs``.
    layer, use_rep
        The cells' matrix, ``.X`` by default; or a representation in ``.obsm``, taken as it is.
    methods
        Neighbour estimators (:func:`~scgde.metrics.local_dimension`), whose calibrated median is
        the consensus; ``"dpa"`` adds a distributional principal autoencoder of each population, all
        trained as one ensemble, with dimensions of embedding that stand beside it.
    null
        ``"permute"``: every feature is permuted across the cells of a population.
    n_nulls
        Nulls of each population, two or more (of the autoencoders see ``dpa_kwargs``).
    n_components
        Principal components of each population's cells that estimates are made on, fewer where N
        is small; of the null, its own. Not with ``use_rep``.
    n_cells
        N, by default the different cells of the smallest population. Smaller populations get no
        estimate, with a warning.
    n_subsamples
        Subsamples of N / 2 cells of each population.
    dpa_kwargs
        Of the autoencoders: ``n_subsamples``, ``n_nulls``, and arguments of
        :func:`~scgde.train.fit_dpa`.
    groupby
        Column, constant within populations, of groups whose donors are compared.
    donor_key
        Column of the donor, the unit of that test: the mean over a donor's populations. By default
        every population is a donor.
    block_key
        Column of blocks (such as batches), constant within donors, within which donors are
        permuted.
    n_permutations
        Of donors.
    key_added
        Where to write.
    seed
        Seed.
    enable_progress_bar
        Show progress.

    Returns
    -------
    DataFrame indexed by population, also written to ``.uns[key_added]``:

    ``estimate``, ``low``, ``high``
        Consensus with a 95 % interval for its expectation at N cells, not for its bias.
    ``n_cells``
        N; 0 where there was no estimate.
    ``null``, ``null_low``, ``null_high``
        Consensus on the null: mean, and the 95 % range of one more.
    ``above_noise``, ``above_noise_low``, ``above_noise_high``
        Parallel analysis (Horn 1965): leading levels of the autoencoder (without ``"dpa"``, leading
        principal components) that explain more than at the same level on the null.
    ``pca_above_noise``, ``dpa_knee``, ``dpa_levels``, ``dpa_above_noise`` and each estimator
        See :func:`~scgde.metrics.dimension_profile`; by method.
    ``dpa_next_latent``
        p-value of the latent after the knee given those before it, on held-out cells
        (:func:`~scgde.metrics.conditional_randomization_test`); NaN of fewer than 40.
    ``reasoning``
        In words.

    ``.uns[key_added + "_details"]`` has ``methods`` (long: population, method, estimate, low, high,
    null); ``profile`` (long: population, level k, losses; with ``"dpa"``); ``groups`` (the test
    over donors, with a Welch interval and p-values of :func:`~scgde.stats.contrast_test`; with
    ``groupby``); ``params``.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a key or method is unknown, values are not finite, a population has fewer than 50
        different cells and ``n_cells`` is not given, or a group has fewer than two donors.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.load("schulteschrepping2020")
    >>> adata = adata[adata.obs["donor"].isin(adata.obs["donor"].cat.categories[:2])].copy()
    >>> table = scgde.tl.intrinsic_dimension(
    ...     adata, "donor", methods=["twonn"], n_cells=100, enable_progress_bar=False
    ... )
    >>> bool((table["estimate"] < table["null"]).all())  # genes hang together
    True
    """
    methods = _methods(methods)
    require_counts(n_components=n_components, n_subsamples=n_subsamples)
    require_counts(n_permutations=n_permutations)
    require_zero_or_more(seed=seed)
    settings = _dpa_settings(dpa_kwargs)
    if null is not None:
        require_choice("null", null, ("permute",))
        if n_nulls < 2:
            raise ValueError(f"n_nulls={n_nulls!r} must be 2 or more, to know the nulls' spread.")
    if not isinstance(adata, AnnData):
        raise TypeError(f"adata must be an AnnData, got {type(adata).__name__}; pass a modality.")
    index, cells, n_cells = population_cells(
        adata, population_key, layer, use_rep, n_components, n_cells
    )
    table = population_table(adata.obs, index.codes, index.names)
    local_methods = tuple(m for m in methods if m != "dpa")
    kept = [i for i, of in enumerate(cells) if of is not None]
    found = {
        i: local_dimensions(
            cells[i], n_cells, local_methods, n_nulls if null else 0, n_subsamples, seed
        )
        for i in track(kept, "Intrinsic dimension", disable=not enable_progress_bar)
    }
    dpa = None
    if "dpa" in methods:
        names, chosen = [index.names[i] for i in kept], [cells[i] for i in kept]
        dpa = dpa_dimensions(
            names, chosen, n_cells, settings, seed, null is not None, enable_progress_bar
        )
    spans = {i: _span(cells[i]) for i in kept}
    long = _by_method(index.names, kept, found, local_methods, dpa)
    result = _by_population(index.names, kept, long, spans, local_methods, n_cells)
    if dpa is not None:
        place = result.columns.get_loc("reasoning")
        result.insert(place, "dpa_next_latent", np.nan)
        result.iloc[kept, place] = dpa.next_latent
    details = {
        "methods": long,
        "params": {
            "population_key": np.asarray(as_keys(population_key), dtype=object),
            "layer": layer or "",
            "use_rep": use_rep or "",
            "methods": np.asarray(methods, dtype=object),
            "null": null or "",
            "n_nulls": n_nulls,
            "n_components": n_components,
            "n_cells": n_cells,
            "n_subsamples": n_subsamples,
            "groupby": groupby or "",
            "donor_key": donor_key or "",
            "block_key": block_key or "",
            "seed": seed,
            **({f"dpa_{k}": v for k, v in settings.items()} if dpa else {}),
        },
    }
    if dpa is not None:
        details["profile"] = dpa.profile
    if groupby is not None:
        quantities = ["estimate", "above_noise"] if null else ["estimate"]
        details["groups"] = group_differences(
            result, table, quantities, groupby, donor_key, block_key, n_permutations, seed
        )
    for name in ("methods", "profile", "groups"):
        if name in details:
            details[name].index = details[name].index.astype(str)
    adata.uns[key_added] = result
    adata.uns[f"{key_added}_details"] = details
    return result


def _methods(methods: Iterable[str]) -> tuple[str, ...]:
    methods = tuple(dict.fromkeys([methods] if isinstance(methods, str) else methods))
    for method in methods:
        require_choice("methods", method, METHODS)
    if not set(methods) & set(LOCAL_METHODS):
        raise ValueError(
            f"methods={list(methods)} has no neighbour estimator, of which the consensus is made: "
            f"add one of {', '.join(LOCAL_METHODS)}."
        )
    return methods


def _dpa_settings(dpa_kwargs: dict | None) -> dict:
    given = dict(dpa_kwargs or {})
    for name in given:
        allowed = (*DPA_DEFAULTS, "beta", "cross_fit", "n_draws", "accelerator", "devices")
        if name not in allowed:
            raise ValueError(unknown("dpa_kwargs", name, allowed, "the arguments"))
    settings = {**DPA_DEFAULTS, **given}
    if settings["n_subsamples"] < 2 or settings["n_nulls"] < 2:
        raise ValueError(
            "dpa_kwargs: n_subsamples and n_nulls must be 2 or more, to know a spread."
        )
    return settings


def _span(cells: DimensionCells) -> int:
    components = cells.reduced(cells.values)
    return linear_dimension(components - components.mean(0))


def _by_method(
    names: pd.Index,
    kept: list[int],
    found: dict[int, LocalDimension],
    methods: tuple[str, ...],
    dpa: DPADimensions | None,
) -> pd.DataFrame:
    """Return estimates of every population by every method, long."""
    rows = []
    # Of whole numbers, a population's own variance over subsamples is often zero: it is pooled.
    counts = [of.above_noise for of in found.values() if of.above_noise is not None]
    half = norm.ppf(0.975) * np.sqrt(np.mean([c.sd**2 for c in counts])) if counts else np.nan
    for place, i in enumerate(kept):
        of = found[i]
        for j, method in enumerate(("consensus", *methods)):
            estimate = (of.estimate.estimate[j], of.estimate.low[j], of.estimate.high[j])
            rows.append((names[i], method, *estimate, *of.null[:, j]))
        if of.above_noise is not None:
            count = float(of.above_noise.estimate)
            interval = (count, max(count - half, 0.0), count + half)
            rows.append((names[i], "pca_above_noise", *interval, *[np.nan] * 3))
        if dpa is not None:
            for quantity in QUANTITIES:
                null = (dpa.null[quantity][place], np.nan, np.nan)
                rows.append((names[i], quantity, *dpa.estimates[quantity][place], *null))
    columns = ["population", "method", "estimate", "low", "high", "null", "null_low", "null_high"]
    return pd.DataFrame(rows, columns=columns)


def _by_population(
    names: pd.Index,
    kept: list[int],
    long: pd.DataFrame,
    spans: dict[int, int],
    methods: tuple[str, ...],
    n_cells: int,
) -> pd.DataFrame:
    by_method = {
        m: of.drop(columns="method").set_index("population").reindex(names)
        for m, of in long.groupby("method")
    }
    result = by_method["consensus"]
    result.insert(3, "n_cells", 0)
    result.iloc[kept, 3] = n_cells
    primary = by_method.get("dpa_above_noise", by_method.get("pca_above_noise"))
    for column, suffix in (("estimate", ""), ("low", "_low"), ("high", "_high")):
        result[f"above_noise{suffix}"] = np.nan if primary is None else primary[column]
    for method in (*methods, "pca_above_noise", *QUANTITIES):
        if method in by_method:
            result[method] = by_method[method]["estimate"]
    words = np.full(len(names), "fewer different cells than n_cells: no estimate", dtype=object)
    for i in kept:
        row = result.iloc[i]
        knee = int(row["dpa_knee"]) if "dpa_knee" in result else None
        words[i] = explained(row[list(methods)].astype(float), spans[i], knee)
        words[i] += _against_null(row)
    result["reasoning"] = words
    return result.rename_axis("population")


def _against_null(row: pd.Series) -> str:
    if np.isnan(row["null"]):
        return ""
    if row["estimate"] < row["null_low"]:
        return f"; below the null's {row['null']:.1f}: features hang together"
    if row["estimate"] > row["null_high"]:
        return f"; above the null's {row['null']:.1f}"
    return f"; within what independent features give ({row['null']:.1f}): no structure seen"
