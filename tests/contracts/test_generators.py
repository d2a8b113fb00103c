"""Every registered generator explains sets and resamples them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scgde.data import dense
from scgde.generators import GENERATORS

D, L = 5, 3
OPTIONS = {
    "cvae": [
        *({"likelihood": k} for k in ("normal", "poisson", "nb", "zinb")),
        {"likelihood": "poisson", "size": "free"},
    ],
    "flow_matching": [{}, {"coupling": "ot"}],
}
CASES = [(name, options) for name in GENERATORS.names() for options in OPTIONS.get(name, [{}])]


@pytest.fixture(params=CASES, ids=lambda case: "-".join([case[0], *case[1].values()]))
def generator(request):
    name, options = request.param
    torch.manual_seed(0)
    return GENERATORS.get(name)(D, L, 32, n_batch=2, **options)


def cells(generator, n_sets=4, m=6, seed=0):
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(n_sets, m, D, generator=noise)
    if generator.space == "counts":
        return torch.poisson(5 * x.exp(), generator=noise) + 1
    return x


def loss(generator, x, z, w=None, batch=None):
    w = torch.full(x.shape[:2], 1 / x.shape[1]) if w is None else w
    return generator.loss(x, w, z, library=dense(x).sum(-1), batch=batch)


def test_loss_is_one_number_a_set(generator):
    assert loss(generator, cells(generator), torch.randn(4, L)).shape == (4,)


def test_gradient_into_the_embedding_is_finite_and_not_zero(generator):
    z = torch.randn(4, L, requires_grad=True)
    loss(generator, cells(generator), z).sum().backward()
    assert z.grad.isfinite().all()
    assert (z.grad.abs().sum(1) > 0).all()


def test_zero_weight_is_absence(generator):
    x, z = cells(generator), torch.randn(4, L)
    padded = torch.cat([x, x[:, :2] + 3], 1)
    w = torch.cat([torch.full((4, 6), 1 / 6), torch.zeros(4, 2)], 1)
    values = []
    for cells_, weight in ((x, None), (padded, w)):
        draws = []
        for seed in range(200):  # the loss has noise of its own
            torch.manual_seed(seed)
            draws.append(loss(generator, cells_, z, weight).detach())
        values.append(torch.stack(draws).mean(0))
    torch.testing.assert_close(*values, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("n_cells", [1, 7, 300])
def test_samples_any_number_of_cells(generator, n_cells):
    x = generator.eval().sample(
        torch.randn(2, L), n_cells, generator=torch.Generator().manual_seed(0)
    )
    assert x.shape == (2, n_cells, D)
    assert x.isfinite().all()


def test_sampling_is_seeded_and_leaves_the_global_state_alone(generator):
    z = torch.randn(2, L)
    draws, state = [], torch.get_rng_state()
    for seed in (3, 3, 4):
        draws.append(generator.sample(z, 20, generator=torch.Generator().manual_seed(seed)))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(state, torch.get_rng_state())


def test_batch_changes_what_is_drawn_only_if_known(generator):
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    z = torch.randn(1, L)

    def draw(batch):
        batch = None if batch is None else torch.full((1, 50), batch)
        return generator.sample(z, 50, generator=torch.Generator().manual_seed(0), batch=batch)

    assert not torch.equal(draw(0), draw(1))
    assert torch.equal(draw(-1), draw(None))


def test_recovers_a_known_population(generator):
    """Two populations that differ in mean and spread come back from their embeddings."""
    torch.manual_seed(0)
    z = torch.eye(2, L)
    counts = generator.space == "counts"

    def population(n):
        x = torch.stack([torch.randn(n, D), 3 + 0.5 * torch.randn(n, D)])
        return torch.poisson(torch.exp(0.4 * x + 2)) if counts else x

    reference = population(20_000)
    if counts:
        size = reference.sum(-1).log()
        generator.initialize(
            reference.mean((0, 1)), reference.var((0, 1)), torch.stack([size.mean(), size.std()])
        )
    optimizer = torch.optim.Adam(generator.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, 1_001, pct_start=0.1)
    for step in range(1_000):
        generator.train().on_step(step)
        x = population(64)
        optimizer.zero_grad()
        loss(generator, x, z).mean().backward()
        optimizer.step()
        schedule.step()
    drawn = generator.eval().sample(z, 20_000, generator=torch.Generator().manual_seed(0))
    scale = reference.std(1)
    assert ((drawn.mean(1) - reference.mean(1)).abs() / scale).max() < 0.25
    ratio = drawn.var(1) / reference.var(1)
    assert np.median(ratio) == pytest.approx(1.0, abs=0.3)
    assert ratio.min() > 0.5
