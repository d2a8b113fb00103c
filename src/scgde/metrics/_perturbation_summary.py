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
    ``difference`` of the method to it, over the perturbations that both predict, with
    ``difference_low`` and ``difference_high``. Intervals of fewer than two perturbations are NaN.

    Notes
    -----
    R2 is that of all perturbations together, ``1 - sum |s - p|^2 / sum |s|^2``: a mean of R2 would
    be ruled by the perturbations that do nothing. A correlation that is NaN, because a shift is
    constant, counts as 0: such a prediction says nothing of which genes change.

    Raises
    ------
    KeyError, ValueError
        If ``by`` or ``reference`` is not in the report, or ``level`` is not between 0 and 1.
    """
    by = list(by or [])
    for column in by:
        require("by", column, report.columns, "the columns of report")
    if reference is not None:
        require("reference", reference, report["method"].unique(), "the methods of report")
    require_counts(n_bootstrap=n_bootstrap)
    if not 0 < level < 1:
        raise ValueError(f"level={level!r} must be between 0 and 1.")
    report = report.assign(value=_values(report))
    report = report[report["value"].notna()]
    rows = []
    for key, part in report.groupby([*by, "metric"], sort=False):
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
    sums = part.assign(total=part["value"] * part["weight"]).pivot_table(
        index="perturbation",
        columns="method",
        values=["total", "weight"],
        aggfunc="mean",
        sort=False,
    )
    total, weight = sums["total"].fillna(0.0), sums["weight"].fillna(0.0)
    rng, n = np.random.default_rng(seed), len(sums)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
    counts = np.concatenate([np.ones((1, n)), counts])  # first the estimate itself
    tails = [(1 - level) / 2, (1 + level) / 2]

    def means(method: str, keep: np.ndarray) -> np.ndarray:
        weights = counts @ (weight[method] * keep).to_numpy()
        values = counts @ (total[method] * keep).to_numpy()
        return np.divide(values, weights, out=np.full(len(values), np.nan), where=weights > 0)

    def interval(draws: np.ndarray, keep: np.ndarray) -> list[float]:
        return list(np.nanquantile(draws[1:], tails)) if keep.sum() > 1 else [np.nan, np.nan]

    rows = []
    for method in total.columns:
        keep = (weight[method] > 0).to_numpy()
        if not keep.any():
            continue
        draws = means(method, keep)
        low, high = interval(draws, keep)
        row = {"method": method, "estimate": draws[0], "low": low, "high": high}
        row["n_perturbations"] = int(keep.sum())
        if reference is not None:
            row |= dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)
            both = keep & (weight.get(reference, pd.Series(0, weight.index)) > 0).to_numpy()
            if both.any() and method != reference:
                draws = means(method, both) - means(reference, both)
                low, high = interval(draws, both)
                row |= {"difference": draws[0], "difference_low": low, "difference_high": high}
        rows.append(row)
    return rows
