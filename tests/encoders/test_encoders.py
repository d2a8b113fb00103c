"""What single encoders promise beyond the contract."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from scgde.encoders import ENCODERS

ATTENTION = ["self_attention", "resnet_transformer", "induced_attention", "wormhole"]


def test_kernel_mean_inner_products_approach_the_gaussian_kernel():
    torch.manual_seed(0)
    encoder = ENCODERS.get("kernel_mean")(3, 2, n_features=20_000, bandwidth=1.5)
    x, w = torch.randn(1, 4, 3), torch.full((1, 4), 0.25)
    features = encoder.embed(x)[0][0]
    inner = features @ features.T / 20_000
    kernel = torch.exp(-torch.cdist(x[0], x[0]).square() / (2 * 1.5**2))
    torch.testing.assert_close(inner, kernel, atol=0.03, rtol=0)
    assert encoder(x, w).shape == (1, 2)


def test_kernel_mean_takes_the_median_distance_as_bandwidth():
    torch.manual_seed(0)
    encoder = ENCODERS.get("kernel_mean")(3, 2, n_features=4_000)
    x = 7 * torch.randn(500, 3)
    encoder.initialize(x)
    assert 1 / encoder.frequency.std() == pytest.approx(torch.pdist(x).median().item(), rel=1e-3)
    fixed = ENCODERS.get("kernel_mean")(3, 2, n_features=4_000, bandwidth=2.0)
    fixed.initialize(x)
    assert 1 / fixed.frequency.std() == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("trained", [True, False])
def test_kernel_mean_trains_its_features_only_if_asked(trained):
    encoder = ENCODERS.get("kernel_mean")(3, 2, trained=trained)
    encoder(torch.randn(2, 5, 3), torch.full((2, 5), 0.2)).sum().backward()
    assert (encoder.frequency.grad is not None) == trained


def test_pca_mean_is_sklearn_s_pca_of_the_mean():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6))).astype(np.float32)
    encoder = ENCODERS.get("pca_mean")(6, 3)
    encoder.initialize(torch.from_numpy(x))
    z = encoder(torch.from_numpy(x[None, :50]), torch.full((1, 50), 0.02)).detach().numpy()[0]
    expected = PCA(3).fit(x).transform(x[:50]).mean(0)
    np.testing.assert_allclose(np.abs(z), np.abs(expected), rtol=1e-3, atol=1e-4)


def test_the_median_ignores_an_outlier_that_moves_the_mean():
    torch.manual_seed(0)
    x = torch.randn(1, 101, 4)
    moved = x.clone()
    moved[0, 0] = 1e4
    w = torch.full((1, 101), 1 / 101)
    shift = {}
    for name in ("median_gnn", "gnn"):
        encoder = ENCODERS.get(name)(4, 3, 16)
        shift[name] = (encoder(moved, w) - encoder(x, w)).norm().item()
    assert shift["median_gnn"] < 0.2 * shift["gnn"]


@pytest.mark.parametrize("name", ATTENTION)
def test_heads_must_divide_the_width(name):
    with pytest.raises(ValueError, match=r"n_hidden=10 must be a multiple of n_heads=4"):
        ENCODERS.get(name)(3, 2, 10)


def test_attention_equals_its_definition():
    from scgde.nn import MeasureAttention

    torch.manual_seed(0)
    attention = MeasureAttention(8, 2)
    queries, h = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    w = torch.softmax(torch.randn(2, 5), 1)
    q = attention.query(queries).unflatten(-1, (2, 4)).transpose(1, 2)
    k, v = (a.unflatten(-1, (2, 4)).transpose(1, 2) for a in attention.key_value(h).chunk(2, -1))
    mass = w[:, None, None] * torch.exp(q @ k.mT / 2)
    expected = ((mass / mass.sum(-1, keepdim=True)) @ v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(queries, h, w), attention.out(expected))


@pytest.mark.parametrize("name", ATTENTION)
def test_derivative_by_weights_is_that_of_the_measure(name):
    """Moving weight from one cell to another changes the embedding as the gradient says."""
    torch.manual_seed(0)
    encoder = ENCODERS.get(name)(3, 2, 16).double()
    x = torch.randn(1, 6, 3, dtype=torch.double)
    w = torch.full((1, 6), 1 / 6, dtype=torch.double, requires_grad=True)
    gradient = torch.autograd.grad(encoder(x, w)[0, 0], w)[0][0]
    move, step = torch.tensor([[1.0, -1, 0, 0, 0, 0]], dtype=torch.double), 1e-5
    with torch.no_grad():
        change = encoder(x, w + step * move) - encoder(x, w - step * move)
    assert change[0, 0].item() / (2 * step) == pytest.approx((gradient @ move[0]).item(), rel=1e-4)
    # At weight zero, where a cell is absent, it is what giving it a little weight would change.
    absent = torch.tensor([[0.0, 0.2, 0.2, 0.2, 0.2, 0.2]], dtype=torch.double, requires_grad=True)
    gradient = torch.autograd.grad(encoder(x, absent)[0, 0], absent)[0][0]
    with torch.no_grad():
        change = encoder(x, absent + 1e-6 * move) - encoder(x, absent)
    assert change[0, 0].item() / 1e-6 == pytest.approx((gradient @ move[0]).item(), rel=1e-3)


@pytest.mark.parametrize("name", ATTENTION)
def test_fifty_thousand_cells_in_one_set_stay_below_two_gigabytes(name):
    """In a process of its own, whose peak memory is the measurement."""
    script = f"""
import resource, torch
from scgde.encoders import ENCODERS
encoder = ENCODERS.get({name!r})(5, 8, 32, n_blocks=1, n_heads=1)
x = torch.randn(1, 50_000, 5)
with torch.inference_mode():
    z = encoder(x, torch.full((1, 50_000), 1 / 50_000))
assert z.isfinite().all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=300, capture_output=True, text=True
    )
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 2e9
