from __future__ import annotations

import inspect
import warnings

import pandas as pd
from anndata import AnnData
from mudata import MuData

from .._errors import listed, require, require_type
from .._scvi import AnnDataManager, BaseAnnDataField, BaseModelClass, without_pairing
from ..data import (
    BATCH_KEY,
    POPULATION_KEY,
    CategoryField,
    CellsField,
    ConditionField,
    DonorField,
    GroupField,
    LabelField,
    ModalCellsField,
    MuDataCategoryField,
    MuDataCellsField,
    MuDataDonorField,
    MuDataGroupField,
    MuDataLabelField,
    MuDataSizeFactorField,
    SizeFactorField,
    as_keys,
    group_cells,
    is_counts,
    require_constant,
)


class SetupMixin(BaseModelClass):
    """``setup_anndata`` and ``setup_mudata``: which cells, which populations, which labels."""

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        population_key: str | list[str] | None = None,
        layer: str | None = None,
        use_rep: str | None = None,
        batch_key: str | None = None,
        labels_key: str | list[str] | None = None,
        donor_key: str | None = None,
        size_factor_key: str | None = None,
        **kwargs: object,
    ) -> None:
        """Say what in an AnnData the model works on.

        Parameters
        ----------
        adata
            Cells x genes; in memory or backed, dense or sparse; not a view.
        population_key
            Column of ``.obs`` that groups cells into populations, or several whose combinations
            do (``["clone", "day"]``). Cells without a value belong to no population. By default
            all cells are one population, ``"all"``, from which sets are then drawn by a continuous
            key (the model's argument ``sets``).
        layer
            Layer that holds the cells; ``.X`` by default.
        use_rep
            Key of a representation in ``.obsm`` to work on instead of genes.
        batch_key
            Column of the technical batch, which the generator corrects for.
        labels_key
            Column or columns that label populations: constant within a population, missing where
            unknown.
        donor_key
            Column of the donor, where a donor has several populations; donors are then never
            divided between training and validation.
        size_factor_key
            Column of size factors, used in place of each cell's total count.
        **kwargs
            Used by ``load``.

        Raises
        ------
        KeyError
            If a key is absent; the message lists close matches.
        ValueError
            If ``adata`` is a view, values are not finite, a label varies within a population, or
            no cell belongs to a population.
        """
        arguments = cls._get_setup_method_args(**locals())
        require_type("adata", adata, AnnData, "For a MuData use setup_mudata.")
        refuse_view(adata, "adata")
        populations = as_keys(population_key)
        fields: list[BaseAnnDataField] = [GroupField(POPULATION_KEY, "population_key", populations)]
        if batch_key is not None:
            fields.append(CategoryField(BATCH_KEY, "batch_key", batch_key, missing="error"))
        if donor_key is not None:
            fields.append(DonorField(donor_key))
        if size_factor_key is not None:
            fields.append(SizeFactorField(size_factor_key))
        fields += [LabelField(key) for key in as_keys(labels_key or [])]
        register(cls, adata, CellsField(layer, use_rep), fields, arguments, **kwargs)
        if layer is None and use_rep is None and kwargs.get("source_registry") is None:
            warn_of_counts_elsewhere(adata)

    @classmethod
    def setup_mudata(
        cls,
        mdata: MuData,
        population_key: str | list[str] | None = None,
        layer: str | dict[str, str] | None = None,
        use_rep: str | dict[str, str] | None = None,
        batch_key: str | None = None,
        labels_key: str | list[str] | None = None,
        donor_key: str | None = None,
        size_factor_key: str | None = None,
        modalities: dict[str, str | list[str]] | None = None,
        **kwargs: object,
    ) -> None:
        """Say what in a MuData the model works on.

        Parameters
        ----------
        mdata
            Modalities of cells. Of several, cells may lack any but one, and each may have its
            cells in its own order.
        population_key, batch_key, labels_key, donor_key, size_factor_key
            As in :meth:`setup_anndata`; size factors only with one modality.
        layer, use_rep
            As in :meth:`setup_anndata`; or a dict by modality such as ``{"rna": "counts"}``, where
            a name is for all. Modalities that are in neither are taken from ``.X``.
        modalities
            The modality in which an argument is looked up: ``{"layer": "rna"}``. That of ``layer``
            (or of ``use_rep``, not another) is needed. A list of them, ``{"layer": ["rna",
            "prot"]}``, makes a model of all (:class:`GDE`, ``fusion``). Obs columns are by default
            those of the MuData.
        **kwargs
            Used by ``load``.

        Raises
        ------
        ValueError
            If no modality is named for the cells, or others for ``layer`` than for ``use_rep``; if
            a cell has none of those named, or several come with a size factor; otherwise as in
            :meth:`setup_anndata`.
        """
        layer = _of_one("layer", layer, modalities)
        use_rep = _of_one("use_rep", use_rep, modalities)
        arguments = cls._get_setup_method_args(**locals())
        if not isinstance(mdata, MuData):
            raise TypeError(
                f"mdata must be a MuData, got {type(mdata).__name__}. "
                "For an AnnData use setup_anndata."
            )
        refuse_view(mdata, "mdata")
        modality = cls._create_modalities_attr_dict(modalities or {}, arguments)
        cells = _cell_modalities(modalities)
        # Data that a setup is transferred to may lack one of several modalities.
        may_lack = len(cells) > 1 and kwargs.get("source_registry") is not None
        if not cells or not (may_lack or set(cells) <= set(mdata.mod)):
            raise ValueError(
                f"modalities={modalities!r} must name the modality that holds the cells, as "
                f"{{'layer': ...}} with one of {listed(mdata.mod)}, or several as a list."
            )
        if len(cells) > 1 and size_factor_key is not None:
            raise ValueError(
                f"size_factor_key={size_factor_key!r} is for one modality; of "
                f"{len(cells)}, each cell's size in each is its total there. Leave it out."
            )
        populations = as_keys(population_key)
        fields: list[BaseAnnDataField] = [
            MuDataGroupField(
                POPULATION_KEY, "population_key", populations, mod_key=modality.population_key
            )
        ]
        if batch_key is not None:
            fields.append(
                MuDataCategoryField(
                    BATCH_KEY, "batch_key", batch_key, missing="error", mod_key=modality.batch_key
                )
            )
        if donor_key is not None:
            fields.append(MuDataDonorField(donor_key, mod_key=modality.donor_key))
        if size_factor_key is not None:
            fields.append(MuDataSizeFactorField(size_factor_key, mod_key=modality.size_factor_key))
        fields += [
            MuDataLabelField(key, mod_key=modality.labels_key) for key in as_keys(labels_key or [])
        ]
        if len(cells) > 1:
            field = ModalCellsField(cells, layer, use_rep)
        else:
            field = MuDataCellsField(layer, use_rep, mod_key=cells[0])
        register(cls, mdata, field, fields, arguments, **kwargs)


