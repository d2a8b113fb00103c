from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

import scgde
from scgde.stats import hotelling_power
from scgde.tl import cells_needed

from ..conftest import fit, normal_populations
from ._noisy_cohort import noisy_cohort


def test_as_many_cells_as_needed_give_the_size_wanted():
    adata, _ = noisy_cohort(30, n_cells=100)
    table = cells_needed(adata, radius=0.8, n_dims=3)
    assert (table["size"] > 0.8).all()
    needed = int(table["n_cells_needed"].median())
    assert needed > 150
    again, _ = noisy_cohort(30, n_cells=needed, seed=1)
    found = cells_needed(again, radius=0.8, n_dims=3)
    assert found["size"].median() == pytest.approx(0.8, rel=0.03)
    assert found["n_cells_needed"].median() == pytest.approx(needed, rel=0.06)


def test_a_relative_size_is_a_share_of_the_true_spread():
    """Donors have spread one, whatever the noise."""
    for n_cells in (50, 1_000):
        adata, _ = noisy_cohort(200, n_cells, shift=0.0)
        table = cells_needed(adata, relative_radius=0.5)
        assert table["wanted_size"].iloc[0] == pytest.approx(0.5, abs=0.06)


def test_populations_of_fewer_cells_than_dimensions_have_no_size_now():
    adata, _ = noisy_cohort(20, np.where(np.arange(20) == 0, 4, 50))
    table = cells_needed(adata)
    assert table["n_dims"].iloc[0] == 6
    assert np.isnan(table["size"].iloc[0])
    assert np.isfinite(table["size"].iloc[1:]).all()
    assert np.isfinite(table["n_cells_needed"]).all()


def test_power_of_a_cohort_is_found_from_the_cohort():
    """Averaged over cohorts, distance and power are those of the truth: D = 1.5, then noise."""
    found = [
        cells_needed(noisy_cohort(60, 40, shift=1.5, seed=s)[0], groupby="group", n_dims=6).iloc[0]
        for s in range(12)
    ]
    found = pd.DataFrame(found)
    assert (found["n_dims"] == 6).all()
    squares = np.square(found["distance"].astype(float))
    assert squares.mean() == pytest.approx(1.5**2, abs=3 * squares.std() / np.sqrt(12))
    expected = hotelling_power(1.5 / np.sqrt(1 + 16 / 40), 30, 30, 6)
    assert found["power"].mean() == pytest.approx(expected, abs=0.12)
    assert (found["power_limit"] >= found["power"]).all()


def test_cells_needed_are_enough():
    """The same donors with as many cells as are needed have the power asked for, on average."""
    off = []
    for seed in range(10):
        few, truth = noisy_cohort(80, 20, shift=1.5, seed=seed)
        row = cells_needed(few, groupby="group", n_dims=4).iloc[0]
        wanted = (row["power"] + row["power_limit"]) / 2
        m = cells_needed(few, groupby="group", n_dims=4, power=wanted).iloc[0]["n_cells_needed"]
        assert row["n_cells"] < m < 1_000
        many, same = noisy_cohort(80, int(m), shift=1.5, seed=seed)
        np.testing.assert_array_equal(truth, same)
        off.append(cells_needed(many, groupby="group", n_dims=4).iloc[0]["power"] - wanted)
    assert abs(np.mean(off)) < 2.5 * np.std(off) / np.sqrt(len(off))
    assert np.std(off) < 0.25


def test_no_number_of_cells_helps_where_donors_are_too_few():
    adata, _ = noisy_cohort(10, 2_000, shift=1.0)
    row = cells_needed(adata, groupby="group", power=0.95).iloc[0]
    assert np.isinf(row["n_cells_needed"])
    assert row["n_donors_needed"] > 10
    assert row["power_limit"] < 0.95


def test_populations_of_a_donor_are_one():
    adata, _ = noisy_cohort(20, 30)
    adata.obs["patient"] = adata.obs["donor"].str[1:].astype(int) // 4 * 2 + (
        adata.obs["group"] == "b"
    )
    adata.obs["patient"] = adata.obs["patient"].astype(str)
    row = cells_needed(adata, groupby="group", donor_key="patient").iloc[0]
    assert (row["n_a"], row["n_b"]) == (5, 5)
    assert row["n_cells"] == pytest.approx(60)


