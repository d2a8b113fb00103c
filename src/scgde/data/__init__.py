"""Cells into sets: setup fields, row sources, the set loader."""

from ._cell_batches import CellBatch, CellBatches, CellReader
from ._cells import Cells, SparseCells, dense, total_counts
from ._cells_field import CellsField
from ._clones import clone_labels
from ._condition_field import CONDITION_KEY, ConditionField
from ._dataset import SetDataset, padded_sets, set_loader, whole_populations
from ._fields import (
    BATCH_KEY,
    DONOR_KEY,
    POPULATION_KEY,
    SIZE_FACTOR_KEY,
    CategoryField,
    DonorField,
    GroupField,
    LabelField,
    SizeFactorField,
    label_key,
    require_constant,
)
from ._groups import (
    SEPARATOR,
    as_keys,
    group_cells,
    population_table,
    require_label,
    text_categories,
)
from ._index import PopulationIndex
from ._modal_cells_field import ModalCellsField
from ._modal_rows import ModalRows
from ._modalities import Modalities
from ._moments import population_moments
from ._mudata_fields import (
    MuDataCategoryField,
    MuDataCellsField,
    MuDataDonorField,
    MuDataGroupField,
    MuDataLabelField,
    MuDataSizeFactorField,
)
from ._normalize import as_dense, is_counts, log_normalized
from ._priors import (
    SET_PRIORS,
    KernelSets,
    LabelSets,
    MixtureSets,
    NoisyLabelSets,
    SetPrior,
    as_set_prior,
)
from ._rows import DiskRows, MemoryRows, RowSource, cells_of, row_source
from ._sampler import SetDraw, SetSampler
from ._sets import Sets
from ._split import split_cells

__all__ = [
    "BATCH_KEY",
    "CONDITION_KEY",
    "DONOR_KEY",
    "POPULATION_KEY",
    "SEPARATOR",
    "SET_PRIORS",
    "SIZE_FACTOR_KEY",
    "CategoryField",
    "CellBatch",
    "CellBatches",
    "CellReader",
    "Cells",
    "CellsField",
    "ConditionField",
    "DiskRows",
    "DonorField",
    "GroupField",
    "KernelSets",
    "LabelField",
    "LabelSets",
    "MemoryRows",
    "MixtureSets",
    "ModalCellsField",
    "ModalRows",
    "Modalities",
    "MuDataCategoryField",
    "MuDataCellsField",
    "MuDataDonorField",
    "MuDataGroupField",
    "MuDataLabelField",
    "MuDataSizeFactorField",
    "NoisyLabelSets",
    "PopulationIndex",
    "RowSource",
    "SetDataset",
    "SetDraw",
    "SetPrior",
    "SetSampler",
    "Sets",
    "SizeFactorField",
    "SparseCells",
    "as_dense",
    "as_keys",
    "as_set_prior",
    "cells_of",
    "clone_labels",
    "dense",
    "group_cells",
    "is_counts",
    "label_key",
    "log_normalized",
    "padded_sets",
    "population_moments",
    "population_table",
    "require_constant",
    "require_label",
    "row_source",
    "set_loader",
    "split_cells",
    "text_categories",
    "total_counts",
    "whole_populations",
]
