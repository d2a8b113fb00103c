"""Distributional principal autoencoders of all populations, subsamples and nulls at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import t as student_t

from ..metrics import (
    DimensionProfile,
    conditional_randomization_test,
    dimension_profile,
    levels_above_null,
)
from ..train import DPAFit, fit_dpa
from ._intrinsic_dimension_cells import DimensionCells

# Of the conditional randomisation test: held-out cells for each latent conditioned on, and draws.
_MIN_FOR_TEST, _N_DRAWS = 40, 99
QUANTITIES = ("dpa_knee", "dpa_levels", "dpa_above_noise")


class DPADimensions(NamedTuple):
    """Result of :func:`dpa_dimensions`.

    ``estimates``: for each quantity of ``QUANTITIES``, estimate, low and high, ``(P, 3)``;
    ``null``: the same on a null, ``(P,)``; ``profile``: losses by population and level;
    ``next_latent (P,)``: p-values of the latent after the knee.
    """

    estimates: dict[str, np.ndarray]
    null: dict[str, np.ndarray]
    profile: pd.DataFrame
    next_latent: np.ndarray


def dpa_dimensions(
    names: list[str],
    cells: list[DimensionCells],
    n_cells: int,
    settings: dict,
    seed: int,
    with_null: bool,
    count_above_noise: bool,
    enable_progress_bar: bool,
) -> DPADimensions:
    """Train one ensemble on the populations, their subsamples and their nulls; read dimensions.

    Every population is taken at ``n_cells`` cells, and so are nulls; subsamples, for the intervals,
    are half of these. Levels above noise are counted against nulls of as many cells, so that there
    are as many nulls again of half the cells: 13 members a population in place of 9, by default.
    """
    settings = dict(settings)
    n_subsamples = settings.pop("n_subsamples")
    n_nulls = settings.pop("n_nulls") * with_null
    n_small = n_nulls * count_above_noise
    rng = np.random.default_rng(seed)
    sets = []
    for of in cells:
        x = of.draw(n_cells, rng)
        parts = [x]
        parts += [x[rng.permutation(n_cells)[: n_cells // 2]] for _ in range(n_subsamples)]
        parts += [of.null(n_cells, rng) for _ in range(n_nulls)]
        parts += [of.null(n_cells // 2, rng) for _ in range(n_small)]
        sets += map(of.reduced, parts)
    settings["n_latent"] = min(settings["n_latent"], sets[0].shape[1])
    fit = fit_dpa(
        [x.astype(np.float32) for x in sets],
        seed=seed,
        enable_progress_bar=enable_progress_bar,
        **settings,
    )
    step = 1 + n_subsamples + n_nulls + n_small
    estimates = {q: np.full((len(cells), 1 + n_subsamples), np.nan) for q in QUANTITIES}
    nulls = {q: np.full(len(cells), np.nan) for q in QUANTITIES}
    tables = []
    for i, name in enumerate(names):
        found = [
            dimension_profile(fit.losses[j], fit.residuals[j], float(fit.variance[j]))
            for j in range(i * step, (i + 1) * step)
        ]
        real = found[: 1 + n_subsamples]
        of_nulls = found[1 + n_subsamples : step - n_small]
        estimates["dpa_knee"][i] = [p.knee for p in real]
        estimates["dpa_levels"][i] = [p.dimension for p in real]
        table = real[0].table
        for column in ("loss", "fall", "unexplained"):
            table[f"null_{column}"] = np.nan
        if of_nulls:
            if n_small:
                as_large = [_falls(of_nulls)] + [_falls(found[step - n_small :])] * n_subsamples
                estimates["dpa_above_noise"][i] = [
                    levels_above_null(fall, null)
                    for fall, null in zip(_falls(real), as_large, strict=True)
                ]
            nulls["dpa_knee"][i] = np.mean([p.knee for p in of_nulls])
            nulls["dpa_levels"][i] = np.mean([p.dimension for p in of_nulls])
            for column in ("loss", "fall", "unexplained"):
                table[f"null_{column}"] = np.mean([p.table[column] for p in of_nulls], axis=0)
        table.insert(0, "population", name)
        tables.append(table.reset_index())
    values = {q: _intervals(v) for q, v in estimates.items()}
    mains = np.arange(len(cells)) * step
    next_latent = _next_latents(fit, [sets[j] for j in mains], mains, estimates["dpa_knee"][:, 0])
    return DPADimensions(values, nulls, pd.concat(tables, ignore_index=True), next_latent)


def _falls(profiles: list[DimensionProfile]) -> np.ndarray:
    """Return the fall of the loss at levels 1..K, ``(n_profiles, K)``."""
    return np.array([p.table["fall"].to_numpy()[1:] for p in profiles])


@torch.no_grad()
def _next_latents(
    fit: DPAFit, sets: list[np.ndarray], which: np.ndarray, knees: np.ndarray
) -> np.ndarray:
    """Return p-values of the latent after the knee given those before it, on held-out cells.

    NaN where fewer than 40 cells were held out for each latent that is conditioned on, or the knee
    is the last level.
    """
    p_values = np.full(len(sets), np.nan)
    if len(fit.members) > len(fit.losses):  # cross-fitted: no one autoencoder of all cells
        return p_values
    held_out = np.stack([x[fit.rows[j]] for x, j in zip(sets, which, strict=True)])
    if held_out.shape[1] < _MIN_FOR_TEST * max(knees.min(), 1):
        return p_values
    fit.module.keep(torch.from_numpy(which).to(fit.module.device))
    x = torch.from_numpy(held_out).float().to(fit.module.device)
    z = fit.module.encode(x).cpu().numpy()
    for i, knee in enumerate(knees.astype(int)):
        if knee < z.shape[2] and held_out.shape[1] >= _MIN_FOR_TEST * max(knee, 1):
            p_values[i] = conditional_randomization_test(
                held_out[i], z[i, :, knee], z[i, :, :knee], n_draws=_N_DRAWS
            ).p_value
    return p_values


def _intervals(estimates: np.ndarray) -> np.ndarray:
    """Return estimate, low and high ``(P, 3)`` of values on all cells and, after, on subsamples.

    The variance over subsamples is pooled over populations: of whole numbers, of few subsamples,
    it would be zero for some.
    """
    first, subsamples = estimates[:, 0], estimates[:, 1:]
    n = subsamples.shape[1]
    if n < 2:
        return np.stack([first, np.full_like(first, np.nan), np.full_like(first, np.nan)], 1)
    sd = np.sqrt(subsamples.var(1, ddof=1).mean())
    half = student_t.ppf(0.975, len(estimates) * (n - 1)) * sd
    return np.stack([first, np.maximum(first - half, 0), first + half], 1)
