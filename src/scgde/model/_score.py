from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from rich.progress import track
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from .._errors import listed, require_counts
from ._cell_model import CellModel
from ._mcmc import log_ratio

MAX_VALUES = 1 << 24  # of the largest array held at once
_MAX_LOOKED_AT = 2_000
_MAX_FAR = 0.01


class ScoreMixin(CellModel):
    """What is read off a model of the score: its values and differences of log density."""

    _nearest: tuple[np.ndarray, NearestNeighbors, float] | None = None

    def get_reconstruction(
        self, adata: AnnData | None = None, *, x: np.ndarray | None = None
    ) -> pd.DataFrame | np.ndarray:
        """Return r(x): of the denoising autoencoder, the mean of the cells that noise moved to x.

        Parameters
        ----------
        adata
            Data with the features of the training data; the training data by default.
        x
            Points ``(n, n_features)`` instead, in the units in which the model sees cells: of
            counts, log-normalised ones.

        Returns
        -------
        DataFrame of cells x features, or ``(n, n_features)`` where ``x`` is given. How far it is
        from x is the length of the score times s^2: zero at the modes of the density but at its
        saddles and minima too, so the reconstruction error is not an energy
        (:meth:`energy_difference` is).
        """
        return self._of_points(self.module.reconstruct, adata, x)

    def get_score(
        self, adata: AnnData | None = None, *, x: np.ndarray | None = None
    ) -> pd.DataFrame | np.ndarray:
        """Return the gradient of the log density at cells or points.

        ``(r(x) - x) / s^2`` (Alain & Bengio 2014, Sec. 3). The density is that of the cells as
        the model sees them, smoothed with normal noise of standard deviation :attr:`sigma_data`.

        Parameters
        ----------
        adata, x
            As in :meth:`get_reconstruction`.

        Returns
        -------
        DataFrame of cells x features, or ``(n, n_features)`` where ``x`` is given; one over the
        data's units. A warning says so where more than one point in a hundred is far from the
        training cells.
        """
        return self._of_points(self.module.score, adata, x)

    def energy_difference(
        self,
        a: np.ndarray | str | Sequence[str],
        b: np.ndarray | str | Sequence[str],
        n_steps: int = 100,
        *,
        adata: AnnData | None = None,
    ) -> np.ndarray:
        """Return log p(b) - log p(a) of pairs, the score's integral along the straight line.

        Alain & Bengio 2014, Sec. 4, by the trapezoid rule. Energies are minus log p, so this is
        E(a) - E(b). It depends on the path as far as the field is no gradient
        (:meth:`get_antisymmetry`), and is a guess where the line leaves the data, of which a
        warning tells.

        Parameters
        ----------
        a, b
            Names of cells, one or as many of each; or points, an array or DataFrame
            ``(n, n_features)`` or ``(n_features,)``, in the units in which the model sees cells.
        n_steps
            Intervals of the line.
        adata
            Data that has the named cells; the training data by default.

        Returns
        -------
        ``(n,)``, in nats.

        Raises
        ------
        KeyError, ValueError
            If a cell is unknown or its name not its own, there are none, or not as many ``a`` as
            ``b``.
        """
        require_counts(n_steps=n_steps)
        self._require_trained()
        a, b = (self._ends(name, end, adata) for name, end in (("a", a), ("b", b)))
        if len(a) != len(b):
            raise ValueError(f"a has {len(a)} points and b {len(b)}: pairs take as many of each.")
        along = np.linspace(0, 1, 11)[:, None, None]
        self._warn_if_far((a + along * (b - a)).reshape(-1, a.shape[1]), "points of the lines")
        size = max(1, MAX_VALUES // ((n_steps + 1) * max(a.shape[1], 128)))
        device = self.module.device
        with torch.no_grad():
            parts = [
                log_ratio(
                    self.module.score,
                    *(torch.from_numpy(end[i : i + size]).to(device) for end in (a, b)),
                    n_steps,
                )
                for i in range(0, len(a), size)
            ]
        return torch.cat(parts).cpu().numpy()

    @property
    def sigma_data(self) -> float:
        """Standard deviation s of the noise, in the data's units."""
        self._require_trained()
        return self.module.sigma * float(self.module.scale)

    def _of_points(
        self, function: Callable[[Tensor], Tensor], adata: AnnData | None, x: np.ndarray | None
    ) -> pd.DataFrame | np.ndarray:
        points, names = self._points(adata, x)
        self._warn_if_far(points)
        values = self._values(function, points)
        if names is None:
            return values
        return pd.DataFrame(values, index=names, columns=self.get_feature_names())

    def _values(self, function: Callable[[Tensor], Tensor], points: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self._in_batches(function, points, max(1, MAX_VALUES // points.shape[1]))

    def _in_batches(
        self,
        function: Callable[[Tensor], Tensor],
        points: np.ndarray,
        size: int,
        enable_progress_bar: bool = False,
    ) -> np.ndarray:
        starts = range(0, len(points), size)
        quiet = not enable_progress_bar or len(starts) < 4
        return np.concatenate(
            [
                function(torch.from_numpy(points[i : i + size]).to(self.module.device))
                .detach()
                .cpu()
                .numpy()
                for i in track(starts, "Points", disable=quiet)
            ]
        )

    def _points(
        self,
        adata: AnnData | None,
        x: np.ndarray | None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> tuple[np.ndarray, pd.Index | None]:
        """Return points ``(n, d)``, and names where they are cells."""
        self._require_trained()
        if x is not None:
            if adata is not None:
                raise ValueError("Give adata or x, not both.")
            points = self._checked("x", x)
            return points if indices is None else points[_rows(indices, len(points))], None
        adata = self._validate_anndata(adata)
        if indices is None:
            return self._cells(adata), adata.obs_names
        rows = _rows(indices, adata.n_obs)
        return self._cells(adata, rows), adata.obs_names[rows]

    def _checked(self, argument: str, x: np.ndarray) -> np.ndarray:
        """Return points as float32, once they are known to fit the model."""
        x = np.asarray(x, dtype=np.float32)
        d = self.module.n_features
        if x.ndim != 2 or x.shape[1] != d or not len(x):
            raise ValueError(f"{argument} has shape {x.shape}; it must be points x {d} features.")
        if not np.isfinite(x).all():
            raise ValueError(f"{argument} has values that are NaN or infinite: remove those rows.")
        return x

    def _ends(
        self, argument: str, value: np.ndarray | str | Sequence[str], adata: AnnData | None
    ) -> np.ndarray:
        given = np.atleast_1d(np.asarray(value))
        if not given.size:
            raise ValueError(f"{argument} is empty: give names of cells, or points.")
        if given.ndim > 1 or not all(isinstance(name, str) for name in given):
            return self._checked(argument, np.atleast_2d(given))
        adata = self._validate_anndata(adata)
        known = adata.obs_names[adata.obs_names.isin(given)]
        missing = [name for name in given if name not in known]
        if missing:
            raise KeyError(f"{argument}: cells {listed(missing)} are not in adata.obs_names.")
        if not known.is_unique:
            raise ValueError(
                f"{argument}: more than one cell is named "
                f"{listed(known[known.duplicated()].unique())}. Run adata.obs_names_make_unique(), "
                "or give points."
            )
        return self._cells(adata, adata.obs_names.get_indexer_for(given))

    def _far(self, points: np.ndarray) -> np.ndarray:
        """Return which points are far from all training cells.

        Further from the nearest of (some of) them than 99.9 % of these are from one another.
        """
        cells = self.reference_cells_
        if self._nearest is None or self._nearest[0] is not cells:
            neighbors = NearestNeighbors(n_neighbors=1).fit(cells)
            self._nearest = cells, neighbors, np.quantile(neighbors.kneighbors()[0], 0.999)
        _, neighbors, limit = self._nearest
        return neighbors.kneighbors(points)[0][:, 0] > limit

    def _warn_if_far(self, points: np.ndarray, what: str = "points") -> None:
        if len(points) > _MAX_LOOKED_AT:
            few = np.random.default_rng(0).choice(len(points), _MAX_LOOKED_AT, replace=False)
            points = points[few]
        share = self._far(points).mean()
        if share > _MAX_FAR:
            warnings.warn(
                f"{share:.0%} of {what} are further from the training cells than those are from "
                "one another; what the model says of the density there is extrapolated.",
                UserWarning,
                stacklevel=4,
            )


def _rows(indices: Sequence[int] | np.ndarray, n: int) -> np.ndarray:
    rows = np.asarray(indices)
    if rows.dtype == bool:
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer) or not rows.size:
        raise ValueError(f"indices={indices!r} must be row numbers, one at least.")
    if rows.min() < 0 or rows.max() >= n:
        raise ValueError(f"indices go from {rows.min()} to {rows.max()}; rows are 0 to {n - 1}.")
    return rows
