"""Every distance is a function of two weighted measures, whatever the order and the sizes."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from scgde import distances as d

SMOOTH = {
    "energy": d.energy_distance,
    "energy_half": partial(d.energy_distance, beta=0.5),
    "energy_more": partial(d.energy_distance, beta=1.5),
    "energy_unbiased": partial(d.energy_distance, unbiased=True),
    "mmd": d.mmd,
    "mmd_unbiased": partial(d.mmd, unbiased=True),
    "sliced": partial(d.sliced_wasserstein, n_projections=20),
    "sliced_1": partial(d.sliced_wasserstein, n_projections=20, p=1),
    "sinkhorn": d.sinkhorn_divergence,
}
OTHERS = {
    "wasserstein": d.wasserstein,
    "wasserstein_1": partial(d.wasserstein, p=1),
    "bures": d.bures_wasserstein,
    "gmm": partial(d.gmm_wasserstein, n_components=2),
    "knn": partial(d.knn_divergence, k=3),
}
ALL = {**SMOOTH, **OTHERS}
# Pairs of a point with itself are left out of these, so copies of a point are not its weight.
WITHOUT_SELF = {"energy_unbiased", "mmd_unbiased", "knn"}

over = pytest.mark.parametrize


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 12, 2, generator=generator, dtype=torch.float64)
    y = 1 + 2 * torch.randn(3, 17, 2, generator=generator, dtype=torch.float64)
    return x, y


def weights(n: int) -> torch.Tensor:
    w = 1 + torch.arange(n, dtype=torch.float64) % 3
    return (w / w.sum()).expand(3, -1)


@over("name", sorted(ALL.keys() - WITHOUT_SELF))
def test_a_sample_is_at_zero_from_itself_alone(name, samples):
    x, y = samples
    w = weights(12)
    zero = torch.zeros(3, dtype=x.dtype)
    torch.testing.assert_close(ALL[name](x, x, w, w), zero, atol=1e-7, rtol=0)
    assert (ALL[name](x, y) > 0.01).all()


@over("name", ALL)
def test_symmetric_and_blind_to_order(name, samples):
    x, y = samples
    wx, wy = weights(12), weights(17)
    value = ALL[name](x, y, wx, wy)
    assert value.shape == (3,)
    torch.testing.assert_close(ALL[name](y, x, wy, wx), value)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ALL[name](x[:, order], y, wx[:, order], wy), value)


@over("name", ALL)
def test_weight_zero_is_absence(name, samples):
    x, y = samples
    far = torch.full((3, 1, 2), 1e4, dtype=x.dtype)  # before, between and after the others
    padded = torch.cat([far, x[:, :5], -far, x[:, 5:], far], 1)
    w = torch.ones(3, 15, dtype=x.dtype)
    w[:, [0, 6, 14]] = 0
    torch.testing.assert_close(ALL[name](padded, y, w / 12), ALL[name](x, y))
    torch.testing.assert_close(ALL[name](y, padded, None, w / 12), ALL[name](y, x))


@over("name", sorted(ALL.keys() - WITHOUT_SELF))
def test_integer_weights_are_repetition(name, samples):
    x, y = samples
    counts = 1 + torch.arange(12) % 3
    repeated = ALL[name](x.repeat_interleave(counts, 1), y)
    torch.testing.assert_close(ALL[name](x, y, weights(12)), repeated)


@over("name", ALL)
def test_equal_weights_are_the_default(name, samples):
    x, y = samples
    w = torch.full((3, 12), 1 / 12)  # in float32, on purpose
    torch.testing.assert_close(
        ALL[name](x, y[:, :12], w, w), ALL[name](x, y[:, :12]), rtol=1e-5, atol=1e-7
    )


@over("name", ALL)
def test_rows_are_separate(name, samples):
    x, y = samples
    y = y * torch.tensor([1.0, 3.0, 9.0], dtype=y.dtype)[:, None, None]
    distance = partial(ALL[name], bandwidth=1.0) if name.startswith("mmd") else ALL[name]
    alone = torch.cat([distance(x[b : b + 1], y[b : b + 1]) for b in range(3)])
    # Sinkhorn's descent starts at the width of the widest row, and is not run to convergence.
    rtol = 2e-3 if name == "sinkhorn" else 1e-7
    torch.testing.assert_close(distance(x, y), alone, rtol=rtol, atol=1e-9)


@over("dtype", [torch.float32, torch.float64])
@over("name", SMOOTH)
def test_gradients_are_finite(name, dtype, samples):
    x, y = (s.to(dtype) for s in samples)
    y[0, :12] = x[0]  # points that coincide across samples,
    x[1, 3] = x[1, 4]  # within one,
    x[2] = y[2] = 0  # and everywhere
    w = weights(12).to(dtype).clone()
    w[:, 0] = 0
    w = w / w.sum(1, keepdim=True)
    for other in (y, y[:, :12]):
        for wx in (None, w):
            leaf = x.clone().requires_grad_()
            value = SMOOTH[name](leaf, other, wx)
            assert value.dtype == dtype
            value.sum().backward()
            assert leaf.grad.isfinite().all()
            assert leaf.grad[1].any()
            if wx is not None:
                assert not leaf.grad[:, 0].any()


@over("name", SMOOTH)
def test_gradient_is_the_slope(name, samples):
    x, y = samples
    distance = partial(SMOOTH[name], bandwidth=1.0) if name.startswith("mmd") else SMOOTH[name]
    if name == "sinkhorn":
        distance = partial(distance, blur=2.0, scaling=0.99)  # its gradient is that of the limit
    x.requires_grad_()
    distance(x, y).sum().backward()
    step = 1e-5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    with torch.no_grad():
        change = distance(x + step, y) - distance(x - step, y)
    expected = 2 * (x.grad * step).sum((1, 2))
    tolerance = 0.01 if name == "sinkhorn" else 1e-4
    size = x.grad.flatten(1).norm(dim=1) * step.flatten(1).norm(dim=1)
    assert ((change - expected).abs() < tolerance * size).all()


@over("name", OTHERS)
def test_what_is_exact_is_double_and_detached(name, samples):
    x, y = samples
    value = OTHERS[name](x.float().requires_grad_(), y.float())
    assert value.dtype == torch.float64
    assert not value.requires_grad


@pytest.mark.gpu
@over("name", ALL)
def test_gpu_equals_cpu(name, samples):
    x, y = samples
    w = weights(12)
    value = ALL[name](x.cuda(), y.cuda(), w.cuda())
    assert value.device.type == "cuda"
    torch.testing.assert_close(value.cpu(), ALL[name](x, y, w))


@over("name", ALL)
def test_bad_input_is_explained(name, samples):
    distance = ALL[name]
    x, y = samples
    w = weights(12)
    with pytest.raises(ValueError, match=r"x and y must be \(B, n, d\)"):
        distance(x[0], y[0])
    with pytest.raises(ValueError, match=r"x and y must be \(B, n, d\)"):
        distance(x, y[:2])
    with pytest.raises(ValueError, match="y has no points"):
        distance(x, y[:, :0])
    with pytest.raises(ValueError, match=r"wx must be \(3, 12\)"):
        distance(x, y, w[:, 1:])
    with pytest.raises(ValueError, match="Row 1 of wx sums to 2, not one"):
        distance(x, y, w * torch.tensor([1, 2, 1])[:, None])
    with pytest.raises(ValueError, match="wx has negative values"):
        distance(x, y, 3 * w - 2 / 12)
    with pytest.raises(ValueError, match="Row 0 of wx sums to nan"):
        distance(x, y, w * torch.nan)


@over("name", SMOOTH)
def test_dtypes_are_checked(name, samples):
    x, y = samples
    with pytest.raises(ValueError, match="one floating dtype"):
        SMOOTH[name](x.float(), y)
    with pytest.raises(ValueError, match="one floating dtype"):
        SMOOTH[name](x.long(), y.long())
