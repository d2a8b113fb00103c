from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from torch import distributed
from torch.utils.data import Sampler

from .._errors import require_choice, require_positive
from ._index import PopulationIndex


class SetDraw(NamedTuple):
    """One batch of sets: ``population (B,)`` and the row numbers of their cells, each ``(B, m)``.

    ``context`` is what the encoder sees, ``target`` what the generator must explain.
    """

    population: np.ndarray
    context: np.ndarray
    target: np.ndarray


class SetSampler(Sampler[SetDraw]):
    """Draws populations, and cells of each, anew at every step.

    Populations come in a random order in which each appears once before any appears again. Cells
    are drawn without replacement, with replacement only where a population is smaller than the
    draw.

    Parameters
    ----------
    index
        The populations; those without cells are never drawn.
    populations_per_batch
        B; at most the number of populations.
    cells_per_population
        m.
    n_steps
        Batches in an epoch.
    draw
        ``"same"``: context and target are one draw, as published (GDE paper, Sec. 3).
        ``"disjoint"``: no cell of the context is in the target, so that an embedding cannot
        succeed by describing the very cells it saw. A population of fewer than 2m cells is cut in
        halves; one of fewer than four cells gives the same draw to both.
    seed
        Epoch ``e`` of rank ``r`` is seeded by ``[seed, e, r]``.
    rank
        Rank where torch.distributed is not in use.
    fixed
        Draw the same batches in every epoch, as validation should.
    """

    def __init__(
        self,
        index: PopulationIndex,
        populations_per_batch: int,
        cells_per_population: int,
        n_steps: int,
        draw: Literal["same", "disjoint"] = "disjoint",
        seed: int = 0,
        rank: int = 0,
        fixed: bool = False,
    ):
        require_choice("draw", draw, ("same", "disjoint"))
        require_positive(
            populations_per_batch=populations_per_batch, cells_per_population=cells_per_population
        )
        self.index, self.m, self.n_steps, self.draw = index, cells_per_population, n_steps, draw
        self.populations = np.flatnonzero(index.sizes)
        self.n_sets = min(populations_per_batch, len(self.populations))
        self.seed, self.rank, self.fixed, self.epoch = seed, rank, fixed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and with it the random numbers, of the next iteration."""
        self.epoch = 0 if self.fixed else epoch

    def __len__(self) -> int:
        return self.n_steps

    def __iter__(self) -> Iterator[SetDraw]:
        rank = distributed.get_rank() if distributed.is_initialized() else self.rank
        rng = np.random.default_rng([self.seed, self.epoch, rank])
        queue = np.empty(0, dtype=np.int64)
        for _ in range(self.n_steps):
            while len(queue) < self.n_sets:
                # Populations already waiting go to the end of the next round: a batch never
                # holds one twice.
                fresh = rng.permutation(self.populations)
                waiting = np.isin(fresh, queue)
                queue = np.concatenate([queue, fresh[~waiting], fresh[waiting]])
            population, queue = queue[: self.n_sets], queue[self.n_sets :]
            pairs = [self._draw(rng, self.index.cells(p)) for p in population]
            context, target = (np.stack(rows) for rows in zip(*pairs, strict=True))
            yield SetDraw(population, context, context if self.draw == "same" else target)

    def _draw(self, rng: np.random.Generator, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, m = len(cells), self.m
        if self.draw == "same" or n < 4:
            rows = cells[_choose(rng, n, m)]
            return rows, rows
        if n >= 2 * m:
            rows = cells[rng.choice(n, 2 * m, replace=False)]
            return rows[:m], rows[m:]
        rows = rng.permutation(cells)
        context, target = rows[: n // 2], rows[n // 2 :]
        return context[_choose(rng, len(context), m)], target[_choose(rng, len(target), m)]


def _choose(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Choose m of n: every one of them as often as can be, the rest at random."""
    if n >= m:
        return rng.choice(n, m, replace=False)
    whole = np.tile(np.arange(n), m // n)
    return np.concatenate([whole, rng.choice(n, m - len(whole), replace=False)])
