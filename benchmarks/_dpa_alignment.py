"""Level sets of an encoder against the score of the data: table ``alignment``.

On the Muller-Brown potential the score is known: minus its gradient over kT. Mean and variance of
the data given the first latent come from the 1,000 nearest of 200,001 frames; the metrics are of
2,000 others. The published cosine stands beside those that can fail: it is 1 for every encoder.
"""

from __future__ import annotations

import pandas as pd
import torch

from scgde.datasets import muller_brown, muller_brown_gradient
from scgde.metrics import level_sets, levelset_alignment, levelset_cosine

from ._dpa_mfep import encoders, frames

METHODS = ("DPA", "DPA, beta = 2", "nested AE", "AE", "PCA", "random encoder")
_KT = 2.5


def alignment(
    n_seeds: int = 5,
    n_steps: int = 3_000,
    batch_size: int = 128,
    n_points: int = 2_000,
    methods: tuple[str, ...] = METHODS,
) -> pd.DataFrame:
    """Return a row for each method, seed and metric of the first latent."""
    sample = torch.from_numpy(frames(every=5))
    # Of a simulation of its own, so that no point is its own neighbour.
    x = muller_brown(500 * n_points, 500, seed=1, enable_progress_bar=False).X[1:]
    score = -muller_brown_gradient(x) / _KT
    rows = []
    for method in methods:
        for seed, encode in enumerate(encoders(method, n_seeds, n_steps, batch_size).encode):
            points = torch.from_numpy(x).requires_grad_()
            z = encode(points)[:, 0]
            (gradient,) = torch.autograd.grad(z.sum(), points)
            with torch.no_grad():
                of_sample = torch.cat([encode(part)[:, 0] for part in sample.split(10_000)])
            sets = level_sets(z.detach().numpy(), sample.numpy(), of_sample.numpy())
            cosine = levelset_cosine(x - sets.center, gradient.numpy(), score)
            found = levelset_alignment(x, gradient.numpy(), score, sets, seed=seed).reset_index()
            published = {"metric": "levelset_cosine", "estimate": cosine, "n_points": len(x)}
            found = pd.concat([pd.DataFrame([published]), found], ignore_index=True)
            found.insert(0, "seed", seed)
            found.insert(0, "method", method)
            rows.append(found)
            if method == "PCA":  # has no seed
                break
    return pd.concat(rows, ignore_index=True)


def alignment_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds, their range, and the share of seeds with p <= 0.05."""
    of = table.groupby(["metric", "method"], sort=False)
    summary = of["estimate"].agg(["mean", "min", "max", "count"])
    summary["null"] = of["null"].mean()
    significant = of["p_value"].agg(lambda p: (p <= 0.05).mean())
    summary["significant"] = significant.where(summary["null"].notna())
    return summary.reset_index()
