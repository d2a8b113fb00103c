"""The path goes where there are cells, over a pass of known height."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
from anndata import AnnData

import scgde
from scgde.stats import KernelEnergy, likely_bandwidth

KEY = "free_energy_path"


def arc_of_cells(seed=0, n=600) -> AnnData:
    """Two blobs at (-3, 0) and (3, 0), joined by a thin half circle of radius 3."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, np.pi, n)
    arc = 3 * np.column_stack([np.cos(angle), np.sin(angle)])
    blobs = np.repeat([[-3.0, 0], [3.0, 0]], n // 2, axis=0)
    x = np.concatenate([blobs, arc]) + 0.2 * rng.normal(size=(2 * n, 2))
    adata = AnnData(x.astype(np.float32))
    adata.obsm["X_pca"] = x
    adata.obsm["X_umap"] = x[:, ::-1].copy()
    adata.obs["state"] = ["left/early"] * (n // 2) + ["right"] * (n // 2) + ["between"] * n
    adata.obs["donor"] = [f"d/{i % 7}" for i in range(2 * n)]
    return adata


def find(adata, *ends, **kwargs):
    options = {"groupby": "state", "n_bootstrap": 30, "enable_progress_bar": False, **kwargs}
    return scgde.tl.free_energy_path(adata, *(ends or ("left/early", "right")), **options)


@pytest.fixture(scope="module")
def followed():
    adata = arc_of_cells()
    find(adata, population_key="donor")
    return adata


def test_it_follows_the_arc_and_not_the_chord(followed):
    result = followed.uns[KEY]
    radius = np.linalg.norm(result["points"], axis=1)
    np.testing.assert_allclose(radius, 3, atol=0.4)
    assert result["points"][25, 1] > 2.5
    length = result["path"]["arc_length"].iloc[-1]
    assert length == pytest.approx(3 * np.pi, rel=0.1)
    along = followed.obs[KEY]
    above = followed.obsm["X_pca"][:, 1] > 0  # below, angles start anew
    between = (followed.obs["state"] == "between") & along.notna() & above
    assert between.sum() > 450
    x = followed.obsm["X_pca"][between]
    angle = np.pi - np.arctan2(x[:, 1], x[:, 0])
    assert np.corrcoef(along[between], angle)[0, 1] > 0.99
    assert result["params"]["start_cell"] in followed.obs_names


def test_populations_have_energies_of_their_own(followed):
    result = followed.uns[KEY]
    assert list(result["populations"]) == [f"d/{i}" for i in range(7)]
    assert result["population_energy"].shape == (7, 50)
    np.testing.assert_array_equal(result["population_energy"][:, 0], 0)
    table = result["barriers"]
    assert list(table["population"]) == ["", ""] + [f"d/{i}" for i in range(7) for _ in range(2)]
    assert result["params"]["interval"].endswith("populations")
    everyone = table[table["population"] == ""]
    # Thin arc, dense blobs: a pass between two equal wells.
    assert (everyone["low"] > 0.5).all()
    assert (everyone["cells_at_top"] > 1).all()


def test_the_pass_is_as_high_as_the_density_says():
    """Two normals 2 a apart in the first of two coordinates: F(0) - F(a) is known."""
    rng, a = np.random.default_rng(0), 2.0
    x = rng.normal(size=(2_000, 2)) + np.repeat([[-a, 0], [a, 0]], 1_000, axis=0)
    adata = AnnData(x.astype(np.float32))
    adata.obsm["X_pca"] = x
    adata.obs["state"] = ["l"] * 1_000 + ["r"] * 1_000
    table = find(adata, "l", "r", bandwidth=0.3)
    # The kernel widens the normals.
    variance = 1 + 0.3**2
    known = np.log((1 + np.exp(-2 * a**2 / variance)) / 2) + a**2 / (2 * variance)
    assert table["estimate"].mean() == pytest.approx(known, abs=0.3)

    def score(p):
        pull = np.tanh(a * p[:, :1])
        return np.column_stack([-p[:, :1] + a * pull, -p[:, 1:]])

    by_score = find(adata, "l", "r", score=score)
    exact = np.log((1 + np.exp(-2 * a**2)) / 2) + a**2 / 2
    # The ends are cells near the modes, so a little above them.
    assert by_score["estimate"].mean() == pytest.approx(exact, abs=0.25)
    assert by_score["low"].isna().all()


def test_round_trip(followed, tmp_path):
    followed.write_h5ad(tmp_path / "a.h5ad")
    read = anndata.read_h5ad(tmp_path / "a.h5ad")
    kept, wrote = read.uns[KEY], followed.uns[KEY]
    assert kept["barriers"].equals(wrote["barriers"])
    np.testing.assert_array_equal(kept["points"], wrote["points"])
    np.testing.assert_array_equal(read.obs[KEY], followed.obs[KEY])


def test_named_cells_a_seed_and_untouched_input():
    adata = arc_of_cells(n=200)
    before = adata.copy()
    first = find(adata, "0", "150", groupby=None, key_added="way", seed=3)
    np.testing.assert_allclose(adata.uns["way"]["points"][[0, -1]], adata.obsm["X_pca"][[0, 150]])
    assert first.equals(find(adata, "0", "150", groupby=None, key_added="way", seed=3))
    np.testing.assert_array_equal(adata.X, before.X)
    np.testing.assert_array_equal(adata.obsm["X_pca"], before.obsm["X_pca"])
    assert set(adata.obs) - set(before.obs) == {"way"}


def test_mistakes_are_named():
    adata = arc_of_cells(n=100)
    with pytest.raises(KeyError, match="right"):
        find(adata, "left/early", "rihgt")
    with pytest.raises(KeyError, match="X_pca"):
        find(adata, use_rep="X_pcb")
    with pytest.raises(KeyError, match="groupby"):
        find(adata, groupby="states")
    with pytest.raises(KeyError, match="groupby"):
        find(adata, "left", "right", groupby=None)
    with pytest.raises(KeyError, match="population_key"):
        find(adata, population_key="patient")
    with pytest.raises(ValueError, match="no way"):
        find(adata, "right", "right")
    with pytest.raises(ValueError, match="bandwidth"):
        find(adata, bandwidth=-1.0)
    with pytest.raises(ValueError, match="n_points=1"):
        find(adata, n_points=1)
    apart = adata[adata.obs["state"] != "between"].copy()
    with pytest.raises(ValueError, match="n_neighbors=3"):
        find(apart, n_neighbors=3)
    with pytest.warns(UserWarning, match="max_steps=1"):
        find(adata, max_steps=1)
    adata.obsm["X_pca"][3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        find(adata)


def test_states_are_named_as_elsewhere_and_missing_ones_are_none():
    adata = arc_of_cells(n=100)
    number = adata.obs["state"].map({"left/early": 1.0, "right": 2.0})
    adata.obs["cluster"] = number  # missing between them
    find(adata, "1", "2", groupby="cluster", key_added="way")
    params = adata.uns["way"]["params"]
    assert (params["start"], params["end"]) == ("1", "2")
    by_number = find(adata, 1, 2.0, groupby="cluster", key_added="again")
    assert by_number.equals(adata.uns["way"]["barriers"])
    assert adata.uns["again"]["params"]["end"] == "2"
    with pytest.raises(KeyError, match="start='nan'"):
        find(adata, "nan", "2", groupby="cluster")
    with pytest.raises(KeyError, match="end="):
        find(adata, "1", np.nan, groupby="cluster")


def test_cells_of_one_name():
    adata = arc_of_cells(n=100)
    names = adata.obs_names.to_list()
    names[1] = names[0]
    adata.obs_names = names
    with pytest.raises(ValueError, match=r"start='0' is the name of 2 cells.*make_unique"):
        find(adata, "0", "150", groupby=None)
    # Of states, and of other cells, nobody needs their names.
    find(adata, "5", "150", groupby=None)
    find(adata)


def test_what_others_wrote_is_not_overwritten():
    adata = arc_of_cells(n=100)
    adata.uns["neighbors"] = {"connectivities_key": "connectivities"}
    before = adata.obs["state"].copy()
    for key in ("state", "donor", "neighbors"):
        with pytest.raises(ValueError, match=f"key_added='{key}' is in adata"):
            find(adata, key_added=key)
    assert adata.obs["state"].equals(before)
    find(adata)
    first = adata.obs[KEY].copy()
    find(adata, n_points=20)
    assert len(adata.uns[KEY]["path"]) == 20
    assert not adata.obs[KEY].equals(first)


@pytest.mark.parametrize(
    ("score", "error", "match"),
    [
        (lambda x: -x[:, 0], ValueError, r"score returned the shape \(\d+,\)"),
        (lambda x: -x[:1], ValueError, r"score returned the shape \(1, 2\)"),
        (lambda x: np.full_like(x, np.nan), ValueError, "score returned values that are NaN"),
        (np.zeros((200, 2)), TypeError, "score must be a function of points, got ndarray"),
    ],
)
def test_a_score_of_another_shape(score, error, match):
    with pytest.raises(error, match=match):
        find(arc_of_cells(n=100), score=score)


def test_what_is_no_anndata():
    with pytest.raises(TypeError, match="adata must be an AnnData, got DataFrame"):
        find(arc_of_cells(n=100).obs)


def test_kernel_energy():
    x = np.random.default_rng(0).normal(size=(2_000, 2))
    energy = KernelEnergy(x)
    at = np.array([[0.0, 0], [1, 1], [-1.5, 0]])
    known = np.log(2 * np.pi) + np.square(at).sum(1) / 2
    np.testing.assert_allclose(energy(at), known, atol=0.15)
    step = 1e-5
    for axis in (0, 1):
        move = step * np.eye(2)[axis]
        slope = (energy(at + move) - energy(at - move)) / (2 * step)
        np.testing.assert_allclose(energy.gradient(at)[:, axis], slope, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(energy(at, np.ones((1, 2_000)))[0], energy(at))
    twice = np.ones((1, 2_000))
    twice[0, :1_000] = 2
    repeated = KernelEnergy(np.concatenate([x, x[:1_000]]), energy.bandwidth)
    np.testing.assert_allclose(energy(at, twice)[0], repeated(at))
    # Copies of points do not narrow the kernel to nothing.
    assert likely_bandwidth(np.repeat(x, 2, axis=0)) > 0.1
    with pytest.raises(ValueError, match="the same"):
        KernelEnergy(np.ones((5, 2)))
