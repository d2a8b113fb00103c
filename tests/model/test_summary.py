from __future__ import annotations

import anndata
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scgde
from scgde.model import PopulationSummary

from ..conftest import fit

GDE = scgde.model.GDE
POOLED = [n for n in scgde.encoders.ENCODERS.names() if scgde.encoders.ENCODERS.get(n).streams]


@pytest.fixture(scope="module")
def models(_patients):
    made = {}
    six = _patients.obs["donor"].cat.categories[:6]
    rows = np.argsort(_patients.obs["donor"].cat.codes.to_numpy(), kind="stable")[:240]
    for encoder in POOLED:
        adata = _patients[rows].copy()
        assert set(adata.obs["donor"]) == set(six)
        GDE.setup_anndata(adata, population_key="donor")
        made[encoder] = GDE(adata, encoder=encoder, n_latent=5, n_hidden=12)
        fit(made[encoder], populations_per_batch=3)
    return made


def total(model, parts, signs, merged):
    """Take passes over the parts until all sums are those of the whole."""
    while not merged.is_complete.all():
        rounds = [model.summarize_populations(part, given=merged) for part in parts]
        merged = rounds[0]
        for part, sign in zip(rounds[1:], signs[1:], strict=True):
            merged = merged + part if sign > 0 else merged - part
    return merged


def same(model, summary, adata):
    z, covariance = model.get_population_embedding(
        adata, return_covariance=True, enable_progress_bar=False
    )
    found = summary.embedding.loc[z.index]
    scale = max(1.0, np.abs(z.to_numpy()).max())
    np.testing.assert_allclose(found / scale, z / scale, rtol=0, atol=1e-5)
    found = summary.covariance[summary.names.get_indexer(z.index)]
    known = np.isfinite(covariance)
    np.testing.assert_array_equal(np.isfinite(found), known)
    scale = np.abs(covariance[known]).max(initial=0)
    np.testing.assert_allclose(found[known] / scale, covariance[known] / scale, rtol=0, atol=1e-3)
    n_cells = adata.obs["donor"].value_counts()
    assert (summary.n_cells == n_cells[summary.names].to_numpy()).all()


@pytest.mark.parametrize("encoder", POOLED)
def test_summary_is_the_embedding(models, encoder):
    model = models[encoder]
    summary = model.summarize_populations()
    assert summary.is_complete.all()
    assert "6 populations, 240 cells" in repr(summary)
    same(model, summary, model.adata)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("encoder", POOLED)
@given(lanes=st.lists(st.integers(0, 2), min_size=240, max_size=240), seed=st.integers(0, 99))
def test_merging_is_embedding_the_union(models, encoder, lanes, seed):
    """However cells fall into lanes, and in whatever order these are merged."""
    model, lanes = models[encoder], np.array(lanes)
    parts = [model.adata[lanes == k].copy() for k in np.unique(lanes)]
    order = np.random.default_rng(seed).permutation(len(parts))
    parts = [parts[k] for k in order]
    merged = model.summarize_populations(parts[0])
    for part in parts[1:]:
        merged = merged + model.summarize_populations(part)
    same(model, total(model, parts, [1] * len(parts), merged), model.adata)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("encoder", POOLED)
@given(kept=st.lists(st.booleans(), min_size=240, max_size=240))
def test_removing_is_embedding_the_difference(models, encoder, kept):
    model, kept = models[encoder], np.array(kept)
    kept[:2] = True, False
    rest, lane = model.adata[kept].copy(), model.adata[~kept].copy()
    whole = model.summarize_populations()
    left = whole - model.summarize_populations(lane)
    assert (left.n_cells > 0).all()
    same(model, total(model, [model.adata, lane], [1, -1], left), rest)
    # Passes over the cells that are left do as well.
    same(model, total(model, [rest], [1], left), rest)


def test_one_pooling_needs_no_further_pass(models):
    for encoder, complete in (("mean", True), ("kernel_mean", True), ("resnet_gnn", False)):
        model = models[encoder]
        half = np.arange(240) % 2 == 0
        parts = [model.adata[half].copy(), model.adata[~half].copy()]
        merged = model.summarize_populations(parts[0]) + model.summarize_populations(parts[1])
        assert merged.is_complete.all() == complete
        assert (merged.n_known_layers == 1).all()


def test_populations_of_one_side_are_complete(models):
    model = models["resnet_gnn"]
    a, b = model.adata[:100].copy(), model.adata[80:].copy()  # the third donor is in both
    merged = model.summarize_populations(a) + model.summarize_populations(b)
    waiting = merged.names[~merged.is_complete]
    assert len(waiting) == 1
    assert len(merged) == 6
    with pytest.raises(ValueError, match=f"{waiting[0]}.*pools 3 times.*given=summary"):
        _ = merged.embedding
    with pytest.raises(ValueError, match="another pass"):
        _ = merged.covariance


