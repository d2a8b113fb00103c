from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData, concat
from mudata import MuData
from rich.progress import track

from .._errors import require_counts, unknown
from .._scvi import X_KEY, BaseModelClass, state_of
from ..generators import Generator
from ._genes import to_genes as components_to_genes

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
        to_genes: bool = False,
        enable_progress_bar: bool = True,
        **sampler_kwargs: object,
    ) -> AnnData | MuData:
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
        to_genes
            Of a model of principal components (``use_rep="X_pca"``): return genes, by the loadings
            in ``.varm["PCs"]`` of the training data.
        enable_progress_bar
            Show progress where there is more than one step of it.
        **sampler_kwargs
            Options of the generator's own ``sample``: ``n_steps``, ``method`` and
            ``guidance_scale`` of ``"flow_matching"`` and ``"ddpm"``.

        Returns
        -------
        AnnData of generated cells with the features of the data: counts (CSR) where the generator
        models counts, else real values; ``.obs["population"]`` names the population. Of a model of
        several modalities a MuData, whose cells have all of them.

        Raises
        ------
        KeyError, ValueError
            If a population or batch is unknown, an option is not one of the generator, or genes are
            asked for and cannot be had.
        """
        self._check_if_trained(warn=True)
        z, batches = self._codes(populations, adata, batch)
        return self._sample(
            z, batches, n_cells, seed, to_genes, enable_progress_bar, sampler_kwargs
        )

    def _sample(
        self,
        z: pd.DataFrame,
        batches: list[np.ndarray] | None,
        n_cells: int,
        seed: int | None,
        to_genes: bool,
        enable_progress_bar: bool,
        sampler_kwargs: dict,
    ) -> AnnData | MuData:
        """Draw cells of embeddings; ``batches`` has for each the batch codes to choose from."""
        require_counts(n_cells=n_cells)
        self._check_sampler(sampler_kwargs)
        reference, use_rep = self._representation() if to_genes else (None, "")
        if not np.isfinite(z.to_numpy()).all():
            raise ValueError("populations has embeddings that are NaN or infinite.")
        if not z.index.is_unique:
            twice = z.index[z.index.duplicated()][0]
            raise ValueError(
                f"populations has {twice!r} twice: name each once, and draw more cells (n_cells)."
            )
        generator = torch.Generator(self.module.device)
        generator.manual_seed(self.seed_ if seed is None else seed)
        # Hidden layers count too: several of them are held where cells have few features.
        per_call = max(1, _MAX_VALUES // max(self.module.n_features, 256))
        jobs = [
            (i, start, min(per_call, n_cells - start))
            for i in range(len(z))
            for start in range(0, n_cells, per_call)
        ]
        progress = track(
            jobs, "Sampling", disable=not enable_progress_bar or len(jobs) * n_cells < 100_000
        )
        drawn = [
            self._draw(
                z.iloc[[i]],
                start,
                n,
                None if batches is None else batches[i],
                generator,
                sampler_kwargs,
            )
            for i, start, n in progress
        ]
        cells = drawn[0] if len(drawn) == 1 else concat(drawn)
        for column in ("population", *((self.batch_key,) if batches is not None else ())):
            cells.obs[column] = pd.Categorical(cells.obs[column])
        if len(self.population_keys) == 1 and self.population_keys[0] not in cells.obs:
            cells.obs[self.population_keys[0]] = cells.obs["population"]
        if self.modality_names:
            return self._split_modalities(cells)
        return cells if reference is None else components_to_genes(cells, reference, use_rep)

    def _split_modalities(self, cells: AnnData) -> MuData:
        """Return cells of several modalities as a MuData, features under their own names."""
        state = state_of(self.registry_, X_KEY)
        ends = np.cumsum(state["sizes"])
        parts = {}
        for name, size, end in zip(self.modality_names, state["sizes"], ends, strict=True):
            own = slice(end - size, end)
            parts[name] = AnnData(
                cells.X[:, own],
                obs=pd.DataFrame(index=cells.obs_names),
                var=pd.DataFrame(index=state["own_names"][own]),
            )
        mdata = MuData(parts)
        for column in cells.obs:
            mdata.obs[column] = cells.obs[column]
        return mdata

    def _check_sampler(self, options: dict) -> None:
        takes = inspect.signature(self.module.generator.sample).parameters
        own = [name for name in takes if name not in inspect.signature(Generator.sample).parameters]
        own = [name for name in own if name not in ("library", "batch")]
        for name in options:
            if name not in own:
                generator = self.init_params_["non_kwargs"]["generator"]
                raise ValueError(
                    unknown("option", name, own, f"those of generator {generator!r}'s sample")
                )

    def _representation(self) -> tuple[AnnData, str]:
        """Return the training data and the key of the representation that the model works on."""
        use_rep = self.setup_arguments["use_rep"]
        if use_rep is None:
            raise ValueError(
                "to_genes=True is for models of a representation (setup_anndata with use_rep); "
                "this one draws genes already."
            )
        if not isinstance(self.adata, AnnData):
            raise ValueError(
                "to_genes=True needs the training AnnData, its loadings and matrix; load the model "
                "with adata=..., and of a MuData use the modality's AnnData."
            )
        return self.adata, use_rep

    def _codes(self, populations, adata, batch) -> tuple[pd.DataFrame, list[np.ndarray] | None]:
        """Return embeddings, and for each the batch codes to choose from."""
        if isinstance(populations, pd.Series) and populations.dtype.kind == "f":
            raise TypeError(
                "populations is a Series of numbers: give one embedding as a row of a DataFrame, "
                f"embedding.loc[[{populations.name!r}]]."
            )
        numbers = isinstance(populations, np.ndarray) and populations.ndim == 2
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
        sampler_kwargs: dict,
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
        drawn = self.module.sample(
            code, n_cells, generator=generator, batch=batch, **sampler_kwargs
        )
        x = drawn[0].float().cpu().numpy()
        if self.module.generator.space == "counts":
            x = sp.csr_matrix(x)
        return AnnData(x, obs=obs, var=pd.DataFrame(index=self.get_feature_names()))
