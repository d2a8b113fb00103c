from __future__ import annotations

import numpy as np
from anndata import AnnData

from .._errors import require
from ._fields import Field

CONDITION_KEY = "condition"


class ConditionField(Field):
    """A representation in ``.obsm`` that a model of cells is conditioned on.

    Such as the embedding of each cell's population. Registered state: ``n_features``.

    Parameters
    ----------
    key
        Key of ``.obsm``.

    Examples
    --------
    >>> import scgde
    >>> scgde.data.ConditionField("X_gde").attr_name
    'obsm'
    """

    registry_key = CONDITION_KEY
    attr_name = "obsm"

    def __init__(self, key: str):
        super().__init__()
        self.attr_key = key

    def validate_field(self, adata: AnnData) -> None:
        """Raise if the representation is absent."""
        require("condition_rep", self.attr_key, adata.obsm.keys(), "adata.obsm")

    def register_field(self, adata: AnnData) -> dict:
        """Note its width. Cells outside every population may have no finite values."""
        self.validate_field(adata)
        return {"n_features": np.shape(adata.obsm[self.attr_key])[1]}

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Check that the width is that of the training data."""
        state = self.register_field(adata_target)
        if state["n_features"] != state_registry["n_features"]:
            raise ValueError(
                f"condition_rep={self.attr_key!r} has {state['n_features']} columns; the model was "
                f"trained with {state_registry['n_features']}. Write it by the same model as then "
                "(scgde.tl.embed_populations)."
            )
        return state
