from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from mudata import MuData
from torch import Tensor

from .._errors import require_counts
from .._scvi import BaseModelClass
from ..data import SetDataset, whole_populations
from ..encoders import Embedded, embedded_influence
from ._populations import CHUNK
from ._progress import tracked

_N_BOOTSTRAP = 200


class InfluenceMixin(BaseModelClass):
    """What each cell does to its population's embedding, and the sampling covariance from it."""

    def get_cell_influence(
        self,
        adata: AnnData | MuData | None = None,
        populations: str | list[str] | None = None,
        direction: np.ndarray | pd.Series | None = None,
        *,
        max_cells: int = 8192,
        enable_progress_bar: bool = True,
    ) -> pd.DataFrame | pd.Series:
        r"""Return how far, and where to, each cell pulls its population's embedding.

        The empirical influence function (Hampel 1974):

        .. math:: \psi_i = \frac{d}{d\epsilon}\, z\big((1 - \epsilon) w + \epsilon \delta_i\big)
            \Big|_{\epsilon = 0}

        Adding one more cell like i to a population of n moves the embedding by about
        :math:`\psi_i / n`. Within a population the influences have mean zero, and their covariance
        over n is the embedding's sampling covariance.

        Parameters
        ----------
        adata, populations, max_cells
            As in :meth:`get_population_embedding`.
        direction
            ``(n_latent,)``: return the dot product of the influence with this direction; give it
            unit length to have embedding units.
        enable_progress_bar
            Show progress over populations.

        Returns
        -------
        DataFrame, cells x ``n_latent``, in embedding units; with a direction a Series over cells.
        NaN for cells in no population, or in one not asked for.

        Raises
        ------
        ValueError
            If ``direction`` has another length or is not finite, or the encoder's embedding has no
            derivative by the weights (``"median_gnn"``).
        """
        self._check_if_trained(warn=True)
        self._require_influence()
        along = None if direction is None else self._direction(direction)
        adata = self._validate_anndata(adata)
        dataset = self._dataset(adata)
        wanted = np.unique(self._find(populations, dataset.index.names))
        found = np.full(
            (adata.n_obs, *([self.n_latent_] if along is None else [])), np.nan, dtype=np.float32
        )
        batches = whole_populations(dataset.index, wanted, max_cells)
        for _, rows, weight in tracked(
            list(batches), "Influence", dataset.index.sizes[wanted], enable_progress_bar
        ):
            _, pieces = self._influence(dataset, rows, weight, max_cells)
            for columns, psi in pieces:
                psi = psi if along is None else psi @ along.to(psi)
                real = weight[:, columns].numpy() > 0  # padding repeats cells
                found[rows[:, columns][real]] = psi.cpu().numpy()[real]
        if along is None:
            return self._table(found, adata.obs_names)
        return pd.Series(found, index=adata.obs_names, name="influence")

    def get_drawn_embedding(
        self,
        adata: AnnData | MuData | None = None,
        populations: str | list[str] | None = None,
        *,
        cells_per_draw: int = 1_000,
        n_draws: int = 10,
        seed: int | None = None,
        enable_progress_bar: bool = True,
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Embed populations by averaging over draws of their cells, with a standard error.

        For encoders that do not stream, on populations too large to be embedded whole. The average
        is over embeddings of ``cells_per_draw`` cells, which an encoder with more than one pooling
        may embed a little off the whole population; the standard error does not hold that part,
        which falls as one over ``cells_per_draw``.

        Parameters
        ----------
        adata, populations
            As in :meth:`get_population_embedding`.
        cells_per_draw
            Cells of a draw, without replacement. Smaller populations are embedded whole.
        n_draws
            Draws, at least two.
        seed
            Seed of the draws; by default the model's.
        enable_progress_bar
            Show progress over populations, where it takes a while.

        Returns
        -------
        Mean over draws, and its standard error over draws: DataFrames, populations x ``n_latent``.
        The standard error is that of the draws, not of the cells measured: 0 for populations that
        were embedded whole.

        Raises
        ------
        TypeError, ValueError
            If ``cells_per_draw`` is no number of cells, or there are fewer than two draws.
        """
        require_counts(cells_per_draw=cells_per_draw, n_draws=n_draws)
        if n_draws < 2:
            raise ValueError(f"n_draws={n_draws!r} must be at least 2, to have a standard error.")
        self._check_if_trained(warn=True)
        dataset = self._dataset(self._validate_anndata(adata))
        names = dataset.index.names
        wanted = self._find(populations, names)
        mean, error = (np.zeros((len(wanted), self.n_latent_), np.float32) for _ in range(2))
        sizes = np.minimum(dataset.index.sizes[wanted], n_draws * cells_per_draw)
        jobs = list(enumerate(wanted))
        for i, population in tracked(jobs, "Embedding draws", sizes, enable_progress_bar):
            rng = np.random.default_rng([self.seed_ if seed is None else seed, population])
            cells = dataset.index.cells(population)
            whole = len(cells) <= cells_per_draw
            m = len(cells) if whole else cells_per_draw
            draws = [
                self._encode(
                    dataset,
                    np.sort(rng.choice(cells, m, replace=False))[None],
                    torch.full((1, m), 1 / m),
                    m,
                )[0]
                for _ in range(1 if whole else n_draws)
            ]
            mean[i] = np.mean(draws, 0)
            if not whole:
                error[i] = np.std(draws, 0, ddof=1) / np.sqrt(n_draws)
        index = pd.Index(names[wanted], name="population")
        return self._table(mean, index), self._table(error, index)

    def _require_influence(self) -> None:
        if not self.module.encoder.differentiable:
            raise ValueError(
                f"encoder={self._encoder_name!r} pools by medians, on which single cells have no "
                "derivative. Train with another encoder, such as 'resnet_gnn', for influences; "
                "get_population_embedding(return_covariance=True) bootstraps the cells instead."
            )

    def _direction(self, direction: np.ndarray | pd.Series) -> Tensor:
        values = np.asarray(direction, dtype=np.float64)
        if values.shape != (self.n_latent_,):
            raise ValueError(
                f"direction has shape {values.shape}, but embeddings have n_latent="
                f"{self.n_latent_} coordinates; give one number for each, such as "
                "embedding.loc['b'] - embedding.loc['a']."
            )
        if not np.isfinite(values).all():
            raise ValueError("direction has values that are NaN or infinite; leave them out.")
        return torch.from_numpy(values)

    def _covariance(
        self,
        dataset: SetDataset,
        rows: np.ndarray,
        weight: Tensor,
        max_cells: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return embeddings ``(B, L)`` of sets and their sampling covariances ``(B, L, L)``."""
        if not self.module.encoder.differentiable:
            return self._bootstrap(dataset, rows, weight)
        z, pieces = self._influence(dataset, rows, weight, max_cells)
        total = torch.zeros(len(rows), self.n_latent_, self.n_latent_, device=z.device)
        for columns, psi in pieces:
            pull = psi * weight[:, columns, None].to(psi)
            total += pull.transpose(1, 2) @ pull
        # The n / (n - 1) of a variance; of unequal weights, Kish's effective number takes n's
        # place. Of a single cell no spread can be known.
        spare = 1 - weight.double().square().sum(1)
        scale = torch.where(spare > 1e-9, 1 / spare.clamp_min(1e-9), torch.nan)
        return z.float().cpu().numpy(), (total.cpu() * scale[:, None, None].float()).numpy()

    def _influence(
        self,
        dataset: SetDataset,
        rows: np.ndarray,
        weight: Tensor,
        max_cells: int,
    ) -> tuple[Tensor, Iterator[tuple[slice, Tensor]]]:
        """Return embeddings ``(B, L)``, and cells' influence ``(B, c, L)`` by pieces of columns."""
        return embedded_influence(
            self.module.encoder,
            lambda size: self._viewed(dataset, rows, weight, size),
            rows.shape[1],
            max_cells,
            min(CHUNK, max_cells),
        )

    @torch.no_grad()
    def _bootstrap(
        self, dataset: SetDataset, rows: np.ndarray, weight: Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return embeddings, and their covariances over redrawn cells, as weights."""
        encoder = self.module.encoder
        ((x, w),) = self._viewed(dataset, rows, weight, rows.shape[1])
        # Seeded by the first cell: what else is embedded beside a population does not matter.
        generators = [
            torch.Generator().manual_seed(self.seed_ + 1_000_003 * int(own[0])) for own in rows
        ]
        sizes = (weight > 0).sum(1)
        draws = []
        for _ in range(_N_BOOTSTRAP):
            redrawn = torch.zeros_like(weight)
            for own, to, n, generator in zip(
                weight, redrawn, sizes.tolist(), generators, strict=True
            ):
                drawn = torch.multinomial(own[:n], n, replacement=True, generator=generator)
                to[:n] += torch.bincount(drawn, minlength=n) / n
            draws.append(encoder(x, redrawn.to(w)))
        draws = torch.stack(draws)
        centred = draws - draws.mean(0)
        covariance = torch.einsum("kbi,kbj->bij", centred, centred) / (len(draws) - 1)
        scale = torch.where(sizes > 1, sizes / (sizes - 1).clamp_min(1), torch.nan)
        covariance = covariance.float().cpu() * scale[:, None, None]
        return encoder(x, w).float().cpu().numpy(), covariance.numpy()

    def _viewed(self, dataset: SetDataset, rows: np.ndarray, weight: Tensor, size: int) -> Iterator:
        """Iterate over pieces of sets, as the encoder sees them, with their weights."""
        for x, w, library in self._pieces(dataset, rows, weight, size):
            yield self.module.view(x, library), w

    def _first_states(
        self, dataset: SetDataset, rows: np.ndarray, weight: Tensor, size: int
    ) -> Iterator[tuple[Embedded, Tensor]]:
        """Iterate over pieces of sets as a pooled encoder's first layer leaves them."""
        for x, w in self._viewed(dataset, rows, weight, size):
            yield self.module.encoder.embed(x), w

    @property
    def _encoder_name(self) -> str:
        return self.init_params_["non_kwargs"]["encoder"]
