from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import scgde

mpl.use("Agg")


@pytest.fixture
def compared(trained):
    scgde.tl.embed_populations(trained.adata, trained)
    options = {"n_permutations": 99, "n_bootstrap": 50, "enable_progress_bar": False}
    scgde.tl.compare_populations(trained.adata, groupby="severity", **options)
    first, second = trained.adata.uns["gde"]["embedding"].index[:2]
    scgde.tl.compare_populations(trained.adata, first, second, key_added="pair", **options)
    yield trained.adata
    plt.close("all")


def test_donors_and_genes(compared):
    units, genes = scgde.pl.comparison(compared, n_genes=7)
    assert sum(len(line.get_xdata()) for line in units.lines) == 15
    assert [t.get_text() for t in units.get_xticklabels()] == ["mild", "severe"]
    p = compared.uns["gde_comparison"]["tests"]["p_adjusted"].iloc[0]
    assert f"p = {p:.2g}" in units.get_title()
    top = compared.uns["gde_comparison"]["genes"]["gene"][:7]
    assert [t.get_text() for t in genes.get_yticklabels()] == list(top[::-1])
    assert len(genes.patches) == 7


def test_a_pair_among_the_others(compared):
    names = list(compared.uns["gde"]["embedding"].index[:2])
    units, _ = scgde.pl.comparison(compared, key="pair")
    assert [t.get_text() for t in units.get_xticklabels()] == [*names, "others"]
    scores = compared.uns["pair"]["scores"]
    assert np.isfinite(scores["standard_error"]).all()
    assert len(units.collections) == 3  # error bars of each group


def test_without_genes_and_with_mistakes(compared):
    del compared.uns["pair"]["genes"]
    _, genes = scgde.pl.comparison(compared, key="pair")
    assert not genes.axison
    with pytest.raises(KeyError, match="It has 'severe vs mild'"):
        scgde.pl.comparison(compared, "mild vs severe")
    with pytest.raises(KeyError, match="gde_comparison"):
        scgde.pl.comparison(compared, key="gde_comparisons")
