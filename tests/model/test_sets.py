"""Set priors end to end: sets along a continuum, behind noisy labels, as mixtures."""

from __future__ import annotations

import json
from dataclasses import dataclass

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from scipy.stats import spearmanr

import scgde
from scgde.data import SET_PRIORS, KernelSets, LabelSets, NoisyLabelSets, SetPrior

from ..conftest import fit, normal_populations

GDE = scgde.model.GDE
KERNEL = {"name": "kernel", "key": "time", "bandwidth": 0.5}
NOISY = {
    "name": "noisy_label",
    "key": "measured",
    "noise": "Normal",
    "noise_kwargs": {"scale": 0.5},
}
MIXTURE = {"name": "mixture", "k": 2}
every_prior = pytest.mark.parametrize("sets", [KERNEL, NOISY, MIXTURE], ids=lambda s: s["name"])


def continuum(n_cells=1_200, counts=False, seed=0) -> AnnData:
    """Cells whose distribution moves along a curve with time; ten donors, and a place."""
    rng = np.random.default_rng(seed)
    time = rng.uniform(0, 10, n_cells)
    mean = np.stack([0.6 * time, 2 * np.sin(time / 3), *np.zeros((4, n_cells))], 1)
    x = rng.poisson(np.exp(mean / 3 + 1)) if counts else mean + rng.normal(size=mean.shape)
    adata = AnnData(x.astype(np.float32))
    adata.obs["time"] = time
    adata.obs["measured"] = time + rng.normal(0, 0.5, n_cells)
    adata.obs["donor"] = [f"d{i}" for i in rng.integers(0, 10, n_cells)]
    angle = time * np.pi / 10  # half a circle: its ends are 2 apart
    adata.obsm["place"] = np.stack([np.cos(angle), np.sin(angle)], 1)
    return adata


def build(adata, sets=None, population_key=None, **kwargs):
    GDE.setup_anndata(adata, population_key=population_key)
    return GDE(adata, **{"n_latent": 4, "n_hidden": 16, "sets": sets, **kwargs})


def fit_well(model, **kwargs):
    fit(
        model,
        **{"max_steps": 150, "cells_per_population": 50, "plan_kwargs": {"lr": 5e-3}, **kwargs},
    )


def brief(adata, sets, population_key="donor", **kwargs):
    model = build(adata, sets, population_key, **kwargs)
    fit(model)
    return model


def some_values(sets):
    return np.full((2, 10), 0.1) if sets is MIXTURE else [2.0, 7.5]


def ordered_along(z, values):
    """Whether distances in an embedding rise with those of the values."""
    distance = np.linalg.norm(z.to_numpy()[:, None] - z.to_numpy(), axis=-1)
    away = abs(np.subtract.outer(values, values))
    pairs = np.triu_indices(len(values), 1)
    return spearmanr(distance[pairs], away[pairs]).statistic


@pytest.mark.parametrize(
    "sets", [KernelSets("time", 0.5), NoisyLabelSets("measured", "Normal", "loc", {"scale": 0.5})]
)
def test_the_embedding_follows_the_continuum(sets):
    model = build(continuum(), sets)
    fit_well(model)
    values = np.linspace(0.5, 9.5, 10)
    z = model.get_set_embedding(values)
    assert list(z.index) == [f"{v:g}" for v in values]
    assert z.index.name == "set"
    axis = z.to_numpy() - z.to_numpy().mean(0)
    axis = axis @ np.linalg.svd(axis)[2][0]
    assert abs(spearmanr(axis, values).statistic) > 0.98
    assert ordered_along(z, values) > 0.9
    # The generator puts the cells where those of that value are.
    cells = model.sample(z.iloc[[1, 8]], 400).to_df().groupby(np.repeat([0, 1], 400)).mean()
    np.testing.assert_allclose(cells["0"], 0.6 * values[[1, 8]], atol=0.7)


def test_coordinates():
    adata = continuum()
    model = build(adata, KernelSets("place", 0.15))
    fit_well(model)
    times = np.linspace(0.5, 9.5, 10)
    angle = times * np.pi / 10
    places = pd.DataFrame({"x": np.cos(angle), "y": np.sin(angle)}, [f"spot{i}" for i in range(10)])
    z = model.get_set_embedding(places)
    assert list(z.index) == list(places.index)
    assert ordered_along(z, times) > 0.9
    assert model.get_set_embedding(places.to_numpy()[:1]).index[0].startswith("(0.98")
    with pytest.raises(ValueError, match=r"value \(0, 0\) has no cell within reach"):
        model.get_set_embedding([[0.0, 0.0]])