def test_three_groups_make_three_pairs_and_last_in_a_file(tmp_path):
    adata, _ = noisy_cohort(30, 30)
    adata.obs["three"] = (adata.obs["donor"].str[1:].astype(int) % 3).astype(str)
    for groupby in (None, "three"):
        table = cells_needed(adata, groupby=groupby)
        assert len(table) == (30 if groupby is None else 3)
        adata.write_h5ad(tmp_path / "a.h5ad")
        kept = anndata.read_h5ad(tmp_path / "a.h5ad").uns["gde_cells_needed"]["table"]
        pd.testing.assert_frame_equal(kept, table, check_dtype=False, check_names=False)


def test_a_trained_model():
    adata = normal_populations(12, n_cells=40)
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    model = scgde.model.GDE(adata, n_latent=4, n_hidden=8)
    fit(model)
    scgde.tl.embed_populations(adata, model, enable_progress_bar=False)
    assert np.isfinite(cells_needed(adata)["n_cells_needed"]).all()
    assert len(cells_needed(adata, groupby="group")) == 1


def test_every_pair_of_groups_needs_five_donors():
    adata, _ = noisy_cohort(6, 50)
    number = adata.obs["donor"].str[1:].astype(int)
    adata.obs["three"] = (number % 3).astype(str)
    with pytest.raises(ValueError, match=r"'0' \(2\), '1' \(2\), '2' \(2\).*each pair of groups 5"):
        cells_needed(adata, groupby="three")
    adata.obs["two"] = np.where(number < 3, "x", "y")
    assert cells_needed(adata, groupby="two")["power_limit"].between(0, 1).all()


def test_cells_left_out_since_do_not_change_what_was_measured():
    adata, _ = noisy_cohort(20, 60)
    adata.obs["donor"] = adata.obs["donor"].astype(str)
    fewer = adata[np.arange(adata.n_obs) % 3 == 0].copy()
    for options in ({}, {"groupby": "group"}):
        pd.testing.assert_frame_equal(
            cells_needed(fewer, **options), cells_needed(adata, **options)
        )


def test_groups_keep_their_order_and_whole_numbers_their_names():
    adata, _ = noisy_cohort(12)
    adata.obs["dose"] = np.where(adata.obs["group"] == "a", 10.0, 2.0)
    row = cells_needed(adata, groupby="dose").iloc[0]
    assert (row["group_a"], row["group_b"]) == ("2", "10")


def test_donors_must_be_known():
    adata, _ = noisy_cohort(12)
    adata.obs["patient"] = adata.obs["donor"].astype(object).where(adata.obs["donor"] != "d001")
    with pytest.raises(ValueError, match="donor_key='patient' is missing"):
        cells_needed(adata, groupby="group", donor_key="patient")
    adata.obs["patient"] = np.nan
    with pytest.raises(KeyError, match="donor_key='patient'"):
        cells_needed(adata, groupby="group", donor_key="patient")


@pytest.mark.parametrize("tool", [cells_needed, scgde.tl.nearest_populations])
def test_only_finite_embeddings_of_an_anndata(tool):
    adata, _ = noisy_cohort(12)
    with pytest.raises(TypeError, match="AnnData, got MuData"):
        tool(MuData({"rna": adata}))
    adata.uns["gde"]["embedding"].iloc[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite: 'd003'"):
        tool(adata)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"radius": 0}, ValueError, "radius=0"),
        ({"relative_radius": -1}, ValueError, "relative_radius=-1"),
        ({"power": 80}, ValueError, "power=80"),
        ({"level": 0}, ValueError, "level=0"),
        ({"n_dims": 0}, ValueError, "n_dims=0"),
        ({"groupby": "grup"}, KeyError, "Did you mean 'group'"),
        ({"groupby": "same"}, ValueError, "two groups or more"),
        ({"groupby": "donor"}, ValueError, r"'d000' \(1\)"),
        ({"groupby": "group", "donor_key": "hospital"}, KeyError, "donor_key='hospital'"),
        ({"groupby": "group", "donor_key": "half"}, ValueError, "varies within donor"),
        ({"embedding_key": "gd"}, KeyError, "embed_populations"),
    ],
)
def test_bad_input(arguments, error, match):
    adata, _ = noisy_cohort(10)
    adata.obs["same"] = "x"
    adata.obs["half"] = np.where(np.arange(adata.n_obs) < 100, "first", "second")
    adata.obs["donor"] = adata.obs["donor"].astype(str)
    with pytest.raises(error, match=match):
        cells_needed(adata, **arguments)
    assert set(adata.uns) == {"gde"}
