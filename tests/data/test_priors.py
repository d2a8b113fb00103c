from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy import stats

from scgde.data import (
    KernelSets,
    LabelSets,
    MixtureSets,
    NoisyLabelSets,
    PopulationIndex,
    SetDataset,
    SetSampler,
    group_cells,
    padded_sets,
    row_source,
)

from .prior_cases import INDEX, OBS, OBSM, PRIORS, N, bound, draws, every_prior, normalized, weights


@pytest.mark.parametrize("key", ["time", "day", "spatial", "sparse"])
def test_kernel_weights_are_those_of_the_formula(key):
    x = OBS[key].to_numpy(float)[:, None] if key in OBS else OBSM[key]
    x = x.toarray() if sp.issparse(x) else x
    values = np.vstack([np.nanmean(x, 0), x[7]])
    distance = np.linalg.norm(x - values[:, None], axis=-1)
    # As much of the kernel is left out as beyond four standard deviations on a line.
    reach = 0.6 * stats.chi2.isf(stats.chi2.sf(16, 1), x.shape[1]) ** 0.5
    expected = np.where(distance <= reach, np.exp(-(distance**2) / (2 * 0.6**2)), 0)
    for got, weight in zip(weights(bound(KernelSets(key, 0.6)), values), expected, strict=True):
        np.testing.assert_allclose(got, normalized(weight), rtol=1e-9)


@pytest.mark.parametrize(
    ("prior", "values", "law"),
    [
        (PRIORS["normal"], [2.0, 9.5], lambda v, y: stats.norm(v, 0.5).pdf(y)),
        (PRIORS["poisson"], [3.0, 0.5], lambda v, y: stats.poisson(v).pmf(y)),
        (PRIORS["binomial"], [0.3, 0.9], lambda v, y: stats.binom(20, v).pmf(y)),
        (
            NoisyLabelSets("positive", "LogNormal", noise_kwargs={"scale": 0.3}),
            [0.2, 0.9],
            lambda v, y: stats.lognorm(0.3, scale=np.exp(v)).pdf(y),
        ),
        (
            NoisyLabelSets("time", "Uniform", "low", {"high": 12}),
            [4.0],
            lambda v, y: stats.uniform(v, 12 - v).pdf(y),
        ),
        (
            NoisyLabelSets("time", "StudentT", noise_kwargs={"df": 3, "scale": 0.2}),
            [4.0],
            lambda v, y: stats.t(3, v, 0.2).pdf(y),
        ),
    ],
    ids=["normal", "poisson", "binomial", "lognormal", "uniform", "student"],
)
def test_noisy_label_weights_are_likelihoods(prior, values, law):
    labels = OBS[prior.key].to_numpy(float)
    for got, value in zip(weights(bound(prior), values), values, strict=True):
        np.testing.assert_allclose(got, normalized(law(value, labels)), atol=1e-6)


def test_an_infinite_density_carries_all_weight():
    prior = NoisyLabelSets("count", "Gamma", "concentration", {"rate": 1.0})
    zero = OBS["count"] == 0
    np.testing.assert_allclose(weights(bound(prior), [0.5])[0], normalized(zero.astype(float)))


def test_mixture_weights():
    table = pd.DataFrame({"c": [0.25, 0.0], "a": [0.75, 1.0]}, index=["m", "pure"])
    sets = bound(MixtureSets(2))
    got = weights(sets, table)
    assert list(sets.measures(table)[0]) == ["m", "pure"]
    for row, (_, weight) in zip(got, table.iterrows(), strict=True):
        for population, name in enumerate(INDEX.names):
            own = INDEX.codes == population
            np.testing.assert_allclose(row[own], weight.get(name, 0) / own.sum(), rtol=1e-9)
    only = list(sets.measures(table)[1])[1].rows  # of no weight, not in the set
    np.testing.assert_array_equal(np.sort(only), INDEX.cells(0))
    full = table.reindex(columns=INDEX.names, fill_value=0.0).to_numpy()
    np.testing.assert_array_equal(weights(sets, full), got)
    assert list(sets.measures(full)[0]) == ["mixture_0", "mixture_1"]


