"""Cells into sets: setup fields, row sources, the set loader."""

from ._cells import Cells, SparseCells, dense, total_counts
from ._dataset import SetDataset, set_loader, whole_populations
from ._fields import (
    BATCH_KEY,
    DONOR_KEY,
    POPULATION_KEY,
    SIZE_FACTOR_KEY,
    CategoryField,
    CellsField,
    DonorField,
    GroupField,
    LabelField,
    MuDataCategoryField,
    MuDataCellsField,
    MuDataDonorField,
    MuDataGroupField,
    MuDataLabelField,
    MuDataSizeFactorField,
    SizeFactorField,
    label_key,
    require_constant,
)
from ._groups import as_keys, group_cells, population_table
from ._index import PopulationIndex
from ._normalize import as_dense, log_normalized
from ._rows import DiskRows, MemoryRows, RowSource, cells_of, row_source
from ._sampler import SetDraw, SetSampler
from ._split import split_cells

__all__ = [
    "BATCH_KEY",
    "DONOR_KEY",
    "POPULATION_KEY",
    "SIZE_FACTOR_KEY",
    "CategoryField",
    "Cells",
    "CellsField",
    "DiskRows",
    "DonorField",
    "GroupField",
    "LabelField",
    "MemoryRows",
    "MuDataCategoryField",
    "MuDataCellsField",
    "MuDataDonorField",
    "MuDataGroupField",
    "MuDataLabelField",
    "MuDataSizeFactorField",
    "PopulationIndex",
    "RowSource",
    "SetDataset",
    "SetDraw",
    "SetSampler",
    "SizeFactorField",
    "SparseCells",
    "as_dense",
    "as_keys",
    "cells_of",
    "dense",
    "group_cells",
    "label_key",
    "log_normalized",
    "population_table",
    "require_constant",
    "row_source",
    "set_loader",
    "split_cells",
    "total_counts",
    "whole_populations",
]
