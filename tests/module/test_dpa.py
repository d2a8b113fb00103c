from __future__ import annotations

import numpy as np
import pytest
import torch

from scgde.module import DPAModule
from scgde.nn import StackedLinear, seeded


@pytest.fixture
def module():
    with seeded(0):
        module = DPAModule(5, 3, n_hidden=16, n_noise=4, n_members=2)
    module.initialize(0, torch.arange(5.0), torch.arange(5.0) + 1)
    module.initialize(1, -torch.ones(5), torch.full((5,), 4.0))
    return module


def test_members_of_stacked_layers_are_independent_networks():
    layer, x = StackedLinear(3, 4, 2), torch.randn(3, 7, 4)
    for e in range(3):
        alone = torch.addmm(layer.bias[e, 0], x[e], layer.weight[e])
        torch.testing.assert_close(layer(x)[e], alone)


def test_standardisation_by_scale_keeps_the_geometry(module):
    x = torch.randn(2, 9, 5)
    z = module.standardized(x)
    for e, scale in enumerate([3.0**0.5, 2.0]):
        torch.testing.assert_close(torch.cdist(z[e], z[e]), torch.cdist(x[e], x[e]) / scale)


def test_constant_features_are_left_alone():
    module = DPAModule(2, 1, standardize="feature")
    module.initialize(0, torch.tensor([3.0, 1e4]), torch.tensor([4.0, 1e-4]))
    assert module.scale.flatten().tolist() == [2, 1]


def test_a_level_is_blind_to_the_latents_after_it(module):
    z = torch.randn(2, 50, 3)
    other = torch.cat([z[..., :2], torch.randn(2, 50, 1)], -1)

    def drawn(z, k):
        return module.decode(z, k, generator=torch.Generator().manual_seed(1))

    torch.testing.assert_close(drawn(z, 2), drawn(other, 2))
    assert not torch.allclose(drawn(z, 3), drawn(other, 3))
    mixed = drawn(z, torch.tensor([2, 3]).repeat(2, 25))
    same = torch.isclose(mixed, drawn(other, torch.tensor([2, 3]).repeat(2, 25))).all(-1)
    assert same[:, ::2].all()
    assert not same[:, 1::2].any()


def test_draws_of_a_level_are_those_of_the_decoder(module):
    """The batched decode of all levels has the distribution of decoding them one by one."""
    x = torch.randn(2, 1, 5).expand(-1, 4_000, -1)
    standardized = module.standardized(x)
    levels = torch.arange(4).expand(2, 4_000, -1)
    with torch.no_grad(), seeded(1):
        first, second = module._draws(standardized, levels, None)
        z = module.encode(x)
        for k in range(4):
            alone = module.standardized(module.decode(z, k))
            for drawn in (first, second):
                error = alone.std(1) * (2 / 4_000) ** 0.5
                assert ((drawn[:, :, k].mean(1) - alone.mean(1)).abs() < 5 * error).all()
                np.testing.assert_allclose(drawn[:, :, k].std(1), alone.std(1), rtol=0.1)
            apart = torch.stack([first[0, :, k, 0], second[0, :, k, 0]])
            assert abs(torch.corrcoef(apart)[0, 1]) < 0.08  # the two draws are independent


def test_energy_score_by_hand(module):
    x, first, second = torch.randn(3, 2, 6, 1, 5)
    score = module._energy_scores(x[:, :, 0], first, second)[..., 0]
    by_hand = (
        (first - x).norm(dim=-1) + (second - x).norm(dim=-1) - (first - second).norm(dim=-1)
    ) / 2
    torch.testing.assert_close(score, by_hand[..., 0], atol=1e-5, rtol=1e-4)


def test_at_beta_two_the_score_is_the_squared_distance_to_the_mean():
    """PROTOCOLS, Section 6: ``L_k = E|X - E[d | z]|^2``; here draw by draw."""
    module = DPAModule(4, 2, n_hidden=8, n_noise=3, beta=2.0)
    losses, residuals = module.level_losses(torch.randn(1, 20, 4), with_residuals=True)
    torch.testing.assert_close(losses, residuals, atol=1e-5, rtol=1e-4)


def test_random_levels_have_the_loss_of_all_levels():
    module = DPAModule(3, 6, n_hidden=16, n_noise=4, levels_per_step=3)
    x = torch.randn(1, 400, 3)
    with torch.no_grad(), seeded(0):
        some = torch.stack([module.train().loss({"x": x}).loss for _ in range(60)])
        every = torch.stack([module.eval().loss({"x": x}).loss for _ in range(60)])
    error = ((some.var() + every.var()) / 60).sqrt()
    assert abs(some.mean() - every.mean()) < 4 * error


def test_random_levels_are_spread_evenly_over_the_batch():
    module = DPAModule(3, 8, levels_per_step=3)
    levels = module._some_levels(2, 100, 3, torch.device("cpu"))
    assert (levels[..., 0] == 0).all()
    for member in levels:
        assert torch.bincount(member[:, 1:].flatten(), minlength=9).tolist() == [0] + [25] * 8


def test_members_can_be_kept(module):
    x = torch.randn(2, 4, 5)
    z = module.encode(x)
    module.keep(torch.tensor([1]))
    torch.testing.assert_close(module.encode(x[1:]), z[1:])
    assert module.n_members == 1


def test_gradients_reach_the_cells(module):
    x = torch.randn(2, 4, 5, requires_grad=True)
    module.encode(x)[..., 0].sum().backward()
    assert (x.grad.abs().sum(-1) > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0}, "beta=0 must be above 0"),
        ({"beta": 2.5}, "at most 2"),
        ({"n_layers": 1}, "n_layers=1"),
        ({"standardize": "cell"}, "standardize='cell'"),
        ({"levels_per_step": 0}, "levels_per_step=0"),
        ({"levels_per_step": 1}, "trains no encoder"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        DPAModule(3, 2, **options)
