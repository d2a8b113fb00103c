from __future__ import annotations

import copy

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn

from ._latent_information import canonical_directions, folds_of
from ._pairs import whitened

_N_HIDDEN, _N_FEATURES = 64, 16
_BATCH, _MAX_STEPS, _CHECK_EVERY, _PATIENCE = 256, 500, 10, 4
_VALIDATION = 0.2
_FIRST_SCORED = 2
_MOST = 1 - 1e-12


class InfoNCE:
    r"""Mutual information by a learned critic, each point scored by one that has not seen it.

    .. math:: f(x_i, y_i) - \tfrac12 \log_2 \operatorname{mean}_j 2^{f(x_i, y_j)}
        - \tfrac12 \log_2 \operatorname{mean}_j 2^{f(x_j, y_i)}

    over the m points j of its fold (van den Oord, Li & Vinyals 2018, arXiv 1807.03748, eq. 5; both
    directions averaged, as Radford et al. 2021). In expectation this is at most the truth, and at
    most log2(m), m = n / 5.

    A critic starts as the log density ratio of normals in canonical coordinates, whose correlations
    are those of a validation fifth of the training points, and adds small networks of both sides,
    stopped early on that fifth.

    Parameters
    ----------
    x, y
        Sides ``(n, p)`` and ``(n, q)``, whitened here.
    seed
        Seed of folds and networks.
    quiet
        No progress bar.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, seed: int, quiet: bool):
        self._x, self._y, self._seed = whitened("x", x), whitened("y", y), seed
        self._n, self._fold = len(x), folds_of(len(x), seed)
        self._folds = [np.flatnonzero(self._fold == f) for f in range(self._fold.max() + 1)]
        others = [self._fold != f for f in range(len(self._folds))]
        self._scores = self._held_out_scores(self._folds, others, quiet)
        self._earlier: list[np.ndarray] = []

    def pointwise(self) -> np.ndarray:
        """Return each pair's value, ``(n,)`` in bits."""
        values = np.empty(self._n)
        for test, scores in zip(self._folds, self._scores, strict=True):
            values[test] = _values(scores)
        return values

    def shuffled(self, order: np.ndarray) -> float:
        """Return the estimate with y in another order, critics unchanged.

        Folds score one another, so shuffling within them tells too small a spread of the estimate.
        What is shuffled are therefore points scored by critics of earlier folds only, two or more:
        given those, all orders are equally likely if the sides are independent. Returned is the
        estimate less what the shuffle takes from the mean of these scores.
        """
        if not self._earlier:
            earlier = [self._fold < f for f in range(_FIRST_SCORED, len(self._folds) - 1)]
            scores = self._held_out_scores(self._folds[_FIRST_SCORED:-1], earlier, quiet=True)
            self._earlier = [*scores, self._scores[-1]]
        rank = np.empty(self._n, dtype=int)
        rank[order] = np.arange(self._n)
        lost = [
            scores.diagonal() - scores[np.arange(len(test)), rank[test].argsort()]
            for test, scores in zip(self._folds[_FIRST_SCORED:], self._earlier, strict=True)
        ]
        return float(self.pointwise().mean() - np.concatenate(lost).mean() / np.log(2))

    def leave_one_out(self) -> np.ndarray:
        """Return the estimate without each pair in turn, critics unchanged, ``(n,)``."""
        total = self.pointwise().sum()
        result = np.empty(self._n)
        for test, scores in zip(self._folds, self._scores, strict=True):
            rest = total - _values(scores).sum()
            result[test] = (rest + _sums_without_each(scores)) / (self._n - 1)
        return result

    def _held_out_scores(
        self, tests: list[np.ndarray], trains: list[np.ndarray], quiet: bool
    ) -> list[np.ndarray]:
        scores = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            pairs = list(zip(tests, trains, strict=True))
            for test, train in track(pairs, "Critics", disable=quiet):
                critic = _trained_critic(self._x[train], self._y[train])
                scores.append(critic(self._x[test], self._y[test]))
        return scores


