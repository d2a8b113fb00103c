from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from mudata import MuData
from sklearn.decomposition import PCA

from .._errors import listed, unknown
from .._scvi import BaseModelClass
from ..data import POPULATION_KEY, SetDataset, as_keys, population_table, whole_populations
from ._progress import tracked

CHUNK = 4096


class PopulationMixin(BaseModelClass):
    """Embeddings of whole populations, and what is read off them."""

    def get_population_embedding(
        self,
        adata: AnnData | MuData | None = None,
        populations: str | list[str] | None = None,
        max_cells: int = 8192,
        *,
        return_covariance: bool = False,
        enable_progress_bar: bool = True,
    ) -> pd.DataFrame | tuple[pd.DataFrame, np.ndarray]:
        r"""Embed populations, each from all of its cells; on request with an error bar.

        Parameters
        ----------
        adata
            Data with the genes of the training data; populations may be new. By default the
            training data.
        populations
            Names of the populations wanted; all by default.
        max_cells
            Cells held at once. A larger population is embedded in chunks at constant memory where
            the encoder streams, and whole where it does not.
        return_covariance
            Return the sampling covariance of every embedding too: by how much it would vary if
            other cells of the same population had been measured, as many as there are.
        enable_progress_bar
            Show progress over populations, where it takes a while.

        Returns
        -------
        DataFrame, populations x ``n_latent``, in the order asked for. With ``return_covariance``
        also an array, populations x ``n_latent`` x ``n_latent``; NaN for populations of one cell.

        Notes
        -----
        The covariance is the infinitesimal jackknife (Efron 1982; Giordano et al. 2019),

        .. math:: \Sigma = \frac{1}{n (n - 1)} \sum_i \psi_i \psi_i^T

        with the cells' influences of :meth:`get_cell_influence`. It takes the cells as independent
        draws from the population; doublets, lanes and differences between donors are not in it, nor
        that an encoder may know cells that it was trained on (:meth:`get_training_populations`) by
        heart. Of n cells out of a population of N known cells, multiply it by 1 - n / N.
        ``n_cells``, which small samples need beside it
        (:func:`scgde.stats.hotelling_radius`), is in
        :meth:`get_population_table`. For ``"median_gnn"``, which has no derivative by the weights,
        it is that of 200 bootstrap draws of the cells.
        """
        self._check_if_trained(warn=True)
        adata = self._validate_anndata(adata)
        dataset = self._dataset(adata)
        names = dataset.index.names
        wanted = self._find(populations, names)
        self._warn_if_large(dataset.index.sizes[wanted], max_cells)
        batches = list(whole_populations(dataset.index, np.unique(wanted), max_cells))
        batches = tracked(batches, "Embedding", dataset.index.sizes[wanted], enable_progress_bar)
        z = np.empty((len(names), self.n_latent_), dtype=np.float32)
        covariance: dict[int, np.ndarray] = {}
        for batch, rows, weight in batches:
            if return_covariance:
                z[batch], found = self._covariance(dataset, rows, weight, max_cells)
                covariance.update(zip(batch, found, strict=True))
            else:
                z[batch] = self._encode(dataset, rows, weight, max_cells)
        table = self._table(z[wanted], pd.Index(names[wanted], name="population"))
        return (table, np.stack([covariance[p] for p in wanted])) if return_covariance else table

    def _warn_if_large(self, sizes: np.ndarray, max_cells: int) -> None:
        if sizes.max() > max_cells and not self.module.encoder.streams:
            warnings.warn(
                f"{(sizes > max_cells).sum()} populations have more than max_cells={max_cells} "
                f"cells (the largest {sizes.max()}), and encoder={self._encoder_name!r} does not "
                "stream: they are embedded whole, which takes memory. get_drawn_embedding averages "
                "over draws of their cells; pooled encoders, such as 'resnet_gnn', stream.",
                UserWarning,
                stacklevel=3,
            )

    @torch.inference_mode()
    def _encode(
        self, dataset: SetDataset, rows: np.ndarray, weight: torch.Tensor, max_cells: int
    ) -> np.ndarray:
        """Embed the sets ``rows (B, m)`` under their weights, in chunks if they are large."""
        if rows.shape[1] > max_cells and self.module.encoder.streams:
            code = self.module.stream(
                lambda: self._pieces(dataset, rows, weight, min(CHUNK, max_cells))
            )
        else:
            code = self.module.encode(*self._to_device(dataset, rows, weight))
        return code.float().cpu().numpy()

    def _table(self, z: np.ndarray, index: pd.Index) -> pd.DataFrame:
        return pd.DataFrame(z, index=index, columns=[f"gde_{i}" for i in range(self.n_latent_)])

    def _pieces(self, dataset, rows: np.ndarray, weight: torch.Tensor, size: int) -> Iterator:
        for start in range(0, rows.shape[1], size):
            piece = slice(start, start + size)
            yield self._to_device(dataset, rows[:, piece], weight[:, piece])

    def _to_device(self, dataset, rows: np.ndarray, weight: torch.Tensor) -> tuple:
        x = dataset.cells(rows)
        library, device = dataset.library(rows, x), self.module.device
        return x.to(device), weight.to(device), None if library is None else library.to(device)

    @staticmethod
    def _find(populations: str | list[str] | None, names: pd.Index) -> np.ndarray:
        if populations is None:
            return np.arange(len(names))
        wanted = [str(p) for p in ([populations] if np.ndim(populations) == 0 else populations)]
        if not wanted:
            raise ValueError("populations is empty; name some, or leave it out for all.")
        found = names.get_indexer(wanted)
        if (found < 0).any():
            missing = [p for p, i in zip(wanted, found, strict=True) if i < 0]
            if len(missing) == 1:
                raise KeyError(unknown("population", missing[0], names, "the data"))
            raise KeyError(f"populations {listed(missing)} are not in the data: {listed(names)}.")
        return found

    def get_population_table(self, adata: AnnData | MuData | None = None) -> pd.DataFrame:
        """Return one row a population: ``n_cells``, and the obs columns constant within each.

        Parameters
        ----------
        adata
            As in :meth:`get_population_embedding`.
        """
        adata = self._validate_anndata(adata)
        index = self._dataset(adata).index
        table = population_table(self._obs(adata), index.codes, index.names)
        return table.rename_axis("population")

    def get_population_adata(self, adata: AnnData | MuData | None = None) -> AnnData:
        """Return an AnnData with one observation a population, as scanpy takes cells.

        ``.X`` is the embedding, ``.obs`` the table of :meth:`get_population_table`, and
        ``.obsm["X_pca"]`` the embedding turned to its principal axes: all of them, so distances
        are those of the embedding. (Of more than 50 variables scanpy would itself take 50
        components, of which a few patients have too few.)

        Parameters
        ----------
        adata
            As in :meth:`get_population_embedding`.

        Returns
        -------
        AnnData of populations x ``n_latent``, ready for ``sc.pp.neighbors`` and ``sc.tl.umap``.
        """
        embedding = self.get_population_embedding(adata)
        patients = AnnData(
            embedding.to_numpy(),
            obs=self.get_population_table(adata).loc[embedding.index].rename_axis(None),
            var=pd.DataFrame(index=embedding.columns),
        )
        patients.obsm["X_pca"] = PCA().fit_transform(embedding.to_numpy())
        patients.uns["gde_params"] = self.get_parameters()
        return patients

    @torch.inference_mode()
    def predict_labels(
        self,
        adata: AnnData | MuData | None = None,
        populations: str | list[str] | None = None,
        labels_key: str | None = None,
        soft: bool = False,
    ) -> pd.Series | pd.DataFrame:
        """Predict the label of populations with the jointly trained head.

        Parameters
        ----------
        adata, populations
            As in :meth:`get_population_embedding`.
        labels_key
            Which label, where several were set up; the first by default.
        soft
            Return probabilities, populations x classes, rather than the likeliest class.

        Returns
        -------
        Series of the likeliest class of each population; DataFrame of probabilities with ``soft``.

        Raises
        ------
        ValueError
            If the model has no label head.
        """
        if not self.label_keys_with_heads:
            raise ValueError(
                "This model has no label head. Build it with label_head=True after setup_anndata "
                "with labels_key, or classify its embeddings with scgde.tl.classify_populations."
            )
        key = self.label_keys_with_heads[0] if labels_key is None else labels_key
        if key not in self.label_keys_with_heads:
            raise KeyError(unknown("labels_key", key, self.label_keys_with_heads, "the setup"))
        z = self.get_population_embedding(adata, populations)
        probability = self.module.predict_labels(
            torch.from_numpy(z.to_numpy()).to(self.module.device),
            self.label_keys_with_heads.index(key),
        )
        table = pd.DataFrame(
            probability.cpu().numpy(), index=z.index, columns=pd.Index(self._classes(key), name=key)
        )
        return table if soft else table.idxmax(axis=1).rename(key)

    def _obs(self, adata: AnnData | MuData) -> pd.DataFrame:
        """Return what is known of each cell; of a MuData its own columns, then the modalities'."""
        if isinstance(adata, AnnData):
            return adata.obs
        # Columns of a modality carry its name before a colon in the MuData's own table.
        extra = {
            key: values
            for mod in self._modalities(adata)
            for key, values in mod.obs.items()
            if key not in adata.obs
        }
        return adata.obs.assign(**extra)

    def _modalities(self, mdata: MuData) -> list[AnnData]:
        """Return the modalities, that of the model's cells last, so that its keys prevail."""
        of_cells = self.setup_arguments["modalities"] or {}
        own = as_keys(of_cells.get("layer") or of_cells.get("use_rep"))
        return [mdata.mod[name] for name in sorted(mdata.mod, key=lambda name: name in own)]

    def get_population_codes(self, adata: AnnData | MuData | None = None) -> np.ndarray:
        """Return each cell's population as its row in the embedding; -1 for none.

        Parameters
        ----------
        adata
            As in :meth:`get_population_embedding`.
        """
        return np.asarray(self._validated_manager(adata).get_from_registry(POPULATION_KEY)).ravel()

    @property
    def population_keys(self) -> list[str]:
        """The obs columns whose combinations are populations."""
        return as_keys(self.setup_arguments["population_key"])
