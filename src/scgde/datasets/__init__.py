"""Data sets by name."""

from ._load import info, list_datasets, load

__all__ = ["info", "list_datasets", "load"]
