from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from scgde.stats import NormalPrior, expected_distances, paired_distances


def cohort(n: int, n_latent: int, seed: int = 0, scale: float = 1.0):
    """True embeddings with a decaying spectrum, and two in one noisy."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(n_latent, n_latent)))[0]
    spread = (turn * np.exp(-np.arange(n_latent) / 4)) @ turn.T + 0.01 * np.eye(n_latent)
    per_cell = np.diag(scale * np.linspace(5, 1, n_latent))
    noise = per_cell / rng.choice([10, 500], n)[:, None, None]
    truth = rng.multivariate_normal(np.arange(n_latent), spread, n)
    error = np.sqrt(np.diagonal(noise, axis1=1, axis2=2)) * rng.normal(size=(n, n_latent))
    return truth, truth + error, noise, spread


def test_the_spread_of_true_embeddings_is_found():
    _, z, noise, spread = cohort(4_000, 5)
    prior = NormalPrior.fit(z, noise)
    assert prior.n == 4_000
    np.testing.assert_allclose(prior.mean, np.arange(5), atol=0.1)
    np.testing.assert_allclose(prior.cov, spread, atol=0.06)
    assert np.trace(np.cov(z.T)) > 1.2 * np.trace(spread)  # what it would be with the noise


def test_em_has_reached_the_maximum_of_the_likelihood():
    """Without shrinkage no other scale of the covariance has a higher likelihood."""
    _, z, noise, _ = cohort(300, 3)
    prior = NormalPrior.fit(z, noise, shrinkage=1e-9, tol=1e-9, max_iter=5_000)

    def log_likelihood(cov):
        total = cov + noise
        d = z - prior.mean
        quadratic = np.einsum("pl,plk,pk->p", d, np.linalg.inv(total), d)
        return -(np.linalg.slogdet(total)[1] + quadratic).sum() / 2

    best = log_likelihood(prior.cov)
    rng = np.random.default_rng(0)
    for _ in range(20):
        step = rng.normal(size=(3, 3))
        step = 0.02 * (step + step.T)
        assert log_likelihood(prior.cov + prior.cov @ step @ prior.cov) < best


def test_mahalanobis_distances_are_chi_squared():
    _, z, noise, _ = cohort(4_000, 6)
    prior = NormalPrior.fit(z, noise)
    _, new, new_noise, _ = cohort(1_000, 6)
    squares = prior.mahalanobis(new, new_noise) ** 2
    assert kstest(squares, chi2(6).cdf).pvalue > 0.01
    assert np.mean(prior.mahalanobis(new) ** 2) > 1.2 * squares.mean()


def test_denoising_is_closer_to_the_truth_and_knows_by_how_much():
    truth, z, noise, _ = cohort(600, 8)
    better, left = NormalPrior.fit(z, noise).denoise(z, noise)
    assert np.square(better - truth).sum() < 0.7 * np.square(z - truth).sum()
    d = truth - better
    squares = np.einsum("pl,plk,pk->p", d, np.linalg.inv(left), d)
    assert abs(squares.mean() / 8 - 1) < 0.1
    exact, none = NormalPrior.fit(z, noise).denoise(z, 0 * noise)
    np.testing.assert_allclose(exact, z, atol=1e-8)
    np.testing.assert_allclose(none, 0, atol=1e-8)


@pytest.mark.parametrize("n", [2, 3, 15])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_few_populations_of_many_coordinates_stay_regular(n, scale):
    _, z, noise, _ = cohort(n, 64, scale=scale)
    prior = NormalPrior.fit(z, noise)
    values = np.linalg.eigvalsh(prior.cov)
    assert values[0] > 0
    assert values[-1] / values[0] < 1e9
    assert np.isfinite(prior.mahalanobis(z, noise)).all()
    better, left = prior.denoise(z, noise)
    assert np.isfinite(better).all()
    assert (np.linalg.eigvalsh(left) > -1e-9 * values[-1]).all()


def test_units_do_not_matter():
    _, z, noise, _ = cohort(400, 5)
    one = NormalPrior.fit(z, noise)
    other = NormalPrior.fit(1e3 * z, 1e6 * noise)
    np.testing.assert_allclose(other.cov, 1e6 * one.cov, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize(
    ("z", "noise", "match"),
    [
        (np.zeros(3), None, "shape"),
        (np.zeros((1, 3)), None, "two populations"),
        (np.zeros((5, 3)), None, "no spread"),
        (np.full((5, 3), np.nan), None, "not finite"),
        (np.eye(3), np.eye(3), "noise has shape"),
        (np.eye(3), np.full((3, 3, 3), np.nan), "one cell"),
    ],
)
def test_bad_input(z, noise, match):
    with pytest.raises(ValueError, match=match):
        NormalPrior.fit(z, noise)


def test_bad_arguments():
    prior = NormalPrior.fit(np.eye(3))
    with pytest.raises(ValueError, match="shrinkage=2"):
        NormalPrior.fit(np.eye(3), shrinkage=2)
    with pytest.raises(ValueError, match=r"\(populations, 3\)"):
        prior.mahalanobis(np.ones((2, 4)))
    with pytest.raises(ValueError, match="no noise to remove"):
        prior.denoise(np.eye(3), None)


def test_distances_are_those_of_draws():
    _, z, noise, _ = cohort(30, 5)
    better, left = NormalPrior.fit(z, noise).denoise(z, noise)
    found = paired_distances(better[:15], left[:15], better[15:], left[15:])
    rng = np.random.default_rng(0)
    draws = better + np.einsum(
        "plk,pnk->npl", np.linalg.cholesky(left), rng.normal(size=(30, 20_000, 5))
    )
    apart = np.linalg.norm(draws[:, :15] - draws[:, 15:], axis=-1)
    np.testing.assert_allclose(found.distance**2, np.square(apart).mean(0), rtol=0.02)
    np.testing.assert_allclose(found.standard_error, apart.std(0), rtol=0.2)
    inside = ((apart > found.low) & (apart < found.high)).mean(0)
    assert ((inside > 0.92) & (inside < 0.98)).all()
    matrix = expected_distances(better[:15], left[:15], better[15:], left[15:])
    np.testing.assert_allclose(matrix.diagonal(), found.distance)


def test_distances_without_noise_are_plain():
    z = np.array([[0.0, 0.0], [3.0, 4.0]])
    none = np.zeros((2, 2, 2))
    np.testing.assert_allclose(expected_distances(z, none, z, none), [[0, 5], [5, 0]])
    found = paired_distances(z, none, z[::-1], none)
    for value in (found.distance, found.low, found.high):
        np.testing.assert_allclose(value, 5)
    np.testing.assert_allclose(found.standard_error, 0)
    with pytest.raises(ValueError, match="as many"):
        paired_distances(z, none, z[:1], none[:1])
    with pytest.raises(ValueError, match="level=95"):
        paired_distances(z, none, z, none, level=95)


def test_few_populations_are_shrunk_towards_the_shape_of_the_noise():
    """Where populations vary in what cells vary in, held-out embeddings are likelier for it."""
    rng = np.random.default_rng(0)
    per_cell = np.diag(np.exp(-np.arange(20.0)))
    noise = np.broadcast_to(per_cell / 100, (12, 20, 20))
    truth, new = (rng.multivariate_normal(np.zeros(20), per_cell, n) for n in (12, 500))
    z = truth + rng.multivariate_normal(np.zeros(20), per_cell / 100, 12)

    def log_likelihood(prior):
        squares = prior.mahalanobis(new) ** 2
        return -(squares.mean() + np.linalg.slogdet(prior.cov)[1]) / 2

    assert log_likelihood(NormalPrior.fit(z, noise)) > log_likelihood(NormalPrior.fit(z)) + 5


def test_a_linear_map_of_the_embedding_changes_nothing():
    _, z, noise, _ = cohort(30, 6)
    turn = np.diag([0.5, 1, 1, 1, 1, 3]) @ np.linalg.qr(np.vander(np.arange(1.0, 7)))[0]
    prior = NormalPrior.fit(z, noise)
    other = NormalPrior.fit(z @ turn.T, turn @ noise @ turn.T)
    np.testing.assert_allclose(
        other.mahalanobis(z @ turn.T, turn @ noise @ turn.T),
        prior.mahalanobis(z, noise),
        rtol=0.01,
    )
