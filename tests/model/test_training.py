from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from lightning.pytorch.callbacks import Callback

import scgde

from ..conftest import fit, normal_populations

GDE = scgde.model.GDE


def build(adata, **kwargs):
    GDE.setup_anndata(adata, population_key="donor", labels_key="severity")
    return GDE(adata, **{"n_latent": 6, "n_hidden": 16, **kwargs})


def test_loss_falls_and_history_has_both_losses(patients):
    model = build(patients)
    fit(model, max_steps=200, plan_kwargs={"lr": 5e-3})
    for name in ("train_loss", "validation_loss", "train_generator_loss"):
        values = model.history[name][name].astype(float)
        assert len(values) == 2
        assert values.iloc[-1] < values.iloc[0]


def test_a_seeded_rerun_is_identical_to_the_bit(patients):
    embeddings, samples = [], []
    for seed in (1, 1, 2):
        np.random.seed(len(embeddings))  # noqa: NPY002 the global state must not matter
        torch.manual_seed(len(embeddings))
        model = build(patients, seed=seed)
        fit(model)
        embeddings.append(model.get_population_embedding())
        samples.append(model.sample("C19-CB-0002", 5).X.toarray())
    assert embeddings[0].equals(embeddings[1])
    assert np.array_equal(samples[0], samples[1])
    assert not embeddings[0].equals(embeddings[2])


def test_training_goes_on_where_it_stopped(patients):
    model = build(patients)
    fit(model)
    first = model.get_population_embedding()
    fit(model)
    assert model.steps_done_ == 8
    assert len(model.history["train_loss"]) == 2
    assert not first.equals(model.get_population_embedding())


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_dense_sparse_and_backed_give_the_same_model(patients, tmp_path, backed, dense):
    reference = build(patients.copy())
    fit(reference)
    if dense:
        patients.X = patients.X.toarray()
    if backed:
        patients.write_h5ad(tmp_path / "a.h5ad")
        patients = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    model = build(patients)
    fit(model)
    a, b = (m.get_population_embedding() for m in (reference, model))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert list(a.index) == list(b.index)


@pytest.mark.parametrize("likelihood", ["normal", "poisson", "nb", "zinb"])
@pytest.mark.parametrize("encoder", scgde.encoders.ENCODERS.names())
def test_every_encoder_with_every_likelihood(patients, encoder, likelihood):
    model = build(patients, encoder=encoder, generator_kwargs={"likelihood": likelihood})
    fit(model, max_steps=2)
    assert np.isfinite(model.get_population_embedding()).all(None)
    assert np.isfinite(model.sample("C19-CB-0002", 3).X.sum())


def test_populations_of_unequal_size_embed_from_all_their_cells(trained):
    """One at a time, padded together, or in chunks: the embedding is the same."""
    adata = trained.adata
    small = adata[(adata.obs["donor"] != "C19-CB-0002") | (np.arange(adata.n_obs) % 40 < 3)].copy()
    together = trained.get_population_embedding(small)
    for name in together.index[:3]:
        alone = trained.get_population_embedding(small, name, max_cells=1)
        np.testing.assert_allclose(alone.loc[name], together.loc[name], rtol=1e-3, atol=1e-5)


def test_streaming_equals_the_whole(trained, monkeypatch):
    whole = trained.get_population_embedding()
    monkeypatch.setattr("scgde.model._populations.CHUNK", 7)
    np.testing.assert_allclose(
        trained.get_population_embedding(max_cells=10), whole, rtol=1e-3, atol=1e-5
    )


def test_validation_holds_out_populations_donors_or_cells(patients):
    patients.obs["pair"] = patients.obs["donor"].cat.codes // 2
    GDE.setup_anndata(patients, population_key="donor", donor_key="pair")
    for unit, column in ((None, "pair"), ("population", "donor")):
        model = GDE(patients, n_latent=4, n_hidden=8)
        fit(model, validation=unit, train_size=0.7)
        groups = patients.obs[column].to_numpy()
        assert not set(groups[model.train_indices]) & set(groups[model.validation_indices])
        assert len(model.validation_indices)
    model = GDE(patients, n_latent=4, n_hidden=8)
    fit(model, validation="cell", train_size=0.75)
    assert (patients.obs["donor"].iloc[model.validation_indices].value_counts() == 10).all()


def test_training_that_goes_on_keeps_the_split(patients, tmp_path):
    GDE.setup_anndata(patients, population_key="donor")
    model = GDE(patients, n_latent=4, n_hidden=8)
    fit(model, train_size=0.7, seed=0)
    held_out = model.validation_indices
    model.save(tmp_path / "m")
    model = GDE.load(tmp_path / "m", adata=patients)
    fit(model, train_size=0.9, seed=1, validation="cell")
    np.testing.assert_array_equal(model.validation_indices, held_out)
    names = set(patients.obs["donor"].iloc[held_out])
    assert names.isdisjoint(model.trained_populations_)
    # A new model of the same design repeats both runs.
    again = model.refit(patients.copy())
    assert again.steps_done_ == model.steps_done_
    np.testing.assert_array_equal(again.validation_indices, held_out)


