"""Every registered encoder is a function of a weighted empirical measure."""

from __future__ import annotations

import pytest
import torch

from scgde.data import SparseCells
from scgde.encoders import ENCODERS

from ..conftest import sparse_counts

D, L, TOLERANCE = 7, 4, {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=ENCODERS.names())
def encoder(request):
    torch.manual_seed(0)
    return ENCODERS.get(request.param)(D, L, 16).eval()


@pytest.fixture
def x():
    return torch.randn(3, 12, D, generator=torch.Generator().manual_seed(1))


def uniform(x):
    return torch.full(x.shape[:2], 1 / x.shape[1])


def test_order_does_not_matter(encoder, x):
    torch.testing.assert_close(
        encoder(x, uniform(x)), encoder(x[:, torch.randperm(12)], uniform(x)), **TOLERANCE
    )


def test_duplication_does_not_matter(encoder, x):
    twice = torch.cat([x, x], 1)
    torch.testing.assert_close(encoder(x, uniform(x)), encoder(twice, uniform(twice)), **TOLERANCE)


def test_zero_weight_is_absence(encoder, x):
    padded = torch.cat([x, 100 * torch.ones(3, 5, D)], 1)
    w = torch.cat([uniform(x), torch.zeros(3, 5)], 1)
    torch.testing.assert_close(encoder(x, uniform(x)), encoder(padded, w), **TOLERANCE)


def test_integer_weight_is_repetition(encoder, x):
    counts = torch.tensor([1, 2, 3, 1, 1, 1, 4, 1, 1, 1, 1, 1])
    repeated = x.repeat_interleave(counts, 1)
    w = (counts / counts.sum()).expand(3, -1)
    torch.testing.assert_close(encoder(x, w), encoder(repeated, uniform(repeated)), **TOLERANCE)


@pytest.mark.parametrize("m", [1, 2, 33])
def test_any_number_of_cells(encoder, m):
    x = torch.randn(2, m, D)
    z = encoder(x, uniform(x))
    assert z.shape == (2, L)
    assert z.isfinite().all()


def test_other_sets_of_the_batch_do_not_matter(encoder, x):
    encoder.train()
    torch.testing.assert_close(
        encoder(x, uniform(x))[:1], encoder(x[:1], uniform(x[:1])), **TOLERANCE
    )


def test_depends_on_the_cells(encoder, x):
    assert (encoder(x, uniform(x)) - encoder(x + 1, uniform(x))).abs().max() > 1e-3


def test_gradient_reaches_all_parameters(encoder, x):
    encoder(x, uniform(x)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        if not parameter.requires_grad:  # random features that stay as they were drawn
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_sparse_cells_embed_as_dense_ones(encoder):
    if not encoder.accepts_sparse:
        pytest.skip("this encoder takes dense cells only; the module makes them dense")
    x = SparseCells.from_scipy(sparse_counts(12, D, 0.4), 3)
    w = torch.full((3, 4), 0.25)
    torch.testing.assert_close(encoder(x, w), encoder(x.to_dense(), w), **TOLERANCE)


def test_streams_in_chunks(encoder, x):
    if not encoder.streams:
        pytest.skip("this encoder does not say that it streams")
    w = torch.softmax(torch.randn(3, 12), 1)
    streamed = encoder.stream(lambda: ((x[:, i : i + 5], w[:, i : i + 5]) for i in (0, 5, 10)))
    torch.testing.assert_close(encoder(x, w), streamed, **TOLERANCE)
