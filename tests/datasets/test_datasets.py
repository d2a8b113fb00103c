from __future__ import annotations

import shutil

import pytest

import scgde
from scgde.datasets import _load


@pytest.mark.parametrize("name", scgde.datasets.list_datasets().index)
def test_bundled_sets_are_what_the_registry_says(name):
    entry, adata = scgde.datasets.info(name), scgde.datasets.load(name)
    assert adata.shape == (entry["n_cells"], entry["n_features"])
    assert adata.obs[entry["population_key"]].nunique() == entry["n_populations"]
    assert set(entry["labels"]) <= set(adata.obs)
    assert entry["licence"] in ("MIT", "BSD-3-Clause", "CC0-1.0")
    assert entry["citation"]


def test_unknown_name():
    with pytest.raises(KeyError, match="Did you mean 'valiga'"):
        scgde.datasets.load("valigga")


def test_damaged_and_missing_files(tmp_path, monkeypatch):
    shutil.copytree(_load._HERE / "bundled", tmp_path / "bundled")
    monkeypatch.setattr(_load, "_HERE", tmp_path)
    file = tmp_path / "bundled" / scgde.datasets.info("valiga")["file"]
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is damaged"):
        scgde.datasets.load("valiga")
    file.unlink()
    with pytest.raises(FileNotFoundError, match="not part of this installation"):
        scgde.datasets.load("valiga")
