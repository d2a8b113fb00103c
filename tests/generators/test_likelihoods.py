from __future__ import annotations

import pytest
import torch
from scvi.distributions import NegativeBinomial, Poisson
from torch.distributions import Normal

from scgde.data import SparseCells
from scgde.generators._counts import count_log_prob
from scgde.generators._likelihoods import LIKELIHOODS, NormalLikelihood, likelihood

from ..conftest import sparse_counts


@pytest.fixture
def problem():
    torch.manual_seed(0)
    x = SparseCells.from_scipy(sparse_counts(50, 30, 0.3), 5)
    leaves = [torch.randn(50, 8), 0.3 * torch.randn(30, 8), torch.randn(30), torch.randn(30)]
    return x, [leaf.requires_grad_() for leaf in leaves], torch.randn(50)


@pytest.mark.parametrize("kind", ["nb", "poisson"])
def test_count_log_prob_and_gradients_are_scvi_s(problem, kind):
    x, (h, weight, bias, log_theta), upstream = problem
    library = x.sum().flatten()
    leaves = [h, weight, bias] + ([log_theta] if kind == "nb" else [])
    ours = count_log_prob(h, weight, bias, log_theta if kind == "nb" else None, library, x)
    mu = library[:, None] * torch.softmax(h @ weight.T + bias, -1)
    law = NegativeBinomial(mu=mu, theta=log_theta.exp()) if kind == "nb" else Poisson(mu)
    theirs = law.log_prob(x.to_dense().flatten(0, 1)).sum(-1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    for a, b in zip(
        torch.autograd.grad((ours * upstream).sum(), leaves),
        torch.autograd.grad((theirs * upstream).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_count_log_prob_does_not_depend_on_the_chunks(problem, monkeypatch):
    x, (h, weight, bias, log_theta), _ = problem
    whole = count_log_prob(h, weight, bias, log_theta, x.sum().flatten(), x)
    monkeypatch.setattr("scgde.generators._counts._CPU_CHUNK", 7 * 30)
    torch.testing.assert_close(
        whole, count_log_prob(h, weight, bias, log_theta, x.sum().flatten(), x)
    )


def test_expanded_normal_error_equals_the_plain_one():
    torch.manual_seed(0)
    law = NormalLikelihood(30, 8)
    torch.nn.init.normal_(law.raw_log_var, std=0.05)
    x, h = SparseCells.from_scipy(sparse_counts(50, 30, 0.3), 5), torch.randn(5, 10, 8)
    by_torch = Normal(law.mean(h), torch.exp(0.5 * law.log_var)).log_prob(x.to_dense()).sum(-1)
    grads = []
    for cells in (x, x.to_dense()):
        value = law.log_prob(h, cells)
        torch.testing.assert_close(value, by_torch, rtol=1e-4, atol=1e-2)
        grads.append(torch.autograd.grad(value.sum(), list(law.parameters())))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-1)


@pytest.mark.parametrize("kind", [k for k in LIKELIHOODS if k != "normal"])
def test_dense_and_sparse_counts_are_equally_likely(kind):
    torch.manual_seed(0)
    law = likelihood(kind, 30, 8)
    x, h = SparseCells.from_scipy(sparse_counts(50, 30, 0.3), 5), torch.randn(5, 10, 8)
    torch.testing.assert_close(law.log_prob(h, x, x.sum()), law.log_prob(h, x.to_dense(), x.sum()))


def test_counts_drawn_have_the_mean_and_variance_of_the_law():
    torch.manual_seed(0)
    law = likelihood("nb", 6, 4)
    law.raw_log_theta.data.fill_(0.1)  # theta = e
    h, library = torch.randn(1, 1, 4).expand(1, 40_000, 4), torch.full((1, 40_000), 50.0)
    x = law.sample(h, library, torch.Generator().manual_seed(0))[0]
    mu = (50 * torch.softmax(law.scale(h[0, 0]), -1)).detach()
    torch.testing.assert_close(x.mean(0), mu, rtol=0.05, atol=0.05)
    torch.testing.assert_close(x.var(0), mu + mu**2 / torch.e, rtol=0.1, atol=0.1)


def test_divergence_weight_rises_in_training_and_is_whole_in_evaluation():
    from scgde.generators import CVAE

    torch.manual_seed(0)
    generator = CVAE(5, 3, 8, n_steps_kl_warmup=10)
    x, w, z = torch.randn(2, 4, 5), torch.full((2, 4), 0.25), torch.randn(2, 3)

    def value():
        torch.manual_seed(1)
        return generator.loss(x, w, z)

    generator.train().on_step(0)
    start = value()
    generator.on_step(5)
    middle = value()
    generator.on_step(100)
    whole = value()
    torch.testing.assert_close(middle, (start + whole) / 2)
    generator.on_step(0)
    torch.testing.assert_close(generator.eval() and value(), whole)
