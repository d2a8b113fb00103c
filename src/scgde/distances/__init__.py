"""Distances between sets of cells: ``(x: (B, n, d), y: (B, m, d), wx, wy) -> (B,)``."""

from ._energy import energy_distance

__all__ = ["energy_distance"]
