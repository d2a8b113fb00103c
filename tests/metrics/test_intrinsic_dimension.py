from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scgde.metrics import (
    calibrated_dimensions,
    conditional_randomization_test,
    dimension_consensus,
    dimension_profile,
    levels_above_null,
    local_dimension,
    subsampled_estimate,
)
from scgde.metrics._dimension_consensus import consensus_values, explained
from scgde.metrics._dimension_dpa import holm

N = 207  # a number of cells that curves are simulated for, so that all tests share them
METHODS = ("twonn", "gride", "mle")


def line(rng):
    return np.outer(rng.uniform(size=N), [1.0, 2.0, -1.0])


def plane(rng):
    return rng.uniform(size=(N, 2)) @ rng.normal(size=(2, 6))


def sphere(rng):
    x = rng.normal(size=(N, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def swiss_roll(rng):
    t, height = rng.uniform(4, 10, N), rng.uniform(0, 20, N)
    return np.stack([t * np.cos(t), height, t * np.sin(t)], 1)


@pytest.mark.parametrize(("shape", "d"), [(line, 1), (plane, 2), (sphere, 2), (swiss_roll, 2)])
def test_known_shapes(shape, d):
    estimates = [dimension_consensus(shape(np.random.default_rng(s))).estimate for s in range(5)]
    assert np.mean(estimates) == pytest.approx(d, rel=0.12)


def test_calibration_takes_the_bias_out():
    """A normal distribution of 20 dimensions, a number that is not simulated."""
    rng = np.random.default_rng(1)
    tables = [local_dimension(rng.normal(size=(N, 20))) for _ in range(4)]
    raw, estimate = (np.mean([t[c] for t in tables]) for c in ("raw", "estimate"))
    assert raw < 15
    assert 17 < estimate <= 20
    with_room = [local_dimension(np.pad(rng.normal(size=(N, 12)), ((0, 0), (0, 30))))]
    assert with_room[0]["estimate"].max() <= 12  # never above what the cells span


def test_calibration_increases_and_ends():
    values = [calibrated_dimensions(np.full(3, v), N, METHODS)[0] for v in (0.5, 2, 5, 10, 1e6)]
    assert np.all(np.diff(values) > 0)
    assert values[-1] == pytest.approx(100)


def test_a_calibration_can_leave_a_reference_out():
    raw = np.full(3, 10.0)
    with_all = calibrated_dimensions(raw, N, METHODS)
    # A sphere has no edge, and so the least to correct for.
    assert (calibrated_dimensions(raw, N, METHODS, ("sphere",)) < with_all).all()
    without = calibrated_dimensions(raw, N, METHODS, ("ball", "cube", "normal"))
    assert (without > with_all).all()
    with pytest.raises(ValueError, match=r"references='spere'.*Did you mean 'sphere'"):
        calibrated_dimensions(raw, N, METHODS, ("spere",))
    with pytest.raises(ValueError, match="references is empty"):
        calibrated_dimensions(raw, N, METHODS, ())


def test_values_at_the_bound_can_be_told_apart():
    rng = np.random.default_rng(3)
    capped, uncapped = consensus_values(rng.normal(size=(N, 3)), METHODS)
    assert capped.max() <= 3
    np.testing.assert_allclose(np.minimum(uncapped[1:], 3), capped[1:])
    values = [consensus_values(rng.normal(size=(N, 3)), METHODS)[:, 0] for _ in range(8)]
    assert max(u for _, u in values) > 3


def test_the_reasoning_says_what_the_estimate_is_of():
    of = pd.Series({"twonn": 5.0, "gride": 4.0, "mle": 4.5})
    assert explained(of, 10).startswith("median of twonn 5.0")
    words = explained(of, 10, knee=8, consensus=4.7)
    assert words.startswith("mean over draws of the median of estimators (means twonn 5.0")
    assert "locally 4.7" in words


def test_the_reasoning_says_what_disagrees():
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 1, N))
    noisy = np.stack([t, t**2, t], 1) + 0.004 * rng.normal(size=(N, 3))
    words = dimension_consensus(noisy, knee=6).reasoning
    assert "as with noise" in words
    assert "the shape needs 6 coordinates to embed" in words
    assert "linear dimensions that the cells span" in dimension_consensus(plane(rng)).reasoning


def test_repeated_cells_count_once():
    x = sphere(np.random.default_rng(0))
    once = dimension_consensus(x).estimate
    assert dimension_consensus(np.repeat(x, 3, axis=0)).estimate == pytest.approx(once)


def test_a_single_column_is_a_line():
    assert local_dimension(np.random.default_rng(0).normal(size=(N, 1)))["estimate"].max() <= 1


@pytest.mark.parametrize(
    ("x", "methods", "message"),
    [
        (np.zeros((50, 3)), ("twonn",), "1 different cells"),
        (np.full((50, 3), np.nan), ("twonn",), "NaN"),
        (np.zeros(50), ("twonn",), "shape"),
        (np.eye(40), ("two_nn",), "Did you mean 'twonn'"),
        (np.eye(40), (), "methods is empty"),
    ],
)
def test_mistakes_are_named(x, methods, message):
    with pytest.raises(ValueError, match=message):
        local_dimension(x, methods)


def test_intervals_of_a_mean_have_their_level():
    """Of a mean, whose sampling error is known."""
    covered, sds = [], []
    for seed in range(200):
        x = np.random.default_rng(seed).normal(size=(60, 1))
        found = subsampled_estimate(lambda v: v.mean(0), x, 60, seed=seed)
        covered.append(found.low[0] <= 0 <= found.high[0])
        sds.append(found.sd[0])
    assert 0.90 <= np.mean(covered) <= 0.99
    assert np.mean(sds) == pytest.approx(1 / np.sqrt(60), rel=0.05)


