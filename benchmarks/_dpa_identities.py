"""What must hold where the autoencoder is right, on data whose answers are known.

Held-out cells, several seeds (each with data of its own), every one a member of one ensemble. A
figure is the worst over seeds unless it says otherwise.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from scgde.datasets import manifold
from scgde.metrics import dimension_profile, extraneous_latents
from scgde.train import DPAFit, fit_dpa

N_CELLS = 10_000
OPTIONS = {
    "n_latent": 2,
    "n_hidden": 64,
    "n_noise": 16,
    "batch_size": 256,
    "lr": 3e-3,
    "n_starts": 4,
    "enable_progress_bar": False,
}


def identities(n_seeds: int = 3, n_steps: int = 4_000) -> pd.DataFrame:
    """Return one row an identity: what it is, the worst value, and the target."""
    names = ("normal", "parabola", "line", "noisy line")
    sets = [make(name, seed) for name in names for seed in range(n_seeds)]
    fit = fit_dpa(sets, n_steps=n_steps, **OPTIONS)
    held_out = [cells[rows] for cells, rows in zip(sets, fit.rows, strict=True)]
    latent = _latents(fit, held_out)
    of = {name: range(i * n_seeds, (i + 1) * n_seeds) for i, name in enumerate(names)}
    spread = _spread(fit, held_out)

    def worst(function, which, lowest: bool) -> float:
        values = [function(i) for i in which]
        return float(min(values) if lowest else max(values))

    every = range(len(sets))
    rows = [
        (
            "rank correlation of latents with principal components, normal cells",
            worst(
                lambda i: min(
                    abs(spearmanr(latent[i][:, j], held_out[i][:, j]).statistic) for j in range(2)
                ),
                of["normal"],
                lowest=True,
            ),
            "> .999",
        ),
        (
            "R2 of the second latent on the first, parabola",
            worst(lambda i: _r2(latent[i]), of["parabola"], lowest=True),
            "> .999",
        ),
        *[
            (
                f"mean distance to a draw over that of two draws, level {k}: largest log ratio",
                worst(lambda i, k=k: abs(np.log(spread[i, k])), of["normal"], lowest=False),
                "0",
            )
            for k in range(3)
        ],
        (
            "L_0 over half the mean distance of cells, all sets: largest log ratio",
            worst(
                lambda i: abs(np.log(fit.losses[i][:, 0].mean() / (pdist(held_out[i]).mean() / 2))),
                every,
                lowest=False,
            ),
            "0",
        ),
        ("dimension of a line: largest", worst(lambda i: _knee(fit, i), of["line"], False), "1"),
        (
            "dimension of a line with noise of .1: smallest",
            worst(lambda i: _knee(fit, i), of["noisy line"], lowest=True),
            "2",
        ),
        (
            "L_k = E|X - E[decoder | z]|^2 at beta = 2: largest difference, over L_0",
            _beta_two(),
            "0",
        ),
    ]
    table = pd.DataFrame(rows, columns=["identity", "value", "target"])
    return table.assign(n_seeds=n_seeds, n_steps=n_steps)


def make(name: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = rng.normal(size=N_CELLS)
    if name == "normal":
        return np.c_[3 * t, rng.normal(size=N_CELLS)]
    if name == "parabola":
        return manifold("parabola", N_CELLS, seed=seed).X
    return np.c_[t, 0 * t] + (0.1 if name == "noisy line" else 0) * rng.normal(size=(N_CELLS, 2))


@torch.no_grad()
def _latents(fit: DPAFit, cells: list[np.ndarray]) -> np.ndarray:
    return fit.module.encode(torch.from_numpy(np.stack(cells)).float()).numpy()


@torch.no_grad()
def _spread(fit: DPAFit, cells: list[np.ndarray]) -> np.ndarray:
    """Return E|X - X'| / E|X' - X''| at each level, ``(E, K + 1)``; X', X'' are draws."""
    x = torch.from_numpy(np.stack(cells)).float()
    z, ratios = fit.module.encode(x), []
    for k in range(3):
        first, second = (fit.module.decode(z, k) for _ in range(2))
        ratios.append((x - first).norm(dim=-1).mean(1) / (first - second).norm(dim=-1).mean(1))
    return torch.stack(ratios, 1).numpy()


def _r2(latent: np.ndarray) -> float:
    return extraneous_latents(latent, 1).loc["r2", "estimate"]


def _knee(fit: DPAFit, i: int) -> int:
    return dimension_profile(fit.losses[i]).knee


def _beta_two() -> float:
    """Return how far L_k is from the squared distance to the mean of 200 draws, over L_0."""
    cells = make("normal", 0)
    fit = fit_dpa([cells], beta=2.0, n_steps=1_000, **OPTIONS)
    x = torch.from_numpy(cells[fit.rows[0]]).float()[None]
    losses, squared = fit.losses[0].mean(0), []
    with torch.no_grad():
        z = fit.module.encode(x)
        for k in range(3):
            draws = torch.stack([fit.module.decode(z, k) for _ in range(200)])
            mean, variance = draws.mean(0), draws.var(0)
            # The mean of so many draws has an error of its own, whose square is taken off.
            squared.append(float(((x - mean) ** 2 - variance / len(draws)).sum(-1).mean()))
    return float(np.abs(losses - squared).max() / losses[0])
