from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from scgde.data import row_source
from scgde.datasets import perturbed_populations
from scgde.model import PerturbationGDE
from scgde.model._perturbation_features import coexpression_features
from scgde.module import ShiftHead

from ..conftest import fit


def model_of(adata, features="gene_features", **kwargs) -> PerturbationGDE:
    options = {"n_latent": 6, "n_hidden": 16, **kwargs}
    return PerturbationGDE(adata, features=features, **options)


@pytest.fixture
def screen():
    """Counts of 6 targets, 2 pairs and the control, with features of the targets."""
    return perturbed_populations(n_targets=6, n_pairs=2, n_cells=12, n_features=20)


@pytest.fixture
def lines():
    """The same in two cell lines."""
    return perturbed_populations(6, 2, 12, n_features=20, covariates=("a", "b"))


@pytest.fixture
def trained(screen):
    PerturbationGDE.setup_anndata(screen, "perturbation", control="control")
    model = model_of(screen)
    fit(model)
    return model


@pytest.fixture(scope="module")
def learned():
    """A model that has learned something, and the perturbations that it has not seen."""
    adata = perturbed_populations(24, 8, 60, n_features=30, mean_total=2_000, seed=1)
    held_out = ["target_03", "target_17", adata.obs["perturbation"].cat.categories[-1]]
    seen = adata[~adata.obs["perturbation"].isin(held_out)].copy()
    PerturbationGDE.setup_anndata(seen, "perturbation", control="control")
    model = PerturbationGDE(seen, features="gene_features", n_latent=16, n_hidden=64)
    model.train(max_steps=300, cells_per_population=40, enable_progress_bar=False)
    return model, adata, held_out


def observed_shifts(adata) -> pd.DataFrame:
    x = adata.X.toarray()
    x = np.log1p(1e4 * x / x.sum(1, keepdims=True))
    means = pd.DataFrame(x, columns=adata.var_names).groupby(
        adata.obs["perturbation"].astype(str).to_numpy()
    )
    return means.mean() - means.mean().loc["control"]


def test_unseen_perturbations_are_predicted_from_their_features(learned):
    model, adata, held_out = learned
    prediction = model.predict([*held_out, "control"], n_cells=400, seed=0)
    truth = observed_shifts(adata)
    generated = observed_shifts(prediction.cells)
    mean = truth.drop(index=["control", *held_out]).mean()
    for name in held_out:
        error = np.square(prediction.mean_shift.loc[name] - truth.loc[name]).mean()
        assert error < 0.5 * np.square(truth.loc[name]).mean()
        assert error < 0.5 * np.square(truth.loc[name] - mean).mean()
        assert np.corrcoef(generated.loc[name], truth.loc[name])[0, 1] > 0.7


def test_no_effect_is_exactly_zero(trained):
    prediction = trained.predict(["control", "target_01"])
    assert (prediction.embedding_shift.loc["control"] == 0).all()
    assert (prediction.mean_shift.loc["control"] == 0).all()
    own = trained.get_population_embedding().loc["control"]
    np.testing.assert_array_equal(prediction.embedding.loc["control"], own)
    assert (prediction.mean_shift.loc["target_01"] != 0).any()
    assert prediction.cells is None


def test_the_head_has_no_effect_without_parts_and_a_pair_is_symmetric():
    torch.manual_seed(0)
    head = ShiftHead(n_features=3, n_latent=5, n_hidden=7)
    control = torch.randn(2, 5)
    assert (head(torch.zeros(2, 2, 3), control) == 0).all()
    pair = torch.randn(2, 2, 3)
    torch.testing.assert_close(head(pair, control), head(pair.flip(1), control))
    alone = sum(head(pair[:, [i]], control) for i in (0, 1))
    assert not torch.allclose(head(pair, control), alone)  # parts interact


