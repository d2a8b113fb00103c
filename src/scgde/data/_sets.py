"""Sets of given cells: what a set prior becomes when it meets data."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from copy import copy
from typing import NamedTuple, Self

import numpy as np
import pandas as pd

from .._errors import require
from ._index import PopulationIndex
from ._sampler import SeededSampler, SetDraw, SetSampler, draw_cells


class Measure(NamedTuple):
    """A weighted set of cells: rows ``(n,)`` and weights ``(n,)`` that sum to one."""

    rows: np.ndarray
    weight: np.ndarray


class Sets(ABC):
    """The sets of given cells under a prior.

    Parameters
    ----------
    index
        Populations of the cells that may be in a set; all other cells have the code -1.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> index = scgde.data.PopulationIndex(np.repeat([0, 1, 2], 10), pd.Index(list("abc")))
    >>> sets = scgde.data.LabelSets().bind(pd.DataFrame(index=range(30)), {}, index)
    >>> sets.n_sets(cells_per_population=5)
    3
    """

    def __init__(self, index: PopulationIndex):
        self.index = index

    def restrict(self, rows: np.ndarray) -> Self:
        """Return the sets that some of the cells make, as if there were no others."""
        other = copy(self)
        other.index = self.index.restrict(rows)
        return other

    def require_trainable(self) -> None:
        """Raise a ``ValueError`` unless there are sets enough to train on."""
        return

    def n_sets(self, cells_per_population: int) -> int:
        """Return the number of sets that show every cell, or population, about once."""
        return math.ceil(len(self.index.order) / cells_per_population)

    @abstractmethod
    def sampler(self, **options: object) -> SeededSampler:
        """Return the sampler of training sets; options as in :class:`SeededSampler`."""

    @abstractmethod
    def measures(self, values: object) -> tuple[pd.Index, Iterable[Measure]]:
        """Return the names and the exact weighted cells of the sets at values.

        Raises
        ------
        ValueError
            If there is no such set; then before the first of them is given.
        """


class LabelledSets(Sets):
    """The populations themselves, each with its ``companion`` in every batch, if it has one."""

    companion: np.ndarray | None = None

    def require_trainable(self) -> None:
        """Raise a ``ValueError`` if there is one population only."""
        if (self.index.sizes > 0).sum() < 2:
            raise ValueError(
                f"population_key gives one population only ({self.index.names[0]!r}); an "
                "embedding of populations needs at least two to train on. Choose a finer "
                "population_key, or draw sets by a continuous key (the model's argument sets)."
            )

    def n_sets(self, cells_per_population: int) -> int:
        """Return the number of populations."""
        return int((self.index.sizes > 0).sum())

    def sampler(self, **options: object) -> SetSampler:
        """Return the sampler of populations."""
        return SetSampler(self.index, companion=self.companion, **options)

    def measures(self, values: object) -> tuple[pd.Index, Iterable[Measure]]:
        """Raise a ``ValueError``: these sets have names, not values."""
        raise ValueError(
            "The sets of this model are its populations (sets='label'), which have names and no "
            "values: use get_population_embedding. For sets at values build the model with "
            "sets={'name': 'kernel', 'key': ..., 'bandwidth': ...} or another set prior."
        )


class DrawnSets(Sets):
    """Sets that are no populations: there is no end of them, so each is drawn by itself."""

    def sampler(self, **options: object) -> PriorSampler:
        """Return the sampler of training sets."""
        return PriorSampler(self, **options)

    @abstractmethod
    def draw(
        self, rng: np.random.Generator, m: int, draw: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Draw one set: context and target rows, each ``(m,)``, and the populations it mixes."""


class PriorSampler(SeededSampler):
    """Draws sets from a prior anew at every step.

    Parameters
    ----------
    sets
        What is drawn from: the training cells' sets, or the validation cells'.
    **options
        As in :class:`SeededSampler`.
    """

    def __init__(self, sets: DrawnSets, **options: object):
        super().__init__(**options)
        self.sets, self.allowed = sets, sets.index.codes >= 0

    def batches(self, rng: np.random.Generator) -> Iterator[SetDraw]:
        """Iterate over the batches of an epoch."""
        no_population = np.full(self.n_sets, -1)
        for _ in range(self.n_steps):
            drawn = [self.sets.draw(rng, self.m, self.draw) for _ in range(self.n_sets)]
            context, target, mixed = zip(*drawn, strict=True)
            context = np.stack(context)
            target = context if self.draw == "same" else np.stack(target)
            mixed = None if mixed[0] is None else np.stack(mixed)
            yield SetDraw(no_population, context, target, self.allowed, mixed)


