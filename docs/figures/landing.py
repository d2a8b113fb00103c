"""The figure of the landing page: cells of fifteen patients, and the patients with error bars.

Run from the root of the checkout: ``python docs/figures/landing.py``; a minute on two cores.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc

import scgde

OUTPUT = Path(__file__).parents[1] / "_static" / "landing.png"
COLORS = {"mild": "#0072B2", "severe": "#D55E00"}  # Okabe & Ito: safe for colour-blind readers


def main() -> None:
    """Train, embed, draw."""
    adata = scgde.datasets.load("schulteschrepping2020")
    scgde.model.GDE.setup_anndata(adata, population_key="donor")
    model = scgde.model.GDE(adata)
    model.train(enable_progress_bar=False)
    scgde.tl.embed_populations(adata, model)

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
    scgde.pl.population_map(adata, color="severity", ellipses=True, ax=right)
    right.set_title(f"{adata.obs['donor'].nunique()} patients")
    figure.savefig(OUTPUT, dpi=110)


if __name__ == "__main__":
    main()