def _values(scores: np.ndarray) -> np.ndarray:
    baseline = np.logaddexp.reduce(scores, axis=1) + np.logaddexp.reduce(scores, axis=0)
    return (scores.diagonal() - baseline / 2 + np.log(len(scores))) / np.log(2)


def _sums_without_each(scores: np.ndarray) -> np.ndarray:
    """Return the sum of values of a fold without each of its points, as asked and as rival."""
    m, baselines = len(scores), 0.0
    for side in (scores, scores.T):
        share = np.exp(side - np.logaddexp.reduce(side, axis=1)[:, None])
        baseline = np.logaddexp.reduce(side, axis=1)[:, None] + np.log1p(-np.minimum(share, _MOST))
        np.fill_diagonal(baseline, 0)
        baselines = baselines + baseline.sum(0)
    own = scores.trace() - scores.diagonal()
    return (own - baselines / 2 + (m - 1) * np.log(m - 1)) / np.log(2)


class _Critic(nn.Module):
    """Scores ``(m, m)`` of all pairs of canonical coordinates ``(m, r)``."""

    def __init__(self, u: Tensor, v: Tensor):
        super().__init__()
        rho = torch.cosine_similarity(u - u.mean(0), v - v.mean(0), dim=0)
        # A standard error less (Fisher's z): a critic that is too sure costs more than a shy one.
        rho = torch.tanh(torch.atanh(rho.clamp(0, 0.9999)) - 1 / max(len(u) - 3, 1) ** 0.5)
        rho = torch.where(rho > 1 / len(u) ** 0.5, rho, 0.0)
        self.register_buffer("cross", rho / (1 - rho**2))
        self.register_buffer("square", -(rho**2) / (1 - rho**2) / 2)
        self.x, self.y = (
            nn.Sequential(
                nn.Linear(u.shape[1], _N_HIDDEN), nn.SiLU(), nn.Linear(_N_HIDDEN, _N_FEATURES + 1)
            )
            for _ in "xy"
        )

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        fx, fy = self.x(u), self.y(v)
        own = fx[:, :1] + (u**2 @ self.square)[:, None] + fy[:, 0] + v**2 @ self.square
        return own + (u * self.cross) @ v.T + fx[:, 1:] @ fy[:, 1:].T / _N_FEATURES**0.5


def _trained_critic(x: np.ndarray, y: np.ndarray):
    order = torch.randperm(len(x)).numpy()
    fit, held = np.split(order, [int((1 - _VALIDATION) * len(x))])
    mean_x, mean_y = x[fit].mean(0), y[fit].mean(0)
    a, b = canonical_directions(x[fit], y[fit])

    def coordinates(some_x: np.ndarray, some_y: np.ndarray) -> tuple[Tensor, Tensor]:
        return (
            torch.from_numpy((some_x - mean_x) @ a).float(),
            torch.from_numpy((some_y - mean_y) @ b).float(),
        )

    u, v = coordinates(x[fit], y[fit])
    held_u, held_v = coordinates(x[held], y[held])
    critic = _Critic(held_u, held_v)
    for last in (critic.x[-1], critic.y[-1]):
        nn.init.zeros_(last.bias)
        nn.init.normal_(last.weight, std=0.05)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=3e-3, weight_decay=0.1)
    best, state, waited = np.inf, None, 0
    for step in range(_MAX_STEPS):
        if step % _CHECK_EVERY == 0:
            with torch.no_grad():
                loss = _loss(critic(held_u, held_v)).item()
            waited = 0 if loss < best else waited + 1
            if loss < best:
                best, state = loss, copy.deepcopy(critic.state_dict())
            if waited == _PATIENCE:
                break
        batch = torch.randperm(len(u))[:_BATCH]
        optimizer.zero_grad()
        _loss(critic(u[batch], v[batch])).backward()
        optimizer.step()
    critic.load_state_dict(state)

    def scores(some_x: np.ndarray, some_y: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return critic(*coordinates(some_x, some_y)).double().numpy()

    return scores


def _loss(scores: Tensor) -> Tensor:
    own = torch.arange(len(scores))
    return nn.functional.cross_entropy(scores, own) + nn.functional.cross_entropy(scores.T, own)
