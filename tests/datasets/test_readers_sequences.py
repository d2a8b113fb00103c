"""Readers of sequences, images and tables, on small files in the original formats."""

from __future__ import annotations

import gzip
import lzma

import anndata
import numpy as np
import pandas as pd
import pytest

import scgde
from scgde.datasets._plain import read_h5mu, read_image_crops, read_table
from scgde.datasets._promoters import read_promoters
from scgde.datasets._sequences import PROTEIN, read_sequence_table
from scgde.datasets._spike import read_spike_fasta

HEADER = "Spike|hCoV-19/{0}/1/2020|{1}|EPI_ISL_{2}|Original|hCoV-19^^X|{3}|Hospital|{4}|Li|{0}"


def decoded(adata) -> list[str]:
    alphabet, length = adata.uns["alphabet"], adata.uns["sequence_length"]
    x = adata.X.toarray().reshape(adata.n_obs, length, len(alphabet))
    letters = np.array(list(alphabet))[x.argmax(-1)]
    return ["".join(row) for row in np.where(x.any(-1), letters, "?")]


def test_one_hot(tmp_path):
    obs = pd.DataFrame({"bin": [0, 1, 2]}, index=list("abc"))
    adata = scgde.datasets.one_hot_sequences(["ACGT", "acn", "TTTTT"], obs)
    assert decoded(adata) == ["ACGT?", "AC???", "TTTTT"]
    assert decoded(scgde.datasets.one_hot_sequences(["ACGT"], obs[:1], length=2)) == ["AC"]
    assert adata.obs["sequence"].tolist() == ["ACGT", "acn", "TTTTT"]
    assert list(obs) == ["bin"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert decoded(anndata.read_h5ad(tmp_path / "a.h5ad")) == decoded(adata)
    with pytest.raises(ValueError, match="2 texts and obs 3 rows"):
        scgde.datasets.one_hot_sequences(["A", "C"], obs)
    with pytest.raises(ValueError, match="length=0"):
        scgde.datasets.one_hot_sequences(["A"], obs[:1], length=0)


def test_bins_of_expression_are_of_equal_size_and_in_order():
    values = np.r_[np.zeros(50), np.arange(53.0)]
    bins = scgde.datasets.expression_bins(values, 10)
    sizes = pd.Series(bins).value_counts()
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(bins.codes[np.argsort(values, kind="stable")]) >= 0).all()
    with pytest.raises(ValueError, match="at least n_bins=4"):
        scgde.datasets.expression_bins([1.0, 2.0], 4)
    with pytest.raises(ValueError, match="1 of 2 are finite"):
        scgde.datasets.expression_bins([1.0, np.nan], 2)


