from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import log_loss, r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scgde.stats import (
    NoisyLogisticRegression,
    NoisyRidge,
    completed_noise,
    pooled_cell_covariance,
)


def cohort(n=400, n_latent=5, seed=0, n_classes=2):
    """Embeddings of which every other is noisy; classes and a number that follow the true ones."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, n_latent))
    score = truth[:, 0] + truth[:, 1] + 0.5 * rng.logistic(size=n)
    y = np.digitize(score, np.linspace(-1, 2, n_classes + 1)[1:-1])
    number = truth[:, 0] + truth[:, 1] + 0.3 * rng.normal(size=n)
    variance = np.where(np.arange(n) % 2, 3.0, 0.01)
    z = truth + np.sqrt(variance)[:, None] * rng.normal(size=truth.shape)
    return z, variance[:, None, None] * np.eye(n_latent), y, number


@pytest.mark.parametrize("n_classes", [2, 3])
def test_without_noise_it_is_logistic_regression(n_classes):
    z, noise, y, _ = cohort(n_classes=n_classes)
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5_000)).fit(z, y)
    for none in (None, 0 * noise):
        model = NoisyLogisticRegression().fit(z, y, none)
        np.testing.assert_allclose(model.predict_proba(z, none), plain.predict_proba(z), atol=2e-3)
        np.testing.assert_array_equal(model.predict(z, none), plain.predict(z))


def test_without_noise_it_is_ridge_regression():
    z, noise, _, number = cohort()
    plain = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13))).fit(z, number)
    for none in (None, 0 * noise):
        model = NoisyRidge().fit(z, number, none)
        np.testing.assert_allclose(model.predict(z, none), plain.predict(z), atol=1e-8)


def test_noise_makes_coefficients_too_small_and_the_model_corrects_it():
    """Attenuation: half of the populations have noise of three times the true variance."""
    z, noise, y, number = cohort(4_000)
    clean = NoisyLogisticRegression().fit(z[::2], y[::2])
    naive = NoisyLogisticRegression().fit(z, y)
    aware = NoisyLogisticRegression().fit(z, y, noise)
    wrong = [np.abs(m.coef_ - clean.coef_).max() for m in (naive, aware)]
    assert wrong[1] < 0.6 * wrong[0]
    clean, naive = NoisyRidge().fit(z[::2], number[::2]), NoisyRidge().fit(z, number)
    aware = NoisyRidge().fit(z, number, noise)
    wrong = [np.abs(m.coef_ - clean.coef_).max() for m in (naive, aware)]
    assert wrong[1] < 0.6 * wrong[0]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_new_populations_are_predicted_better(n_classes):
    z, noise, y, number = cohort(200, n_classes=n_classes)
    new, new_noise, new_y, new_number = cohort(4_000, seed=1, n_classes=n_classes)
    naive = NoisyLogisticRegression().fit(z, y).predict_proba(new)
    aware = NoisyLogisticRegression().fit(z, y, noise).predict_proba(new, new_noise)
    assert log_loss(new_y, aware) < log_loss(new_y, naive) - 0.02
    if n_classes == 2:
        assert roc_auc_score(new_y, aware[:, 1]) > roc_auc_score(new_y, naive[:, 1]) + 0.01
    naive = NoisyRidge().fit(z, number).predict(new)
    aware = NoisyRidge().fit(z, number, noise).predict(new, new_noise)
    assert r2_score(new_number, aware) > r2_score(new_number, naive) + 0.05


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_mean_what_they_say(n_classes):
    z, noise, y, _ = cohort(4_000, n_classes=n_classes)
    new, new_noise, new_y, _ = cohort(4_000, seed=1, n_classes=n_classes)
    sure = NoisyLogisticRegression().fit(z, y, noise).predict_proba(new, new_noise).max(1)
    right = NoisyLogisticRegression().fit(z, y, noise).predict(new, new_noise) == new_y
    for of in (slice(0, None, 2), slice(1, None, 2)):
        assert abs(sure[of].mean() - right[of].mean()) < 0.03
    assert sure[1::2].mean() < sure[::2].mean() - 0.1


def test_pure_noise_says_only_how_frequent_classes_are():
    z, noise, y, number = cohort()
    blind = np.broadcast_to(1e8 * np.eye(5), noise.shape)
    model = NoisyLogisticRegression().fit(z, y, noise)
    probability = model.predict_proba(z, blind)
    np.testing.assert_allclose(probability[:, 1], y.mean(), atol=0.05)
    ridge = NoisyRidge().fit(z, number, noise)
    np.testing.assert_allclose(ridge.predict(z, blind), ridge.intercept_, atol=1e-3)


def test_noise_without_any_signal_stays_finite():
    z, noise, y, number = cohort(30)
    model = NoisyLogisticRegression().fit(z, y, 1e4 * noise)
    assert np.isfinite(model.predict_proba(z, 1e4 * noise)).all()
    assert np.isfinite(NoisyRidge().fit(z, number, 1e4 * noise).predict(z, 1e4 * noise)).all()
    assert np.isfinite(NoisyRidge().fit(z, 0 * number, noise).predict(z, noise)).all()


def test_bad_input():
    z, noise, y, _ = cohort(20)
    for model in (NoisyLogisticRegression(), NoisyRidge()):
        with pytest.raises(ValueError, match="one label each"):
            model.fit(z, y[:-1], noise)
        with pytest.raises(ValueError, match="noise has shape"):
            model.fit(z, y, noise[:-1])
        model.fit(z, y, noise)
        with pytest.raises(ValueError, match=r"\(populations, 5\)"):
            model.predict(z[:, :3], noise)


def test_single_cells_get_the_covariance_of_one_cell():
    rng = np.random.default_rng(0)
    n_cells = np.array([1, 2, 50, 400])
    spread = np.array([[2.0, 0.5], [0.5, 1.0]])
    noise = np.full((4, 2, 2), np.nan)
    for i, n in enumerate(n_cells[1:], 1):
        noise[i] = np.cov(rng.multivariate_normal([0, 0], spread, n).T) / n
    np.testing.assert_allclose(pooled_cell_covariance(noise, n_cells), spread, atol=0.25)
    filled = completed_noise(noise, n_cells)
    np.testing.assert_allclose(filled[0], pooled_cell_covariance(noise, n_cells))
    np.testing.assert_array_equal(filled[1:], noise[1:])
    with pytest.raises(ValueError, match="two cells"):
        pooled_cell_covariance(noise[:1], n_cells[:1])
    with pytest.raises(ValueError, match="not finite"):
        pooled_cell_covariance(noise, n_cells + 1)
    with pytest.raises(ValueError, match="n_cells"):
        pooled_cell_covariance(noise, n_cells[:2])
