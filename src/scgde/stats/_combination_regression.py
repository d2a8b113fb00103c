from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_RATIOS = np.logspace(-3, 3, 13)

# Where effects are weak the lowest error is often luck, and its choice loses to the mean. On three
# screens a quarter of a standard error was level with the lowest error where effects are strong and
# not behind the mean where they are weak; a whole one gave up some of the former.
_MARGIN = 0.25


class CombinationRegression:
    r"""Effects of combinations of parts, from what is known of the parts; by kriging.

    The effect of a combination S in a context c is a sum over its parts,

    .. math:: y(S, c) = \sum_{a \in S} (\mu_c + W_c^T f_a + u_{a, c}) + \epsilon

    with a mean :math:`\mu_c` for each context, a random slope W on the parts' features, and a
    random effect u of each part itself: a part that was seen, alone or within another combination,
    contributes what was seen of it; one that was not, what its features say; and with features that
    say nothing, the mean. No parts, no effect: exactly zero. Slopes and effects are one half common
    to all contexts and one half each context's own.

    The share of the variance that features carry, and its ratio to that of :math:`\epsilon`, are
    chosen by the squared error of combinations left out one by one, each from all contexts at once
    (in closed form: Dubrule 1983, Math. Geol. 15, 687): the lowest ratio whose error is within a
    quarter of a standard error of the lowest.

    Attributes
    ----------
    share, ratio
        The two that were chosen.
    error
        Their mean squared error of left-out effects.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> features = {name: np.array([value]) for name, value in zip("ABC", (0.0, 1.0, 2.0))}
    >>> parts, effects = [["A"], ["B"], ["C"], ["A", "B"]], np.array([[1.0], [2.0], [3.0], [3.0]])
    >>> model = scgde.stats.CombinationRegression().fit(parts, ["x"] * 4, features, effects)
    >>> model.predict([["A", "C"], []], ["x", "x"], features).shape
    (2, 1)
    """

    def fit(
        self,
        parts: Sequence[Sequence[str]],
        contexts: Sequence[str],
        features: dict[str, np.ndarray],
        y: np.ndarray,
    ) -> Self:
        """Fit to observed effects.

        Parameters
        ----------
        parts
            Names of the parts of each observation, ``n`` lists.
        contexts
            Context of each observation, ``(n,)``.
        features
            Features ``(k,)`` of every part. They are centred and brought to one common scale.
        y
            Effects, ``(n, d)``.
        """
        self._parts, self._contexts = [list(p) for p in parts], np.asarray(contexts)
        self._levels = np.unique(self._contexts)
        known = np.stack([features[a] for a in sorted({a for p in parts for a in p})])
        self._center = known.mean(0)
        self._scale = np.sqrt(known.var(0).sum()) or 1.0
        self._features = self._sums(self._parts, features)
        mean = self._mean_design(self._parts, self._contexts)
        kernels = self._kernels(self._parts, self._contexts, self._features)
        names = ["\n".join(sorted(p)) for p in self._parts]
        number = np.unique(names, return_inverse=True)[1]
        groups = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
        grid, errors = [], []
        for share in _SHARES:
            values, vectors = np.linalg.eigh(_mixed(kernels, share))
            for ratio in _RATIOS:
                # Kernels are positive semi-definite but for rounding.
                precision = vectors / (1 + ratio * values.clip(0)) @ vectors.T
                grid.append((share, ratio))
                errors.append(_left_out_errors(_kriging(precision, mean)[1], y, groups))
        chosen = _simplest(grid, np.stack(errors))
        (self.share, self.ratio), self.error = grid[chosen], errors[chosen].sum() / y.size
        covariance = self.ratio * _mixed(kernels, self.share) + np.eye(len(y))
        self._coefficients, self._projected = _kriging(np.linalg.inv(covariance), mean)
        self._y = y
        return self

    def weights(
        self,
        parts: Sequence[Sequence[str]],
        contexts: Sequence[str],
        features: dict[str, np.ndarray],
    ) -> np.ndarray:
        """Return what each observation counts in the effect of each combination, ``(m, n)``.

        Arguments are as in :meth:`fit`. Effects of another kind, of the same observations in the
        same order, are predicted by the same weights. In a context that was not seen the mean is
        that of the contexts that were.
        """
        kernels = self._kernels(parts, np.asarray(contexts), self._sums(parts, features))
        design = self._mean_design(parts, np.asarray(contexts))
        kernel = self.ratio * _mixed(kernels, self.share)
        return design @ self._coefficients + kernel @ self._projected

    def predict(
        self,
        parts: Sequence[Sequence[str]],
        contexts: Sequence[str],
        features: dict[str, np.ndarray],
    ) -> np.ndarray:
        """Return the effects ``(m, d)`` of combinations; arguments as in :meth:`weights`."""
        return self.weights(parts, contexts, features) @ self._y

    def _sums(self, parts: Sequence, features: dict[str, np.ndarray]) -> np.ndarray:
        """Return the sum of the scaled features of each one's parts, ``(n, k)``."""
        sums = np.zeros((len(parts), len(self._center)))
        for row, own in zip(sums, parts, strict=True):
            for part in own:
                row += (features[part] - self._center) / self._scale
        return sums

    def _mean_design(self, parts: Sequence, contexts: np.ndarray) -> np.ndarray:
        own = (contexts[:, None] == self._levels).astype(float)
        own[own.sum(1) == 0] = 1 / len(self._levels)
        return own * np.array([len(p) for p in parts], dtype=float)[:, None]

    def _kernels(
        self, parts: Sequence, contexts: np.ndarray, sums: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return similarity to what was observed, by features and by shared parts."""
        same = 0.5 + 0.5 * (contexts[:, None] == self._contexts)
        shared = self._has_parts(parts) @ self._has_parts(self._parts).T
        return same * (sums @ self._features.T), same * shared

    def _has_parts(self, parts: Sequence) -> np.ndarray:
        """Return which of the parts that were observed each one has, 1 or 0."""
        names = {name: i for i, name in enumerate(sorted({a for p in self._parts for a in p}))}
        has = np.zeros((len(parts), len(names)))
        for row, own in zip(has, parts, strict=True):
            row[[names[part] for part in own if part in names]] = 1
        return has


def _mixed(kernels: tuple[np.ndarray, np.ndarray], share: float) -> np.ndarray:
    return share * kernels[0] + (1 - share) * kernels[1]


def _kriging(precision: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what gives the mean's coefficients, and the residuals' dual weights, of ``y``."""
    coefficients = np.linalg.pinv(mean.T @ precision @ mean) @ (precision @ mean).T
    return coefficients, precision - precision @ mean @ coefficients


def _left_out_errors(projected: np.ndarray, y: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Return the squared error of each group, predicted from all others, ``(n_groups,)``."""
    residual = projected @ y
    # Where the mean of a context rests on one group, what it would be without is unknown: no error.
    smallest = 1e-9 * np.diagonal(projected).max()
    errors = []
    for group in groups:
        values, vectors = np.linalg.eigh(projected[np.ix_(group, group)])
        keep = values > smallest
        errors.append(np.square(vectors[:, keep].T @ residual[group] / values[keep, None]).sum())
    return np.array(errors)


def _simplest(grid: list[tuple[float, float]], errors: np.ndarray) -> int:
    """Return the place of the lowest ratio that may well be as good as the best; of it the best."""
    total = errors.sum(1)
    worse = errors - errors[total.argmin()]
    margin = _MARGIN * np.sqrt(errors.shape[1]) * worse.std(1)
    good = worse.sum(1) <= margin
    lowest = min(ratio for (_, ratio), is_good in zip(grid, good, strict=True) if is_good)
    at = [i for i, (_, ratio) in enumerate(grid) if good[i] and ratio == lowest]
    return at[total[at].argmin()]
