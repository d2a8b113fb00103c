from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from torch import distributed
from torch.utils.data import Sampler

from .._errors import require_choice, require_counts
from ._index import PopulationIndex


class SetDraw(NamedTuple):
    """One batch of sets: ``population (B,)`` and the row numbers of their cells, each ``(B, m)``.

    ``context`` is what the encoder sees, ``target`` what the generator must explain. Of sets that
    are no populations (``population`` is -1) ``allowed (n_cells,)`` says which cells may be in any
    of them, and ``mixed (B, k)`` which populations each mixes, if it mixes some.

    Attributes
    ----------
    population
        ``(B,)``; -1 for sets that are no populations.
    context, target
        Rows of the cells ``(B, m)``.
    allowed
        Which cells may be in sets that are no populations, ``(n_cells,)``; None for others.
    mixed
        Populations that each set mixes, ``(B, k)``; None where none are.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> index = scgde.data.PopulationIndex(np.repeat([0, 1, 2], 10), pd.Index(list("abc")))
    >>> draw = next(iter(scgde.data.SetSampler(index, 2, 5, n_steps=1)))
    >>> draw.population.shape, draw.context.shape
    ((2,), (2, 5))
    """

    population: np.ndarray
    context: np.ndarray
    target: np.ndarray
    allowed: np.ndarray | None = None
    mixed: np.ndarray | None = None


class SeededSampler(Sampler[SetDraw], ABC):
    """Batches of sets, drawn anew at every step from a seed. A subclass gives :meth:`batches`.

    Parameters
    ----------
    populations_per_batch
        B.
    cells_per_population
        m.
    n_steps
        Batches in an epoch.
    draw
        ``"same"``: context and target are one draw, as published (GDE paper, Sec. 3).
        ``"disjoint"``: no cell of the context is in the target, so that an embedding cannot
        succeed by describing the very cells it saw.
    seed
        Epoch ``e`` of rank ``r`` is seeded by ``[seed, e, r]``.
    rank
        Rank where torch.distributed is not in use.
    fixed
        Draw the same batches in every epoch, as validation should.

    Raises
    ------
    ValueError
        For another ``draw``, or a size that is not positive.
    """

    def __init__(
        self,
        populations_per_batch: int,
        cells_per_population: int,
        n_steps: int,
        draw: Literal["same", "disjoint"] = "disjoint",
        seed: int = 0,
        rank: int = 0,
        fixed: bool = False,
    ):
        require_choice("draw", draw, ("same", "disjoint"))
        require_counts(
            populations_per_batch=populations_per_batch, cells_per_population=cells_per_population
        )
        self.n_sets, self.m, self.n_steps, self.draw = (
            populations_per_batch,
            cells_per_population,
            n_steps,
            draw,
        )
        self.seed, self.rank, self.fixed, self.epoch = seed, rank, fixed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and with it the random numbers, of the next iteration."""
        self.epoch = 0 if self.fixed else epoch

    def __len__(self) -> int:
        return self.n_steps

    def __iter__(self) -> Iterator[SetDraw]:
        rank = distributed.get_rank() if distributed.is_initialized() else self.rank
        return self.batches(np.random.default_rng([self.seed, self.epoch, rank]))

    @abstractmethod
    def batches(self, rng: np.random.Generator) -> Iterator[SetDraw]:
        """Iterate over the batches of an epoch, given all of its random numbers."""


class SetSampler(SeededSampler):
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
    companion
        For each population another that is in every batch with it, -1 for none, ``(P,)``: a control
        to compare it with. Companions are drawn in no other way, and count towards B.
    draw
        As in :class:`SeededSampler`. With ``"disjoint"`` a population of fewer than 2m cells is cut
        in halves; one of fewer than four cells gives the same draw to both.
    cells_per_population, n_steps, seed, rank, fixed
        As in :class:`SeededSampler`.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> index = scgde.data.PopulationIndex(np.repeat([0, 1, 2], 10), pd.Index(list("abc")))
    >>> sampler = scgde.data.SetSampler(index, 2, 5, n_steps=3)
    >>> len(sampler), [draw.target.shape for draw in sampler]
    (3, [(2, 5), (2, 5), (2, 5)])
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
        companion: np.ndarray | None = None,
    ):
        super().__init__(
            populations_per_batch, cells_per_population, n_steps, draw, seed, rank, fixed
        )
        self.index = index
        if companion is None:
            companion = np.full(len(index), -1)
        self.companion = np.where(index.sizes[companion] > 0, companion, -1)
        self.populations = np.setdiff1d(np.flatnonzero(index.sizes), self.companion)
        self.n_drawn = min(populations_per_batch, len(self.populations))

    def batches(self, rng: np.random.Generator) -> Iterator[SetDraw]:
        """Iterate over the batches of an epoch."""
        queue = np.empty(0, dtype=np.int64)
        for _ in range(self.n_steps):
            while len(queue) < self.n_drawn:
                # Populations already waiting go to the end of the next round: a batch never
                # holds one twice.
                fresh = rng.permutation(self.populations)
                waiting = np.isin(fresh, queue)
                queue = np.concatenate([queue, fresh[~waiting], fresh[waiting]])
            population, n_taken = self._with_companions(queue[: self.n_drawn])
            queue = queue[n_taken:]
            pairs = [
                draw_cells(rng, self.index.cells(p), self.m, self.m, self.draw) for p in population
            ]
            context, target = (np.stack(rows) for rows in zip(*pairs, strict=True))
            yield SetDraw(population, context, context if self.draw == "same" else target)

    def _with_companions(self, queue: np.ndarray) -> tuple[np.ndarray, int]:
        """Return as many populations as a batch holds with their companions, one at least."""
        chosen: dict[int, None] = {}
        for n_taken, population in enumerate(queue):
            both = (self.companion[population], population)
            fresh = [p for p in both if p >= 0 and p not in chosen]
            if chosen and len(chosen) + len(fresh) > self.n_sets:
                return np.array(list(chosen)), n_taken
            chosen |= dict.fromkeys(fresh)
        return np.array(list(chosen)), len(queue)


def draw_cells(
    rng: np.random.Generator, cells: np.ndarray, n_context: int, n_target: int, draw: str
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the context and the target of one population, uniformly from its ``cells (n,)``."""
    n = len(cells)
    if draw == "same" or n < 4:
        context = cells[choose(rng, n, n_context)]
        return context, context if n_target == n_context else cells[choose(rng, n, n_target)]
    if n >= n_context + n_target:
        rows = cells[rng.choice(n, n_context + n_target, replace=False)]
        return rows[:n_context], rows[n_context:]
    rows = rng.permutation(cells)
    context, target = rows[: n // 2], rows[n // 2 :]
    return (
        context[choose(rng, len(context), n_context)],
        target[choose(rng, len(target), n_target)],
    )


def choose(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Choose m of n: every one of them as often as can be, the rest at random."""
    if n >= m:
        return rng.choice(n, m, replace=False)
    whole = np.tile(np.arange(n), m // n)
    return np.concatenate([whole, rng.choice(n, m - len(whole), replace=False)])
