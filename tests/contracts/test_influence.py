"""Every encoder's derivative by the weights is what a little more of a cell does."""

from __future__ import annotations

import pytest
import torch

from scgde.encoders import ENCODERS, Tape, influence, linear_map, pooled_influence

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


def fast(encoder, x, w, sample=None):
    states, pools = encoder.layers(x, w)
    tape = Tape(encoder, [(x, w)] if sample is None else sample, pools)
    readout, _ = linear_map(encoder.readout, pools[-1])
    return pooled_influence(states, pools, tape.sensitivities(readout))


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


@pytest.mark.parametrize("name", pooled)
def test_pooled_influence_is_that_of_autograd(name):
    encoder = made(name)
    x, w = cells()
    exact = influence(encoder, x, w)
    torch.testing.assert_close(fast(encoder, x, w).detach(), exact, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", pooled)
def test_tape_in_pieces(name):
    encoder = made(name)
    x, w = cells()
    pieces = [(x[:, i : i + 4], w[:, i : i + 4]) for i in range(0, x.shape[1], 4)]
    torch.testing.assert_close(fast(encoder, x, w, pieces), fast(encoder, x, w))


@pytest.mark.parametrize("name", ["gnn", "resnet_gnn"])
def test_jacobians_make_the_same_sensitivities(name):
    encoder = made(name)
    x, w = cells()
    _, pools = encoder.layers(x, w)
    tape = Tape(encoder, [(x, w)], pools)
    readout, _ = linear_map(encoder.readout, pools[-1])
    j = tape.jacobians()
    assert set(j) == {(1, 0), (2, 0), (2, 1)}
    second = readout @ j[2, 1]
    first = second @ j[1, 0] + readout @ j[2, 0]
    for made_, found in zip((first, second), tape.sensitivities(readout), strict=False):
        torch.testing.assert_close(made_, found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", pooled)
def test_known_pooled_vectors_are_not_computed_again(name):
    encoder = made(name)
    x, w = cells()
    _, pools = encoder.layers(x, w)
    shifted = [pools[0] + 1]
    found = encoder.stream_pools(lambda: [(x, w)], shifted)
    assert found[0] is shifted[0]
    if encoder.n_updates:
        assert (found[1] - pools[1]).abs().max() > 1e-4
    else:
        assert len(found) == 1
