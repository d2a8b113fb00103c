"""The score that regularized autoencoders learn: on a mixture whose score is known, and on cells.

    python -m benchmarks.dpa score

Mixture of three normals (equal weights, 10,000 points of it train): R2 of the score at 5,000
held-out points against the score of the smoothed and of the unsmoothed density, correlation of log
ratios of 2,000 pairs with those of the smoothed density, and the energy distance to 4,000 held-out
points of 2,000 chains that start from a normal distribution. Beside the model stand one normal
distribution and a kernel density estimate of the training points with the same s (whose sample is
drawn exactly). On real cells (10 components of log-normalised counts): the held-out denoising loss
per feature (1 for a score of zero), and how far the field is from a gradient. All models take 3,000
steps of 512 cells, contractive ones, whose steps take longer, of 128; all seeds at the first s, one
seed at the others. Seeds draw data (on cells the split), the weights and the chains; intervals are
95 % t over seeds.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from anndata import AnnData
from rich.progress import track
from scipy.special import logsumexp
from scipy.stats import t as student_t

from scgde import datasets, distances
from scgde.model import RegularizedAE

from ._results import write

MEANS = np.array([[-1.1, -1.1], [1.1, -0.9], [-0.33, 1.0]])
SIGMA = 0.66
Score = Callable[[np.ndarray], np.ndarray]
Row = tuple[str, str, str, float]  # data, model, quantity, value


def score(
    n_seeds: int = 3,
    n_steps: int = 3_000,
    sigmas: Sequence[float] = (0.2, 0.1, 0.05, 0.4),
) -> pd.DataFrame:
    """Return the table of scores; it is written after each run, should the rest be stopped."""
    start, rows = time.perf_counter(), []
    for seed in range(n_seeds):
        rows += [(0.2, seed, *row) for row in _cells(0.2, seed, n_steps)]
    for s, seed in track([(s, seed) for s in sigmas for seed in range(n_seeds)], "Runs"):
        both = s == sigmas[0] or seed == 0
        kinds = ("denoising", "contractive") if both else ("denoising",)
        rows += [(s, seed, *row) for row in _mixture(s, seed, n_steps, kinds)]
        summary = _summary(rows)
        write(summary.round(5), "dpa_score", time.perf_counter() - start)
    return summary


def _summary(rows: list[tuple]) -> pd.DataFrame:
    """Return the mean over seeds of each quantity, with its 95 % t interval."""
    table = pd.DataFrame(rows, columns=["s", "seed", "data", "model", "quantity", "value"])
    groups = table.groupby(["data", "quantity", "s", "model"], sort=True)["value"]
    summary = groups.agg(estimate="mean", sd="std", n_seeds="size").reset_index()
    n = summary["n_seeds"]
    margin = student_t.ppf(0.975, n - 1) * summary.pop("sd") / np.sqrt(n)
    summary.insert(5, "low", summary["estimate"] - margin)
    summary.insert(6, "high", summary["estimate"] + margin)
    return summary


def _mixture(s: float, seed: int, n_steps: int, kinds: Sequence[str]) -> Iterator[Row]:
    rng = np.random.default_rng(seed)
    train, test, held_out = (_draw(n, rng) for n in (10_000, 5_000, 4_000))
    scale = np.sqrt(train.var(0).mean())
    pairs = test[:2_000], test[2_000:4_000]
    log_ratio = _log_density(pairs[1], s) - _log_density(pairs[0], s)

    def of_score(name: str, predicted: np.ndarray) -> Iterator[Row]:
        for quantity, truth in (("smoothed", _score(test, s)), ("true", _score(test, 0.0))):
            yield "mixture", name, f"R2 of the {quantity} score", _r2(predicted, truth)

    for regularization in kinds:
        model = _trained(AnnData(train), s / scale, seed, n_steps, regularization=regularization)
        yield from of_score(regularization, model.get_score(x=test))
        with warnings.catch_warnings():  # lines between random points cross empty space
            warnings.simplefilter("ignore", UserWarning)
            found = model.energy_difference(*pairs)
        correlation = np.corrcoef(found, log_ratio)[0, 1]
        yield "mixture", regularization, "correlation of log ratios", correlation
        for method, length in (("metropolis_hastings", 300), ("langevin", 2_000)):
            sample = model.sample_mcmc(
                2_000, method, length, init="normal", seed=seed, enable_progress_bar=False
            )
            name = f"{regularization}, {method}"
            yield "mixture", name, "energy distance to held out", _energy(sample.X, held_out)
            rate = sample.uns["mcmc"]["acceptance_rate"]
            yield "mixture", name, "acceptance rate", rate
        model_loss = model.history["validation_loss"].iloc[-1, 0]
        yield "mixture", regularization, "validation loss", float(model_loss)
    yield from of_score("kernel density", _kde_score(train, s)(test))
    yield from of_score("one normal", _normal_score(train, s)(test))
    noise = s * rng.normal(size=(2_000, 2))
    for name, sample in (
        ("training points", train[:2_000]),
        ("kernel density, exact draws", train[:2_000] + noise),
        ("one normal, exact draws", rng.multivariate_normal(train.mean(0), np.cov(train.T), 2_000)),
    ):
        yield "mixture", name, "energy distance to held out", _energy(sample, held_out)


def _cells(sigma: float, seed: int, n_steps: int) -> Iterator[Row]:
    adata = datasets.load("schulteschrepping2020")
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=10)
    model = _trained(adata, sigma, seed, n_steps, use_rep="X_pca")
    x = adata.obsm["X_pca"].astype(np.float64)
    train, held_out = x[model.train_indices], x[model.validation_indices]
    noise = np.random.default_rng(seed).normal(size=(20, *held_out.shape))
    s = model.sigma_data
    noisy = (held_out + s * noise).reshape(-1, x.shape[1])

    def model_score(points: np.ndarray) -> np.ndarray:
        return model.get_score(x=points)

    scores: dict[str, Score] = {
        "denoising": model_score,
        "kernel density": _kde_score(train, s),
        "one normal": _normal_score(train, s),
    }
    for name, predict in scores.items():
        error = noise.reshape(noisy.shape) + s * predict(noisy)
        yield "cells", name, "held-out denoising loss", float(np.square(error).mean())
    antisymmetry = model.get_antisymmetry(seed=seed, enable_progress_bar=False)
    for name, value in antisymmetry["estimate"].items():
        yield "cells", "denoising", f"antisymmetry, {name}", value


def _trained(
    adata: AnnData,
    sigma: float,
    seed: int,
    n_steps: int,
    use_rep: str | None = None,
    **options: object,
) -> RegularizedAE:
    RegularizedAE.setup_anndata(adata, use_rep=use_rep)
    model = RegularizedAE(adata, sigma=sigma, seed=seed, **options)
    model.train(
        max_steps=n_steps,
        batch_size=512 if model.module.regularization == "denoising" else 128,
        accelerator="cpu",
        enable_progress_bar=False,
    )
    return model


def _draw(n: int, rng: np.random.Generator) -> np.ndarray:
    x = MEANS[rng.integers(len(MEANS), size=n)] + SIGMA * rng.normal(size=(n, 2))
    return x.astype(np.float32)


def _log_density(x: np.ndarray, s: float) -> np.ndarray:
    """Return the log density, up to a constant, of the mixture smoothed with N(0, s^2)."""
    squares = np.square(x[:, None] - MEANS).sum(-1)
    return logsumexp(-squares / 2 / (SIGMA**2 + s**2), axis=1)


def _score(x: np.ndarray, s: float) -> np.ndarray:
    return _mixture_score(x, MEANS, SIGMA**2 + s**2)


def _mixture_score(x: np.ndarray, means: np.ndarray, variance: float) -> np.ndarray:
    """Return the score ``(n, d)`` of an equal mixture of isotropic normals."""
    x, means = x.astype(np.float64), means.astype(np.float64)
    squares = np.square(x).sum(1)[:, None] - 2 * x @ means.T + np.square(means).sum(1)
    log_weight = -squares / 2 / variance
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    return (weight @ means / weight.sum(1, keepdims=True) - x) / variance


def _kde_score(train: np.ndarray, s: float) -> Score:
    def predict(x: np.ndarray) -> np.ndarray:
        parts = np.array_split(x, max(1, len(x) // 500))
        return np.concatenate([_mixture_score(part, train, s**2) for part in parts])

    return predict


def _normal_score(train: np.ndarray, s: float) -> Score:
    precision = np.linalg.inv(np.cov(train.T) + s**2 * np.eye(train.shape[1]))
    return lambda x: (train.mean(0) - x) @ precision


def _r2(predicted: np.ndarray, truth: np.ndarray) -> float:
    return 1 - np.square(predicted - truth).sum() / np.square(truth - truth.mean(0)).sum()


def _energy(x: np.ndarray, y: np.ndarray) -> float:
    x, y = (torch.from_numpy(np.asarray(a, dtype=np.float64))[None] for a in (x, y))
    return distances.energy_distance(x, y).item()
