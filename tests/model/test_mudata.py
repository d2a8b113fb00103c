"""Models of several modalities, any of which cells and populations may lack."""

from __future__ import annotations

import warnings

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from mudata import MuData

import scgde
from scgde.encoders import ENCODERS, Encoder
from scgde.model._after_training import require_finite
from scgde.module._modal import complete_cells, drop_modalities, inconsistency

from ..conftest import fit

GDE = scgde.model.GDE
BARE = "C19-CB-0002"  # has no protein
OTHER = "C19-CB-0003"
BOTH = {"layer": ["rna", "prot"]}
every_fusion = pytest.mark.parametrize("fusion", ["concatenate", "separate"])

pytestmark = pytest.mark.filterwarnings("ignore:.*mudata.*:FutureWarning", "ignore:From 0.4")


def as_mudata(adata, lacks_protein=(), lacks_rna=0, seed=0) -> MuData:
    """Return genes as two modalities, in different orders; some cells lack one of them."""
    rna, prot = adata[:, :40], adata[:, 40:]
    has_rna, has_prot = (np.asarray(part.X.sum(1)).ravel() > 0 for part in (rna, prot))
    has_prot &= ~adata.obs["donor"].isin(lacks_protein).to_numpy()
    some = np.flatnonzero(has_prot & (adata.obs["donor"] == OTHER).to_numpy())[:lacks_rna]
    has_rna[some] = False
    order = np.random.default_rng(seed).permutation(np.flatnonzero(has_prot))
    mdata = MuData({"rna": rna[has_rna].copy(), "prot": prot[order].copy()})
    for key in ("donor", "severity"):
        mdata.obs[key] = adata.obs[key].reindex(mdata.obs_names)
    return mdata


@pytest.fixture
def mosaic(patients) -> MuData:
    """One patient without protein, twelve cells of another without RNA."""
    return as_mudata(patients, [BARE], lacks_rna=12)


def model_of(mdata, modalities=BOTH, steps=4, setup=None, **kwargs):
    GDE.setup_mudata(mdata, population_key="donor", modalities=modalities, **setup or {})
    model = GDE(mdata, **{"n_latent": 4, "n_hidden": 8, **kwargs})
    fit(model, max_steps=steps)
    return model


@every_fusion
def test_populations_and_cells_that_lack_a_modality(mosaic, fusion, tmp_path):
    before = {name: mod.X.copy() for name, mod in mosaic.mod.items()}
    model = model_of(mosaic, fusion=fusion)
    z, covariance = model.get_population_embedding(return_covariance=True)
    assert z.shape == (15, 4)
    assert np.isfinite(z).all(None)
    assert np.isfinite(covariance).all()
    for name, mod in mosaic.mod.items():
        assert (before[name] != mod.X).nnz == 0
    model.save(tmp_path / "m")
    again = GDE.load(tmp_path / "m", adata=mosaic)
    assert again.get_population_embedding().equals(z)
    twin = model_of(as_mudata_copy(mosaic), fusion=fusion)
    np.testing.assert_array_equal(twin.get_population_embedding(), z)


def as_mudata_copy(mdata: MuData) -> MuData:
    """Return the same cells in another order of the MuData."""
    other = MuData({name: mod.copy() for name, mod in mdata.mod.items()})
    other.obs["donor"] = mdata.obs["donor"].reindex(other.obs_names)
    return other


@every_fusion
def test_the_order_of_a_modality_does_not_matter(patients, fusion):
    one, two = (as_mudata(patients, [BARE], seed=seed) for seed in (1, 2))
    assert not one["prot"].obs_names.equals(two["prot"].obs_names)
    z = model_of(one, fusion=fusion)
    np.testing.assert_allclose(
        z.get_population_embedding(two), z.get_population_embedding(), rtol=1e-4, atol=1e-6
    )


