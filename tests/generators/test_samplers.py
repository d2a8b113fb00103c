"""Diffusion and flow matching: solvers, guidance, dropout, coupling."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scgde.generators import GENERATORS
from scgde.generators.flow_matching import _coupled

SCALE, MEAN = 0.4, torch.tensor([1.5, -0.5])


def optimal(name: str, **options):
    """Return a generator of N(MEAN, SCALE^2 I) that has learned its field perfectly."""
    generator = GENERATORS.get(name)(2, 3, 16, **options).eval()

    def exact(x, condition, t):
        if name == "flow_matching":
            # x_t ~ N(t MEAN, s^2) with s^2 = (1-t)^2 + t^2 SCALE^2; v = d/dt of its transport.
            s2 = (1 - t) ** 2 + (t * SCALE) ** 2
            return MEAN + (x - t[..., None] * MEAN) * ((t * SCALE**2 - (1 - t)) / s2)[..., None]
        level = (t * generator.n_noise_levels).round().long()
        kept = generator.log_kept[level].exp()[..., None]
        off = (x - kept.sqrt() * MEAN) / (kept * SCALE**2 + 1 - kept)
        noise, cell = (1 - kept).sqrt() * off, MEAN + kept.sqrt() * SCALE**2 * off
        return kept.sqrt() * noise - (1 - kept).sqrt() * cell

    generator.field.net.forward = exact
    return generator


def error(generator, n_cells=40_000, **options):
    """Return how far drawn moments are from the true ones."""
    noise = torch.Generator().manual_seed(0)
    x = generator.sample(torch.zeros(1, 3), n_cells, generator=noise, **options)[0]
    return max((x.mean(0) - MEAN).abs().max().item(), (x.std(0) - SCALE).abs().max().item())


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun"])
def test_flow_solvers_reach_the_population(method):
    generator = optimal("flow_matching")
    assert error(generator, n_steps=100, method=method) < 0.02


def test_second_order_needs_fewer_steps():
    flow = optimal("flow_matching")
    euler = error(flow, n_steps=10, method="euler")
    assert error(flow, n_steps=5, method="midpoint") < euler
    assert error(flow, n_steps=10, method="heun") < 0.3 * euler
    diffusion = optimal("ddpm")
    assert error(diffusion, n_steps=10, method="dpm") < 0.5 * error(
        diffusion, n_steps=10, method="ddim"
    )


@pytest.mark.parametrize(
    ("method", "n_steps"), [("ancestral", 400), ("ddim", 400), ("dpm", 20), ("dpm", 400)]
)
def test_diffusion_solvers_reach_the_population(method, n_steps):
    assert error(optimal("ddpm"), n_steps=n_steps, method=method) < 0.02


def test_ten_calls_are_ten_calls():
    generator = optimal("ddpm")
    exact, calls = generator.field.net.forward, []
    generator.field.net.forward = lambda *a: calls.append(1) or exact(*a)
    generator.sample(torch.zeros(1, 3), 5, n_steps=10)
    assert len(calls) == 10


@pytest.mark.parametrize("n_steps", [1, 2, 10, 399, 400])
def test_levels_fall_from_the_last_to_zero_each_once(n_steps):
    levels = GENERATORS.get("ddpm")(2, 3, 16)._levels(n_steps)
    assert levels[0] == 400
    assert levels[-1] == 0
    assert len(levels) == n_steps + 1
    assert (np.diff(levels) < 0).all()


@pytest.mark.parametrize("name", ["ddpm", "flow_matching"])
def test_context_dropout_truly_drops(name):
    """The published mask kept what it should have dropped."""
    torch.manual_seed(0)
    generator = GENERATORS.get(name)(2, 3, 16, context_dropout=0.75).train()
    z = torch.randn(2_000, 3, requires_grad=True)
    x, w = torch.randn(2_000, 4, 2), torch.full((2_000, 4), 0.25)
    generator.loss(x, w, z).sum().backward()
    unseen = (z.grad.abs().sum(1) == 0).float().mean().item()
    assert unseen == pytest.approx(0.75, abs=0.04)
    assert generator.field.any_population.grad.abs().sum() > 0
    # Never when evaluated.
    z.grad = None
    generator.eval().loss(x, w, z).sum().backward()
    assert (z.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", ["ddpm", "flow_matching"])
def test_guidance_moves_away_from_the_average_population(name):
    torch.manual_seed(0)
    generator = GENERATORS.get(name)(1, 1, 32, context_dropout=0.3)
    optimizer = torch.optim.Adam(generator.parameters(), 5e-3)
    z = torch.tensor([[-1.0], [1.0]])
    for _ in range(500):
        x = 0.5 * torch.randn(2, 64, 1) + z[:, None]
        optimizer.zero_grad()
        generator.train().loss(x, torch.full((2, 64), 1 / 64), z).mean().backward()
        optimizer.step()

    def mean(scale):
        noise = torch.Generator().manual_seed(0)
        x = generator.eval().sample(z, 2_000, generator=noise, guidance_scale=scale)
        return x.mean((1, 2))

    assert (mean(2.5) * z[:, 0] > mean(1.0) * z[:, 0] + 0.02).all()


@pytest.mark.parametrize("name", ["ddpm", "flow_matching"])
def test_guidance_needs_a_generator_trained_for_it(name):
    generator = GENERATORS.get(name)(2, 3, 16)
    with pytest.raises(ValueError, match="context_dropout"):
        generator.sample(torch.zeros(1, 3), 5, guidance_scale=2.0)
    with pytest.raises(ValueError, match="eular"):
        generator.sample(torch.zeros(1, 3), 5, method="eular")
    with pytest.raises(ValueError, match="context_dropout"):
        GENERATORS.get(name)(2, 3, 16, context_dropout=1.0)


def test_bad_steps_are_refused():
    with pytest.raises(ValueError, match="n_steps"):
        GENERATORS.get("flow_matching")(2, 3, 16).sample(torch.zeros(1, 3), 5, n_steps=0)
    with pytest.raises(ValueError, match="n_steps=401"):
        GENERATORS.get("ddpm")(2, 3, 16).sample(torch.zeros(1, 3), 5, n_steps=401)
    with pytest.raises(ValueError, match="beta_end"):
        GENERATORS.get("ddpm")(2, 3, 16, beta_end=2.0)


def test_coupling_is_the_optimal_assignment():
    torch.manual_seed(0)
    noise, x = torch.randn(3, 40, 2), torch.randn(3, 40, 2) + 1
    w = torch.full((3, 40), 1 / 40)
    paired = _coupled(noise, x, w)
    for b in range(3):
        assert torch.equal(paired[b].sort(0).values, noise[b].sort(0).values)
    assert (paired - x).square().sum() < 0.7 * (noise - x).square().sum()


def test_coupling_keeps_noise_normal_in_every_batch():
    """Coupled over batches, the noise of a batch would lie on its own side."""
    torch.manual_seed(0)
    batch = torch.arange(400).remainder(2).expand(2, -1)
    x = 4.0 * batch[..., None] + torch.randn(2, 400, 1)
    noise = torch.randn(2, 400, 1)
    paired = _coupled(noise, x, torch.full((2, 400), 1 / 400), batch)
    for b in (0, 1):
        assert abs(paired[batch == b].mean()) < 0.2
        assert paired[batch == b].std().item() == pytest.approx(1, abs=0.15)


def test_coupling_follows_weights():
    """A cell of half the weight has its partners in half of the noise."""
    torch.manual_seed(0)
    noise = torch.linspace(-2, 2, 200)[None, :, None]
    x = torch.zeros(1, 200, 1)
    x[0, 0] = 3.0
    w = torch.full((1, 200), 0.5 / 199)
    w[0, 0] = 0.5
    partners = torch.stack([_coupled(noise, x, w)[0, 0, 0] for _ in range(50)])
    assert (partners > -0.1).all()
    assert partners.std() > 0.3
