from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.decomposition import PCA

import scgde

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_training_curve(trained):
    ax = scgde.pl.training_curve(trained.history)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["training", "validation"]
    assert ax.get_xlabel()
    assert ax.get_ylabel()


@pytest.mark.parametrize("source", ["cells", "populations"])
@pytest.mark.parametrize("color", [None, "severity", "age"])
def test_population_map(trained, source, color):
    scgde.tl.embed_populations(trained.adata, trained)
    adata = trained.adata if source == "cells" else trained.get_population_adata()
    ax = scgde.pl.population_map(adata, color=color, annotate=True)
    assert sum(len(c.get_offsets()) for c in ax.collections) == 15
    assert len(ax.texts) == 15
    with pytest.raises(KeyError, match="Did you mean 'severity'"):
        scgde.pl.population_map(adata, color="severty")


def test_population_map_with_error_bars(trained):
    adata = trained.adata
    scgde.tl.embed_populations(adata, trained, covariance=True)
    wide = scgde.pl.population_map(adata, color="severity", ellipses=True)
    assert len(wide.patches) == 15
    adata.uns["gde"]["covariance"] /= 100
    narrow = scgde.pl.population_map(adata, ellipses=True)
    for of, other in zip(wide.patches, narrow.patches, strict=True):
        assert of.width == pytest.approx(10 * other.width)
        np.testing.assert_allclose(of.center, other.center)
    pca = PCA(2).fit(adata.uns["gde"]["embedding"].to_numpy())
    seen = pca.components_ @ adata.uns["gde"]["covariance"][0] @ pca.components_.T
    radius = scgde.stats.hotelling_radius(int(adata.uns["gde"]["n_cells"][0]), 2)
    area = np.pi * radius * np.sqrt(np.linalg.det(seen))
    ellipse = narrow.patches[0]
    assert np.pi * ellipse.width * ellipse.height / 4 == pytest.approx(area, rel=1e-3)
    with pytest.raises(KeyError, match="covariance=True"):
        scgde.pl.population_map(trained.get_population_adata(), ellipses=True)


def test_population_map_of_many_levels_keeps_its_axes(trained):
    adata = trained.adata
    scgde.tl.embed_populations(adata, trained)
    few = scgde.pl.population_map(adata, color="severity")
    many = scgde.pl.population_map(adata, color="donor")
    for ax in (few, many):
        ax.figure.canvas.draw()
    assert len(many.get_legend().get_texts()) == 15
    assert many.get_position().width * many.figure.get_figwidth() > 3.5
    assert not many.get_legend().get_window_extent().overlaps(many.get_window_extent())
    kinds = {
        (tuple(of.get_facecolor()[0]), len(of.get_paths()[0].vertices)) for of in many.collections
    }
    assert len(kinds) == 15  # colour and shape together tell them apart


@pytest.mark.parametrize("dtype", [object, "string", "category", float])
def test_population_map_of_unknown_values_is_grey(trained, dtype):
    adata = trained.adata
    scgde.tl.embed_populations(adata, trained, covariance=True)
    column = adata.obs["age"] if dtype is float else adata.obs["severity"]
    lost = adata.obs["donor"] == "C19-CB-0002"
    adata.obs["column"] = column.astype(object).where(~lost, None).astype(dtype)
    ax = scgde.pl.population_map(adata, color="column", ellipses=True)
    assert sum(len(of.get_offsets()) for of in ax.collections if len(of.get_sizes()) > 0) == 15
    grey = (0.7, 0.7, 0.7, 0.25)
    assert sum(of.get_facecolor() == pytest.approx(grey) for of in ax.patches) == 1


def test_a_column_of_populations_may_have_the_name_of_one_of_cells(trained):
    trained.adata.obs["cell"] = np.arange(trained.adata.n_obs) % 2
    patients = trained.get_population_adata()
    patients.obs["cell"] = np.arange(15) % 3
    assert scgde.pl.population_map(patients, color="cell").collections


def test_population_map_says_why_not(trained):
    adata = trained.adata
    with pytest.raises(KeyError, match="embed_populations"):
        scgde.pl.population_map(adata)
    scgde.tl.embed_populations(adata, trained)
    adata.obs["cell"] = np.arange(adata.n_obs) % 2
    adata.obs["empty"] = np.nan
    with pytest.raises(KeyError, match=r"color='cell' varies within populations \(15 of 15\)"):
        scgde.pl.population_map(adata, color="cell")
    with pytest.raises(KeyError, match="color='empty' has no values"):
        scgde.pl.population_map(adata, color="empty")
    with pytest.raises(TypeError, match="one column"):
        scgde.pl.population_map(adata, color=["severity", "age"])


def test_classification(trained):
    adata = trained.adata
    scgde.tl.embed_populations(adata, trained)
    labels = ["severity", "age"]
    table = scgde.tl.classify_populations(adata, labels, n_repeats=1, baselines=["mean_sd"])
    ax = scgde.pl.classification(adata)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == ["mean_sd, inductive", "gde, transductive"]
    auc = table[(table["label"] == "severity") & (table["metric"] == "roc_auc")]
    drawn = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert drawn == list(auc["estimate"].iloc[::-1])
    assert "r2 of age" in scgde.pl.classification(adata, "age").get_xlabel()
    assert "mae" in scgde.pl.classification(adata, "age", "mae").get_xlabel()
    with pytest.raises(ValueError, match="metric='mae'"):
        scgde.pl.classification(adata, metric="mae")
    with pytest.raises(KeyError, match="key='gde_class'"):
        scgde.pl.classification(adata, key="gde_class")


def test_resampled_cells_on_one_scale(trained):
    """Counts are not drawn against what a pipeline made of them."""
    real = trained.adata[:40].copy()
    cells = trained.sample("C19-CB-0002", 50)
    real.layers["counts"] = real.X.copy()
    real.X = scgde.data.log_normalized(real.X)
    _, right = scgde.pl.resampled_cells(real, cells, layer="counts")
    assert "log-normalised" in right.get_xlabel()
    with pytest.raises(ValueError, match="layer='counts'"):
        scgde.pl.resampled_cells(real, cells)
    with pytest.raises(KeyError, match="layer='count'"):
        scgde.pl.resampled_cells(real, cells, layer="count")
    _, right = scgde.pl.resampled_cells(real, real)
    assert right.get_xlabel() == "variance, real"


def test_resampled_cells(trained):
    real = trained.adata[trained.adata.obs["donor"] == "C19-CB-0002"]
    cells, features = scgde.pl.resampled_cells(real, trained.sample("C19-CB-0002", 50))
    assert [len(c.get_offsets()) for c in cells.collections] == [40, 50]
    assert len(features.collections[0].get_offsets()) == 60
