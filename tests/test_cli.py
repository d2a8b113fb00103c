from __future__ import annotations

import shutil

import anndata
import pytest

import scgde
from scgde._cli import main
from scgde._demo import run_demo
from scgde.datasets import _catalogue


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


def run(capsys, *arguments):
    """Return exit code, output and message of a command."""
    with pytest.raises(SystemExit) as stopped:
        main(["datasets", *arguments])
    code = stopped.value.code
    return code, capsys.readouterr().out, code if isinstance(code, str) else ""


def test_datasets_are_listed_and_described(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert "kang2018" in out
    assert "by hand" in out
    code, out, _ = run(capsys, "info", "weinreb2020_full")
    assert code == 0
    assert "checksum: not known; recorded at first download" in out
    assert "kleintools.hms.harvard.edu" in out
    code, out, message = run(capsys, "info", "kang2081")
    assert "Did you mean 'kang2018'" in message
    assert out == ""


def test_a_data_set_is_fetched(capsys, tmp_path):
    code, out, _ = run(capsys, "fetch", "valiga")
    assert code == 0
    assert out.strip().endswith("valiga_kidney_glomeruli_morphometry.h5ad")
    _, _, message = run(capsys, "fetch", "spike_gisaid", "--cache-dir", str(tmp_path))
    assert str(tmp_path / "spike_gisaid" / "spikeprot.fasta") in message


def test_check_prints_a_line_an_entry_and_fails_on_any_fault(capsys, tmp_path, monkeypatch):
    code, out, _ = run(capsys, "check")
    assert code == 0
    assert len(out.splitlines()) == len(scgde.datasets.list())
    shutil.copytree(_catalogue.registry_folder(), tmp_path / "registry")
    entry = tmp_path / "registry" / "kang2018.toml"
    entry.write_text(entry.read_text().replace("n_cells = 24673", 'n_cells = "many"'))
    monkeypatch.setattr(_catalogue, "registry_folder", lambda: tmp_path / "registry")
    code, out, _ = run(capsys, "check")
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.startswith("kang2018")]
    assert "n_cells='many' must be a whole number" in line
    assert "valiga: ok" in out
