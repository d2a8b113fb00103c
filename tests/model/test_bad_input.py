"""Every mistake is met at the door: the argument, the value, the remedy; nothing is written."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

import scgde

from ..conftest import fit

GDE = scgde.model.GDE


def refuses(adata, error, match, **arguments):
    before = list(adata.obs.columns), list(adata.uns)
    with pytest.raises(error, match=match):
        GDE.setup_anndata(adata, **{"population_key": "donor", **arguments})
    assert (list(adata.obs.columns), list(adata.uns)) == before


@pytest.mark.parametrize(
    ("argument", "value", "match"),
    [
        ("population_key", "dnor", "Did you mean 'donor'"),
        ("population_key", ["donor", "dya"], "population_key='dya'"),
        ("labels_key", "severty", "Did you mean 'severity'"),
        ("batch_key", "sx", "Did you mean 'sex'"),
        ("donor_key", "patient", "donor_key='patient' is not in adata.obs"),
        ("size_factor_key", "size", "size_factor_key='size'"),
        ("layer", "count", "Did you mean 'counts'"),
        ("use_rep", "X_pc", "Did you mean 'X_pca'"),
    ],
)
def test_misspelt_key(patients, argument, value, match):
    patients.layers["counts"] = patients.X.copy()
    patients.obsm["X_pca"] = np.zeros((patients.n_obs, 2))
    refuses(patients, KeyError, match, **{argument: value})


def test_layer_and_representation_together(patients):
    patients.obsm["X_pca"] = np.zeros((patients.n_obs, 2))
    refuses(patients, ValueError, "both given", layer="counts", use_rep="X_pca")


def test_unknown_argument(patients):
    refuses(patients, TypeError, "unknown arguments 'label_key'", label_key="severity")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers(patients, bad):
    patients.X.data[17] = bad
    refuses(patients, ValueError, "NaN or infinite")


def test_view(patients):
    refuses(patients[:100], ValueError, r"adata = adata\.copy\(\)")


def test_wrong_container(patients):
    with pytest.raises(TypeError, match="setup_mudata"):
        GDE.setup_anndata(MuData({"rna": patients}), population_key="donor")
    with pytest.raises(TypeError, match="setup_anndata"):
        GDE.setup_mudata(patients, population_key="donor")


def test_mudata_without_a_modality_for_the_cells(patients):
    with pytest.raises(ValueError, match="one of 'rna'"):
        GDE.setup_mudata(MuData({"rna": patients}), population_key="donor")


def test_label_that_varies_within_a_population(patients):
    patients.obs["type"] = np.where(np.arange(patients.n_obs) % 2, "T", "B")
    refuses(patients, ValueError, "varies within 15 populations", labels_key="type")


def test_donor_that_varies_within_a_population(patients):
    patients.obs["mouse"] = np.arange(patients.n_obs) % 3
    refuses(patients, ValueError, "donor_key='mouse' varies", donor_key="mouse")


def test_batch_with_missing_values(patients):
    patients.obs["plate"] = pd.Series(["a", None] * 300, index=patients.obs_names)
    refuses(patients, ValueError, "300 cells have no value", batch_key="plate")


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_size_factor_that_is_not_positive(patients, value):
    patients.obs["size"] = 1.0
    patients.obs.iloc[3, -1] = value
    refuses(patients, ValueError, "1 cells have a missing, zero", size_factor_key="size")


def test_no_population_at_all(patients):
    patients.obs["clone"] = pd.Series(
        [None] * patients.n_obs, index=patients.obs_names, dtype=object
    )
    with pytest.raises(ValueError, match="leaves no population"):
        GDE.setup_anndata(patients, population_key="clone")


def test_empty_populations_are_left_out_with_a_warning(patients):
    patients.obs["donor"] = patients.obs["donor"].cat.add_categories(["nobody"])
    with pytest.warns(UserWarning, match=r"'nobody'.*remove_unused_categories"):
        GDE.setup_anndata(patients, population_key="donor")
    model = GDE(patients, n_latent=4, n_hidden=8)
    fit(model)
    assert len(model.get_population_embedding()) == 15


def test_one_population_only(patients):
    patients.obs["all"] = "everyone"
    GDE.setup_anndata(patients, population_key="all")
    with pytest.raises(ValueError, match=r"one population only \('everyone'\)"):
        fit(GDE(patients, n_latent=4, n_hidden=8))


@pytest.mark.parametrize("bad", [-1.0, 0.5])
def test_count_likelihood_on_what_is_no_counts(patients, bad):
    patients.X.data[5] = bad
    GDE.setup_anndata(patients, population_key="donor")
    with pytest.raises(ValueError, match="likelihood='normal'"):
        GDE(patients, generator_kwargs={"likelihood": "nb"})
    assert GDE(patients).module.generator.space == "real"  # "auto" takes what fits


def test_cells_without_counts(patients, trained):
    patients.X = sp.vstack([patients.X[:-2], sp.csr_matrix((2, 60), dtype=np.float32)]).tocsr()
    GDE.setup_anndata(patients, population_key="donor")
    with pytest.raises(ValueError, match=r"2 cells have no counts.*min_counts=1"):
        GDE(patients)
    with pytest.raises(ValueError, match="2 cells have no counts"):
        trained.get_population_embedding(patients)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"encoder": "resnet_gn"}, "Did you mean 'resnet_gnn'"),
        ({"generator": "cave"}, "Did you mean 'cvae'"),
        ({"generator_kwargs": {"likelihood": "nbb"}}, "Did you mean 'nb'"),
        ({"label_head": True}, "labels_key"),
    ],
)
def test_bad_model_arguments(patients, arguments, match):
    GDE.setup_anndata(patients, population_key="donor")
    with pytest.raises(ValueError, match=match):
        GDE(patients, **arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"train_size": 0.0}, "train_size"),
        ({"train_size": 1.0, "early_stopping": True}, "Lower train_size"),
        ({"validation": "donor"}, "donor_key"),
        ({"validation": "patient"}, "validation='patient'"),
        ({"draw": "both"}, "draw='both'"),
        ({"cells_per_population": 0}, "cells_per_population=0"),
        ({"max_steps": 0}, "max_steps=0"),
        ({"plan_kwargs": {"lr": -1.0}}, "lr=-1.0"),
    ],
)
def test_bad_training_arguments(patients, arguments, match):
    GDE.setup_anndata(patients, population_key="donor")
    with pytest.raises(ValueError, match=match):
        fit(GDE(patients, n_latent=4, n_hidden=8), **arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"lr": 1e-3}, r"plan_kwargs=\{'lr': 0.001\}"),
        ({"plan_kwargs": {"learning_rate": 1e-3}}, "'lr'"),
        ({"batchsize": 128}, "no argument 'batchsize'"),
        ({"n_epochs": 3}, "'max_epochs'"),
    ],
)
def test_training_arguments_that_are_none(patients, arguments, match):
    GDE.setup_anndata(patients, population_key="donor")
    with pytest.raises(TypeError, match=match):
        fit(GDE(patients, n_latent=4, n_hidden=8), **arguments)
    scgde.model.RegularizedAE.setup_anndata(patients)
    with pytest.raises(TypeError, match=match):
        scgde.model.RegularizedAE(patients).train(**(arguments | {"max_steps": 1}))


def test_sizes_of_a_model(patients):
    GDE.setup_anndata(patients, population_key="donor")
    with pytest.raises(ValueError, match="n_latent=0"):
        GDE(patients, n_latent=0)
    with pytest.raises(TypeError, match="n_hidden='16'"):
        GDE(patients, n_hidden="16")


def test_what_is_no_data(trained, tmp_path):
    file = r"anndata.read_h5ad\('a.h5ad'\)"
    with pytest.raises(TypeError, match=file):
        GDE("a.h5ad")
    with pytest.raises(TypeError, match=file):
        trained.get_population_embedding("a.h5ad")
    with pytest.raises(TypeError, match="got list"):
        trained.get_population_embedding(["C19-CB-0002"])
    trained.save(tmp_path / "model")
    with pytest.raises(TypeError, match=file):
        GDE.load(tmp_path / "model", "a.h5ad")
    with pytest.raises(TypeError, match="order is embed_populations"):
        scgde.tl.embed_populations(trained, trained.adata)
    one = trained.get_population_embedding().iloc[0]
    with pytest.raises(TypeError, match=r"embedding.loc\[\['C19-CB-0002'\]\]"):
        trained.sample(one)


def test_counts_that_lie_in_a_layer(patients):
    patients.layers["scaled"] = patients.X * 0.5
    patients.layers["mask"] = patients.X.toarray() > 0
    patients.layers["raw_counts"] = patients.X.copy()
    patients.X = scgde.data.log_normalized(patients.X)
    with pytest.warns(UserWarning, match=r"layer='raw_counts'"):
        GDE.setup_anndata(patients, population_key="donor")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GDE.setup_anndata(patients, population_key="donor", layer="raw_counts")
        del patients.layers["raw_counts"]
        GDE.setup_anndata(patients, population_key="donor")


def test_unknown_population(trained):
    with pytest.raises(KeyError, match="Did you mean 'C19-CB-0002'"):
        trained.get_population_embedding(populations="C19-CB-00002")
    with pytest.raises(ValueError, match="n_cells=0"):
        trained.sample("C19-CB-0002", 0)


def test_prediction_without_a_head(trained):
    with pytest.raises(ValueError, match="label_head=True"):
        trained.predict_labels()


def test_not_set_up(patients):
    with pytest.raises(ValueError, match="setup_anndata"):
        GDE(AnnData(patients.X.copy()))


def test_untrained_model_warns(patients):
    GDE.setup_anndata(patients, population_key="donor")
    with pytest.warns(UserWarning, match="not been trained|untrained"):
        GDE(patients, n_latent=4, n_hidden=8).get_population_embedding()
    with pytest.raises(RuntimeError, match=r"model\.train\(\)"):
        scgde.tl.embed_populations(patients, GDE(patients, n_latent=4, n_hidden=8))
    assert "gde" not in patients.uns


@pytest.mark.parametrize(
    ("kind", "name", "option", "meant"),
    [
        ("generator", "cvae", "n_layer", "n_layers"),
        ("generator", "energy", "n_layer", "n_layers"),
        ("generator", "wormhole", "n_partner", "n_partners"),
        ("encoder", "wormhole", "n_head", "n_heads"),
        ("encoder", "kernel_mean", "bandwith", "bandwidth"),
    ],
)
def test_unknown_options_of_encoders_and_generators(patients, kind, name, option, meant):
    scgde.model.GDE.setup_anndata(patients, population_key="donor")
    with pytest.raises(ValueError, match=rf"{kind}_kwargs='{option}'.*'{meant}'"):
        scgde.model.GDE(patients, **{kind: name, f"{kind}_kwargs": {option: 2}})
