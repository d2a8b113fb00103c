from __future__ import annotations

import numpy as np
from anndata import AnnData

from .._errors import listed, require, require_type
from .._scvi import BaseAnnDataField
from ..data import (
    BATCH_KEY,
    POPULATION_KEY,
    CategoryField,
    CellsField,
    GroupField,
    SizeFactorField,
    as_keys,
    text_categories,
)
from ._setup import SetupMixin, refuse_view, register, warn_of_counts_elsewhere


class PerturbationSetupMixin(SetupMixin):
    """``setup_anndata``: which cells, which perturbation, which of them is the control."""

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        perturbation_key: str = "perturbation",
        control: str = "control",
        covariate_key: str | None = None,
        layer: str | None = None,
        use_rep: str | None = None,
        batch_key: str | None = None,
        size_factor_key: str | None = None,
        **kwargs: object,
    ) -> None:
        """Say what in an AnnData the model works on.

        Parameters
        ----------
        adata
            Cells x genes; in memory or backed, dense or sparse; not a view.
        perturbation_key
            Column of ``.obs`` with the perturbation of each cell; combinations as ``"A+B"``. Cells
            without a value belong to no population.
        control
            Its value for unperturbed cells.
        covariate_key
            Column of ``.obs`` with the cell line or condition, in each of which a perturbation is a
            population of its own and has a control of its own.
        layer, use_rep, batch_key, size_factor_key
            As in :meth:`GDE.setup_anndata`.
        **kwargs
            Used by ``load``.

        Raises
        ------
        KeyError
            If a key or the control is absent; the message lists close matches.
        ValueError
            If a covariate has no control cells, ``adata`` is a view, or values are not finite.
        """
        arguments = cls._get_setup_method_args(**locals())
        require_type("adata", adata, AnnData, "Of a MuData pass one modality: mdata.mod['rna'].")
        refuse_view(adata, "adata")
        if np.ndim(control):
            raise TypeError(f"control={control!r} must be one name. Rename other controls to it.")
        if covariate_key is not None:
            require_type("covariate_key", covariate_key, str, "Join several columns into one.")
            require("covariate_key", covariate_key, adata.obs.columns, "adata.obs")
        keys = [perturbation_key, *as_keys(covariate_key)]
        fields: list[BaseAnnDataField] = [GroupField(POPULATION_KEY, "perturbation_key", keys)]
        if batch_key is not None:
            fields.append(CategoryField(BATCH_KEY, "batch_key", batch_key, missing="error"))
        if size_factor_key is not None:
            fields.append(SizeFactorField(size_factor_key))
        # Other data may be embedded without a control; training needs one.
        if kwargs.get("source_registry") is None:
            fields[0].validate_field(adata)
            _require_control(adata, perturbation_key, str(control), covariate_key)
        register(cls, adata, CellsField(layer, use_rep), fields, arguments, **kwargs)
        if layer is None and use_rep is None and kwargs.get("source_registry") is None:
            warn_of_counts_elsewhere(adata)

    @classmethod
    def setup_mudata(cls, *args: object, **kwargs: object) -> None:
        """Raise a ``TypeError``: this model reads an AnnData."""
        raise TypeError(
            f"{cls.__name__} reads an AnnData. Of a MuData pass a modality: "
            f"{cls.__name__}.setup_anndata(mdata.mod['rna'], ...)."
        )


def _require_control(
    adata: AnnData, perturbation_key: str, control: str, covariate_key: str | None
) -> None:
    """Raise unless there are control cells, in every covariate where there is one."""
    perturbation = text_categories(adata.obs[perturbation_key])
    require("control", control, perturbation.categories, f"adata.obs[{perturbation_key!r}]")
    if len(perturbation.categories) < 2:
        raise ValueError(
            f"perturbation_key={perturbation_key!r} has no value but control={control!r}; there is "
            "no perturbation to learn from."
        )
    if covariate_key is None:
        return
    covariate = text_categories(adata.obs[covariate_key])
    is_control = np.asarray(perturbation == control)
    lacking = covariate.categories.difference(covariate[is_control].unique().astype(str))
    if len(lacking):
        raise ValueError(
            f"covariate_key={covariate_key!r}: {listed(lacking)} have no cells with "
            f"{perturbation_key}={control!r}, and shifts are from the control of the same "
            "covariate. Remove these cells, or name a control that each has."
        )
