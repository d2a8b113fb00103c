from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import scgde

from ..tl._clonal_cells import clonal_cells

mpl.use("Agg")


@pytest.fixture
def scored():
    adata = clonal_cells()
    scgde.tl.clonal_mutual_information(
        adata,
        "clone",
        "day",
        [2, 4],
        6,
        cell_type_key="type",
        estimators=["ksg", "retrieval_auc"],
        setting="both",
        ks=(3,),
        n_shuffles=19,
        enable_progress_bar=False,
    )
    adata.obsm["X_map"] = adata.X[:, :3]
    yield adata
    plt.close("all")


def test_cells_and_estimates(scored):
    cells, estimates = scgde.pl.clonal_information(scored, basis="map", setting="inductive")
    without, having = cells.collections
    bits = scored.obs["gde_clonal_mi_inductive"]
    assert len(without.get_offsets()) == bits.isna().sum()
    np.testing.assert_allclose(having.get_array(), bits.dropna())
    np.testing.assert_allclose(having.get_offsets(), scored.X[bits.notna(), :2], rtol=1e-6)
    table = scored.uns["gde_clonal_mi"]["table"].query("estimator == 'ksg'")
    shown = [line.get_xdata()[0] for line in estimates.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(shown, table["estimate"][::-1])
    names = [t.get_text() for t in estimates.get_yticklabels()]
    assert names[-1] == "mean_pca, transductive"
    assert "64 clones" in estimates.get_title()
    _, estimates = scgde.pl.clonal_information(scored, basis="map", estimator="retrieval_auc")
    assert estimates.get_xlabel() == "retrieval AUC"


def test_mistakes(scored):
    with pytest.raises(KeyError, match="Did you mean 'map'"):
        scgde.pl.clonal_information(scored)
    with pytest.raises(KeyError, match="Did you mean 'gde_clonal_mi'"):
        scgde.pl.clonal_information(scored, "gde_clonal", basis="map")
    with pytest.raises(ValueError, match="estimator='latent'"):
        scgde.pl.clonal_information(scored, basis="map", estimator="latent")
    with pytest.raises(ValueError, match="setting='transductive_split'"):
        scgde.pl.clonal_information(scored, basis="map", setting="transductive_split")
