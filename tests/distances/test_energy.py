from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from scgde.distances import energy_distance


def test_one_dimension_is_scipy_s():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=40), rng.normal(1, 2, size=70)
    wx, wy = rng.dirichlet(np.ones(40)), rng.dirichlet(np.ones(70))
    ours = energy_distance(
        torch.tensor(x)[None, :, None],
        torch.tensor(y)[None, :, None],
        torch.tensor(wx)[None],
        torch.tensor(wy)[None],
    )
    # scipy returns the square root of it (Szekely & Rizzo's D^2 is the energy distance)
    assert ours.item() == pytest.approx(scipy.stats.energy_distance(x, y, wx, wy) ** 2, rel=1e-6)


@pytest.mark.parametrize("beta", [0.3, 1.0, 1.7])
def test_exponent_and_u_statistic_are_the_formula(beta):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(15, 3)), rng.normal(1, 1, size=(8, 3))
    w = rng.dirichlet(np.ones(15))

    def distances(a, b):
        return np.linalg.norm(a[:, None] - b, axis=-1) ** beta

    cross = 2 * w @ distances(x, y).mean(1)
    own_x, own_y = w @ distances(x, x) @ w, distances(y, y).mean()
    arguments = torch.tensor(x)[None], torch.tensor(y)[None], torch.tensor(w)[None]
    biased = energy_distance(*arguments, beta=beta)
    assert biased.item() == pytest.approx(cross - own_x - own_y, rel=1e-9)
    unbiased = energy_distance(*arguments, beta=beta, unbiased=True)
    expected = cross - own_x / (1 - (w**2).sum()) - own_y * 8 / 7
    assert unbiased.item() == pytest.approx(expected, rel=1e-9)


def test_u_statistic_is_right_on_average():
    x, y = torch.randn(4000, 5, 2, generator=torch.Generator().manual_seed(0)).split(2000)
    values = energy_distance(x, y, unbiased=True)
    assert abs(values.mean()) < 4 * values.std() / 2000**0.5
    assert energy_distance(x, y).mean() > 0.3


def test_large_samples_are_taken_in_chunks():
    x = torch.rand(1, 3000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = x[:, :2500] ** 2
    assert energy_distance(x, y).item() == pytest.approx(
        scipy.stats.energy_distance(x.flatten(), y.flatten()) ** 2, rel=1e-9
    )


def test_small_distances_survive_far_from_zero():
    x = 1000 + torch.arange(8.0).reshape(1, 8, 1) / 1000
    near = energy_distance(x, x + 0.25)
    torch.testing.assert_close(near, energy_distance(x.double(), (x + 0.25).double()).float())


def test_arguments_are_checked():
    x = torch.randn(2, 4, 2)
    for beta in (0, 2, -1.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 2"):
            energy_distance(x, x, beta=beta)
    one = torch.eye(4)[:2]
    with pytest.raises(ValueError, match="at least two points with weight in each row of y"):
        energy_distance(x, x, None, one, unbiased=True)
