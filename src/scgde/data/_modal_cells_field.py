from __future__ import annotations

import numpy as np
import pandas as pd
from mudata import MuData

from .._errors import listed, require
from .._scvi import X_KEY
from ._cells_field import CellsField
from ._fields import Field
from ._modal_rows import ModalRows
from ._modalities import Modalities
from ._rows import cells_of

ByModality = str | dict[str, str] | None


class ModalCellsField(Field):
    """The cells of several modalities of a MuData, any of which a cell may lack.

    Registered state: that of :class:`CellsField` for all modalities together, with ``modalities``
    (their names), ``sizes`` (numbers of features), ``own_names`` (the features' names in their
    modality) and ``states`` (of each modality by itself, in their order). ``names`` are the
    features' own where these differ between modalities, else ``"rna:CD3E"``.

    Parameters
    ----------
    modalities
        Their names, two or more.
    layer, use_rep
        Layer, or representation in ``.obsm``, of each modality: a dict, or one name for all. By
        default ``.X``.

    Raises
    ------
    KeyError, ValueError
        If a modality is named twice, or a layer of another is.

    Examples
    --------
    >>> import scgde
    >>> scgde.data.ModalCellsField(["rna", "prot"], layer={"rna": "counts"}).places
    [('counts', None), (None, None)]
    """

    registry_key = X_KEY
    attr_name = "mod"

    def __init__(self, modalities: list[str], layer: ByModality = None, use_rep: ByModality = None):
        super().__init__()
        self.modalities = list(modalities)
        if len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modalities={modalities!r} names one twice: name each once.")
        for argument, value in (("layer", layer), ("use_rep", use_rep)):
            for name in value if isinstance(value, dict) else ():
                require(argument, name, self.modalities, "the modalities of the model")
        self.places = [(_of(layer, name), _of(use_rep, name)) for name in self.modalities]
        self.fields = [CellsField(*place) for place in self.places]

    def validate_field(self, mdata: MuData) -> None:
        """Raise if a matrix is absent, cells' names are not unique, or a cell has no modality."""
        if not isinstance(mdata, MuData):
            raise TypeError(
                f"The model takes a MuData of {listed(self.modalities)}, any of which may be "
                f"absent, got {type(mdata).__name__}. Make one: "
                f"MuData({{{self.modalities[0]!r}: adata}})."
            )
        present = [name for name in self.modalities if name in mdata.mod]
        if not present:
            raise ValueError(
                f"The MuData has none of the modalities {listed(self.modalities)}; it has "
                f"{listed(mdata.mod)}."
            )
        for name, field in zip(self.modalities, self.fields, strict=True):
            if name not in present:
                continue
            field.validate_field(mdata.mod[name])
            if not mdata.mod[name].obs_names.is_unique:
                raise ValueError(
                    f"Cells of modality {name!r} have the same names. Make them unique: "
                    f"mdata.mod[{name!r}].obs_names_make_unique(); mdata.update()."
                )
        lost = (self._rows_of(mdata) < 0).all(1)
        if lost.any():
            names = ", ".join(f"*mdata.mod[{name!r}].obs_names" for name in present)
            raise ValueError(
                f"{lost.sum()} cells, {mdata.obs_names[lost][0]!r} first, have none of the "
                f"modalities {listed(self.modalities)}. Leave them out: mdata = "
                f"mdata[mdata.obs_names.isin([{names}])].copy()."
            )

    def register_field(self, mdata: MuData) -> dict:
        """Check the values of every modality and note what they are."""
        self.validate_field(mdata)
        for name in self.modalities:
            require("modalities", name, mdata.mod, "mdata.mod")
        return self._joined(
            [
                field.register_field(mdata.mod[name])
                for name, field in zip(self.modalities, self.fields, strict=True)
            ]
        )

    def transfer_field(self, state_registry: dict, mdata_target: MuData, **kwargs) -> dict:
        """Check the features of the modalities that the new data has; it may lack some."""
        self.validate_field(mdata_target)
        states = []
        for name, field, state in zip(
            self.modalities, self.fields, state_registry["states"], strict=True
        ):
            if name not in mdata_target.mod:
                states.append({**state, "n_empty_cells": 0})
                continue
            try:
                states.append(field.transfer_field(state, mdata_target.mod[name]))
            except ValueError as error:
                message = str(error).replace("adata", f"mdata.mod[{name!r}]")
                message = message.replace("feature_names()", f"feature_names({name!r})")
                raise ValueError(f"Modality {name!r}: {message}") from error
        return self._joined(states)

    def _joined(self, states: list[dict]) -> dict:
        own = np.concatenate([state["names"] for state in states])
        sizes = [state["n_features"] for state in states]
        prefixes = np.repeat(self.modalities, sizes)
        unique = pd.Index(own).is_unique
        names = own if unique else [f"{a}:{b}" for a, b in zip(prefixes, own, strict=True)]
        return {
            "n_features": sum(sizes),
            "names": np.asarray(names, dtype=object),
            "fits_counts": all(state["fits_counts"] for state in states),
            "is_counts": all(state["is_counts"] for state in states),
            "n_empty_cells": sum(state["n_empty_cells"] for state in states),
            "modalities": np.asarray(self.modalities, dtype=object),
            "sizes": np.asarray(sizes),
            "own_names": np.asarray(own, dtype=object),
            "states": states,
        }

    def _rows_of(self, mdata: MuData) -> np.ndarray:
        return np.stack(
            [
                mdata.mod[name].obs_names.get_indexer(mdata.obs_names)
                if name in mdata.mod
                else np.full(mdata.n_obs, -1)
                for name in self.modalities
            ],
            1,
        )

    def source(self, mdata: MuData, state: dict) -> ModalRows:
        """Return the row source over the cells of a MuData that is registered."""
        sources = [
            cells_of(mdata.mod[name], *place) if name in mdata.mod else None
            for name, place in zip(self.modalities, self.places, strict=True)
        ]
        sizes = tuple(int(size) for size in state["sizes"])
        return ModalRows(sources, self._rows_of(mdata), Modalities(sizes))


def _of(value: ByModality, modality: str) -> str | None:
    return value.get(modality) if isinstance(value, dict) else value