@every_fusion
def test_what_a_population_lacks_does_not_matter(patients, fusion):
    model = model_of(as_mudata(patients, [BARE]), fusion=fusion)
    without = as_mudata(patients, list(patients.obs["donor"].unique()))
    z = model.get_population_embedding(without)
    alone = MuData({"rna": without["rna"].copy()})  # protein is no modality of this at all
    alone.obs["donor"] = without.obs["donor"].reindex(alone.obs_names)
    np.testing.assert_array_equal(model.get_population_embedding(alone), z)
    full = model.get_population_embedding()
    np.testing.assert_allclose(z.loc[BARE], full.loc[BARE], rtol=1e-4, atol=1e-6)
    assert (np.abs(z - full).max(axis=1).drop(BARE) > 1e-3).all()
    protein = MuData({"prot": model.adata["prot"].copy()})
    protein.obs["donor"] = model.adata["prot"].obs["donor"]
    assert len(model.get_population_embedding(protein)) == 14


@every_fusion
def test_covariance_in_pieces_and_by_autograd(mosaic, fusion):
    model = model_of(mosaic, fusion=fusion)
    z, covariance = model.get_population_embedding(return_covariance=True)
    pieces = model.get_population_embedding(max_cells=16, return_covariance=True)
    np.testing.assert_allclose(pieces[0], z, atol=1e-5)
    np.testing.assert_allclose(pieces[1], covariance, atol=1e-4 * covariance.max())
    np.testing.assert_allclose(model.get_population_embedding(max_cells=16), z, atol=1e-5)
    influence = model.get_cell_influence()
    model.module.encoder.streams = False
    by_autograd = model.get_population_embedding(return_covariance=True)[1]
    np.testing.assert_allclose(by_autograd, covariance, atol=1e-4 * covariance.max())
    means = influence.groupby(mosaic.obs["donor"].to_numpy(), observed=True).mean()
    assert np.abs(means).max(None) < 1e-4 * np.abs(influence).max(None)


@every_fusion
def test_generated_cells_are_a_mudata(mosaic, fusion):
    model = model_of(mosaic, fusion=fusion)
    cells = model.sample([BARE, OTHER], 30)
    assert isinstance(cells, MuData)
    assert cells["rna"].var_names.equals(mosaic["rna"].var_names)
    assert cells["prot"].var_names.equals(mosaic["prot"].var_names)
    assert cells["prot"].shape == (60, 20)
    assert sp.issparse(cells["rna"].X)
    assert (cells["rna"].X.data == np.rint(cells["rna"].X.data)).all()
    assert list(cells.obs["population"].unique()) == [BARE, OTHER]
    np.testing.assert_array_equal(
        model.sample([BARE, OTHER], 30)["prot"].X.toarray(), cells["prot"].X.toarray()
    )
    path = model.interpolate(BARE, OTHER, 3, 10)
    assert path.obs["position"].nunique() == 3
    with pytest.raises(ValueError, match="to_genes=True"):
        model.sample([BARE], 5, to_genes=True)


def test_totals_of_generated_cells_are_each_modalitys_own(patients):
    mdata = as_mudata(patients)
    model = model_of(mdata, steps=80)
    populations = list(patients.obs["donor"].unique())
    cells = model.sample(populations, 100)
    for name in ("rna", "prot"):
        real, drawn = (np.asarray(of[name].X.sum(1)).ravel() for of in (mdata, cells))
        assert 0.8 < drawn.mean() / real.mean() < 1.25
        assert 0.5 < drawn.std() / real.std() < 2


def test_a_population_stays_near_itself_without_a_modality(patients):
    """Two kinds of populations, told apart by either modality; one never has protein."""
    rng = np.random.default_rng(0)
    kind = patients.obs["donor"].cat.codes.to_numpy() % 2
    rate = np.where((np.arange(60) % 2)[None] == kind[:, None], 8.0, 0.5)
    patients.X = sp.csr_matrix(rng.poisson(rate).astype(np.float32))
    full = as_mudata(patients)
    codes = full.obs["donor"].cat.codes.groupby(full.obs["donor"], observed=True).first() % 2
    for fusion in ("concatenate", "separate"):
        model = model_of(as_mudata(patients, [BARE]), steps=60, fusion=fusion)
        z = model.get_population_embedding()
        with_protein = model.get_population_embedding(full)
        same = codes == codes[BARE]
        distance = np.linalg.norm(with_protein - z.loc[BARE], axis=1)
        assert distance[with_protein.index == BARE] < distance[~same[z.index]].min() / 1.5


