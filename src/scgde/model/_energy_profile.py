from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import stats

from .._errors import require_counts
from ..nn import seeded
from ..train import level_scores
from ._cell_model import CellModel
from ._progress import tracked


class EnergyProfileMixin(CellModel):
    """The held-out energy score of every level."""

    def get_energy_profile(
        self,
        adata: AnnData | None = None,
        *,
        n_draws: int = 8,
        confidence: float = 0.95,
        seed: int | None = None,
        enable_progress_bar: bool = True,
    ) -> pd.DataFrame:
        """Return the energy score of held-out cells at every level, with intervals.

        Parameters
        ----------
        adata
            Cells that the model has not seen; by default, as for the training data, those held out
            in training.
        n_draws
            Pairs of draws of which each cell's score is an average.
        confidence
            Of the intervals: normal, over cells, for the model as it is.
        seed
            Seed of the draws; by default the model's.
        enable_progress_bar
            Show progress.

        Returns
        -------
        DataFrame indexed by ``k``, or by ``population`` and ``k`` where populations were set up:
        ``estimate``, ``low``, ``high`` (mean energy score L_k, in the data's units to the power
        beta; with ``standardize="feature"`` of standardised features), ``unexplained``,
        ``unexplained_low``, ``unexplained_high`` (squared distance of cells to the mean of the
        decoder's distribution, as a share of that to the mean of these cells), ``n_cells``. NaN
        for a population of which no cell was held out.

        Raises
        ------
        ValueError
            If no cell was held out, or an argument is out of range.
        """
        self._require_trained()
        require_counts(n_draws=n_draws)
        if not 0 < confidence < 1:
            raise ValueError(f"confidence={confidence!r} must be above 0 and below 1.")
        if adata is self.adata and self._has_training_cells:
            adata = None
        index = self._index(adata)
        if adata is None and not self._has_training_cells:
            raise ValueError(
                "The data attached are not the cells, in the order, that the model was trained on, "
                "so it is not known which were held out. Pass cells that it has not seen: "
                "get_energy_profile(adata)."
            )
        rows = self.validation_indices if adata is None else np.flatnonzero(index.codes >= 0)
        if len(rows) == 0:
            raise ValueError(
                "No cells were held out (train_size=1). Pass cells that the model has not seen."
            )
        reader, jobs = self._reader(adata), self._jobs(adata, rows)
        sizes = np.array([sum(len(places) for _, places in job) for job in jobs])
        losses = np.empty((len(rows), self.module.n_latent + 1))
        residuals, cells = np.empty_like(losses), np.empty((len(rows), self.module.n_features))
        with seeded(self.seed_ if seed is None else seed):
            jobs = tracked(jobs, "Scoring", sizes * n_draws, enable_progress_bar)
            for networks, batch, places in self._passes(reader, rows, jobs):
                x = batch["x"]
                found = level_scores(networks, x, n_draws, batch.get("condition"))
                if networks.standardize == "feature":  # the units of the scores
                    x = networks.standardized(x)
                for e, own in enumerate(places):
                    for values, of_networks in zip(
                        (losses, residuals, cells), (*found, x.cpu().numpy()), strict=True
                    ):
                        values[own] = of_networks[e, : len(own)]
        quantile = stats.norm.ppf((1 + confidence) / 2)
        tables = {}
        for code, name in enumerate(index.names):
            own = index.codes[rows] == code
            tables[str(name)] = _profile(losses[own], residuals[own], cells[own], quantile)
        table = pd.concat(tables, names=["population", "k"])
        return table if self.setup_arguments["population_key"] else table.droplevel("population")


def _profile(
    losses: np.ndarray, residuals: np.ndarray, cells: np.ndarray, quantile: float
) -> pd.DataFrame:
    n = len(losses)
    nothing = np.full(losses.shape[1], np.nan)
    squared = np.square(cells - cells.mean(0)).sum(1, keepdims=True) if n else cells
    variance = squared.sum() / (n - 1) if n > 1 else np.nan
    mean, share = (losses.mean(0), residuals.mean(0) / variance) if n else (nothing, nothing)
    columns = {}
    for name, value, deviations in (
        ("estimate", mean, losses - mean),
        # Numerator and denominator are of the same cells (delta method).
        ("unexplained", share, (residuals - share * squared) / variance),
    ):
        low, high = ("low", "high") if name == "estimate" else (f"{name}_low", f"{name}_high")
        margin = quantile * deviations.std(0, ddof=1) / np.sqrt(n) if n > 1 else np.nan
        columns |= {name: value, low: value - margin, high: value + margin}
    table = pd.DataFrame(columns, index=pd.RangeIndex(losses.shape[1], name="k"))
    return table.assign(n_cells=n)