def test_mixtures():
    model = build(normal_populations(), MIXTURE, "population")
    fit_well(model)
    names = model.get_population_embedding().index
    pure = pd.DataFrame(np.eye(12), index=names, columns=names)
    np.testing.assert_allclose(  # a mixture of one population is that population
        model.get_set_embedding(pure), model.get_population_embedding(), rtol=1e-4, atol=1e-5
    )
    weights = pd.DataFrame(
        {names[0]: [0.0, 0.5, 1.0], names[1]: [1.0, 0.5, 0.0]}, index=list("abc")
    )
    z = model.get_set_embedding(weights)
    assert list(z.index) == ["a", "b", "c"]
    ends = np.linalg.norm(z.loc["a"] - z.loc["c"])
    for end in "ac":
        assert 0.2 * ends < np.linalg.norm(z.loc["b"] - z.loc[end]) < 0.9 * ends


def test_labelled_sets_are_the_default_to_the_bit():
    adata = normal_populations()
    models = [brief(adata, sets, "population") for sets in (None, "label", LabelSets())]
    for model in models:
        assert model.history["validation_loss"].equals(models[0].history["validation_loss"])
        assert model.get_population_embedding().equals(models[0].get_population_embedding())
    with pytest.raises(ValueError, match="use get_population_embedding"):
        models[0].get_set_embedding([1.0])


def drawn_rows(model, monkeypatch, **kwargs):
    """Return all cells that training and validation would draw, and what else goes to fitting."""
    seen = []

    def look(plan, train_loader, validation_loader, **options):
        for loader in (train_loader, validation_loader):
            rows = []
            for epoch in range(5):
                loader.sampler.set_epoch(epoch)
                rows += [[d.context, d.target] for d in loader.sampler]
            seen.append(np.unique(rows))
            next(iter(loader))  # the data set's own check agrees
        return {}, 1, False

    monkeypatch.setattr("scgde.model._training.fit", look)
    fit(model, max_steps=40, train_size=0.7, **kwargs)
    return seen


@every_prior
@pytest.mark.parametrize("validation", ["population", "donor", "cell"])
def test_training_never_sees_what_is_held_out(sets, validation, monkeypatch):
    adata = continuum()
    adata.obs["pair"] = adata.obs["donor"].str[1:].astype(int) // 2
    GDE.setup_anndata(adata, population_key="donor", donor_key="pair")
    model = GDE(adata, n_latent=4, n_hidden=8, sets=sets)
    training, held_out = drawn_rows(model, monkeypatch, validation=validation)
    assert not set(training) & set(held_out)
    assert set(training) <= set(model.train_indices)
    assert set(held_out) <= set(model.validation_indices)
    assert len(training) > 400
    if validation != "cell":
        units = adata.obs["pair" if validation == "donor" else "donor"].to_numpy()
        assert not set(units[training]) & set(units[held_out])


@pytest.mark.parametrize("sets", [KERNEL, NOISY], ids=lambda s: s["name"])
def test_one_population_trains_on_most_of_its_cells(sets, monkeypatch):
    adata = continuum()
    adata.obs.loc[adata.obs_names[::3], ["time", "measured"]] = np.nan
    model = build(adata, sets)
    assert model.population_keys == []
    training, held_out = drawn_rows(model, monkeypatch)
    assert not set(training) & set(held_out)
    assert len(model.train_indices) == 560
    assert len(model.validation_indices) == 240
    assert not set(np.arange(0, 1200, 3)) & {*model.train_indices, *model.validation_indices}
    assert list(model.get_population_table().index) == ["all"]


def test_one_population_is_not_enough_to_be_the_set():
    with pytest.raises(ValueError, match=r"one population only \('all'\).*argument sets"):
        fit(build(continuum()))


def test_validation_loss_and_early_stopping():
    model = build(continuum(), KERNEL)
    fit(model, max_steps=200, early_stopping=True)
    assert model.history["validation_loss"]["validation_loss"].notna().all()
    with pytest.raises(ValueError, match="Lower train_size"):
        fit(build(continuum(), KERNEL), early_stopping=True, train_size=1.0)