@pytest.mark.parametrize("encoder", ENCODERS.names())
def test_every_encoder_takes_several_modalities(mosaic, encoder):
    for fusion in ("concatenate", "separate"):
        model = model_of(mosaic, steps=1, encoder=encoder, fusion=fusion, n_latent=2)
        z, covariance = model.get_population_embedding(
            populations=[BARE, OTHER], return_covariance=True
        )
        assert np.isfinite(z).all(None)
        assert np.isfinite(covariance).all()


def test_late_fusion_is_the_average_of_what_there_is():
    modalities = scgde.data.Modalities((3, 2))
    torch.manual_seed(0)
    each = [ENCODERS.get("resnet_gnn")(n, 4, 8) for n in modalities.sizes]
    fused = scgde.encoders.ModalEncoder(each, modalities)
    x = torch.randn(3, 6, 7)
    has = torch.ones(3, 6, 2)
    has[1, :, 1] = 0  # a set without the second
    has[2, 4:, 0] = 0  # a set of which two cells lack the first
    x[..., 5:] = has
    w = torch.full((3, 6), 1 / 6)
    z = fused(x, w)
    first, second = each[0](x[..., :3], w), each[1](x[..., 3:5], w)
    torch.testing.assert_close(z[0], (first[0] + second[0]) / 2)
    torch.testing.assert_close(z[1], first[1])
    four = each[0](x[2:, :4, :3], torch.full((1, 4), 1 / 4))[0]
    torch.testing.assert_close(z[2], (four * 2 / 3 + second[2]) / (2 / 3 + 1))
    x[1, :, 3:5] = 1e3  # nothing that is absent is looked at
    torch.testing.assert_close(fused(x, w)[1], z[1])


def test_dropout_takes_one_modality_of_sets_that_have_several():
    modalities = scgde.data.Modalities((2, 1))
    x = torch.rand(400, 5, 5) + 1
    x[..., 3:] = 1
    x[:100, :, 2] = x[:100, :, 4] = 0  # nothing may be taken of these
    x[100:200, 3:, :2] = x[100:200, 3:, 3] = 0  # here some cells have the second only
    w = torch.full((400, 5), 0.2)
    torch.manual_seed(0)
    kept, weight, loses = drop_modalities(x, w, modalities)
    lost = modalities.present(x).any(1) & ~modalities.present(kept).any(1)
    torch.testing.assert_close(lost.sum(1), loses.long())
    assert loses[100:].all()
    assert not loses[:100].any()
    assert 0.4 < lost[100:, 0].float().mean() < 0.6
    torch.testing.assert_close(weight.sum(1), torch.ones(400))
    assert not weight[~modalities.present(kept).any(-1)].any()
    torch.testing.assert_close(kept[:100], x[:100])
    features, weight, has = complete_cells(x, w, modalities)
    assert features.shape == (400, 5, 3)
    assert not has[:100].any()
    assert has[100:].all()
    torch.testing.assert_close(weight[150], torch.tensor([1, 1, 1, 0, 0]) / 3)


def test_inconsistency_is_relative_to_the_spread():
    z = torch.randn(50, 4)
    less = z + 0.1
    spread = float((z - z.mean(0)).square().sum(1).mean())
    expected = 0.04 / (0.04 + spread)
    assert float(inconsistency(z, less)) == pytest.approx(expected, rel=1e-4)
    assert float(inconsistency(3 * z, 3 * less)) == pytest.approx(expected, rel=1e-4)
    alike = torch.ones(50, 4) + 1e-3 * z
    assert 0.99 < float(inconsistency(alike, -alike)) <= 1
    assert float(inconsistency(alike, alike)) == 0


