from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.covariance import ledoit_wolf, oas

_CHUNK = 1024
_FLOOR = 1e-6
_RIDGE = 1e-4


@dataclass(frozen=True)
class NormalPrior:
    r"""The distribution of true embeddings over populations, as one normal.

    .. math:: z_i = z_i^* + e_i, \quad z_i^* \sim N(\mu, S), \quad e_i \sim N(0, N_i)

    where z* is what infinitely many cells would give and N_i is the known sampling covariance.

    Parameters
    ----------
    mean
        :math:`\mu`, ``(L,)``.
    cov
        S ``(L, L)``, positive definite: the spread of populations without their sampling noise.
    n
        Populations it was fitted on.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(500, 2))
    >>> noise = np.broadcast_to(4 * np.eye(2), (500, 2, 2))
    >>> z = truth + 2 * rng.normal(size=(500, 2))
    >>> prior = NormalPrior.fit(z, noise)
    >>> prior.cov.diagonal().round()
    array([1., 1.])
    >>> better, _ = prior.denoise(z, noise)
    >>> bool(np.square(better - truth).mean() < 0.25 * np.square(z - truth).mean())
    True
    """

    mean: np.ndarray
    cov: np.ndarray
    n: int

    @classmethod
    def fit(
        cls,
        z: np.ndarray,
        noise: np.ndarray | None = None,
        *,
        shrinkage: float | None = None,
        max_iter: int = 100,
        tol: float = 1e-3,
    ) -> NormalPrior:
        """Fit mean and covariance of the true embeddings by EM.

        Extreme deconvolution with one component (Bovy, Hogg & Roweis 2011, Ann. Appl. Stat. 5,
        1657), with their conjugate prior: in every step the covariance is shrunk, so it is positive
        definite however few populations there are. It is shrunk towards the shape of the average
        noise, as populations differ most in what cells differ in; without noise, towards the
        identity.

        Parameters
        ----------
        z
            Embeddings ``(P, L)``, at least two.
        noise
            Sampling covariances ``(P, L, L)``; none by default.
        shrinkage
            Share of the target, above 0 and up to 1; by default the larger of those of Ledoit &
            Wolf (2004) and of the oracle approximation (Chen et al. 2010), which a handful of
            populations need.
        max_iter, tol
            Steps of EM, and the relative change of the covariance at which it stops.

        Raises
        ------
        ValueError
            If shapes do not fit, values are not finite, or all embeddings are equal.
        """
        z, noise = as_noisy(z, noise)
        if len(z) < 2 or not np.ptp(z, axis=0).any():
            raise ValueError(
                f"z holds {len(z)} embeddings and no spread between them; a prior needs at least "
                "two populations that differ."
            )
        if shrinkage is not None and not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage={shrinkage!r} must be above 0 and at most 1.")
        root = noise_root(noise, z.shape[1])
        center = z.mean(0)
        white, white_noise = whitened(root, z - center, noise)
        shrinkage = chosen_shrinkage(white) if shrinkage is None else shrinkage
        floor = _FLOOR * np.square(white).mean()
        sample = white.T @ white / len(z)
        # The method of moments is near the maximum already where no population is far noisier
        # than the others; EM from the plain covariance would take many steps to get there.
        start = sample if noise is None else sample - white_noise.mean(0)
        mean, cov = np.zeros(z.shape[1]), shrunk(start, shrinkage, floor)
        for _ in range(0 if noise is None else max_iter):
            first, second = np.zeros_like(mean), np.zeros_like(cov)
            for part, part_noise in _chunks(white, white_noise):
                truth, left = posterior(part, part_noise, mean, cov)
                first += truth.sum(0)
                second += truth.T @ truth + left.sum(0)
            mean, before = first / len(z), cov
            cov = shrunk(second / len(z) - np.outer(mean, mean), shrinkage, floor)
            if np.linalg.norm(cov - before) < tol * np.linalg.norm(before):
                break
        return cls(center + root @ mean, root @ cov @ root.T, len(z))

    def mahalanobis(self, z: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
        """Return the distance of embeddings from the mean, in standard deviations.

        Parameters
        ----------
        z
            Embeddings ``(P, L)``.
        noise
            Their sampling covariances ``(P, L, L)``, which are added to the prior's.

        Returns
        -------
        ``(P,)``; its square is chi-squared with L degrees of freedom for embeddings of the prior.
        """
        z, noise = as_noisy(z, noise, self.mean)
        if noise is None:
            return np.sqrt(
                np.square(np.linalg.solve(np.linalg.cholesky(self.cov), (z - self.mean).T)).sum(0)
            )
        squares = [
            np.einsum("pl,pl->p", d, np.linalg.solve(self.cov + of, d[..., None])[..., 0])
            for d, of in _chunks(z - self.mean, noise)
        ]
        return np.sqrt(np.concatenate(squares))

    def denoise(self, z: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what is known of the true embeddings, given the noisy ones.

        Parameters
        ----------
        z, noise
            Embeddings ``(P, L)`` and their sampling covariances ``(P, L, L)``.

        Returns
        -------
        Posterior means ``(P, L)``, drawn towards the prior's mean by as much as an embedding is
        noisy, and posterior covariances ``(P, L, L)``.
        """
        z, noise = as_noisy(z, noise, self.mean)
        if noise is None:
            raise ValueError(
                "noise=None: without sampling covariances there is no noise to remove."
            )
        parts = [posterior(*part, self.mean, self.cov) for part in _chunks(z, noise)]
        means, covariances = zip(*parts, strict=True)
        return np.concatenate(means), np.concatenate(covariances)


def as_noisy(
    z: np.ndarray, noise: np.ndarray | None, like: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return embeddings ``(P, L)`` and sampling covariances ``(P, L, L)`` as checked float64.

    Parameters
    ----------
    z, noise
        To check.
    like
        Any array whose last axis has the length that L must have.

    Raises
    ------
    ValueError
        If shapes do not fit or values are not finite.
    """
    z = np.asarray(z, dtype=np.float64)
    if z.ndim != 2 or len(z) == 0 or (like is not None and z.shape[1] != like.shape[-1]):
        wanted = "n_latent" if like is None else like.shape[-1]
        raise ValueError(f"z has shape {z.shape}; it must be (populations, {wanted}).")
    if not np.isfinite(z).all():
        raise ValueError("z holds values that are not finite: leave these populations out.")
    if noise is None:
        return z, None
    noise = np.asarray(noise, dtype=np.float64)
    if noise.shape != (*z.shape, z.shape[1]):
        raise ValueError(
            f"noise has shape {noise.shape}; for z of shape {z.shape} it must be "
            f"{(*z.shape, z.shape[1])}, one sampling covariance a population."
        )
    if not np.isfinite(noise).all():
        bad = int((~np.isfinite(noise)).any((1, 2)).sum())
        raise ValueError(
            f"noise is not finite for {bad} populations; a population of one cell has no sampling "
            "covariance. Leave these out."
        )
    return z, noise


def posterior(
    z: np.ndarray, noise: np.ndarray, mean: np.ndarray, cov: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return mean and covariance of the true embedding given the noisy one.

    .. math:: b = \mu + S (S + N)^{-1} (z - \mu), \quad B = S - S (S + N)^{-1} S

    Parameters
    ----------
    z, noise
        ``(P, L)`` and ``(P, L, L)``.
    mean, cov
        :math:`\mu`, ``(L,)`` or one for each, ``(P, L)``; and S ``(L, L)``.
    """
    gain = np.linalg.solve(cov + noise, np.broadcast_to(cov, noise.shape))  # (S + N)^-1 S
    truth = mean + np.einsum("plk,pl->pk", gain, z - mean)
    left = cov - cov @ gain
    return truth, (left + left.swapaxes(1, 2)) / 2


def noise_root(noise: np.ndarray | None, n_latent: int) -> np.ndarray:
    """Return the Cholesky root ``(L, L)`` of the average noise; of the identity without noise."""
    if noise is None or not noise.any():
        return np.eye(n_latent)
    average = noise.mean(0)
    # Fewer cells than coordinates leave directions in which no noise was seen.
    return np.linalg.cholesky(average + _RIDGE * np.trace(average) / n_latent * np.eye(n_latent))


def whitened(
    root: np.ndarray, z: np.ndarray, noise: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return embeddings and sampling covariances in units of the average noise."""
    inverse = solve_triangular(root, np.eye(len(root)), lower=True)
    return z @ inverse.T, None if noise is None else inverse @ noise @ inverse.T


def chosen_shrinkage(spread: np.ndarray) -> float:
    """Return how far to shrink the covariance of centred ``(P, L)`` towards the identity."""
    estimates = (f(spread, assume_centered=True)[1] for f in (ledoit_wolf, oas))
    return max(_FLOOR, *estimates)


def shrunk(cov: np.ndarray, shrinkage: float, floor: float) -> np.ndarray:
    """Return a covariance ``(L, L)`` mixed with the identity times its mean variance.

    Negative eigenvalues, which a difference of covariances has, count as ``floor``.
    """
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    values = np.maximum(values, floor)
    return (vectors * ((1 - shrinkage) * values + shrinkage * values.mean())) @ vectors.T


def _chunks(z: np.ndarray, noise: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield populations by the thousand: what is computed of them takes much room."""
    for start in range(0, len(z), _CHUNK):
        yield z[start : start + _CHUNK], noise[start : start + _CHUNK]
