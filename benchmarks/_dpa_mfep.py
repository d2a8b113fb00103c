"""Minimum free-energy path on the Muller-Brown potential: table ``mfep``.

A million Langevin steps are encoded by a DPA and by controls of the same width, steps and batch.
The path that a latent follows from one minimum towards the other is compared with the true one, by
the string method. Every seed is a row; a march that broke off counts as infinitely far. "first" is
the first latent; "best" the one that runs most linearly along the true path, as published, which
takes knowing it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from scgde.datasets import muller_brown, muller_brown_gradient
from scgde.metrics import best_component, latent_path, path_distances
from scgde.stats import string_method
from scgde.train import fit_dpa

from ._dpa_baselines import BASELINES, Encoders, fit_baseline

# Exponent and latents of the DPAs: the default, and all other settings that were tried.
DPAS = {
    "DPA": (1.0, 2),
    "DPA, K = 1": (1.0, 1),
    "DPA, beta = 2": (2.0, 2),
    "DPA, beta = 2, K = 1": (2.0, 1),
}
METHODS = (*DPAS, *BASELINES)
DISTANCES = ["chamfer", "hausdorff", "p95"]


@lru_cache
def frames(every: int = 200) -> np.ndarray:
    """Return frames of the simulation, ``(n, 2)``."""
    return muller_brown(every=every, enable_progress_bar=False).X


@lru_cache
def minima() -> np.ndarray:
    """Return the three minima, ``(3, 2)``."""
    return muller_brown(1, 1).uns["truth"]["minima"]


@lru_cache
def true_path() -> np.ndarray:
    """Return the path through all minima: 250 points up to the second, 100 from there."""
    first, second = (
        string_method(
            muller_brown_gradient, minima()[i : i + 2], n_points=n, tolerance=1e-6, max_steps=5_000
        ).points
        for i, n in ((0, 250), (1, 100))
    )
    return np.concatenate([first, second[1:]])


@lru_cache
def encoders(method: str, n_seeds: int, n_steps: int, batch_size: int) -> Encoders:
    """Return trained encoders of one method, one for each seed."""
    x = frames()
    if method not in DPAS:
        return fit_baseline(method, x, n_members=n_seeds, n_steps=n_steps, batch_size=batch_size)
    beta, n_latent = DPAS[method]
    module = fit_dpa(
        [x] * n_seeds,
        n_latent=n_latent,
        beta=beta,
        n_steps=n_steps,
        batch_size=batch_size,
        enable_progress_bar=False,
    ).module.cpu()
    return Encoders(
        [lambda x, e=e: module.encode(x.expand(n_seeds, -1, -1))[e] for e in range(n_seeds)],
        np.full(n_seeds, np.nan),
    )


def mfep(
    n_seeds: int = 10,
    n_steps: int = 3_000,
    batch_size: int = 128,
    methods: tuple[str, ...] = METHODS,
) -> pd.DataFrame:
    """Return a row for each method, latent ("first", "best") and seed."""
    rows = []
    for method in methods:
        found = encoders(method, n_seeds, n_steps, batch_size)
        for seed, encode in enumerate(found.encode):
            with torch.no_grad():
                z = encode(torch.as_tensor(true_path(), dtype=torch.float32)).numpy()
            best, r2 = best_component(z, true_path())
            for latent, component in (("first", 0), ("best", best)):
                rows.append(
                    {
                        "method": method,
                        "latent": latent,
                        "seed": seed,
                        "component": component,
                        "r2_of_arc_length": r2[component],
                        "kl": found.kl[seed],
                        **_distances(encode, component),
                    }
                )
            if method == "PCA":  # has no seed
                break
    return pd.DataFrame(rows)


def _distances(encode, component: int) -> dict[str, float]:
    try:
        path = latent_path(encode, minima()[0], minima()[-1], component)
        found = path_distances(path, true_path())
    except ValueError:
        # The gradient vanished or the path left all bounds: no path, so no distance.
        return {**dict.fromkeys(DISTANCES, np.inf), "ends_apart": np.inf}
    return {**found._asdict(), "ends_apart": float(np.linalg.norm(path[-1] - minima()[-1]))}


def mfep_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return medians over seeds with a 95 % bootstrap interval, and the extremes."""
    rng = np.random.default_rng(0)
    rows = []
    for (method, latent), of in table.groupby(["method", "latent"], sort=False):
        chamfer = of["chamfer"].to_numpy()
        draws = np.median(rng.choice(chamfer, (2_000, len(chamfer))), axis=1)
        low, high = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
        rows.append(
            {
                "method": method,
                "latent": latent,
                "n_seeds": len(of),
                "chamfer": np.median(chamfer),
                "low": low if len(of) > 1 else np.nan,
                "high": high if len(of) > 1 else np.nan,
                "chamfer_best": chamfer.min(),
                "chamfer_worst": chamfer.max(),
                "hausdorff": of["hausdorff"].median(),
                "p95": of["p95"].median(),
                "kl": np.median(of["kl"]),
            }
        )
    return pd.DataFrame(rows)
