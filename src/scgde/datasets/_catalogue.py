"""What data sets there are."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path

import pandas as pd

from .._errors import listed, unknown
from ._entry import NO_CHECKSUM, Entry

PACKAGE = Path(str(files(__package__)))


def registry_folder() -> Path:
    """Return the folder of TOML files.

    Raises
    ------
    FileNotFoundError
        If the installation lacks it.
    """
    # Beside the package in a wheel, at the top of the repository in a checkout.
    folders = (PACKAGE / "data_registry", PACKAGE.parents[2] / "data_registry")
    folder = next((f for f in folders if f.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"The data registry is missing (looked in {listed(folders)}). Install scgde again."
        )
    return folder


@cache
def entries() -> dict[str, Entry]:
    """Return all entries by name."""
    return {path.stem: Entry.from_toml(path) for path in sorted(registry_folder().glob("*.toml"))}


def entry_of(name: str) -> Entry:
    """Return one entry.

    Raises
    ------
    KeyError
        If there is no such data set; the message lists close matches.
    """
    if name not in entries():
        raise KeyError(unknown("name", name, entries(), "the data registry"))
    return entries()[name]


def list() -> pd.DataFrame:
    """Return all data sets, one row each, indexed by name.

    Returns
    -------
    DataFrame with ``title``, ``organism``, ``modality``, ``n_cells``, ``n_features`` and
    ``n_populations`` (missing where nobody has measured them), ``tasks``, ``licence``,
    ``availability`` ("bundled", "download" or "by hand") and ``megabytes`` to download.

    Examples
    --------
    >>> import scgde
    >>> table = scgde.datasets.list()
    >>> table.index[table["availability"] == "bundled"].tolist()
    ['norman2019', 'schulteschrepping2020', 'valiga', 'weinreb2020']
    """
    texts = ("title", "organism", "modality")
    rows = {
        name: {
            **{key: getattr(entry, key) for key in texts},
            **{key: getattr(entry, key) for key in ("n_cells", "n_features", "n_populations")},
            "tasks": ", ".join(entry.tasks),
            "licence": entry.licence,
            "availability": entry.availability,
            "megabytes": _megabytes(entry),
        }
        for name, entry in entries().items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("name")
    counts = ["n_cells", "n_features", "n_populations"]
    return table.astype(dict.fromkeys(counts, "Int64"))


def info(name: str, cache_dir: str | os.PathLike | None = None) -> dict:
    """Return all that the registry says of a data set.

    Parameters
    ----------
    name
        As in :func:`scgde.datasets.list`.
    cache_dir
        Where downloads are kept, as in :func:`scgde.datasets.load`.

    Returns
    -------
    The fields of the entry that are known: title, licence, citation, which columns of ``.obs`` hold
    populations (``population_key``), labels, donors, batches and time, the control, origin and
    caveats. ``files`` is a list of dicts with name, urls, size (bytes), ``checksum`` and ``path``,
    where the file is or will be.

    Raises
    ------
    KeyError
        If there is no such data set; the message lists close matches.

    Examples
    --------
    >>> import scgde
    >>> entry = scgde.datasets.info("valiga")
    >>> entry["population_key"], entry["n_populations"]
    ('patient', 634)
    """
    from ._fetch import path_of  # pooch takes a while to import

    entry = entry_of(name)
    known = {key: value for key, value in asdict(entry).items() if value not in (None, [], {})}
    known["availability"] = entry.availability
    known["files"] = [
        {
            "name": file.name,
            "urls": [*file.urls],
            **({} if file.size is None else {"size": file.size}),
            "checksum": file.known_hash or NO_CHECKSUM,
            "bundled": file.bundled,
            "path": str(path_of(name, file, cache_dir)),
        }
        for file in entry.files
    ]
    return known


def _megabytes(entry: Entry) -> float | None:
    sizes = [file.size for file in entry.files if not file.bundled]
    return None if None in sizes else round(sum(sizes) / 1e6, 1)
