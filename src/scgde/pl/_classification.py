from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from .._errors import require, require_choice, require_type
from ._figures import PALETTE

# Scores of which a number that knows nothing is a line worth drawing.
_CHANCE = {"roc_auc": 0.5, "r2": 0.0, "spearman": 0.0}


def classification(
    adata: AnnData,
    label: str | None = None,
    metric: str | None = None,
    *,
    key: str = "gde_classification",
    ax: Axes | None = None,
) -> Axes:
    """Draw scores of held-out populations, embeddings beside baselines, with their intervals.

    Parameters
    ----------
    adata
        Data after :func:`scgde.tl.classify_populations`.
    label
        The label whose scores are drawn; by default the first.
    metric
        ``"roc_auc"``, ``"balanced_accuracy"``, ``"accuracy"`` or ``"f1"`` of classes; ``"r2"``,
        ``"spearman"`` or ``"mae"`` (in units of the label) of numbers. By default the first of
        these.
    key
        The ``key_added`` of ``tl.classify_populations``.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    The axes: a row for each representation and setting, with its 95 % interval; a grey line where
    guessing lies.

    Raises
    ------
    KeyError, TypeError, ValueError
        If ``adata`` is no AnnData, or the result is absent or has no such label or metric.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(12, 40)
    >>> adata.obs["group"] = np.where(adata.obs["mean"] > 2.5, "high", "low")
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.embed_populations(adata, model)
    >>> _ = scgde.tl.classify_populations(adata, "group", n_splits=2, n_repeats=2)
    >>> scgde.pl.classification(adata).get_xlabel()
    'roc_auc of group, 12 populations held out (95 % interval)'
    """
    require_type("adata", adata, AnnData, "Scores lie in .uns after tl.classify_populations.")
    require("key", key, adata.uns.keys(), "adata.uns")
    scores = adata.uns[key]["scores"]
    label = str(scores["label"].iloc[0]) if label is None else label
    require_choice("label", label, scores["label"].unique())
    scores = scores[scores["label"] == label]
    if metric is None:
        metric = "roc_auc" if "roc_auc" in set(scores["metric"]) else "r2"
    require_choice("metric", metric, scores["metric"].unique())
    # The first representation on top.
    rows = scores[scores["metric"] == metric].iloc[::-1]
    if ax is None:
        size = (5, 1.2 + 0.3 * len(rows))
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    for place, row in enumerate(rows.itertuples()):
        own = str(row.representation).startswith("gde")
        error = np.maximum([[row.estimate - row.low], [row.high - row.estimate]], 0)
        ax.errorbar(row.estimate, place, xerr=error, fmt="o", color=PALETTE[1 if own else 0])
    if metric in _CHANCE:
        ax.axvline(_CHANCE[metric], color="0.8", linewidth=1, zorder=0)
    ax.set_yticks(range(len(rows)), rows["representation"] + ", " + rows["setting"])
    n = rows["n_populations"].iloc[0]
    ax.set_xlabel(f"{metric} of {label}, {n} populations held out (95 % interval)")
    return ax
