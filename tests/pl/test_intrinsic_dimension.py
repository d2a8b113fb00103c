from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from anndata import AnnData

import scgde


@pytest.fixture(scope="module")
def adata():
    rng = np.random.default_rng(0)
    adata = AnnData(rng.normal(size=(4 * 60, 6)).astype(np.float32))
    adata.obs["donor"] = np.repeat(list("abcd"), 60)
    adata.obs["arm"] = np.repeat(["x", "y"], 120)
    adata.obsm["X_rep"] = adata.X
    scgde.tl.intrinsic_dimension(
        adata,
        "donor",
        use_rep="X_rep",
        methods=("dpa", "twonn"),
        n_nulls=3,
        n_subsamples=8,
        dpa_kwargs={"n_steps": 5},
        groupby="arm",
        enable_progress_bar=False,
    )
    return adata


def test_estimates_and_profiles_are_drawn(adata):
    left, right = scgde.pl.intrinsic_dimension(adata)
    shown = sorted(t.get_text() for t in left.get_yticklabels())
    assert shown == list("abcd")
    result = adata.uns["intrinsic_dimension"].sort_values("estimate")
    assert [t.get_text() for t in left.get_yticklabels()] == list(result.index)
    labels = [t.get_text() for t in left.get_legend().get_texts()]
    assert labels == ["null: 95 % range", "x", "y"]
    assert len(right.lines) == 4 * 2 + 2
    plt.close("all")


def test_of_a_part_of_the_data_its_populations_are_drawn(adata):
    part = adata[adata.obs["donor"] != "a"].copy()
    left, right = scgde.pl.intrinsic_dimension(part)
    assert sorted(t.get_text() for t in left.get_yticklabels()) == list("bcd")
    assert len(right.lines) == 3 * 2 + 2
    # The mean of the profiles is of those that are drawn.
    profile = adata.uns["intrinsic_dimension_details"]["profile"]
    own = profile[profile["population"] != "a"].groupby("k")["unexplained"].mean()
    np.testing.assert_allclose(right.lines[-1].get_ydata(), own)
    none = adata.copy()
    none.obs["donor"] = "z"
    with pytest.raises(ValueError, match="no population of adata"):
        scgde.pl.intrinsic_dimension(none, color="donor")
    plt.close("all")


def test_without_profiles_there_is_one_axis(adata):
    other = adata.copy()
    del other.uns["intrinsic_dimension_details"]["profile"]
    ax = scgde.pl.intrinsic_dimension(other, color="donor")
    assert len(ax.get_legend().get_texts()) == 5
    with pytest.raises(KeyError, match="key='dimension'"):
        scgde.pl.intrinsic_dimension(adata, "dimension")
    with pytest.raises(KeyError, match="color='age'"):
        scgde.pl.intrinsic_dimension(adata, color="age")
    plt.close("all")
