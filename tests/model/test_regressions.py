"""Mistakes once made, each on the smallest input that showed it."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from mudata import MuData

import scgde
from scgde.tl import classify_populations, embed_populations

from ..conftest import fit, normal_populations

GDE = scgde.model.GDE


def small(adata, **setup):
    GDE.setup_anndata(adata, **{"population_key": "donor", **setup})
    return GDE(adata, n_latent=4, n_hidden=8)


def test_a_modality_in_another_order_is_refused(patients):
    rng = np.random.default_rng(0)
    shuffled = patients[rng.permutation(patients.n_obs), 40:].copy()
    mdata = MuData({"rna": patients[:, :40].copy(), "protein": shuffled})
    mdata.obs["donor"] = patients.obs["donor"].reindex(mdata.obs_names)
    with pytest.raises(ValueError, match="'protein' are not those of the MuData in the same order"):
        GDE.setup_mudata(mdata, population_key="donor", modalities={"layer": "protein"})


def test_labels_of_a_modality_are_checked_too(patients):
    mdata = MuData({"rna": patients.copy()})
    mdata.obs["donor"] = patients.obs["donor"]
    mdata["rna"].obs["coin"] = np.where(np.arange(patients.n_obs) % 2, "x", "y")
    for argument in ("labels_key", "donor_key"):
        with pytest.raises(ValueError, match=f"{argument}='coin' varies"):
            GDE.setup_mudata(
                mdata,
                population_key="donor",
                **{argument: "coin"},
                modalities={"layer": "rna", argument: "rna"},
            )


def test_donors_are_those_of_the_present_setup(patients):
    patients.obs["pair"] = patients.obs["donor"].cat.codes // 2
    small(patients, donor_key="pair")
    model = small(patients)
    with pytest.raises(ValueError, match="donor_key"):
        fit(model, validation="donor")


def test_donors_in_a_modality_are_held_out_whole(patients):
    mdata = MuData({"rna": patients.copy()})
    mdata.obs["donor"] = patients.obs["donor"]
    mdata["rna"].obs["pair"] = (patients.obs["donor"].cat.codes // 2).to_numpy()
    GDE.setup_mudata(
        mdata,
        population_key="donor",
        donor_key="pair",
        modalities={"layer": "rna", "donor_key": "rna"},
    )
    model = GDE(mdata, n_latent=4, n_hidden=8)
    fit(model, train_size=0.7)
    pairs = mdata["rna"].obs["pair"].to_numpy()
    assert not set(pairs[model.train_indices]) & set(pairs[model.validation_indices])
    assert len(model.validation_indices)


def test_new_data_without_donors_embeds(patients):
    patients.obs["pair"] = patients.obs["donor"].cat.codes // 2
    model = small(patients, donor_key="pair")
    fit(model)
    new = patients.copy()
    del new.obs["pair"]
    assert np.isfinite(model.get_population_embedding(new)).all(None)


def test_counts_are_asked_of_new_data_too(trained):
    new = trained.adata.copy()
    new.X = new.X.log1p()
    with pytest.raises(ValueError, match="not counts"):
        trained.get_population_embedding(new)


def test_counts_in_a_representation(patients):
    patients.obsm["protein"] = patients.X[:, :5].toarray() + 1
    GDE.setup_anndata(patients, population_key="donor", use_rep="protein")
    assert GDE(patients).module.generator.space == "real"
    assert GDE(patients, generator_kwargs={"likelihood": "nb"}).module.generator.space == "counts"


def test_data_filtered_after_setup_is_noticed(patients):
    model = small(patients)
    fit(model)
    patients._inplace_subset_obs(patients.obs["donor"] != "C19-CB-0002")
    with pytest.raises(ValueError, match=r"without cells: 'C19-CB-0002'.*setup_anndata again"):
        model.get_population_embedding()


def test_columns_that_are_all_missing(patients):
    patients.obs["nothing"] = np.nan
    model = small(patients)
    fit(model)
    assert "nothing" not in model.get_population_table()


def test_values_that_read_alike(patients):
    patients.obs["mixed"] = pd.Series([1, "1"] * 300, index=patients.obs_names, dtype=object)
    with pytest.raises(ValueError, match="'mixed' has different values that read alike"):
        GDE.setup_anndata(patients, population_key="mixed")


def test_size_factors_as_text(patients):
    patients.obs["size"] = "1.5"
    with pytest.raises(ValueError, match="not numeric"):
        GDE.setup_anndata(patients, population_key="donor", size_factor_key="size")


def test_names_in_an_array_are_names(trained):
    names = trained.adata.obs["donor"].astype(str).unique()[:2]
    assert trained.sample(names, 3).n_obs == 6


def test_average_and_best_weights_exclude_each_other(patients):
    with pytest.raises(ValueError, match="choose one"):
        fit(small(patients), early_stopping=True, train_size=0.7, plan_kwargs={"ema_decay": 0.9})


def test_interrupted_training_uses_the_average(patients):
    class Interrupt(Callback):
        def on_train_batch_end(self, trainer, plan, *args):
            if trainer.global_step == 3:
                self.raw = {k: v.clone() for k, v in plan.module.state_dict().items()}
                raise KeyboardInterrupt

    stop, model = Interrupt(), small(patients)
    with pytest.raises(KeyboardInterrupt):
        fit(model, max_steps=50, callbacks=[stop], plan_kwargs={"ema_decay": 0.5, "lr": 0.01})
    weights = model.module.state_dict()
    assert any(not torch.equal(weights[k], stop.raw[k]) for k in weights)


def test_callbacks_are_not_kept_with_the_model(patients, tmp_path):
    model = small(patients)
    fit(model, callbacks=[Callback()], logger=False)
    assert "callbacks" not in model.training_runs_[0]
    assert model.is_trained
    model.save(tmp_path / "m")


def test_predicted_labels_have_the_type_of_the_labels():
    adata = normal_populations()
    adata.obs["ill"] = (adata.obs["group"] == "high").astype(int)
    GDE.setup_anndata(adata, population_key="population", labels_key="ill")
    model = GDE(adata, n_latent=4, n_hidden=8, label_head=True)
    fit(model)
    assert set(model.predict_labels()) <= {0, 1}
    assert list(model.predict_labels(soft=True).columns) == [0, 1]


def test_a_number_is_no_class():
    adata = normal_populations()
    GDE.setup_anndata(adata, population_key="population", labels_key="size")
    with pytest.raises(ValueError, match="number with 12 values"):
        GDE(adata, label_head=True)


def test_building_a_model_leaves_the_random_state_alone(patients):
    GDE.setup_anndata(patients, population_key="donor")
    state = torch.get_rng_state()
    GDE(patients, n_latent=4, n_hidden=8)
    assert torch.equal(state, torch.get_rng_state())


def test_inductive_needs_no_embedding_and_works_on_backed_data(tmp_path):
    adata = normal_populations()
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    GDE.setup_anndata(backed, population_key="population")
    model = GDE(backed, n_latent=4, n_hidden=8)
    fit(model)
    table = classify_populations(
        backed, "group", setting="inductive", model=model, baselines=["majority"], n_splits=2
    )
    assert set(table.setting) == {"inductive", "no cells"}


def test_unlabelled_populations_are_on_the_map(trained):
    adata = trained.adata.copy()
    first = adata.obs["donor"] == "C19-CB-0002"
    adata.obs["label"] = adata.obs["severity"].astype(object).where(~first)
    embed_populations(adata, trained)
    ax = scgde.pl.population_map(adata, color="label")
    assert sum(len(c.get_offsets()) for c in ax.collections) == 15
    assert "unknown" in [t.get_text() for t in ax.get_legend().get_texts()]


def test_a_value_stored_in_two_parts(trained):
    x = trained.adata.X.tocoo()
    parts = [np.concatenate([a, a[:50]]) for a in (x.data, x.row, x.col)]
    parts[0][:50] -= parts[0][:50] // 2
    parts[0][-50:] //= 2
    order = np.argsort(parts[1], kind="stable")
    data, row, col = (p[order] for p in parts)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=x.shape[0]))])
    doubled = trained.adata.copy()
    doubled.X = type(trained.adata.X)((data, col, indptr), shape=x.shape)
    assert doubled.X.nnz == x.nnz + 50
    np.testing.assert_allclose(
        trained.get_population_embedding(doubled),
        trained.get_population_embedding(),
        rtol=1e-4,
        atol=1e-5,
    )
