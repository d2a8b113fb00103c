"""scgde: generative distribution embeddings for population-level single-cell analysis.

Submodules load when they are first touched, so that ``import scgde`` stays light.
"""

import importlib

from ._version import __version__

_SUBMODULES = (
    "data",
    "datasets",
    "distances",
    "encoders",
    "generators",
    "metrics",
    "model",
    "module",
    "nn",
    "pl",
    "stats",
    "tl",
    "train",
)

__all__ = ["__version__", *_SUBMODULES]


def __getattr__(name: str):
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
