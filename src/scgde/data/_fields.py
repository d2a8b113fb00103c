"""Setup fields: what a model registers of an AnnData, and how that carries over to new data."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import listed, require
from .._scvi import BaseAnnDataField
from ._groups import group_cells, text_categories, varying

POPULATION_KEY, DONOR_KEY, BATCH_KEY, SIZE_FACTOR_KEY = (
    "population",
    "donor",
    "batch",
    "size_factor",
)


def label_key(key: str) -> str:
    """Return the name under which labels of the obs column ``key`` are registered.

    Parameters
    ----------
    key
        The column.

    >>> import scgde
    >>> scgde.data.label_key("diagnosis")
    'label_diagnosis'
    """
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


class GroupField(Field):
    """Obs columns that group cells. New groups are welcome when a setup is transferred.

    Registered state: ``names`` of the groups and ``keys``.

    Parameters
    ----------
    registry_key, argument, keys
        Name in the registry, argument of the setup, obs columns.

    >>> import scgde
    >>> scgde.data.GroupField("population", "population_key", ["clone", "day"]).keys
    ['clone', 'day']
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
    """Obs column of the donor; data without it may still be embedded (its donors are -1).

    Parameters
    ----------
    key
        The column.

    >>> import scgde
    >>> scgde.data.DonorField("patient").argument
    'donor_key'
    """

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

    Parameters
    ----------
    registry_key, argument, key, missing
        Name in the registry, argument of the setup, obs column, whether cells may lack a value.

    >>> import scgde
    >>> scgde.data.CategoryField("batch", "batch_key", "lane", missing="error").attr_key
    '_scvi_batch'
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
    """An obs column that labels populations: constant within each, missing where unknown.

    Parameters
    ----------
    key
        The column.

    >>> import scgde
    >>> scgde.data.LabelField("diagnosis").registry_key
    'label_diagnosis'
    """

    def __init__(self, key: str):
        super().__init__(label_key(key), "labels_key", key, missing="ok")


class SizeFactorField(Field):
    """An obs column of positive size factors, in place of each cell's total count.

    Parameters
    ----------
    key
        The column.

    >>> import scgde
    >>> scgde.data.SizeFactorField("size").attr_key
    'size'
    """

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

    Raises
    ------
    ValueError
        If it varies.

    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> field, sex = scgde.data.LabelField("sex"), pd.Series(["f", "m"], name="sex")
    >>> scgde.data.require_constant(field, sex, np.array([0, 1]), pd.Index(["a", "b"]), ["id"])
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
