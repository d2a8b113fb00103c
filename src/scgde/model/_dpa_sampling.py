from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from .._errors import require, require_counts
from ..data import PopulationIndex
from ..module import DPAModule
from ._dpa_passes import CELLS_AT_ONCE, PassesMixin


class DPASamplingMixin(PassesMixin):
    """Cells from latents, from some of them, or from noise alone."""

    def reconstruct(
        self,
        k: int | None = None,
        adata: AnnData | None = None,
        *,
        draw: bool = False,
        n_draws: int = 25,
        seed: int | None = None,
    ) -> AnnData:
        """Return cells as their first k latents tell them.

        Parameters
        ----------
        k
            Level, from 0 to K, the default.
        adata
            Cells with the model's features; by default the training data.
        draw
            Return one draw from the distribution of cells given the latents, not its mean.
        n_draws
            Draws that a mean is of.
        seed
            Seed of the draws; by default the model's.

        Returns
        -------
        AnnData of the same cells, ``.X`` in the units that the model works on (counts
        log-normalised). NaN for cells that belong to no population.

        Raises
        ------
        ValueError
            If k is out of range or the cells do not fit the model.
        """
        self._require_trained()
        require_counts(n_draws=n_draws)
        k = self._level(k)
        if draw:
            self._warn_of_beta()
            n_draws = 1
        generator = self._generator(seed)

        def mean(networks: DPAModule, z: Tensor, condition: Tensor | None) -> Tensor:
            draws = (networks.decode(z, k, condition, generator) for _ in range(n_draws))
            return sum(draws) / n_draws

        adata = self._validate_anndata(adata)
        x = self._by_cell(adata, mean, self.module.n_features)
        return self._as_adata(x, adata.obs.filter(regex="^(?!_scvi)"))

    def sample(
        self,
        n_cells: int = 1_000,
        k: int = 0,
        populations: str | list[str] | None = None,
        *,
        seed: int | None = None,
    ) -> AnnData:
        """Draw new cells.

        Parameters
        ----------
        n_cells
            How many; of each population, if populations are named.
        k
            At level 0 cells are drawn from noise alone. At k they share their first k latents with
            training cells drawn at random (with any, if other data is attached).
        populations
            Whose cells are drawn; by default all, mixed in the proportions of the training cells.
            Matters where each has its own network or the model is conditioned, or for ``k`` above
            0.
        seed
            Seed of the draws; by default the model's.

        Returns
        -------
        AnnData of cells in the units that the model works on (counts log-normalised).
        ``.obs["population"]`` names the population, but for cells from noise alone of one network
        for all, which knows none.

        Raises
        ------
        KeyError, ValueError
            If a population is unknown or k is out of range; if the model has no data attached and
            needs some, for k above 0 or a condition.
        """
        self._require_trained()
        require_counts(n_cells=n_cells)
        k = self._level(k)
        self._warn_of_beta()
        if k == 0 and not self._knows_populations:
            if populations is not None:
                raise ValueError(
                    f"populations={populations!r}: this model has one network for all cells and "
                    "knows no populations, so at k=0 it cannot draw the cells of one. Use "
                    "networks='separate' or setup_anndata(..., condition_rep=...), or k above 0."
                )
            x = self._from_noise(np.zeros(n_cells, dtype=int), seed)
            return self._as_adata(x, pd.DataFrame(index=range(n_cells)))
        rng = np.random.default_rng(self.seed_ if seed is None else seed)
        from_noise = k == 0 and self.is_separate  # takes no data
        index = None if from_noise else self._training_index()
        names = self.network_names if from_noise else index.names
        if populations is not None:
            chosen = [populations] if isinstance(populations, str) else list(populations)
            for name in chosen:
                require("populations", name, names, "the populations that can be drawn")
            codes = np.repeat(names.get_indexer(chosen), n_cells)
        else:
            sizes = self.network_sizes_ if from_noise else index.sizes
            codes = rng.choice(len(names), n_cells, p=sizes / sizes.sum())
        if from_noise:
            x = self._from_noise(codes, seed)
        else:
            # Templates lend their latents, their network and their condition.
            templates = np.empty(len(codes), dtype=np.int64)
            for code in np.unique(codes):
                own = codes == code
                templates[own] = rng.choice(index.cells(code), own.sum())
            generator = self._generator(seed)
            x = self._by_cell(
                None,
                lambda networks, z, condition: networks.decode(z, k, condition, generator),
                self.module.n_features,
                templates,
            )
        drawn = pd.Categorical(np.asarray(names)[codes])
        return self._as_adata(x, pd.DataFrame({"population": drawn}))

    @torch.no_grad()
    def _from_noise(self, members: np.ndarray, seed: int | None) -> np.ndarray:
        """Return a cell ``(d,)`` of level 0 from each of the networks named."""
        generator, device = self._generator(seed), self.module.device
        x = np.empty((len(members), self.module.n_features), dtype=np.float32)
        for member in np.unique(members):
            own = np.flatnonzero(members == member)
            network = self.module.members([member])
            for part in np.array_split(own, -(-len(own) // CELLS_AT_ONCE)):
                z = torch.zeros(1, len(part), self.module.n_latent, device=device)
                x[part] = network.decode(z, 0, None, generator)[0].cpu().numpy()
        return x

    def _training_index(self) -> PopulationIndex:
        """Return populations of training cells, or of all where other data is attached."""
        index = self._index()
        return index.restrict(self.train_indices) if self._has_training_cells else index

    @property
    def _knows_populations(self) -> bool:
        return self.is_separate or len(self.module.condition_loc) > 0

    def _warn_of_beta(self) -> None:
        if self.module.beta == 2:
            warnings.warn(
                "beta=2: the energy score then compares means only, and what the decoder draws is "
                "not distributed as the cells. Train with beta=1 to sample.",
                UserWarning,
                stacklevel=3,
            )

    def _generator(self, seed: int | None) -> torch.Generator:
        generator = torch.Generator(self.module.device)
        return generator.manual_seed(int(self.seed_ if seed is None else seed))

    def _as_adata(self, x: np.ndarray, obs: pd.DataFrame) -> AnnData:
        obs.index = obs.index.astype(str)
        return AnnData(x, obs=obs, var=pd.DataFrame(index=self.get_feature_names().astype(str)))
