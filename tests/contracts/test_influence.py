"""Every encoder's derivative by the weights is what a little more of a cell does."""

from __future__ import annotations

import pytest
import torch

from scgde.encoders import (
    ENCODERS,
    influence,
    linear_map,
    mean_jacobians,
    pooled_influence,
    sensitivities,
)

D, L = 7, 4


def made(name):
    torch.manual_seed(0)
    return ENCODERS.get(name)(D, L, 16).eval()


def cells(m=15, seed=1):
    """Two sets with unequal weights, the second padded."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, m, D, generator=generator)
    x[1] = 2 * x[1] + 1
    w = torch.rand(2, m, generator=generator) + 0.1
    w[1, m - 4 :] = 0
    return x, w / w.sum(1, keepdim=True)


differentiable = [name for name in ENCODERS.names() if ENCODERS.get(name).differentiable]
pooled = [name for name in ENCODERS.names() if ENCODERS.get(name).streams]


@torch.no_grad()
def fast(encoder, x, w, n_cells=None):
    """The influence by pooled layers, from pieces of cells."""
    n_cells = n_cells or x.shape[1]

    def chunks(size=None):
        for i in range(0, x.shape[1], size or n_cells):
            piece = slice(i, i + (size or n_cells))
            yield encoder.embed(x[:, piece]), w[:, piece]

    states, pools = encoder.layers(encoder.embed(x), w)
    readout, _ = linear_map(encoder.readout, pools[-1])
    jacobians = mean_jacobians(encoder, chunks, pools)
    return pooled_influence(states, pools, sensitivities(readout, jacobians))


@pytest.mark.parametrize("name", differentiable)
def test_influence_is_the_effect_of_a_little_more_of_a_cell(name):
    encoder = made(name).double()
    x, w = (a.double() for a in cells())
    psi = influence(encoder, x, w)
    step = 1e-6
    for i in range(x.shape[1] - 4):
        cell = torch.zeros_like(w)
        cell[:, i] = 1
        more = encoder(x, w + step * (cell - w)) - encoder(x, w - step * (cell - w))
        torch.testing.assert_close(more / (2 * step), psi[:, i], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", differentiable)
def test_influences_have_mean_zero(name):
    x, w = cells()
    mean = (influence(made(name), x, w) * w[..., None]).sum(1)
    torch.testing.assert_close(mean, torch.zeros(2, L), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_blocks", [None, 1, 2, 3])
@pytest.mark.parametrize("name", pooled)
def test_pooled_influence_is_that_of_autograd(name, n_blocks):
    """One and two blocks are written out, three are not; dense hidden layers, unequal weights."""
    if n_blocks is not None and name not in ("gnn", "resnet_gnn"):
        pytest.skip("this encoder has no blocks")
    torch.manual_seed(0)
    options = {} if n_blocks is None else {"n_blocks": n_blocks}
    encoder = ENCODERS.get(name)(D, L, 16, **options).eval()
    for parameter in encoder.parameters():  # norms start as the identity, which would hide errors
        parameter.data += 0.3 * torch.randn_like(parameter)
    x, w = cells()
    exact = influence(encoder, x, w)
    scale = exact.abs().max()
    torch.testing.assert_close(fast(encoder, x, w) / scale, exact / scale, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fast(encoder, x, w, 4) / scale, exact / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", pooled)
def test_known_pooled_vectors_are_not_computed_again(name):
    encoder = made(name)
    x, w = cells()
    embedded = encoder.embed(x)
    _, pools = encoder.layers(embedded, w)
    shifted = [pools[0] + 1]
    found = encoder.stream_pools(lambda: [(embedded, w)], shifted)
    assert found[0] is shifted[0]
    assert len(found) == encoder.n_updates + 1
    if encoder.n_updates:
        assert (found[1] - pools[1]).abs().max() > 1e-4