@every_prior
def test_saved_loaded_and_fitted_again(sets, tmp_path):
    adata = continuum()
    model = brief(adata, sets)
    z = model.get_set_embedding(some_values(sets))
    model.save(tmp_path / "m")
    again = GDE.load(tmp_path / "m", adata=adata)
    assert again.get_set_embedding(some_values(sets)).equals(z)
    assert again.set_prior == model.set_prior
    twin = model.refit(adata.copy())
    assert twin.set_prior == model.set_prior
    assert twin.get_set_embedding(some_values(sets)).equals(z)
    # New cells without the prior's key still have populations.
    new = adata.copy()
    del new.obs["time"], new.obs["measured"]
    loaded = GDE.load(tmp_path / "m", adata=new)
    assert loaded.get_population_embedding().equals(model.get_population_embedding())
    if sets is not MIXTURE:
        with pytest.raises(KeyError, match=r"is not in adata\.obs"):
            loaded.get_set_embedding(some_values(sets))


@every_prior
def test_the_prior_is_kept_as_plain_values(sets):
    model = build(continuum(), sets, "donor")
    kept = model.init_params_["non_kwargs"]["sets"]
    assert type(kept) is dict
    assert kept == {**model.set_prior.to_dict(), **sets}
    assert json.loads(model.get_parameters()["sets"]) == kept


def test_a_seeded_rerun_is_identical():
    z = [brief(continuum(), KERNEL).get_set_embedding([1.0, 8.0]) for _ in range(2)]
    assert z[0].equals(z[1])


@every_prior
def test_streaming_equals_the_whole(sets, monkeypatch):
    model = brief(continuum(), sets)
    values = some_values(sets)
    whole = model.get_set_embedding(values)
    for one in range(2):
        alone = model.get_set_embedding(values[one : one + 1])
        np.testing.assert_allclose(alone.iloc[0], whole.iloc[one], rtol=1e-3, atol=1e-5)
    monkeypatch.setattr("scgde.model._populations.CHUNK", 17)
    streamed = model.get_set_embedding(values, max_cells=20)
    np.testing.assert_allclose(streamed, whole, rtol=1e-3, atol=1e-5)


