from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd


@dataclass(frozen=True, repr=False, eq=False)
class QueryResult:
    """Where new populations lie among the populations of a reference; see :meth:`GDE.query`.

    Parameters
    ----------
    neighbors
        One row a query and neighbour: ``population``, ``neighbor``, ``rank`` from 1, ``distance``
        (root of the expected squared distance of the true embeddings, in embedding units),
        ``standard_error``, ``low``, ``high`` (95 %).
    labels
        One row a query: ``predicted``, the label whose populations are nearest in relation to the
        others; ``set``, the labels with p above ``alpha`` as text; for each label ``p_value: ...``
        and ``in_set: ...``. No columns where there are no labels.
    novelty
        One row a query: ``score``, mean distance to its nearest reference populations;
        ``p_value``; ``novel``, whether that is at most ``alpha``.
    labels_key
        Column of the labels; empty where there are none.
    alpha
        Share of errors allowed.
    calibration
        ``"held-out"``: p-values are ranks among reference populations that were not trained on, and
        exact where queries are exchangeable with these. ``"training"``: there were fewer than ten
        of those, so ranks are among all reference populations. The model knows the ones that it
        was trained on better than any query, so that sets may cover less than 1 - alpha and more
        than alpha of ordinary queries may be called novel.
    n_calibration
        Number of populations ranked among.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(12, 40)
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> result = model.query(scgde.datasets.normal_populations(3, 40, seed=1))
    >>> result.novelty.columns.tolist()
    ['score', 'p_value', 'novel']
    """

    neighbors: pd.DataFrame
    labels: pd.DataFrame
    novelty: pd.DataFrame
    labels_key: str
    alpha: float
    calibration: Literal["held-out", "training"]
    n_calibration: int

    def __repr__(self) -> str:
        n, k = len(self.novelty), int(self.neighbors["rank"].max())
        kind = "held out from training" if self.calibration == "held-out" else "some trained on"
        novel = int(self.novelty["novel"].sum())
        text = [
            f"QueryResult of {n} populations, {k} neighbors each; calibrated on "
            f"{self.n_calibration} reference populations ({kind})",
            f"unlike anything in the reference (p <= {self.alpha:g}): {novel}",
        ]
        if self.labels_key:
            counts = self.labels["predicted"].value_counts()
            predicted = ", ".join(f"{label} {count}" for label, count in counts.items())
            size = self.labels.filter(regex="^in_set: ").sum(axis=1).mean()
            text.append(
                f"{self.labels_key}: {predicted}; {size:.2g} labels in a set on average "
                f"(coverage {1 - self.alpha:g})"
            )
        return "\n  ".join(text)
