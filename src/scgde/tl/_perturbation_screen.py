"""A perturbation screen as ``tl`` reads it from an AnnData, and how it is divided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from .._errors import listed, require, require_type
from ..data import (
    PopulationIndex,
    RowSource,
    cells_of,
    group_cells,
    log_normalized,
    population_moments,
    text_categories,
)
from ..metrics import PerturbationSplit
from ..model import PerturbationGDE


@dataclass(eq=False)
class Screen:
    """Populations of a screen: perturbations, in each covariate where there is one.

    Attributes
    ----------
    keys
        Columns of ``.obs``: of the perturbation and, where there is one, of the covariate.
    table
        Populations x ``perturbation``, ``covariate`` (``""`` where there is none), ``n_cells``.
    means
        Means of log-normalised counts, or of the values, populations x features.
    components
        Of every perturbation what is perturbed; nothing in the control.
    """

    adata: AnnData
    layer: str | None
    use_rep: str | None
    keys: list[str]
    index: PopulationIndex
    is_counts: bool
    control: str
    table: pd.DataFrame
    means: pd.DataFrame
    components: dict[str, list[str]]

    def rows_of(self, perturbations: list[str]) -> np.ndarray:
        """Return the cells of perturbations, in every covariate."""
        own = np.flatnonzero(self.table["perturbation"].isin(perturbations))
        return np.flatnonzero(np.isin(self.index.codes, own))

    def open(self) -> RowSource:
        """Return the cells; of a backed AnnData anew, as AnnData closes the file when it copies."""
        return cells_of(self.adata, self.layer, self.use_rep)

    def normalized(self, cells: np.ndarray | sp.csr_matrix) -> np.ndarray | sp.csr_matrix:
        """Return cells log-normalised, where they are counts."""
        return log_normalized(cells) if self.is_counts else cells

    def same(self, perturbations: list[str], combinations: bool) -> list[str]:
        """Return perturbations with all others that must leave the training data with them.

        Other spellings of the same combination ("B+A") always; combinations that contain any of the
        components, on request.
        """
        held_out = {tuple(sorted(self.components[name])) for name in perturbations}
        parts = {part for name in perturbations for part in self.components[name]}
        return [
            name
            for name, own in self.components.items()
            if tuple(sorted(own)) in held_out
            or (combinations and len(own) > 1 and parts.intersection(own))
        ]

    def split(self, held_out: list[str], removed: list[str], min_cells: int) -> PerturbationSplit:
        """Return a split by perturbations; populations of fewer than ``min_cells`` are left out."""
        # A file may bring populations back in another order; draws are the same nevertheless.
        table = self.table[self.table["n_cells"] >= min_cells].sort_index()
        perturbed = table["perturbation"].map(lambda name: len(self.components[name]) > 0)
        training = table[perturbed & ~table["perturbation"].isin(removed)]
        if len(training) == 0:
            raise ValueError(
                f"Holding out {listed(held_out, 5)} leaves no perturbation to learn from. Hold out "
                "fewer."
            )
        controls = self.table[self.table["perturbation"] == self.control]
        controls = pd.Series(controls.index, controls["covariate"])
        of_control = self.means.loc[controls.loc[training["covariate"]]].to_numpy()
        source = self.open()

        def cells(name: str) -> np.ndarray | sp.csr_matrix:
            return self.normalized(source[self.index.cells(self.table.index.get_loc(name))])

        observed = table.index[table["perturbation"].isin(held_out)]
        return PerturbationSplit(
            {name: cells(name) for name in observed},
            {covariate: cells(name) for covariate, name in controls.items()},
            self.means.loc[training.index] - of_control,
            self.table,
            self.components,
        )


def read_screen(adata: AnnData, model: PerturbationGDE) -> Screen:
    """Return the screen that a perturbation model was set up on.

    Raises
    ------
    KeyError, TypeError, ValueError
        If ``adata`` is no AnnData, has other features, names features twice, lacks a key or, in a
        covariate, the control; or the model is not of perturbations.
    RuntimeError
        If the model is not trained.
    """
    require_type("adata", adata, AnnData, "Of a MuData pass one modality: mdata.mod['rna'].")
    if not hasattr(model, "perturbation_key"):
        raise TypeError(
            f"model must be a PerturbationGDE, got {type(model).__name__}. Set one up with "
            "PerturbationGDE.setup_anndata(adata, perturbation_key, control=...)."
        )
    if not getattr(model, "is_trained_", True):
        raise RuntimeError(
            "The model is not trained, and its training is what each split repeats: call "
            "model.train() first."
        )
    params = model.get_parameters()
    keys = [model.perturbation_key] + ([model.covariate_key] if model.covariate_key else [])
    for argument, key in zip(("perturbation_key", "covariate_key"), keys, strict=False):
        require(argument, key, adata.obs.columns, "adata.obs")
    layer, use_rep = params.get("layer") or None, params.get("use_rep") or None
    if not use_rep and not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()].unique()
        raise ValueError(
            f"adata.var_names repeats {listed(twice, 5)}. Call adata.var_names_make_unique(), then "
            "set up and train the model again."
        )
    source, features = cells_of(adata, layer, use_rep), model.get_feature_names()
    if len(features) != source.shape[1] or not (use_rep or features.equals(adata.var_names)):
        raise ValueError(
            "adata has other features than the model, or in another order. Pass the AnnData that "
            "the model was set up on, or adata[:, model.get_feature_names()].copy()."
        )
    codes, names = group_cells(adata.obs, keys)
    index = PopulationIndex(codes, names)
    table = pd.DataFrame({"perturbation": "", "covariate": "", "n_cells": index.sizes}, names)
    for column, key in zip(("perturbation", "covariate"), keys, strict=False):
        # The texts of which the populations' names are made.
        texts = text_categories(adata.obs[key])
        table[column] = np.asarray(texts, dtype=object)[index.order[index.indptr[:-1]]]
    _require_controls(table, model.control)
    is_counts = bool(params["is_counts"])
    means = population_moments(source, index, is_counts)[0]
    return Screen(
        adata,
        layer,
        use_rep,
        keys,
        index,
        is_counts,
        model.control,
        table,
        pd.DataFrame(means, names, features),
        {name: list(model.parts(name)) for name in table["perturbation"].unique()},
    )


def _require_controls(table: pd.DataFrame, control: str) -> None:
    require("control", control, table["perturbation"], "the perturbations of adata")
    own = table[(table["perturbation"] == control) & (table["n_cells"] > 1)]
    lacking = sorted(set(table["covariate"]) - set(own["covariate"]))
    if lacking:
        raise ValueError(
            f"{listed(lacking)} have fewer than two cells of control={control!r}, so that no shift "
            "can be measured. Remove their cells."
        )