def test_shapes_names_and_counts_of_predictions(lines):
    PerturbationGDE.setup_anndata(
        lines, "perturbation", control="control", covariate_key="covariate"
    )
    model = model_of(lines)
    fit(model)
    names = ["target_00+target_05", "target_02"]
    prediction = model.predict(names, n_cells=7)
    expected = [f"{name}|{line}" for name in names for line in "ab"]
    assert list(prediction.table.index) == expected
    assert prediction.embedding.shape == prediction.embedding_shift.shape == (4, 6)
    assert list(prediction.mean_shift.columns) == list(lines.var_names)
    assert list(prediction.table["n_parts"]) == [2, 2, 1, 1]
    cells = prediction.cells
    assert cells.n_obs == 28
    assert sp.issparse(cells.X)
    assert set(cells.obs["perturbation"]) == set(names)
    assert set(cells.obs["covariate"]) == {*"ab"}
    assert (cells.X.data == np.rint(cells.X.data)).all()
    one = model.predict(names[0], covariates="b")
    assert list(one.table.index) == [f"{names[0]}|b"]
    # Each is a shift of the control of its own line.
    z = model.get_population_embedding()
    np.testing.assert_allclose(
        one.embedding.iloc[0] - one.embedding_shift.iloc[0], z.loc["control|b"], atol=1e-4
    )


def test_seen_parts_are_counted(screen):
    pair = next(p for p in screen.obs["perturbation"].cat.categories if "+" in p)
    first, second = pair.split("+")
    has = screen.obs["perturbation"].astype(str)
    seen = screen[~has.str.contains(second) & (has != first)].copy()
    PerturbationGDE.setup_anndata(seen, "perturbation", control="control")
    model = model_of(seen)
    fit(model)
    table = model.predict([first, second, pair]).table
    in_a_pair = has[~has.str.contains(second)].str.contains(rf"{first}\+|\+{first}").any()
    assert list(table["n_seen"]) == [int(in_a_pair), 0, int(in_a_pair)]


def test_same_seed_same_prediction_and_saving(trained, screen, tmp_path):
    names = ["target_04", "target_00+target_01"]
    first = trained.predict(names, n_cells=5, seed=3)
    again = trained.predict(names, n_cells=5, seed=3)
    assert (first.cells.X != again.cells.X).nnz == 0
    trained.save(tmp_path / "model")
    for adata in (screen, False):
        loaded = PerturbationGDE.load(tmp_path / "model", adata=adata)
        other = loaded.predict(names, n_cells=5, seed=3)
        pd.testing.assert_frame_equal(first.mean_shift, other.mean_shift)
        assert (first.cells.X != other.cells.X).nnz == 0


def test_other_data_embeds_without_a_control(trained, screen):
    new = screen[screen.obs["perturbation"] == "target_03"].copy()
    new.obs["perturbation"] = "never seen"
    assert list(trained.get_population_embedding(new).index) == ["never seen"]


def test_refit_knows_nothing_of_what_is_left_out(screen):
    PerturbationGDE.setup_anndata(screen, "perturbation", control="control")
    model = model_of(screen)
    fit(model)
    left = screen[screen.obs["perturbation"] != "target_02"].copy()
    other = model.refit(left)
    assert "target_02" not in set(other.effects_["table"]["perturbation"])
    assert other.predict("target_02").table["n_parts"].tolist() == [1]


def test_features_from_coexpression(screen):
    screen.obs["perturbation"] = (
        screen.obs["perturbation"].astype(str).str.replace("target_", "gene_", regex=False)
    )
    PerturbationGDE.setup_anndata(screen, "perturbation", control="control")
    model = model_of(screen, features=None)
    assert model.features.index.isin(screen.var_names).all()
    assert np.isfinite(model.features.to_numpy()).all()
    fit(model)
    assert np.isfinite(model.predict("gene_19").mean_shift.to_numpy()).all()
    # From control cells alone: other cells change nothing.
    other = screen.copy()
    is_control = (other.obs["perturbation"] == "control").to_numpy()
    x = other.X.toarray()
    x[~is_control] = x[~is_control][::-1]
    other.X = sp.csr_matrix(x)
    PerturbationGDE.setup_anndata(other, "perturbation", control="control")
    pd.testing.assert_frame_equal(model_of(other, features=None).features, model.features)


