"""Readers and preparation of cells, on small files in the original formats."""

from __future__ import annotations

import gzip

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy.io import mmwrite

import scgde
from scgde.datasets._donors import read_cellxgene, read_paired_conditions
from scgde.datasets._larry import read_larry
from scgde.datasets._recipes import with_variable_genes

RNG = np.random.default_rng(0)


def counts(n_cells: int, n_genes: int) -> np.ndarray:
    return RNG.poisson(2.0, (n_cells, n_genes)).astype(np.float32)


def unchanged(adata: AnnData, before: AnnData) -> bool:
    same_x = np.array_equal(np.asarray(sp.csr_matrix(adata.X).todense()), before.to_df().to_numpy())
    return same_x and adata.obs.equals(before.obs) and adata.var.equals(before.var)


@pytest.fixture
def larry(tmp_path):
    """Six cells, four genes, three clones: the files of the Klein lab, in small."""

    def write(transposed=False):
        x = counts(6, 4)
        x *= 1234.5 / x.sum(1, keepdims=True)
        clones = np.zeros((6, 3))
        clones[[0, 1, 2], 0] = 1
        clones[3, [1, 2]] = 1
        clones[4, 2] = 1
        paths = [
            tmp_path / f"stateFate_inVitro_{n}.gz"
            for n in ("normed_counts.mtx", "gene_names.txt", "metadata.txt", "clone_matrix.mtx")
        ]
        for path, matrix in ((paths[0], x), (paths[3], clones)):
            with gzip.open(path, "wb") as file:
                mmwrite(file, sp.coo_matrix(matrix.T if transposed else matrix))
        paths[1].write_bytes(gzip.compress(b"Gata1\nSpi1\nGata1\nMpo\n"))
        metadata = pd.DataFrame(
            {
                "Library": ["d2_1"] * 3 + ["d6_2_2"] * 3,
                "Cell barcode": ["AA-A", "CC-C", "GG-G", "TT-T", "AC-A", "AC-A"],
                "Time point": [2, 2, 2, 6, 6, 6],
                "Starting population": ["Lin-Kit+Sca1-"] * 4 + ["Lin-Kit+Sca1+"] * 2,
                "Cell type annotation": ["Undifferentiated"] * 5 + ["Monocyte"],
                "Well": [0, 0, 0, 1, 2, 2],
                "SPRING-x": np.arange(6.0),
                "SPRING-y": np.arange(6.0) * 2,
            }
        )
        with gzip.open(paths[2], "wt") as file:
            metadata.to_csv(file, sep="\t", index=False)
        return paths, x

    return write


@pytest.mark.parametrize("transposed", [False, True])
def test_larry(larry, transposed):
    paths, x = larry(transposed)
    adata = read_larry(paths)
    np.testing.assert_allclose(adata.X.toarray(), x, rtol=1e-5)
    assert adata.X.dtype == np.float32
    assert adata.obs["clone"].tolist() == ["clone_0"] * 3 + [np.nan, "clone_2", np.nan]
    assert adata.obs["clone_status"].tolist() == ["single"] * 3 + ["multiple", "single", "none"]
    assert adata.obs["start_population"].tolist() == ["LK"] * 4 + ["LSK"] * 2
    assert adata.obs["day"].tolist() == [2, 2, 2, 6, 6, 6]
    assert adata.obsm["X_clone"].shape == (6, 3)
    assert adata.obsm["X_spring"][5].tolist() == [5, 10]
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    assert read_larry(paths, multiple="combine").obs["clone"].iloc[3] == "clone_1+clone_2"


