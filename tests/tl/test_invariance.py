from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

import scgde
from scgde.encoders import ENCODERS

from ..conftest import fit, normal_populations


def trained_on(adata, encoder="mean", **kwargs):
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, encoder, "energy", n_latent=6, n_hidden=16, **kwargs)
    fit(model, max_steps=2)
    return model


def report(model, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scgde.tl.invariance_report(model, enable_progress_bar=False, **kwargs)


@pytest.mark.parametrize("encoder", ENCODERS.names())
def test_every_encoder_is_certified(encoder):
    model = trained_on(normal_populations(8, 40), encoder)
    table = report(model, n_draws=3, sizes=[5, 10, 20])
    assert list(table.loc[["order", "repetition", "weights"], "passed"]) == ["yes"] * 3
    assert (table.loc[["order", "repetition", "weights"], "value"] < 1e-4).all()
    low, value, high = table.loc["slope", ["low", "value", "high"]]
    assert low < value < high
    assert table.loc["slope", "passed"] == "yes"


def test_the_drift_of_a_mean_is_that_of_the_central_limit_theorem():
    """Standard deviation of a linear embedding of m cells, m/N included, is known exactly."""
    adata = normal_populations(10, 200)
    model = trained_on(adata)
    table = report(model, sizes=[10, 40, 100], n_draws=100, n_populations=10)
    drift = adata.uns["gde_invariance"]["drift"]
    spread = adata.uns["gde_invariance"]["params"]["between_population_sd"]
    _, cov = model.get_population_embedding(return_covariance=True)
    of_one_cell = np.sqrt(200 * np.trace(cov, axis1=1, axis2=2).mean()) / spread
    for m, values in drift.groupby("m")["drift"]:
        assert np.sqrt((values**2).mean()) == pytest.approx(of_one_cell / np.sqrt(m), rel=0.06)
    low, high = table.loc["slope", ["low", "high"]]
    assert low < -0.5 < high
    assert high - low < 0.1


def test_an_encoder_that_counts_cells_or_reads_their_order_fails(monkeypatch):
    model = trained_on(normal_populations(6, 40))
    encode = type(model.module.encoder).forward

    def by_number(self, x, w):
        return encode(self, x, w) + 0.1 * torch.log((w > 0).sum(1, keepdim=True))

    def by_order(self, x, w):
        return encode(self, x, w) + x[:, :1, 0]

    monkeypatch.setattr(type(model.module.encoder), "forward", by_number)
    with (
        pytest.warns(UserWarning, match="number of cells itself"),
        pytest.warns(UserWarning, match="weights"),
    ):
        table = scgde.tl.invariance_report(model, n_draws=2, enable_progress_bar=False)
    assert list(table.loc[["order", "repetition", "weights"], "passed"]) == ["yes", "no", "no"]
    monkeypatch.setattr(type(model.module.encoder), "forward", by_order)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        table = scgde.tl.invariance_report(model, n_draws=2, enable_progress_bar=False)
    assert any("order of cells" in str(w.message) for w in said)
    assert table.loc["order", "passed"] == "no"


def test_an_axis_that_follows_the_number_of_cells_is_found():
    adata = normal_populations(16, 60)
    size = adata.obs.groupby("population")["size"].first().rank()
    place = adata.obs.groupby("population").cumcount()
    adata = adata[(place < 12 + 3 * adata.obs["population"].map(size)).to_numpy()].copy()
    adata.X[:, 0] += 10 * adata.obs["size"]
    model = trained_on(adata)
    with pytest.warns(UserWarning, match="n_cells goes with axis PC1"):
        table = scgde.tl.invariance_report(model, n_axes=2, enable_progress_bar=False)
    assert table.loc["n_cells", "passed"] == "no"
    assert abs(table.loc["n_cells", "value"]) > 0.7
    assert table.loc["depth", "passed"] == "not applicable"
    assert "real-valued" in table.loc["depth", "note"]
    found = adata.uns["gde_invariance"]["correlations"]
    assert set(found["axis"]) == {"PC1", "PC2"}
    assert (found["p_adjusted"].dropna() >= found["p_value"].dropna() - 1e-12).all()


def test_depth_and_mitochondrial_share_of_counts(patients):
    patients.var_names = [f"MT-{i}" if i < 5 else name for i, name in enumerate(patients.var_names)]
    scgde.model.GDE.setup_anndata(patients, population_key="donor")
    model = scgde.model.GDE(patients, n_latent=6, n_hidden=16)
    fit(model)
    patients.obs["own"] = np.asarray(patients.X.sum(1)).ravel()
    table = report(model, obs_keys=["own"])
    assert table.loc["n_cells", "note"] == "the same in all populations"
    assert table.loc["depth", "value"] == pytest.approx(table.loc["own", "value"])
    assert np.isfinite(table.loc["mitochondrial_share", "value"])
    none = report(model, mito_prefix="mt-")
    assert "not available" in none.loc["mitochondrial_share", "note"]


def test_a_seed_reproduces_and_the_result_survives_a_file(trained, tmp_path):
    first, again = (report(trained, n_draws=2, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    trained.adata.write_h5ad(tmp_path / "a.h5ad")
    kept = anndata.read_h5ad(tmp_path / "a.h5ad").uns["gde_invariance"]
    pd.testing.assert_frame_equal(kept["checks"], first)
    assert list(kept["drift"].columns) == ["population", "n_cells", "m", "drift"]


def test_nothing_is_changed_and_other_data_will_do(trained):
    other = trained.adata[:320].copy()
    before = trained.get_population_embedding()
    table = scgde.tl.invariance_report(trained, other, n_draws=2, enable_progress_bar=False)
    assert "gde_invariance" not in trained.adata.uns
    pd.testing.assert_frame_equal(other.uns["gde_invariance"]["checks"], table)
    pd.testing.assert_frame_equal(trained.get_population_embedding(), before)


def test_mistakes_are_named(trained):
    for wrong, error, match in (
        ({"n_draws": 0}, ValueError, "n_draws=0"),
        ({"sizes": [30]}, ValueError, "two different"),
        ({"sizes": [10, 30]}, ValueError, "the largest has 40"),
        ({"sizes": [2.5, 5]}, TypeError, r"sizes\[0\]"),
        ({"obs_keys": ["agee"]}, KeyError, "age"),
        ({"obs_keys": ["severity"]}, ValueError, "not numeric"),
    ):
        with pytest.raises(error, match=match):
            scgde.tl.invariance_report(trained, enable_progress_bar=False, **wrong)
    two = trained.adata[trained.adata.obs["donor"].isin(["C19-CB-0001", "C19-CB-0002"])].copy()
    with pytest.raises(ValueError, match="least three"):
        scgde.tl.invariance_report(trained, two, enable_progress_bar=False)
