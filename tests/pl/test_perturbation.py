from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import scgde

from ..tl._linear_perturbations import LinearPredictor, screen

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def scored():
    adata, features = screen()
    scgde.tl.predict_perturbations(
        adata,
        LinearPredictor(adata, features),
        held_out=["g0", "g1", "g2", "g4+g5"],
        n_cells=10,
        max_cells=20,
        enable_progress_bar=False,
    )
    return adata


def test_panels_show_the_summary(scored):
    axes = scgde.pl.perturbation_report(scored, metrics=["pearson_delta", "energy_distance"])
    summary = scored.uns["gde_perturbation"]["summary"]
    own = summary[summary["metric"] == "pearson_delta"].set_index("method")["estimate"]
    labels = [t.get_text() for t in axes[0].get_yticklabels()]
    assert labels[-1] == "gde"
    assert "data ceiling" not in labels
    points = [line for line in axes[0].lines if line.get_marker() == "o"]
    shown = [line.get_xdata()[0] for line in points]
    assert labels[0] == "additive (1 of 4)"
    methods = [label.split(" (")[0].replace(" ", "_") for label in labels]
    assert shown == [own[method] for method in methods]
    assert axes[0].lines[0].get_xdata()[0] == own["data_ceiling"]
    assert axes[0].get_title().endswith("→")
    assert axes[1].get_title().endswith("←")
    # The additive baseline had one perturbation: no interval, so nothing to be sure of.
    hollow = {
        method
        for method, point in zip(methods, points, strict=True)
        if point.get_markerfacecolor() == "white"
    }
    assert "additive" in hollow
    assert "no_change" not in hollow


def test_metrics_by_default_and_one_by_name(scored):
    assert len(scgde.pl.perturbation_report(scored)) == 4
    (ax,) = scgde.pl.perturbation_report(scored, metrics="pearson_delta")
    assert ax.get_title() == "pearson delta →"
    # One held-out perturbation has no others to be told from.
    adata, features = screen()
    model = LinearPredictor(adata, features)
    scgde.tl.predict_perturbations(
        adata, model, held_out=["g0"], n_cells=0, enable_progress_bar=False
    )
    titles = [ax.get_title()[:-2] for ax in scgde.pl.perturbation_report(adata)]
    assert titles == ["r2 vs training mean", "pearson delta", "energy distance"]


def test_a_shift_and_its_largest_genes(scored):
    ax = scgde.pl.predicted_shift(scored, "g4+g5", n_genes=3)
    found = scored.uns["gde_perturbation"]["predictions"]
    place = found["table"]["population"].tolist().index("g4+g5")
    drawn = ax.collections[0].get_offsets()
    np.testing.assert_allclose(drawn[:, 0], found["observed"][place])
    np.testing.assert_allclose(drawn[:, 1], found["predicted"][place])
    largest = np.argsort(-np.abs(found["observed"][place]))[:3]
    assert [t.get_text() for t in ax.texts] == [scored.var_names[i] for i in largest]


def test_mistakes_are_named(scored):
    with pytest.raises(KeyError, match="Did you mean 'pearson_delta'"):
        scgde.pl.perturbation_report(scored, metrics=["pearson_delt"])
    with pytest.raises(KeyError, match="Did you mean 'pearson_delta'"):
        scgde.pl.perturbation_report(scored, metrics="pearson_delt")
    with pytest.raises(ValueError, match="metrics is empty"):
        scgde.pl.perturbation_report(scored, metrics=[])
    with pytest.raises(ValueError, match="1 axes for 2 metrics"):
        scgde.pl.perturbation_report(
            scored, metrics=["r2_shift", "mse_shift"], axes=plt.subplots()[1]
        )
    with pytest.raises(KeyError, match="gde_perturbation"):
        scgde.pl.perturbation_report(scored, key="gde_perturbations")
    with pytest.raises(KeyError, match="held-out populations"):
        scgde.pl.predicted_shift(scored, "g7")
