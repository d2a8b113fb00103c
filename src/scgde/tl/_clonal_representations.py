"""The early and the late population of every clone as vectors: by the model, and by baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from anndata import AnnData

from .._errors import listed, require, require_choice
from .._logging import quiet
from .._scvi import as_new, forget
from ..data import CellsField, as_keys, cells_of
from ..data._groups import SEPARATOR
from ..model import GDE
from ._clonal_sets import SIDES, ClonalSets
from ._representations import BASELINES, Cells, Representation, population_moments

# All cells, which may be many, are used: a cap would leave a large clone as noisy as a small one.
_MAX_KERNEL_CELLS = 1_000_000
_OF_BASELINES = {
    "mean_pca": "pseudobulk_pca",
    "kernel_mean": "kernel_mean",
    "composition": "composition",
}


def clonal_baselines(
    adata: AnnData,
    sets: ClonalSets,
    model: GDE | None,
    names: Iterable[str] | bool,
    layer: str | None,
    cell_type_key: str | None,
    seed: int,
) -> list[Representation]:
    """Return what is known of clones without a model, by the cells that the model works on.

    Raises
    ------
    KeyError, ValueError
        If a baseline or a key is unknown, or composition is asked for without cell types.
    """
    if names is True or names is False:
        names = list(_OF_BASELINES) if names else []
        names = [n for n in names if n != "composition" or cell_type_key is not None]
    names = as_keys(names)
    for name in names:
        require_choice("baselines", name, _OF_BASELINES)
    if "composition" in names and cell_type_key is None:
        raise ValueError("baselines has 'composition', which needs cell types: pass cell_type_key.")
    if cell_type_key is not None:
        require("cell_type_key", cell_type_key, adata.obs.columns, "adata.obs")
    if not names:
        return []
    use_rep = None
    if model is not None:
        layer, use_rep = (model.setup_arguments[name] for name in ("layer", "use_rep"))
    # Of the cells themselves: a model of counts may work on their logarithms.
    is_counts = CellsField(layer, use_rep).register_field(adata)["is_counts"]
    source = cells_of(adata, layer, use_rep)
    cells = Cells(source, sets.index, is_counts, adata.obs)
    options = {
        "moments": population_moments(cells) if "mean_pca" in names else None,
        "cell_type_key": cell_type_key,
        "seed": seed,
        "max_cells": _MAX_KERNEL_CELLS,
    }
    return [BASELINES[_OF_BASELINES[n]](cells, **options)._replace(name=n) for n in names]


class ClonalEmbedding:
    """Embeddings of the early and late populations ``(2n, n_latent)``, pooled over times.

    Parameters
    ----------
    adata
        Cells; not changed.
    sets
        The clones scored.
    model
        A model of populations by clone and time.
    keys
        ``clone_key`` and ``time_key``.

    Raises
    ------
    ValueError
        If the model has several modalities, or its populations are not those of the two keys.
    """

    def __init__(self, adata: AnnData, sets: ClonalSets, model: GDE, keys: Sequence[str]):
        if model.modality_names:
            raise ValueError(
                f"model has modalities {listed(model.modality_names)} (setup_mudata), but clones "
                "are scored by a model of one matrix: set up one modality by setup_anndata."
            )
        if sorted(model.population_keys) != sorted(keys):
            raise ValueError(
                f"model has populations by {listed(model.population_keys)}; clones are scored by a "
                f"model set up with population_key={list(keys)}."
            )
        self.adata, self.sets, self.model, self.keys = adata, sets, model, keys
        self._kept: dict[bytes, np.ndarray] = {}

    def transductive(self, train: np.ndarray) -> np.ndarray:
        """Return embeddings by the model as it is, whatever it was trained on."""
        if b"" not in self._kept:
            if self.model.adata is None:
                self.model.get_population_codes(self.adata)  # attaches data to a loaded model
            self._kept[b""] = self._embed(self.model)
        return self._kept[b""]

    def inductive(self, train: np.ndarray) -> np.ndarray:
        """Return embeddings by a new model that never saw a clone outside ``train (2m,)``.

        It is trained on the populations ``train``, at every time there is, and on the cells that
        belong to no scored clone.
        """
        key = np.sort(train).tobytes()
        if key not in self._kept:
            seen = np.isin(self.sets.clone_of, train) | (self.sets.clone_of < 0)
            fold = self.model.refit(as_new(_in_memory(self.adata, np.flatnonzero(seen))))
            try:
                self._kept[key] = self._embed(fold)
            finally:
                fold.release()
        return self._kept[key]

    def _embed(self, model: GDE) -> np.ndarray:
        """Embed the cells of every clone and side as one population."""
        sets, (clone_key, time_key) = self.sets, self.keys
        rows = np.flatnonzero(sets.index.codes >= 0)
        cells = as_new(_in_memory(self.adata, rows))
        clone, side = self._names(rows)
        setup = model.setup_arguments
        # Days are pooled: what was constant by clone and day need not be so any more, and an
        # embedding does not depend on it.
        labels = [*as_keys(setup.get("labels_key")), *as_keys(setup.get("donor_key"))]
        cells.obs = cells.obs.drop(columns=[k for k in labels if k in cells.obs])
        cells.obs[clone_key], cells.obs[time_key] = clone, side
        try:
            with quiet("scvi"):
                embedding = model.get_population_embedding(cells, enable_progress_bar=False)
        finally:
            forget(model, cells)
        parts = {clone_key: np.tile(sets.clones, 2), time_key: np.repeat(SIDES, len(sets.clones))}
        first, second = (parts[key] for key in model.population_keys)
        names = [f"{a}{SEPARATOR}{b}" for a, b in zip(first, second, strict=True)]
        return embedding.loc[names].to_numpy()

    def _names(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sets = self.sets
        late = sets.index.codes[rows] >= len(sets.clones)
        return np.asarray(sets.clones)[sets.clone_of[rows]], np.where(late, SIDES[1], SIDES[0])


def _in_memory(adata: AnnData, rows: np.ndarray) -> AnnData:
    return adata[rows].to_memory() if adata.isbacked else adata[rows].copy()
