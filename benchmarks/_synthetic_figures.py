"""One figure a table of ``benchmarks.synthetic``."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ._results import RESULTS


def _bars(axes, table: pd.DataFrame, groups: list[str], value: str) -> None:
    names = [" + ".join(row) for row in table[groups].astype(str).to_numpy()]
    axes.barh(names, table[value], xerr=table[f"{value}_sem"], color="#56B4E9")
    floor = next((c for c in ("floor_w2", "floor") if c in table), None)
    if floor is not None:
        axes.plot(table[floor], names, "k|", label="real cells")
        axes.legend()
    axes.set_xlabel(value)
    axes.invert_yaxis()


def poisson(axes, table, runs):
    for name in ("naive", "rao_blackwell", "gde", "bayes"):
        axes.errorbar(table["n"], table[f"mse_{name}"], table[f"mse_{name}_sem"], label=name)
    axes.set(xscale="log", yscale="log", xlabel="cells", ylabel="mean squared error of P(X = 0)")
    axes.legend()


def reconstruction(axes, table, runs):
    _bars(axes, table, ["encoder", "generator"], "w2")


def pairs(axes, table, runs):
    grid = table.pivot_table(index="encoder", columns="generator", values="w2")
    image = axes.imshow(np.log10(grid), cmap="viridis_r")
    axes.set_xticks(range(grid.shape[1]), grid.columns, rotation=60, ha="right")
    axes.set_yticks(range(grid.shape[0]), grid.index)
    for (i, j), value in np.ndenumerate(grid.to_numpy()):
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=6, color="w")
    axes.figure.colorbar(image, label="log10 true W2")


def mixtures(axes, table, runs):
    _bars(axes, table, ["family", "encoder", "generator"], "w2")


def geometry(axes, table, runs):
    _bars(axes, table, ["family", "encoder"], "spearman")


def prior(axes, table, runs):
    axes.errorbar(table["log2_alpha"], table["spearman"], table["spearman_sem"], marker="o")
    axes.set(xlabel="log2 of the first Dirichlet parameter in training", ylabel="Spearman")


def clt(axes, table, runs):
    spreads = [c for c in table if c.startswith("spread_") and not c.endswith("_sem")]
    sizes = [int(c.removeprefix("spread_")) for c in spreads]
    for _, row in table.iterrows():
        label = f"{row['encoder']}, slope {row['slope']:.2f}"
        axes.plot(sizes, row[spreads].to_numpy(dtype=float), marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="cells", ylabel="spread of the embedding")
    axes.legend(fontsize=7)


def interpolation(axes, table, runs):
    columns = {
        "path_deviation": "#0072B2",
        "mixture_deviation": "#D55E00",
        "end_deviation": "#999999",
    }
    for column, colour in columns.items():
        names = table["family"] + " " + table["encoder"]
        axes.errorbar(
            table[column], names, xerr=table[f"{column}_sem"], fmt="o", color=colour, label=column
        )
    axes.set_xlabel("W2 to the geodesic, in units of its length")
    axes.legend()


def sampler(axes, table, runs):
    for _, row in table.iterrows():
        axes.scatter(row["sample_s"], row["energy_distance"])
        axes.annotate(
            f"{row['sampler']}, {row['calls']} calls",
            (row["sample_s"], row["energy_distance"]),
            fontsize=7,
        )
    axes.set(xscale="log", xlabel="seconds for 20 x 1,000 cells", ylabel="energy distance")


def draw(name: str, table: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Write the figure of a table beside it."""
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    globals()[name](axes, table, runs)
    axes.set_title(f"{name}, {table['budget'].iloc[0]} steps, {table['n_seeds'].iloc[0]} seeds")
    figure.savefig(RESULTS / f"synthetic_{name}.png", dpi=120)
    plt.close(figure)