def test_a_wide_kernel_is_the_population():
    adata = continuum()
    model = brief(adata, {**KERNEL, "bandwidth": 1e6}, population_key=None)
    np.testing.assert_allclose(
        model.get_set_embedding(5.0), model.get_population_embedding(), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("encoder", scgde.encoders.ENCODERS.names())
def test_every_encoder_takes_the_weights(encoder):
    """Cells of weight zero and cells counted twice: the embedding is that of the measure."""
    adata = continuum(n_cells=200)
    adata.obs["time"] = np.repeat([0.0, 1.0], [150, 50])
    model = build(adata, {**KERNEL, "bandwidth": 1.0}, encoder=encoder)
    fit(model, max_steps=2)
    once = model.get_set_embedding([0.0])
    late, weight = np.exp(-0.5), 150 + 50 * np.exp(-0.5)
    mixture = pd.DataFrame({"0": [150 / weight], "1": [50 * late / weight]})
    adata.obs["group"] = adata.obs["time"].astype(int).astype(str)
    mixed = build(adata, MIXTURE, "group", encoder=encoder)
    mixed.module, mixed.is_trained_ = model.module, True
    np.testing.assert_allclose(mixed.get_set_embedding(mixture), once, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_dense_sparse_and_backed_counts(tmp_path, backed, dense):
    adata = continuum(n_cells=400, counts=True)
    reference = brief(adata.copy(), KERNEL, None).get_set_embedding([3.0, 6.0])
    if not dense:
        adata.X = sp.csr_matrix(adata.X)
    if backed:
        adata.write_h5ad(tmp_path / "a.h5ad")
        adata = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    model = brief(adata, KERNEL, None)
    assert model.module.generator.space == "counts"
    z = model.get_set_embedding([3.0, 6.0])
    np.testing.assert_allclose(z, reference, rtol=1e-3, atol=1e-4)


def test_mudata_without_populations():
    adata = continuum(400)
    mdata = MuData({"rna": adata[:, :3].copy(), "protein": adata[:, 3:].copy()})
    mdata["rna"].obsm["place"] = adata.obsm["place"]
    for sets, values in ((KERNEL, [2.0]), ({**KERNEL, "key": "place"}, [[1.0, 0.0]])):
        GDE.setup_mudata(mdata, modalities={"layer": "rna"})
        model = GDE(mdata, n_latent=4, n_hidden=8, sets=sets)
        fit(model)
        assert model.get_set_embedding(values).shape == (1, 4)
        assert model.get_population_embedding().index.tolist() == ["all"]


def test_a_modality_of_other_cells_is_no_place_for_the_key():
    adata = continuum(400)
    mdata = MuData({"rna": adata[:, :3].copy(), "protein": adata[::-1, 3:].copy()})
    del mdata["rna"].obsm["place"]
    GDE.setup_mudata(mdata, modalities={"layer": "rna"})
    with pytest.raises(KeyError, match="key='place' is not in"):
        fit(GDE(mdata, n_latent=4, n_hidden=8, sets={**KERNEL, "key": "place"}))


def test_new_data():
    model = brief(continuum(), KERNEL)
    new = continuum(seed=1)
    z = model.get_set_embedding([4.0], adata=new)
    view = new[abs(new.obs["time"] - 4) <= 2]  # all that the kernel reaches
    np.testing.assert_allclose(model.get_set_embedding([4.0], view), z, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match=r"value 9\.5 has no cell.*\['time'\] ranges from 2"):
        model.get_set_embedding([4.0, 9.5], view)


def test_embeddings_without_populations_survive_writing(tmp_path):
    adata = continuum(300)
    model = brief(adata, KERNEL, None)
    scgde.tl.embed_populations(adata, model)
    adata.write_h5ad(tmp_path / "a.h5ad")
    params = anndata.read_h5ad(tmp_path / "a.h5ad").uns["gde"]["params"]
    assert json.loads(params["sets"]) == KERNEL
    assert list(params["population_key"]) == []


def test_labels_are_of_populations():
    adata = normal_populations()
    GDE.setup_anndata(adata, population_key="population", labels_key="group")
    with pytest.raises(ValueError, match=r"label_head=True.*sets='mixture'"):
        GDE(adata, label_head=True, sets="mixture")
    model = GDE(adata, n_latent=4, n_hidden=8, sets="mixture")
    fit(model)  # labels that were set up do no harm
    assert GDE(adata, n_latent=4, n_hidden=8, sets="label", label_head=True).label_keys_with_heads


@pytest.mark.parametrize(
    ("sets", "error", "match"),
    [
        ("mixtur", ValueError, "sets='mixtur'.*Did you mean 'mixture'"),
        ({"name": "mixture", "K": 2}, ValueError, "sets='K'.*'k'"),
        (["label"], TypeError, "must be a name"),
    ],
)
def test_bad_priors(sets, error, match):
    with pytest.raises(error, match=match):
        build(continuum(50), sets)


@pytest.mark.parametrize(
    ("sets", "error", "match"),
    [
        ({**KERNEL, "key": "tme"}, KeyError, "Did you mean 'time'"),
        ({**KERNEL, "key": "donor"}, ValueError, "does not hold numbers"),
        (
            {**NOISY, "noise": "Poisson", "parameter": "rate", "noise_kwargs": {}},
            ValueError,
            "rate=",
        ),
        ({"name": "mixture", "k": 11}, ValueError, "k=11 populations are to be mixed"),
    ],
)
def test_priors_that_do_not_fit_the_data(sets, error, match):
    with pytest.raises(error, match=match):
        fit(build(continuum(), sets, "donor"))


@pytest.mark.parametrize("argument", ["populations_per_batch", "cells_per_population"])
def test_sizes_are_positive(argument):
    with pytest.raises(ValueError, match=f"{argument}=0"):
        fit(build(continuum(), KERNEL), **{argument: 0})


def test_a_prior_of_ones_own(monkeypatch):
    """One class with a name: it trains, is kept, and is found again."""
    monkeypatch.setattr(SET_PRIORS, "_classes", dict(SET_PRIORS._classes))

    @SET_PRIORS.register("recent")
    @dataclass
    class RecentSets(SetPrior):
        key: str
        age: float = 1.0

        def bind(self, obs, obsm, index):
            return KernelSets(self.key, self.age).bind(obs, obsm, index)

    model = brief(continuum(), {"name": "recent", "key": "time"})
    assert model.get_set_embedding([3.0]).shape == (1, 4)
    assert model.init_params_["non_kwargs"]["sets"] == {"name": "recent", "key": "time", "age": 1.0}
