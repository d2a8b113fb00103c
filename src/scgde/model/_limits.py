from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from .._errors import require_choice, require_counts
from ..stats import conformal_p_values
from ._prior import NoPriorError, PriorMixin

_LEVEL = 0.05


class LimitsMixin(PriorMixin):
    """``interpolate`` and ``shift``: paths of embeddings that know where the data ends."""

    def interpolate(
        self,
        start: str,
        end: str,
        n_steps: int = 11,
        n_cells: int = 1_000,
        *,
        adata: AnnData | MuData | None = None,
        batch: str | None = None,
        seed: int | None = None,
        to_genes: bool = False,
        enable_progress_bar: bool = True,
        **sampler_kwargs: object,
    ) -> AnnData:
        """Draw cells along the straight line between two populations' embeddings.

        GDE paper, Sec. 5 and Fig. 4: such lines decode to populations near the Wasserstein
        geodesic; how near, :func:`scgde.tl.wasserstein_geometry` measures.

        Parameters
        ----------
        start, end
            Names of two populations of the data.
        n_steps
            Points of the line, both ends included.
        n_cells
            Cells of each point.
        adata
            Data that has the populations, by default the training data.
        batch
            Batch to draw the cells in. By default those of the ends, mixed as the position says.
        seed, to_genes, enable_progress_bar, **sampler_kwargs
            As in :meth:`sample`.

        Returns
        -------
        AnnData of generated cells: ``.obs["position"]`` is 0 at ``start`` and 1 at ``end``,
        ``.obs["population"]`` names the point, ``.uns["path"]`` has the embeddings of the points.
        How far these are from what the model was trained on:

        ``.obs["mahalanobis"]``, ``.obs["beyond_training"]``
            Distance of the point's embedding from the mean of the training populations', in
            standard deviations of their prior (:meth:`get_embedding_prior`), and whether that is
            beyond them.
        ``.uns["path_limits"]``
            DataFrame of points: ``position``, ``mahalanobis``, ``p_value``, ``beyond_training``.

        The p-value is the share of training populations, the point itself counted among them, that
        are at least as far from a prior fitted without them; beyond is p of at most 0.05 or, of
        fewer than 19 training populations, further than all of them. A warning says that there are
        such points; their cells are extrapolated. Where the training populations cannot be known
        (a model loaded with other data), another says so, and these columns are absent.

        Raises
        ------
        KeyError
            If a population is unknown; the message lists close matches.
        ValueError
            If there are fewer than two points.
        """
        _require_steps(n_steps)
        self._check_if_trained(warn=True)
        ends, batches = self._codes([start, end], adata, batch)
        position = np.linspace(0, 1, n_steps)
        path = pd.DataFrame(
            np.outer(1 - position, ends.iloc[0]) + np.outer(position, ends.iloc[1]),
            index=[f"{start} to {end}, {p:.4g}" for p in position],
            columns=ends.columns,
        )
        if batches is not None:
            rng = np.random.default_rng(0)
            many = rng.choice(batches[0], 4096), rng.choice(batches[1], 4096)
            batches = [np.where(np.arange(4096) < p * 4096, *many[::-1]) for p in position]
        return self._path(
            path, position, batches, n_cells, seed, to_genes, enable_progress_bar, sampler_kwargs
        )

    def shift(
        self,
        population: str,
        direction: np.ndarray | pd.Series | tuple[str, str],
        distance: float = 2.0,
        n_steps: int = 5,
        n_cells: int = 1_000,
        *,
        unit: Literal["sd", "embedding"] = "sd",
        adata: AnnData | MuData | None = None,
        batch: str | None = None,
        seed: int | None = None,
        to_genes: bool = False,
        enable_progress_bar: bool = True,
        **sampler_kwargs: object,
    ) -> AnnData:
        """Draw cells of a population moved along a direction of the embedding.

        A counterfactual: this patient, more like those. It is what the model makes of it, no
        experiment; the result says where it leaves the populations that the model knows.

        Parameters
        ----------
        population
            Name of the population to start from.
        direction
            A direction of the embedding, ``(n_latent,)``, whatever its length: a difference of
            embeddings or of cohorts' means, a coefficient vector, a row of a table of directions.
            Or names of two populations: from the first to the second.
        distance
            How far to go; below zero the other way.
        n_steps
            Points, the population itself and the end included.
        n_cells
            Cells of each point.
        unit
            Of the distance: ``"sd"``, standard deviations of true embeddings between populations
            along the direction, by the prior; ``"embedding"``, units of the embedding.
        adata
            Data that has the populations, by default the training data.
        batch
            Batch to draw the cells in. By default the population's own.
        seed, to_genes, enable_progress_bar, **sampler_kwargs
            As in :meth:`sample`.

        Returns
        -------
        AnnData of generated cells, as from :meth:`interpolate`, with its limits;
        ``.obs["position"]`` is the distance gone, in the unit asked for.

        Raises
        ------
        KeyError
            If a population is unknown; the message lists close matches.
        TypeError, ValueError
            If the direction has another length, is zero or not finite, there are fewer than two
            points, the distance is zero or not finite, or the unit is ``"sd"`` and the training
            populations cannot be known.
        """
        _require_steps(n_steps)
        require_choice("unit", unit, ("sd", "embedding"))
        if not np.isfinite(distance) or distance == 0:
            raise ValueError(f"distance={distance!r} must be a finite number other than zero.")
        self._check_if_trained(warn=True)
        start, batches = self._codes([population], adata, batch)
        along = self._unit_vector(direction, adata)
        scale = 1.0
        if unit == "sd":
            prior = self.get_embedding_prior(enable_progress_bar=enable_progress_bar)
            scale = np.sqrt(along @ prior.cov @ along)
        position = np.linspace(0, distance, n_steps)
        path = pd.DataFrame(
            start.to_numpy() + np.outer(scale * position, along),
            index=[f"{population} shifted by {p:.4g}" for p in position],
            columns=start.columns,
        )
        batches = None if batches is None else batches * n_steps
        return self._path(
            path, position, batches, n_cells, seed, to_genes, enable_progress_bar, sampler_kwargs
        )

    def _unit_vector(
        self, direction: np.ndarray | pd.Series | tuple[str, str], adata: AnnData | MuData | None
    ) -> np.ndarray:
        """Return a direction ``(L,)`` of length one."""
        if isinstance(direction, str):
            raise TypeError(
                f"direction={direction!r} is one name; give two, (from, to), or a vector."
            )
        if isinstance(direction, tuple | list) and all(isinstance(name, str) for name in direction):
            ends = self.get_population_embedding(adata, list(direction)).to_numpy(dtype=float)
            vector = ends[1] - ends[0]
        else:
            vector = self._direction(direction).numpy()
        length = np.linalg.norm(vector)
        if length == 0:
            raise ValueError("direction is zero: it has no direction.")
        return vector / length

    def _path(
        self,
        path: pd.DataFrame,
        position: np.ndarray,
        batches: list[np.ndarray] | None,
        n_cells: int,
        seed: int | None,
        to_genes: bool,
        enable_progress_bar: bool,
        sampler_kwargs: dict,
    ) -> AnnData:
        """Draw cells of the points of a path, and say which are beyond the training populations."""
        cells = self._sample(
            path, batches, n_cells, seed, to_genes, enable_progress_bar, sampler_kwargs
        )
        table = self._limits(path, enable_progress_bar)
        table.insert(0, "position", position)
        of_cell = table.loc[cells.obs["population"].astype(str)]
        for column in table.columns.drop("p_value", errors="ignore"):
            cells.obs[column] = of_cell[column].to_numpy()
        cells.uns["path"] = path
        if "mahalanobis" in table:
            cells.uns["path_limits"] = table
        return cells

    def _limits(self, path: pd.DataFrame, enable_progress_bar: bool) -> pd.DataFrame:
        """Return how far codes lie from the training populations, where these can be known."""
        try:
            prior = self.get_embedding_prior(enable_progress_bar=enable_progress_bar)
        except NoPriorError as error:
            warnings.warn(
                f"How far the path is from the training populations is not said. {error}",
                UserWarning,
                stacklevel=4,
            )
            return pd.DataFrame(index=path.index)
        reference = self.embedding_prior_["distances"]
        away = prior.mahalanobis(path.to_numpy())
        p_value = conformal_p_values(away, reference)
        # With fewer than 19 populations no p-value is that small: there the furthest is the limit.
        beyond = p_value <= max(_LEVEL, 1 / (len(reference) + 1))
        if beyond.any():
            first = path.index[beyond][0]
            warnings.warn(
                f"{beyond.sum()} of {len(path)} points, {first!r} first, lie beyond the "
                f"{len(reference)} training populations (Mahalanobis distance up to "
                f"{away.max():.3g}; theirs reach {reference.max():.3g}). Their cells are "
                "extrapolated: stay where .uns['path_limits'] says beyond_training is False.",
                UserWarning,
                stacklevel=4,
            )
        return pd.DataFrame(
            {"mahalanobis": away, "p_value": p_value, "beyond_training": beyond}, index=path.index
        )


def _require_steps(n_steps: int) -> None:
    require_counts(n_steps=n_steps)
    if n_steps < 2:
        raise ValueError(f"n_steps={n_steps!r} must be at least 2: both ends are on the path.")
