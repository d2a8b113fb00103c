from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from scgde.train import _dpa, fit_dpa, level_scores

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


def test_every_cell_is_scored_once_by_a_member_that_did_not_see_it(parabola_and_blob, monkeypatch):
    sets, fit = parabola_and_blob
    assert [len(r) for r in fit.rows] == [300, 140]
    trained, scored = [], []
    batches, scores = _dpa.CellBatches, _dpa._scores

    def watched_batches(reader, rows, *args, **kwargs):
        trained.extend(rows)
        return batches(reader, rows, *args, **kwargs)

    def watched_scores(module, cells, rows, n_draws):
        scored.extend(rows)
        return scores(module, cells, rows, n_draws)

    monkeypatch.setattr(_dpa, "CellBatches", watched_batches)
    monkeypatch.setattr(_dpa, "_scores", watched_scores)
    crossed = fit_dpa(
        sets, n_latent=1, n_steps=5, held_out=0.25, cross_fit=True, n_draws=1, **SMALL
    )
    starts = np.array([0, len(sets[0])])
    assert crossed.members.tolist() == [0] * 4 + [1] * 4
    for member, seen, held_out in zip(crossed.members, trained, scored, strict=True):
        every = starts[member] + np.arange(len(sets[member]))
        np.testing.assert_array_equal(np.sort(np.concatenate([seen, held_out])), every)
    for cells, rows, losses in zip(sets, crossed.rows, crossed.losses, strict=True):
        assert rows.tolist() == list(range(len(cells)))
        assert losses.shape == (len(cells), 2)
        assert np.isfinite(losses).all()


def test_scores_are_of_each_members_own_cells(parabola_and_blob):
    """A member of an ensemble scores cells as it would alone."""
    sets, _ = parabola_and_blob
    fit = fit_dpa(sets, n_latent=2, n_steps=60, n_draws=64, **SMALL)
    alone = deepcopy(fit.module)
    alone.keep(torch.tensor([1]))
    x = torch.from_numpy(sets[1][fit.rows[1]]).float()[None]
    with torch.no_grad():
        torch.testing.assert_close(alone.encode(x)[0], fit.module.encode(x.expand(2, -1, -1))[1])
    losses = level_scores(alone, x, 64)[0][0]
    error = 4 * (losses - fit.losses[1]).std(0) / len(losses) ** 0.5
    assert (np.abs(losses.mean(0) - fit.losses[1].mean(0)) < error).all()


def test_a_start_that_diverged_is_not_kept(parabola_and_blob, monkeypatch):
    sets, _ = parabola_and_blob
    initialize = _dpa.initialize_members

    def broken(module, cells, rows):
        initialize(module, cells, rows)
        with torch.no_grad():
            module.encoder.linear.weight[1] = torch.nan

    monkeypatch.setattr(_dpa, "initialize_members", broken)
    options = {"n_latent": 1, "n_steps": 5, "n_draws": 1, **SMALL}
    assert np.isfinite(fit_dpa(sets[:1], n_starts=3, **options).losses[0]).all()
    with pytest.raises(ValueError, match=r"autoencoder of sets\[1\] diverged"):
        fit_dpa(sets, **options)


def test_units_of_standardised_features_agree(parabola_and_blob):
    sets, _ = parabola_and_blob
    fit = fit_dpa(sets, n_latent=1, n_steps=5, standardize="feature", **SMALL)
    np.testing.assert_allclose(fit.variance, [2, 3], rtol=0.1)  # the last of a curve is constant


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
    with pytest.raises(ValueError, match=r"leaves fewer than two of the 5 cells of sets\[0\]"):
        fit_dpa([np.eye(5)], n_latent=2, held_out=0.95)
