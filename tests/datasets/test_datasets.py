"""The registry, and sets that ship."""

from __future__ import annotations

import re
import shutil
import socket

import pytest

import scgde
from scgde.datasets import _catalogue, _fetch
from scgde.datasets._command import entry_faults
from scgde.datasets._entry import Entry, File

TABLE = scgde.datasets.list()
BUNDLED = TABLE.index[TABLE["availability"] == "bundled"]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_are_what_the_registry_says_without_a_network(name, no_network):
    entry, adata = scgde.datasets.info(name), scgde.datasets.load(name)
    assert adata.shape == (entry["n_cells"], entry["n_features"])
    assert adata.obs[entry["population_key"]].nunique() == entry["n_populations"]
    assert set(entry["labels"]) <= set(adata.obs)
    assert entry["licence"] in ("MIT", "BSD-3-Clause", "CC0-1.0")
    assert entry["citation"]


@pytest.mark.parametrize("name", TABLE.index)
def test_every_entry_is_in_order(name):
    assert entry_faults(_catalogue.registry_folder() / f"{name}.toml") == []


def test_the_registry_has_what_it_must():
    studies = ["weinreb2020", "replogle2022_k562", "replogle2022_rpe1", "psychad", "kang2018"]
    studies += ["norman2019", "onek1k", "stephenson2021", "combat2022", "perez2022", "papalexi2021"]
    studies += ["sciplex3", "yeast_promoters", "funk2022", "spike_gisaid", "valiga", "nf1"]
    for study in studies:
        assert TABLE.index.str.startswith(study).any(), study
    assert len(BUNDLED) == 4
    assert "GISAID" in scgde.datasets.info("spike_gisaid")["obtain"]


def test_info_says_where_a_file_is_and_whether_its_checksum_is_known(tmp_path):
    kang, larry = (scgde.datasets.info(n, tmp_path) for n in ("kang2018", "weinreb2020_full"))
    assert kang["files"][0]["checksum"].startswith("sha256:e6a5adac")
    assert kang["files"][0]["path"] == str(tmp_path / "kang2018" / "kang_2018.h5ad")
    assert {f["checksum"] for f in larry["files"]} == {"not known; recorded at first download"}
    assert all("size" not in f for f in larry["files"])


def test_unknown_name():
    for function in (scgde.datasets.load, scgde.datasets.info, scgde.datasets.fetch):
        with pytest.raises(KeyError, match="Did you mean 'valiga'"):
            function("valigga")


def test_unknown_option():
    with pytest.raises(TypeError, match=r"no option 'fast'.*'h5ad' has \['backed', 'rename'\]"):
        scgde.datasets.load("valiga", fast=True)


def test_a_set_can_stay_on_disk():
    adata = scgde.datasets.load("valiga", backed=True)
    assert adata.isbacked
    adata.file.close()


def test_damaged_and_missing_files(tmp_path, monkeypatch):
    shutil.copytree(_catalogue.PACKAGE / "bundled", tmp_path / "bundled")
    monkeypatch.setattr(_fetch, "PACKAGE", tmp_path)
    file = tmp_path / "bundled" / scgde.datasets.info("valiga")["files"][0]["name"]
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is damaged"):
        scgde.datasets.load("valiga")
    file.unlink()
    with pytest.raises(FileNotFoundError, match="not part of this installation"):
        scgde.datasets.load("valiga")


def test_a_set_to_be_got_by_hand_says_how_and_where(tmp_path):
    with pytest.raises(FileNotFoundError, match="Log in to GISAID") as error:
        scgde.datasets.load("spike_gisaid", cache_dir=tmp_path)
    assert str(tmp_path / "spike_gisaid" / "spikeprot.fasta") in str(error.value)
    assert not (tmp_path / "spike_gisaid").exists()


GOOD = """
title = "T"
licence = "MIT"
citation = "C"
organism = "human"
modality = "RNA counts"
origin = "O"
caveats = ""
tasks = ["patients"]
reader = "h5ad"
[[files]]
name = "a.h5ad"
urls = ["https://example.org/a.h5ad"]
"""


def test_an_entry_is_read(tmp_path):
    path = tmp_path / "good.toml"
    path.write_text(GOOD)
    entry = Entry.from_toml(path)
    assert entry.files == [File(name="a.h5ad", urls=["https://example.org/a.h5ad"])]
    assert entry.files[0].known_hash is None
    assert entry.n_cells is None
    assert entry.availability == "download"
    assert entry_faults(path) == []


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('title = "T"', "title = 3", "title=3 must be text"),
        ('title = "T"', 'title = " "', "title is empty"),
        ('licence = "MIT"', 'license = "MIT"', "Did you mean 'licence'"),
        ('licence = "MIT"', "", "licence is missing"),
        ('["patients"]', '["patient"]', "tasks='patient' is not in the vocabulary"),
        ('["patients"]', "[]", "tasks is empty"),
        ('reader = "h5ad"', 'reader = "h5"', "reader='h5' is not in the readers"),
        ('reader = "h5ad"', 'reader = "h5ad"\nn_cells = 0', "n_cells=0 must be above zero"),
        ('reader = "h5ad"', 'reader = "h5ad"\nn_cells = "many"', "must be a whole number"),
        ('reader = "h5ad"', 'reader = "h5ad"\nlabels = ["a", 2]', "must be a list of texts"),
        (
            'reader = "h5ad"',
            'reader = "h5ad"\nreader_kwargs = { fast = 1 }',
            "reader_kwargs='fast'",
        ),
        ('name = "a.h5ad"', 'name = "../a.h5ad"', r"files\[0\].name='../a.h5ad'"),
        ('name = "a.h5ad"', 'name = "a.h5ad"\nsha256 = "abc"', "must be 64 digits"),
        ('name = "a.h5ad"', 'name = "a.h5ad"\nbundled = true', "bundled=true needs sha256"),
        ("https://example.org", "ftp://example.org", "must begin with 'https://'"),
        ('urls = ["https://example.org/a.h5ad"]', "", "obtain is missing"),
        (GOOD, "title = ", "no valid TOML"),
        (GOOD[GOOD.index("[[files]]") :], "files = 3", "files=3 must be"),
        (GOOD[GOOD.index("[[files]]") :], "files = []", "files is empty"),
    ],
)
def test_faults_name_file_field_and_value(tmp_path, before, after, message):
    path = tmp_path / "entry.toml"
    path.write_text(GOOD.replace(before, after))
    faults = entry_faults(path)
    assert re.search(message, "; ".join(faults))
    assert all(fault.startswith("entry.toml: ") for fault in faults) or "reader" in message
