"""Distributional principal autoencoders and regularized autoencoders, one command a table.

    python -m benchmarks.dpa identities
    python -m benchmarks.dpa mfep --seeds 10

The protocols are those of arXiv 2404.13649, 2502.11583 and 1211.4246; each table's module says
where it departs from them. ``cells``, ``speed``, ``ensemble`` and ``populations`` read
``../shared/data``.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings

import pandas as pd

from . import (
    _dpa_alignment,
    _dpa_dimension,
    _dpa_identities,
    _dpa_independence,
    _dpa_mfep,
    _dpa_populations,
    _dpa_score,
    _dpa_speed,
)
from ._results import write

TABLES = {
    "identities": _dpa_identities.identities,
    "independence": _dpa_independence.independence,
    "mfep": _dpa_mfep.mfep,
    "alignment": _dpa_alignment.alignment,
    "score": _dpa_score.score,
    "dimension": _dpa_dimension.dimension,
    "coverage": _dpa_dimension.coverage,
    "cells": _dpa_dimension.cells,
    "speed": _dpa_speed.speed,
    "ensemble": _dpa_speed.ensemble,
    "populations": _dpa_populations.populations,
}
# Tables of single runs, and how they are summed up.
SUMMARIES = {
    "mfep": _dpa_mfep.mfep_summary,
    "alignment": _dpa_alignment.alignment_summary,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--seeds", type=int, help="the table's own number by default")
    parser.add_argument("--steps", type=int, help="training steps, likewise")
    options = parser.parse_args()
    given = {"n_seeds": options.seeds, "n_steps": options.steps}
    given = {name: value for name, value in given.items() if value is not None}
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    started, name = time.perf_counter(), f"dpa_{options.table}"
    table = TABLES[options.table](**given)
    seconds = time.perf_counter() - started
    if options.table in SUMMARIES:
        write(table.round(6), f"{name}_runs", seconds)
        table = SUMMARIES[options.table](table)
    write(table.round(6), name, seconds)
    with pd.option_context("display.width", 250, "display.max_columns", 50):
        print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
