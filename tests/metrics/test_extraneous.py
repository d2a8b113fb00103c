from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from scgde import metrics


def estimates(u, n=2_000, seed=0, **kwargs):
    z, noise = np.random.default_rng(seed).normal(size=(2, n))
    table = metrics.extraneous_latents(np.column_stack([z, u(z, noise)]), 1, **kwargs)
    assert (table["low"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["high"]).all()
    return table


def test_a_function_of_the_first_is_extraneous():
    table = estimates(lambda z, noise: np.sin(2 * z))
    assert table.loc["r2", "estimate"] > 0.995
    assert abs(table.loc["dimension_drop", "estimate"]) < 0.01
    assert table.loc["conditional_entropy", "estimate"] < -3


def test_noise_is_not():
    table = estimates(lambda z, noise: noise)
    assert abs(table.loc["r2", "estimate"]) < 0.03
    assert table.loc["dimension_drop", "estimate"] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
def test_entropy_and_r2_of_a_normal_are_the_closed_form(rho):
    def u(z, noise):
        return 7 + 3 * (rho * z + np.sqrt(1 - rho**2) * noise)

    table = estimates(u, 6_000, regressor=LinearRegression())
    expected = 0.5 * np.log(2 * np.pi * np.e * (1 - rho**2))
    assert table.loc["conditional_entropy", "estimate"] == pytest.approx(expected, abs=0.06)
    assert table.loc["r2", "estimate"] == pytest.approx(rho**2, abs=0.03)


def test_several_latents_on_either_side():
    z, noise = np.random.default_rng(0).normal(size=(2, 1_000, 2))
    latent = np.column_stack([z, z[:, :1] * z[:, 1:], noise[:, 0]])
    table = metrics.extraneous_latents(latent, 2)
    # One of two coordinates is determined.
    assert table.loc["r2", "estimate"] == pytest.approx(0.45, abs=0.07)
    assert table.loc["dimension_drop", "estimate"] == pytest.approx(1, abs=0.25)


def test_repeated_points_are_counted_once():
    z, noise = np.random.default_rng(0).normal(size=(2, 500))
    latent = np.column_stack([z, noise])
    once, twice = (metrics.extraneous_latents(x, 1) for x in (latent, np.repeat(latent, 2, axis=0)))
    np.testing.assert_allclose(once["estimate"], twice["estimate"], atol=0.05)
    assert (twice["n_points"] == 500).all()


def test_mistakes_are_named():
    x = np.random.default_rng(0).normal(size=(100, 2))
    with pytest.raises(ValueError, match="k=2"):
        metrics.extraneous_latents(x, 2)
    with pytest.raises(TypeError, match=r"k=1\.5"):
        metrics.extraneous_latents(x, 1.5)
    with pytest.raises(ValueError, match="finite"):
        metrics.extraneous_latents(x * np.nan, 1)
    with pytest.raises(ValueError, match="20 distinct"):
        metrics.extraneous_latents(np.tile(x[:20], (10, 1)), 1)
    with pytest.raises(ValueError, match="collapsed"):
        metrics.extraneous_latents(x * [0, 1], 1)
    with pytest.raises(ValueError, match="Leave it out"):
        metrics.extraneous_latents(x * [1, 0], 1)
    with pytest.raises(ValueError, match="n_splits=1"):
        metrics.extraneous_latents(x, 1, n_splits=1)
