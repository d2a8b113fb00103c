from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import listed, require_choice, require_counts
from ..model import GDE
from ._compare_cells import cell_influences, gene_table
from ._compare_groups import compare_groups
from ._compare_pair import compare_pair, require_pair, warn_if_trained_apart
from ._populations import Populations, embedded_populations, require_covariance


def compare_populations(
    adata: AnnData,
    a: str | None = None,
    b: str | None = None,
    *,
    groupby: str | None = None,
    reference: str | None = None,
    donor_key: str | None = None,
    block_key: str | None = None,
    embedding_key: str = "gde",
    model: GDE | None = None,
    n_dims: int = 8,
    n_permutations: int = 9_999,
    correction: Literal["max-t", "fdr"] = "max-t",
    n_bootstrap: int = 1_000,
    genes: bool = True,
    seed: int = 0,
    key_added: str = "gde_comparison",
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Test two populations, or groups of donors, against each other; then which cells and genes.

    **Two populations** (``a``, ``b``): Hotelling's test from the sampling covariances of their
    embeddings (:func:`scgde.stats.hotelling_test`), or with the ``model`` the bootstrap
    (:func:`scgde.stats.bootstrap_test`). Without a model, skewed cells (as of a rare type) of few
    against many reject too often: give the model. Its null is that both are samples of cells of
    one and the same distribution. Two donors of one diagnosis differ too, so with cells enough it
    rejects for any two donors: to say anything of a diagnosis, compare groups.

    **Groups of donors** (``groupby``): permutation of donors (:func:`scgde.stats.contrast_test`).
    Its null is that donors of the groups are alike, in spread and sampling noise too. Where one
    group's spread is much the larger, as of far fewer cells, and groups are of unequal number, it
    rejects too often: a warning says so.

    Parameters
    ----------
    adata
        Cells, after :func:`embed_populations`; for groups also populations, as from
        :meth:`~scgde.model.GDE.get_population_adata` (then without cells and genes).
    a, b
        Names of two populations; differences are ``b`` less ``a``.
    groupby
        Column of ``.obs`` with the group, constant within populations; populations without a value
        are left out.
    reference
        Group that each other one is compared with; by default every pair is compared.
    donor_key
        Column of the donor; by default the one set up with the model, else every population is its
        own donor. Populations of one donor and group enter as their average, weighted by cells.
    block_key
        Column within whose values donors are permuted and compared, such as the batch. Where the
        group varies within donors it must be the donor.
    embedding_key
        ``key_added`` of :func:`embed_populations`.
    model
        The model of that embedding, for the influence of cells, and of a pair for its p-value.
    n_dims
        Dimensions of the test at most. Of two populations: the leading principal axes of all other
        populations, or, where these are few, of the two's influences; one for each 30 cells of the
        smaller one. Of groups: those of all donors, whatever their group; one for each three
        donors.
    n_permutations
        Permutations of donors.
    correction
        Of p-values for several contrasts: ``"max-t"`` (familywise error; Westfall & Young) or
        ``"fdr"`` (Benjamini & Hochberg). Max-T is exact if no groups differ, else approximate.
    n_bootstrap
        Bootstrap draws: of donors, for the interval of the distance; of a pair's cells, for its
        p-value with a model, which is ``1 / (n_bootstrap + 1)`` or more.
    genes
        Compare genes too, which takes a pass over the cells.
    seed
        Seed of permutations and bootstrap.
    key_added
        Where to write.
    enable_progress_bar
        Show progress where it takes a while.

    Returns
    -------
    DataFrame, one row a contrast ("b vs a"): ``a``, ``b``; ``unit`` ("cells" or "donors");
    ``statistic``, Hotelling's T2, of groups one that does not pool their covariances; ``n_dims``;
    ``n_a``, ``n_b``, units; ``p_value``, ``p_adjusted``; ``distance``, ``low``, ``high``:
    Mahalanobis distance in standard deviations between units (of a pair: of single cells'
    influences), less its bias, with a 95 % interval. Of a pair also ``method`` of its p-value,
    "hotelling" or "bootstrap-t"; Hotelling's ``f``, ``df1``, ``df2`` and ``p_hotelling``; and
    ``axes``, where the axes are from; of groups ``smallest_p_value``, which the number of donors
    allows. Also written to ``.uns[key_added]``:

    ``tests``
        That table.
    ``directions``
        DataFrame, contrasts x ``n_latent``: the discriminating direction ``S^-1 d``, of length one,
        from ``a`` to ``b``.
    ``scores``
        Where units lie along it: ``contrast``, ``unit``, ``group`` (of populations their own name,
        empty for others), ``score``, ``standard_error`` (of sampling cells; of populations only).
    ``genes``
        Each gene in each contrast, by p-value: ``mean_a``, ``mean_b`` (log-normalised if counts),
        ``difference``, ``t`` (infinite for genes constant on both sides, but different),
        ``p_value``, ``p_adjusted`` (Benjamini-Hochberg). Of groups Welch's
        test over donors (with blocks, least squares on group and block); of two populations over
        cells. With a model, ``influence_correlation``: of gene and influence over the cells, within
        populations.
    ``params``
        How it was done; ``obs_keys`` are the columns of influences.

    With a model, ``.obs[key_added]`` (of several contrasts ``key_added``, number and contrast) has
    the influence of each cell along the direction (:meth:`~scgde.model.GDE.get_cell_influence`):
    positive for cells that pull their population towards ``b``; NaN in populations not compared.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a name or column is unknown, covariances are needed and absent, donors are too few,
        group and block cannot be told apart, or the model embeds otherwise than what is stored.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.load("schulteschrepping2020")
    >>> scgde.model.GDE.setup_anndata(adata, population_key="donor")
    >>> model = scgde.model.GDE(adata, n_latent=8, n_hidden=32)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.embed_populations(adata, model)
    >>> scgde.tl.compare_populations(adata, groupby="severity", genes=False).index[0]
    'severe vs mild'
    """
    require_choice("correction", correction, ("max-t", "fdr"))
    require_counts(n_dims=n_dims, n_permutations=n_permutations, n_bootstrap=n_bootstrap)
    of_pair = a is not None or b is not None
    if of_pair == (groupby is not None) or (of_pair and None in (a, b)):
        raise ValueError(
            f"a={a!r}, b={b!r}, groupby={groupby!r}: name either two populations, a and b, or a "
            "column of groups, groupby."
        )
    populations = embedded_populations(adata, embedding_key, donor_key)
    names, n_cells, psi = populations.table.index, populations.table["n_cells"].to_numpy(), None
    if of_pair:
        covariance = require_covariance(populations, embedding_key)
        pair = require_pair(names, n_cells, str(a), str(b))
        warn_if_trained_apart(adata.uns[embedding_key], str(a), str(b))
    if model is not None:
        compared = pair if of_pair else [int(n_cells.argmin())]
        _require_same_model(adata, populations, model, names[compared])
    if of_pair:
        sides = None
        if model is not None:
            psi = model.get_cell_influence(
                adata, list(names[pair]), enable_progress_bar=enable_progress_bar
            ).to_numpy(dtype=float)
            sides = tuple(psi[populations.cells.index.cells(i)] for i in pair)
        comparison = compare_pair(
            populations.embedding,
            covariance,
            n_cells,
            str(a),
            str(b),
            n_dims,
            sides,
            n_bootstrap,
            seed,
        )
    else:
        comparison = compare_groups(
            populations,
            groupby,
            reference,
            block_key,
            n_dims,
            n_permutations,
            correction,
            n_bootstrap,
            seed,
        )
    tests = comparison.tests
    result = {
        "tests": tests,
        "directions": pd.DataFrame(
            comparison.directions,
            index=tests.index,
            columns=[f"gde_{i}" for i in range(comparison.directions.shape[1])],
        ),
        "scores": comparison.scores.set_axis([str(i) for i in range(len(comparison.scores))]),
    }
    influence, obs_keys = None, []
    if model is not None:
        influence = (
            cell_influences(adata, model, names, comparison, enable_progress_bar)
            if psi is None
            else comparison.directions @ psi.T
        )
        obs_keys = [key_added] if len(tests) == 1 else _column_names(key_added, tests.index)
    if genes and populations.cells is not None:
        use_rep = populations.params["use_rep"]
        width = populations.cells.source.shape[1]
        genes_of = [f"{use_rep}_{i}" for i in range(width)] if use_rep else adata.var_names
        result["genes"] = gene_table(
            populations.cells, pd.Index(genes_of), comparison, influence, enable_progress_bar
        )
    result["params"] = {
        "a": "" if a is None else str(a),
        "b": "" if b is None else str(b),
        "groupby": groupby or "",
        "reference": "" if reference is None else str(reference),
        "donor_key": populations.donor_key or "",
        "block_key": block_key or "",
        "embedding_key": embedding_key,
        "n_permutations": n_permutations,
        "correction": correction,
        "n_bootstrap": n_bootstrap,
        "obs_keys": obs_keys,
        "seed": seed,
    }
    before = adata.uns.get(key_added, {}).get("params", {}).get("obs_keys", [])
    stale = [key for key in before if key in adata.obs]
    if stale:
        adata.obs = adata.obs.drop(columns=stale)
    for i, key in enumerate(obs_keys):
        adata.obs[key] = influence[i]
    adata.uns[key_added] = result
    return tests


def _require_same_model(
    adata: AnnData, populations: Populations, model: GDE, names: pd.Index
) -> None:
    """Raise unless the model embeds some of the populations as they are stored."""
    if populations.cells is None:
        raise ValueError("With a model, cells' influences are wanted: pass the AnnData of cells.")
    width = populations.embedding.shape[1]
    if model.n_latent_ != width:
        raise ValueError(
            f"model has n_latent={model.n_latent_}, but the embedding {width} columns: pass the "
            "model that made it, or call scgde.tl.embed_populations again."
        )
    stored = populations.embedding.loc[names].to_numpy(dtype=float)
    now = model.get_population_embedding(adata, list(names), enable_progress_bar=False).to_numpy()
    if not np.allclose(now, stored, rtol=1e-3, atol=1e-4 * np.abs(stored).max()):
        raise ValueError(
            f"model embeds {listed(names)} otherwise than adata.uns has it: it is another model, "
            "or cells have changed. Pass the model that made the embedding, or call "
            "scgde.tl.embed_populations(adata, model) again."
        )


def _column_names(key: str, contrasts: pd.Index) -> list[str]:
    """Return a column name for each contrast that any file format takes."""
    # Numbers, since names that differ in a "/" only would become one.
    safe = [re.sub(r"\W+", "_", contrast).strip("_") for contrast in contrasts]
    return [f"{key}_{i}_{name}" for i, name in enumerate(safe)]
