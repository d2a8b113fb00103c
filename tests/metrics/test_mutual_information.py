from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma

from scgde.metrics import information_sweep, mutual_information
from scgde.metrics._gaussian_information import GaussianInformation
from scgde.metrics._infonce import InfoNCE
from scgde.metrics._ksg import KSG

METHODS = ["ksg", "latent", "infonce", "gaussian"]


def gaussian_pairs(n, p, bits, seed=0, spread=True):
    """Pairs of normals with a mutual information known in closed form."""
    rng = np.random.default_rng(seed)
    share = np.full(p, bits / p) if spread else np.eye(p)[0] * bits
    r = np.sqrt(1 - 4**-share)
    x, noise = rng.normal(size=(2, n, p))
    return x, r * x + np.sqrt(1 - r**2) * noise


def anisotropic(p, condition, seed=0):
    left, _, right = np.linalg.svd(np.random.default_rng(seed).normal(size=(p, p)))
    return left * np.geomspace(1, condition, p) @ right


def ksg_by_definition(x, y, k):
    """Equation 8, point by point."""
    n = len(x)
    values = []
    for i in range(n):
        dx, dy = (np.linalg.norm(np.delete(side, i, 0) - side[i], axis=1) for side in (x, y))
        radius = np.sort(np.maximum(dx, dy))[k - 1]
        counts = (dx < radius).sum(), (dy < radius).sum()
        values.append(digamma(k) + digamma(n) - sum(digamma(c + 1) for c in counts))
    return np.array(values) / np.log(2)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_ksg_is_its_definition(k):
    x, y = gaussian_pairs(80, 3, 1.0)
    result = mutual_information(x, y, k=k, normalize=None)
    np.testing.assert_allclose(result.pointwise, ksg_by_definition(x, y, k), atol=1e-6)


@pytest.mark.parametrize("p", [1, 20])
def test_ksg_reuses_its_distances(p):
    x, y = gaussian_pairs(400, p, 2.0)
    estimator = KSG(x, y, 3)
    order = np.random.default_rng(1).permutation(400)
    assert estimator.shuffled(order) == KSG(x, y[order], 3).pointwise().mean()


@pytest.mark.parametrize("estimator", [partial(KSG, k=3), GaussianInformation])
def test_leave_one_out_is_the_estimate_of_the_rest(estimator):
    x, y = gaussian_pairs(60, 2, 1.0)
    y = np.column_stack([y, y[:, 0] ** 2])
    rest = [estimator(np.delete(x, i, 0), np.delete(y, i, 0)).pointwise().mean() for i in range(60)]
    np.testing.assert_allclose(estimator(x, y).leave_one_out(), rest, atol=1e-9)


@pytest.mark.parametrize("n_values", [2, 4, 30])
def test_leave_one_out_holds_where_distances_are_tied(n_values):
    x, y = np.random.default_rng(n_values).integers(n_values, size=(2, 60, 2)).astype(float)
    rest = [KSG(np.delete(x, i, 0), np.delete(y, i, 0), 3).pointwise().mean() for i in range(60)]
    np.testing.assert_allclose(KSG(x, y, 3).leave_one_out(), rest, atol=1e-9)


def test_leave_one_out_of_a_critic():
    x, y = gaussian_pairs(60, 2, 3.0)
    estimator = InfoNCE(x, y, 0, quiet=True)
    whole, i = estimator.leave_one_out(), estimator._folds[1][4]
    estimator._scores[1] = np.delete(np.delete(estimator._scores[1], 4, 0), 4, 1)
    estimator._folds[1] = np.delete(estimator._folds[1], 4)
    rest = np.delete(estimator.pointwise(), i)
    assert whole[i] == pytest.approx(rest.mean())


@pytest.mark.parametrize("method", METHODS)
def test_estimates_are_near_the_truth(method):
    for bits, tolerance in ((0.0, 0.12), (3.0, 0.45)):
        x, y = gaussian_pairs(600, 2, bits)
        result = mutual_information(x, y, method=method)
        assert result.bits == pytest.approx(bits, abs=tolerance)
        assert result.pointwise.mean() == pytest.approx(result.bits)
        assert result.low < result.bits < result.high


