"""Sliced, Sinkhorn and exact transport against scipy, POT and closed forms."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import scipy.stats
import torch

from scgde.distances import sinkhorn_divergence, sliced_wasserstein, wasserstein


@pytest.fixture
def weighted():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20, 3)), rng.normal(1, 2, size=(2, 35, 3))
    wx, wy = rng.dirichlet(np.ones(20), 2), rng.dirichlet(np.ones(35), 2)
    return tuple(torch.tensor(t) for t in (x, y, wx, wy))


def test_exact_in_one_dimension_is_scipy_s(weighted):
    x, y, wx, wy = weighted
    for p in (1, 2):
        ours = wasserstein(x[..., :1], y[..., :1], wx, wy, p=p)
        sliced = sliced_wasserstein(x[..., :1], y[..., :1], wx, wy, p=p, n_projections=2)
        torch.testing.assert_close(sliced, ours)
    expected = scipy.stats.wasserstein_distance(x[0, :, 0], y[0, :, 0], wx[0], wy[0])
    assert wasserstein(x[..., :1], y[..., :1], wx, wy, p=1)[0].item() == pytest.approx(expected)


def test_exact_is_pot_s(weighted):
    x, y, wx, wy = weighted
    cost = ot.dist(x[1].numpy(), y[1].numpy())
    expected = ot.emd2(wx[1].numpy(), wy[1].numpy(), cost) ** 0.5
    assert wasserstein(x, y, wx, wy)[1].item() == pytest.approx(expected, rel=1e-9)


def test_exact_agrees_with_assignment():
    x, y = torch.randn(1, 40, 4), torch.randn(1, 40, 4)
    cost = torch.cdist(x[0], y[0]).square().numpy()
    rows, columns = scipy.optimize.linear_sum_assignment(cost)
    expected = cost[rows, columns].mean() ** 0.5
    assert wasserstein(x, y).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_sliced_is_pot_s(weighted, p):
    x, y, wx, wy = weighted
    directions = torch.randn(50, 3, generator=torch.Generator().manual_seed(7)).double()
    directions = (directions / directions.norm(dim=1, keepdim=True)).T.numpy()
    for a, b in ((wx, wy), (None, None)):
        ours = sliced_wasserstein(
            x, y, a, b, n_projections=50, p=p, generator=torch.Generator().manual_seed(7)
        )
        expected = ot.sliced_wasserstein_distance(
            x[0].numpy(),
            y[0].numpy(),
            None if a is None else a[0].numpy(),
            None if b is None else b[0].numpy(),
            projections=directions,
            p=p,
        )
        assert ours[0].item() == pytest.approx(expected, rel=1e-6)


def test_sliced_shift_has_the_closed_form():
    # A shift v moves direction t by (t.v)^2, |v|^2 / d on average.
    x = torch.randn(1, 30, 4, dtype=torch.float64)
    shifted = sliced_wasserstein(x, x + 1, n_projections=20_000, root=False)
    assert shifted.item() == pytest.approx(1.0, rel=0.03)
    root = sliced_wasserstein(x, x + 1, n_projections=20_000)
    torch.testing.assert_close(root, shifted.sqrt())


def test_sliced_directions_come_from_the_generator():
    x, y = torch.randn(1, 9, 3), torch.randn(1, 9, 3)
    assert sliced_wasserstein(x, y) == sliced_wasserstein(x, y)
    generator = torch.Generator().manual_seed(3)
    first, second = (sliced_wasserstein(x, y, generator=generator) for _ in range(2))
    assert first != second
    again = sliced_wasserstein(x, y, generator=torch.Generator().manual_seed(3))
    assert first == again


def test_sinkhorn_tends_to_exact_transport(weighted):
    x, y, wx, wy = weighted
    exact = wasserstein(x, y, wx, wy).square()
    near = sinkhorn_divergence(x, y, wx, wy, blur=0.02, scaling=0.99)
    torch.testing.assert_close(near, exact, rtol=3e-3, atol=0)


def test_sinkhorn_of_a_large_blur_is_the_shift_of_the_means(weighted):
    # The limit for large epsilon is the MMD of the kernel -|x - y|^2 / 2: twice it is |shift|^2.
    x, y, wx, wy = weighted
    shift = torch.einsum("bn,bnd->bd", wx, x) - torch.einsum("bn,bnd->bd", wy, y)
    value = sinkhorn_divergence(x, y, wx, wy, blur=200.0)
    torch.testing.assert_close(value, shift.square().sum(1), rtol=1e-3, atol=0)


def test_sinkhorn_is_pot_s():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(25, 2)), rng.normal(0.5, 1, size=(30, 2))
    ours = sinkhorn_divergence(torch.tensor(x)[None], torch.tensor(y)[None], blur=1.0, scaling=0.98)

    def dual(a, b):  # POT's own value leaves the entropy out
        wa, wb = np.full(len(a), 1 / len(a)), np.full(len(b), 1 / len(b))
        cost = ot.dist(a, b) / 2
        plan = ot.sinkhorn(wa, wb, cost, 1.0, method="sinkhorn_log", numItermax=5000)
        return (plan * cost).sum() + (plan * np.log(plan / np.outer(wa, wb))).sum()

    expected = 2 * dual(x, y) - dual(x, x) - dual(y, y)
    assert ours.item() == pytest.approx(expected, rel=1e-3)


def test_sinkhorn_ignores_padding_far_beyond_the_blur():
    x, y = torch.randn(1, 6, 2), torch.randn(1, 6, 2)
    padded = torch.cat([x, torch.full((1, 3, 2), 1e3)], 1)
    w = (torch.arange(9) < 6)[None] / 6
    torch.testing.assert_close(
        sinkhorn_divergence(padded, y, w, blur=0.01), sinkhorn_divergence(x, y, blur=0.01)
    )


def test_sinkhorn_leaves_the_gradient_mode_alone():
    x, y = torch.randn(1, 6, 2, requires_grad=True), torch.randn(1, 6, 2)
    with torch.no_grad():
        assert not sinkhorn_divergence(x, y).requires_grad
        assert not torch.is_grad_enabled()
    assert sinkhorn_divergence(x, y).requires_grad


def test_coincident_samples_of_one_point():
    x = torch.ones(2, 1, 3)
    assert (sinkhorn_divergence(x, x) == 0).all()
    assert (wasserstein(x, x) == 0).all()
    assert (sliced_wasserstein(x, x) == 0).all()


def test_arguments_are_checked():
    x = torch.randn(2, 4, 2)
    for distance in (wasserstein, sliced_wasserstein):
        with pytest.raises(ValueError, match=r"p=0\.5 must be at least 1"):
            distance(x, x, p=0.5)
    with pytest.raises(ValueError, match="n_projections=0 must be above zero"):
        sliced_wasserstein(x, x, n_projections=0)
    with pytest.raises(ValueError, match="blur=-1 must be above zero"):
        sinkhorn_divergence(x, x, blur=-1)
    with pytest.raises(ValueError, match="scaling=1 must be between 0 and 1"):
        sinkhorn_divergence(x, x, scaling=1)
