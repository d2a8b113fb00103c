from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Self

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import chi2

from ._index import PopulationIndex
from ._noise import NoiseModel
from ._sampler import choose
from ._sets import DrawnSets, Measure, as_numbers

# How far a set reaches: so many bandwidths. Under a noise model, down to the likelihood that a
# normal distribution has there, relative to its highest.
REACH = 4.0
# Share of a set's weight that may be lost by leaving cells of next to no weight out.
NEGLIGIBLE = 1e-6
# Effective cells below which a set is not cut in halves: a heavy cell's share would shrink.
FEWEST_TO_HALVE = 20
# Effective cells that half of the sets must have: with fewer, sets are single cells.
FEWEST_TO_TRAIN = 4


class WeightedSets(DrawnSets):
    """Sets at values, in which a cell's weight depends on its own value alone.

    Cells of equal value are a group, so that a set weighs groups rather than cells.

    Parameters
    ----------
    index
        Populations of all cells.
    x
        Value of each cell, ``(n_cells, n_dims)``; a cell for which any is NaN is in no set.
    place
        Where the values are from, for messages.

    Raises
    ------
    ValueError
        If no cell has a value.
    """

    def __init__(self, index: PopulationIndex, x: np.ndarray, place: str):
        rows = np.flatnonzero(~np.isnan(x).any(1) & (index.codes >= 0))
        if len(rows) == 0:
            raise ValueError(f"{place} has no value for any cell that belongs to a population.")
        super().__init__(index.restrict(rows))
        self.place = place
        # Unique rows of one column take thirty times as long as unique numbers.
        if x.shape[1] == 1:
            values, codes = np.unique(x[rows, 0], return_inverse=True)
            self.values = values[:, None]
        else:
            self.values, codes = np.unique(x[rows], axis=0, return_inverse=True)
        of_cells = np.full(len(x), -1)
        of_cells[rows] = codes.ravel()
        self._group(PopulationIndex(of_cells, pd.RangeIndex(len(self.values))))

    def _group(self, groups: PopulationIndex) -> None:
        self.groups, self.sizes = groups, groups.sizes

    def restrict(self, rows: np.ndarray) -> Self:
        """Return the sets that some of the cells make, as if there were no others."""
        other = super().restrict(rows)
        other._group(self.groups.restrict(rows))
        return other

    @abstractmethod
    def weigh(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the groups near a value ``(n_dims,)`` and the weight of one cell of each.

        Raises
        ------
        ValueError
            If no cell is near.
        """

    def require_trainable(self) -> None:
        """Raise a ``ValueError`` if there is one value only, or sets are of single cells."""
        if (self.sizes > 0).sum() < 2:
            raise ValueError(
                f"{self.place} has one value only: all sets would be one and the same. Use another "
                "key."
            )
        rng, found = np.random.default_rng(0), []
        for _ in range(64):
            groups, weight = self.weigh(self.anchor(rng))
            found.append(_effective(weight, weight * self.sizes[groups]))
        if np.median(found) < FEWEST_TO_TRAIN:
            raise ValueError(
                f"Sets by {self.place} have {np.median(found):.1f} effective cells (the median), "
                f"too few to be populations: {self._remedy()}."
            )

    @abstractmethod
    def _remedy(self) -> str:
        """Return what to do where sets are too small."""

    def anchor(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the value of a training set: that of a random cell."""
        cells = self.groups.order
        return self.values[self.groups.codes[cells[rng.integers(len(cells))]]]

    def draw(
        self, rng: np.random.Generator, m: int, draw: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Draw a set, with replacement in proportion to the weights.

        Disjoint sets are drawn from two random halves of the cells. Where few cells carry the
        weight, ``(sum w)^2 / sum w^2 < 20``, halves would be of other measures than the set, and
        both are the same draw.
        """
        groups, weight = self.weigh(self.anchor(rng))
        mass = weight * self.sizes[groups]
        if draw == "same" or _effective(weight, mass) < FEWEST_TO_HALVE:
            rows = self._pick(rng, groups, mass, m)
            return rows, rows, None
        # To which half a cell belongs need only be known of those that are picked.
        picks = self._pick(rng, groups, mass, 4 * m + 64)
        cells, place = np.unique(picks, return_inverse=True)
        half = rng.permutation(np.arange(len(cells)) % 2)[place]
        context, target = (
            part[choose(rng, len(part), m)] for part in (picks[half == 0], picks[half == 1])
        )
        return context, target, None

    def _pick(
        self, rng: np.random.Generator, groups: np.ndarray, mass: np.ndarray, n: int
    ) -> np.ndarray:
        picked = groups[rng.choice(len(groups), n, p=mass / mass.sum())]
        return self.groups.order[self.groups.indptr[picked] + rng.integers(self.sizes[picked])]

    def measures(self, values: object) -> tuple[pd.Index, Iterable[Measure]]:
        """Return the names and the weighted cells of the sets at values ``(n, n_dims)``.

        On a line the values may be ``(n,)`` or one number.
        """
        points, n_dims = as_numbers(values), self.values.shape[1]
        if n_dims == 1 and points.ndim < 2:
            points = points.reshape(-1, 1)
        if points.ndim != 2 or points.shape[1] != n_dims:
            shape = "(n,)" if n_dims == 1 else f"(n, {n_dims})"
            raise ValueError(
                f"values has the shape {np.shape(values)}, but sets by {self.place} need {shape}."
            )
        for point in points:  # every mistake is met before the first set is embedded
            self.weigh(point)
        named = isinstance(values, pd.DataFrame | pd.Series)
        names = pd.Index(values.index if named else [_text(p) for p in points]).astype(str)
        if not names.is_unique:
            raise ValueError(f"values has {names[names.duplicated()][0]!r} twice: name it once.")
        return names, map(self.measure, points)

    def measure(self, value: np.ndarray) -> Measure:
        """Return the weighted cells at one value ``(n_dims,)``."""
        groups, weight = self.weigh(value)
        sizes = self.sizes[groups]
        # The groups' runs of cells, one after the other, as positions in the order of all.
        first = np.repeat(self.groups.indptr[groups] - np.cumsum(sizes) + sizes, sizes)
        rows = self.groups.order[first + np.arange(len(first))]
        return Measure(rows, np.repeat(weight / (weight * sizes).sum(), sizes))

    def _unreached(self, value: np.ndarray, reach: str) -> ValueError:
        present = self.values[self.sizes > 0]
        ranges = zip(present.min(0), present.max(0), strict=True)
        return ValueError(
            f"The value {_text(value)} has no cell within reach ({reach}); {self.place} ranges "
            f"from {' and from '.join(f'{low:g} to {high:g}' for low, high in ranges)}."
        )


class KernelWeightedSets(WeightedSets):
    """Sets by a Gaussian kernel around a value, cut off where next to nothing is left of it.

    Parameters
    ----------
    index, x, place
        As in :class:`WeightedSets`.
    bandwidth
        Standard deviation of the kernel along each axis.
    """

    def __init__(self, index: PopulationIndex, x: np.ndarray, place: str, bandwidth: float):
        super().__init__(index, x, place)
        # Four bandwidths on a line; further in more dimensions, where mass lies further out.
        beyond = chi2.sf(REACH**2, 1)
        self.bandwidth, self.radius = bandwidth, bandwidth * chi2.isf(beyond, x.shape[1]) ** 0.5
        # On a line neighbours are a run of the sorted values: no tree is needed.
        self.tree = cKDTree(self.values) if x.shape[1] > 1 else None

    def weigh(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the groups near a value and the weight of one cell of each."""
        if self.tree is None:
            low, high = value[0] - self.radius, value[0] + self.radius
            line = self.values[:, 0]
            near = np.arange(np.searchsorted(line, low), np.searchsorted(line, high, "right"))
        else:
            near = np.array(self.tree.query_ball_point(value, self.radius), dtype=np.int64)
        near = near[self.sizes[near] > 0]
        if len(near) == 0:
            raise self._unreached(
                value, f"{self.radius / self.bandwidth:.3g} bandwidths of {self.bandwidth:g}"
            )
        square = ((self.values[near] - value) ** 2).sum(1) / self.bandwidth**2
        return near, np.exp(-square / 2)

    def _remedy(self) -> str:
        return f"enlarge the bandwidth, {self.bandwidth:g} in units of the key"


class LikelihoodWeightedSets(WeightedSets):
    """Sets by the likelihood that a noise model gives the cells' labels at a true value.

    Parameters
    ----------
    index, x, place
        As in :class:`WeightedSets`; the values are the labels, ``(n_cells, 1)``.
    noise
        The noise model.
    anchors
        True values at which training sets are drawn; by default the labels of random cells.
    """

    def __init__(
        self,
        index: PopulationIndex,
        x: np.ndarray,
        place: str,
        noise: NoiseModel,
        anchors: list[float] | None = None,
    ):
        self.noise, self.anchors = noise, anchors
        super().__init__(index, x, place)

    def _group(self, groups: PopulationIndex) -> None:
        super()._group(groups)
        self.present = np.flatnonzero(self.sizes)
        self.labels = self.values[self.present, 0]
        # Held-out cells may be out of reach of some true values: these are passed over.
        self.reached = [a for a in self.anchors or [] if self._likelihood(a) is not None]

    def require_trainable(self) -> None:
        """Raise a ``ValueError`` if the noise model and the labels do not fit each other.

        The labels are all that the data has, so that held-out cells cannot fail validation later.
        """
        for anchor in self.anchors or []:
            self.weigh(np.array([anchor]))
        labels = self.values[:, 0]
        values = labels if self.anchors is None else np.sort(self.anchors)
        remedy = (
            "True values are the labels themselves unless they are given: where "
            f"{self.noise.parameter!r} has another unit than the labels, give values=[...]."
        )
        try:
            spread = values[np.linspace(0, len(values) - 1, min(len(values), 64)).astype(int)]
            possible = np.any([self.noise.possible(v, labels) for v in spread], axis=0)
            if self.anchors is None:
                likely = self.noise.log_prob(values, values) >= self._lowest(values)
        except ValueError as error:
            raise ValueError(f"{error} {remedy}") from error
        if not possible.all():
            raise ValueError(
                f"{self.place} has values that noise={self.noise.noise!r} never gives, such as "
                f"{labels[~possible][0]:g}. Choose another noise, or set them to NaN: such "
                "cells are in no set."
            )
        if self.anchors is None and not likely.all():
            raise ValueError(
                f"With {self.noise.parameter}={values[~likely][0]:g}, noise={self.noise.noise!r} "
                f"makes that value of {self.place} next to impossible. {remedy}"
            )
        super().require_trainable()

    def _remedy(self) -> str:
        return f"widen the noise, {self.noise.noise} with {self.noise.arguments}"

    def n_sets(self, cells_per_population: int) -> int:
        """Return the number of sets that show every cell about once; 0 if none can be drawn."""
        none = self.anchors is not None and not self.reached
        return 0 if none else super().n_sets(cells_per_population)

    def anchor(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the true value of a training set."""
        return super().anchor(rng) if self.anchors is None else rng.choice(self.reached, 1)

    def weigh(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the groups of likely labels and the weight of one cell of each."""
        weight = self._likelihood(value[0])
        if weight is None:
            raise self._unreached(value, f"all are next to impossible under {self.noise.noise}")
        mass = weight * self.sizes[self.present]
        kept = mass * len(mass) > NEGLIGIBLE * mass.sum()
        return self.present[kept], weight[kept]

    def _likelihood(self, value: float) -> np.ndarray | None:
        """Return the likelihood of every label, relative to the highest; None out of reach."""
        log_prob = self.noise.log_prob(value, self.labels)
        top = log_prob.max(initial=-np.inf)
        if top < self._lowest(value):
            return None
        # A density may be infinite at a point, which then carries all weight.
        return np.exp(log_prob - top) if np.isfinite(top) else (log_prob == top).astype(float)

    def _lowest(self, value: float | np.ndarray) -> np.ndarray:
        """Return the log likelihood down to which labels are within reach of a true value."""
        lowest = np.log(np.finfo(float).tiny)  # where it is not known how high it can be
        highest = self.noise.highest(value, self.labels)
        return np.where(np.isnan(highest), lowest, highest - REACH**2 / 2)


def _effective(weight: np.ndarray, mass: np.ndarray) -> float:
    """Return the effective number of cells of groups of equal cells, ``(sum w)^2 / sum w^2``."""
    return mass.sum() ** 2 / (mass * weight).sum()


def _text(value: np.ndarray) -> str:
    """Return a value ``(n_dims,)`` as a name."""
    numbers = ", ".join(f"{x:.12g}" for x in value)
    return numbers if len(value) == 1 else f"({numbers})"
