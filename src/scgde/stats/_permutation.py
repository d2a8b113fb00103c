"""Permutation of labels within blocks, and p-values from it."""

from __future__ import annotations

import math

import numpy as np


def permute_within_blocks(
    labels: np.ndarray, blocks: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """Return labels in random order within every block, ``(n_permutations, n)``.

    All arrangements that keep each block's labels are equally likely. Units that only their own
    block holds keep their label.

    Parameters
    ----------
    labels, blocks
        Label and block of each unit, ``(n,)``; blocks as numbers.
    n_permutations
        How many.
    rng
        Random generator.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> labels, blocks = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    >>> drawn = scgde.stats.permute_within_blocks(labels, blocks, 5, np.random.default_rng(0))
    >>> drawn.shape, drawn[:, :2].sum(1)
    ((5, 4), array([1, 1, 1, 1, 1]))
    """
    # Sorting random keys block by block gives each block's units in random order.
    keys = rng.random((n_permutations, len(labels))) + np.unique(blocks, return_inverse=True)[1]
    order = np.argsort(keys, axis=1)
    permuted = np.empty((n_permutations, len(labels)), dtype=np.asarray(labels).dtype)
    permuted[:, np.argsort(blocks, kind="stable")] = np.asarray(labels)[order]
    return permuted


def count_arrangements(labels: np.ndarray, blocks: np.ndarray) -> int:
    """Return how many distinct arrangements of labels within blocks there are.

    A product of multinomial coefficients. One over it is the smallest p-value that a permutation
    test can give, however many permutations are drawn; of two groups of equal size in every block
    whose names do not matter, two over it.

    Parameters
    ----------
    labels, blocks
        Label and block of each unit, ``(n,)``.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scgde.stats.count_arrangements(np.array([0, 0, 1, 1]), np.zeros(4, dtype=int))
    6
    """
    total = 1
    for block in np.unique(blocks):
        counts = np.unique(labels[blocks == block], return_counts=True)[1]
        rest = int(counts.sum())
        for count in counts:
            total *= math.comb(rest, int(count))
            rest -= int(count)
    return total


def permutation_p_values(observed: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """Return ``(k + 1) / (B + 1)``, k of B permuted statistics being as large as the observed.

    Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010): a p-value of a sample of permutations
    is never zero, and with the observed arrangement counted it is valid.

    Parameters
    ----------
    observed, permuted
        Statistics ``(C,)`` and ``(B, C)``, large where groups differ.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> scgde.stats.permutation_p_values(np.array([3.0]), np.array([[1.0], [4.0], [2.0]]))
    array([0.5])
    """
    # Arrangements equal but for the names of groups differ in rounding only: they are ties.
    as_large = permuted >= observed - 1e-9 * np.abs(observed)
    return (as_large.sum(0) + 1) / (len(permuted) + 1)


def max_t_p_values(observed: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """Return p-values adjusted for all contrasts by the largest statistic of each permutation.

    Single-step max-T (Westfall & Young 1993): dependence between contrasts is accounted for, since
    every permutation relabels the units for all contrasts at once.

    Parameters
    ----------
    observed, permuted
        Statistics ``(C,)`` and ``(B, C)``, a row of one common permutation each.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> permuted = np.array([[1.0, 2.0], [4.0, 1.0], [2.0, 2.0]])
    >>> scgde.stats.max_t_p_values(np.array([3.0, 5.0]), permuted)
    array([0.5 , 0.25])
    """
    return permutation_p_values(observed, permuted.max(1, keepdims=True))