@pytest.fixture
def promoters(tmp_path):
    """As on Zenodo: a sequence, a tab, its expression; no header."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / "complex.txt", tmp_path / "defined.txt"]
    for path in paths:
        lines = ["".join(rng.choice(list("ACGT"), 80)) + f"\t{i / 10}" for i in range(200)]
        path.write_text("\n".join(lines) + "\n")
    return paths


def test_promoters(promoters):
    options = {"media": ["complex", "defined"], "n_bins": 10, "enable_progress_bar": False}
    adata = read_promoters(promoters, **options)
    assert adata.shape == (400, 320)
    assert decoded(adata)[0] == promoters[0].read_text()[:80]
    assert (
        adata.obs.groupby(["medium", "expression_bin"], observed=True).size().tolist() == [20] * 20
    )
    means = adata.obs.groupby("expression_bin", observed=True)["expression"].mean()
    assert means.is_monotonic_increasing


def test_some_promoters_are_drawn_evenly_and_by_seed(promoters, monkeypatch):
    monkeypatch.setattr("scgde.datasets._promoters._LINES", 30)
    options = {"media": ["complex"], "n_bins": 5, "max_sequences": 50, "enable_progress_bar": False}
    drawn = [
        read_promoters(promoters[:1], **options, seed=seed).obs["expression"] for seed in (0, 0, 1)
    ]
    assert len(drawn[0]) == 50
    assert drawn[0].is_unique
    assert drawn[0].tolist() == drawn[1].tolist() != drawn[2].tolist()
    # Drawn from all of the file, not from its beginning.
    assert 7 < drawn[0].mean() < 13


def test_promoters_with_a_header_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("sequence\texpression\nACGT\t1.0\n")
    with pytest.raises(ValueError, match=r"a\.txt must have lines of a sequence, a tab"):
        read_promoters([tmp_path / "a.txt"], media=["x"], enable_progress_bar=False)


@pytest.fixture
def spike():
    rng = np.random.default_rng(0)
    protein = "".join(rng.choice(list(PROTEIN[:-1]), 1273))
    records = [
        (HEADER.format("China", "2019-12-30", 1, "Human", "WIV"), protein + "*"),
        (
            HEADER.format("France", "2020-03-00", 2, "Human", "Pasteur"),
            protein[:600] + "\n" + protein[600:],
        ),
        (HEADER.format("France", "2020", 3, "Human", "Pasteur"), protein),
        (HEADER.format("China", "2017-04-00", 4, "Manis javanica", "BIME"), protein),
        (HEADER.format("Italy", "2020-03-02", 5, "Human", "Roma"), "X" * 20 + protein[20:]),
        (HEADER.format("Italy", "2020-03-02", 6, "Human", "Roma"), protein[:900]),
        (HEADER.format("Italy", "2020-13-02", 7, "Human", "Roma"), protein),
        ("Spike|broken", protein),
    ]
    return protein, "".join(f">{header}\n{sequence}\n" for header, sequence in records)


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)]
)
def test_spike_proteins(spike, tmp_path, suffix, pack):
    protein, text = spike
    path = tmp_path / f"spikeprot.fasta{suffix}"
    path.write_bytes(pack(text.encode()))
    adata = read_spike_fasta([path], enable_progress_bar=False)
    assert adata.obs["accession"].tolist() == ["EPI_ISL_1", "EPI_ISL_2"]
    assert adata.obs["month"].tolist() == ["2019-12", "2020-03"]
    assert adata.obs["country"].tolist() == ["China", "France"]
    assert adata.obs["laboratory"].tolist() == ["WIV", "Pasteur"]
    assert [s.rstrip("?") for s in decoded(adata)] == [protein] * 2


def test_some_spike_proteins_are_drawn(tmp_path):
    text = "".join(
        f">{HEADER.format('Italy', '2020-03-02', i, 'Human', 'Roma')}\n{'A' * 1273}\n"
        for i in range(60)
    )
    (tmp_path / "a.fasta").write_text(text)
    drawn = [
        read_spike_fasta(
            [tmp_path / "a.fasta"], max_sequences=20, seed=seed, enable_progress_bar=False
        )
        .obs["accession"]
        .tolist()
        for seed in (0, 0, 1)
    ]
    assert len(set(drawn[0])) == 20
    assert drawn[0] == drawn[1] != drawn[2]
    assert sum(int(name.rpartition("_")[2]) >= 30 for name in drawn[0]) > 3


def test_another_fasta_says_why_nothing_is_left(tmp_path):
    (tmp_path / "a.fasta").write_text(">sp|P0DTC2\nMFVF\n")
    with pytest.raises(ValueError, match=r"header: 1.*GISAID's spikeprot"):
        read_spike_fasta([tmp_path / "a.fasta"], enable_progress_bar=False)


def test_a_file_of_the_user_is_read_from_the_cache(spike, tmp_path):
    place = tmp_path / "spike_gisaid" / "spikeprot.fasta"
    place.parent.mkdir()
    place.write_text(spike[1])
    adata = scgde.datasets.load(
        "spike_gisaid", cache_dir=tmp_path, enable_progress_bar=False, max_length=1_300
    )
    assert adata.shape == (2, 1_300 * 21)
    assert place.with_name("spikeprot.fasta.sha256").exists()


def test_a_table_of_sequences(tmp_path):
    """As the promoters and spike proteins of the small files."""
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("sequence,expression,expression_bin\nNNACG,1.5,0\nTTTTT,9.0,9\n")
    adata = read_sequence_table(
        [tmp_path / "a.csv.gz"], sequence_key="sequence", category_keys=["expression_bin"]
    )
    assert decoded(adata) == ["??ACG", "TTTTT"]
    assert adata.obs["expression_bin"].cat.categories.tolist() == ["0", "9"]
    with pytest.raises(KeyError, match="column='dna'"):
        read_sequence_table([tmp_path / "a.csv.gz"], sequence_key="dna")


def test_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 2**16, (3, 4, 4, 2), dtype=np.uint16)
    np.savez(
        tmp_path / "a.npz",
        images=images,
        channels=np.array(["DAPI", "ER"]),
        well=np.array(["B7", "B7", "C1"]),
    )
    adata = read_image_crops([tmp_path / "a.npz"])
    np.testing.assert_array_equal(adata.X.reshape(-1, *adata.uns["image_shape"]), images)
    assert adata.var_names[:3].tolist() == ["0_0_DAPI", "0_0_ER", "0_1_DAPI"]
    assert adata.obs["well"].tolist() == ["B7", "B7", "C1"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    kept = anndata.read_h5ad(tmp_path / "a.h5ad").uns
    assert kept["channels"].tolist() == ["DAPI", "ER"]


def test_tables_and_several_modalities(tmp_path):
    (tmp_path / "a.csv").write_text(",go0,go1\nA1CF,0.5,1.0\nNAT2,0.0,2.0\n")
    table = read_table([tmp_path / "a.csv"])
    assert table.loc["NAT2", "go1"] == 2
    import mudata

    rna = scgde.datasets.normal_populations(2, n_cells=3)
    mudata.MuData({"rna": rna}).write_h5mu(tmp_path / "a.h5mu")
    assert read_h5mu([tmp_path / "a.h5mu"])["rna"].shape == rna.shape
