"""The one place that touches scvi-tools, its private names included.

Everything else imports from here, so that a new scvi-tools release is met in one file.
"""

from __future__ import annotations

from scvi import REGISTRY_KEYS, settings
from scvi._types import AnnOrMuData
from scvi.data import AnnDataManager
from scvi.data._constants import (
    _FIELD_REGISTRIES_KEY,
    _SCVI_UUID_KEY,
    _SETUP_ARGS_KEY,
    _STATE_REGISTRY_KEY,
)
from scvi.data._manager import AnnDataManagerValidationCheck
from scvi.data._utils import _assign_adata_uuid
from scvi.data.fields import BaseAnnDataField, MuDataWrapper
from scvi.distributions import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from scvi.model._utils import parse_device_args
from scvi.model.base import BaseModelClass
from scvi.model.base._constants import SAVE_KEYS
from scvi.train import Trainer

X_KEY = REGISTRY_KEYS.X_KEY
MODEL_FILE = SAVE_KEYS.MODEL_FNAME

__all__ = [
    "MODEL_FILE",
    "X_KEY",
    "AnnDataManager",
    "BaseAnnDataField",
    "BaseModelClass",
    "MuDataWrapper",
    "NegativeBinomial",
    "Poisson",
    "Trainer",
    "ZeroInflatedNegativeBinomial",
    "as_new",
    "field_of",
    "forget",
    "parse_device_args",
    "release",
    "settings",
    "setup_arguments",
    "state_of",
    "without_pairing",
]


def setup_arguments(registry: dict) -> dict:
    """Return the arguments with which ``setup_anndata`` or ``setup_mudata`` was called."""
    return registry[_SETUP_ARGS_KEY]


def without_pairing() -> AnnDataManagerValidationCheck:
    """Return the checks of a manager that takes cells which lack some modalities."""
    return AnnDataManagerValidationCheck(check_fully_paired_mudata=False)


def field_of(manager: AnnDataManager, key: str) -> BaseAnnDataField:
    """Return the field that a manager registered as ``key``."""
    return next(field for field in manager.fields if field.registry_key == key)


def state_of(registry: dict, key: str) -> dict | None:
    """Return what the field ``key`` stored when it was registered; None where it is absent."""
    entry = registry[_FIELD_REGISTRIES_KEY].get(key)
    return None if entry is None else entry[_STATE_REGISTRY_KEY]


def as_new(adata: AnnOrMuData) -> AnnOrMuData:
    """Make a copy of registered data independent of the original's registration."""
    _assign_adata_uuid(adata, overwrite=True)
    return adata


def forget(model: BaseModelClass, adata: AnnOrMuData) -> None:
    """Drop throw-away data to which a model's setup was transferred."""
    type(model)._per_instance_manager_store[model.id].pop(adata.uns[_SCVI_UUID_KEY], None)


def release(model: BaseModelClass) -> None:
    """Drop the references by which scvi-tools keeps a model's data alive."""
    managers = type(model)._per_instance_manager_store.pop(model.id, {})
    for uuid, manager in managers.items():
        if type(model)._setup_adata_manager_store.get(uuid) is manager:
            del type(model)._setup_adata_manager_store[uuid]
    model._adata = model._adata_manager = None
