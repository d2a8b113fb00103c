from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import scgde

from ..tl.test_free_energy_path import arc_of_cells, find

mpl.use("Agg")


@pytest.fixture
def adata():
    adata = arc_of_cells(n=200)
    find(adata, population_key="donor")
    yield adata
    plt.close("all")


def test_the_path_lies_where_its_cells_lie(adata):
    cells, profile = scgde.pl.free_energy_path(adata)
    path = next(line for line in cells.get_lines() if len(line.get_xdata()) == 50)
    drawn = np.column_stack(path.get_data())
    # This map is the representation with its axes swapped.
    expected = adata.uns["free_energy_path"]["points"][:, ::-1]
    assert np.linalg.norm(drawn - expected, axis=1).mean() < 0.3
    lines = {line.get_label(): line for line in profile.get_lines()}
    np.testing.assert_allclose(
        lines["all cells"].get_ydata(), adata.uns["free_energy_path"]["path"]["energy"]
    )
    assert "one population" in lines
    estimate = adata.uns["free_energy_path"]["barriers"]["estimate"].iloc[0]
    assert f"{estimate:.1f} kT" in profile.get_title()
    assert [text.get_text() for text in cells.texts] == ["left/early", "right"]


def test_after_a_score_and_of_a_subset(adata):
    with pytest.warns(UserWarning, match="max_steps=5"):
        find(adata, score=lambda x: -x, key_added="by_score", max_steps=5)
    subset = adata[::2].copy()
    axes = plt.subplots(1, 2)[1]
    cells, profile = scgde.pl.free_energy_path(subset, key="by_score", axes=tuple(axes))
    assert cells is axes[0]
    assert "(" not in profile.get_title()


def test_a_map_goes_by_both_of_its_names(adata):
    drawn = [
        axes[0].get_lines()[0].get_data()
        for axes in (scgde.pl.free_energy_path(adata, basis) for basis in ("umap", "X_umap"))
    ]
    np.testing.assert_array_equal(*drawn)


def test_mistakes_are_named(adata):
    with pytest.raises(KeyError, match="free_energy_path"):
        scgde.pl.free_energy_path(adata, key="free_energy")
    with pytest.raises(KeyError, match="X_umap"):
        scgde.pl.free_energy_path(adata, "X_uamp")
    adata.obsm["flat"] = adata.obsm["X_umap"][:, :1]
    with pytest.raises(ValueError, match="two columns"):
        scgde.pl.free_energy_path(adata, "flat")
