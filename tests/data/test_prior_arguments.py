"""Set priors as plain values, and every mistake met with its remedy."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from scgde.data import (
    SET_PRIORS,
    KernelSets,
    LabelSets,
    MixtureSets,
    NoisyLabelSets,
    SetPrior,
    as_set_prior,
)

from .prior_cases import OBS, PRIORS, bound, draws, every_prior


@every_prior
def test_plain_form_reads_back(prior):
    plain = prior.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert as_set_prior(plain) == prior == as_set_prior(prior)


def test_numpy_numbers_become_plain():
    plain = NoisyLabelSets("t", "Normal", "loc", {"scale": np.float32(2)}, np.arange(3.0)).to_dict()
    assert plain["noise_kwargs"] == {"scale": 2.0}
    assert plain["values"] == [0.0, 1.0, 2.0]
    assert type(MixtureSets(np.int64(2), np.float64(0.5)).to_dict()["k"]) is int


def test_short_forms():
    assert as_set_prior(None) == as_set_prior("label") == LabelSets()
    assert as_set_prior("mixture") == MixtureSets(3, 1.0)
    assert SET_PRIORS.names() == ["kernel", "label", "mixture", "noisy_label"]


@pytest.mark.parametrize(
    ("sets", "error", "match"),
    [
        ("kernl", ValueError, "sets='kernl'.*Did you mean 'kernel'"),
        ("kernel", ValueError, "lacks 'key', 'bandwidth': give sets="),
        ({"key": "time"}, ValueError, "lacks 'name'"),
        ({"name": "kernel", "key": "time", "bandwith": 1}, ValueError, "Did you mean 'bandwidth'"),
        ({"name": "kernel", "key": "time", "bandwidth": 0}, ValueError, "bandwidth=0 must be"),
        ({"name": "kernel", "key": "t", "bandwidth": "1"}, ValueError, "bandwidth='1' must be a"),
        ({"name": "mixture", "k": 0}, ValueError, "k=0"),
        ({"name": "mixture", "k": 2.5}, ValueError, "k=2.5 must be a whole"),
        ({"name": "mixture", "concentration": -1}, ValueError, "concentration=-1"),
        (3, TypeError, "sets=3 must be a name"),
        (KernelSets, TypeError, "set prior such as"),
    ],
)
def test_bad_priors(sets, error, match):
    with pytest.raises(error, match=match):
        as_set_prior(sets)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"noise": "Norml"}, "noise='Norml'.*Did you mean 'Normal'"),
        ({"noise": "Poisson"}, "parameter='loc' is no argument of noise='Poisson'.*'rate'"),
        ({"noise": "Normal"}, "also needs 'scale'"),
        ({"noise": "Normal", "noise_kwargs": {"scal": 1}}, "noise_kwargs='scal'.*'scale'"),
        ({"noise": "Normal", "noise_kwargs": {"scale": -1}}, r"noise_kwargs\['scale'\]=-1"),
        ({"noise": "Normal", "noise_kwargs": {"scale": "a"}}, "'a' must be a finite number"),
        ({"noise": "Normal", "noise_kwargs": {"loc": 1, "scale": 1}}, "Leave it out"),
        ({"noise": "Normal", "noise_kwargs": 2}, "noise_kwargs=2 must be a dict"),
        ({"noise": "Normal", "noise_kwargs": {"scale": 1}, "values": 3}, "values=3 must be a list"),
        ({"noise": "Poisson", "parameter": "rate", "values": [-1]}, "rate=-1 with"),
        (
            {"noise": "Dirichlet", "parameter": "concentration", "values": [1]},
            "makes no noise='Dirichlet'",
        ),
    ],
)
def test_bad_noise_models(arguments, match):
    with pytest.raises(ValueError, match=match):
        NoisyLabelSets("time", **arguments)


@pytest.mark.parametrize(
    ("prior", "match"),
    [
        (NoisyLabelSets("half", "Poisson", "rate"), "never gives, such as 0.5"),
        (
            NoisyLabelSets("count", "Binomial", "probs", {"total_count": 20}),
            r"probs=2 .*give values=\[",
        ),
        (
            NoisyLabelSets("count", "Binomial", "probs", {"total_count": 15}, [0.5]),
            "never gives, such as 16",
        ),
        (
            NoisyLabelSets("positive", "LogNormal", noise_kwargs={"scale": 0.1}),
            r"next to impossible.*another unit.*give values=\[",
        ),
        (
            NoisyLabelSets("time", "Normal", noise_kwargs={"scale": 0.1}, values=[5.0, 50.0]),
            "value 50 has no cell within reach",
        ),
    ],
)
def test_noise_models_that_do_not_fit_the_labels(prior, match):
    rows = np.flatnonzero(OBS["count"] < 16)  # labels that are held out are met here, too
    with pytest.raises(ValueError, match=match):
        bound(prior, rows).require_trainable()


@pytest.mark.parametrize(
    ("key", "error", "match"),
    [
        ("tme", KeyError, "Did you mean 'time'"),
        ("both", ValueError, "both a column of adata.obs and a matrix in adata.obsm"),
        ("name", ValueError, r"adata.obs\['name'\] does not hold numbers"),
        ("flag", ValueError, "bool"),
        ("infinite", ValueError, "infinite values"),
        ("missing", ValueError, "no value for any cell"),
    ],
)
def test_bad_keys(key, error, match):
    with pytest.raises(error, match=match):
        bound(KernelSets(key, 1.0))
    if key != "both":
        with pytest.raises(error, match=match):
            bound(NoisyLabelSets(key, "Normal", noise_kwargs={"scale": 1.0}))


@pytest.mark.parametrize(
    ("name", "values", "match"),
    [
        ("kernel", [5.0, 99.0], r"value 99 has no cell.*4 bandwidths of 0\.7.*ranges from 0\."),
        ("coordinates", [[5.0, 50.0]], r"value \(5, 50\) has no cell"),
        ("normal", [-20.0], "value -20 has no cell"),
        ("poisson", [5e3], "value 5000 has no cell"),
        ("binomial", [1.5], "probs=1.5"),
        ("kernel", [[1.0, 2.0]], r"shape \(1, 2\).*need \(n,\)"),
        ("coordinates", [1.0, 2.0], r"shape \(2,\).*need \(n, 2\)"),
        ("kernel", [np.nan], "NaN"),
        ("kernel", [], "nothing"),
        ("kernel", ["early"], "must be numbers"),
        ("mixture", [[0.5, 0.5]], r"shape \(1, 2\).*\(n, 8\)"),
        ("mixture", pd.DataFrame({"a": [0.5], "b": [0.6]}), "row 0 sums to 1.1"),
        ("mixture", pd.DataFrame({"a": [1.5], "b": [-0.5]}), "lowest weight -0.5"),
    ],
)
def test_bad_values(name, values, match):
    with pytest.raises(ValueError, match=match):
        bound(PRIORS[name]).measures(values)


def test_unknown_population_of_a_mixture():
    with pytest.raises(KeyError, match="values='z' is not in the populations"):
        bound(PRIORS["mixture"]).measures(pd.DataFrame({"z": [1.0]}))


def test_labelled_sets_have_no_values():
    with pytest.raises(ValueError, match="use get_population_embedding"):
        bound(LabelSets()).measures([1.0])


@pytest.mark.parametrize("argument", ["populations_per_batch", "cells_per_population"])
def test_sizes_are_positive(argument):
    with pytest.raises(ValueError, match=f"{argument}=0"):
        draws(bound(PRIORS["kernel"]), **{argument: 0})


def test_a_prior_must_be_registered_and_plain():
    class Stranger(SetPrior):
        def bind(self, obs, obsm, index):
            return None

    with pytest.raises(ValueError, match=r"Stranger.*SET_PRIORS\.register"):
        Stranger().to_dict()
    with pytest.raises(ValueError, match="plain numbers, text"):
        KernelSets(object(), 1.0).to_dict()