def test_coexpressed_genes_have_like_features():
    rng = np.random.default_rng(0)
    program = rng.standard_normal((300, 2))
    x = np.exp(np.repeat(program, 5, axis=1) + 0.1 * rng.standard_normal((300, 10)))
    names = pd.Index([f"g{i}" for i in range(10)])
    table = coexpression_features(row_source(x), np.zeros(300, dtype=int), names, False, n=3)
    similarity = np.corrcoef(table.to_numpy())
    assert similarity[0, 1:5].min() > 0.8 > abs(similarity[0, 5:]).max()
    # What sets two controls apart is no co-expression.
    line = np.arange(300) % 2
    apart = coexpression_features(row_source(x + 50 * line[:, None]), line, names, False, n=3)
    pd.testing.assert_frame_equal(apart.abs(), table.abs(), atol=0.1)
    with pytest.raises(ValueError, match="There are 2 control cells"):
        coexpression_features(row_source(x[:2]), np.zeros(2, dtype=int), names, False)


def test_unknown_perturbations_are_listed_never_zero(trained, screen):
    with pytest.raises(KeyError, match=r"No features for 'nobody', 'target_99'"):
        trained.predict(["target_00", "target_99+nobody"])
    features = screen.uns["gene_features"].drop(index=["target_01", "target_04"])
    with pytest.raises(KeyError, match=r"2 of the things perturbed: 'target_01', 'target_04'"):
        model_of(screen, features=features)
    with pytest.warns(UserWarning, match="Nothing is learned"):
        model = model_of(screen, features=features, missing_features="skip")
    fit(model)
    assert "target_01" in model.get_population_embedding().index
    assert not model._has_features(model.get_perturbation_table())[1:3].all()
    with pytest.raises(KeyError, match="No features for 'target_01'"):
        model.predict("target_01")


def test_every_population_has_its_control_in_the_batch(lines):
    PerturbationGDE.setup_anndata(
        lines, "perturbation", control="control", covariate_key="covariate"
    )
    model = model_of(lines)
    sets = model._sets(model._dataset(), lines)
    sampler = sets.sampler(populations_per_batch=5, cells_per_population=4, n_steps=60)
    names = sets.index.names
    drawn = [[names[p] for p in batch.population] for batch in sampler]
    for batch in drawn:
        assert len(set(batch)) == len(batch) <= 5
        perturbed = [name for name in batch if not name.startswith("control")]
        assert {f"control|{name[-1]}" for name in perturbed} == set(batch) - set(perturbed)
    assert {name for batch in drawn for name in batch} == set(names)


def test_cells_are_drawn_in_the_batches_of_their_covariate(lines, tmp_path):
    lines.obs["lane"] = lines.obs["covariate"].map({"a": "lane_1", "b": "lane_2"})
    PerturbationGDE.setup_anndata(
        lines, "perturbation", "control", covariate_key="covariate", batch_key="lane"
    )
    model = model_of(lines)
    fit(model)
    model.save(tmp_path / "model")
    for own in (model, PerturbationGDE.load(tmp_path / "model", adata=False)):
        obs = own.predict("target_03", n_cells=20).cells.obs
        expected = obs["covariate"].astype(str).map({"a": "lane_1", "b": "lane_2"})
        assert (obs["lane"].astype(str) == expected).all()


def test_a_control_may_have_the_separator_in_its_name(screen):
    screen.obs["perturbation"] = screen.obs["perturbation"].cat.rename_categories(
        {"control": "DMSO+vehicle"}
    )
    PerturbationGDE.setup_anndata(screen, "perturbation", control="DMSO+vehicle")
    model = model_of(screen)
    fit(model)
    assert (model.predict("DMSO+vehicle").mean_shift == 0).all(axis=None)


def test_one_control_only(screen):
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(str)
    screen.obs.loc[screen.obs_names[:2], "perturbation"] = "control+control"
    PerturbationGDE.setup_anndata(screen, "perturbation", control="control")
    with pytest.raises(ValueError, match=r"'control\+control' are combinations of control"):
        model_of(screen)


