"""Conditional generators: one file each, registered by name in ``GENERATORS``."""

from ._base import GENERATORS, Generator
from .cvae import CVAE

__all__ = ["CVAE", "GENERATORS", "Generator"]
