from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import listed

_FORMAT = 1
_TOLERANCE = 1e-5  # float32 sums over a million cells


@dataclass(frozen=True, repr=False, eq=False)
class PopulationSummary:
    r"""What embeddings need of populations' cells: sums, which add up over lanes and sites.

    Made by :meth:`~scgde.model.GDE.summarize_populations`. ``a + b`` holds the populations of both,
    those of the same name merged; ``a - b`` takes cells away. It holds no cells, but of a
    population of one cell, or a difference of one, the sums are that cell's hidden states.

    **What is exact.** With one pooling (encoders ``mean``, ``pca_mean``, ``kernel_mean``) the
    embedding is linear in the sums: merging and removing is exact at once. With more, cells see
    their population's pooled vectors, :math:`h^k_i = f_k(x_i; p_0, \dots, p_{k-1})`, so when two
    lanes merge, every cell's later hidden states change. Only the first layer's sums then add up;
    each later layer takes one more pass over the cells, at the merged pooled vectors, in which
    again only sums leave a site::

        merged = model.summarize_populations(a) + model.summarize_populations(b)
        while not merged.is_complete.all():
            merged = model.summarize_populations(a, given=merged) + model.summarize_populations(
                b, given=merged
            )

    The result is that of embedding all cells together. Populations that only one side has are
    complete from the start.

    Attributes
    ----------
    names
        Populations, P of them.
    counts
        Cells of each, ``(P,)``.
    sums
        Sums over cells of the hidden states of each layer k, ``(P, h_k)``; NaN where not known.
    given
        For each layer but the last, the pooled vectors ``(P, h_k)`` at which later layers were
        computed.
    moments
        Sums of outer products of the hidden states of all layers, side by side, ``(P, D, D)``; None
        if the covariance was not asked for.
    jacobians
        By later and earlier layer ``(k, l)``: sums over cells of the derivative of the later
        hidden states by the earlier pooled vector, ``(P, h_k, h_l)``.
    readout, offset
        The encoder's read-out, ``(n_latent, h_K)`` and ``(n_latent,)``.
    model_id
        Fingerprint of the encoder; summaries of different models do not mix.
    history
        Provenance: one row a summary that went in, with ``operation`` (``"+"`` or ``"-"``),
        ``source``, ``n_cells``, ``n_populations``, ``encoder``, ``scgde_version``, ``date``.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(12, 40)
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> lanes = adata[::2].copy(), adata[1::2].copy()
    >>> a, b = (model.summarize_populations(lane) for lane in lanes)
    >>> merged = a + b  # the default encoder needs two more passes: model.summarize_populations
    >>> int(merged.n_cells.iloc[0]), bool(merged.is_complete.all())
    (40, False)
    """

    names: pd.Index
    counts: np.ndarray
    sums: tuple[np.ndarray, ...]
    given: tuple[np.ndarray, ...]
    moments: np.ndarray | None
    jacobians: dict[tuple[int, int], np.ndarray]
    readout: np.ndarray
    offset: np.ndarray
    model_id: str
    history: pd.DataFrame

    @property
    def n_cells(self) -> pd.Series:
        """Cells of each population."""
        return pd.Series(self.counts, index=self.names, name="n_cells")

    @property
    def n_known_layers(self) -> pd.Series:
        """For each population, how many layers' sums are those of its very cells."""
        known = np.ones(len(self.names), dtype=int)
        for layer, given in enumerate(self.given):
            off = np.abs(self.pooled(layer) - given) / np.maximum(1.0, np.abs(given))
            fits = (off < _TOLERANCE).all(1) & np.isfinite(self.sums[layer + 1]).all(1)
            known += fits & (known == layer + 1)
        return pd.Series(known, index=self.names, name="n_known_layers")

    @property
    def is_complete(self) -> pd.Series:
        """Whether each population's embedding can be read off."""
        return (self.n_known_layers == len(self.sums)).rename("is_complete")

    @property
    def embedding(self) -> pd.DataFrame:
        """Embeddings, populations x ``n_latent``, as of all cells together.

        Raises
        ------
        ValueError
            If a population was merged and later layers still need a pass over its cells.
        """
        self._require_complete()
        z = self.pooled(len(self.sums) - 1) @ self.readout.T + self.offset
        columns = [f"gde_{i}" for i in range(z.shape[1])]
        return pd.DataFrame(z.astype(np.float32), index=self.names, columns=columns)

    @property
    def covariance(self) -> np.ndarray:
        r"""Sampling covariances, populations x ``n_latent`` x ``n_latent``.

        As of :meth:`~scgde.model.GDE.get_population_embedding`, from the sums:
        :math:`\Sigma = A C A^T / (n - 1)` with the covariance C of the hidden states of all
        layers and the total derivatives A of the embedding by the pooled vectors.

        Raises
        ------
        ValueError
            If a population is not complete, or the summary was made with ``covariance=False``.
        """
        self._require_complete()
        if self.moments is None:
            raise ValueError(
                "This summary has no covariance: make it, and all that went into it, with "
                "summarize_populations(covariance=True)."
            )
        n = self.counts[:, None, None]
        mean = np.concatenate([self.pooled(k) for k in range(len(self.sums))], 1)
        spread = self.moments / n - mean[:, :, None] * mean[:, None]
        a = np.concatenate(self._sensitivities(), 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = a @ spread @ a.transpose(0, 2, 1) / (n - 1)
        found[self.counts < 2] = np.nan
        return found.astype(np.float32)

    def pooled(self, layer: int) -> np.ndarray:
        """Return the pooled vectors of a layer, ``(P, h)``.

        Parameters
        ----------
        layer
            Number of the layer, from 0.
        """
        return self.sums[layer] / self.counts[:, None]

    def _sensitivities(self) -> list[np.ndarray]:
        """Return the total derivatives of the embedding by the pooled vectors, layer by layer."""
        last = len(self.sums) - 1
        found = {last: np.broadcast_to(self.readout, (len(self.names), *self.readout.shape))}
        for layer in reversed(range(last)):
            found[layer] = sum(
                found[k] @ (self.jacobians[k, layer] / self.counts[:, None, None])
                for k in range(layer + 1, last + 1)
            )
        return [found[layer] for layer in range(last + 1)]

    def __add__(self, other: PopulationSummary) -> PopulationSummary:
        if not isinstance(other, PopulationSummary):
            return NotImplemented
        twice = self._sources() & other._sources()
        if twice:
            raise ValueError(
                f"source {listed(sorted(twice))} is in both summaries and would count twice. Leave "
                "one out, or name sources by what they are (summarize_populations(source=...))."
            )
        return self._combine(other, 1)

    def __sub__(self, other: PopulationSummary) -> PopulationSummary:
        if not isinstance(other, PopulationSummary):
            return NotImplemented
        absent = other._sources() - self._sources()
        if absent and self._sources():
            raise ValueError(
                f"source {listed(sorted(absent))} is not in this summary, or was removed already; "
                f"it has {listed(sorted(self._sources()))}."
            )
        strangers = other.names.difference(self.names)
        if len(strangers):
            raise ValueError(
                f"populations {listed(strangers)} of the summary to remove are not in this one."
            )
        more = other.n_cells > self.n_cells[other.names]
        if more.any():
            raise ValueError(
                f"populations {listed(other.names[more])} have fewer cells here than are to be "
                "removed; remove only cells that were added."
            )
        return self._combine(other, -1)

    def _sources(self) -> set[str]:
        """Return the names of the sources that are in it, added and not removed."""
        counted = self.history["operation"].map({"+": 1, "-": -1})
        net = counted.groupby(self.history["source"]).sum()
        return set(net.index[net > 0]) - {""}

    def _combine(self, other: PopulationSummary, sign: int) -> PopulationSummary:
        if self.model_id != other.model_id:
            raise ValueError(
                "The summaries are of different models, whose embeddings have nothing in common. "
                "Train one model, save it, and summarize with the same at every site."
            )
        if not len(self) or not len(other):
            kept = self if len(self) else other
            return replace(kept, history=self._joint_history(other, sign))
        names = self.names.append(other.names.difference(self.names, sort=False))
        mine, its = self.names.get_indexer(names), other.names.get_indexer(names)
        both = (mine >= 0) & (its >= 0)

        def pick(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Return both sides' rows for all names, zeros where one has none."""
            shaped = (-1,) + (1,) * (a.ndim - 1)
            return (
                np.where((mine >= 0).reshape(shaped), a[mine], 0.0),
                np.where((its >= 0).reshape(shaped), b[its], 0.0),
            )

        # Sums of a layer add up where both sides computed it at the same pooled vectors.
        addable, given = np.ones(len(names), dtype=bool), []
        sums = [self._total(pick(self.sums[0], other.sums[0]), sign, addable)]
        for layer, (a, b) in enumerate(zip(self.given, other.given, strict=True)):
            a, b = pick(a, b)
            same = np.isclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE).all(1)
            addable = addable & (same | ~both)
            either = np.where((mine >= 0)[:, None], a, b)
            given.append(np.where(addable[:, None], either, np.nan))
            sums.append(
                self._total(pick(self.sums[layer + 1], other.sums[layer + 1]), sign, addable)
            )
        moments, jacobians = None, {}
        if self.moments is not None and other.moments is not None:
            moments = self._total(pick(self.moments, other.moments), sign, addable)
            jacobians = {
                key: self._total(pick(j, other.jacobians[key]), sign, addable)
                for key, j in self.jacobians.items()
            }
        counts = np.where(mine >= 0, self.counts[mine], 0)
        counts = counts + sign * np.where(its >= 0, other.counts[its], 0)
        merged = replace(
            self,
            names=names,
            counts=counts,
            sums=tuple(sums),
            given=tuple(given),
            moments=moments,
            jacobians=jacobians,
            history=self._joint_history(other, sign),
        )
        return merged._select(counts > 0)

    def _joint_history(self, other: PopulationSummary, sign: int) -> pd.DataFrame:
        turned = other.history.replace({"operation": {"+": "-", "-": "+"} if sign < 0 else {}})
        return pd.concat([self.history, turned], ignore_index=True)

    @staticmethod
    def _total(sides: tuple[np.ndarray, np.ndarray], sign: int, addable: np.ndarray) -> np.ndarray:
        total = sides[0] + sign * sides[1]
        total[~addable] = np.nan
        return total

    def _select(self, rows: np.ndarray) -> PopulationSummary:
        return replace(
            self,
            names=self.names[rows],
            counts=self.counts[rows],
            sums=tuple(a[rows] for a in self.sums),
            given=tuple(a[rows] for a in self.given),
            moments=None if self.moments is None else self.moments[rows],
            jacobians={key: j[rows] for key, j in self.jacobians.items()},
        )

    def _require_complete(self) -> None:
        waiting = self.names[~self.is_complete]
        if len(waiting):
            raise ValueError(
                f"populations {listed(waiting)} were merged or cut, and this encoder pools "
                f"{len(self.sums)} times: their later layers need another pass over the cells. Add "
                "up model.summarize_populations(adata, given=summary) of all sites, until "
                "summary.is_complete."
            )

    def save(self, path: str | os.PathLike) -> None:
        """Write the summary to an h5ad file, one observation a population.

        Parameters
        ----------
        path
            The file; replaced if it exists, once the new one is complete.
        """
        path = Path(path)
        adata = AnnData(obs=self.n_cells.to_frame().set_axis(self.names.astype(str)))
        for layer, values in enumerate(self.sums):
            adata.obsm[f"sum_{layer}"] = values
        for layer, values in enumerate(self.given):
            adata.obsm[f"given_{layer}"] = values
        adata.uns["population_summary"] = {
            "format": _FORMAT,
            "readout": self.readout,
            "offset": self.offset,
            "model_id": self.model_id,
            "history": self.history.set_axis(self.history.index.astype(str)),
        }
        if self.moments is not None:
            adata.uns["population_summary"]["moments"] = self.moments
            for (later, layer), values in self.jacobians.items():
                adata.uns["population_summary"][f"jacobian_{later}_{layer}"] = values
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            temporary = Path(folder) / "summary.h5ad"
            adata.write_h5ad(temporary, compression="gzip")
            os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> PopulationSummary:
        """Read a summary that was saved.

        Parameters
        ----------
        path
            The h5ad file.

        Returns
        -------
        The summary.

        Raises
        ------
        ValueError
            If the file holds no summary, or one of a later version.
        """
        adata = anndata.read_h5ad(path)
        kept = adata.uns.get("population_summary")
        if kept is None:
            raise ValueError(
                f"path={str(path)!r} holds no population summary. Give a file written by "
                "PopulationSummary.save; cells are summarized by model.summarize_populations."
            )
        if kept["format"] > _FORMAT:
            raise ValueError(f"path={str(path)!r} is of a later version of scgde: update scgde.")
        n_layers = sum(key.startswith("sum_") for key in adata.obsm)
        return cls(
            names=pd.Index(adata.obs_names.to_numpy(dtype=object), name="population"),
            counts=adata.obs["n_cells"].to_numpy(),
            sums=tuple(adata.obsm[f"sum_{k}"] for k in range(n_layers)),
            given=tuple(adata.obsm[f"given_{k}"] for k in range(n_layers - 1)),
            moments=kept.get("moments"),
            jacobians={
                (later, layer): kept[f"jacobian_{later}_{layer}"]
                for later in range(n_layers)
                for layer in range(later)
                if f"jacobian_{later}_{layer}" in kept
            },
            readout=kept["readout"],
            offset=kept["offset"],
            model_id=str(kept["model_id"]),
            history=kept["history"].reset_index(drop=True),
        )

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        waiting = int((~self.is_complete).sum())
        state = f", {waiting} of them waiting for a pass over their cells" if waiting else ""
        return f"PopulationSummary of {len(self)} populations, {self.counts.sum()} cells{state}"
