from __future__ import annotations

import numpy as np
import pytest

import scgde

GDE = scgde.model.GDE


def test_round_trip(trained, tmp_path):
    trained.save(tmp_path / "m")
    again = GDE.load(tmp_path / "m", adata=trained.adata)
    assert again.get_population_embedding().equals(trained.get_population_embedding())
    assert (again.sample("C19-CB-0002", 9).X != trained.sample("C19-CB-0002", 9).X).nnz == 0
    assert again.history["train_loss"].equals(trained.history["train_loss"])
    assert again.is_trained


def test_saved_data_comes_back(trained, tmp_path):
    trained.save(tmp_path / "m", save_anndata=True)
    again = GDE.load(tmp_path / "m")
    assert again.get_population_embedding().equals(trained.get_population_embedding())


def test_unseen_populations(trained, tmp_path):
    z = trained.get_population_embedding()
    trained.save(tmp_path / "m")
    new = trained.adata[trained.adata.obs["donor"].isin(["C19-CB-0002", "C19-CB-0204"])].copy()
    new.obs["donor"] = "Zoë/" + new.obs["donor"].astype(str)
    del new.obs["severity"]  # new patients have no diagnosis yet
    again = GDE.load(tmp_path / "m", adata=new)
    got = again.get_population_embedding()
    assert list(got.index) == ["Zoë/C19-CB-0002", "Zoë/C19-CB-0204"]
    np.testing.assert_allclose(got, z.loc[["C19-CB-0002", "C19-CB-0204"]], rtol=1e-4, atol=1e-6)


def test_without_data(trained, tmp_path):
    trained.save(tmp_path / "m")
    again = GDE.load(tmp_path / "m", adata=False)
    with pytest.raises(ValueError, match="no data attached"):
        again.get_population_embedding()
    z = trained.get_population_embedding()
    assert again.sample(z.iloc[:2], 4).shape == (8, 60)
    new = trained.adata.copy()
    assert again.get_population_embedding(new).equals(z)


def test_existing_folder(trained, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        trained.save(tmp_path / "m")
    trained.save(tmp_path / "m", overwrite=True)
    assert (tmp_path / "m" / "notes.txt").read_text() == "mine"
    assert GDE.load(tmp_path / "m", adata=trained.adata).is_trained
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


def test_a_failing_save_leaves_nothing(trained, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    trained.save(tmp_path / "m")
    before = (tmp_path / "m" / "model.pt").read_bytes()
    monkeypatch.setattr("torch.save", fail)
    for target in ("m", "new"):
        with pytest.raises(OSError, match="disk full"):
            trained.save(tmp_path / target, overwrite=True)
    assert (tmp_path / "m" / "model.pt").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "not a model"])
def test_damaged_file(trained, tmp_path, damage):
    trained.save(tmp_path / "m")
    file = tmp_path / "m" / "model.pt"
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    else:
        content = b"hello"
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="damaged or cut short"):
        GDE.load(tmp_path / "m", adata=trained.adata)


def test_no_model_in_the_folder(tmp_path):
    (tmp_path / "other.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"model\.pt is missing \(there is 'other\.txt'\)"):
        GDE.load(tmp_path)


def test_other_genes_at_load(trained, tmp_path):
    trained.save(tmp_path / "m")
    fewer = trained.adata[:, 5:].copy()
    with pytest.raises(ValueError, match="5 of the 60 features"):
        GDE.load(tmp_path / "m", adata=fewer)
    shuffled = trained.adata[:, ::-1].copy()
    with pytest.raises(ValueError, match=r"get_feature_names\(\)"):
        GDE.load(tmp_path / "m", adata=shuffled)
    mended = shuffled[:, trained.get_feature_names()].copy()
    again = GDE.load(tmp_path / "m", adata=mended)
    assert again.get_population_embedding().equals(trained.get_population_embedding())
