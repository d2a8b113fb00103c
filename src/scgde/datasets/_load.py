"""Data sets by name: fetched, checked and read."""

from __future__ import annotations

import inspect
import os
from contextlib import nullcontext

import pandas as pd
from anndata import AnnData
from mudata import MuData
from rich.console import Console

from ._catalogue import entry_of
from ._fetch import fetch
from ._readers import READERS

_LARGE = 100_000_000  # bytes that take over two seconds to read


def load(
    name: str,
    *,
    cache_dir: str | os.PathLike | None = None,
    enable_progress_bar: bool = True,
    **kwargs: object,
) -> AnnData | MuData | pd.DataFrame:
    """Load a data set; what does not ship with the package is downloaded once and kept.

    Parameters
    ----------
    name
        As in :func:`scgde.datasets.list`.
    cache_dir
        Where downloads are kept, in a folder for each data set. By default the environment variable
        ``SCGDE_DATA_DIR``, else the user's cache folder.
    enable_progress_bar
        Show a bar while downloading and reading.
    **kwargs
        Options of the reader that ``info(name)["reader"]`` names, in place of those of the registry
        (``info(name)["reader_kwargs"]``): ``load("psychad_hbcc", cells_per_donor=200)``.

    Returns
    -------
    AnnData; ``info(name)`` says which obs columns hold populations and labels. MuData for several
    modalities, a DataFrame for features of genes and tables of donors.

    Raises
    ------
    KeyError
        If there is no such data set; the message lists close matches. Or if a file lacks a column.
    TypeError
        If the reader has no such option.
    FileNotFoundError, OSError, ValueError
        As :func:`scgde.datasets.fetch`, or if a file is not in the expected format.

    Examples
    --------
    >>> import scgde
    >>> scgde.datasets.load("schulteschrepping2020").shape
    (5494, 500)
    """
    entry = entry_of(name)
    reader = READERS[entry.reader]
    options = inspect.signature(reader).parameters
    for option in kwargs:
        if option not in options or option == "paths":
            offered = [o for o in options if o not in ("paths", "enable_progress_bar")]
            raise TypeError(
                f"{name!r} has no option {option!r}; its reader {entry.reader!r} has {offered}."
            )
    if "enable_progress_bar" in options:
        kwargs["enable_progress_bar"] = enable_progress_bar
    paths = fetch(name, cache_dir=cache_dir, enable_progress_bar=enable_progress_bar)
    large = sum(path.stat().st_size for path in paths) > _LARGE
    has_bar = "enable_progress_bar" in options
    with (
        Console().status(f"Reading {name}")
        if large and enable_progress_bar and not has_bar
        else nullcontext()
    ):
        return reader(paths, **(entry.reader_kwargs | kwargs))
