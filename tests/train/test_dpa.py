from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from scgde.train import fit_dpa

SMALL = {"n_hidden": 32, "n_noise": 8, "enable_progress_bar": False, "lr": 5e-3}


@pytest.fixture(scope="module")
def parabola_and_blob():
    rng = np.random.default_rng(0)
    t = rng.normal(size=1_500)
    sets = [np.c_[t, t**2, 0 * t], rng.normal(size=(700, 3)) * [5, 1, 0.2] + 10]
    return sets, fit_dpa(sets, n_latent=3, n_steps=600, batch_size=128, n_starts=3, **SMALL)


def test_levels_fall_as_far_as_the_dimension(parabola_and_blob):
    _, fit = parabola_and_blob
    curve, blob = (losses.mean(0) for losses in fit.losses)
    assert curve[1] < 0.05 * curve[0]  # a curve needs one coordinate
    assert (np.diff(blob)[:2] < 0).all()
    shares = np.cumsum([25, 1, 0.04])[:2] / 26.04  # as principal components would
    np.testing.assert_allclose(
        1 - fit.residuals[1].mean(0)[1:3] / fit.variance[1], shares, atol=0.02
    )


def test_unconditional_level_is_half_the_mean_distance(parabola_and_blob):
    """PROTOCOLS, Section 6: ``L_0 = E|X - X'| / 2`` where the decoder is right."""
    sets, fit = parabola_and_blob
    for cells, losses in zip(sets, fit.losses, strict=True):
        half = pdist(cells).mean() / 2
        error = losses[:, 0].std() / len(losses) ** 0.5
        assert abs(losses[:, 0].mean() - half) < 3 * error + 0.03 * half


def test_an_ensemble_is_its_members(parabola_and_blob):
    """What a member learns does not depend on the others: same start, same batches."""
    sets, _ = parabola_and_blob
    once = fit_dpa([sets[0]], n_latent=2, n_steps=60, **SMALL)
    twice = fit_dpa([sets[0], sets[0]], n_latent=2, n_steps=60, **SMALL)
    a, b, c = once.losses[0].mean(0), twice.losses[0].mean(0), twice.losses[1].mean(0)
    assert not np.allclose(b, c, rtol=1e-6)  # each has weights of its own
    np.testing.assert_allclose(a[0], b[0], rtol=0.2)


def test_every_cell_is_scored_once_by_a_member_that_did_not_see_it(parabola_and_blob):
    sets, fit = parabola_and_blob
    assert [len(r) for r in fit.rows] == [300, 140]
    crossed = fit_dpa(
        sets, n_latent=1, n_steps=5, held_out=0.25, cross_fit=True, n_draws=1, **SMALL
    )
    assert crossed.members.tolist() == [0] * 4 + [1] * 4
    for cells, rows, losses in zip(sets, crossed.rows, crossed.losses, strict=True):
        assert rows.tolist() == list(range(len(cells)))
        assert losses.shape == (len(cells), 2)
        assert np.isfinite(losses).all()


def test_a_seed_reproduces(parabola_and_blob):
    sets, _ = parabola_and_blob
    state = torch.random.get_rng_state()
    runs = [fit_dpa(sets, n_latent=2, n_steps=5, seed=s, **SMALL) for s in (1, 1, 2)]
    assert torch.equal(state, torch.random.get_rng_state())
    for a, b, c in zip(*(run.losses for run in runs), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.allclose(a, c)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "sets is empty"),
        ([np.zeros((9, 3)), np.zeros((9, 2))], r"sets\[1\] has shape"),
        ([np.zeros((4, 3))], "has 4 cells"),
        ([np.full((9, 3), np.nan)], "NaN"),
    ],
)
def test_bad_sets(sets, message):
    with pytest.raises(ValueError, match=message):
        fit_dpa(sets, n_latent=2, n_steps=2)


def test_bad_share():
    with pytest.raises(ValueError, match="held_out=1"):
        fit_dpa([np.eye(9)], n_latent=2, held_out=1)