@pytest.mark.parametrize("name", ["kernel", "coordinates", "groups", "normal", "poisson"])
@pytest.mark.parametrize("draw", ["same", "disjoint"])
def test_cells_are_drawn_in_proportion_to_their_weights(name, draw):
    """Against the exact measure at one value, for context and target alike."""
    sets = bound(PRIORS[name])
    x = sets.values  # noqa: PD011 no pandas
    value = x[len(x) // 3]
    sets.anchor = lambda rng: value
    expected = weights(sets, value[None])[0]
    drawn = draws(sets, draw=draw, n_steps=150)
    of_cells = x[sets.groups.codes]
    for part in ("context", "target"):
        rows = np.concatenate([getattr(d, part) for d in drawn])  # 600 sets of 15 cells
        counts = np.bincount(rows.ravel(), minlength=N)
        assert set(np.flatnonzero(counts)) <= set(np.flatnonzero(expected))
        if draw == "same":  # independent draws
            often = expected * rows.size > 5
            seen = [*counts[often], counts[~often].sum()]
            meant = np.array([*expected[often], expected[~often].sum() + 1e-9]) * rows.size
            assert stats.chisquare(seen, meant / meant.sum() * rows.size).pvalue > 1e-4
        for power in (1, 2):
            of_sets = (of_cells[rows] ** power).mean(1)
            error = of_sets.mean(0) - expected @ of_cells**power
            assert (abs(error) < 5 * of_sets.std(0) / np.sqrt(len(rows))).all()


def test_mixture_proportions_are_dirichlet():
    sets = bound(MixtureSets(3, concentration=2.0))
    drawn = draws(sets, n_steps=250, cells_per_population=200)
    shares, used = [], []
    for d in drawn:
        for rows, mixed in zip(d.context, d.mixed, strict=True):
            assert len(set(mixed)) == 3
            used.extend(mixed)
            shares.append([(INDEX.codes[rows] == p).mean() for p in mixed])
    assert stats.chisquare(np.bincount(used)).pvalue > 1e-4
    # A Dirichlet(2, 2, 2) share has mean 1/3 and variance 2 * 4 / (36 * 7); counts add to it.
    shares = np.array(shares)
    np.testing.assert_allclose(shares.mean(0), 1 / 3, atol=0.02)
    variance = 8 / 252
    np.testing.assert_allclose(shares.var(0), variance + (2 / 9 - variance) / 200, rtol=0.15)


def test_cells_of_a_mixture_are_drawn_evenly_within_a_population():
    sets = bound(MixtureSets(1))
    counts = np.bincount(np.ravel([d.context for d in draws(sets, n_steps=300)]), minlength=N)
    for population in range(8):
        assert stats.chisquare(counts[INDEX.cells(population)]).pvalue > 1e-4


@every_prior
def test_disjoint_draws_share_no_cell(prior):
    for m in (5, 40, 400):
        for d in draws(bound(prior), cells_per_population=m, n_steps=5):
            assert d.context.shape == d.target.shape == (4, m)
            for context, target in zip(d.context, d.target, strict=True):
                assert not set(context) & set(target)


@every_prior
def test_same_draws_are_one_object(prior):
    for d in draws(bound(prior), draw="same"):
        assert d.context is d.target


def test_sets_of_few_effective_cells_give_the_same_draw_to_both():
    obs = pd.DataFrame({"t": [0.0] * 3 + [5.0] * 24})
    index = PopulationIndex(np.zeros(27, dtype=int), pd.Index(["all"]))
    sets = KernelSets("t", 0.1).bind(obs, {}, index)
    for d in draws(sets, n_steps=30):
        for context, target in zip(d.context, d.target, strict=True):
            if context[0] < 3:
                assert set(context) <= {0, 1, 2}
                np.testing.assert_array_equal(context, target)
            else:
                assert not set(context) & set(target)


def test_halves_of_small_sets_are_nearly_of_their_measure():
    """The least set that is halved: its second moment is that of the weights within 5 %."""
    x = np.linspace(-30, 30, N + 1)[:N]  # steps of .1
    index = PopulationIndex(np.zeros(N, dtype=int), pd.Index(["all"]))
    sets = KernelSets("t", 0.6).bind(pd.DataFrame({"t": x}), {}, index)
    sets.anchor = lambda rng: np.array([0.0])
    exact = weights(sets, np.zeros((1, 1)))[0] @ x**2
    drawn = draws(sets, n_steps=600, cells_per_population=30)
    assert any(not set(d.context[0]) & set(d.target[0]) for d in drawn)
    got = np.mean([x[d.target] ** 2 for d in drawn])
    assert got == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (KernelSets("time", 1e-9), "enlarge the bandwidth"),
        (NoisyLabelSets("time", "Normal", noise_kwargs={"scale": 1e-9}), "widen the noise"),
        (KernelSets("half", 1.0), "one value only"),
    ],
)
def test_degenerate_sets_are_not_trained_on(prior, message):
    with pytest.raises(ValueError, match=message):
        bound(prior).require_trainable()


