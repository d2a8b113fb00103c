"""What single generators promise beyond the contract."""

from __future__ import annotations

import pytest
import torch

from scgde.distances import sinkhorn_divergence
from scgde.generators import GENERATORS


def test_normalizing_flow_is_a_density_and_its_inverse():
    torch.manual_seed(0)
    flow = GENERATORS.get("normalizing_flow")(2, 3, 16)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    z = torch.randn(1, 3)
    axis = torch.linspace(-12, 12, 400)
    grid = torch.cartesian_prod(axis, axis)[None]
    with torch.no_grad():
        log_prob = flow._cells(z, None).log_prob(grid)
        mass = log_prob.exp().sum() * (axis[1] - axis[0]) ** 2
        # Draws have the density that the loss says they have: E[-log p] is the entropy.
        drawn = flow.sample(z, 50_000, generator=torch.Generator().manual_seed(0))
        entropy = -(log_prob.exp() * log_prob).sum() * (axis[1] - axis[0]) ** 2
        loss = flow.loss(drawn, torch.full((1, 50_000), 1 / 50_000), z)
    assert mass.item() == pytest.approx(1, abs=0.01)
    assert loss.item() == pytest.approx(entropy.item(), abs=0.03)


def test_normalizing_flow_needs_two_features():
    with pytest.raises(ValueError, match="at least two"):
        GENERATORS.get("normalizing_flow")(1, 3, 16)


def test_wormhole_learns_latent_distances():
    """Free embeddings come to have the sets' Sinkhorn divergences as squared distances."""
    torch.manual_seed(0)
    generator = GENERATORS.get("wormhole")(2, 4, 16, n_partners=3)
    x = torch.randn(6, 20, 2) * 0.3 + torch.randn(6, 1, 2)
    w = torch.full((6, 20), 1 / 20)
    z = (0.3 * torch.randn(6, 4)).requires_grad_()
    optimizer = torch.optim.Adam([z, *generator.parameters()], 2e-2)
    for _ in range(200):
        optimizer.zero_grad()
        generator.loss(x, w, z).sum().backward()
        optimizer.step()
    i, j = torch.triu_indices(6, 6, 1)
    latent = (z[i] - z[j]).square().mean(1).detach()
    divergence = sinkhorn_divergence(x[i], x[j]) / generator.unit
    assert torch.corrcoef(torch.stack([latent, divergence]))[0, 1] > 0.98
    assert (latent / divergence).median().item() == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("name", ["energy", "mmd", "sliced_wasserstein", "sinkhorn"])
def test_implicit_generators_tell_batches_apart(name):
    """The mixture over batches would be matched by swapped batches too; the loss must not be."""
    torch.manual_seed(0)
    generator = GENERATORS.get(name)(2, 1, 32, n_batch=2)
    optimizer = torch.optim.Adam(generator.parameters(), 5e-3)
    z, w = torch.ones(4, 1), torch.full((4, 64), 1 / 64)
    for _ in range(400):
        batch = torch.randint(2, (4, 64))
        x = 0.5 * torch.randn(4, 64, 2) + 2 * batch[..., None] - 1
        optimizer.zero_grad()
        generator.loss(x, w, z, batch=batch).mean().backward()
        optimizer.step()
    for b in (0, 1):
        x = generator.eval().sample(z[:1], 1_000, batch=torch.full((1, 1_000), b))
        assert x.mean().item() == pytest.approx(2 * b - 1, abs=0.3)


def test_options_are_checked():
    with pytest.raises(ValueError, match="beta"):
        GENERATORS.get("energy")(2, 3, 16, beta=2.0)
    with pytest.raises(ValueError, match="blur"):
        GENERATORS.get("sinkhorn")(2, 3, 16, blur=0.0)
    with pytest.raises(ValueError, match="size"):
        GENERATORS.get("cvae")(2, 3, 16, size="none")


def test_energy_loss_is_that_of_the_population_and_below_zero_only_by_chance():
    """Unbiased: of cells from the generator itself it is zero on average."""
    torch.manual_seed(0)
    generator = GENERATORS.get("energy")(2, 3, 16)
    z, w = torch.randn(200, 3), torch.full((200, 16), 1 / 16)
    x = generator.sample(z, 16)
    losses = generator.loss(x, w, z).detach()
    assert abs(losses.mean()) < 4 * losses.std() / 200**0.5
    assert (generator.loss(x + 1, w, z) > 0).float().mean() > 0.9


@pytest.mark.parametrize(
    "name", [n for n in GENERATORS.names() if n != "cvae" and "dummy" not in n]
)
@pytest.mark.parametrize("d", [2, 50])
def test_two_to_fifty_dimensions(name, d):
    generator = GENERATORS.get(name)(d, 4, 16)
    x, w, z = torch.randn(3, 8, d), torch.full((3, 8), 1 / 8), torch.randn(3, 4)
    generator.loss(x, w, z).mean().backward()
    assert generator.sample(z, 9).shape == (3, 9, d)


def test_wormhole_draws_few_cells_as_it_draws_many():
    torch.manual_seed(0)
    generator = GENERATORS.get("wormhole")(2, 1, 16)
    optimizer = torch.optim.Adam(generator.parameters(), 5e-3)
    z, w = torch.ones(4, 1), torch.full((4, 32), 1 / 32)
    for _ in range(300):
        x = torch.randn(4, 32, 2) * torch.tensor([1.0, 0.3])
        optimizer.zero_grad()
        generator.loss(x, w, z).mean().backward()
        optimizer.step()
    generator.eval()
    one = generator.sample(torch.ones(500, 1), 1)[:, 0]
    many = generator.sample(z[:1], 500)[0]
    torch.testing.assert_close(one.std(0), many.std(0), rtol=0.2, atol=0.05)


@pytest.mark.parametrize("name", ["energy", "mmd", "sinkhorn", "sliced_wasserstein", "wormhole"])
def test_sets_of_one_cell_are_refused(name):
    with pytest.raises(ValueError, match="cells_per_population=2"):
        GENERATORS.get(name)(2, 1, 8).loss(torch.randn(2, 1, 2), torch.ones(2, 1), torch.ones(2, 1))


def test_an_unknown_batch_is_the_average_of_the_known_ones():
    from scgde.generators._networks import Condition

    condition = Condition(2, 3, 4)
    torch.nn.init.normal_(condition.batch.weight)
    z = torch.randn(1, 2)
    known = condition(z, torch.arange(3)[None])
    torch.testing.assert_close(known.mean(1), condition(z, torch.tensor([[-1]]))[:, 0])
    torch.testing.assert_close(known.mean(1), condition(z)[:, 0])
