from __future__ import annotations

import numpy as np
import pytest
import torch

from scgde import metrics, stats


def circle(radius, n=2_000):
    angle = np.linspace(0, 2 * np.pi, n)
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def test_distances_of_known_curves():
    same = metrics.path_distances(circle(1), circle(1)[::-1])
    assert max(same) == pytest.approx(0, abs=1e-9)
    apart = metrics.path_distances(circle(1), circle(3))
    assert list(apart) == pytest.approx([2, 2, 2], abs=1e-3)
    # Half of the longer line lies beyond the shorter, up to 1 away.
    x = np.linspace(0, 1, 1_001)[:, None] * [[1.0, 0]]
    chamfer, hausdorff, p95 = metrics.path_distances(x, 2 * x)
    assert chamfer == pytest.approx((0 + 0.25) / 2, abs=2e-3)
    assert hausdorff == pytest.approx(1)
    assert p95 == pytest.approx(0.9, abs=2e-3)


def test_string_finds_the_valley_of_a_double_well():
    """Minima at (-1, 0) and (1, 0); the valley between them is y = 1 - x^2."""

    def gradient(p):
        off = p[:, 1] - 1 + p[:, 0] ** 2
        along = 4 * p[:, 0] * (p[:, 0] ** 2 - 1) + 400 * p[:, 0] * off
        return np.column_stack([along, 200 * off])

    x = np.linspace(-1, 1, 500)
    valley = np.column_stack([x, 1 - x**2])
    found = stats.string_method(gradient, [[-0.9, 0.1], [1.1, 0.1]], n_points=80, step=1e-3)
    assert found.converged
    # The ends run down slowly: the valley is flat along itself.
    assert metrics.path_distances(found.points, valley).p95 < 0.03
    spacing = np.diff(stats.arc_length(found.points))
    assert spacing.std() < 0.01 * spacing.mean()
    held = stats.string_method(
        gradient,
        [[-0.9, 0.1], [1.1, 0.1]],
        n_points=80,
        step=1e-3,
        max_steps=3_000,
        fixed_ends=True,
    )
    np.testing.assert_array_equal(held.points[[0, -1]], [[-0.9, 0.1], [1.1, 0.1]])
    short = stats.string_method(gradient, [[-1.0, 0], [1, 0]], step=1e-3, max_steps=2)
    assert not short.converged


def test_latent_path_follows_a_known_latent():
    """Gradient lines of the polar angle are circles."""

    def encode(x):
        return torch.stack([x.square().sum(1), torch.atan2(x[:, 1], x[:, 0])], 1)

    path = metrics.latent_path(encode, [1.0, 0.0], [-1.0, 1.0], 1, n_points=100)
    assert path.shape == (100, 2)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 1, atol=0.05)
    assert np.arctan2(*path[-1, ::-1]) == pytest.approx(0.75 * np.pi, abs=1e-3)


def test_the_best_component_runs_along_the_path():
    path = circle(1)[:1_000]
    along = stats.arc_length(path)
    latent = np.column_stack([np.cos(5 * along), -3 * along, along**2])
    component, r2 = metrics.best_component(latent, path)
    assert component == 1
    assert r2[1] == pytest.approx(1)
    assert r2[2] == pytest.approx(np.corrcoef(along, along**2)[0, 1] ** 2)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="dimensions"):
        metrics.path_distances(np.zeros((3, 2)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="reference"):
        metrics.path_distances(np.zeros((3, 2)), np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match="component=2"):
        metrics.latent_path(lambda x: x, [0.0, 0], [1.0, 1], 2)
    with pytest.raises(ValueError, match="no way"):
        metrics.latent_path(lambda x: x, [0.0, 0], [0.0, 1])
    with pytest.raises(ValueError, match="gradient of latent 0"):
        metrics.latent_path(lambda x: x.square(), [0.0, 0], [1.0, 1])
    with pytest.raises(ValueError, match="5 points"):
        metrics.best_component(np.zeros((4, 2)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="no length"):
        stats.string_method(lambda p: p, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="smaller step"):
        stats.string_method(lambda p: p * np.nan, np.eye(2))
    with pytest.raises(ValueError, match="n_points=1"):
        stats.string_method(lambda p: p, np.eye(2), n_points=1)
