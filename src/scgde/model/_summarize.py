from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from mudata import MuData

from .._scvi import BaseModelClass
from .._version import __version__
from ..data import SetDataset, whole_populations
from ..encoders import Embedded, ModalEncoder, linear_map, mean_jacobians
from ..nn import weighted_mean
from ._populations import CHUNK
from ._progress import tracked
from ._summary import PopulationSummary


class SummaryMixin(BaseModelClass):
    """``summarize_populations``: the sums from which embeddings follow."""

    def summarize_populations(
        self,
        adata: AnnData | MuData | None = None,
        populations: str | list[str] | None = None,
        *,
        given: PopulationSummary | None = None,
        covariance: bool = True,
        source: str = "",
        max_cells: int = 8192,
        enable_progress_bar: bool = True,
    ) -> PopulationSummary:
        """Sum up populations, so that lanes and sites can be merged and removed without cells.

        One pass over the cells a pooling layer, one more for the sums, and with a covariance one
        for the Jacobians.

        Parameters
        ----------
        adata, populations, max_cells
            As in :meth:`get_population_embedding`.
        given
            A merged summary that is not complete: take the next pass over these cells, at its
            pooled vectors. See :class:`~scgde.model.PopulationSummary`.
        covariance
            Keep what the covariance needs too. That is the larger part: with the default encoder
            some 1.6 MB a population.
        source
            What these cells are (``"site A, lane 3"``), for the record; the same source is not
            added twice.
        enable_progress_bar
            Show progress over populations, where it takes a while.

        Returns
        -------
        PopulationSummary, which adds and subtracts; ``.embedding``, ``.covariance``, ``.n_cells``.

        Raises
        ------
        ValueError
            If the encoder does not stream or is one for each modality, or ``given`` is of another
            model.
        """
        self._check_if_trained(warn=True)
        encoder = self.module.encoder
        if isinstance(encoder, ModalEncoder):
            raise ValueError(
                "Summaries are of one encoder, but fusion='separate' has one for each modality. "
                "Train with fusion='concatenate' to merge lanes and sites."
            )
        if not encoder.streams:
            raise ValueError(
                f"encoder={self._encoder_name!r} does not pool by sums, so its embeddings cannot "
                "be streamed or merged. Use one that does, such as 'resnet_gnn'; for large "
                "populations get_drawn_embedding averages over draws of cells."
            )
        model_id = self._fingerprint()
        if given is not None and given.model_id != model_id:
            raise ValueError("given is a summary of another model; use the same at every site.")
        adata = self._validate_anndata(adata)
        dataset = self._dataset(adata)
        wanted = np.unique(self._find(populations, dataset.index.names))
        names = pd.Index(dataset.index.names[wanted], name="population")
        # How many pooled vectors each population is given, at most one for each layer but the last.
        n_given = np.zeros(len(names), dtype=int)
        if given is not None:
            n_given = given.n_known_layers.clip(upper=encoder.n_updates).reindex(names)
            n_given = n_given.fillna(0).to_numpy(dtype=int)
        parts: list[tuple[np.ndarray, dict]] = []
        batches = [
            (n, *batch)
            for n in np.unique(n_given)
            for batch in whole_populations(dataset.index, wanted[n_given == n], max_cells)
        ]
        sizes = dataset.index.sizes[wanted]
        for n, batch, rows, weight in tracked(batches, "Summing up", sizes, enable_progress_bar):
            pools = []
            if n:
                at = given.names.get_indexer(dataset.index.names[batch])
                pools = [given.pooled(k)[at] for k in range(n)]
            sums = self._sum_up(dataset, rows, weight, pools, covariance, max_cells)
            parts.append((np.searchsorted(wanted, batch), sums))
        order = np.argsort(np.concatenate([at for at, _ in parts]))

        def collect(key: object) -> np.ndarray:
            return np.concatenate([sums[key] for _, sums in parts])[order]

        readout, offset = self._readout()
        layers = range(encoder.n_updates + 1)
        return PopulationSummary(
            names=names,
            counts=sizes.copy(),
            sums=tuple(collect(f"sum_{k}") for k in layers),
            given=tuple(collect(f"given_{k}") for k in layers[:-1]),
            moments=collect("moments") if covariance else None,
            jacobians={(k, j): collect((k, j)) for k in layers for j in range(k) if covariance},
            readout=readout,
            offset=offset,
            model_id=model_id,
            history=pd.DataFrame(
                {
                    "operation": ["+"],
                    "source": [source],
                    "n_cells": [int(sizes.sum())],
                    "n_populations": [len(names)],
                    "encoder": [self._encoder_name],
                    "scgde_version": [__version__],
                    "date": [str(date.today())],
                }
            ),
        )

    @torch.no_grad()
    def _sum_up(
        self,
        dataset: SetDataset,
        rows: np.ndarray,
        weight: torch.Tensor,
        pools: list[np.ndarray],
        covariance: bool,
        max_cells: int,
    ) -> dict[object, np.ndarray]:
        """Return the sums of a batch of populations; pooled vectors not given are their own."""
        encoder, device = self.module.encoder, self.module.device

        whole = rows.shape[1] if rows.shape[1] <= max_cells else min(CHUNK, max_cells)

        def chunks(size: int | None = None) -> Iterator[tuple[Embedded, torch.Tensor]]:
            return self._first_states(dataset, rows, weight, size or whole)

        known = [torch.from_numpy(p).float().to(device) for p in pools]
        known = encoder.stream_pools(chunks, known)
        # In double precision, of cells rather than shares: taking away most of a population leaves
        # a small difference of large sums.
        sums, moments = 0.0, 0.0
        for cells, w in chunks():
            h = torch.cat(encoder.states(cells, known), -1).cpu().double()
            real = (w > 0).cpu().double()
            sums = sums + weighted_mean(h, real)
            if covariance:
                moments = moments + h.transpose(1, 2) @ (h * real[..., None])
        widths = [pooled.shape[-1] for pooled in known]
        by_layer = sums.split(widths, -1)
        found = {f"sum_{k}": of_layer.numpy() for k, of_layer in enumerate(by_layer)}
        for k, pooled in enumerate(known[:-1]):
            found[f"given_{k}"] = pooled.double().cpu().numpy()
        if covariance:
            found["moments"] = moments.numpy()
            n = (weight > 0).sum(1).numpy()[:, None, None]
            for key, jacobian in mean_jacobians(encoder, chunks, known).items():
                found[key] = jacobian.double().cpu().numpy() * n
        return found

    @torch.no_grad()
    def _readout(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the encoder's read-out, matrix ``(n_latent, h)`` and intercept."""
        encoder = self.module.encoder
        no_cell = torch.zeros(1, 1, self.module.n_columns, device=self.module.device)
        one = torch.ones(1, 1, device=self.module.device)
        pooled = encoder.layers(encoder.embed(no_cell), one)[1][-1]
        return tuple(a.double().cpu().numpy() for a in linear_map(encoder.readout, pooled))

    def _fingerprint(self) -> str:
        """Return a fingerprint of all that an embedding depends on but the cells."""
        module, digest = self.module, hashlib.sha256()
        for name, values in sorted(module.state_dict().items()):
            if not name.startswith(("generator.", "label_heads.")):
                digest.update(name.encode() + values.cpu().numpy().tobytes())
        digest.update(chr(0).join(map(str, self.get_feature_names())).encode())
        return digest.hexdigest()
