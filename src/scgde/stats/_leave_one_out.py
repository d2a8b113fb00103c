from __future__ import annotations

import numpy as np

from ._normal_prior import (
    NormalPrior,
    as_noisy,
    chosen_shrinkage,
    noise_root,
    posterior,
    shrunk,
    whitened,
)

_FLOOR = 1e-6


def leave_one_out_distances(
    z: np.ndarray, noise: np.ndarray | None, prior: NormalPrior
) -> np.ndarray:
    """Return how far each population lies from a prior fitted without it.

    In one step: the population's part is taken out of the sums of the last step of EM
    (:meth:`NormalPrior.fit`) rather than EM run again. An embedding counts as it is, its sampling
    noise included; the prior is that of true embeddings.

    Parameters
    ----------
    z, noise
        Embeddings ``(P, L)`` and sampling covariances ``(P, L, L)``, at least three.
    prior
        Fitted on all of them.

    Returns
    -------
    Mahalanobis distances ``(P,)``.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, or there are fewer than three populations.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> z = np.append(np.random.default_rng(0).normal(size=20), 9.0)[:, None]
    >>> prior = scgde.stats.NormalPrior.fit(z)
    >>> int(scgde.stats.leave_one_out_distances(z, None, prior).argmax())
    20
    """
    z, noise = as_noisy(z, noise, prior.mean)
    if len(z) < 3:
        raise ValueError(f"z holds {len(z)} embeddings; to leave one out takes at least three.")
    root = noise_root(noise, z.shape[1])
    white, white_noise = whitened(root, z - prior.mean, noise)
    shrinkage = chosen_shrinkage(white - white.mean(0))
    floor = _FLOOR * np.square(white).mean()
    if noise is None:
        truth, left = white, np.zeros((len(z), 1, 1))
    else:
        inverse = np.linalg.inv(root)
        cov = inverse @ prior.cov @ inverse.T
        truth, left = posterior(white, white_noise, np.zeros(len(cov)), cov)
    first, second = truth.sum(0), truth.T @ truth + left.sum(0)
    distances = np.empty(len(z))
    for i, (own, rest) in enumerate(zip(truth, left, strict=True)):
        mean = (first - own) / (len(z) - 1)
        square = (second - np.outer(own, own) - rest) / (len(z) - 1)
        cov = shrunk(square - np.outer(mean, mean), shrinkage, floor)
        away = white[i] - mean
        distances[i] = np.sqrt(away @ np.linalg.solve(cov, away))
    return distances