def test_methods_fail_and_hold_up_where_they_say():
    """One related pair of directions in many dimensions, and a relation without a linear trace."""
    x, y = gaussian_pairs(500, 40, 3.0, spread=False)
    bits = {m: mutual_information(x, y, method=m, interval=None).bits for m in METHODS}
    assert bits["ksg"] < 1.0
    assert bits["infonce"] == pytest.approx(3.0, abs=0.6)
    assert bits["latent"] == pytest.approx(3.0, abs=0.4)
    assert bits["gaussian"] == pytest.approx(3.0, abs=0.4)
    x = np.random.default_rng(0).normal(size=(400, 2))
    y = np.abs(x) + 0.1 * np.random.default_rng(1).normal(size=x.shape)
    bits = {
        m: mutual_information(x, y, method=m, interval=None).bits
        for m in ("ksg", "latent", "gaussian")
    }
    assert bits["ksg"] > 2.5
    learned = mutual_information(x[:, :1], y[:, :1], method="infonce", interval=None)
    assert learned.bits > 1.0
    assert abs(bits["gaussian"]) < 0.1
    assert bits["latent"] < 0.5 * bits["ksg"]


def test_published_protocol_depends_on_units_and_whitening_does_not():
    x, y = gaussian_pairs(1188, 64, 4.42)
    for other in (100 * x, x @ anisotropic(64, 1e4)):
        raw, white = (
            [mutual_information(a, y, normalize=n, interval=None).bits for a in (x, other)]
            for n in (None, "whiten")
        )
        assert abs(raw[1] - raw[0]) > 0.3 * abs(raw[0])
        assert white[1] == pytest.approx(white[0], rel=1e-3)


@pytest.mark.parametrize("method", ["latent", "infonce", "gaussian"])
def test_other_methods_do_not_depend_on_units(method):
    x, y = gaussian_pairs(400, 6, 2.0)
    bits = [
        mutual_information(a, y, method=method, normalize=None, interval=None).bits
        for a in (x, x @ anisotropic(6, 1e3))
    ]
    assert bits[1] == pytest.approx(bits[0], rel=0.05)


def test_ranks_undo_monotone_maps():
    x, y = gaussian_pairs(200, 3, 2.0)
    plain, bent = (
        mutual_information(a, y, normalize="rank", interval=None).bits for a in (x, np.exp(3 * x))
    )
    assert bent == pytest.approx(plain)


@pytest.mark.parametrize("method", ["ksg", "gaussian", "latent", "infonce"])
def test_p_values_of_independent_sides_are_uniform(method):
    n_studies = {"ksg": 200, "gaussian": 200, "latent": 40, "infonce": 8}[method]
    p_values = []
    for seed in range(n_studies):
        x, y = gaussian_pairs(60, 2, 0.0, seed=seed)
        result = mutual_information(x, y, method=method, interval=None, n_shuffles=19, seed=seed)
        assert len(result.null) == 19
        p_values.append(result.p_value)
    assert np.mean(p_values) == pytest.approx(0.525, abs=4 * 0.29 / np.sqrt(n_studies))
    assert np.min(p_values) >= 1 / 20


@pytest.mark.parametrize("method", METHODS)
def test_related_sides_have_the_least_p_value(method):
    x, y = gaussian_pairs(150, 3, 2.0)
    result = mutual_information(x, y, method=method, interval=None, n_shuffles=19)
    assert result.p_value == 1 / 20
    again = mutual_information(x, y, method=method, interval=None, n_shuffles=19)
    np.testing.assert_array_equal(result.null, again.null)
    np.testing.assert_array_equal(result.pointwise, again.pointwise)


def test_interval_covers_about_as_often_as_it_says():
    inside = 0
    for seed in range(60):
        result = mutual_information(*gaussian_pairs(300, 1, 1.0, seed=seed), seed=seed)
        inside += result.low <= 1.0 <= result.high
    assert 52 <= inside <= 60


