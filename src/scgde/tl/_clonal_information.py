from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from rich.progress import track

from .._errors import require_choice, require_counts, require_type, require_zero_or_more
from ..data import as_keys
from ..model import GDE
from ._clonal_representations import ClonalEmbedding, clonal_baselines
from ._clonal_scores import ESTIMATORS, Score, score
from ._clonal_sets import clonal_sets, require_key
from ._clonal_views import View, clonal_views, clone_folds, pairs_of

Setting = Literal["transductive", "inductive", "both"]
_CLONES_PER_COMPONENT = 15


def clonal_mutual_information(
    adata: AnnData,
    clone_key: str,
    time_key: str,
    early: object,
    late: object,
    *,
    model: GDE | None = None,
    min_cells: int | tuple[int, int] = 1,
    setting: Setting = "transductive",
    n_splits: int = 2,
    baselines: Iterable[str] | bool = True,
    cell_type_key: str | None = None,
    layer: str | None = None,
    estimators: Iterable[str] = ESTIMATORS,
    k: int = 3,
    ks: int | Sequence[int] = (1, 3, 5, 10, 20),
    normalize: Literal["whiten", "rank"] | None = "whiten",
    n_components: int | None = None,
    n_shuffles: int = 200,
    seed: int = 0,
    key_added: str = "gde_clonal_mi",
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Estimate how much a clone's early cells tell about its late ones, in bits.

    Every clone seen on both sides is a pair: the vector of its early cells, pooled over the early
    times, and that of its late ones. Their mutual information (GDE, arXiv 2505.18150, Sec. 6.3 and
    App. B.4; there by ``"ksg_published"``, transductive) is estimated for the model's embeddings
    and, by the same rules, for baselines that know no model.

    Parameters
    ----------
    adata
        Cells, in memory or backed.
    clone_key, time_key
        Columns of ``.obs``; see :func:`assign_clones` for the first. Cells without a value count
        for no clone.
    early, late
        A time, or several to pool: ``early=[2, 4], late=6``. They are compared as text.
    model
        A trained model of populations by both keys (``population_key=[clone_key, time_key]``).
        Without one, baselines alone are scored.
    min_cells
        Cells that a clone must have on either side, or ``(early, late)``.
    setting
        ``"transductive"``: the model was trained on the clones that are scored, which an embedding
        may owe its information to. ``"inductive"``: clones are divided into folds; each fold is
        embedded by a model trained anew on all other cells. ``"both"``: beside one another, with a
        third, ``"transductive_split"``: the trained model scored within the same folds, since
        estimates from fewer clones are lower. Baselines are fitted in the same way.
    n_splits
        Folds of clones.
    baselines
        Of ``"mean_pca"`` (mean expression), ``"kernel_mean"`` (mean of random Fourier features) and
        ``"composition"`` (shares of cell types, centred log-ratios); all that can be had by
        default, ``False`` for none.
    cell_type_key
        Column of cell types for the composition.
    layer
        Layer of the baselines' cells where there is no model, which would know.
    estimators
        Of ``"ksg"`` (nearest neighbours, normalised), ``"ksg_published"`` (k = 3 on the model's raw
        embeddings in full dimension; changes with the units of a coordinate), ``"latent"``,
        ``"infonce"`` (:func:`scgde.metrics.mutual_information`) and ``"retrieval_auc"``
        (:func:`scgde.metrics.retrieval_auc`).
    k, normalize, n_shuffles
        As in :func:`scgde.metrics.mutual_information`.
    ks
        Numbers of neighbours of the sweep, one or several; those above half the clones of a fold
        are left out.
    n_components
        Principal components to which all representations are reduced before they are scored, so
        that none gains or loses by its dimension; by default one for 15 clones that are scored
        together, from 2 to 10. Which representation leads can depend on it: try several.
    seed
        Seed of folds, shuffles and estimators.
    key_added
        Where to write.
    enable_progress_bar
        Show progress.

    Returns
    -------
    DataFrame of ``representation`` (``"gde"`` or a baseline), ``setting``, ``estimator``,
    ``metric`` (``"bits"``, or ``"auc"`` with chance at one half), ``k``, ``normalize``,
    ``n_clones``, ``n_folds``, ``n_dims``, ``estimate`` (not cut at zero), ``low``, ``high`` (95 %,
    jackknife over clones; takes folds as independent), ``shuffled`` (mean estimate of shuffled
    clones: what the estimator makes of no information, well above zero where vectors take few
    values, as compositions of single cells do; of ``"infonce"`` by the critic of the true pairs,
    so below zero), ``p_value`` (by the same shuffles). Written are:

    ``.uns[key_added]``
        ``table``, the above; ``sweep``, estimates of the first representation over ``ks``;
        ``clones``, DataFrame by clone of ``n_early``, ``n_late`` and each representation's
        pointwise values in each setting; ``null``, DataFrame of shuffled estimates; ``params``.
        The last two of the normalised nearest-neighbour estimate.
    ``.obs[key_added]``
        Pointwise bits of each cell's clone by the first representation (``"gde"`` where there is a
        model), NaN for cells of no scored clone. With ``setting="both"`` these are transductive,
        and ``.obs[key_added + "_inductive"]`` holds the others; another setting removes that.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a key or time is unknown, early and late overlap, fewer than 20 clones (in each fold) can
        be scored, the model has other populations or several modalities, or there is nothing to
        score.

    Notes
    -----
    All clones with a pair count alike. Clones of few cells have noisy vectors, which hides
    information that more of their cells would show. Where wells or batches hold different clones,
    these are information too.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.load("weinreb2020")
    >>> table = scgde.tl.clonal_mutual_information(
    ...     adata, "clone", "day", [2, 4], 6, estimators="ksg", enable_progress_bar=False
    ... )
    >>> table["representation"].tolist(), int(table["n_clones"][0])
    (['mean_pca', 'kernel_mean'], 117)
    """
    require_choice("setting", setting, ("transductive", "inductive", "both"))
    require_key(key_added=key_added)
    ks = [ks] if np.ndim(ks) == 0 else list(ks)
    require_counts(k=k, n_splits=n_splits, **{f"ks[{i}]": value for i, value in enumerate(ks)})
    require_zero_or_more(n_shuffles=n_shuffles)
    estimators = as_keys(estimators)
    for name in estimators:
        require_choice("estimators", name, ESTIMATORS)
    require_type("adata", adata, AnnData, "Of a MuData pass one modality: mdata.mod['rna'].")
    sets = clonal_sets(adata, clone_key, time_key, early, late, min_cells)
    if setting != "transductive" and n_splits < 2:
        raise ValueError(f"n_splits={n_splits} holds no clones out: setting={setting!r} needs two.")
    folds = clone_folds(len(sets.clones), 1 if setting == "transductive" else n_splits, seed)
    if n_components is None:
        n_components = int(np.clip(min(map(len, folds)) // _CLONES_PER_COMPONENT, 2, 10))
    require_counts(n_components=n_components)
    embedding = (
        None if model is None else ClonalEmbedding(adata, sets, model, (clone_key, time_key))
    )
    references = clonal_baselines(adata, sets, model, baselines, layer, cell_type_key, seed)
    views = clonal_views(embedding, references, setting, folds)
    if not views or not (model or set(estimators) - {"ksg_published"}):
        raise ValueError(
            "There is nothing to score: pass a model, or baselines and an estimator other than "
            "'ksg_published', which is of models."
        )
    found: dict[tuple[str, str], dict[str, Score]] = {}
    rows, sweep = [], []
    for view in track(views, "Clonal information", disable=not enable_progress_bar):
        pairs = pairs_of(view, sets, n_components)
        own = {
            name: score(pairs, name, k, normalize, n_shuffles, seed)
            for name in ("ksg", *(e for e in estimators if e != "ksg"))
            if name != "ksg_published" or view.representation == "gde"
        }
        found[view.representation, view.setting] = own
        rows += [_row(view, len(sets.clones), e, own[e]) for e in own if e in estimators]
        if view.representation == views[0].representation:
            for value in (value for value in ks if value <= min(map(len, folds)) // 2):
                of_k = score(pairs, "ksg", value, normalize, 0, seed)
                sweep.append(_row(view, len(sets.clones), "ksg", of_k))
    table = _text_index(pd.DataFrame(rows))
    clones = sets.table()
    for (representation, where), own in found.items():
        clones[f"{representation}_{where}"] = own["ksg"].pointwise
    main = views[0].representation
    adata.uns[key_added] = {
        "table": table,
        "sweep": _text_index(pd.DataFrame(sweep)).drop(
            columns=["shuffled", "p_value"], errors="ignore"
        ),
        "clones": clones,
        "null": _text_index(
            pd.DataFrame({"_".join(v): own["ksg"].null for v, own in found.items()})
        ),
        "params": {
            "clone_key": clone_key,
            "time_key": time_key,
            "early": sets.early,
            "late": sets.late,
            "setting": setting,
            "n_splits": len(folds),
            "representation": main,
            "k": k,
            "normalize": str(normalize).lower(),
            "n_components": n_components,
            "n_shuffles": n_shuffles,
            "cell_type_key": cell_type_key or "",
            "seed": seed,
        },
    }
    for where in {"both": ["transductive", "inductive"]}.get(setting, [setting]):
        key = f"{key_added}_inductive" if (setting, where) == ("both", "inductive") else key_added
        values = np.append(found[main, where]["ksg"].pointwise, np.nan)
        adata.obs[key] = values[sets.clone_of]  # -1, no scored clone, reads the NaN
    former = f"{key_added}_inductive"
    if setting != "both" and former in adata.obs:
        del adata.obs[former]  # of an earlier run, and not of this table
    return table


def _row(view: View, n_clones: int, estimator: str, found: Score) -> dict:
    return {
        "representation": view.representation,
        "setting": view.setting,
        "estimator": estimator,
        "metric": "auc" if estimator == "retrieval_auc" else "bits",
        "k": found.k,
        "normalize": found.normalize,
        "n_clones": n_clones,
        "n_folds": len(view.folds),
        "n_dims": found.n_dims,
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
        "shuffled": found.null.mean() if len(found.null) else np.nan,
        "p_value": found.p_value,
    }


def _text_index(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with an index that files can keep."""
    return table.set_axis(table.index.astype(str))
