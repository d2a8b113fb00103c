"""What embeddings are like: Sec. 5 and Figs. 2, 3, 4 and 11 of the GDE paper."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch

import scgde
from scgde import datasets, distances
from scgde.encoders import ENCODERS, PooledEncoder

from ._synthetic_common import HELD_OUT, cells_of, fit, normals


def _mixture_distances(truth: dict) -> np.ndarray:
    parts = [torch.from_numpy(truth[k]) for k in ("weight", "mean", "covariance")]
    return _pairwise(
        lambda i, j: distances.mixture_wasserstein(*(p[i] for p in parts), *(p[j] for p in parts)),
        len(parts[0]),
    )


def _normal_distances(truth: dict) -> np.ndarray:
    mean, cov = (torch.from_numpy(truth[k]) for k in ("mean", "covariance"))
    return _pairwise(
        lambda i, j: distances.gaussian_wasserstein(mean[i], cov[i], mean[j], cov[j]), len(mean)
    )


def _multinomial_distances(truth: dict, n_trials: int = 20) -> np.ndarray:
    """Exact W2 between multinomials, as measures on all outcomes of the trials."""
    from scipy.stats import multinomial

    a, b = np.meshgrid(np.arange(n_trials + 1), np.arange(n_trials + 1))
    outcomes = np.stack([a, b, n_trials - a - b], -1).reshape(-1, 3)
    outcomes = outcomes[outcomes[:, 2] >= 0]
    mass = np.stack([multinomial(n_trials, p).pmf(outcomes) for p in truth["probability"]])
    mass = torch.from_numpy(mass / mass.sum(1, keepdims=True))
    x = torch.from_numpy(outcomes).double()[None]
    return _pairwise(
        lambda i, j: torch.cat(
            [
                distances.wasserstein(x, x, mass[a : a + 1], mass[b : b + 1])
                for a, b in zip(i, j, strict=True)
            ]
        ),
        len(mass),
    )


def _pairwise(distance: Callable, n: int) -> np.ndarray:
    i, j = np.triu_indices(n, 1)
    matrix = np.zeros((n, n))
    matrix[i, j] = matrix[j, i] = distance(i, j).numpy()
    return matrix


FAMILIES = {
    "normal_2d": (datasets.multivariate_normal_populations, {"n_features": 2}, _normal_distances),
    "gmm_2d": (datasets.gaussian_mixture_populations, {"n_features": 2}, _mixture_distances),
    "multinomial": (datasets.multinomial_populations, {}, _multinomial_distances),
}


def correlate(family: str, encoder: str, seed: int, budget: int, n_held_out: int = 60) -> dict:
    """Rank correlation of latent and transport distance over held-out populations."""
    make, options, true_distances = FAMILIES[family]
    train = make(5_000, 256, seed=seed, **options)
    start = time.perf_counter()
    generator = "wormhole" if encoder == "wormhole" else "flow_matching"
    model = fit(train, encoder, generator, budget=budget, seed=seed, sets=32, n_latent=16)
    seconds = time.perf_counter() - start
    test = make(n_held_out, 1_000, seed=HELD_OUT, **options)
    names = test.obs["population"].cat.categories
    known = pd.DataFrame(true_distances(test.uns["truth"]), index=names, columns=names)
    score = scgde.tl.wasserstein_geometry(
        test, model, list(names), transport=known, enable_progress_bar=False
    )
    model.release()
    return {
        "family": family,
        "encoder": encoder,
        "generator": generator,
        "seed": seed,
        "budget": budget,
        **score.loc["spearman"].rename({"estimate": "spearman"}).to_dict(),
        "train_s": seconds,
    }


def geometry(options) -> Iterable[tuple]:
    """Spearman of latent L2 and W2 on 60 held-out populations (known parameters)."""
    for seed in range(options.seeds):
        for family in FAMILIES:
            for encoder in ("resnet_gnn", "kernel_mean", "wormhole")[: 2 if seed else None]:
                yield correlate, (family, encoder, seed, options.budget)


def correlate_prior(log_alpha: int, seed: int, budget: int) -> dict:
    """Train where the first category's Dirichlet parameter is 2^log_alpha; score on a flat one."""
    train = datasets.multinomial_populations(
        2_000, 256, concentration=(2.0**log_alpha, 1.0, 1.0), seed=seed
    )
    model = fit(train, budget=budget, seed=seed, sets=32, n_latent=16)
    test = datasets.multinomial_populations(60, 1_000, seed=HELD_OUT)
    names = test.obs["population"].cat.categories
    known = pd.DataFrame(_multinomial_distances(test.uns["truth"]), index=names, columns=names)
    score = scgde.tl.wasserstein_geometry(
        test, model, list(names), transport=known, enable_progress_bar=False
    )
    model.release()
    spearman = score.loc["spearman", "estimate"]
    return {"log2_alpha": log_alpha, "seed": seed, "budget": budget, "spearman": spearman}


