from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scgde.stats import hotelling_radius, hotelling_test


def test_one_dimension_is_students_t():
    assert hotelling_radius(12, 1) == pytest.approx(stats.t.ppf(0.975, 11) ** 2)
    assert hotelling_radius(10**7, 4, 0.9) == pytest.approx(stats.chi2.ppf(0.9, 4), rel=1e-5)


def test_ellipsoids_cover():
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(4000, 12, 3))
    mean = cells.mean(1)
    centred = cells - mean[:, None]
    precision = np.linalg.inv(centred.mT @ centred / (12 * 11))
    radius = np.einsum("bp,bpq,bq->b", mean, precision, mean)
    assert np.mean(radius <= hotelling_radius(12, 3)) == pytest.approx(0.95, abs=0.012)


def test_one_dimension_is_welch():
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 1, 9), rng.normal(0.5, 3, 31)
    welch = stats.ttest_ind(x, y, equal_var=False)
    test = hotelling_test(
        [x.mean() - y.mean()], [[x.var(ddof=1) / 9]], 9, [[y.var(ddof=1) / 31]], 31
    )
    assert test.p_value == pytest.approx(welch.pvalue)
    assert test.df2 == pytest.approx(welch.df)
    assert test.statistic == pytest.approx(welch.statistic**2)


def test_a_known_sample_makes_it_a_one_sample_test():
    """With no error on one side the bound is Hotelling's radius of the other."""
    rng = np.random.default_rng(2)
    cells = rng.normal(size=(15, 3))
    cov, zero = np.cov(cells.T) / 15, np.zeros((3, 3))
    d = cells.mean(0)
    d *= np.sqrt(hotelling_radius(15, 3) / (d @ np.linalg.solve(cov, d)))
    assert hotelling_test(d, cov, 15, zero, 1000).p_value == pytest.approx(0.05)


@pytest.mark.parametrize(("n_a", "n_b", "spread"), [(20, 20, 1), (20, 100, 1), (20, 60, 3)])
def test_level_is_kept_with_unequal_covariances(n_a, n_b, spread):
    rng = np.random.default_rng(3)
    rejected = []
    for _ in range(3000):
        x, y = spread * rng.normal(size=(n_a, 3)), rng.normal(size=(n_b, 3))
        test = hotelling_test(x.mean(0) - y.mean(0), np.cov(x.T) / n_a, n_a, np.cov(y.T) / n_b, n_b)
        rejected.append(test.p_value <= 0.05)
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.012)


def test_invariant_under_linear_maps():
    rng = np.random.default_rng(4)
    d, x, y, m = rng.normal(size=3), *rng.normal(size=(2, 20, 3)), rng.normal(size=(3, 3))
    a, b = np.cov(x.T), np.cov(y.T)
    mapped = hotelling_test(m @ d, m @ a @ m.T, 20, m @ b @ m.T, 30)
    np.testing.assert_allclose(mapped, hotelling_test(d, a, 20, b, 30))


def test_mistakes_are_named():
    one = np.eye(2)
    with pytest.raises(ValueError, match="n_cells=3"):
        hotelling_radius(3, 3)
    with pytest.raises(ValueError, match="level=95"):
        hotelling_radius(30, 3, 95)
    with pytest.raises(ValueError, match="shapes"):
        hotelling_test([1.0, 2.0], np.eye(3), 10, one, 10)
    with pytest.raises(ValueError, match="singular"):
        hotelling_test([1.0, 2.0], np.diag([1.0, 0]), 10, np.diag([1.0, 0]), 10)
    with pytest.raises(ValueError, match="NaN"):
        hotelling_test([1.0, np.nan], one, 10, one, 10)
    with pytest.raises(ValueError, match="n_a=1"):
        hotelling_test([1.0, 2.0], one, 1, one, 10)
    with pytest.raises(ValueError, match="too few cells"):
        hotelling_test(np.ones(8), np.eye(8), 3, np.eye(8), 3)
