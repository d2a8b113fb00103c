"""Data sets by name, described by the TOML files of ``data_registry``."""

from __future__ import annotations

import hashlib
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path

import anndata
import pandas as pd
from anndata import AnnData

from .._errors import listed, unknown

_HERE = Path(str(files(__package__)))


@cache
def _entries() -> dict[str, dict]:
    # Beside the package in a wheel, at the top of the repository in a checkout.
    folders = (_HERE / "data_registry", _HERE.parents[2] / "data_registry")
    folder = next((f for f in folders if f.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"The data registry is missing (looked in {listed(folders)}). Install scgde again."
        )
    return {path.stem: tomllib.loads(path.read_text()) for path in sorted(folder.glob("*.toml"))}


def list_datasets() -> pd.DataFrame:
    """Return all data sets: title, cells, populations, licence, indexed by name.

    Examples
    --------
    >>> import scgde
    >>> "schulteschrepping2020" in scgde.datasets.list_datasets().index
    True
    """
    columns = ["title", "n_cells", "n_populations", "licence"]
    return pd.DataFrame.from_dict(_entries(), orient="index")[columns]


def info(name: str) -> dict:
    """Return all that the registry says of a data set: origin, licence, citation, keys.

    Parameters
    ----------
    name
        As in :func:`list_datasets`.

    Raises
    ------
    KeyError
        If there is no such data set; the message lists close matches.
    """
    if name not in _entries():
        raise KeyError(unknown("name", name, _entries(), "the data registry"))
    return dict(_entries()[name])


def load(name: str) -> AnnData:
    """Load a data set that ships with the project.

    Parameters
    ----------
    name
        As in :func:`list_datasets`.

    Returns
    -------
    AnnData; ``info(name)`` says which obs columns hold populations and labels.

    Raises
    ------
    FileNotFoundError
        If the file is not part of this installation.
    ValueError
        If the file is damaged.

    Examples
    --------
    >>> import scgde
    >>> scgde.datasets.load("schulteschrepping2020").shape
    (5494, 500)
    """
    entry = info(name)
    path = _HERE / "bundled" / entry["file"]
    if not path.exists():
        raise FileNotFoundError(
            f"{entry['file']} is not part of this installation: it ships with the project's "
            f"repository only. Put it at {path}."
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != entry["sha256"]:
        raise ValueError(
            f"{path} is damaged: its sha256 is {digest}, expected {entry['sha256']}. Install scgde "
            "again."
        )
    return anndata.read_h5ad(path)
