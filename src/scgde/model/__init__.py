"""What users touch: models that read AnnData or MuData."""

from ._gde import GDE

__all__ = ["GDE"]
