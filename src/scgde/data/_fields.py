"""Setup fields: what a model registers of an AnnData, and how that carries over to new data."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from .._errors import listed, require
from .._scvi import X_KEY, BaseAnnDataField, MuDataWrapper
from ._groups import group_cells, text_categories, varying
from ._rows import DiskRows, MemoryRows, row_source

POPULATION_KEY, DONOR_KEY, BATCH_KEY, SIZE_FACTOR_KEY = (
    "population",
    "donor",
    "batch",
    "size_factor",
)


def label_key(key: str) -> str:
    """Return the name under which labels of the obs column ``key`` are registered."""
    return f"label_{key}"


class Field(BaseAnnDataField):
    """What all fields share: a name, a place in the AnnData, no summary."""

    registry_key = ""
    attr_name = "obs"
    attr_key: str | None = None
    is_empty = False

    def validate_field(self, adata: AnnData) -> None:
        super().validate_field(adata)

    def register_field(self, adata: AnnData) -> dict:
        return super().register_field(adata)

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        return super().transfer_field(state_registry, adata_target, **kwargs)

    def get_summary_stats(self, state_registry: dict) -> dict:
        return {}

    def view_state_registry(self, state_registry: dict) -> None:
        return None


class CellsField(Field):
    """The cells themselves: ``.X``, a layer, or a representation in ``.obsm``.

    Registered state: ``n_features``, ``names`` (of the features), ``fits_counts`` (all values are
    whole and not negative), ``is_counts`` (so, and genes) and ``n_empty_cells`` (cells whose values
    are all zero). A matrix on disk is judged by evenly spread blocks of its rows.
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


class GroupField(Field):
    """Obs columns that group cells. New groups are welcome when a setup is transferred.

    Registered state: ``names`` of the groups and ``keys``.
    """

    def __init__(self, registry_key: str, argument: str, keys: list[str]):
        super().__init__()
        self.registry_key, self.argument, self.keys = registry_key, argument, keys
        self.attr_key = f"_scvi_{registry_key}"

    def validate_field(self, adata: AnnData) -> None:
        """Raise if a column is absent."""
        for key in self.keys:
            require(self.argument, key, adata.obs.columns, "adata.obs")

    def register_field(self, adata: AnnData) -> dict:
        """Give groups numbers; write the number of each cell's group to obs."""
        self.validate_field(adata)
        codes, names = group_cells(adata.obs, self.keys)
        if len(names) == 0:
            raise ValueError(
                f"{self.argument}={self.keys} leaves no population: no cell has a value in "
                "every one of these columns of adata.obs."
            )
        for key in self.keys:
            column = adata.obs[key]
            if isinstance(column.dtype, pd.CategoricalDtype):
                unused = column.cat.categories.difference(
                    column.cat.remove_unused_categories().cat.categories
                )
                if len(unused):
                    warnings.warn(
                        f"{self.argument}={key!r}: {len(unused)} categories have no cells and "
                        f"are left out ({listed(unused, 5)}). To silence this, call "
                        f"adata.obs[{key!r}].cat.remove_unused_categories().",
                        UserWarning,
                        stacklevel=2,
                    )
        adata.obs[self.attr_key] = codes
        return {"names": np.asarray(names, dtype=object), "keys": list(self.keys)}

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Register afresh: populations of other data are other populations."""
        return self.register_field(adata_target)


class DonorField(GroupField):
    """Obs column of the donor; data without it may still be embedded (its donors are -1)."""

    def __init__(self, key: str):
        super().__init__(DONOR_KEY, "donor_key", [key])

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Register afresh; an absent column means unknown donors."""
        if self.keys[0] in adata_target.obs:
            return self.register_field(adata_target)
        adata_target.obs[self.attr_key] = np.full(adata_target.n_obs, -1, dtype=np.int64)
        return {"names": np.array([], dtype=object), "keys": list(self.keys)}


