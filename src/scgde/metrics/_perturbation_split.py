from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .._errors import listed, require

Matrix = np.ndarray | sp.csr_matrix


@dataclass(eq=False)
class ShiftPrediction:
    """What a method predicts of held-out populations.

    Attributes
    ----------
    shift
        Mean of the perturbed cells minus mean of the control cells, populations x genes. A
        population that the method cannot predict has no row.
    cells
        Predicted cells of populations, ``(n, d)`` each, where the method predicts any.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> guess = scgde.metrics.ShiftPrediction(pd.DataFrame(np.zeros((2, 5)), ["A", "B"]))
    >>> guess.shift.index.tolist(), guess.cells is None
    (['A', 'B'], True)
    """

    shift: pd.DataFrame
    cells: Mapping[str, Matrix] | None = None


@dataclass(eq=False)
class PerturbationSplit:
    """Perturbations held out, and all that may be known when they are predicted.

    A population is a perturbation, or a perturbation in one covariate (a cell line, say). All
    values are in one space: log-normalised counts, or real values as they are.

    Attributes
    ----------
    observed
        Cells of each held-out population, ``(n, d)``: two at least, four for the ceiling.
    control
        Control cells of each covariate, ``(m, d)``, two at least; of ``""`` where there is no
        covariate.
    training_shifts
        Shifts of the training populations against the control of their covariate, populations x
        genes.
    table
        Of every population held out or trained on: ``perturbation`` and ``covariate`` (``""`` where
        there is none).
    components
        Of every perturbation its components, as ``["A", "B"]`` of ``"A+B"``; by default each is its
        own.

    Raises
    ------
    KeyError, ValueError
        If a population is not in ``table``, a covariate has no control, cells are fewer than two,
        not finite, or of other features than the shifts.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> rng = np.random.default_rng(0)
    >>> cells = {name: rng.normal(i, 1, (20, 5)) for i, name in enumerate(["A", "B"])}
    >>> table = pd.DataFrame({"perturbation": list("ABCD"), "covariate": ""}, list("ABCD"))
    >>> known = pd.DataFrame(rng.normal(size=(2, 5)), ["C", "D"])
    >>> split = scgde.metrics.PerturbationSplit(cells, {"": rng.normal(size=(20, 5))}, known, table)
    >>> split.shifts.shape
    (2, 5)
    """

    observed: Mapping[str, Matrix]
    control: Mapping[str, Matrix]
    training_shifts: pd.DataFrame
    table: pd.DataFrame
    components: Mapping[str, list[str]] | None = None

    def __post_init__(self):
        for column in ("perturbation", "covariate"):
            require("table", column, self.table.columns, "the columns of table")
        if not self.observed:
            raise ValueError("observed is empty: hold out at least one population.")
        if len(self.training_shifts) == 0:
            raise ValueError("training_shifts is empty: train on at least one perturbation.")
        for name in (*self.observed, *self.training_shifts.index):
            require("population", name, self.table.index, "the index of table")
        twice = self.training_shifts.index.intersection(list(self.observed))
        if len(twice):
            raise ValueError(
                f"{listed(twice)} are both held out and trained on. Leave the held-out populations "
                "out of training_shifts."
            )
        for covariate in self.by_covariate(self.observed):
            require("covariate", covariate, self.control, "control")
        for name, cells in (*self.observed.items(), *self.control.items()):
            self._check(name, cells, minimum=2)
        if not np.isfinite(self.training_shifts.to_numpy(dtype=float)).all():
            raise ValueError("training_shifts has values that are NaN or infinite.")

    def _check(self, name: str, cells: Matrix, minimum: int) -> None:
        if cells.ndim != 2 or cells.shape[1] != len(self.genes):
            raise ValueError(
                f"The cells of {name!r} have shape {cells.shape}; they must be cells x the "
                f"{len(self.genes)} columns of training_shifts."
            )
        if cells.shape[0] < minimum:
            raise ValueError(
                f"{name!r} has {cells.shape[0]} cells; variances and halves need at least "
                f"{minimum}. Leave it out."
            )
        if not np.isfinite(cells.data if sp.issparse(cells) else cells).all():
            raise ValueError(f"The cells of {name!r} have values that are NaN or infinite.")

    @property
    def genes(self) -> pd.Index:
        """The features, in order."""
        return self.training_shifts.columns

    def perturbation(self, population: str) -> str:
        """Return the perturbation of a population."""
        return self.table["perturbation"].loc[population]

    def covariate(self, population: str) -> str:
        """Return the covariate of a population."""
        return self.table["covariate"].loc[population]

    def by_covariate(self, populations: Iterable[str]) -> dict[str, list[str]]:
        """Return the populations of each covariate."""
        found: dict[str, list[str]] = {}
        for name in populations:
            found.setdefault(self.covariate(name), []).append(name)
        return found

    def components_of(self, population: str) -> list[str]:
        """Return the components of a population's perturbation."""
        perturbation = self.perturbation(population)
        return [perturbation] if self.components is None else list(self.components[perturbation])

    @cached_property
    def training_components(self) -> frozenset[str]:
        """Every component seen in training, by itself or in a combination."""
        found = (self.components_of(name) for name in self.training_shifts.index)
        return frozenset(part for parts in found for part in parts)

    @cached_property
    def control_moments(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and variance of the control cells of each covariate, ``(d,)`` each."""
        return {covariate: moments(cells) for covariate, cells in self.control.items()}

    @cached_property
    def observed_moments(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and variance of the cells of each held-out population, ``(d,)`` each."""
        return {name: moments(cells) for name, cells in self.observed.items()}

    @cached_property
    def shifts(self) -> pd.DataFrame:
        """Observed shifts of the held-out populations against control, populations x genes."""
        return self._frame({n: self._shift(n, m[0]) for n, m in self.observed_moments.items()})

    @cached_property
    def mean_training_shifts(self) -> pd.DataFrame:
        """Mean training shift of each held-out population's covariate, populations x genes.

        Where no perturbation was trained on in that covariate, the mean over all.
        """
        trained, rows = self.by_covariate(self.training_shifts.index), {}
        for covariate, names in self.by_covariate(self.observed).items():
            known = trained.get(covariate, self.training_shifts.index)
            mean = self.training_shifts.loc[known].to_numpy(dtype=float).mean(0)
            rows |= dict.fromkeys(names, mean)
        return self._frame(rows)

    def halves(self, seed: int) -> tuple[PerturbationSplit, ShiftPrediction]:
        """Return a split of one random half of the held-out cells, and the other half as guess."""
        rng, first, second = np.random.default_rng(seed), {}, {}
        for name, cells in self.observed.items():
            self._check(name, cells, minimum=4)
            order, n = rng.permutation(cells.shape[0]), cells.shape[0] // 2
            first[name], second[name] = cells[np.sort(order[:n])], cells[np.sort(order[n:])]
        halved = replace(self, observed=second)
        shift = {name: self._shift(name, moments(cells)[0]) for name, cells in first.items()}
        return halved, ShiftPrediction(self._frame(shift), first)

    def _shift(self, name: str, mean: np.ndarray) -> np.ndarray:
        return mean - self.control_moments[self.covariate(name)][0]

    def _frame(self, rows: dict[str, np.ndarray]) -> pd.DataFrame:
        """Return one row for each held-out population, in their order."""
        return pd.DataFrame(
            np.stack([rows[name] for name in self.observed]),
            index=list(self.observed),
            columns=self.genes,
        )


def moments(x: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and unbiased variance of every feature of cells ``(n, d)``, sparse or not."""
    n = x.shape[0]
    x = x.astype(np.float64)
    if not sp.issparse(x):
        return x.mean(0), x.var(0, ddof=1) if n > 1 else np.zeros(x.shape[1])
    mean = np.asarray(x.mean(0)).ravel()
    square = np.asarray(x.multiply(x).mean(0)).ravel()
    return mean, np.maximum(square - mean**2, 0) * n / max(n - 1, 1)
