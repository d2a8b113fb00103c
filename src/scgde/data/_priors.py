"""Set priors: how the sets of a training run are drawn from labelled cells (GDE paper, Sec. 3)."""

from __future__ import annotations

import inspect
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .._errors import listed, require, require_positive, unknown
from .._registry import Registry
from ._index import PopulationIndex
from ._noise import NoiseModel
from ._sets import LabelledSets, MixedSets, Sets
from ._weighted_sets import KernelWeightedSets, LikelihoodWeightedSets

SET_PRIORS: Registry[SetPrior] = Registry("set prior")


class SetPrior(ABC):
    """How sets are drawn from cells: plain arguments, kept as attributes of the same names.

    A subclass is registered in ``SET_PRIORS`` and gives :meth:`bind`; ``GDE(adata, sets=...)``
    then takes its name, an instance, or a dict of its name and arguments.

    Examples
    --------
    >>> import scgde
    >>> sorted(scgde.data.SET_PRIORS.names())
    ['kernel', 'label', 'mixture', 'noisy_label']
    """

    @abstractmethod
    def bind(self, obs: pd.DataFrame, obsm: Mapping[str, object], index: PopulationIndex) -> Sets:
        """Return the sets that given cells make.

        Parameters
        ----------
        obs, obsm
            What is known of each cell, as in an AnnData.
        index
            Populations of the cells.
        """

    def to_dict(self) -> dict:
        """Return the name and the arguments as plain values, which :func:`as_set_prior` reads.

        Raises
        ------
        ValueError
            If the class is not registered or an argument is not a plain value.
        """
        cls = type(self)
        names = [name for name in SET_PRIORS.names() if SET_PRIORS.get(name) is cls]
        if not names:
            raise ValueError(
                f"sets={cls.__name__}(...) is no registered set prior, so a saved model could not "
                "find it. Put @SET_PRIORS.register('a_name') before the class."
            )
        arguments = {name: getattr(self, name) for name in _arguments(cls)}
        if "name" in arguments:
            raise ValueError(f"sets: {cls.__name__} may not have an argument called 'name'.")
        try:
            return {"name": names[0], **json.loads(json.dumps(arguments))}
        except TypeError as error:
            raise ValueError(
                f"sets: the arguments of {cls.__name__} must be plain numbers, text, lists or "
                f"dicts, to be saved with a model; got {arguments}."
            ) from error


@SET_PRIORS.register("label")
@dataclass(frozen=True)
class LabelSets(SetPrior):
    """Every population is a set: the default.

    Populations are the values of ``population_key``, or the combinations of several. Training
    draws cells of each uniformly, without replacement (:class:`SetSampler`).

    Examples
    --------
    >>> import scgde
    >>> scgde.data.LabelSets().to_dict()
    {'name': 'label'}
    """

    def bind(
        self, obs: pd.DataFrame, obsm: Mapping[str, object], index: PopulationIndex
    ) -> LabelledSets:
        """Return the populations as sets."""
        return LabelledSets(index)


@SET_PRIORS.register("kernel")
@dataclass(frozen=True)
class KernelSets(SetPrior):
    """Sets around the values of a continuous key: a time, a dose, a place.

    The set at a value v weighs cell i by ``exp(-|x_i - v|^2 / (2 bandwidth^2))`` (GDE paper,
    Sec. 3); here, by nothing beyond four bandwidths (further out in more dimensions: where .006 %
    of the kernel is left). The values of training sets are those of random cells. Cells without a
    value are in no set.

    Parameters
    ----------
    key
        A numeric column of ``.obs``, or coordinates in ``.obsm`` (all its columns).
    bandwidth
        Standard deviation of the kernel, in units of the key, the same along each axis.

    Raises
    ------
    ValueError
        If the bandwidth is not a positive number.

    Examples
    --------
    >>> from scgde.data import KernelSets
    >>> KernelSets("time", bandwidth=0.5).to_dict()
    {'name': 'kernel', 'key': 'time', 'bandwidth': 0.5}
    """

    key: str
    bandwidth: float

    def __post_init__(self):
        _set(self, bandwidth=_number("bandwidth", self.bandwidth))
        require_positive(bandwidth=self.bandwidth)

    def bind(
        self, obs: pd.DataFrame, obsm: Mapping[str, object], index: PopulationIndex
    ) -> KernelWeightedSets:
        """Return the sets of given cells.

        Raises
        ------
        KeyError, ValueError
            If the key is in neither place or in both, or does not hold numbers.
        """
        own = [column for column in obs.columns if not str(column).startswith("_scvi")]
        require("key", self.key, [*own, *obsm], "adata.obs or adata.obsm")
        if self.key in obs and self.key in obsm:
            raise ValueError(
                f"key={self.key!r} is both a column of adata.obs and a matrix in adata.obsm. "
                "Rename one of them."
            )
        where, values = ("obs", obs) if self.key in obs else ("obsm", obsm)
        place = f"adata.{where}[{self.key!r}]"
        return KernelWeightedSets(index, _floats(values[self.key], place), place, self.bandwidth)