@pytest.mark.parametrize(
    ("generator", "kwargs"),
    [
        ("cvae", {"likelihood": "normal"}),
        ("cvae", {"likelihood": "zinb"}),
        ("cvae", {"likelihood": "poisson", "size": "free"}),
        ("flow_matching", {}),
        ("energy", {}),
        ("wormhole", {}),
    ],
)
def test_generators_of_several_modalities(mosaic, generator, kwargs):
    model = model_of(mosaic, generator=generator, generator_kwargs=kwargs)
    cells = model.sample([BARE], 12)
    assert cells.shape == (12, 60)
    assert np.isfinite(scgde.data.as_dense(cells["prot"].X)).all()
    assert np.isfinite(model.get_population_embedding()).all(None)


def test_dense_real_values_are_standardised_by_the_cells_that_have_them(patients):
    mdata = as_mudata(patients, [BARE])
    for mod in mdata.mod.values():
        mod.X = np.log1p(mod.X.toarray()) + 3
    model = model_of(mdata, fusion="concatenate")
    scale = model.module.standardize
    trained = np.isin(mdata.obs_names, mdata.obs_names[model.train_indices])
    names = mdata.obs_names[trained]
    prot = mdata["prot"][mdata["prot"].obs_names.isin(names)].X
    np.testing.assert_allclose(scale.loc[40:60], prot.mean(0), rtol=1e-4)
    dataset = model._dataset()
    cells = dataset.cells(dataset.index.cells(0)[None])
    z = scale(cells)[0].numpy()
    assert dataset.index.names[0] == BARE
    assert not z[:, 40:60].any()
    np.testing.assert_array_equal(z[:, 60:], [[1, 0]] * len(z))
    drawn = model.sample([BARE], 300)["prot"].X.mean()
    assert abs(drawn - prot.mean()) < 0.5


def test_layers_and_representations_by_modality(patients):
    mdata = as_mudata(patients)
    mdata["prot"].layers["raw"] = mdata["prot"].X.copy()
    mdata["prot"].X = mdata["prot"].X.log1p()
    model = model_of(mdata, setup={"layer": {"prot": "raw"}})
    assert model.module.generator.space == "counts"
    twin = model_of(as_mudata(patients))
    np.testing.assert_array_equal(model.get_population_embedding(), twin.get_population_embedding())
    for mod in mdata.mod.values():
        mod.obsm["X_two"] = np.log1p(mod.X[:, :2].toarray())
    model = model_of(mdata, generator="flow_matching", setup={"use_rep": "X_two"})
    assert list(model.get_feature_names()) == ["rna:two_0", "rna:two_1", "prot:two_0", "prot:two_1"]
    assert list(model.get_feature_names("prot")) == ["two_0", "two_1"]
    assert list(model.sample([BARE], 5)["prot"].var_names) == ["two_0", "two_1"]


def test_mixed_counts_and_real_values(patients):
    mdata = as_mudata(patients)
    mdata["prot"].X = mdata["prot"].X.log1p()
    GDE.setup_mudata(mdata, population_key="donor", modalities=BOTH)
    with pytest.raises(ValueError, match=r"'rna' are counts, but 'prot' are not.*likelihood"):
        GDE(mdata)
    model = GDE(mdata, generator_kwargs={"likelihood": "normal"}, n_latent=2, n_hidden=8)
    fit(model)
    assert np.isfinite(model.get_population_embedding()).all(None)


def test_one_modality_in_a_list_is_that_modality(patients):
    mdata = as_mudata(patients)
    alone = MuData({"rna": mdata["rna"].copy()})
    alone.obs["donor"] = mdata.obs["donor"].reindex(alone.obs_names)
    z = [
        model_of(alone, modalities={"layer": of}).get_population_embedding()
        for of in ("rna", ["rna"])
    ]
    np.testing.assert_array_equal(*z)


