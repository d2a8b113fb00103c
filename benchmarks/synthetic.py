"""The synthetic results of the GDE paper, one command a table.

    python -m benchmarks.synthetic reconstruction --seeds 3
    python -m benchmarks.synthetic pairs --budget 200

All that is scored are populations that no training saw: the same ones for every method and seed, so
that methods compare in pairs, and a standard error is over trainings and training populations. The
protocols are those of arXiv 2505.18150, Secs. 5 and 6.1 and App. B.2; each command says where it
departs from them. ``--jobs`` runs are made at a time, one thread each. ``--only`` runs some
generators anew and takes the rest from the table that is there.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed

import pandas as pd
import torch

from scgde.generators import GENERATORS

from . import _synthetic_figures
from ._results import RESULTS, write
from ._synthetic_geometry import clt, geometry, interpolation, prior
from ._synthetic_quality import mixtures, pairs, poisson, reconstruction
from ._synthetic_speed import sampler

TABLES = {
    # command: (its own default budget, what groups rows, what is averaged)
    "poisson": (poisson, 4_000, ["n"]),
    "reconstruction": (reconstruction, 2_000, ["encoder", "generator"]),
    "pairs": (pairs, 200, ["encoder", "generator"]),
    "mixtures": (mixtures, 400, ["family", "encoder", "generator"]),
    "geometry": (geometry, 400, ["family", "encoder", "generator"]),
    "prior": (prior, 200, ["log2_alpha"]),
    "clt": (clt, 200, ["encoder"]),
    "interpolation": (interpolation, 400, ["family", "encoder"]),
    "sampler": (sampler, 600, ["sampler", "calls"]),
}


def summary(runs: pd.DataFrame, groups: list[str]) -> pd.DataFrame:
    """Return mean and standard error over seeds of every measured column."""
    measured = [c for c in runs if c not in (*groups, "seed", "budget", "n_rates")]
    grouped = runs.groupby(groups, sort=False)[measured]
    table = grouped.mean().join(grouped.sem().add_suffix("_sem"))
    ordered = [c for m in measured for c in (m, f"{m}_sem")]
    table = table[ordered].assign(n_seeds=runs.groupby(groups, sort=False).size())
    return table.assign(budget=runs["budget"].iloc[0]).reset_index()


def run(task: Callable, arguments: tuple, n_threads: int) -> list[dict]:
    warnings.simplefilter("ignore")
    torch.set_num_threads(n_threads)
    result = task(*arguments)
    return result if isinstance(result, list) else [result]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--budget", type=int, help="training steps of every run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--only", nargs="*", choices=GENERATORS.names(), help="of pairs")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    options = parser.parse_args()
    make, budget, groups = TABLES[options.table]
    options.budget = options.budget or budget
    tasks, rows, started = list(make(options)), [], time.perf_counter()
    name, kept = f"synthetic_{options.table}", pd.DataFrame()
    if options.only:
        tasks = [(task, args) for task, args in tasks if args[1] in options.only]
        kept = pd.read_csv(RESULTS / f"{name}_runs.csv", comment="#")
        kept = kept[~kept["generator"].isin(options.only)]
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(run, task, args, options.threads) for task, args in tasks]
        for done, future in enumerate(as_completed(futures), 1):
            rows += future.result()
            print(f"{done}/{len(tasks)}", {k: _short(v) for k, v in rows[-1].items()}, flush=True)
    runs = pd.concat([kept, pd.DataFrame(rows)]).sort_values([*groups, "seed"], ignore_index=True)
    table, seconds = summary(runs, groups), time.perf_counter() - started
    write(runs.round(6), f"{name}_runs", seconds)
    write(table.round(6), name, seconds)
    _synthetic_figures.draw(options.table, table, runs)
    with pd.option_context("display.width", 250, "display.max_columns", 50):
        print(table.round(4).to_string(index=False))


def _short(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