@SET_PRIORS.register("noisy_label")
@dataclass(frozen=True)
class NoisyLabelSets(SetPrior):
    """Sets at the true values behind a noisy label, such as a time measured with error.

    The set at a true value v weighs cell i by the likelihood ``p(label_i | v)`` under a noise model
    (GDE paper, Sec. 3). Cells without a label are in no set.

    Parameters
    ----------
    key
        Numeric column of ``.obs`` with the labels.
    noise
        Name of a distribution of single numbers in ``pyro.distributions``: ``"Normal"``,
        ``"Poisson"``, ``"LogNormal"``, ``"Binomial"``, ...
    parameter
        The argument of that distribution that is the true value: ``"loc"``, ``"rate"``,
        ``"probs"``, ...
    noise_kwargs
        Its other arguments, numbers: ``{"scale": 0.5}``.
    values
        True values at which training sets are drawn, in the unit of ``parameter``. By default those
        of random cells' labels, which then must have that unit (they have not with a LogNormal's
        ``loc``, a logarithm, or a Binomial's ``probs``).

    Raises
    ------
    ValueError
        If there is no such distribution or it does not take an argument or a value.

    Examples
    --------
    >>> import scgde
    >>> prior = scgde.data.NoisyLabelSets("time", noise="Normal", noise_kwargs={"scale": 0.5})
    >>> prior.to_dict()["parameter"]
    'loc'
    """

    key: str
    noise: str
    parameter: str = "loc"
    noise_kwargs: dict[str, float] | None = None
    values: list[float] | None = None

    def __post_init__(self):
        if not isinstance(self.noise_kwargs, dict | None):
            raise ValueError(
                f"noise_kwargs={self.noise_kwargs!r} must be a dict, such as {{'scale': 0.5}}."
            )
        kwargs = {
            name: _number(f"noise_kwargs[{name!r}]", value)
            for name, value in (self.noise_kwargs or {}).items()
        }
        values = self.values
        if values is not None:
            if np.ndim(values) != 1 or len(values) == 0:
                raise ValueError(f"values={values!r} must be a list of true values.")
            values = [_number("values", v) for v in values]
        _set(self, noise_kwargs=kwargs, values=values)
        model = self._model()
        for value in values or []:
            model.log_prob(value, np.zeros(1))

    def _model(self) -> NoiseModel:
        return NoiseModel(self.noise, self.parameter, self.noise_kwargs)

    def bind(
        self, obs: pd.DataFrame, obsm: Mapping[str, object], index: PopulationIndex
    ) -> LikelihoodWeightedSets:
        """Return the sets of given cells.

        Raises
        ------
        KeyError, ValueError
            If the key is absent or does not hold numbers.
        """
        require("key", self.key, obs.columns, "adata.obs")
        place = f"adata.obs[{self.key!r}]"
        x = _floats(obs[self.key], place)
        return LikelihoodWeightedSets(index, x, place, self._model(), self.values)