def test_larry_as_the_paper_takes_it(larry, tmp_path):
    adata = read_larry(larry()[0])
    before = adata.copy()
    prepared = scgde.datasets.prepare_larry(adata)
    assert unchanged(adata, before)
    assert prepared.obs_names.tolist() == adata.obs_names[:3].tolist()
    # Normalised already: one factor for all, so each cell's total stays what it was.
    np.testing.assert_allclose(np.expm1(prepared.X.toarray()).sum(1), 1e4, rtol=1e-3)
    prepared.write_h5ad(tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").obs["clone"].tolist() == ["clone_0"] * 3
    with pytest.raises(ValueError, match="min_cells=4: the largest clone of a day has 3"):
        scgde.datasets.prepare_larry(adata, min_cells=4)
    del adata.obs["day"]
    with pytest.raises(KeyError, match="column='day'"):
        scgde.datasets.prepare_larry(adata)


def test_larry_files_that_do_not_fit(larry):
    paths, _ = larry()
    paths[1].write_bytes(gzip.compress(b"Gata1\nSpi1\n"))
    with pytest.raises(ValueError, match="6 cells x 2 genes"):
        read_larry(paths)
    paths[2].write_bytes(gzip.compress(b"Library\tWell\nA\t1\n"))
    with pytest.raises(KeyError, match="column='Cell barcode'"):
        read_larry(paths)


def test_counts_of_larry_are_normalised_by_cell():
    adata = scgde.datasets.load("weinreb2020")
    prepared = scgde.datasets.prepare_larry(adata, 10_000)
    np.testing.assert_allclose(np.expm1(prepared.X).sum(1), 1e4, rtol=1e-3)
    sizes = prepared.obs.groupby(["clone", "day"], observed=True).size()
    assert sizes.min() == 3


def test_kang(tmp_path):
    obs = pd.DataFrame(
        {"replicate": ["patient_1015", "patient_1256"], "label": ["ctrl", "stim"]}, index=["a", "b"]
    )
    AnnData(sp.csr_matrix(counts(2, 3)), obs=obs).write_h5ad(tmp_path / "a.h5ad")
    options = scgde.datasets.info("kang2018")["reader_kwargs"]
    adata = read_paired_conditions([tmp_path / "a.h5ad"], **options)
    assert adata.obs["condition"].tolist() == ["control", "stimulated"]
    assert adata.obs["donor"].tolist() == ["patient_1015", "patient_1256"]
    with pytest.raises(ValueError, match="does not name 'stim'"):
        read_paired_conditions(
            [tmp_path / "a.h5ad"], **options | {"conditions": {"ctrl": "control"}}
        )
    with pytest.raises(KeyError, match="donor"):
        read_paired_conditions([tmp_path / "a.h5ad"], **options | {"donor_key": "donor"})


@pytest.fixture
def psychad(tmp_path):
    """As CELLxGENE keeps PsychAD: normalised .X, counts in .raw, donors of unequal size."""
    x = counts(30, 5)
    adata = AnnData(sp.csr_matrix(x))
    adata.obs["donor_id"] = pd.Categorical(["Donor_1"] * 20 + ["Donor_2"] * 8 + ["Donor_3"] * 2)
    adata.raw = adata.copy()
    adata.X = adata.X.log1p()
    adata.write_h5ad(tmp_path / "hbcc.h5ad")
    return tmp_path / "hbcc.h5ad", x


def test_counts_come_from_raw(psychad):
    path, x = psychad
    adata = read_cellxgene([path])
    np.testing.assert_array_equal(adata.X.toarray(), x)
    assert adata.raw is None


def test_some_cells_of_each_donor(psychad):
    path, x = psychad
    some = read_cellxgene([path], cells_per_donor=5, seed=1)
    assert some.obs["donor_id"].value_counts().to_dict() == {
        "Donor_1": 5,
        "Donor_2": 5,
        "Donor_3": 2,
    }
    np.testing.assert_array_equal(some.X.toarray(), x[some.obs_names.astype(int)])
    assert (np.diff(some.obs_names.astype(int)) > 0).all()
    again = read_cellxgene([path], cells_per_donor=5, seed=1)
    other = read_cellxgene([path], cells_per_donor=5, seed=2)
    assert again.obs_names.equals(some.obs_names)
    assert not other.obs_names.equals(some.obs_names)
    with pytest.raises(KeyError, match="donor_key='donor'"):
        read_cellxgene([path], cells_per_donor=5, donor_key="donor")
    with pytest.raises(ValueError, match="cells_per_donor=0"):
        read_cellxgene([path], cells_per_donor=0)


def test_no_counts_anywhere():
    adata = AnnData(counts(3, 2) / 3)
    with pytest.raises(ValueError, match=r"Neither adata.X nor adata.raw.X"):
        scgde.datasets.counts_in_x(adata)
    with pytest.raises(ValueError, match="does not hold counts"):
        scgde.datasets.variable_log_counts(adata)


def test_donors_are_joined(psychad):
    adata = read_cellxgene([psychad[0]])
    table = pd.DataFrame(
        {"Braak": [0.0, np.nan, 6.0], "Diagnosis": ["AD", None, "SCZ"], "Cohort": "HBCC"},
        index=["Donor_1", "Donor_2", "Donor_3"],
    )
    before = adata.copy()
    joined = scgde.datasets.join_donors(adata, table)
    assert unchanged(adata, before)
    assert joined.obs["Diagnosis"].value_counts().to_dict() == {"AD": 20, "SCZ": 2}
    assert joined.obs.loc[joined.obs["donor_id"] == "Donor_3", "Braak"].tolist() == [6.0, 6.0]
    assert joined.obs["Diagnosis"].isna().sum() == 8
    with pytest.raises(ValueError, match="no row for 'Donor_3'"):
        scgde.datasets.join_donors(adata, table[:2])
    with pytest.raises(ValueError, match="obs already"):
        scgde.datasets.join_donors(joined, table)
    with pytest.raises(ValueError, match="more than once: 'Donor_1'"):
        scgde.datasets.join_donors(adata, pd.concat([table, table[:1]]))


def test_genes_are_chosen_on_training_cells_only():
    x = RNG.poisson(5.0, (40, 60)).astype(np.float32)
    held_out = np.arange(40) >= 30
    x[held_out, :5] *= RNG.choice([0, 40], (10, 5))
    adata = AnnData(x)
    before = adata.copy()
    fitted = scgde.datasets.variable_log_counts(adata, 5, fit_on=~held_out)
    everything = scgde.datasets.variable_log_counts(adata, 5)
    assert unchanged(adata, before)
    changed = adata.copy()
    changed.X[held_out] = 1
    again = scgde.datasets.variable_log_counts(changed, 5, fit_on=~held_out)
    assert again.var_names.equals(fitted.var_names)
    leaking = scgde.datasets.variable_log_counts(changed, 5)
    assert not leaking.var_names.equals(everything.var_names)
    np.testing.assert_array_equal(fitted.layers["counts"], x[:, fitted.var_names.astype(int)])
    np.testing.assert_allclose(
        fitted.X,
        np.log1p(1e4 * x / x.sum(1, keepdims=True))[:, fitted.var_names.astype(int)],
        rtol=1e-5,
    )
    sparse = AnnData(sp.csr_matrix(x))
    assert scgde.datasets.variable_log_counts(sparse, 5).var_names.equals(everything.var_names)
    with pytest.raises(ValueError, match="fit_on must be a mask of the 40 cells"):
        scgde.datasets.variable_log_counts(adata, 5, fit_on=np.arange(3))


@pytest.mark.filterwarnings("ignore:invalid value encountered in log:RuntimeWarning")
def test_exactly_as_many_genes_as_asked_for_and_all_if_there_are_no_more():
    x = np.ones((10, 6), dtype=np.float32)  # every gene alike: nothing but ties
    assert with_variable_genes(AnnData(x), 2).n_vars == 2
    assert with_variable_genes(AnnData(x), 7).n_vars == 6
