"""Spike proteins of SARS-CoV-2, as populations of sequences."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from rich.progress import track

from .._errors import listed
from ._sequences import PROTEIN, one_hot_sequences


def read_spike_fasta(
    paths: list[Path],
    *,
    min_length: int = 1_260,
    max_length: int = 1_290,
    max_unknown: float = 0.01,
    max_sequences: int | None = 100_000,
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> AnnData:
    """Read GISAID's spike proteins ("spikeprot"), which each user downloads under its terms.

    A header is ``>Spike|hCoV-19/Wuhan/WIV04/2019|2019-12-30|EPI_ISL_402124|Original|
    hCoV-19^^Hubei|Human|originating laboratory|submitting laboratory|submitter|China``. Proteins of
    human hosts with a date to the month and few unknown residues are kept.

    Parameters
    ----------
    paths
        A FASTA file, plain or compressed (gz, xz).
    min_length, max_length
        Residues.
    max_unknown
        Share of unknown residues (X) above which a protein is left out.
    max_sequences
        Draw so many of the usable proteins, in one pass: millions do not fit in memory. None takes
        all.
    seed
        Seed of the draw.
    enable_progress_bar
        Show a bar.

    Returns
    -------
    As :func:`one_hot_sequences`, with ``.obs``: "accession", "date", "month" ("2020-03"),
    "country", "laboratory" (submitting). The paper's populations are ``["month", "laboratory"]``
    (GDE, arXiv 2505.18150, Sec. 6.7).

    Raises
    ------
    ValueError
        If no record is usable; the message says why records were left out.
    """
    kept: list[tuple] = []
    n_usable, rng = 0, np.random.default_rng(seed)
    left_out = {"header": 0, "host": 0, "date": 0, "length or unknown residues": 0}
    records = _fasta(paths[0])
    for header, sequence in track(
        records, paths[0].name, disable=not enable_progress_bar, transient=True
    ):
        fields = header.split("|")
        protein = sequence.rstrip("*")
        if len(fields) < 11:
            left_out["header"] += 1
        elif fields[6] != "Human":
            left_out["host"] += 1
        elif not _is_month(fields[2][:7]):
            left_out["date"] += 1
        elif not min_length <= len(protein) <= max_length or protein.count("X") > max_unknown * len(
            protein
        ):
            left_out["length or unknown residues"] += 1
        else:
            record = (protein, fields[3], fields[2], fields[2][:7], fields[-1], fields[8])
            n_usable += 1
            if max_sequences is None or len(kept) < max_sequences:
                kept.append(record)
            elif (place := rng.integers(n_usable)) < max_sequences:
                kept[place] = record
    if not kept:
        raise ValueError(
            f"{paths[0].name} has no usable spike protein; left out because of "
            f"{listed(f'{why}: {n}' for why, n in left_out.items())}. It must be GISAID's "
            "spikeprot."
        )
    columns = ["protein", "accession", "date", "month", "country", "laboratory"]
    obs = pd.DataFrame(kept, columns=columns).set_index("accession", drop=False)
    obs.index.name = None
    for key in ("month", "country", "laboratory"):
        obs[key] = obs[key].astype("category")
    adata = one_hot_sequences(obs.pop("protein").tolist(), obs, PROTEIN, max_length)
    adata.obs_names_make_unique()
    return adata


def _is_month(text: str) -> bool:
    year, _, month = text.partition("-")
    return len(text) == 7 and year.isdigit() and month.isdigit() and 1 <= int(month) <= 12


def _fasta(path: Path) -> Iterator[tuple[str, str]]:
    """Yield header and sequence of each record."""
    openers = {".gz": gzip.open, ".xz": lzma.open}
    # Submitters' names come in many encodings.
    with openers.get(path.suffix, open)(path, "rt", encoding="utf-8", errors="replace") as lines:
        header, parts = None, []
        for line in lines:
            if line.startswith(">"):
                if header is not None:
                    yield header, "".join(parts).upper()
                header, parts = line[1:].strip(), []
            else:
                parts.append(line.strip())
        if header is not None:
            yield header, "".join(parts).upper()
