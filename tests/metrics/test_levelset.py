"""The published cosine is 1 for any encoder; the metrics beside it tell a good one from a bad."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scgde import metrics

SIGMAS = np.array([3.0, 0.5])
METRICS = ["sign_agreement", "residual", "rho", "score_share", "self_consistency"]


def gaussian(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 2)) * SIGMAS


def judged(encode, n=1_500, seed=0):
    """Return the published cosine and the table, on a normal distribution of known score."""
    x, sample = gaussian(n, seed), gaussian(20_000, seed + 100)
    points = torch.as_tensor(x).requires_grad_()
    z = encode(points)
    (gradient,) = torch.autograd.grad(z.sum(), points)
    of_sample = encode(torch.as_tensor(sample)).detach().numpy()
    sets = metrics.level_sets(z.detach().numpy(), sample, of_sample, n_neighbors=300)
    score = -x / SIGMAS**2
    cosine = metrics.levelset_cosine(x - sets.center, gradient.numpy(), score)
    return cosine, metrics.levelset_alignment(x, gradient.numpy(), score, sets, n_permutations=99)


def random_encoder(seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((2, 16), (16,))
    )
    return lambda x: torch.tanh(x @ first / 3) @ second


def radius(x):
    return (x / torch.as_tensor(SIGMAS)).square().sum(1)


def test_the_cosine_is_one_for_any_encoder():
    for seed in range(5):
        assert judged(random_encoder(seed), 300)[0] == pytest.approx(1, abs=1e-6)


def test_the_others_tell_encoders_apart():
    cosine, good = judged(radius)
    assert cosine == pytest.approx(1, abs=1e-6)
    # The latent is the log density, so its gradient lies along the score.
    assert good.loc["score_share", "estimate"] == pytest.approx(1)
    assert good.loc["score_share", "p_value"] == 0.01
    _, first_axis = judged(lambda x: x[:, 0])
    # Given the first axis, the data spread along the second: square to the curve of means.
    assert first_axis.loc["self_consistency", "estimate"] < 0.1
    assert first_axis.loc["score_share", "estimate"] < 0.1
    random = [judged(random_encoder(seed))[1]["estimate"] for seed in range(3)]
    for table in random:
        assert table["self_consistency"] > 0.15
        assert 0.02 < table["score_share"] < 0.98
    assert list(good.index) == METRICS
    assert (good["low"] <= good["estimate"]).all()
    assert (good["estimate"] <= good["high"]).all()


def test_a_field_that_fulfils_the_theorem_is_perfect_and_a_shuffled_one_is_not():
    """a = b holds by construction: the score along the normal is 2 d.n / (v - |d|^2)."""
    rng = np.random.default_rng(0)
    d, normal, slope = rng.normal(size=(3, 2_000, 2))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    variance = np.full(2_000, 2.0)
    along = 2 * (d * normal).sum(1) / (variance - np.square(d).sum(1))
    sets = metrics.LevelSets(np.zeros_like(d), variance, slope)
    table = metrics.levelset_alignment(d, normal, along[:, None] * normal, sets, n_permutations=99)
    for name, value in (("sign_agreement", 1), ("residual", 0), ("rho", 0), ("score_share", 1)):
        assert table.loc[name, "estimate"] == pytest.approx(value, abs=1e-9), name
        assert table.loc[name, "p_value"] == 0.01
    assert table.loc["self_consistency", "p_value"] > 0.02
    assert table.loc["self_consistency", "estimate"] == pytest.approx(2 / np.pi, abs=0.05)
    flipped = metrics.levelset_alignment(d, normal, -along[:, None] * normal, sets)
    assert flipped.loc["sign_agreement", "estimate"] == 0
    assert flipped.loc["residual", "estimate"] == pytest.approx(1)
    assert flipped.loc["rho", "estimate"] == pytest.approx(2)


def test_level_sets_of_a_parabola():
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, 20_000)
    sample = np.column_stack([z, z**2 + 0.1 * rng.normal(size=len(z))])
    at = np.array([-0.9, -0.3, 0.5])
    sets = metrics.level_sets(at, sample, z, n_neighbors=500)
    np.testing.assert_allclose(sets.center, np.column_stack([at, at**2]), atol=0.02)
    np.testing.assert_allclose(sets.variance, 0.01, rtol=0.25)
    np.testing.assert_allclose(sets.slope[:, 0], 1, atol=1e-6)
    np.testing.assert_allclose(sets.slope[:, 1], 2 * at, atol=0.1)
    # The window of sorted neighbours is that of the nearest.
    nearest = np.argsort(np.abs(z - at[1]))[:500]
    line = np.polyfit(z[nearest], sample[nearest, 1], 1)
    assert np.polyval(line, at[1]) == pytest.approx(sets.center[1, 1])


def test_mistakes_are_named():
    x = np.ones((5, 2))
    with pytest.raises(ValueError, match="gradient has the shape"):
        metrics.levelset_cosine(x, x[:3], x)
    with pytest.raises(ValueError, match="zero at every point"):
        metrics.levelset_cosine(x, 0 * x, x)
    with pytest.raises(ValueError, match="n_neighbors=9"):
        metrics.level_sets(np.zeros(2), x, np.zeros(5), n_neighbors=9)
    with pytest.raises(ValueError, match="sample_latent"):
        metrics.level_sets(np.zeros(2), x, np.zeros(4), n_neighbors=3)
    sets = metrics.LevelSets(x, np.ones(5), x)
    with pytest.raises(ValueError, match="constant"):
        metrics.levelset_alignment(x, 0 * x, x, sets)
    with pytest.raises(ValueError, match="score has values"):
        metrics.levelset_alignment(x, x, x * np.nan, sets)
