from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scgde
from scgde.model import RegularizedAE

mpl.use("Agg")


@pytest.fixture(scope="module")
def cells():
    x = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    adata = AnnData(x, obsm={"X_map": x.copy()})
    adata.obs["side"] = np.where(x[:, 0] > 0, "right", "left")
    adata.obs["height"] = x[:, 1]
    adata.var_names = ["first", "second"]
    RegularizedAE.setup_anndata(adata)
    model = RegularizedAE(adata, n_hidden=8)
    model.train(max_steps=1, accelerator="cpu", enable_progress_bar=False)
    scgde.tl.score_field(adata, model, basis="map")
    scgde.tl.density_ridges(adata, model, 1, enable_progress_bar=False)
    return adata


def test_arrows_point_to_the_middle(cells):
    ax = scgde.pl.score_arrows(cells, "map", kind="arrows", color="side", n_grid=15)
    (quiver,) = (c for c in ax.collections if isinstance(c, mpl.quiver.Quiver))
    drawn = ~np.broadcast_to(quiver.Umask, quiver.U.shape)
    assert 0.2 < drawn.mean() < 1
    inward = -(quiver.X * quiver.U + quiver.Y * quiver.V)[drawn]
    assert (inward > 0).mean() > 0.9
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"left", "right"}
    stream = scgde.pl.score_arrows(cells, "X_map", color="height")
    lines = [c for c in stream.collections if isinstance(c, mpl.collections.LineCollection)]
    assert sum(len(c.get_segments()) for c in lines) > 10
    assert stream.get_xlabel() == "map 1"
    plt.close("all")


def test_ridge_points_are_those_that_arrived(cells):
    cells = cells.copy()
    cells.obs["ridge_converged"] = np.arange(cells.n_obs) < 100
    ax = scgde.pl.density_ridges(cells)
    behind, ridge = (c.get_offsets() for c in ax.collections)
    np.testing.assert_allclose(behind, cells.X, rtol=1e-5)
    np.testing.assert_allclose(ridge, cells.obsm["ridge"][:100], rtol=1e-5)
    alone = scgde.pl.density_ridges(cells, dims=(1, 0), show_cells=False, color="side")
    assert sum(len(c.get_offsets()) for c in alone.collections) == 100
    assert (alone.get_xlabel(), alone.get_ylabel()) == ("second", "first")
    plt.close("all")


def test_ridges_of_a_table_in_obsm_are_drawn_over_its_cells(cells):
    """A representation may be a DataFrame; cells and ridge are in its units, of any setup."""
    table = pd.DataFrame(7 * cells.X + 100, index=cells.obs_names, columns=["u", "v"])
    adata = AnnData(cells.X, obs=cells.obs[["side"]], obsm={"factors": table})
    RegularizedAE.setup_anndata(adata, use_rep="factors")
    model = RegularizedAE(adata, n_hidden=8)
    model.train(max_steps=1, accelerator="cpu", enable_progress_bar=False)
    scgde.tl.density_ridges(adata, model, enable_progress_bar=False)
    ax = scgde.pl.density_ridges(adata, color="side")
    drawn = [c.get_offsets() for c in ax.collections]
    assert sum(map(len, drawn[:-1])) == adata.n_obs
    for points in drawn:
        assert np.all(np.abs(points - 100) < 50)
    assert ax.get_xlabel() == "u"
    plt.close("all")


def test_mistakes_are_named(cells):
    with pytest.raises(KeyError, match="basis='umap'"):
        scgde.pl.score_arrows(cells)
    with pytest.raises(ValueError, match="n_grid=1"):
        scgde.pl.score_arrows(cells, "map", n_grid=1)
    with pytest.raises(KeyError, match=r"tl\.score_field"):
        scgde.pl.score_arrows(cells, "map", key="field")
    with pytest.raises(ValueError, match="kind"):
        scgde.pl.score_arrows(cells, "map", kind="lines")
    with pytest.raises(KeyError, match="color"):
        scgde.pl.score_arrows(cells, "map", color="nothing")
    with pytest.raises(ValueError, match="dims"):
        scgde.pl.density_ridges(cells, dims=(0, 2))
    with pytest.raises(KeyError, match="ridg"):
        scgde.pl.density_ridges(cells, key="ridg")
    plt.close("all")