def test_early_stopping_keeps_the_best_weights(patients):
    model = build(patients)
    fit(
        model,
        max_steps=2_000,
        early_stopping=True,
        early_stopping_patience=1,
        plan_kwargs={"lr": 0.5},
        gradient_clip_val=None,
        train_size=0.7,
    )
    losses = model.history["validation_loss"]["validation_loss"].astype(float)
    assert len(losses) < 20
    assert losses.iloc[-1] > losses.min()


def test_moving_average_replaces_the_weights(patients):
    plain, averaged = build(patients), build(patients)
    fit(plain)
    fit(averaged, plan_kwargs={"ema_decay": 0.9})
    assert not plain.get_population_embedding().equals(averaged.get_population_embedding())


def test_label_head_learns_the_labels_and_leaves_the_unlabelled_out():
    adata = normal_populations(24)
    adata.obs.loc[adata.obs["population"].isin([f"p{i}" for i in range(6)]), "group"] = None
    GDE.setup_anndata(adata, population_key="population", labels_key="group")
    model = GDE(adata, n_latent=4, n_hidden=16, label_head=True)
    fit(model, max_steps=400, cells_per_population=30, plan_kwargs={"lr": 5e-3}, train_size=1.0)
    hard, soft = model.predict_labels(), model.predict_labels(soft=True)
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-5)
    truth = (
        normal_populations(24).obs.drop_duplicates("population").set_index("population")["group"]
    )
    assert (hard == truth[hard.index]).mean() > 0.9
    assert model.predict_labels(populations=["p3"]).index.tolist() == ["p3"]


class _Interrupt(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 3:
            raise KeyboardInterrupt


def test_interrupted_training_leaves_a_usable_model(patients, tmp_path):
    model = build(patients)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(model, max_steps=50, callbacks=[_Interrupt()])
    assert signal.getsignal(signal.SIGINT) is handler
    assert model.is_trained
    assert model.steps_done_ == 3
    assert np.isfinite(model.get_population_embedding()).all(None)
    model.save(tmp_path / "m")
    fit(model)
    assert model.steps_done_ == 7


def test_a_real_ctrl_c_ends_training_and_nothing_else(tmp_path):
    """In a process of its own: the signal arrives in the middle of a step."""
    script = textwrap.dedent(
        """
        import os, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may ignore it
        import scgde
        adata = scgde.datasets.load("schulteschrepping2020")
        scgde.model.GDE.setup_anndata(adata, population_key="donor")
        model = scgde.model.GDE(adata, n_latent=4, n_hidden=8)
        from lightning.pytorch.callbacks import Callback
        class Start(Callback):
            def on_train_batch_end(self, trainer, *args):
                if trainer.global_step == 2:
                    os.kill(os.getpid(), signal.SIGINT)
        try:
            model.train(max_steps=100000, callbacks=[Start()], enable_progress_bar=False)
        except KeyboardInterrupt:
            print("usable", model.get_population_embedding().shape, model.steps_done_ < 100)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, env=os.environ
    )
    assert "usable (15, 4) True" in done.stdout, done.stderr


def test_size_factors_stand_in_for_totals(patients):
    totals = np.asarray(patients.X.sum(1)).ravel()
    patients.obs["size"] = totals / totals.mean()
    GDE.setup_anndata(patients, population_key="donor", size_factor_key="size")
    by_factor = GDE(patients, n_latent=6, n_hidden=16)
    fit(by_factor)
    drawn = np.asarray(by_factor.sample(n_cells=200).X.sum(1)).ravel()
    assert 0.5 < drawn.mean() / totals.mean() < 2


def test_layer_and_representation(patients):
    patients.layers["raw"] = patients.X.copy()
    patients.X = np.log1p(patients.X.toarray())
    GDE.setup_anndata(patients, population_key="donor", layer="raw")
    assert GDE(patients).module.generator.space == "counts"
    GDE.setup_anndata(patients, population_key="donor")
    assert GDE(patients).module.generator.space == "real"
    patients.obsm["X_pca"] = pd.DataFrame(
        np.random.default_rng(0).normal(size=(patients.n_obs, 4)),
        index=patients.obs_names,
        columns=list("abcd"),
    )
    GDE.setup_anndata(patients, population_key="donor", use_rep="X_pca")
    model = GDE(patients, n_latent=4, n_hidden=8)
    fit(model)
    cells = model.sample("C19-CB-0002", 6)
    assert isinstance(cells, AnnData)
    assert list(cells.var_names) == list("abcd")


def test_cells_in_no_population_are_never_used(patients):
    clones = patients.obs["donor"].astype(object)
    clones[::4] = None
    patients.obs["clone"] = clones
    GDE.setup_anndata(patients, population_key="clone")
    model = GDE(patients, n_latent=4, n_hidden=8)
    fit(model)
    assert not set(np.arange(0, patients.n_obs, 4)) & set(model.train_indices)
    scgde.tl.embed_populations(patients, model)
    assert np.isnan(patients.obsm["X_gde"][::4]).all()
    assert np.isfinite(patients.obsm["X_gde"][1::4]).all()


def test_mixed_precision_trains(patients):
    """In bfloat16, which a CPU has too: gradients are clipped and the optimiser is fused."""
    model = build(patients)
    fit(model, max_steps=60, precision="bf16-mixed", plan_kwargs={"lr": 5e-3})
    assert model.history["train_loss"]["train_loss"].astype(float).notna().all()
    assert model.get_population_embedding().dtypes.eq("float32").all()
