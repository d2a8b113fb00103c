"""The setup fields of a MuData: those of an AnnData, told which modality they are of."""

from __future__ import annotations

from mudata import MuData

from .._scvi import BaseAnnDataField, MuDataWrapper
from ._cells_field import CellsField
from ._fields import CategoryField, DonorField, GroupField, LabelField, SizeFactorField


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
