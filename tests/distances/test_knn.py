from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from scgde.distances import knn_divergence


def draw(n, d, seed, shift=0.0, scale=1.0):
    return shift + scale * np.random.default_rng(seed).normal(size=(n, d))


def divergence(x, y, **kwargs):
    return knn_divergence(torch.tensor(x)[None], torch.tensor(y)[None], **kwargs).item()


def classical(x, y, k):
    """Wang, Kulkarni & Verdu 2009."""
    own = NearestNeighbors(n_neighbors=k).fit(x).kneighbors()[0][:, -1]
    other = NearestNeighbors(n_neighbors=k).fit(y).kneighbors(x)[0][:, -1]
    return x.shape[1] * np.log(other / own).mean() + np.log(len(y) / (len(x) - 1))


def test_uniform_weights_are_the_classical_estimator():
    x, y = draw(70, 3, 0), draw(110, 3, 1, 0.5, 2)
    for k in (1, 7, 69):
        expected = classical(x, y, k) + classical(y, x, k)
        assert divergence(x, y, k=k) == pytest.approx(expected, rel=1e-9)


def test_normals_have_the_closed_form():
    x, y = draw(3000, 1, 0), draw(3000, 1, 1, 0.7)
    assert divergence(x, y) == pytest.approx(0.7**2, rel=0.1)
    assert divergence(x, draw(3000, 1, 2)) == pytest.approx(0, abs=0.05)


def test_weights_stand_for_density():
    # Uniform points weighted by a density are a sample of it.
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-5, 5, size=(4000, 1)), draw(2000, 1, 1, 1.0)
    w = np.exp(-(x[:, 0] ** 2) / 2)
    value = divergence(x, y, wx=torch.tensor(w / w.sum())[None], k=25)
    assert value == pytest.approx(1.0, rel=0.15)  # shift^2


def test_scale_and_shift_do_not_matter():
    x, y = draw(60, 2, 0), draw(50, 2, 1, 1)
    assert divergence(1e3 * x + 5, 1e3 * y + 5) == pytest.approx(divergence(x, y), rel=1e-6)


def test_coincident_points_are_finite():
    x = np.repeat(draw(10, 2, 0), 8, axis=0)
    assert np.isfinite(divergence(x, draw(80, 2, 1), k=5))
    assert divergence(np.zeros((9, 2)), np.zeros((9, 2)), k=5) == pytest.approx(2 * np.log(9 / 8))


def test_too_many_neighbours_are_refused():
    x, y = draw(10, 2, 0), draw(40, 2, 1)
    divergence(x, y, k=9)
    with pytest.raises(ValueError, match="k=10 neighbours need more than 10 points"):
        divergence(x, y, k=10)
    with pytest.raises(ValueError, match="Lower k"):
        divergence(y, x, k=25)
    with pytest.raises(ValueError, match="k=0 must be above zero"):
        divergence(x, y, k=0)
