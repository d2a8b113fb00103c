"""Tables of intrinsic dimensions: a row a population and method, and a row a population."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from ..metrics._dimension_consensus import explained
from ._intrinsic_dimension_local import LocalDimension
from ._intrinsic_dimension_profile import QUANTITIES, DPADimensions


def by_method(
    names: pd.Index,
    found: dict[int, LocalDimension],
    methods: tuple[str, ...],
    dpa: DPADimensions | None,
) -> pd.DataFrame:
    """Return estimates of every population by every method, long."""
    rows = []
    # Of whole numbers, a population's own variance over subsamples is often zero: it is pooled.
    counts = [of.above_noise for of in found.values() if of.above_noise is not None]
    half = np.nan
    if counts:
        half = norm.ppf(0.975) * np.sqrt(np.mean([c.sd**2 / c.share for c in counts]))
    for place, (i, of) in enumerate(found.items()):
        for j, method in enumerate(("consensus", *methods)):
            estimate = (of.estimate.estimate[j], of.estimate.low[j], of.estimate.high[j])
            rows.append((names[i], method, *estimate, *of.null[:, j]))
        if of.against_null is not None:
            interval = (np.nan,) * 3
            if of.above_noise is not None:
                count, width = float(of.above_noise.estimate), half * np.sqrt(of.above_noise.share)
                interval = (count, max(count - width, 0.0), count + width)
            rows.append((names[i], "pca_above_noise", *interval, *[np.nan] * 3))
        if dpa is not None:
            for quantity in QUANTITIES:
                null = (dpa.null[quantity][place], np.nan, np.nan)
                rows.append((names[i], quantity, *dpa.estimates[quantity][place], *null))
    columns = ["population", "method", "estimate", "low", "high", "null", "null_low", "null_high"]
    return pd.DataFrame(rows, columns=columns)


def by_population(
    names: pd.Index,
    found: dict[int, LocalDimension],
    long: pd.DataFrame,
    spans: dict[int, int],
    methods: tuple[str, ...],
    n_cells: int,
) -> pd.DataFrame:
    """Return one row a population, with the reasoning in words."""
    of_method = {
        m: of.drop(columns="method").set_index("population").reindex(names)
        for m, of in long.groupby("method")
    }
    result, kept = of_method["consensus"], list(found)
    result.insert(3, "n_cells", 0)
    result.iloc[kept, 3] = n_cells
    primary = of_method.get("dpa_above_noise", of_method.get("pca_above_noise"))
    for column, suffix in (("estimate", ""), ("low", "_low"), ("high", "_high")):
        result[f"above_noise{suffix}"] = np.nan if primary is None else primary[column]
    for method in (*methods, "pca_above_noise", *QUANTITIES):
        if method in of_method:
            result[method] = of_method[method]["estimate"]
    words = np.full(len(names), "fewer different cells than n_cells: no estimate", dtype=object)
    for i in kept:
        row = result.iloc[i]
        knee = int(row["dpa_knee"]) if "dpa_knee" in result else None
        several_draws = found[i].estimate.share < 1
        consensus = row["estimate"] if several_draws else None
        words[i] = explained(row[list(methods)].astype(float), spans[i], knee, consensus)
        words[i] += _against_null(found[i].against_null, row["null"])
        if found[i].against_null is not None and found[i].above_noise is None:
            words[i] += "; no dimension above noise of a representation"
    result["reasoning"] = words
    return result.rename_axis("population")


def _against_null(against: int | None, null: float) -> str:
    if against is None:
        return ""
    if against < 0:
        return f"; below the null's {null:.1f}: features hang together"
    if against > 0:
        return f"; above the null's {null:.1f}"
    return f"; within what independent features give ({null:.1f}): no structure seen"
