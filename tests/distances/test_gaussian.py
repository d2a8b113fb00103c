"""Normals, mixtures and samples taken for such."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import scipy.linalg
import torch

from scgde.distances import (
    bures_wasserstein,
    gaussian_wasserstein,
    gmm_wasserstein,
    mixture_wasserstein,
    published_gaussian_wasserstein,
)


def normals(n_batch, d, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n_batch, d, 2 * d))
    return torch.tensor(rng.normal(size=(n_batch, d))), torch.tensor(a @ a.transpose(0, 2, 1))


def test_normals_have_the_closed_form():
    (m1, s1), (m2, s2) = normals(4, 3, 0), normals(4, 3, 1)
    ours = gaussian_wasserstein(m1, s1, m2, s2)
    published = published_gaussian_wasserstein(m1, s1, m2, s2)
    for b in range(4):
        a, c = s1[b].numpy(), s2[b].numpy()
        bures = np.trace(a + c - 2 * scipy.linalg.sqrtm(a @ c).real)
        shift = (m1[b] - m2[b]).norm().item()
        assert ours[b].item() == pytest.approx(np.sqrt(shift**2 + bures), rel=1e-9)
        assert published[b].item() == pytest.approx(shift + bures, rel=1e-9)
        expected = ot.gaussian.bures_wasserstein_distance(m1[b].numpy(), m2[b].numpy(), a, c)
        assert ours[b].item() == pytest.approx(expected, rel=1e-6)


def test_singular_covariances_are_fine():
    mean, cov = torch.zeros(1, 2), torch.diag_embed(torch.tensor([[4.0, 0.0]]))
    assert gaussian_wasserstein(mean, cov, mean, 0 * cov).item() == pytest.approx(2)
    assert gaussian_wasserstein(mean, cov, mean, cov).item() == pytest.approx(0, abs=1e-7)
    direction = torch.tensor([[1.0, 2.0, 3.0]])
    rank_one = direction[:, :, None] * direction[:, None]
    mean = torch.zeros(1, 3)
    assert gaussian_wasserstein(mean, rank_one, mean, 4 * rank_one).item() == pytest.approx(
        14**0.5, rel=1e-6
    )


def test_samples_are_taken_for_normals():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1, 30, 3)), rng.normal(size=(1, 40, 3))
    w = rng.dirichlet(np.ones(30), 1)
    ours = bures_wasserstein(torch.tensor(x), torch.tensor(y), torch.tensor(w))
    parameters = [
        np.average(x[0], axis=0, weights=w[0]),
        np.cov(x[0].T, aweights=w[0], ddof=0),
        y[0].mean(0),
        np.cov(y[0].T, ddof=0),
    ]
    expected = gaussian_wasserstein(*(torch.tensor(p)[None] for p in parameters))
    torch.testing.assert_close(ours, expected)


def test_one_component_is_the_normal():
    (m1, s1), (m2, s2) = normals(4, 3, 0), normals(4, 3, 1)
    one = torch.ones(4, 1)
    ours = mixture_wasserstein(one, m1[:, None], s1[:, None], one, m2[:, None], s2[:, None])
    torch.testing.assert_close(ours, gaussian_wasserstein(m1, s1, m2, s2))


def test_mixtures_are_pot_s():
    rng = np.random.default_rng(0)
    (m1, s1), (m2, s2) = normals(3, 2, 0), normals(4, 2, 1)
    a, b = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(4))
    ours = mixture_wasserstein(
        torch.tensor(a)[None], m1[None], s1[None], torch.tensor(b)[None], m2[None], s2[None]
    )
    expected = ot.gmm.gmm_ot_loss(*(t.numpy() for t in (m1, m2, s1, s2)), a, b)
    assert ours.item() ** 2 == pytest.approx(expected, rel=1e-6)


def test_components_of_weight_zero_and_split_ones_change_nothing():
    (m1, s1), (m2, s2) = normals(2, 2, 0), normals(2, 2, 1)
    a, b = torch.tensor([[0.3, 0.7]]), torch.tensor([[0.5, 0.5]])
    value = mixture_wasserstein(a, m1[None], s1[None], b, m2[None], s2[None])
    for weights, extra in (([0.3, 0.7, 0.0], 1e3), ([0.3, 0.3, 0.4], 0.0)):
        more = mixture_wasserstein(
            torch.tensor([weights]),
            torch.cat([m1, m1[1:] + extra])[None],
            torch.cat([s1, s1[1:]])[None],
            b,
            m2[None],
            s2[None],
        )
        torch.testing.assert_close(more, value)


def test_fitted_mixtures_find_the_truth():
    rng = np.random.default_rng(0)
    places = np.array([[0, 0], [10, 0], [0, 10]])
    x = torch.tensor(places.repeat(300, 0) + rng.normal(size=(900, 2)))[None]
    y = torch.tensor(2 + places.repeat(200, 0) + rng.normal(size=(600, 2)))[None]
    means, covs = torch.tensor(places)[None], torch.eye(2).expand(1, 3, 2, 2)
    thirds = torch.full((1, 3), 1 / 3)
    truth = mixture_wasserstein(thirds, means, covs, thirds, means + 2, covs)
    assert truth.item() == pytest.approx(8**0.5)
    assert gmm_wasserstein(x, y).item() == pytest.approx(truth.item(), rel=0.1)
    # Weights that leave one cluster out leave one component's mass out.
    w = (x[0].sum(1) < 5).double()[None]
    assert gmm_wasserstein(x, x, w / w.sum(), n_components=3).item() > 5


def test_arguments_are_checked():
    (m, s), third = normals(4, 3, 0), torch.full((4, 3), 1 / 3)
    with pytest.raises(ValueError, match=r"mean_x and mean_y must be \(B, d\)"):
        gaussian_wasserstein(m, s, m[:2], s)
    with pytest.raises(ValueError, match=r"cov_y must be \(4, 3, 3\)"):
        gaussian_wasserstein(m, s, m, s[:, :2])
    with pytest.raises(ValueError, match="cov_x must be symmetric"):
        gaussian_wasserstein(m, s + torch.eye(3)[[1, 2, 0]], m, s)
    with pytest.raises(ValueError, match="cov_y is no covariance: its least eigenvalue is -"):
        gaussian_wasserstein(m, s, m, -s)
    with pytest.raises(ValueError, match="weights_x must be"):
        mixture_wasserstein(third[:, :2], m[:, None], s[:, None], third, m[:, None], s[:, None])
    one = torch.ones(4, 1)
    with pytest.raises(ValueError, match=r"covs_y must be \(4, 1, 3, 3\)"):
        mixture_wasserstein(one, m[:, None], s[:, None], one, m[:, None], s)
    with pytest.raises(ValueError, match="n_components=3 needs as many points: a row of y has 2"):
        gmm_wasserstein(torch.randn(1, 9, 2), torch.randn(1, 2, 2))