@pytest.mark.parametrize("n", [90, 2_000])
def test_intervals_of_more_cells_than_n_have_their_level(n):
    """The estimate is a mean over draws, which varies less than one of them."""
    found = [
        subsampled_estimate(
            lambda v: v.mean(0), np.random.default_rng(seed).normal(size=(n, 1)), 60, seed=seed
        )
        for seed in range(300)
    ]
    estimates = np.array([f.estimate[0] for f in found])
    share = 60 / n + (1 - 60 / n) / 4
    assert found[0].share == pytest.approx(share)
    assert estimates.std() == pytest.approx(np.sqrt(share / 60), rel=0.12)
    assert np.mean([f.sd[0] for f in found]) == pytest.approx(np.sqrt(share / 60), rel=0.05)
    covered = np.mean([f.low[0] <= 0 <= f.high[0] for f in found])
    assert 0.91 <= covered <= 0.985  # .95, and three standard errors


def test_too_few_subsamples_are_so_of_any_number_of_cells():
    x = np.random.default_rng(0).normal(size=(400, 1))
    with pytest.raises(ValueError, match="more than the 10 cells"):
        subsampled_estimate(np.mean, x[:10], 60)
    for cells in (x, x[:60]):
        with pytest.raises(ValueError, match="n_subsamples=4 gives no interval"):
            subsampled_estimate(np.mean, cells, 60, n_subsamples=4)


def profile_of(losses, n=60, sd=0.05, **kwargs):
    noise = np.random.default_rng(0).normal(0, sd, (n, len(losses)))
    return dimension_profile(np.asarray(losses) + noise, **kwargs)


def test_levels_of_a_profile():
    found = profile_of([4.0, 2.0, 1.0, 0.8, 0.8, 0.8])
    assert found.knee == 3
    assert found.dimension == 3
    assert profile_of([4.0, 2.0, 1.0, 0.8, 0.8, 0.8], min_share=0.1).dimension == 2
    assert profile_of([4.0, 2.0, 1.0, 0.8, 0.8, 0.8], sd=2.0).dimension < 3
    assert profile_of([1.0, 1.0, 1.0]).dimension == 0
    table = found.table
    assert table["fall"].sum() == pytest.approx(table["loss"].iloc[0] - table["loss"].iloc[-1])
    assert (table["low"] < table["loss"]).all()
    assert (table["p_adjusted"].iloc[1:] >= table["p_value"].iloc[1:]).all()
    assert table["unexplained"].isna().all()


def test_unexplained_variance_is_a_share():
    rng = np.random.default_rng(0)
    residuals = np.array([8.0, 4.0, 2.0]) + rng.normal(0, 0.5, (80, 3))
    found = dimension_profile(residuals, residuals, 8.0).table
    np.testing.assert_allclose(found["unexplained"], [1, 0.5, 0.25], atol=0.03)
    assert (found["unexplained_low"] < found["unexplained"]).all()
    with pytest.raises(ValueError, match="same cells and levels"):
        dimension_profile(residuals, residuals[:, :2])
    with pytest.raises(ValueError, match="diverged"):
        dimension_profile(residuals * np.nan)


def test_holm_is_that_of_its_paper():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_levels_above_null_stop_at_the_first_that_is_not():
    rng = np.random.default_rng(0)
    null = 1 + 0.1 * rng.normal(size=(20, 4))
    assert levels_above_null(np.array([5, 3, 1, 5.0]), null) == 2
    assert levels_above_null(np.array([1, 9, 9, 9.0]), null) == 0
    assert levels_above_null(np.array([5, 5, 5, 5.0]), null) == 4
    with pytest.raises(ValueError, match="two nulls"):
        levels_above_null(np.ones(4), null[:1])


def test_the_randomization_test_has_its_level_and_power():
    def p_value(seed, effect):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(200, 2))
        u = np.tanh(z[:, 0]) + 0.5 * rng.normal(size=200)
        x = np.stack([z[:, 0], z[:, 1] ** 2, effect * u], 1) + 0.3 * rng.normal(size=(200, 3))
        return conditional_randomization_test(x, u, z, n_draws=19, seed=seed).p_value

    under_null = np.array([p_value(seed, 0.0) for seed in range(8)])
    assert (under_null <= 0.05).sum() <= 2  # P(more of 8 at 5 %) = .006
    assert [p_value(seed, 2.0) for seed in range(2)] == [0.05] * 2


def test_few_cells_of_a_curve_do_not_reject():
    # Where u is a function of z, a coarse estimate of it would reject nearly every time.
    def p_value(seed):
        t = np.random.default_rng(seed).normal(size=100)
        x = np.stack([t, np.sin(2 * t)], 1)
        return conditional_randomization_test(x, np.cos(1.5 * t), t, n_draws=19, seed=seed).p_value

    assert (np.array([p_value(seed) for seed in range(8)]) <= 0.05).sum() <= 2


def test_a_function_of_the_other_latents_says_nothing_new():
    t = np.random.default_rng(0).uniform(-1, 1, 400)
    found = conditional_randomization_test(np.stack([t, t**2], 1), np.sin(2 * t), t, n_draws=19)
    assert found.p_value > 0.05
    first = conditional_randomization_test(
        np.stack([t, t**2], 1), t, np.empty((400, 0)), n_draws=19
    )
    assert first.p_value == 0.05
    assert first.gain > 0.5
    with pytest.raises(ValueError, match="same cells"):
        conditional_randomization_test(t, t[1:], t)
