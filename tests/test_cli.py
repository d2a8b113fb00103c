from __future__ import annotations

import anndata
import pytest

from scgde._cli import main
from scgde._demo import run_demo


def test_demo_computes_and_writes_what_it_prints(tmp_path, capsys):
    main(["demo", "--output", str(tmp_path / "out"), "--steps", "3"])
    printed = capsys.readouterr().out
    for name in ("demo.h5ad", "training_curve.png", "patients.png", "resampled_cells.png"):
        assert (tmp_path / "out" / name).stat().st_size > 1_000
        assert name in printed.replace("\n", "")
    for row in ("majority", "mean_sd", "pseudobulk_pca", "kernel_mean", "gde", "inductive"):
        assert row in printed
    for row in ("variance_ratio", "gene_correlation", "auc_trees", "total_sd_ratio", "ceiling"):
        assert row in printed
    adata = anndata.read_h5ad(tmp_path / "out" / "demo.h5ad")
    scores = adata.uns["gde_classification"]["scores"]
    assert set(scores["setting"]) >= {"transductive", "inductive"}
    assert adata.obsm["X_gde"].shape[0] == adata.n_obs


@pytest.mark.long
def test_demo_keeps_its_promises(tmp_path):
    """What the README says of the demo, at its full length."""
    tables = run_demo(tmp_path / "out")
    scores = tables["classification"]
    auc = scores[(scores.representation == "gde") & (scores.metric == "roc_auc")]
    assert (auc["estimate"] >= 0.9).all()
    resampled = tables["resampling"]
    for row in ("variance_ratio", "variance_ratio_normalized"):
        assert 0.8 <= resampled.loc[row, "estimate"] <= 1.25
    distance = resampled.loc["energy_distance"]
    assert distance["ceiling"] / 2 < distance["estimate"] < distance["nearest_patient"]


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip()
