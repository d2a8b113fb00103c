from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from scgde.stats import CombinationRegression


def effects(n_parts=12, n_features=3, n_outputs=5, noise=0.0, own=0.0, seed=0):
    """Parts whose effects follow from their features, and something of their own."""
    rng = np.random.default_rng(seed)
    names = [f"g{i}" for i in range(n_parts)]
    features = {name: rng.standard_normal(n_features) for name in names}
    slope, mean = rng.standard_normal((n_features, n_outputs)), rng.standard_normal(n_outputs)
    of_part = {
        g: mean + f @ slope + own * rng.standard_normal(n_outputs) for g, f in features.items()
    }

    def effect(parts):
        return sum((of_part[p] for p in parts), np.zeros(n_outputs))

    singles = [[name] for name in names]
    pairs = [[a, b] for a, b in pairwise(names)]
    combinations = singles + pairs
    y = np.stack([effect(c) for c in combinations])
    return combinations, features, y + noise * rng.standard_normal(y.shape), effect


def test_learns_what_features_say_of_unseen_parts():
    combinations, features, y, effect = effects(noise=0.01)
    unseen = "g11"
    seen = [i for i, c in enumerate(combinations) if unseen not in c]
    model = CombinationRegression().fit(
        [combinations[i] for i in seen], ["x"] * len(seen), features, y[seen]
    )
    predicted = model.predict([[unseen], [unseen, "g0"]], ["x", "x"], features)
    truth = np.stack([effect([unseen]), effect([unseen, "g0"])])
    assert model.share > 0.5
    np.testing.assert_allclose(predicted, truth, atol=0.3 * np.abs(truth).max())


def test_pairs_of_seen_parts_add_up_where_features_say_nothing():
    combinations, _, y, _ = effects(noise=0.01, own=3.0)
    noise = np.random.default_rng(1)
    features = {f"g{i}": noise.standard_normal(3) for i in range(12)}
    held = combinations.index(["g3", "g4"])
    seen = [i for i in range(len(y)) if i != held]
    model = CombinationRegression().fit(
        [combinations[i] for i in seen], ["x"] * len(seen), features, y[seen]
    )
    predicted = model.predict([["g3", "g4"]], ["x"], features)[0]
    assert np.square(predicted - y[held]).mean() < 0.05 * np.square(y[held]).mean()


def test_noise_gives_the_mean_and_no_parts_give_exactly_zero():
    rng = np.random.default_rng(0)
    names = [[f"g{i}"] for i in range(30)]
    features = {name[0]: rng.standard_normal(4) for name in names}
    y = 2.0 + rng.standard_normal((30, 40))
    model = CombinationRegression().fit(names, ["x"] * 30, features, y)
    predicted = model.predict(
        [["new"], []], ["x", "x"], {**features, "new": rng.standard_normal(4)}
    )
    assert np.square(predicted[0] - y.mean(0)).mean() < 0.1
    assert (predicted[1] == 0).all()


def test_contexts_have_their_own_means():
    rng = np.random.default_rng(0)
    names = [[f"g{i}"] for i in range(10)] * 2
    contexts = ["a"] * 10 + ["b"] * 10
    features = {f"g{i}": rng.standard_normal(2) for i in range(11)}
    y = np.where(np.array(contexts) == "a", 1.0, -1.0)[:, None] + 0.01 * rng.standard_normal(
        (20, 6)
    )
    model = CombinationRegression().fit(names, contexts, features, y)
    predicted = model.predict([["g10"], ["g10"]], ["a", "b"], features)
    np.testing.assert_allclose(predicted, [[1.0] * 6, [-1.0] * 6], atol=0.1)


def test_left_out_error_is_that_of_fits_without_the_combination():
    combinations, features, y, _ = effects(n_parts=6, noise=0.5, own=1.0)
    both = combinations + combinations
    contexts = ["a"] * len(y) + ["b"] * len(y)
    values = np.concatenate([y, y + 1])
    model = CombinationRegression().fit(both, contexts, features, values)
    total = 0.0
    from scgde.stats import _combination_regression as of_file

    monkey = pytest.MonkeyPatch()
    monkey.setattr(of_file, "_SHARES", (model.share,))
    monkey.setattr(of_file, "_RATIOS", (model.ratio,))
    # Features are centred by the parts in the fit; leaving one out moves the centre, not the fit.
    for i in range(len(y)):
        keep = [j for j in range(len(both)) if j % len(y) != i]
        part = CombinationRegression().fit(
            [both[j] for j in keep], [contexts[j] for j in keep], features, values[keep]
        )
        left = part.predict([both[i]] * 2, ["a", "b"], features)
        total += np.square(left - values[[i, i + len(y)]]).sum()
    monkey.undo()
    assert total / values.size == pytest.approx(model.error, rel=0.05)


def test_an_unseen_context_has_the_mean_of_those_seen():
    rng = np.random.default_rng(0)
    names = [[f"g{i}"] for i in range(10)] * 2
    features = {f"g{i}": rng.standard_normal(2) for i in range(11)}
    y = 5.0 + 0.01 * rng.standard_normal((20, 6))
    model = CombinationRegression().fit(names, ["a"] * 10 + ["b"] * 10, features, y)
    np.testing.assert_allclose(model.predict([["g10"]], ["c"], features), 5.0, atol=0.1)


def test_contexts_of_one_combination_say_nothing_of_the_error():
    # Such an observation fixes its context's mean by itself; rounding must not choose the model.
    combinations, features, y, _ = effects(n_parts=12, own=0.0, noise=2.0)
    singles = combinations[:11]
    contexts = ["main"] * 6 + [f"alone_{i}" for i in range(5)]
    model = CombinationRegression().fit(singles, contexts, features, y[:11])
    alone = CombinationRegression().fit(singles[:6], contexts[:6], features, y[:6])
    assert model.error * 11 == pytest.approx(alone.error * 6, rel=0.5)
