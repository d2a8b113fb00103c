from __future__ import annotations

import numpy as np
import pytest

from scgde.metrics import retrieval_auc
from scgde.metrics._retrieval import _auc_error

from .test_mutual_information import anisotropic, gaussian_pairs


@pytest.mark.parametrize("map", ["identity", "ridge"])
def test_chance_and_perfection(map):
    x, y = gaussian_pairs(200, 4, 0.0)
    chance = retrieval_auc(x, y, map=map, n_shuffles=99)
    assert chance["low"] < 0.5 < chance["high"]
    assert chance["p_value"] > 0.02
    perfect = retrieval_auc(x, x, map=map, n_shuffles=99)
    assert perfect["estimate"] > 0.999
    assert perfect["median_rank"] == 1
    assert perfect["p_value"] == 0.01


def test_auc_is_the_share_of_rivals_that_are_farther():
    x, y = gaussian_pairs(60, 2, 1.0)
    x, y = x - x.mean(0), y - y.mean(0)
    distance = np.linalg.norm(x[:, None] - y[None], axis=2)
    wins = [(np.delete(d, i) > d[i]).mean() for i, d in enumerate(distance)]
    result = retrieval_auc(x, y, normalize=None)
    assert result["estimate"] == pytest.approx(np.mean(wins))
    assert result["top1"] == pytest.approx(np.mean(distance.argmin(1) == np.arange(60)))


def test_ridge_finds_partners_in_another_space():
    x, y = gaussian_pairs(300, 4, 4.0)
    y = y @ anisotropic(4, 10.0)[:, :3]
    result = retrieval_auc(x, y)
    assert result["n_candidates"] == 60
    assert result["low"] > 0.7
    with pytest.raises(ValueError, match="Use map='ridge'"):
        retrieval_auc(x, y, map="identity")


def test_whitened_retrieval_does_not_depend_on_units():
    x, y = gaussian_pairs(200, 4, 2.0)
    a = anisotropic(4, 1e3)
    plain, other = retrieval_auc(x, y), retrieval_auc(x @ a, y @ a)
    assert other["estimate"] == pytest.approx(plain["estimate"], abs=1e-6)
    raw = retrieval_auc(x @ a, y @ a, normalize=None)
    assert abs(raw["estimate"] - plain["estimate"]) > 0.01


def test_jackknife_leaves_pairs_out():
    rng = np.random.default_rng(0)
    distances = [rng.random((8, 8)), rng.random((9, 9))]

    def mean_auc(blocks):
        return np.mean(
            [np.mean(np.delete(d[i], i) > d[i, i]) for d in blocks for i in range(len(d))]
        )

    without = []
    for f, d in enumerate(distances):
        for i in range(len(d)):
            blocks = list(distances)
            blocks[f] = np.delete(np.delete(d, i, 0), i, 1)
            without.append(mean_auc(blocks))
    expected = np.sqrt(16 * np.var(without))
    assert _auc_error(distances) == pytest.approx(expected)