def test_one_population_makes_no_mixtures():
    index = PopulationIndex(np.zeros(N, dtype=int), pd.Index(["all"]))
    with pytest.raises(ValueError, match="one population only"):
        bound(MixtureSets(1), index=index).require_trainable()


def test_a_value_twice_is_named():
    with pytest.raises(ValueError, match="'3' twice"):
        bound(KernelSets("time", 1.0)).measures([3.0, 3.0])


def test_a_noise_model_without_mode_has_a_reach_too():
    sets = bound(NoisyLabelSets("time", "Logistic", noise_kwargs={"scale": 0.1}))
    assert weights(sets, np.array([[5.0]]))[0].max() > 0
    with pytest.raises(ValueError, match="within reach"):
        sets.measures([40.0])


@every_prior
def test_no_cell_beyond_the_restricted_rows(prior):
    """What is held out is not seen, neither drawn nor weighed, and the other way round."""
    sets = bound(prior)
    first = np.flatnonzero(np.random.default_rng(1).random(N) < 0.6)
    second = np.setdiff1d(np.arange(N), first)
    seen = []
    for rows in (first, second):
        some = sets.restrict(rows)
        drawn = draws(some, n_steps=60)
        seen.append(np.unique([[d.context, d.target] for d in drawn]))
        assert set(seen[-1]) <= set(rows)
        assert not drawn[0].allowed[np.setdiff1d(np.arange(N), rows)].any()
        assert (INDEX.codes[seen[-1]] >= 0).all()
    assert len(seen[0]) > 100


def test_a_restricted_measure_is_that_of_its_cells_alone():
    rows = np.flatnonzero(np.random.default_rng(1).random(N) < 0.5)
    for prior, values in (
        (PRIORS["kernel"], [4.0]),
        (PRIORS["coordinates"], [[4.0, 5.0]]),
        (PRIORS["poisson"], [4.0]),
        (PRIORS["mixture"], np.full((1, 8), 1 / 8)),
    ):
        got = weights(bound(prior, rows), values)[0]
        index = INDEX.restrict(rows)
        np.testing.assert_allclose(got, weights(bound(prior, index=index), values)[0])
        assert set(np.flatnonzero(got)) <= set(rows)
    early = bound(PRIORS["kernel"], np.flatnonzero(OBS["time"] < 5))
    with pytest.raises(ValueError, match="value 9 has no cell within reach"):
        early.measures([9.0])


@every_prior
def test_seed_epoch_and_rank_make_the_draw(prior):
    sets = bound(prior)
    first = draws(sets, seed=1, epoch=2)

    def equal(other):
        pairs = zip(first, other, strict=True)
        return all(
            (a.context == b.context).all() and (a.target == b.target).all() for a, b in pairs
        )

    assert equal(draws(bound(prior), seed=1, epoch=2))
    assert not equal(draws(sets, seed=2, epoch=2))
    assert not equal(draws(sets, seed=1, epoch=3))
    assert not equal(draws(sets, seed=1, epoch=2, rank=1))
    a, b = draws(sets, fixed=True), draws(sets, fixed=True, epoch=5)
    assert all((x.context == y.context).all() for x, y in zip(a, b, strict=True))


