"""Points that are no numbers: an error where they count, nothing where they weigh nothing."""

from __future__ import annotations

import pytest
import torch

from scgde import distances

NAMES = [
    "energy_distance",
    "mmd",
    "sliced_wasserstein",
    "sinkhorn_divergence",
    "wasserstein",
    "bures_wasserstein",
    "gmm_wasserstein",
    "knn_divergence",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_points_raise_unless_they_weigh_nothing(name, bad):
    distance = getattr(distances, name)
    # The bandwidth of MMD is by default that of the whole batch, which the second row then leaves.
    options = {"knn_divergence": {"k": 3}, "mmd": {"bandwidth": 1.0}}.get(name, {})
    x, y = torch.randn(2, 12, 2), torch.randn(2, 12, 2) + 1
    x[1, 4] = bad
    with pytest.raises(ValueError, match="Row 1 of x has NaN or infinite points"):
        distance(x, y, **options)
    w = torch.full((2, 12), 1 / 12)
    w[1] = 1 / 11
    w[1, 4] = 0
    rest = distance(torch.cat([x[1:, :4], x[1:, 5:]], 1), y[1:], **options)
    torch.testing.assert_close(distance(x, y, w, **options)[1:], rest, rtol=1e-3, atol=1e-4)


def test_an_infinite_exponent_is_refused():
    with pytest.raises(ValueError, match="p=inf"):
        distances.wasserstein(torch.randn(1, 3, 2), torch.randn(1, 3, 2), p=float("inf"))


def test_one_point_that_carries_all_weight_has_no_unbiased_distance():
    x = torch.randn(1, 2, 2)
    with pytest.raises(ValueError, match="unbiased"):
        distances.energy_distance(x, x, torch.tensor([[1.0, 1e-9]]), unbiased=True)


def test_bures_of_few_points_in_many_dimensions_is_that_of_their_moments():
    torch.manual_seed(0)
    x, y = torch.randn(2, 8, 30), 2 * torch.randn(2, 9, 30) + 1
    w = torch.softmax(torch.randn(2, 8), 1)
    mean, centred = [], []
    for a, b in ((x, w), (y, torch.full((2, 9), 1 / 9))):
        m = (b[..., None] * a).sum(1).double()
        c = a.double() - m[:, None]
        mean.append(m)
        centred.append(torch.einsum("bn,bni,bnj->bij", b.double(), c, c))
    expected = distances.gaussian_wasserstein(mean[0], centred[0], mean[1], centred[1])
    torch.testing.assert_close(distances.bures_wasserstein(x, y, w), expected, rtol=1e-5, atol=1e-6)