@pytest.mark.parametrize("of", ["rna", ["rna"]])
def test_a_layer_by_modality_with_one_modality(patients, of):
    alone = as_mudata(patients)["rna"].copy()
    alone.layers["counts"], alone.X = alone.X.copy(), alone.X.log1p()
    mdata = MuData({"rna": alone})
    mdata.obs["donor"] = alone.obs["donor"]
    model = model_of(mdata, modalities={"layer": of}, setup={"layer": {"rna": "counts"}})
    assert model.module.generator.space == "counts"
    assert model.get_parameters()["layer"] == "counts"
    z = model.get_population_embedding()
    twin = model_of(mdata.copy(), modalities={"layer": of}, setup={"layer": "counts"})
    np.testing.assert_array_equal(twin.get_population_embedding(), z)


def test_refit_query_summaries_and_the_table(mosaic, patients):
    model = model_of(mosaic, n_latent=3)
    again = model.refit(mosaic.copy())
    np.testing.assert_array_equal(
        again.get_population_embedding(), model.get_population_embedding()
    )
    new = as_mudata(patients)
    new.obs["donor"] = ("new " + new.obs["donor"].astype(str)).astype("category")
    found = model.query(new, enable_progress_bar=False)
    assert len(found.novelty) == 15
    summary = model.summarize_populations()
    np.testing.assert_allclose(
        summary.embedding, model.get_population_embedding(), rtol=1e-3, atol=1e-5
    )
    assert "severity" in model.get_population_table()
    scgde.tl.embed_populations(mosaic, model)
    assert mosaic.obsm["X_gde"].shape == (mosaic.n_obs, 3)
    late = model_of(mosaic, fusion="separate")
    with pytest.raises(ValueError, match="fusion='concatenate'"):
        late.summarize_populations()


def test_results_survive_a_file(mosaic, tmp_path):
    mosaic["rna"].layers["counts"] = mosaic["rna"].X.copy()
    model = model_of(mosaic, setup={"layer": {"rna": "counts"}})
    scgde.tl.embed_populations(mosaic, model)
    mosaic.write(tmp_path / "m.h5mu")
    again = mudata.read_h5mu(tmp_path / "m.h5mu")
    assert again.uns["gde"]["params"]["layer"] == '{"rna": "counts"}'
    patients = model.get_population_adata()
    patients.write_h5ad(tmp_path / "p.h5ad")
    pd.testing.assert_frame_equal(
        anndata.read_h5ad(tmp_path / "p.h5ad").to_df(), patients.to_df(), check_index_type=False
    )


def test_loading_with_fewer_modalities_does_not_warn(mosaic, tmp_path):
    model = model_of(mosaic)
    model.save(tmp_path / "m")
    alone = MuData({"rna": mosaic["rna"].copy()})
    alone.obs["donor"] = mosaic.obs["donor"].reindex(alone.obs_names)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*var_names.*")
        again = GDE.load(tmp_path / "m", adata=alone)
    z = model.get_population_embedding(alone)
    np.testing.assert_array_equal(again.get_population_embedding(), z)
    more = mosaic.copy()
    more.mod["rna"].obsm["X_two"] = np.ones((more["rna"].n_obs, 2))
    GDE.setup_mudata(more, population_key="donor", modalities=BOTH, use_rep={"rna": "X_two"})
    other = GDE(more, generator="flow_matching", n_latent=2, n_hidden=8)
    other.save(tmp_path / "other")
    renamed = more.copy()
    renamed.mod["rna"].var_names = [f"{name}.1" for name in renamed["rna"].var_names]
    with pytest.warns(UserWarning, match="var_names.*does not match"):
        GDE.load(tmp_path / "other", adata=renamed)


def test_backed_modalities(patients, tmp_path):
    mdata = as_mudata(patients, [BARE])
    model = model_of(mdata)
    mdata.write(tmp_path / "m.h5mu")
    backed = mudata.read_h5mu(tmp_path / "m.h5mu", backed="r")
    np.testing.assert_allclose(
        model.get_population_embedding(backed), model.get_population_embedding(), atol=1e-5
    )