def test_training_on_data_without_a_control_is_refused(trained, screen, tmp_path):
    trained.save(tmp_path / "model")
    other = screen[screen.obs["perturbation"] != "control"].copy()
    loaded = PerturbationGDE.load(tmp_path / "model", adata=other)
    with pytest.raises(ValueError, match="no control cells"):
        fit(loaded)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"perturbation_key": "pert"}, KeyError, "perturbation_key='pert'"),
        ({"control": "ctrl"}, KeyError, "control='ctrl' is not in adata.obs"),
        ({"control": ["control", "ctrl"]}, TypeError, "must be one name"),
        ({"covariate_key": "line"}, KeyError, "covariate_key='line'"),
        ({"covariate_key": ["perturbation"]}, TypeError, "covariate_key must be a str"),
    ],
)
def test_setup_errors(screen, arguments, error, match):
    with pytest.raises(error, match=match):
        PerturbationGDE.setup_anndata(
            screen, **{"perturbation_key": "perturbation", "control": "control", **arguments}
        )


def test_a_covariate_without_control_is_named(lines):
    is_lost = (lines.obs["covariate"] == "b") & (lines.obs["perturbation"] == "control")
    with pytest.raises(ValueError, match="'b' have no cells with perturbation='control'"):
        PerturbationGDE.setup_anndata(
            lines[~is_lost].copy(), "perturbation", "control", covariate_key="covariate"
        )


def test_bad_features_are_refused(screen):
    PerturbationGDE.setup_anndata(screen, "perturbation", control="control")
    table = screen.uns["gene_features"]
    with pytest.raises(KeyError, match=r"features='gene_feature'.*gene_features"):
        model_of(screen, features="gene_feature")
    with pytest.raises(TypeError, match="must be a DataFrame"):
        model_of(screen, features=table.to_numpy())
    with pytest.raises(ValueError, match="rows of the same name"):
        model_of(screen, features=pd.concat([table, table.iloc[:1]]))
    with pytest.raises(ValueError, match="no numbers"):
        model_of(screen, features=table.assign(name="x"))
    with pytest.raises(ValueError, match="NaN or infinite"):
        model_of(screen, features=table.assign(feature_0=np.nan))


def test_names_of_features_are_spelt_as_in_the_data(screen):
    PerturbationGDE.setup_anndata(screen, "perturbation", control="control")
    table = screen.uns["gene_features"]
    with pytest.raises(KeyError, match=r"features\.T"):
        model_of(screen, features=table.T)
    with pytest.raises(KeyError, match="another case"):
        model_of(screen, features=table.rename(index=str.upper))
    with pytest.raises(KeyError, match=r"Rows of features are '0', '1', '2' and"):
        model_of(screen, features=table.reset_index(drop=True))
    vectors = {name: row.to_numpy() for name, row in table.iterrows()}
    model = model_of(screen, features=vectors)
    np.testing.assert_array_equal(model.features, table.astype(np.float32))
    del vectors["target_01"]
    with pytest.raises(KeyError, match="target_01"):
        model_of(screen, features=vectors)


def test_bad_predictions_are_refused(screen):
    PerturbationGDE.setup_anndata(screen, "perturbation", control="control")
    model = model_of(screen)
    with pytest.raises(RuntimeError, match="train"):
        model.predict("target_01")
    fit(model)
    with pytest.raises(ValueError, match="more than once"):
        model.predict(["target_01", "target_01"])
    with pytest.raises(ValueError, match="no covariate_key was set up"):
        model.predict("target_01", covariates="x")
    with pytest.raises(TypeError, match=r"must be names.*got AnnData"):
        model.predict(screen)
    with pytest.raises(ValueError, match="empty"):
        model.predict([])
    with pytest.raises(ValueError, match="validation='population'"):
        fit(model, validation="population")
    with pytest.raises(TypeError, match="reads an AnnData"):
        PerturbationGDE.setup_mudata(None)