@SET_PRIORS.register("mixture")
@dataclass(frozen=True)
class MixtureSets(SetPrior):
    """Mixtures of populations: a convex family from a few labelled sets.

    A training set mixes k populations, drawn without replacement, with weights from a Dirichlet
    distribution (GDE paper, Sec. 3); a cell is of population j with probability ``weight_j``, and
    uniform in it. Where fewer than k populations are held out, validation mixes all of them.

    Parameters
    ----------
    k
        Populations in a mixture.
    concentration
        Of the symmetric Dirichlet distribution: 1 is uniform on the simplex; towards 0 mixtures
        are nearly pure, and with large values nearly even.

    Raises
    ------
    ValueError
        If k is not a positive whole number, or the concentration not positive.

    Examples
    --------
    >>> import scgde
    >>> scgde.data.MixtureSets(k=2).to_dict()
    {'name': 'mixture', 'k': 2, 'concentration': 1.0}
    """

    k: int = 3
    concentration: float = 1.0

    def __post_init__(self):
        k, concentration = _number("k", self.k), _number("concentration", self.concentration)
        if k != int(k):
            raise ValueError(f"k={self.k!r} must be a whole number of populations.")
        _set(self, k=int(k), concentration=concentration)
        require_positive(k=self.k, concentration=self.concentration)

    def bind(
        self, obs: pd.DataFrame, obsm: Mapping[str, object], index: PopulationIndex
    ) -> MixedSets:
        """Return the mixtures of given populations."""
        return MixedSets(index, self.k, self.concentration)


def as_set_prior(sets: str | dict | SetPrior | None) -> SetPrior:
    """Return a set prior from what ``GDE(adata, sets=...)`` takes.

    Parameters
    ----------
    sets
        None for :class:`LabelSets`, a registered name, a dict of a name and arguments, or a prior.

    Raises
    ------
    ValueError
        For an unknown name, an unknown argument, or one that is missing.
    TypeError
        For anything else.

    Examples
    --------
    >>> import scgde
    >>> scgde.data.as_set_prior({"name": "mixture", "k": 2})
    MixtureSets(k=2, concentration=1.0)
    """
    if isinstance(sets, SetPrior):
        return sets
    if not isinstance(sets, str | dict | None):
        raise TypeError(
            f"sets={sets!r} must be a name, a dict with a name, or a set prior such as "
            "scgde.data.KernelSets('time', bandwidth=1.0)."
        )
    arguments = dict(sets) if isinstance(sets, dict) else {"name": sets or "label"}
    if "name" not in arguments:
        raise ValueError(
            f"sets={sets!r} lacks 'name', one of {listed(SET_PRIORS.names())}: "
            "{'name': 'kernel', 'key': ..., 'bandwidth': ...}."
        )
    name = arguments.pop("name")
    if name not in SET_PRIORS.names():
        raise ValueError(
            f"{unknown('sets', name, SET_PRIORS.names(), 'the registered set priors')} A prior of "
            "your own is registered when its module is imported."
        )
    cls = SET_PRIORS.get(name)
    taken = _arguments(cls)
    for argument in arguments:
        if argument not in taken:
            raise ValueError(unknown("sets", argument, taken, f"the arguments of {cls.__name__}"))
    lacking = [n for n, p in taken.items() if p.default is p.empty and n not in arguments]
    if lacking:
        rest = ", ".join(f"{n!r}: ..." for n in lacking)
        raise ValueError(
            f"sets={sets!r} lacks {listed(lacking)}: give sets={{'name': {name!r}, {rest}}}."
        )
    return cls(**arguments)


def _arguments(cls: type[SetPrior]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(cls).parameters)


def _set(prior: SetPrior, **values: object) -> None:
    """Put an argument into its plain form; the classes are frozen to everyone else."""
    for name, value in values.items():
        object.__setattr__(prior, name, value)


def _number(argument: str, value: object) -> float | int:
    """Return a finite number as plain Python's."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{argument}={value!r} must be a finite number.")
    return int(value) if isinstance(value, Integral) else float(value)


def _floats(values: object, place: str) -> np.ndarray:
    """Return numbers of cells as ``(n_cells, n_dims)``, NaN where missing."""
    table = pd.DataFrame(values.toarray() if sp.issparse(values) else values)
    for column, dtype in table.dtypes.items():
        if not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
            raise ValueError(
                f"{place} does not hold numbers (column {column!r} is {dtype}). Convert it with "
                ".astype(float), a date t by (t - t.min()) / pd.Timedelta('1D'), or use it as "
                "population_key."
            )
    x = table.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(x).any():
        raise ValueError(f"{place} has infinite values. Set them to NaN: such cells are in no set.")
    return x