def test_an_encoder_of_the_users_own(mosaic):
    @ENCODERS.register("of_the_users_own")
    class Own(Encoder):
        def __init__(self, n_input, n_latent, n_hidden=8):
            super().__init__()
            self.readout = torch.nn.Linear(n_input, n_latent)

        def forward(self, x, w):
            return self.readout(torch.einsum("bm,bmd->bd", w, x.square()))

    try:
        for fusion in ("concatenate", "separate"):
            model = model_of(mosaic, encoder="of_the_users_own", fusion=fusion)
            z, covariance = model.get_population_embedding(return_covariance=True)
            assert np.isfinite(z).all(None)
            assert np.isfinite(covariance).all()
    finally:
        ENCODERS._classes.pop("of_the_users_own", None)


def test_what_is_wrong_is_said_at_the_door(patients):
    mdata = as_mudata(patients)

    def refuses(error, match, data=mdata, **arguments):
        columns = list(data.obs.columns)
        with pytest.raises(error, match=match):
            GDE.setup_mudata(data, **{"population_key": "donor", "modalities": BOTH, **arguments})
        assert list(data.obs.columns) == columns

    refuses(ValueError, "one of 'rna', 'prot', or several", modalities={"layer": ["rna", "adt"]})
    differ = {"layer": "rna", "use_rep": "prot"}
    refuses(ValueError, r"\{'layer': \['rna', 'prot'\]\}.*use_rep=\{'prot'", modalities=differ)
    one = {"modalities": {"layer": "rna"}}
    refuses(KeyError, "layer='prot' is not in the modalities", layer={"prot": "counts"}, **one)
    refuses(ValueError, "names one twice", modalities={"layer": ["rna", "rna"]})
    refuses(KeyError, "layer='adt' is not in the modalities", layer={"adt": "counts"})
    refuses(KeyError, "layer='counts' is not in adata.layers", layer={"rna": "counts"})
    refuses(ValueError, "size_factor_key='size' is for one modality", size_factor_key="size")
    refuses(KeyError, "Did you mean 'donor'", population_key="donr")
    third = MuData({"rna": mdata["rna"][100:].copy(), "prot": mdata["prot"][:50].copy()})
    third.mod["more"] = patients.copy()
    third.update()
    third.obs["donor"] = patients.obs["donor"].reindex(third.obs_names)
    refuses(ValueError, r"have none of the modalities 'rna', 'prot'. Leave them out", third)
    mdata.mod["prot"].obs_names = ["a"] * mdata["prot"].n_obs
    refuses(ValueError, "obs_names_make_unique")


