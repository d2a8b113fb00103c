from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from rich.progress import track

from .._errors import require_choice, require_counts, require_type, require_zero_or_more
from ..data import PopulationIndex, as_keys, population_table
from ..metrics._local_dimension import LOCAL_METHODS
from ..model._setup import refuse_view
from ._compare_common import Units
from ._intrinsic_dimension_cells import population_cells
from ._intrinsic_dimension_groups import group_differences, group_units
from ._intrinsic_dimension_local import N_DRAWS, local_dimensions, spanned
from ._intrinsic_dimension_profile import dpa_dimensions
from ._intrinsic_dimension_settings import dpa_settings, require_held_out
from ._intrinsic_dimension_table import by_method, by_population

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
        Cells, not a view. Counts are log-normalised; repeated cells count once.
    population_key
        Column or columns of ``.obs``.
    layer, use_rep
        The cells' matrix, ``.X`` by default; or a representation in ``.obsm``, taken as it is. Its
        null is of independent coordinates with these marginals. Permuted principal components keep
        their variances, so that ``above_noise``, ``pca_above_noise`` and ``dpa_above_noise`` are
        NaN, with a warning.
    methods
        Neighbour estimators (:func:`~scgde.metrics.local_dimension`), whose calibrated median is
        the consensus; ``"dpa"`` adds a distributional principal autoencoder of each population, all
        trained as one ensemble, with dimensions of embedding that stand beside it.
    null
        ``"permute"``: every feature is permuted across the cells of a population. Of counts, each
        gene's regression on the log total stays and the rest is permuted among about ten cells of
        similar total, so that the depth of sequencing is in the null, too (and about a tenth of the
        structure that cells have). Of values that are not counts the depth is not known, and
        dimensions above noise may be depth.
    n_nulls
        Nulls of each population, two or more (of the autoencoders see ``dpa_kwargs``).
    n_components
        Principal components of each population's cells that estimates are made on, fewer where N
        is small; of the null, its own. Estimates cannot exceed it, and of noisy cells follow it:
        report it with them. Not with ``use_rep``.
    n_cells
        N, by default the different cells of the smallest population. Smaller populations get no
        estimate, with a warning.
    n_subsamples
        Subsamples of N / 2 cells of each population, eight or more.
    dpa_kwargs
        Of the autoencoders: ``n_subsamples``, ``n_nulls``, and arguments of
        :func:`~scgde.train.fit_dpa`. As many nulls again have N / 2 cells, as subsamples have:
        1 + 4 + 2 x 4 = 13 are trained of a population by default (9 with ``use_rep``).
    groupby
        Column, constant within populations, of groups whose donors are compared.
    donor_key
        Column of the donor, the unit of that test: the mean over a donor's populations, which must
        be the same ones (such as cell types) for every donor. By default every population is a
        donor.
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
        Consensus with a 95 % interval for its expectation at N cells, not for its bias. Of a
        population of more than N cells, the mean over four draws of N.
    ``n_cells``
        N; 0 where there was no estimate.
    ``null``, ``null_low``, ``null_high``
        Consensus on the null: mean, and the 95 % range of one more; like the estimate, at most the
        number of linear dimensions spanned. ``reasoning`` compares both before that bound.
    ``above_noise``, ``above_noise_low``, ``above_noise_high``
        Parallel analysis (Horn 1965): leading levels of the autoencoder (without ``"dpa"``, leading
        principal components) that explain more than at the same level on the null. Widths of the
        intervals of these and of ``dpa_*`` are from a variance pooled over populations.
    ``pca_above_noise``, ``dpa_knee``, ``dpa_levels``, ``dpa_above_noise`` and each estimator
        See :func:`~scgde.metrics.dimension_profile`; by method.
    ``dpa_next_latent``
        p-value of the latent after the knee given those before it, on held-out cells
        (:func:`~scgde.metrics.conditional_randomization_test`). NaN unless 40 are held out for each
        latent conditioned on (40 where the knee is 0), so that small populations have none: with
        the default share of 0.3, N = 134 for a knee of 1, and 134 more for each further one. Not
        adjusted for the number of populations: see ``scipy.stats.false_discovery_control``.
    ``reasoning``
        In words.

    ``.uns[key_added + "_details"]`` has ``methods`` (long: population, method, estimate, low, high,
    null); ``profile`` (long: population, level k, losses; with ``"dpa"``); ``groups`` (the test
    over donors, with a Welch interval and p-values of :func:`~scgde.stats.contrast_test`; with
    ``groupby``); ``params``.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a key or method is unknown, an argument is out of range, data are a view, values are not
        finite, a population has fewer than 50 different cells and ``n_cells`` is not given, a group
        has fewer than two donors, groups cannot be told from blocks, or donors' means are over
        different populations. All before anything is estimated.

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
    if n_subsamples < 2 * N_DRAWS:
        raise ValueError(
            f"n_subsamples={n_subsamples} must be {2 * N_DRAWS} or more: two of each of the "
            f"{N_DRAWS} draws of cells in populations of more than n_cells."
        )
    settings = dpa_settings(dpa_kwargs)
    if null is not None:
        require_choice("null", null, ("permute",))
        require_counts(n_nulls=n_nulls)
        if n_nulls < 2:
            raise ValueError(f"n_nulls={n_nulls!r} must be 2 or more, to know the nulls' spread.")
    require_type("adata", adata, AnnData, "Of a MuData pass one modality: mdata.mod['rna'].")
    refuse_view(adata, "adata")
    index, cells, n_cells = population_cells(
        adata, population_key, layer, use_rep, n_components, n_cells
    )
    if "dpa" in methods:
        require_held_out(settings["held_out"], n_cells)
    has_estimate = np.array([of is not None for of in cells])
    kept = np.flatnonzero(has_estimate)
    units = _units(adata, index, has_estimate, population_key, groupby, donor_key, block_key)
    count_above_noise = null is not None and use_rep is None
    if null is not None and use_rep is not None:
        warnings.warn(
            f"use_rep={use_rep!r}: coordinates such as principal components keep their variances "
            "when they are permuted, so that no dimension above noise can be counted: it is NaN. "
            "The null says what independent coordinates with these marginals give. For dimensions "
            "above noise, pass counts (use_rep=None).",
            UserWarning,
            stacklevel=2,
        )
    local_methods = tuple(m for m in methods if m != "dpa")
    found = {
        i: local_dimensions(
            cells[i],
            n_cells,
            local_methods,
            n_nulls if null else 0,
            n_subsamples,
            seed,
            count_above_noise=count_above_noise,
        )
        for i in track(kept, "Intrinsic dimension", disable=not enable_progress_bar)
    }
    dpa = None
    if "dpa" in methods:
        dpa = dpa_dimensions(
            [index.names[i] for i in kept],
            [cells[i] for i in kept],
            n_cells,
            settings,
            seed,
            null is not None,
            count_above_noise,
            enable_progress_bar,
        )
    rng = np.random.default_rng(seed)
    spans = {i: spanned(cells[i], cells[i].draw(n_cells, rng)) for i in kept}
    long = by_method(index.names, found, local_methods, dpa)
    result = by_population(index.names, found, long, spans, local_methods, n_cells)
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
            "n_permutations": n_permutations,
            "seed": seed,
            **({f"dpa_{k}": "" if v is None else v for k, v in settings.items()} if dpa else {}),
        },
    }
    if dpa is not None:
        details["profile"] = dpa.profile
    if units is not None:
        quantities = ["estimate", "above_noise"] if count_above_noise else ["estimate"]
        details["groups"] = group_differences(result, units, quantities, n_permutations, seed)
    for name in ("methods", "profile", "groups"):
        if name in details:
            details[name].index = details[name].index.astype(str)
    adata.uns[key_added] = result
    adata.uns[f"{key_added}_details"] = details
    return result


def _units(
    adata: AnnData,
    index: PopulationIndex,
    has_estimate: np.ndarray,
    population_key: str | list[str],
    groupby: str | None,
    donor_key: str | None,
    block_key: str | None,
) -> Units | None:
    """Return the donors that are compared, None without ``groupby``."""
    if groupby is None:
        for argument, key in (("donor_key", donor_key), ("block_key", block_key)):
            if key is not None:
                raise ValueError(f"{argument}={key!r} is of a comparison: name its groupby, too.")
        return None
    table = population_table(adata.obs, index.codes, index.names)
    keys = as_keys(population_key)
    return group_units(table, has_estimate, keys, groupby, donor_key, block_key)


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