def test_repeated_rows_are_discrete_values():
    """Two fair coins that agree nine times in ten: 1 - H(0.1) bits."""
    rng = np.random.default_rng(0)
    x = rng.integers(2, size=1000).astype(float)
    y = np.where(rng.random(1000) < 0.9, x, 1 - x)
    truth = 1 + 0.9 * np.log2(0.9) + 0.1 * np.log2(0.1)
    for normalize in (None, "whiten", "rank"):
        bits = mutual_information(x, y, normalize=normalize, interval=None).bits
        assert bits == pytest.approx(truth, abs=0.1)


def test_ties_of_distances_leave_an_interval():
    result = mutual_information(np.arange(60), np.random.default_rng(0).permutation(60))
    assert 0 < result.standard_error < 1
    assert result.low < 0 < result.high


def test_few_points_do_not_fool_the_critic():
    for seed in range(3):
        x, y = gaussian_pairs(50, 2, 0.0, seed=seed)
        assert -1 < mutual_information(x, y, method="infonce", interval=None).bits < 0.5


def test_few_points_keep_the_leading_components():
    x, y = gaussian_pairs(60, 30, 2.0)
    with pytest.warns(UserWarning, match="30 dimensions for 60 points: only its 12") as warned:
        mutual_information(x, y, interval=None)
    assert [str(w.message)[0] for w in warned] == ["x", "y"]


def test_sweep_over_neighbors():
    x, y = gaussian_pairs(300, 2, 2.0)
    table = information_sweep(x, y, ks=(1, 3, 20))
    assert list(table.index) == [1, 3, 20]
    assert table.loc[3, "estimate"] == mutual_information(x, y, k=3).bits
    assert table.loc[20, "estimate"] < table.loc[3, "estimate"]
    with pytest.raises(ValueError, match="no neighbours to sweep"):
        information_sweep(x, y, method="gaussian")


def test_result_reads_well():
    x, y = gaussian_pairs(100, 1, 2.0)
    result = mutual_information(pd.Series(x[:, 0]), y, n_shuffles=19)
    assert "bits" in repr(result)
    assert "p = 0.05 against 19 shuffles" in repr(result)
    series = result.to_series()
    assert series["estimate"] == result.bits
    assert series["k"] == 3
    assert np.isnan(mutual_information(x, y, interval=None).low)


def test_names_of_rows_must_agree():
    x, y = (pd.DataFrame(side) for side in gaussian_pairs(50, 2, 1.0))
    with pytest.raises(ValueError, match=r"Pass y\.loc\[x\.index\]"):
        mutual_information(x, y[::-1])
    assert mutual_information(x[::-1], y[::-1]).n == 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.eye(49, 2)}, "x has 50 rows and y has 49"),
        ({"y": np.zeros((50, 2))}, "y is the same in every row"),
        ({"x": np.full((50, 2), np.nan)}, "x is not finite in 50 of 50 rows"),
        ({"x": np.full((50, 2), "a")}, "x must hold numbers"),
        ({"x": np.ones((50, 2, 2))}, "x must be .points, coordinates."),
        ({"method": "kgs"}, "Did you mean 'ksg'"),
        ({"normalize": "rnak"}, "Did you mean 'rank'"),
        ({"interval": "bootstrap"}, "interval='bootstrap'"),
        ({"k": 49}, "There are 50 pairs; at least 51"),
        ({"k": 0}, "k=0 must be above zero"),
        ({"n_shuffles": -1}, "n_shuffles=-1 must be 0 or more"),
        ({"level": 95}, "level=95 must be between 0 and 1"),
    ],
)
def test_bad_input_is_refused(change, message):
    x, y = gaussian_pairs(50, 2, 1.0)
    with pytest.raises(ValueError, match=message):
        mutual_information(**{"x": x, "y": y, **change})


def test_neighbors_are_whole_numbers():
    with pytest.raises(TypeError, match=r"k=3\.0 must be a whole number"):
        mutual_information(*gaussian_pairs(50, 2, 1.0), k=3.0)
