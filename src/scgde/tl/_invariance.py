from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from rich.progress import track
from sklearn.decomposition import PCA

from .._errors import require_counts
from ..data import padded_sets
from ..model import GDE
from ._invariance_checks import confounding_checks, drift_checks, meaning, sampling_checks
from ._invariance_covariates import correlations, covariates

_MAX_CELLS = 4096  # of a population in the checks that embed it several times


def invariance_report(
    model: GDE,
    adata: AnnData | MuData | None = None,
    *,
    n_populations: int = 20,
    sizes: Sequence[int] | None = None,
    n_draws: int = 10,
    n_axes: int = 5,
    mito_prefix: str = "MT-",
    obs_keys: Sequence[str] = (),
    key_added: str = "gde_invariance",
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    r"""Certify that embeddings depend on the measure alone, and show how they depend on sampling.

    Cells are put into another order, repeated and weighted, and nothing may change. Populations are
    subsampled, and the drift of their embeddings must fall as one over the root of the number of
    cells (the central limit theorem). Leading axes are compared with what is technical. A warning
    in words is given for each check that fails.

    Parameters
    ----------
    model
        A trained model, with its real encoder.
    adata
        Real cells with the model's features; by default the training data.
    n_populations
        Populations, drawn at random, on which cells are permuted, repeated and subsampled.
    sizes
        Numbers of cells m to subsample; each population takes part with those up to half of its
        own cells. By default five, up to half of the median population.
    n_draws
        Subsamples of each size and population, without replacement.
    n_axes
        Principal axes of all embeddings that are compared with covariates.
    mito_prefix
        Prefix of mitochondrial genes (``"mt-"`` in mice).
    obs_keys
        Numeric columns of ``.obs`` whose means over a population are compared too: depth where
        the model sees components rather than counts, for instance.
    key_added
        Where to write.
    seed
        Seed of all draws.
    enable_progress_bar
        Show progress.

    Returns
    -------
    DataFrame indexed by ``check``: ``value``, ``low``, ``high`` (95 % where there is an interval,
    else NaN), ``limit``, ``passed`` (``"yes"``, ``"no"`` or ``"not applicable"``) and ``note``.
    Also written to ``.uns[key_added]``: ``checks``, that table; ``drift`` and ``correlations``,
    what is behind it; ``params``. All drifts are root-mean-square lengths divided by the root of
    the total variance of embeddings between populations.

    ``order``, ``repetition``, ``weights``
        The largest drift after a permutation, after every cell is taken twice, and between random
        integer weights and as many repetitions.
    ``subsampling``
        Drift at the largest m, an average over populations.
    ``slope``
        Of log drift on log m, expected -1/2: mean over populations, with a t interval. Drift of m
        out of N cells is divided by :math:`\sqrt{1 - m/N}`, the finite-population factor. Passes
        if the interval meets -0.6 to -0.4.
    ``n_cells``, ``depth``, ``mitochondrial_share`` and ``obs_keys``
        The largest Spearman correlation with an axis, with the interval of Bonett & Wright (2000),
        over all populations. Fails at 0.3 or more where the permutation p-value, adjusted over all
        axes and covariates (Benjamini & Hochberg 1995), is at most 0.05. Populations count as
        independent: several of one donor make p-values too small.

    Raises
    ------
    KeyError, TypeError, ValueError
        If there are fewer than three populations, none is large enough for two sizes, a column of
        ``.obs`` is absent or not numeric, or an argument is out of range.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.load("schulteschrepping2020")
    >>> scgde.model.GDE.setup_anndata(adata, population_key="donor")
    >>> model = scgde.model.GDE(adata, n_latent=8, n_hidden=32)
    >>> model.train(max_steps=20, enable_progress_bar=False)
    >>> report = scgde.tl.invariance_report(model, n_draws=2, enable_progress_bar=False)
    >>> list(report.loc[["order", "repetition", "weights"], "passed"])
    ['yes', 'yes', 'yes']
    """
    require_counts(n_populations=n_populations, n_draws=n_draws, n_axes=n_axes)
    adata = model._validate_anndata(adata)
    z = model.get_population_embedding(adata, enable_progress_bar=enable_progress_bar)
    if len(z) < 3:
        raise ValueError(
            f"adata has {len(z)} populations; drift is measured against the spread between at "
            "least three."
        )
    spread = float(np.sqrt(z.to_numpy(dtype=np.float64).var(0, ddof=1).sum()))
    if not spread > 0:
        raise ValueError(
            "All populations have the same embedding: train the model first, or longer."
        )
    rng = np.random.default_rng(seed)
    cells = _Cells(model, adata, z, spread)
    chosen = rng.permutation(len(z))[:n_populations]
    sizes = _sizes(sizes, cells.n[chosen])
    largest = {"order": 0.0, "repetition": 0.0, "weights": 0.0}
    drifts = []
    quiet = not enable_progress_bar or cells.n[chosen].sum() < 5_000
    for population in track(chosen, "Invariance", disable=quiet):
        for check, drift in cells.invariance(population, rng).items():
            largest[check] = max(largest[check], drift)
        drifts += cells.subsampled(population, sizes, n_draws, rng)
    drift = pd.DataFrame(drifts, columns=["population", "n_cells", "m", "drift"])
    found = correlations(
        PCA(min(n_axes, len(z) - 1, z.shape[1]), svd_solver="full").fit(z),
        z,
        covariates(model, adata, mito_prefix, obs_keys, enable_progress_bar),
        seed,
    )
    rows = [*drift_checks(largest), *sampling_checks(drift), *confounding_checks(found)]
    checks = pd.DataFrame(rows).set_index("check")
    for name in checks.index[checks["passed"] == "no"]:
        warnings.warn(f"{name}: {meaning(name, found)}", UserWarning, stacklevel=2)
    adata.uns[key_added] = {
        "checks": checks,
        "drift": drift.set_index(drift.index.astype(str)),
        "correlations": found.set_index(found.index.astype(str)),
        "params": {
            **model.get_parameters(),
            "n_populations": len(chosen),
            "sizes": np.asarray(sizes),
            "n_draws": n_draws,
            "between_population_sd": spread,
            "seed": seed,
        },
    }
    return checks


class _Cells:
    """Real cells of populations, embedded anew as other sets."""

    def __init__(self, model: GDE, adata: AnnData | MuData, z: pd.DataFrame, spread: float):
        self.model, self.dataset = model, model._dataset(adata)
        self.names, self.z, self.spread = z.index, z.to_numpy(), spread
        self.n = self.dataset.index.sizes

    def invariance(self, population: int, rng: np.random.Generator) -> dict[str, float]:
        """Return the drift of each check that must not move an embedding."""
        rows = self.dataset.index.cells(population)
        rows = rng.permutation(rows)[:_MAX_CELLS]
        times = rng.integers(1, 4, len(rows))
        plain, other, twice, weighted, repeated = self._embed(
            [
                (np.sort(rows), np.full(len(rows), 1 / len(rows))),
                (rows, np.full(len(rows), 1 / len(rows))),
                (np.repeat(rows, 2), np.full(2 * len(rows), 0.5 / len(rows))),
                (rows, times / times.sum()),
                (np.repeat(rows, times), np.full(times.sum(), 1 / times.sum())),
            ]
        )
        return {
            "order": self._drift(other - plain),
            "repetition": self._drift(twice - plain),
            "weights": self._drift(weighted - repeated),
        }

    def subsampled(
        self, population: int, sizes: np.ndarray, n_draws: int, rng: np.random.Generator
    ) -> Iterator[tuple[str, int, int, float]]:
        """Yield population, its cells, m and the drift of m of them, as if of infinitely many."""
        rows, n = self.dataset.index.cells(population), self.n[population]
        for m in sizes[2 * sizes <= n]:
            uniform = np.full(m, 1 / m)
            draws = [(rng.choice(rows, m, replace=False), uniform) for _ in range(n_draws)]
            drift = self._drift(self._embed(draws) - self.z[population])
            yield self.names[population], int(n), int(m), drift / np.sqrt(1 - m / n)

    def _embed(self, measures: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        batches = padded_sets(measures, 2 * _MAX_CELLS)
        return np.concatenate(
            [self.model._encode(self.dataset, *b, 2 * _MAX_CELLS) for b in batches]
        )

    def _drift(self, difference: np.ndarray) -> float:
        """Return the root-mean-square length of differences ``(L,)`` or ``(n, L)``, in spreads."""
        squares = np.square(difference, dtype=np.float64).sum(-1)
        return float(np.sqrt(squares.mean()) / self.spread)


def _sizes(sizes: Sequence[int] | None, n_cells: np.ndarray) -> np.ndarray:
    """Return the numbers of cells to subsample, ascending."""
    if sizes is None:
        largest = min(int(np.median(n_cells)) // 2, _MAX_CELLS // 2)
        sizes = np.geomspace(max(largest / 16, 4), max(largest, 4), 5).astype(int)
    else:
        require_counts(**{f"sizes[{i}]": m for i, m in enumerate(sizes)})
    sizes = np.unique(np.asarray(sizes, dtype=np.int64))
    if len(sizes) < 2 or (2 * sizes[1] > n_cells).all():
        raise ValueError(
            f"sizes={sizes.tolist()} must hold two different numbers of cells of which some "
            f"population has twice as many; the largest has {n_cells.max()}."
        )
    return sizes
