from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .._errors import listed
from ..stats import CombinationRegression
from ._perturbation_split import PerturbationSplit, ShiftPrediction


def perturbation_baselines(
    split: PerturbationSplit, features: pd.DataFrame | None = None
) -> dict[str, ShiftPrediction]:
    """Predict held-out perturbations without a model of cells; a model that loses is not needed.

    Everything is fitted on the training perturbations of the same covariate; where there are none,
    on all.

    Parameters
    ----------
    split
        What is held out, and what is known.
    features
        Of each component, components x features, for the two regressions; they are left out
        without them.

    Returns
    -------
    Predictions by name:

    ``no_change``
        A shift of zero.
    ``training_mean``
        Mean shift of the training perturbations.
    ``matching_mean``
        Mean over the components of each component's shift when alone, that of an unseen component
        taken as the training mean (Vinas Torne et al. 2025, Systema). Of an unseen single it is the
        training mean.
    ``ridge``
        Ridge regression of the pseudobulk shift on standardised features, those of a combination
        summed; the penalty by leave-one-out over the training perturbations that have features. The
        training mean where these are fewer than three.
    ``kriging``
        :class:`~scgde.stats.CombinationRegression` of the pseudobulk shift, in all covariates
        together: what :class:`~scgde.model.PerturbationGDE` does to embeddings, without any.
    ``additive``
        Sum of the shifts of the components alone, of combinations whose components were all seen
        alone; there is no prediction of others (Ahlmann-Eltze et al. 2025).

    Raises
    ------
    KeyError
        If a held-out perturbation has a component without features.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> rng = np.random.default_rng(0)
    >>> cells = {name: rng.normal(i, 1, (20, 5)) for i, name in enumerate(["A", "B"])}
    >>> table = pd.DataFrame({"perturbation": list("ABCD"), "covariate": ""}, list("ABCD"))
    >>> known = pd.DataFrame(rng.normal(size=(2, 5)), ["C", "D"])
    >>> split = scgde.metrics.PerturbationSplit(cells, {"": rng.normal(size=(20, 5))}, known, table)
    >>> list(scgde.metrics.perturbation_baselines(split))
    ['no_change', 'training_mean', 'matching_mean']
    """
    names = list(split.observed)
    mean = split.mean_training_shifts
    found = {
        "no_change": pd.DataFrame(0.0, index=names, columns=split.genes),
        "training_mean": mean,
        "matching_mean": _matching_mean(split),
    }
    if features is not None:
        _require_features(split, features)
        found["ridge"] = _ridge(split, features)
        found["kriging"] = _kriging(split, features)
    additive = _additive(split)
    if len(additive):
        found["additive"] = additive
    return {name: ShiftPrediction(shift) for name, shift in found.items()}


def _single_shifts(split: PerturbationSplit, covariate: str) -> dict[str, np.ndarray]:
    """Return the shift of each component that was seen alone in a covariate."""
    found = {}
    for name in split.by_covariate(split.training_shifts.index).get(covariate, []):
        parts = split.components_of(name)
        if len(parts) == 1:
            found[parts[0]] = split.training_shifts.loc[name].to_numpy(dtype=float)
    return found


def _matching_mean(split: PerturbationSplit) -> pd.DataFrame:
    rows = {}
    for covariate, names in split.by_covariate(split.observed).items():
        seen = _single_shifts(split, covariate)
        for name in names:
            mean = split.mean_training_shifts.loc[name].to_numpy()
            rows[name] = np.mean([seen.get(p, mean) for p in split.components_of(name)], axis=0)
    return pd.DataFrame.from_dict(rows, orient="index", columns=split.genes)


def _additive(split: PerturbationSplit) -> pd.DataFrame:
    rows = {}
    for covariate, names in split.by_covariate(split.observed).items():
        seen = _single_shifts(split, covariate)
        for name in names:
            parts = split.components_of(name)
            if len(parts) > 1 and all(part in seen for part in parts):
                rows[name] = np.sum([seen[part] for part in parts], axis=0)
    return pd.DataFrame.from_dict(rows, orient="index", columns=split.genes)


def _ridge(split: PerturbationSplit, features: pd.DataFrame) -> pd.DataFrame:
    training = [n for n in split.training_shifts.index if _has_features(split, n, features)]
    predicted = []
    for covariate, names in split.by_covariate(split.observed).items():
        own = split.by_covariate(training).get(covariate, training)
        if len(own) < 3:  # leave-one-out needs two to fit on
            predicted.append(split.mean_training_shifts.loc[names])
            continue
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 6, 25)))
        ridge.fit(_sums(split, own, features), split.training_shifts.loc[own].to_numpy())
        values = ridge.predict(_sums(split, names, features))
        predicted.append(pd.DataFrame(values, index=names, columns=split.genes))
    return pd.concat(predicted).loc[list(split.observed)]


def _kriging(split: PerturbationSplit, features: pd.DataFrame) -> pd.DataFrame:
    training = [n for n in split.training_shifts.index if _has_features(split, n, features)]
    if len(training) < 3:
        return split.mean_training_shifts
    names = list(split.observed)
    values = dict(zip(features.index, features.to_numpy(dtype=float), strict=True))
    parts, contexts = (
        [[of(name) for name in group] for group in (training, names)]
        for of in (split.components_of, split.covariate)
    )
    fitted = CombinationRegression().fit(
        parts[0], contexts[0], values, split.training_shifts.loc[training].to_numpy(dtype=float)
    )
    predicted = fitted.predict(parts[1], contexts[1], values)
    return pd.DataFrame(predicted, index=names, columns=split.genes)


def _require_features(split: PerturbationSplit, features: pd.DataFrame) -> None:
    absent = [name for name in split.observed if not _has_features(split, name, features)]
    if absent:
        raise KeyError(
            f"features has no row for components of {listed(absent)}. Add them, or do not hold "
            "these perturbations out."
        )


def _has_features(split: PerturbationSplit, name: str, features: pd.DataFrame) -> bool:
    return all(part in features.index for part in split.components_of(name))


def _sums(split: PerturbationSplit, names: list[str], features: pd.DataFrame) -> np.ndarray:
    """Return the sum of the components' features of each population."""
    parts = [features.loc[split.components_of(name)] for name in names]
    return np.stack([part.to_numpy(dtype=float).sum(0) for part in parts])
