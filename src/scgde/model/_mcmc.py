"""Markov chains of many points at once, driven by a score."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]

_TARGET = 0.3  # between .234 (many dimensions) and .44 (one), Roberts & Rosenthal 2001


def log_ratio(score: Score, a: Tensor, b: Tensor, n_steps: int) -> Tensor:
    """Return log p(b) - log p(a) ``(n,)``, the score's integral along straight lines.

    Parameters
    ----------
    score
        ``(..., d) -> (..., d)``, gradient of log p.
    a, b
        Ends of the lines, each ``(n, d)``.
    n_steps
        Intervals of the trapezoid rule.
    """
    t = torch.linspace(0, 1, n_steps + 1, device=a.device, dtype=a.dtype)
    points = a + t[:, None, None] * (b - a)
    slopes = (score(points) * (b - a)).sum(-1)
    return torch.trapezoid(slopes, t, dim=0)


def metropolis_hastings(
    score: Score,
    x: Tensor,
    step_size: float,
    n_burn_in: int,
    n_steps: int,
    n_path: int,
    generator: torch.Generator,
    tune: bool,
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Yield positions ``(n, d)``, accepted moves ``(n,)`` and step size, once a step.

    Metropolis-Hastings with proposals x + step_size N(0, I), whose log ratio is the line integral
    of the score. With ``tune`` the step size is adapted until the burn-in ends (Robbins-Monro on
    the share accepted by all chains), and fixed afterwards, so that the chain is a Markov chain.
    """
    for step in range(n_burn_in + n_steps):
        proposal = x + step_size * _normal(x, generator)
        uniform = torch.rand(len(x), generator=generator, device=x.device)
        accepted = uniform.log() < log_ratio(score, x, proposal, n_path)
        x = torch.where(accepted[:, None], proposal, x)
        if tune and step < n_burn_in:
            share = accepted.float().mean().item()
            step_size *= float(torch.tensor((share - _TARGET) / (step + 1) ** 0.5).exp())
        yield x, accepted, step_size


def langevin(
    score: Score, x: Tensor, step_size: float, n_steps: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield positions ``(n, d)`` of unadjusted Langevin dynamics, once a step.

    x <- x + (h/2) score(x) + sqrt(h) N(0, I), where h is the step size.
    """
    for _ in range(n_steps):
        x = x + step_size / 2 * score(x) + step_size**0.5 * _normal(x, generator)
        yield x


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