def test_what_is_wrong_in_new_data_is_said(mosaic, patients):
    model = model_of(mosaic)
    with pytest.raises(TypeError, match=r"MuData\(\{'rna': adata\}\)"):
        model.get_population_embedding(patients)
    other = as_mudata(patients)
    other.mod["prot"] = other["prot"][:, ::-1].copy()
    with pytest.raises(ValueError, match=r"Modality 'prot': mdata.mod\['prot'\] does not fit") as e:
        model.get_population_embedding(other)
    remedy = "mdata.mod['prot'][:, model.get_feature_names('prot')].copy()"
    assert remedy in str(e.value)
    other.mod["prot"] = eval(remedy, {"mdata": other, "model": model})
    assert len(model.get_population_embedding(other)) == 15
    assert model.get_feature_names("rna").equals(mosaic["rna"].var_names)
    with pytest.raises(KeyError, match="modality='adt' is not in the modalities of the model"):
        model.get_feature_names("adt")
    for arguments, match in (
        ({"fusion": "early"}, "fusion='early' is not in the choices"),
        ({"modality_dropout": 2.0}, "modality_dropout=2.0 must be from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=match):
            GDE(mosaic, **arguments)


def test_a_cell_without_counts_in_one_of_its_modalities(patients):
    mdata = as_mudata(patients)
    counts = mdata["prot"].X.toarray()
    counts[3] = 0
    mdata["prot"].X = counts
    GDE.setup_mudata(mdata, population_key="donor", modalities=BOTH)
    with pytest.raises(ValueError, match=r"1 cells .* modality 'prot'.*mdata.mod\['prot'\]"):
        GDE(mdata)


def test_checks_of_invariance_take_several_modalities_and_geometry_says_no(mosaic):
    model = model_of(mosaic)
    scgde.tl.invariance_report(model, n_draws=2, enable_progress_bar=False)
    with pytest.raises(ValueError, match="the model has 'rna', 'prot'"):
        scgde.tl.wasserstein_geometry(mosaic, model, populations=list(mosaic.obs["donor"].unique()))


def test_a_modality_that_no_training_cell_has(patients):
    donors = list(patients.obs["donor"].unique())
    mdata = as_mudata(patients, donors)
    GDE.setup_mudata(mdata, population_key="donor", modalities=BOTH)
    with pytest.raises(ValueError, match="No training cell has the modality 'prot'"):
        fit(GDE(mdata, n_latent=2, n_hidden=8))


@pytest.fixture
def one_protein(patients) -> MuData:
    """One cell alone has protein."""
    mdata = MuData({"rna": patients[:, :40].copy(), "prot": patients[:1, 40:].copy()})
    mdata.obs["donor"] = patients.obs["donor"]
    return mdata


@every_fusion
def test_a_modality_that_one_cell_has(one_protein, fusion):
    model = model_of(one_protein, fusion=fusion)
    assert np.isfinite(model.get_population_embedding()).all(None)
    assert np.isfinite(model.history["train_loss"].astype(float)).all(None)


def test_scales_of_a_rare_modality_are_found_in_a_sample(one_protein, monkeypatch):
    monkeypatch.setattr("scgde.model._training._N_CELLS_FOR_ENCODER", 20)
    monkeypatch.setattr("scgde.model._training._MAX_CELLS_FOR_MOMENTS", 40)
    model = model_of(one_protein, fusion="separate", encoder="pca_mean")
    assert np.isfinite(model.get_population_embedding()).all(None)
    cell = one_protein["prot"].X.toarray()[0]
    likelihood = model.module.generator.likelihood.each[1]
    fresh = np.log(cell + 1e-3 * cell.mean())
    np.testing.assert_allclose(likelihood.scale.bias.detach(), fresh, atol=0.02)


def test_late_fusion_does_not_heed_codes_without_weight():
    codes = [torch.ones(2, 3), torch.tensor([[2.0] * 3, [float("nan")] * 3])]
    z = scgde.encoders.ModalEncoder.fuse(codes, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    torch.testing.assert_close(z, torch.tensor([[1.5] * 3, [1.0] * 3]))
    modalities = scgde.data.Modalities((3, 2))
    each = [ENCODERS.get("pca_mean")(n, 2) for n in modalities.sizes]
    fused = scgde.encoders.ModalEncoder(each, modalities)
    x = torch.cat([torch.randn(6, 5), torch.ones(6, 1), torch.zeros(6, 1)], 1)
    fused.initialize(x)  # no cell has the second
    assert all(values.isfinite().all() for values in fused.state_dict().values())


def test_training_that_diverges_is_an_error(mosaic):
    GDE.setup_mudata(mosaic, population_key="donor", modalities=BOTH)
    model = GDE(mosaic, n_latent=2, n_hidden=8)
    with pytest.raises(ValueError, match=r"Training diverged: .* plan_kwargs=\{'lr'"):
        fit(model, plan_kwargs={"lr": 1e38})
    assert not model.is_trained_
    model = model_of(mosaic)
    with pytest.warns(UserWarning, match="loss of the last epoch is NaN"):
        require_finite(model, {"train_loss": pd.DataFrame({"train_loss": [1.0, np.nan]})})


def test_a_generator_that_needs_complete_cells(patients):
    half = patients.obs["donor"].cat.codes.to_numpy() < 8
    mdata = MuData({"rna": patients[half, :40].copy(), "prot": patients[~half, 40:].copy()})
    mdata.obs["donor"] = patients.obs["donor"].reindex(mdata.obs_names)
    GDE.setup_mudata(mdata, population_key="donor", modalities=BOTH)
    with pytest.raises(ValueError, match="generator='flow_matching' learns from cells that have"):
        fit(GDE(mdata, generator="flow_matching", n_latent=2, n_hidden=8))
