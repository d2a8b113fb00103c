"""What ``scgde datasets`` does."""

from __future__ import annotations

import inspect
import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd

from .._errors import unknown
from . import _catalogue
from ._entry import Entry
from ._fetch import fetch
from ._readers import READERS


def run_list(options: Namespace) -> bool:
    """Print all data sets, a line each."""
    table = _catalogue.list()
    columns = ["n_cells", "n_populations", "availability", "megabytes", "title"]
    with pd.option_context("display.max_colwidth", None):
        print(table[columns].to_string(na_rep="-", max_cols=None, line_width=10_000))
    return True


def run_info(options: Namespace) -> bool:
    """Print what is known of one data set."""
    for key, value in _catalogue.info(options.name, options.cache_dir).items():
        if key != "files":
            print(f"{key}: {value}")
            continue
        for file in value:
            print("file:")
            for field, of_file in file.items():
                print(f"  {field}: {of_file}")
    return True


def run_fetch(options: Namespace) -> bool:
    """Download one data set and print where it lies."""
    paths = fetch(
        options.name, cache_dir=options.cache_dir, enable_progress_bar=sys.stderr.isatty()
    )
    for path in paths:
        print(path)
    return True


def run_check(options: Namespace) -> bool:
    """Print for every entry whether it is in order; return whether all are."""
    all_ok = True
    for path in sorted(_catalogue.registry_folder().glob("*.toml")):
        faults = entry_faults(path)
        print(f"{path.stem}: {'; '.join(faults) if faults else 'ok'}")
        all_ok &= not faults
    return all_ok


def entry_faults(path: Path) -> list[str]:
    """Return what is wrong with an entry: schema, reader and its options, bundled files."""
    try:
        entry = Entry.from_toml(path)
    except ValueError as error:
        return str(error).splitlines()
    if entry.reader not in READERS:
        return [unknown("reader", entry.reader, READERS, "the readers")]
    options = inspect.signature(READERS[entry.reader]).parameters
    faults = [
        unknown("reader_kwargs", key, options, f"the reader {entry.reader!r}")
        for key in entry.reader_kwargs
        if key not in options
    ]
    if all(file.bundled for file in entry.files) and not faults:
        try:
            fetch(path.stem)
        except (OSError, ValueError) as error:
            faults.append(str(error))
    return faults
