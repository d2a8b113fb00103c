from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from .._errors import require
from ._figures import PALETTE

_CEILING = "data_ceiling"
_ARROW = {"high": " →", "low": " ←", "one": " (1 is right)"}
_DEFAULT = ("r2_vs_training_mean", "pearson_delta", "discrimination_rank", "energy_distance")


def perturbation_report(
    adata: AnnData,
    *,
    key: str = "gde_perturbation",
    metrics: str | Iterable[str] | None = None,
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Draw the report card of held-out perturbations: a panel a metric, the model among baselines.

    Methods share the perturbations, so that intervals may overlap although one method is better
    almost everywhere. So a marker is hollow where the interval of the difference to the model,
    perturbation by perturbation, includes zero. A method that predicts some perturbations only is
    compared on those.

    Parameters
    ----------
    adata
        Data after :func:`scgde.tl.predict_perturbations`.
    key
        Its ``key_added``.
    metrics
        Of its summary, one or several. By default ``r2_vs_training_mean``, ``pearson_delta``,
        ``discrimination_rank`` and ``energy_distance``, as far as it has them.
    axes
        As many axes as metrics; a new figure by default.

    Returns
    -------
    Array of axes. Points with 95 % intervals; the dashed line and its band are the data ceiling,
    half of the cells predicting the other half. Better is to the right, or, where an arrow in the
    title points there, to the left.

    Raises
    ------
    KeyError, ValueError
        If there is no such result or it lacks a metric, or there are not as many axes as metrics.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.perturbed_populations(6, 2, 20)
    >>> scgde.model.PerturbationGDE.setup_anndata(adata, "perturbation", control="control")
    >>> model = scgde.model.PerturbationGDE(adata, features="gene_features", n_latent=8)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> _ = scgde.tl.predict_perturbations(
    ...     adata, model, held_out=["target_00", "target_01"], enable_progress_bar=False
    ... )
    >>> axes = scgde.pl.perturbation_report(adata, metrics=["pearson_delta", "energy_distance"])
    >>> len(axes)
    2
    """
    summary = _result(adata, key)["summary"]
    there = list(summary["metric"].unique())
    if metrics is None:
        # A single held-out population has no rank among others.
        metrics = [metric for metric in _DEFAULT if metric in there]
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    if not metrics:
        raise ValueError("metrics is empty: name at least one of the summary.")
    for metric in metrics:
        require("metrics", metric, there, f"adata.uns[{key!r}]['summary']")
    if axes is None:
        size = (3.2 * len(metrics) + 1, 3)
        axes = plt.subplots(1, len(metrics), figsize=size, layout="constrained", squeeze=False)[1]
    axes = np.atleast_1d(np.asarray(axes)).ravel()
    if len(axes) != len(metrics):
        raise ValueError(f"axes has {len(axes)} axes for {len(metrics)} metrics.")
    methods = [m for m in summary["method"].unique() if m != _CEILING][::-1]
    for ax, metric in zip(axes, metrics, strict=True):
        _panel(ax, summary[summary["metric"] == metric].set_index("method"), methods)
        ax.set_title(metric.replace("_", " ") + _ARROW[_best(summary, metric)], fontsize="medium")
    return axes


def _best(summary: pd.DataFrame, metric: str) -> str:
    return summary.loc[summary["metric"] == metric, "best"].iloc[0]


def _panel(ax: Axes, scores: pd.DataFrame, methods: list[str]) -> None:
    if _CEILING in scores.index:
        ceiling = scores.loc[_CEILING]
        ax.axvspan(ceiling["low"], ceiling["high"], color="0.92", linewidth=0)
        ax.axvline(ceiling["estimate"], color="0.4", linestyle="--", linewidth=1)
    for place, method in enumerate(methods):
        if method not in scores.index:
            continue
        row = scores.loc[method]
        own = np.isnan(row["difference"])  # the model has none to itself
        apart = own or row["difference_low"] > 0 or row["difference_high"] < 0
        colour = PALETTE[1] if own else PALETTE[0]
        face = colour if apart else "white"
        ax.plot([row["low"], row["high"]], [place, place], color=colour)
        ax.plot(row["estimate"], place, "o", color=colour, markerfacecolor=face)
    ax.set_yticks(range(len(methods)), [_label(scores, method) for method in methods])
    ax.set_ylim(-0.6, len(methods) - 0.4)


def _label(scores: pd.DataFrame, method: str) -> str:
    """Return a method's name, with the number of perturbations where it cannot predict all."""
    name, most = method.replace("_", " "), scores["n_perturbations"].max()
    n = scores["n_perturbations"].get(method, 0)
    return name if n == most else f"{name} ({n} of {most})"


def predicted_shift(
    adata: AnnData,
    population: str,
    *,
    key: str = "gde_perturbation",
    n_genes: int = 8,
    ax: Axes | None = None,
) -> Axes:
    """Draw predicted against observed shift of one held-out population, a point a gene.

    Parameters
    ----------
    adata
        Data after :func:`scgde.tl.predict_perturbations`.
    population
        Its name in the predictions, as ``"A+B"`` or, with a covariate, ``"A+B|covariate"``; the
        first split that held it out.
    key
        Its ``key_added``.
    n_genes
        Genes of the largest observed shifts to name.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    The axes: predicted over observed shift, both in units of the features.

    Raises
    ------
    KeyError
        If there is no such result or it has no such population.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.perturbed_populations(6, 2, 20)
    >>> scgde.model.PerturbationGDE.setup_anndata(adata, "perturbation", control="control")
    >>> model = scgde.model.PerturbationGDE(adata, features="gene_features", n_latent=8)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> _ = scgde.tl.predict_perturbations(
    ...     adata, model, held_out=["target_00", "target_01"], enable_progress_bar=False
    ... )
    >>> ax = scgde.pl.predicted_shift(adata, "target_00")
    >>> ax.get_title()
    'target_00'
    """
    found = _result(adata, key)["predictions"]
    names = found["table"]["population"]
    require("population", population, names.unique(), "the held-out populations")
    place = int(np.flatnonzero(names == population)[0])
    observed, predicted = found["observed"][place], found["predicted"][place]
    ax = plt.subplots(figsize=(4, 4), layout="constrained")[1] if ax is None else ax
    ax.axline((0, 0), slope=1, color="0.5", linewidth=1)
    ax.axhline(0, color="0.85", linewidth=1, zorder=0)
    ax.scatter(observed, predicted, s=8, color=PALETTE[0], alpha=0.6, linewidth=0)
    for gene in np.argsort(-np.abs(observed))[:n_genes]:
        at = (observed[gene], predicted[gene])
        name = str(found["genes"][gene])
        ax.annotate(name, at, fontsize=6, xytext=(3, 2), textcoords="offset points")
    ax.set(xlabel="observed shift", ylabel="predicted shift, held out", title=population)
    return ax


def _result(adata: AnnData, key: str) -> dict:
    require("key", key, adata.uns.keys(), "adata.uns")
    return adata.uns[key]