def register(
    cls: type[BaseModelClass],
    data: AnnData | MuData,
    cells: BaseAnnDataField,
    fields: list[BaseAnnDataField],
    arguments: dict,
    source_registry: dict | None = None,
    **kwargs: object,
) -> None:
    """Register data with a model class: the cells, their groups (the first field), and more."""
    if kwargs:
        names = [p for p in inspect.signature(cls.setup_anndata).parameters if p != "kwargs"]
        raise TypeError(
            f"setup got unknown arguments {listed(kwargs)}. It takes {listed(names, 12)}."
        )
    # All that can be wrong is found before anything is written to the data. Labels and
    # covariates may be absent in data that a setup is transferred to.
    cells.validate_field(data)
    for field in fields:
        if source_registry is None:
            field.validate_field(data)
    _require_constant_labels(data, fields)
    checks = without_pairing() if isinstance(cells, ModalCellsField) else None
    # A condition, which may not be absent, is looked at before other fields write.
    fields = sorted(fields, key=lambda field: not isinstance(field, ConditionField))
    manager = AnnDataManager(
        fields=[cells, *fields], setup_method_args=arguments, validation_checks=checks
    )
    manager.register_fields(data, source_registry)
    cls.register_manager(manager)


def warn_of_counts_elsewhere(adata: AnnData) -> None:
    """Warn where ``.X``, which is modelled, is not counts while a layer is."""
    if is_counts(adata.X):
        return
    layers = [
        name
        for name, matrix in adata.layers.items()
        if matrix.dtype.kind in "iuf" and is_counts(matrix)
    ]
    if layers:
        name = "counts" if "counts" in layers else layers[0]
        warnings.warn(
            "adata.X is not counts and is modelled as real numbers, but adata.layers holds counts "
            f"({listed(layers)}). To model these, pass layer={name!r}.",
            UserWarning,
            stacklevel=3,
        )


def refuse_view(data: AnnData | MuData, argument: str) -> None:
    """Raise if data is a view."""
    if data.is_view:
        raise ValueError(
            f"{argument} is a view of another object, which a setup cannot be written to. "
            f"Copy it first: {argument} = {argument}.copy()."
        )


def _cell_modalities(modalities: dict[str, str | list[str]] | None) -> list[str]:
    """Return the modalities of the cells; raise if ``layer`` has others than ``use_rep``."""
    named = [as_keys((modalities or {}).get(key) or []) for key in ("layer", "use_rep")]
    if all(named) and named[0] != named[1]:
        every = list(dict.fromkeys(named[0] + named[1]))
        raise ValueError(
            f"modalities={modalities!r} names other modalities for layer than for use_rep. Name "
            f"all that the model is of in one list, modalities={{'layer': {every}}}, and what each "
            f"is taken from by modality: use_rep={{{named[1][0]!r}: 'X_pca'}}, the others from "
            "layer={...} or .X."
        )
    return named[0] or named[1]


def _of_one(
    argument: str, value: str | dict[str, str] | None, modalities: dict | None
) -> str | dict[str, str] | None:
    """Return the name that a dict by modality has for the only one; with several, the dict."""
    names = _cell_modalities(modalities)
    if not isinstance(value, dict) or len(names) != 1:
        return value
    for name in value:
        require(argument, name, names, "the modalities of the model")
    return value.get(names[0])


def _require_constant_labels(data: AnnData | MuData, fields: list[BaseAnnDataField]) -> None:
    """Raise if a label or donor varies within a population, in whichever modality they are."""

    def obs(field: BaseAnnDataField) -> pd.DataFrame:
        return data.obs if field.mod_key is None else data.mod[field.mod_key].obs

    fields[0].validate_field(data)
    population_keys = getattr(fields[0], "adata_field", fields[0]).keys
    codes, names = group_cells(obs(fields[0]), population_keys)
    for field in fields[1:]:
        inner = getattr(field, "adata_field", field)
        if isinstance(inner, DonorField | LabelField):
            key = inner.key if isinstance(inner, LabelField) else inner.keys[0]
            if key in obs(field):
                require_constant(inner, obs(field)[key], codes, names, population_keys)
