from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData, concat
from mudata import MuData
from rich.progress import track

from .._errors import require_positive, unknown
from .._scvi import BaseModelClass

_MAX_VALUES = 1 << 25


class SamplingMixin(BaseModelClass):
    """``sample``: cells of a population, resampled from its embedding."""

    def sample(
        self,
        populations: str | list[str] | pd.DataFrame | np.ndarray | None = None,
        n_cells: int = 1_000,
        *,
        adata: AnnData | MuData | None = None,
        batch: str | None = None,
        seed: int | None = None,
        enable_progress_bar: bool = True,
    ) -> AnnData:
        """Draw cells of populations from their embeddings.

        Parameters
        ----------
        populations
            Names of populations of the data; or embeddings themselves, populations x ``n_latent``
            (a DataFrame's index names them). All populations by default.
        n_cells
            Cells of each.
        adata
            Data that has the populations, by default the training data.
        batch
            Batch to draw the cells in. By default each population's cells get its own batches, as
            often as they occur; cells drawn from given embeddings get none.
        seed
            Seed of the draw; by default the model's.
        enable_progress_bar
            Show progress where there is more than one step of it.

        Returns
        -------
        AnnData of generated cells with the features of the data: counts (CSR) where the generator
        models counts, else real values; ``.obs["population"]`` names the population.
        """
        require_positive(n_cells=n_cells)
        self._check_if_trained(warn=True)
        z, batches = self._codes(populations, adata, batch)
        generator = torch.Generator(self.module.device)
        generator.manual_seed(self.seed_ if seed is None else seed)
        per_call = max(1, _MAX_VALUES // self.module.n_features)
        jobs = [
            (i, start, min(per_call, n_cells - start))
            for i in range(len(z))
            for start in range(0, n_cells, per_call)
        ]
        progress = track(
            jobs, "Sampling", disable=not enable_progress_bar or len(jobs) * n_cells < 100_000
        )
        drawn = [
            self._draw(z.iloc[[i]], start, n, None if batches is None else batches[i], generator)
            for i, start, n in progress
        ]
        cells = drawn[0] if len(drawn) == 1 else concat(drawn)
        for column in ("population", *((self.batch_key,) if batches is not None else ())):
            cells.obs[column] = pd.Categorical(cells.obs[column])
        if len(self.population_keys) == 1 and self.population_keys[0] not in cells.obs:
            cells.obs[self.population_keys[0]] = cells.obs["population"]
        return cells

    def _codes(self, populations, adata, batch) -> tuple[pd.DataFrame, list[np.ndarray] | None]:
        """Return embeddings, and for each the batch codes to choose from."""
        numbers = isinstance(populations, np.ndarray) and populations.dtype.kind in "fiu"
        given = numbers or isinstance(populations, pd.DataFrame)
        if given:
            z = pd.DataFrame(populations)
            if numbers:
                z.index = [f"population_{i}" for i in range(len(z))]
            if z.shape[1] != self.n_latent_:
                raise ValueError(
                    f"populations has {z.shape[1]} columns, but embeddings of this model have "
                    f"n_latent={self.n_latent_}."
                )
        else:
            z = self.get_population_embedding(adata, populations)
        if self.batch_key is None:
            if batch is not None:
                raise ValueError(f"batch={batch!r} was given, but no batch_key was set up.")
            return z, None
        if batch is not None:
            if str(batch) not in self.batch_categories:
                raise KeyError(unknown("batch", batch, self.batch_categories, "the training data"))
            return z, [np.array([self.batch_categories.index(str(batch))])] * len(z)
        if given:
            return z, [np.array([-1])] * len(z)
        dataset = self._dataset(self._validate_anndata(adata))
        found = dataset.index.names.get_indexer(z.index)
        return z, [dataset.batch[dataset.index.cells(i)] for i in found]

    def _draw(
        self,
        z: pd.DataFrame,
        start: int,
        n_cells: int,
        batches: np.ndarray | None,
        generator: torch.Generator,
    ) -> AnnData:
        """Draw cells ``start`` to ``start + n_cells`` of one population."""
        device, batch, name = self.module.device, None, str(z.index[0])
        obs = pd.DataFrame(
            {"population": np.repeat(name, n_cells)},
            index=[f"{name}-{i}" for i in range(start, start + n_cells)],
        )
        if batches is not None:
            pick = torch.randint(len(batches), (n_cells,), generator=generator, device=device)
            chosen = batches[pick.cpu().numpy()]
            batch = torch.from_numpy(chosen)[None].to(device)
            known = np.array([*self.batch_categories, ""], dtype=object)
            obs[self.batch_key] = pd.Series(known[chosen], index=obs.index).where(chosen >= 0)
        code = torch.from_numpy(z.to_numpy(dtype=np.float32)).to(device)
        x = (
            self.module.sample(code, n_cells, generator=generator, batch=batch)[0]
            .float()
            .cpu()
            .numpy()
        )
        if self.module.generator.space == "counts":
            x = sp.csr_matrix(x)
        return AnnData(x, obs=obs, var=pd.DataFrame(index=self.get_feature_names()))
