"""What comparisons of two populations and of groups of donors have in common."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd


class Units(NamedTuple):
    """What is compared: populations, or donors as averages of their populations.

    ``of_population (P,)`` is the unit of each population, -1 for none; ``names``, ``donors``,
    ``groups`` and ``blocks`` are of the units ``(U,)``; ``levels`` names the groups.
    """

    of_population: np.ndarray
    names: np.ndarray
    donors: np.ndarray
    groups: np.ndarray
    blocks: np.ndarray
    levels: np.ndarray


class Comparison(NamedTuple):
    """Result of a comparison: one row of ``tests`` and of ``directions (C, L)`` a contrast.

    ``contrasts (C, 2)`` are the groups compared; ``scores`` is where units lie along the
    directions.
    """

    units: Units
    contrasts: np.ndarray
    tests: pd.DataFrame
    directions: np.ndarray
    scores: pd.DataFrame


def leading_axes(centred: np.ndarray, n_dims: int) -> np.ndarray:
    """Return the leading principal axes ``(L, k)`` of centred rows, k at most ``n_dims``."""
    _, size, axes = np.linalg.svd(centred, full_matrices=False)
    return axes[: min(n_dims, int((size > 1e-6 * size[0]).sum()))].T if size[0] > 0 else axes[:0].T


def unit_length(directions: np.ndarray) -> np.ndarray:
    """Return directions ``(..., L)`` divided by their length; zero stays zero."""
    length = np.linalg.norm(directions, axis=-1, keepdims=True)
    return directions / np.where(length > 0, length, 1)
