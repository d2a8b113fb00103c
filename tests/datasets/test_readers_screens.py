"""Readers and preparation of perturbation screens, on small files in the original formats."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

import scgde
from scgde.datasets import _plain
from scgde.datasets._drug_screen import read_sciplex
from scgde.datasets._perturb_seq import read_perturb_seq

from .test_readers_cells import counts, unchanged

RNG = np.random.default_rng(1)


def test_a_screen_with_identifiers_stored_dense(tmp_path, monkeypatch):
    """As Replogle 2022: dense counts, Ensembl names, "non-targeting"."""
    monkeypatch.setattr(_plain, "_ROWS", 4)  # read in pieces
    adata = AnnData(counts(6, 3))
    adata.obs["gene"] = pd.Categorical(["non-targeting"] * 2 + ["RPL3"] * 3 + ["RARE"])
    adata.var_names = ["ENSG1", "ENSG2", "ENSG3"]
    adata.var["gene_name"] = ["A", "B", "A"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    screen = read_perturb_seq(
        [tmp_path / "a.h5ad"],
        perturbation_key="gene",
        control="non-targeting",
        gene_names_key="gene_name",
        min_cells=2,
    )
    assert sp.issparse(screen.X)
    np.testing.assert_array_equal(screen.X.toarray(), adata.X[:5])
    assert screen.obs["perturbation"].cat.categories.tolist() == ["control", "RPL3"]
    assert screen.var_names.tolist() == ["A", "B", "A-1"]
    assert screen.var["gene_id"].tolist() == ["ENSG1", "ENSG2", "ENSG3"]
    with pytest.raises(KeyError, match="gene_names_key='symbol'"):
        read_perturb_seq(
            [tmp_path / "a.h5ad"],
            perturbation_key="gene",
            control="non-targeting",
            gene_names_key="symbol",
        )


def test_pairs_have_one_name():
    """As Norman 2019 in scPerturb ("A_B") and in GEARS ("A+ctrl")."""
    names = ["control", "KLF1_BAK1", "BAK1_KLF1", "KLF1", None]
    adata = AnnData(counts(5, 2), obs=pd.DataFrame({"p": names}, index=list("abcde")))
    before = adata.copy()
    screen = scgde.datasets.recode_perturbations(adata, "p", "control", separator="_")
    assert unchanged(adata, before)
    assert screen.obs["perturbation"].tolist() == ["control", "BAK1+KLF1", "BAK1+KLF1", "KLF1"]
    assert screen.obs["n_perturbed"].tolist() == [0, 2, 2, 1]
    adata.obs["p"] = ["ctrl", "KLF1+ctrl", "ctrl+KLF1", "KLF1+BAK1", "ctrl+ctrl"]
    screen = scgde.datasets.recode_perturbations(adata, "p", "ctrl", separator="+")
    assert screen.obs["perturbation"].tolist() == [
        "control",
        "KLF1",
        "KLF1",
        "BAK1+KLF1",
        "control",
    ]


def test_guides_become_genes_and_rare_guides_go():
    """As Papalexi 2021 in scPerturb."""
    names = ["control"] * 2 + ["STAT2g1"] * 2 + ["STAT2g2"] * 3 + ["STAT2g3"]
    adata = AnnData(counts(8, 2), obs=pd.DataFrame({"p": names}, index=list("abcdefgh")))
    screen = scgde.datasets.recode_perturbations(
        adata, "p", "control", guide_suffix="g[0-9]+$", min_cells=2
    )
    assert screen.obs["perturbation"].value_counts().to_dict() == {"control": 2, "STAT2": 5}
    assert screen.obs["guide"].cat.categories.tolist() == ["STAT2g1", "STAT2g2", "control"]


def test_mistakes_in_a_screen_are_named():
    adata = AnnData(counts(2, 2), obs=pd.DataFrame({"p": ["NT", "A"]}, index=list("ab")))
    with pytest.raises(KeyError, match="perturbation_key='q'"):
        scgde.datasets.recode_perturbations(adata, "q", "NT")
    with pytest.raises(ValueError, match="control='ctrl': no cell has such a name"):
        scgde.datasets.recode_perturbations(adata, "p", "ctrl")
    with pytest.raises(ValueError, match="min_cells=2: the largest group"):
        scgde.datasets.recode_perturbations(adata, "p", "NT", min_cells=2)
    with pytest.raises(ValueError, match="min_cells=0"):
        scgde.datasets.recode_perturbations(adata, "p", "NT", min_cells=0)


def test_strength_finds_what_was_put_in():
    x = np.log1p(RNG.poisson(3.0, (300, 30)).astype(np.float32))
    names = np.repeat(["control", "weak", "none", "strong"], 75)
    x[names == "strong", :10] += 1
    x[names == "weak", :3] += 1
    x[:, 29] = 0
    adata = AnnData(
        sp.csr_matrix(x), obs=pd.DataFrame({"perturbation": names}, index=map(str, range(300)))
    )
    table = scgde.datasets.perturbation_strength(adata, fraction=1 / 3)
    assert table.index[:2].tolist() == ["strong", "weak"]
    assert abs(table.loc["strong", "n_genes"] - 10) <= 1
    assert abs(table.loc["weak", "n_genes"] - 3) <= 1
    assert table.loc["none", "n_genes"] <= 1
    assert table["strong"].tolist() == [True, False, False]
    dense = adata.copy()
    dense.X = x
    assert scgde.datasets.perturbation_strength(dense, fraction=1 / 3).equals(table)
    with pytest.raises(KeyError, match="control='NT'"):
        scgde.datasets.perturbation_strength(adata, control="NT")
    with pytest.raises(ValueError, match=r"fraction=1\.5 must be at most 1"):
        scgde.datasets.perturbation_strength(adata, fraction=1.5)


def test_sciplex(tmp_path):
    obs = pd.DataFrame(
        {
            "perturbation": ["control", "Quisinostat", "Quisinostat", "Quisinostat", "X", None],
            "dose_value": [np.nan, 10.0, 10.0, 100.0, np.nan, 10.0],
            "cell_line": ["A549", "A549", "A549", "K562", "K562", "A549"],
        },
        index=list("abcdef"),
    )
    AnnData(counts(6, 2), obs=obs).write_h5ad(tmp_path / "a.h5ad")
    screen = read_sciplex([tmp_path / "a.h5ad"])
    assert screen.obs_names.tolist() == ["a", "b", "c", "d"]
    assert screen.obs["dose"].tolist() == [0, 10, 10, 100]
    assert screen.obs["drug"].cat.categories.tolist() == ["control", "Quisinostat"]
    assert read_sciplex([tmp_path / "a.h5ad"], min_cells=2).obs_names.tolist() == ["b", "c"]
    with pytest.raises(KeyError, match="dose_key='dose'"):
        read_sciplex([tmp_path / "a.h5ad"], dose_key="dose")
    with pytest.raises(ValueError, match="no numbers"):
        read_sciplex([tmp_path / "a.h5ad"], dose_key="cell_line")
    with pytest.raises(ValueError, match="min_cells=9"):
        read_sciplex([tmp_path / "a.h5ad"], min_cells=9)
