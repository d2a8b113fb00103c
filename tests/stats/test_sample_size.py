from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import nct, t

from scgde.stats import (
    cells_for_ellipsoid,
    cells_for_power,
    donors_for_power,
    ellipsoid_size,
    hotelling_power,
    hotelling_radius,
)

CELL_COV = np.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])


def test_the_ellipsoid_of_that_many_cells_has_that_size_and_holds_the_truth():
    """Cells are drawn, the ellipsoid is built from them alone, 3,000 times."""
    n_cells = int(cells_for_ellipsoid(CELL_COV, radius=0.8))
    assert ellipsoid_size(CELL_COV, n_cells) <= 0.8 < ellipsoid_size(CELL_COV, n_cells - 1)
    rng = np.random.default_rng(0)
    cells = rng.multivariate_normal(np.zeros(3), CELL_COV, (3_000, n_cells))
    mean = cells.mean(1)
    centred = cells - mean[:, None]
    cov = np.einsum("sni,snj->sij", centred, centred) / (n_cells - 1) / n_cells
    squared = np.einsum("si,sij,sj->s", mean, np.linalg.inv(cov), mean)
    inside = (squared <= hotelling_radius(n_cells, 3)).mean()
    assert abs(inside - 0.95) < 0.012  # three standard errors
    semi_axes = np.sqrt(np.linalg.eigvalsh(cov) * hotelling_radius(n_cells, 3))
    assert np.sqrt(np.square(semi_axes).mean()) == pytest.approx(0.8, rel=0.03)


@pytest.mark.parametrize(("n_a", "n_b", "n_dims"), [(6, 6, 2), (10, 20, 4)])
def test_power_is_that_of_simulated_tests(n_a, n_b, n_dims):
    """Donors spread by S, their embeddings by C / m: Hotelling's test on 4,000 cohorts."""
    rng = np.random.default_rng(1)
    spread, per_cell, m = np.diag(np.arange(1.0, n_dims + 1)), np.full(n_dims, 30.0), 20
    total = spread + np.diag(per_cell) / m
    d = np.full(n_dims, 1.6)
    n, n_sim = n_a + n_b, 4_000
    z = rng.multivariate_normal(np.zeros(n_dims), spread, (n_sim, n))
    z += rng.multivariate_normal(np.zeros(n_dims), np.diag(per_cell) / m, (n_sim, n))
    z[:, n_a:] += d
    a, b = z[:, :n_a], z[:, n_a:]
    apart = b.mean(1) - a.mean(1)
    centred = np.concatenate([a - a.mean(1)[:, None], b - b.mean(1)[:, None]], 1)
    pooled = np.einsum("sni,snj->sij", centred, centred) / (n - 2)
    t2 = n_a * n_b / n * np.einsum("si,sij,sj->s", apart, np.linalg.inv(pooled), apart)
    bound = hotelling_radius(n - 1, n_dims)
    seen = (t2 > bound).mean()
    distance = np.sqrt(d @ np.linalg.solve(total, d))
    expected = hotelling_power(distance, n_a, n_b, n_dims)
    assert 0.2 < expected < 0.95
    assert abs(seen - expected) < 3 * np.sqrt(expected * (1 - expected) / n_sim)


def test_one_dimension_is_the_t_test():
    noncentral = 1.3 * np.sqrt(6 * 9 / 15)
    bound = t.isf(0.025, 13)
    expected = nct.sf(bound, 13, noncentral) + nct.cdf(-bound, 13, noncentral)
    assert hotelling_power(1.3, 6, 9, 1) == pytest.approx(expected)
    assert hotelling_power(0.0, 6, 9, 1, 0.1) == pytest.approx(0.1)
    assert hotelling_power(1e6, 6, 9, 1) == 1


def test_least_numbers_are_least():
    def distance(m):
        return 2 / np.sqrt(1 + 50 / m)

    m = cells_for_power(distance, 8, 8, 2)
    assert hotelling_power(distance(m), 8, 8, 2) >= 0.8
    assert hotelling_power(distance(m - 1), 8, 8, 2) < 0.8
    n = int(donors_for_power(1.0, 0.25, 2))
    n_a = round(0.25 * n)
    assert hotelling_power(1.0, n_a, n - n_a, 2) >= 0.8
    before = n - 1
    n_a = round(0.25 * before)
    assert hotelling_power(1.0, n_a, before - n_a, 2) < 0.8


def test_no_number_of_cells_makes_up_for_donors():
    assert cells_for_power(lambda m: 1.0, 3, 3, 1) == np.inf
    assert donors_for_power(0.0, 0.5, 1) == np.inf
    assert np.isfinite(donors_for_power(1.0, 0.5, 1))
    assert cells_for_ellipsoid(CELL_COV, radius=1e-6) == np.inf


def test_bad_input():
    with pytest.raises(ValueError, match="Take fewer dimensions"):
        hotelling_power(1.0, 3, 3, 5)
    with pytest.raises(ValueError, match="radius=0"):
        cells_for_ellipsoid(CELL_COV, radius=0)
    with pytest.raises(ValueError, match="n_a=0"):
        hotelling_power(1.0, 0, 3, 1)
