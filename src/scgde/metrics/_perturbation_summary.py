from __future__ import annotations

import numpy as np
import pandas as pd

from .._errors import require, require_counts

_BEST = {
    "mse_shift": "low",
    "mse_mean": "low",
    "discrimination_rank": "low",
    "energy_distance": "low",
    "variance_ratio": "one",
}


def perturbation_summary(
    report: pd.DataFrame,
    *,
    by: list[str] | None = None,
    reference: str | None = None,
    level: float = 0.95,
    n_bootstrap: int = 1_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Average a report over perturbations, with intervals.

    Perturbations are resampled whole (bootstrap), so that the splits and covariates in which one
    was held out count as one. What would change with another training of the same model is in the
    interval only as far as splits trained several.

    Parameters
    ----------
    report
        As from :func:`perturbation_report`; of several splits, concatenated.
    by
        Columns of the report that divide it, such as ``["n_components", "n_seen"]``.
    reference
        A method to compare every other with, perturbation by perturbation.
    level
        Coverage of the intervals.
    n_bootstrap, seed
        Of the bootstrap.

    Returns
    -------
    DataFrame: the columns of ``by``, ``method``, ``metric``, ``best`` (``"high"``, ``"low"`` or
    ``"one"``), ``estimate``, ``low``, ``high``, ``n_perturbations``. With ``reference`` also
    ``difference`` of the method to it, with ``difference_low`` and ``difference_high``, over what
    both predict: a perturbation in a covariate (and split, where the report has that column) that
    one of them lacks is left out of both. Intervals of fewer than two perturbations are NaN.

    Notes
    -----
    R2 is that of all perturbations together, ``1 - sum |s - p|^2 / sum |s|^2``: a mean of R2 would
    be ruled by the perturbations that do nothing. A correlation that is NaN, because a shift is
    constant, counts as 0: such a prediction says nothing of which genes change.

    Raises
    ------
    KeyError, ValueError
        If ``by`` or ``reference`` is not in the report, ``level`` is not between 0 and 1, or the
        report has no rows, or none with a value.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> rng = np.random.default_rng(0)
    >>> cells = {name: rng.normal(i, 1, (20, 5)) for i, name in enumerate(["A", "B"])}
    >>> table = pd.DataFrame({"perturbation": list("ABCD"), "covariate": ""}, list("ABCD"))
    >>> known = pd.DataFrame(rng.normal(size=(2, 5)), ["C", "D"])
    >>> split = scgde.metrics.PerturbationSplit(cells, {"": rng.normal(size=(20, 5))}, known, table)
    >>> baselines = scgde.metrics.perturbation_baselines(split)
    >>> report = scgde.metrics.perturbation_report(split, baselines, n_top=2)
    >>> summary = scgde.metrics.perturbation_summary(report, n_bootstrap=20)
    >>> summary.columns.tolist()
    ['method', 'metric', 'best', 'estimate', 'low', 'high', 'n_perturbations']
    """
    if report.empty:
        raise ValueError("report is empty: pass what perturbation_report returned.")
    by = list(by or [])
    for column in by:
        require("by", column, report.columns, "the columns of report")
    if reference is not None:
        require("reference", reference, report["method"].unique(), "the methods of report")
    require_counts(n_bootstrap=n_bootstrap)
    if not 0 < level < 1:
        raise ValueError(f"level={level!r} must be between 0 and 1.")
    report = report.assign(value=_values(report))
    report = report[report["value"].notna() & (report["weight"] > 0)]
    if report.empty:
        raise ValueError("report has no value that is not NaN, so there is nothing to average.")
    rows = []
    for key, part in report.groupby([*by, "metric"], sort=False, observed=True):
        known = dict(zip([*by, "metric"], key, strict=True))
        for row in _of_metric(part, reference, level, n_bootstrap, seed):
            rows.append({**known, **row, "best": _BEST.get(known["metric"], "high")})
    table = pd.DataFrame(rows)
    first = [*by, "method", "metric", "best"]
    table = table[[*first, *[c for c in table.columns if c not in first]]]
    # In the order in which methods were given, not that of the alphabet.
    table["method"] = pd.Categorical(table["method"], report["method"].unique())
    table = table.sort_values([*by, "method"], kind="stable").astype({"method": object})
    return table.set_index(pd.Index([str(i) for i in range(len(table))]))


def _values(report: pd.DataFrame) -> pd.Series:
    correlation = report["metric"].str.startswith("pearson")
    return report["value"].where(report["value"].notna() | ~correlation, 0.0)


def _of_metric(
    part: pd.DataFrame, reference: str | None, level: float, n_bootstrap: int, seed: int
) -> list[dict]:
    names = part["perturbation"].unique()
    rng, n = np.random.default_rng(seed), len(names)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
    counts = np.concatenate([np.ones((1, n)), counts])  # first the estimate itself
    tails = [(1 - level) / 2, (1 + level) / 2]
    methods = {method: own for method, own in part.groupby("method", sort=False, observed=True)}

    def means(own: pd.DataFrame) -> np.ndarray:
        sums = own.assign(total=own["value"] * own["weight"])
        sums = sums.groupby("perturbation", observed=True)[["total", "weight"]].mean()
        sums = sums.reindex(names, fill_value=0.0)
        weights, totals = counts @ sums["weight"].to_numpy(), counts @ sums["total"].to_numpy()
        return np.divide(totals, weights, out=np.full(len(totals), np.nan), where=weights > 0)

    def interval(draws: np.ndarray, own: pd.DataFrame) -> list[float]:
        few = own["perturbation"].nunique() < 2
        return [np.nan, np.nan] if few else list(np.nanquantile(draws[1:], tails))

    rows = []
    for method, own in methods.items():
        draws = means(own)
        low, high = interval(draws, own)
        row = {"method": method, "estimate": draws[0], "low": low, "high": high}
        row["n_perturbations"] = own["perturbation"].nunique()
        if reference is not None:
            row |= dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)
            if method != reference and reference in methods:
                own, other = _shared(own, methods[reference])
                if len(own):
                    draws = means(own) - means(other)
                    low, high = interval(draws, own)
                    row |= {"difference": draws[0], "difference_low": low, "difference_high": high}
        rows.append(row)
    return rows


def _shared(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the scores of either method that the other has too."""
    columns = [c for c in ("perturbation", "covariate", "split") if c in one.columns]
    a, b = (pd.MultiIndex.from_frame(rows[columns]) for rows in (one, other))
    return one[a.isin(b)], other[b.isin(a)]
