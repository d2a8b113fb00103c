"""The setup field of the cells themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import listed, require
from .._scvi import X_KEY
from ._fields import Field
from ._rows import DiskRows, MemoryRows, row_source


class CellsField(Field):
    """The cells themselves: ``.X``, a layer, or a representation in ``.obsm``.

    Registered state: ``n_features``, ``names`` (of the features), ``fits_counts`` (all values are
    whole and not negative), ``is_counts`` (so, and genes) and ``n_empty_cells`` (cells whose values
    are all zero). A matrix on disk is judged by evenly spread blocks of its rows.

    Parameters
    ----------
    layer, use_rep
        A layer, or a key of ``.obsm``; ``.X`` by default.

    Raises
    ------
    ValueError
        If both are given.

    >>> import scgde
    >>> scgde.data.CellsField(layer="counts").attr_name
    'layers'
    """

    registry_key = X_KEY

    def __init__(self, layer: str | None = None, use_rep: str | None = None):
        super().__init__()
        if layer is not None and use_rep is not None:
            raise ValueError(
                f"layer={layer!r} and use_rep={use_rep!r} were both given. Cells come from one of "
                "them: leave the other out."
            )
        self.argument = "layer" if use_rep is None else "use_rep"
        self.attr_name = "obsm" if use_rep is not None else "X" if layer is None else "layers"
        self.attr_key = layer if use_rep is None else use_rep

    def validate_field(self, adata: AnnData) -> None:
        """Raise if the matrix is absent."""
        self._matrix(adata)

    def register_field(self, adata: AnnData) -> dict:
        """Check the values and note what they are; raise if any is not a finite number."""
        matrix, place = self._matrix(adata)
        if self.attr_name != "obsm":
            names = np.asarray(adata.var_names, dtype=object)
        elif isinstance(matrix, pd.DataFrame):
            names = np.asarray(matrix.columns.astype(str), dtype=object)
        else:
            stem = self.attr_key.removeprefix("X_")
            names = np.array([f"{stem}_{i}" for i in range(matrix.shape[1])], dtype=object)
        return {"n_features": matrix.shape[1], "names": names, **self._scan(matrix, place)}

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Check that the features are those of the source, in the same order."""
        state = self.register_field(adata_target)
        source, target = state_registry["names"], state["names"]
        if not np.array_equal(source, target):
            lost = pd.Index(source).difference(target)
            what = (
                f"{len(lost)} of the {len(source)} features that the model was trained on are "
                f"missing: {listed(lost, 5)}"
                if len(lost)
                else "its features differ in order or number from those the model was trained on"
            )
            raise ValueError(
                f"adata does not fit the model: {what}. Select the model's features in their "
                "order: adata[:, model.get_feature_names()].copy()."
            )
        # What the model is was settled by its own data; what fits it, by these.
        return {**state, "is_counts": state_registry["is_counts"]}

    def _matrix(self, adata: AnnData):
        if self.attr_name == "X":
            matrix, place = adata.X, "adata.X"
            if matrix is None:
                raise ValueError("adata.X is empty. Name the cells' matrix by layer or use_rep.")
        else:
            options = getattr(adata, self.attr_name)
            require(self.argument, self.attr_key, options.keys(), f"adata.{self.attr_name}")
            matrix, place = options[self.attr_key], f"adata.{self.attr_name}[{self.attr_key!r}]"
        return matrix, place

    def _scan(self, matrix, place: str) -> dict:
        fits_counts, n_empty = True, 0
        for block in _blocks(row_source(matrix)):
            values = block if isinstance(block, np.ndarray) else block.data
            if not np.isfinite(values).all():
                raise ValueError(
                    f"{place} has NaN or infinite values. Remove these cells or features, or "
                    "impute them, before setup_anndata."
                )
            whole = bool((values >= 0).all() and (values == np.rint(values)).all())
            fits_counts = fits_counts and whole
            n_empty += int((np.asarray(abs(block).sum(1)) == 0).sum())
        is_counts = fits_counts and self.attr_name != "obsm"
        return {"fits_counts": fits_counts, "is_counts": is_counts, "n_empty_cells": n_empty}


def _blocks(source: MemoryRows | DiskRows, n_disk_rows: int = 20_000):
    """Iterate over all rows of a matrix in memory, over evenly spread blocks of one on disk."""
    rows = np.arange(source.shape[0])
    if isinstance(source, DiskRows) and len(rows) > n_disk_rows:
        starts = np.linspace(0, len(rows) - 1_000, n_disk_rows // 1_000).astype(int)
        rows = np.unique(np.concatenate([np.arange(s, s + 1_000) for s in starts]))
    yield from source.chunks(rows, 10_000)