def test_labelled_sets_are_drawn_as_ever():
    rows = np.arange(0, N, 2)
    options = {"populations_per_batch": 4, "cells_per_population": 15, "n_steps": 20, "seed": 3}
    ours = bound(LabelSets(), rows).sampler(**options)
    assert type(ours) is SetSampler
    for a, b in zip(ours, SetSampler(INDEX.restrict(rows), **options), strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
        assert a.allowed is None


@every_prior
def test_cells_without_a_value_or_a_population_are_in_no_set(prior):
    sets = bound(prior)
    lacking = INDEX.codes < 0
    if getattr(prior, "key", None) == "time":
        lacking = lacking | OBS["time"].isna().to_numpy()
    np.testing.assert_array_equal(sets.index.codes < 0, lacking)
    assert not lacking[np.unique([d.context for d in draws(sets)])].any()


def dataset():
    return SetDataset(
        row_source(np.repeat(np.arange(N, dtype=np.float32), 2).reshape(N, 2)),
        INDEX,
        labels=np.maximum(INDEX.codes, 0)[:, None],
    )


@every_prior
def test_batches_of_sets_that_are_no_populations(prior):
    d = draws(bound(prior), n_steps=1)[0]
    batch = dataset()[d]
    assert (batch["population"] == -1).all()
    assert (batch["labels"] == -1).all()
    assert batch["labels"].shape == (4, 1)
    assert (batch["context_weight"] == 1 / 15).all()
    np.testing.assert_array_equal(batch["target"][..., 0], d.target)


def test_labels_of_populations_are_theirs():
    d = draws(bound(LabelSets()), n_steps=1)[0]
    np.testing.assert_array_equal(dataset()[d]["labels"][:, 0], d.population)


@every_prior
@pytest.mark.parametrize("part", ["context", "target"])
def test_a_cell_that_is_not_the_sets_own_is_noticed(prior, part):
    rows = np.flatnonzero(np.random.default_rng(1).random(N) < 0.6)
    d = draws(bound(prior, rows), n_steps=1)[0]
    held_out = np.setdiff1d(np.flatnonzero(INDEX.codes >= 0), rows)
    wrong = getattr(d, part).copy()
    wrong[1, 3] = held_out[0]
    with pytest.raises(RuntimeError, match="not its own"):
        dataset()[d._replace(**{part: wrong})]
    if d.mixed is not None:
        outside = np.setdiff1d(np.unique(INDEX.codes[rows]), [-1, *d.mixed[1]])[0]
        wrong[1, 3] = rows[INDEX.codes[rows] == outside][0]
        with pytest.raises(RuntimeError, match="not its own"):
            dataset()[d._replace(**{part: wrong})]


def test_fewer_held_out_populations_than_k_are_all_mixed():
    rows = np.flatnonzero(np.isin(INDEX.codes, [2, 5]))
    sets = bound(MixtureSets(3), rows)
    for d in draws(sets):
        assert d.mixed.shape == (4, 2)
        assert set(np.unique(d.mixed)) == {2, 5}
    with pytest.raises(ValueError, match="k=3 populations are to be mixed, but there are 2"):
        sets.require_trainable()


def test_true_values_out_of_reach_of_held_out_cells_are_passed_over():
    prior = NoisyLabelSets("time", "Normal", noise_kwargs={"scale": 0.1}, values=[2.0, 8.0])
    early = np.flatnonzero(OBS["time"] < 5)
    sets = bound(prior, early)
    assert sets.reached == [2.0]
    assert OBS["time"][np.unique([d.context for d in draws(sets)])].between(1.5, 2.5).all()
    assert bound(prior, np.flatnonzero(OBS["time"] > 9)).n_sets(10) == 0
    assert bound(prior, np.array([], dtype=int)).n_sets(10) == 0
    with pytest.raises(ValueError, match=r"value 8 has no cell within reach.*from 0\."):
        sets.require_trainable()


def test_padding_has_no_weight():
    measures = [(np.arange(n), np.full(n, 1 / n)) for n in (3, 2, 5, 1)]
    batches = list(padded_sets(measures, 6))
    assert [rows.shape for rows, _ in batches] == [(2, 3), (1, 5), (1, 1)]
    rows, weight = batches[0]
    np.testing.assert_array_equal(rows[1], [0, 1, 0])
    np.testing.assert_allclose(weight, [[1 / 3] * 3, [0.5, 0.5, 0]])


def test_no_key_is_one_group():
    codes, names = group_cells(OBS, [])
    assert list(names) == ["all"]
    assert (codes == 0).all()
