from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from scgde.distances import median_bandwidth, mmd


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_kernel_is_scikit_learn_s():
    x, y = draw(1, 9, 3), draw(1, 14, 3, seed=1) + 0.5
    scales, h = (0.5, 2.0), 1.3

    def k(a, b):
        a, b = a[0].numpy(), b[0].numpy()
        return np.mean([rbf_kernel(a, b, 1 / (2 * (s * h) ** 2)) for s in scales], 0)

    biased = k(x, x).mean() + k(y, y).mean() - 2 * k(x, y).mean()
    ours = mmd(x, y, bandwidth=h, scales=scales)
    assert ours.item() == pytest.approx(biased, rel=1e-9)
    own = sum((k(a, a).sum() - n) / (n * (n - 1)) for a, n in ((x, 9), (y, 14)))
    ours = mmd(x, y, bandwidth=h, scales=scales, unbiased=True)
    assert ours.item() == pytest.approx(own - 2 * k(x, y).mean(), rel=1e-9)


def test_normals_have_the_closed_form():
    # k and the densities are Gaussian: E k = h / sqrt(h^2 + v) exp(-m^2 / 2 (h^2 + v)).
    def mean_kernel(m, v, h=1.0):
        return h / np.sqrt(h**2 + v) * np.exp(-(m**2) / 2 / (h**2 + v))

    expected = mean_kernel(0, 2) + mean_kernel(0, 8) - 2 * mean_kernel(1, 5)
    x, y = draw(1, 4000, 1), 1 + 2 * draw(1, 4000, 1, seed=1)
    ours = mmd(x, y, bandwidth=1.0, scales=(1.0,), unbiased=True)
    assert ours.item() == pytest.approx(expected, rel=0.1)


def test_default_bandwidth_is_one_for_the_batch_and_has_no_gradient():
    x, y = draw(3, 10, 2), draw(3, 12, 2, seed=1)
    x[1] *= 10
    h = median_bandwidth(x, y)
    torch.testing.assert_close(mmd(x, y), mmd(x, y, bandwidth=h))
    assert h != median_bandwidth(x[1:2], y[1:2])
    x.requires_grad_()
    assert not median_bandwidth(x, y).requires_grad
    gradient = torch.autograd.grad(mmd(x, y).sum(), x)[0]
    fixed = torch.autograd.grad(mmd(x, y, bandwidth=h).sum(), x)[0]
    torch.testing.assert_close(gradient, fixed)


def test_median_is_numpy_s():
    x, y = draw(4, 6, 2), draw(4, 6, 2, seed=1)
    pooled = torch.cat([x, y], 1)
    distances = np.concatenate([torch.pdist(p).numpy() for p in pooled])
    median = np.quantile(distances, 0.5, method="inverted_cdf")
    assert median_bandwidth(x, y).item() == pytest.approx(median, rel=1e-12)


def test_median_sees_weights_and_no_copies():
    x, y = draw(2, 5, 2), draw(2, 7, 2, seed=1)
    counts = torch.tensor([1, 3, 1, 2, 1])
    h = median_bandwidth(x, y, (counts / counts.sum()).expand(2, -1).double())
    assert h == median_bandwidth(x.repeat_interleave(counts, 1), y)
    padded = torch.cat([x, 1e6 * torch.ones(2, 9, 2)], 1)
    w = (torch.arange(14) < 5).expand(2, -1) / 5
    assert median_bandwidth(padded, y, w) == median_bandwidth(x, y)


def test_median_of_coincident_points_is_one():
    x = torch.zeros(2, 3, 2)
    assert median_bandwidth(x, x) == 1
    assert median_bandwidth(x, x + torch.tensor([3.0, 4.0])) == 5
    assert (mmd(x, x) == 0).all()


@pytest.mark.parametrize("shape", [(1, 4000, 2), (600, 90, 2)])
def test_huge_batches_are_thinned_and_say_the_same_again(shape):
    x, y = draw(*shape), draw(*shape, seed=1)
    h = median_bandwidth(x, y)
    assert h == median_bandwidth(x, y)
    assert h.item() == pytest.approx(2 * np.sqrt(np.log(2)), rel=0.03)  # Rayleigh, scale sqrt(2)
    # Two points with weight among many without are found.
    w = torch.zeros(shape[:2], dtype=x.dtype)
    w[:, [5, 70]] = 0.5
    few = median_bandwidth(x, x, w, w)
    assert few == median_bandwidth(x[:, [5, 70]], x[:, [5, 70]])


def test_arguments_are_checked():
    x = torch.randn(2, 4, 2)
    with pytest.raises(ValueError, match=r"bandwidth=0\.0 must be above zero"):
        mmd(x, x, bandwidth=0.0)
    with pytest.raises(ValueError, match="scales=-1 must be above zero"):
        mmd(x, x, scales=(1, -1))
    with pytest.raises(ValueError, match="is empty"):
        mmd(x, x, scales=())
    with pytest.raises(ValueError, match="at least two points"):
        mmd(x[:, :1], x, unbiased=True)