def prior(options) -> Iterable[tuple]:
    """How the geometry depends on which populations were trained on (Fig. 11)."""
    for seed in range(options.seeds):
        for log_alpha in (-5, -3, -1, 0, 1, 3, 5):
            yield correlate_prior, (log_alpha, seed, options.budget)


def concentrate(encoder: str, seed: int, budget: int) -> dict:
    """Spread of embeddings of m cells of one population about their mean, over m."""
    train, test = normals(1_000, 256, seed), normals(10, 40_000, HELD_OUT)
    model = fit(train, encoder, budget=budget, seed=seed, sets=32)
    x, sizes, spread = cells_of(test), [16, 32, 64, 128, 256, 512, 1_024, 2_048], []
    with torch.inference_mode():
        for m in sizes:
            sets = x[:, : (x.shape[1] // m) * m].reshape(len(x), -1, m, x.shape[-1])[:, :128]
            w = torch.full(sets.shape[1:3], 1 / m)
            z = torch.stack([model.module.encode(s, w) for s in sets])
            spread.append(z.var(1).sum(-1).mean().sqrt().item())
    model.release()
    slope = np.polyfit(np.log(sizes), np.log(spread), 1)[0]
    spreads = {f"spread_{m}": s for m, s in zip(sizes, spread, strict=True)}
    return {"encoder": encoder, "seed": seed, "budget": budget, "slope": slope, **spreads}


def clt(options) -> Iterable[tuple]:
    """Embeddings concentrate as 1 / sqrt(m): log-log slopes for every mean-pooled encoder."""
    for seed in range(options.seeds):
        for name in ENCODERS.names():
            if issubclass(ENCODERS.get(name), PooledEncoder) and ENCODERS.get(name).streams:
                yield concentrate, (name, seed, options.budget)


def interpolate(family: str, encoder: str, seed: int, budget: int) -> dict:
    """W2 of decoded straight lines to the geodesic, in units of its length."""
    make, options, _ = FAMILIES[family]
    model = fit(make(5_000, 256, seed=seed, **options), encoder, budget=budget, seed=seed, sets=32)
    test = make(40, 500, seed=HELD_OUT, **options)
    scores = scgde.tl.wasserstein_geometry(
        test,
        model,
        list(test.obs["population"].cat.categories),  # other populations, of the same names
        n_paths=20,
        enable_progress_bar=False,
    )
    model.release()
    return {
        "family": family,
        "encoder": encoder,
        "seed": seed,
        "budget": budget,
        **scores["estimate"].drop("spearman").to_dict(),
    }


def interpolation(options) -> Iterable[tuple]:
    """Latent lines between held-out populations, decoded, against displacement interpolation."""
    for seed in range(options.seeds):
        for family in ("normal_2d", "gmm_2d"):
            for encoder in ("resnet_gnn", "kernel_mean"):
                yield interpolate, (family, encoder, seed, options.budget)