def test_part_of_a_pass_is_not_taken_for_the_whole(models):
    model = models["resnet_gnn"]
    half = np.arange(240) % 2 == 0
    a, b = model.adata[half].copy(), model.adata[~half].copy()
    merged = model.summarize_populations(a) + model.summarize_populations(b)
    assert not model.summarize_populations(a, given=merged).is_complete.any()


def test_saved_and_loaded(models, tmp_path):
    model = models["gnn"]
    adata = model.adata.copy()
    adata.obs["donor"] = adata.obs["donor"].cat.rename_categories({"C19-CB-0002": "Süd/2"})
    summary = model.summarize_populations(adata, source="Süd, lane 1")
    summary.save(tmp_path / "new" / "s.h5ad")
    summary.save(tmp_path / "new" / "s.h5ad")  # replaces
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["s.h5ad"]
    again = PopulationSummary.load(tmp_path / "new" / "s.h5ad")
    assert again.embedding.equals(summary.embedding)
    np.testing.assert_array_equal(again.covariance, summary.covariance)
    assert again.history.to_dict() == summary.history.to_dict()
    half = adata[::2].copy()
    left = again - model.summarize_populations(half)
    same(model, total(model, [adata, half], [1, -1], left), adata[1::2].copy())


def test_summaries_of_a_saved_model_mix(models, tmp_path):
    model = models["resnet_gnn"]
    model.save(tmp_path / "m")
    other = GDE.load(tmp_path / "m", adata=model.adata[:100].copy())
    merged = other.summarize_populations() + model.summarize_populations(model.adata[120:].copy())
    assert merged.counts.sum() == 220


def test_provenance(models):
    model = models["mean"]
    a = model.summarize_populations(model.adata[:120].copy(), source="site A")
    b = model.summarize_populations(model.adata[120:].copy(), source="site B")
    history = (a + b - a).history
    assert history["operation"].tolist() == ["+", "+", "-"]
    assert history["source"].tolist() == ["site A", "site B", "site A"]
    assert history["n_cells"].tolist() == [120, 120, 120]
    assert set((a + b - a).names) == set(b.names)
    with pytest.raises(ValueError, match="'site A' is in both"):
        _ = a + b + a
    same(model, a + b - a + a, model.adata)
    with pytest.raises(ValueError, match=r"'site A' is not in this summary.*'site B'"):
        _ = a + b - a - a
    nothing = a - a
    assert len(nothing) == 0
    assert len(nothing + b) == len(b + nothing) == len(b)
    assert (nothing + b).history["operation"].tolist() == ["+", "-", "+"]
    with pytest.raises(ValueError, match="populations is empty"):
        model.summarize_populations(populations=[])


def test_what_cannot_be_combined(models):
    a, b = models["mean"].summarize_populations(), models["gnn"].summarize_populations()
    with pytest.raises(ValueError, match="different models"):
        _ = a + b
    with pytest.raises(ValueError, match="another model"):
        models["mean"].summarize_populations(given=b)
    with pytest.raises(TypeError):
        _ = a + 1
    some = models["mean"].summarize_populations(populations=["C19-CB-0002", "C19-CB-0003"])
    assert len(some) == 2
    with pytest.raises(ValueError, match="not in this one"):
        _ = some - a
    few = models["mean"].summarize_populations(models["mean"].adata[::2].copy())
    with pytest.raises(ValueError, match="fewer cells"):
        _ = few - a


def test_without_covariance(models):
    summary = models["resnet_gnn"].summarize_populations(covariance=False)
    assert summary.embedding.shape == (6, 5)
    with pytest.raises(ValueError, match="covariance=True"):
        _ = summary.covariance


def test_encoders_that_do_not_stream_say_so(patients):
    GDE.setup_anndata(patients, population_key="donor")
    model = GDE(patients, encoder="self_attention", n_latent=4, n_hidden=8)
    fit(model)
    with pytest.raises(ValueError, match=r"cannot be streamed.*get_drawn_embedding"):
        model.summarize_populations()


def test_other_files_are_refused(patients, tmp_path):
    patients.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match="no population summary"):
        PopulationSummary.load(tmp_path / "cells.h5ad")


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("form", ["memory", "h5ad", "zarr"])
def test_streams_from_every_store(models, tmp_path, form, dense):
    model = models["resnet_gnn"]
    whole = model.get_population_embedding()
    adata = model.adata.copy()
    if dense:
        adata.X = adata.X.toarray()
    if form == "h5ad":
        adata.write_h5ad(tmp_path / "a.h5ad")
        adata = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    elif form == "zarr":
        import zarr

        adata.write_zarr(tmp_path / "a.zarr")
        stored = zarr.open(tmp_path / "a.zarr")["X"]
        stored = stored if dense else anndata.io.sparse_dataset(stored)
        adata = anndata.AnnData(stored, obs=adata.obs, var=adata.var)
    streamed = model.get_population_embedding(adata, max_cells=8, enable_progress_bar=False)
    np.testing.assert_allclose(streamed, whole, rtol=0, atol=1e-5)
    summary = model.summarize_populations(adata, max_cells=8)
    np.testing.assert_allclose(summary.embedding, whole, rtol=0, atol=1e-5)
