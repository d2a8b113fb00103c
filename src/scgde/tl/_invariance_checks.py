"""The verdicts of the invariance report, and what they mean."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import t as student

_DRIFT = 1e-3  # of the spread between populations; rounding in float32 is some 1e-6
_SLOPE = (-0.6, -0.4)
_CORRELATION, _LEVEL = 0.3, 0.05

_MEANING = {
    "order": "The embedding depends on the order of cells, so it is no function of the population. "
    "Use an encoder that passes tests/contracts (any bundled one), and float32 rather than half "
    "precision.",
    "repetition": "A population and the same population with every cell twice embed differently: "
    "the embedding depends on the number of cells itself. Use an encoder that averages over cells.",
    "weights": "Integer weights and repeated cells embed differently: weighted sets and merged "
    "populations cannot be trusted. Use an encoder that honours its weights.",
    "subsampling": "Sampling moves embeddings as far as populations are apart: differences between "
    "single populations are noise. Merge populations, measure more cells (cells_needed), or weigh "
    "by covariance.",
    "slope": "Drift does not fall as one over the root of the number of cells: covariances and "
    "error bars, which assume it, are off. A flatter slope is a bias of small populations "
    "(compare populations of equal size); a steeper one, cells that are not independent draws.",
}
_CONFOUNDED = (
    "{name} goes with axis {axis} of the embedding (Spearman {rho:.2f}, adjusted p {p:.2g}). It "
    "may be technical or biology; before reading that axis as biology, compare populations of "
    "similar {name}, thin to equal numbers, or set up a batch_key or size_factor_key."
)


def _check(
    check: str,
    value: float,
    limit: str,
    passed: bool | None,
    interval: tuple[float, float] = (np.nan, np.nan),
    note: str = "",
) -> dict:
    words = {True: "yes", False: "no", None: "not applicable"}
    return {
        "check": check,
        "value": float(value),
        "low": float(interval[0]),
        "high": float(interval[1]),
        "limit": limit,
        "passed": words[None if passed is None else bool(passed)],
        "note": note,
    }


def drift_checks(largest: dict[str, float]) -> list[dict]:
    """Return the checks of what must not move an embedding, given the largest drifts."""
    return [
        _check(check, value, f"at most {_DRIFT}", value <= _DRIFT)
        for check, value in largest.items()
    ]


def sampling_checks(drift: pd.DataFrame) -> list[dict]:
    """Return the checks of subsampling: how far, and how fast it falls."""
    last = drift["m"].max()
    far = np.sqrt(np.square(drift.loc[drift["m"] == last, "drift"]).mean())
    rows = [_check("subsampling", far, "below 1", far < 1, note=f"m = {last}")]
    slopes = np.array(
        [
            np.polyfit(np.log(of["m"]), np.log(of["drift"]), 1)[0]
            for _, of in drift[drift["drift"] > 0].groupby("population")
            if len(of) > 1
        ]
    )
    limit = f"{_SLOPE[0]} to {_SLOPE[1]}"
    if len(slopes) < 3:
        note = f"{len(slopes)} populations are large enough, three are needed"
        return [*rows, _check("slope", np.nan, limit, None, note=note)]
    error = slopes.std(ddof=1) / np.sqrt(len(slopes))
    half = student.ppf(0.975, len(slopes) - 1) * error
    low, high = slopes.mean() - half, slopes.mean() + half
    meets = low <= _SLOPE[1] and high >= _SLOPE[0]
    wide = "; a wide interval, raise n_draws or n_populations" if high - low > 0.4 else ""
    note = f"{len(slopes)} populations{wide}"
    return [*rows, _check("slope", slopes.mean(), limit, meets, (low, high), note)]


def confounding_checks(found: pd.DataFrame) -> list[dict]:
    """Return for each covariate its largest correlation with an axis."""
    rows = []
    limit = f"below {_CORRELATION}, or adjusted p above {_LEVEL}"
    for name, of in found.groupby("covariate", sort=False):
        if of["spearman"].isna().all():
            rows.append(_check(name, np.nan, limit, None, note=of["note"].iloc[0]))
            continue
        top = of.loc[of["spearman"].abs().idxmax()]
        bad = (of["spearman"].abs() >= _CORRELATION) & (of["p_adjusted"] <= _LEVEL)
        note = f"{top['axis']}, adjusted p {top['p_adjusted']:.2g}"
        interval = top["low"], top["high"]
        rows.append(_check(name, top["spearman"], limit, not bad.any(), interval, note))
    return rows


def meaning(check: str, found: pd.DataFrame) -> str:
    """Return in words what it means that a check failed, and what to do."""
    if check in _MEANING:
        return _MEANING[check]
    of = found[(found["covariate"] == check) & (found["p_adjusted"] <= _LEVEL)]
    top = of.loc[of["spearman"].abs().idxmax()]
    return _CONFOUNDED.format(
        name=check, axis=top["axis"], rho=top["spearman"], p=top["p_adjusted"]
    )
