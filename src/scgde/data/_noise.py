from __future__ import annotations

import inspect
from dataclasses import dataclass, field

import numpy as np
import torch

from .._errors import listed, require_choice


@dataclass(frozen=True)
class NoiseModel:
    """How a label arises from the true value, by a distribution of ``pyro.distributions``.

    Parameters
    ----------
    noise
        Name of the distribution, of single numbers: ``"Normal"``.
    parameter
        The argument of it that is the true value: ``"loc"``.
    arguments
        Its other arguments.

    Raises
    ------
    ValueError
        If there is no such distribution, or it does not take, or lacks, an argument.
    """

    noise: str
    parameter: str
    arguments: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        classes = _distributions()
        require_choice("noise", self.noise, classes)
        taken = dict(inspect.signature(classes[self.noise].__init__).parameters)
        names = [
            name
            for name, p in taken.items()
            if name not in ("self", "validate_args") and p.kind is not p.VAR_KEYWORD
        ]
        for argument, name in [("parameter", self.parameter)] + [
            ("noise_kwargs", name) for name in self.arguments
        ]:
            if name not in names:
                raise ValueError(
                    f"{argument}={name!r} is no argument of noise={self.noise!r}, which takes "
                    f"{listed(names)}."
                )
        if self.parameter in self.arguments:
            raise ValueError(
                f"noise_kwargs fixes {self.parameter!r}, which parameter={self.parameter!r} says "
                "is the true value. Leave it out of noise_kwargs."
            )
        optional = {n for n in names if taken[n].default is not inspect.Parameter.empty}
        lacking = [n for n in names if n not in {self.parameter, *self.arguments, *optional}]
        if lacking:
            raise ValueError(
                f"noise={self.noise!r} also needs {listed(lacking)}: give them in noise_kwargs."
            )
        limits = getattr(classes[self.noise], "arg_constraints", None)
        for name, value in self.arguments.items():
            limit = limits.get(name) if isinstance(limits, dict) else None
            if limit is None or torch.distributions.constraints.is_dependent(limit):
                continue
            if not limit.check(torch.tensor(float(value))):
                raise ValueError(
                    f"noise_kwargs[{name!r}]={value!r} is not allowed: noise={self.noise!r} needs "
                    f"{limit}."
                )

    def log_prob(self, value: float | np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the log likelihood of labels, ``-inf`` for those that cannot occur.

        Parameters
        ----------
        value
            True value, or several that broadcast against the labels.
        labels
            Labels, of any shape.

        Raises
        ------
        ValueError
            If the value is not one that the parameter can have, or the distribution is not one of
            single numbers.
        """
        return self._log_prob(self._model(value), torch.from_numpy(np.asarray(labels)))

    def possible(self, value: float, labels: np.ndarray) -> np.ndarray:
        """Return which labels the distribution can give at all, as booleans."""
        labels = torch.from_numpy(np.asarray(labels))
        return np.broadcast_to(self._model(value).support.check(labels).numpy(), labels.shape)

    def highest(self, value: float | np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the highest log likelihood that any label has; NaN where it is infinite.

        Not every distribution knows its mode: then it is looked for between the labels and the
        value.
        """
        model = self._model(value)
        try:
            peak = self._log_prob(model, model.mode)
        except (NotImplementedError, AttributeError):
            ends = np.concatenate([np.ravel(value), labels])
            between = np.union1d(labels, np.linspace(ends.min(), ends.max(), 512))
            peak = np.array([self.log_prob(v, between).max() for v in np.ravel(value)])
            peak = peak.reshape(np.shape(value))
        return np.where(np.isfinite(peak), peak, np.nan)

    def _model(self, value: float | np.ndarray) -> torch.distributions.Distribution:
        cls = _distributions()[self.noise]
        value = torch.as_tensor(value, dtype=torch.float64)
        others = {k: torch.as_tensor(v, dtype=torch.float64) for k, v in self.arguments.items()}
        try:
            cls(**{self.parameter: value}, **others, validate_args=True)
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            reason = " ".join(str(error).split()).partition(", but found")[0].rstrip(".")
            raise ValueError(
                f"{self.parameter}={_shown(value)} with noise_kwargs={self.arguments} makes no "
                f"noise={self.noise!r}: {reason}."
            ) from error
        # Labels outside the support have likelihood zero; validation would raise for them.
        return cls(**{self.parameter: value}, **others, validate_args=False)

    def _log_prob(self, model: torch.distributions.Distribution, labels: torch.Tensor):
        try:
            possible = model.support.check(labels)
            expected = torch.broadcast_shapes(model.batch_shape, labels.shape)
            if not possible.any():
                return np.full(expected, -np.inf)
            # A transformed distribution raises for impossible labels, whatever it is told.
            value = model.log_prob(torch.where(possible, labels, labels[possible].flatten()[0]))
            value = torch.where(possible, value, -torch.inf)
        except (ValueError, TypeError, RuntimeError, IndexError, NotImplementedError) as error:
            raise self._not_of_numbers() from error
        if value.shape != expected or model.event_shape:
            raise self._not_of_numbers()
        return torch.nan_to_num(value, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).numpy()

    def _not_of_numbers(self) -> ValueError:
        return ValueError(
            f"noise={self.noise!r} gives no likelihood of single numbers. Choose a distribution of "
            "one number, such as 'Normal', 'LogNormal', 'StudentT', 'Poisson' or 'Binomial'."
        )


def _distributions() -> dict[str, type]:
    """Return the distributions of pyro by name; pyro is imported only where one is used."""
    import pyro.distributions

    return {
        name: thing
        for name, thing in vars(pyro.distributions).items()
        if inspect.isclass(thing) and issubclass(thing, torch.distributions.Distribution)
    }


def _shown(value: torch.Tensor) -> str:
    return f"{value.item():g}" if value.ndim == 0 else f"{value.min():g} to {value.max():g}"
