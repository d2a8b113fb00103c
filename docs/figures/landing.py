"""The figure of the landing page: cells of fifteen patients, and the patients with error bars.

Run from the root of the checkout: ``python docs/figures/landing.py``; a minute on two cores.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
from matplotlib.patches import Ellipse

import scgde

OUTPUT = Path(__file__).parents[1] / "_static" / "landing.png"
COLORS = {"mild": "#0072B2", "severe": "#D55E00"}  # Okabe & Ito: safe for colour-blind readers


def ellipse(center: np.ndarray, covariance: np.ndarray, n_cells: int, color: str) -> Ellipse:
    """Return the joint 95 % region of two coordinates."""
    values, vectors = np.linalg.eigh(covariance)
    axes = 2 * scgde.stats.hotelling_radius(n_cells, 2) ** 0.5 * np.sqrt(values)
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    return Ellipse(center, axes[1], axes[0], angle=angle, facecolor=color, alpha=0.25)


def main() -> None:
    """Train, embed, draw."""
    adata = scgde.datasets.load("schulteschrepping2020")
    scgde.model.GDE.setup_anndata(adata, population_key="donor")
    model = scgde.model.GDE(adata)
    model.train(enable_progress_bar=False)
    embedding, covariance = model.get_population_embedding(return_covariance=True)
    table = model.get_population_table()
    axes = np.linalg.svd(embedding - embedding.mean(), full_matrices=False)[2][:2].T
    points = (embedding - embedding.mean()).to_numpy() @ axes

    cells = adata.copy()
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.pp.pca(cells, n_comps=2)

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    order = np.random.default_rng(0).permutation(cells.n_obs)
    left.scatter(
        *cells.obsm["X_pca"][order].T,
        c=cells.obs["severity"].astype(str).map(COLORS).to_numpy()[order],
        s=2,
        alpha=0.5,
        linewidths=0,
    )
    left.set(xlabel="cells, PC 1", ylabel="cells, PC 2", title=f"{cells.n_obs:,} cells")
    for severity, color in COLORS.items():
        for i in np.flatnonzero((table["severity"] == severity).to_numpy()):
            region = axes.T @ covariance[i] @ axes
            right.add_patch(ellipse(points[i], region, table["n_cells"].iloc[i], color))
        of = (table["severity"] == severity).to_numpy()
        right.scatter(*points[of].T, color=color, s=18, label=severity, zorder=2)
    right.set(xlabel="embedding, PC 1", ylabel="embedding, PC 2", title=f"{len(table)} patients")
    right.legend(title="severity", frameon=False)
    figure.savefig(OUTPUT, dpi=110)


if __name__ == "__main__":
    main()