class MixedSets(DrawnSets):
    """Mixtures of k populations; of all there are where held-out cells have fewer.

    Parameters
    ----------
    index
        The populations.
    k, concentration
        Populations in a mixture, and concentration of the Dirichlet law of their weights.
    """

    def __init__(self, index: PopulationIndex, k: int, concentration: float):
        super().__init__(index)
        self.k, self.concentration = k, concentration

    def require_trainable(self) -> None:
        """Raise a ``ValueError`` if there are fewer than k populations."""
        n = int((self.index.sizes > 0).sum())
        if n < self.k:
            raise ValueError(
                f"k={self.k} populations are to be mixed, but there are {n} to train on. Lower k, "
                "hold fewer out (train_size), or choose a finer population_key."
            )
        if n < 2:
            raise ValueError(
                f"population_key gives one population only ({self.index.names[0]!r}): all mixtures "
                "would be one and the same. Choose a finer population_key."
            )

    def draw(
        self, rng: np.random.Generator, m: int, draw: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Draw a mixture; within a population as :class:`SetSampler` does.

        So populations of fewer than four cells give the same cells to context and target.
        """
        populations = np.flatnonzero(self.index.sizes)
        mixed = rng.choice(populations, min(self.k, len(populations)), replace=False)
        weight = rng.dirichlet(np.full(len(mixed), self.concentration))
        n_context = rng.multinomial(m, weight)
        n_target = n_context if draw == "same" else rng.multinomial(m, weight)
        pairs = [
            draw_cells(rng, self.index.cells(p), a, b, draw)
            for p, a, b in zip(mixed, n_context, n_target, strict=True)
        ]
        context, target = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
        return context, target, mixed

    def measures(self, values: object) -> tuple[pd.Index, Iterable[Measure]]:
        """Return the mixtures of given weights, sets x populations.

        Of a DataFrame the columns name populations (those without a column weigh nothing); the
        columns of an array are all populations, in their order.
        """
        names = self.index.names
        table = values if isinstance(values, pd.DataFrame) else None
        weight = as_numbers(values)
        if weight.ndim != 2 or (table is None and weight.shape[1] != len(names)):
            raise ValueError(
                f"values has the shape {weight.shape}; weights of mixtures are sets x populations, "
                f"here (n, {len(names)}). A DataFrame may name some populations by its columns."
            )
        columns = np.arange(len(names))
        if table is not None:
            for column in table.columns:
                require("values", str(column), names, "the populations of the data")
            columns = names.get_indexer(table.columns.astype(str))
        wrong = ~((weight >= 0).all(1) & (abs(weight.sum(1) - 1) < 1e-3))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"values: row {i} sums to {weight[i].sum():g} and has the lowest weight "
                f"{weight[i].min():g}. Weights are not negative and sum to one in each row."
            )
        found = pd.Index([f"mixture_{i}" for i in range(len(weight))])
        return (found if table is None else table.index.astype(str)), (
            self._mixture(columns[row > 0], row[row > 0] / row.sum()) for row in weight
        )

    def _mixture(self, populations: np.ndarray, weight: np.ndarray) -> Measure:
        cells = [self.index.cells(p) for p in populations]
        each = [np.full(len(c), w / len(c)) for c, w in zip(cells, weight, strict=True)]
        return Measure(np.concatenate(cells), np.concatenate(each))


def as_numbers(values: object) -> np.ndarray:
    """Return the values of sets as an array of finite numbers.

    Raises
    ------
    ValueError
        If there are none, or one is no finite number.
    """
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"values={values!r} must be numbers.") from error
    if numbers.size == 0 or not np.isfinite(numbers).all():
        raise ValueError(
            f"values holds {'nothing' if numbers.size == 0 else 'NaN or infinite numbers'}; every "
            "set needs a finite value."
        )
    return numbers
