from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

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


def test_resampled_cells(trained):
    real = trained.adata[trained.adata.obs["donor"] == "C19-CB-0002"]
    cells, features = scgde.pl.resampled_cells(real, trained.sample("C19-CB-0002", 50))
    assert [len(c.get_offsets()) for c in cells.collections] == [40, 50]
    assert len(features.collections[0].get_offsets()) == 60