class CategoryField(Field):
    """An obs column with fixed categories; what they do not contain is -1 in transferred data.

    Registered state: ``categories``, as text, and ``values``, as they are in the column.
    """

    def __init__(self, registry_key: str, argument: str, key: str, missing: Literal["error", "ok"]):
        super().__init__()
        self.registry_key, self.argument, self.key, self.missing = (
            registry_key,
            argument,
            key,
            missing,
        )
        self.attr_key = f"_scvi_{registry_key}"

    def validate_field(self, adata: AnnData) -> None:
        """Raise if the column is absent or has missing values where there may be none."""
        require(self.argument, self.key, adata.obs.columns, "adata.obs")
        if self.missing == "error" and adata.obs[self.key].isna().any():
            raise ValueError(
                f"{self.argument}={self.key!r}: {int(adata.obs[self.key].isna().sum())} cells have "
                "no value. Give them one, or remove these cells."
            )

    def register_field(self, adata: AnnData) -> dict:
        """Give categories numbers; write the number of each cell's category to obs."""
        self.validate_field(adata)
        values = text_categories(adata.obs[self.key])
        adata.obs[self.attr_key] = values.codes.astype(np.int64)
        original = pd.Categorical(adata.obs[self.key]).remove_unused_categories().categories
        return {
            "categories": np.asarray(values.categories, dtype=object),
            "values": np.asarray(original),
        }

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Look the categories up; an absent column or an unknown category becomes -1."""
        categories = pd.Index(state_registry["categories"])
        codes = np.full(adata_target.n_obs, -1, dtype=np.int64)
        if self.key in adata_target.obs:
            values = text_categories(adata_target.obs[self.key])
            codes = categories.get_indexer(values.astype(object))
            new = values.categories.difference(categories)
            if len(new):
                warnings.warn(
                    f"{self.argument}={self.key!r}: {listed(new, 5)} did not occur in the data "
                    "that the model was trained on; these cells count as having no value.",
                    UserWarning,
                    stacklevel=2,
                )
        adata_target.obs[self.attr_key] = codes.astype(np.int64)
        return dict(state_registry)


class LabelField(CategoryField):
    """An obs column that labels populations: constant within each, missing where unknown."""

    def __init__(self, key: str):
        super().__init__(label_key(key), "labels_key", key, missing="ok")


class SizeFactorField(Field):
    """An obs column of positive size factors, in place of each cell's total count."""

    registry_key = SIZE_FACTOR_KEY

    def __init__(self, key: str):
        super().__init__()
        self.attr_key = key

    def validate_field(self, adata: AnnData) -> None:
        """Raise if the column is absent or not positive everywhere."""
        require("size_factor_key", self.attr_key, adata.obs.columns, "adata.obs")
        column = adata.obs[self.attr_key]
        if not pd.api.types.is_numeric_dtype(column.dtype):
            raise ValueError(
                f"size_factor_key={self.attr_key!r} is not numeric ({column.dtype}). Convert it "
                f"with adata.obs[{self.attr_key!r}].astype(float)."
            )
        wrong = ~((column > 0) & np.isfinite(column))
        if wrong.any():
            raise ValueError(
                f"size_factor_key={self.attr_key!r}: {int(wrong.sum())} cells have a missing, "
                "zero, negative or infinite size factor. Remove these cells or correct the column."
            )

    def register_field(self, adata: AnnData) -> dict:
        """Check the column."""
        self.validate_field(adata)
        return {}

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Check the column of the new data."""
        return self.register_field(adata_target)


def require_constant(
    field: DonorField | LabelField,
    column: pd.Series,
    codes: np.ndarray,
    names: pd.Index,
    population_keys: list[str],
) -> None:
    """Raise if a column that describes populations varies within one.

    Parameters
    ----------
    field
        What the column is registered as.
    column
        One value a cell.
    codes, names, population_keys
        Population of each cell, their names, and the obs columns that make them.
    """
    mixed = varying(codes, text_categories(column).codes)
    if len(mixed):
        values = text_categories(column[codes == mixed[0]]).categories
        raise ValueError(
            f"{field.argument}={column.name!r} varies within {len(mixed)} populations: "
            f"{names[mixed[0]]!r} has {listed(values, 4)}. A population has one value: correct the "
            f"column, or make populations finer with population_key="
            f"{[*population_keys, column.name]}."
        )


def _require_same_order(field: BaseAnnDataField, mdata: MuData) -> None:
    """Raise if a modality has its cells in another order than the MuData."""
    if field.mod_key is not None and not mdata.mod[field.mod_key].obs_names.equals(mdata.obs_names):
        raise ValueError(
            f"The cells of modality {field.mod_key!r} are not those of the MuData in the same "
            f"order. Put them in order: mdata.mod[{field.mod_key!r}] = "
            f"mdata.mod[{field.mod_key!r}][mdata.obs_names].copy(); mdata.update(). Where it lacks "
            "cells, copy its columns to mdata.obs (mdata.pull_obs) and do not name it for them."
        )


MuDataCellsField = MuDataWrapper(CellsField, _require_same_order)
MuDataGroupField = MuDataWrapper(GroupField, _require_same_order)
MuDataDonorField = MuDataWrapper(DonorField, _require_same_order)
MuDataCategoryField = MuDataWrapper(CategoryField, _require_same_order)
MuDataLabelField = MuDataWrapper(LabelField, _require_same_order)
MuDataSizeFactorField = MuDataWrapper(SizeFactorField, _require_same_order)
