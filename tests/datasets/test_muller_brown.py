"""The potential is the published one and is sampled; manifolds are what they say."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime

from scgde import datasets


def test_gradient_is_that_of_the_potential():
    points = np.random.default_rng(0).uniform([-1.3, -0.3], [1, 2], (20, 2))
    gradient = datasets.muller_brown_gradient(points)
    for point, expected in zip(points, gradient, strict=True):
        found = approx_fprime(point, lambda p: datasets.muller_brown_potential(p[None])[0], 1e-7)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-2)


def test_potential_is_the_published_one():
    """Written down anew, term by term, and differentiated by torch."""
    x = torch.tensor([[-0.7, 1.1], [0.4, 0.2]], dtype=torch.float64, requires_grad=True)
    terms = (
        (-200, -1, 0, -10, 1, 0),
        (-100, -1, 0, -10, 0, 0.5),
        (-170, -6.5, 11, -6.5, -0.5, 1.5),
        (15, 0.7, 0.6, 0.7, -1, 1),
    )
    total = 146.7 + sum(
        A * torch.exp(a * (x[:, 0] - x0) ** 2
                      + b * (x[:, 0] - x0) * (x[:, 1] - y0)
                      + c * (x[:, 1] - y0) ** 2)
        for A, a, b, c, x0, y0 in terms
    )  # fmt: skip
    energy = 0.15 * total
    energy.sum().backward()
    points = x.detach().numpy()
    np.testing.assert_allclose(datasets.muller_brown_potential(points), energy.detach().numpy())
    np.testing.assert_allclose(datasets.muller_brown_gradient(points), x.grad.numpy())


def test_known_minima():
    minima = datasets.muller_brown(1, 1).uns["truth"]["minima"]
    np.testing.assert_allclose(minima, [[-0.558, 1.442], [-0.05, 0.467], [0.623, 0.028]], atol=1e-3)
    np.testing.assert_allclose(datasets.muller_brown_gradient(minima), 0, atol=1e-8)
    assert datasets.muller_brown_potential(minima)[0] == pytest.approx(0, abs=1e-3)


def test_simulation_has_its_temperature():
    """In the deepest well the mean energy is that of the Boltzmann distribution, by quadrature."""
    adata = datasets.muller_brown(60_000, 20, enable_progress_bar=False)
    assert adata.shape == (3_001, 2)
    assert adata.obs["energy"].iloc[0] == pytest.approx(0, abs=1e-3)
    grid = np.stack(np.meshgrid(np.linspace(-1.3, 1, 300), np.linspace(1, 2.2, 300)), -1)
    energy = datasets.muller_brown_potential(grid.reshape(-1, 2))
    weight = np.exp(-energy / 2.5)
    expected = (weight * energy).sum() / weight.sum()
    in_well = adata.X[:, 1] > 1
    assert in_well.sum() > 500
    assert adata.obs["energy"][in_well].mean() == pytest.approx(expected, rel=0.1)
    assert adata.X[:, 0].min() > -1.5
    again = datasets.muller_brown(60_000, 20, enable_progress_bar=False)
    np.testing.assert_array_equal(adata.X, again.X)
    other = datasets.muller_brown(60_000, 20, seed=1, enable_progress_bar=False)
    assert not np.array_equal(adata.X, other.X)


def _spiral(x, y):
    radius = np.hypot(x, y)
    return radius * np.cos(radius) - x


@pytest.mark.parametrize(
    ("name", "n", "dimension", "surface"),
    [
        ("line", 50, 1, lambda x: x[:, 1]),
        ("parabola", 50, 1, lambda x: x[:, 1] - x[:, 0] ** 2),
        ("exponential", 50, 1, lambda x: x[:, 1] - np.exp(x[:, 0])),
        ("cosine", 50, 1, lambda x: x[:, 1] - np.cos(x[:, 0])),
        ("grid", 49, 2, lambda x: x[:, 2] - x[:, 0] - x[:, 1]),
        ("s_curve", 50, 2, lambda x: x[:, 0] ** 2 + (1 - np.abs(x[:, 2])) ** 2 - 1),
        ("swiss_roll", 50, 2, lambda x: _spiral(x[:, 0], x[:, 2])),
    ],
)
def test_manifolds(name, n, dimension, surface, tmp_path):
    adata = datasets.manifold(name, n)
    assert adata.n_obs == n
    assert adata.uns["truth"]["dimension"] == dimension == adata.obs.shape[1]
    np.testing.assert_allclose(surface(adata.X.astype(float)), 0, atol=1e-5)
    noisy = datasets.manifold(name, n, noise=0.1)
    assert (noisy.X - adata.X).std() == pytest.approx(0.1, rel=0.3)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").uns["truth"]["name"] == name


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="every"):
        datasets.muller_brown(10, 20)
    with pytest.raises(TypeError, match="n_steps"):
        datasets.muller_brown(1.5)
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        datasets.muller_brown_potential(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="parabola"):
        datasets.manifold("parabla")
    with pytest.raises(ValueError, match="square"):
        datasets.manifold("grid", 50)
    with pytest.raises(ValueError, match="noise"):
        datasets.manifold("line", 5, noise=-1.0)
