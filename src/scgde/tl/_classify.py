from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from rich.progress import track
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupKFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .._errors import listed, require, require_choice
from ..data import PopulationIndex, as_keys, cells_of, group_cells, population_table
from ..metrics import classification_scores, regression_scores, scores_with_intervals
from ..model import GDE
from ._representations import BASELINES, Cells, Representation, population_moments

Setting = Literal["transductive", "inductive", "both"]


def classify_populations(
    adata: AnnData,
    labels_key: str | list[str],
    *,
    embedding_key: str = "gde",
    setting: Setting = "transductive",
    model: GDE | None = None,
    donor_key: str | None = None,
    cell_type_key: str | None = None,
    baselines: Iterable[str] | None = None,
    task: Literal["auto", "classification", "regression"] = "auto",
    n_splits: int | Literal["leave-one-out"] = 5,
    n_repeats: int = 10,
    n_repeats_inductive: int = 1,
    seed: int = 0,
    key_added: str = "gde_classification",
    enable_progress_bar: bool = True,
) -> pd.DataFrame:
    """Predict labels of held-out populations from embeddings, beside simple baselines.

    Logistic regression (ridge regression for a number) in repeated stratified cross-validation in
    which donors are held out whole. Whatever a representation needs to fit, from the scale of a
    feature to a PCA, is fitted on the training populations of each fold.

    Parameters
    ----------
    adata
        Cells, after :func:`embed_populations`; or populations, as from
        :meth:`~scgde.model.GDE.get_population_adata` (then without the baselines that need cells).
    labels_key
        Column of ``.obs`` with the label, constant within populations; several for several labels,
        each predicted by itself. Populations whose label is missing are left out.
    embedding_key
        ``key_added`` of :func:`embed_populations`.
    setting
        ``"transductive"``: the embedding was trained on all cells, those of held-out populations
        included, but without labels. ``"inductive"``: ``model`` is trained anew in each fold on
        the training populations only. ``"both"``.
    model
        The model to train anew; needed unless the setting is transductive.
    donor_key
        Column of the donor; by default the one set up with the model, else every population is its
        own donor.
    cell_type_key
        Column of cell types for the composition baseline.
    baselines
        Of ``"majority"``, ``"mean_sd"`` (logistic on means and standard deviations of features),
        ``"pseudobulk_pca"``, ``"composition"``, ``"kernel_mean"``; by default all that can be had.
    task
        ``"auto"`` takes numbers with more than ten values as regression.
    n_splits
        Folds, or ``"leave-one-out"`` (one donor at a time; one repeat).
    n_repeats, n_repeats_inductive
        Repeats of the folds; the second for the setting in which each fold trains a model.
    seed
        Seed of folds and bootstrap.
    key_added
        Where to write.
    enable_progress_bar
        Show progress.

    Returns
    -------
    DataFrame of ``label``, ``representation``, ``setting``, ``metric``, ``estimate``, ``low``,
    ``high`` (95 % interval over donors and repeats), ``n_populations``. Also written to
    ``.uns[key_added]``: ``scores``, that table; ``predictions``, held-out predictions of every
    population, averaged over repeats; ``params``.

    Raises
    ------
    KeyError, ValueError
        If a key is absent, a label has one value, there are fewer donors of a class than folds, or
        the embedding was itself trained on the label (use ``setting="inductive"``).
    """
    require_choice("setting", setting, ("transductive", "inductive", "both"))
    require_choice("task", task, ("auto", "classification", "regression"))
    if setting != "transductive" and model is None:
        raise ValueError(f"setting={setting!r} trains a model in each fold: pass model=.")
    study = _study(adata, embedding_key, donor_key, model if setting == "inductive" else None)
    own = _own_representations(adata, study, setting, model)
    references = _baselines(study, baselines, cell_type_key, seed)
    tables, predictions = [], []
    for label in as_keys(labels_key):
        require("labels_key", label, study.table.columns, "the columns constant within populations")
        if setting != "inductive" and label in study.params["label_head_keys"]:
            raise ValueError(
                f"labels_key={label!r}: the embedding was trained on this label, held-out "
                "populations included. Use setting='inductive', which trains in each fold, or "
                "embed with a model without label_head."
            )
        problem = _problem(study, label, task)
        for representation in (*own, *references):
            retrains = representation.name == "gde" and representation.setting == "inductive"
            splits = list(
                _splits(problem, n_splits, n_repeats_inductive if retrains else n_repeats, seed)
            )
            held_out = _held_out(problem, representation, splits, retrains and enable_progress_bar)
            scores = scores_with_intervals(
                problem.y, held_out, problem.score, problem.donors, seed=seed
            )
            scores = scores.rename_axis("metric").reset_index()
            scores.insert(0, "setting", representation.setting)
            scores.insert(0, "representation", representation.name)
            scores.insert(0, "label", label)
            tables.append(scores.assign(n_populations=len(problem.y)))
            predictions.append(_prediction_table(problem, representation, held_out))
    table = pd.concat(tables, ignore_index=True)
    table.index = table.index.astype(str)
    adata.uns[key_added] = {
        "scores": table,
        "predictions": pd.concat(predictions).set_axis(
            [str(i) for i in range(sum(map(len, predictions)))]
        ),
        "params": {
            "embedding_key": embedding_key,
            "setting": setting,
            "n_splits": str(n_splits),
            "n_repeats": n_repeats,
            "n_repeats_inductive": n_repeats_inductive,
            "seed": seed,
            "interval": "95 %, bootstrap over donors and repeats",
        },
    }
    return table


class _Study(NamedTuple):
    """Populations, what is known of them, and their cells where there are any."""

    table: pd.DataFrame
    embedding: pd.DataFrame | None
    donors: np.ndarray
    params: dict
    cells: Cells | None


def _study(adata: AnnData, embedding_key: str, donor_key: str | None, model: GDE | None) -> _Study:
    """Collect what is known; of an embedding only if one is needed, that is, without a model."""
    if model is None and "gde_params" in adata.uns:
        params, table, cells = adata.uns["gde_params"], adata.obs, None
        embedding = pd.DataFrame(adata.X, index=adata.obs_names)
    else:
        if model is not None:
            params, embedding = model.get_parameters(), None
        elif embedding_key in adata.uns:
            result = adata.uns[embedding_key]
            params, embedding = result["params"], result["embedding"]
        else:
            raise KeyError(
                f"embedding_key={embedding_key!r} is not in adata.uns. Call "
                "scgde.tl.embed_populations(adata, model) first."
            )
        codes, names = group_cells(adata.obs, list(params["population_key"]))
        if embedding is not None and list(names) != list(embedding.index):
            raise ValueError(
                f"adata.uns[{embedding_key!r}] has other populations than adata.obs now. Call "
                "scgde.tl.embed_populations again."
            )
        table = population_table(adata.obs, codes, names)
        source = cells_of(adata, params["layer"] or None, params["use_rep"] or None)
        cells = Cells(source, PopulationIndex(codes, names), bool(params["is_counts"]), adata.obs)
    donor_key = donor_key or params["donor_key"] or None
    if donor_key is not None:
        require("donor_key", donor_key, table.columns, "the columns constant within populations")
    donors = np.arange(len(table)) if donor_key is None else pd.factorize(table[donor_key])[0]
    return _Study(table, embedding, donors, dict(params), cells)


def _own_representations(
    adata: AnnData, study: _Study, setting: Setting, model: GDE | None
) -> list[Representation]:
    own = []
    if setting in ("transductive", "both"):
        fixed = study.embedding.to_numpy()
        own.append(Representation("gde", "transductive", lambda train: fixed))
    if setting in ("inductive", "both"):
        if study.cells is None:
            raise ValueError("setting='inductive' trains models: pass the AnnData of cells.")

        def retrained(train: np.ndarray) -> np.ndarray:
            cells = adata[np.isin(study.cells.index.codes, train)]
            fold = model.refit(cells.to_memory() if adata.isbacked else cells.copy())
            try:
                return fold.get_population_embedding(adata).to_numpy()
            finally:
                fold.release()

        own.append(Representation("gde", "inductive", retrained))
    return own


def _baselines(
    study: _Study, names: Iterable[str] | None, cell_type_key: str | None, seed: int
) -> list[Representation]:
    if names is None:
        names = list(BASELINES) if study.cells is not None else ["majority"]
        names = [n for n in names if n != "composition" or cell_type_key is not None]
    for name in names:
        require_choice("baselines", name, BASELINES)
    if study.cells is None:
        if set(names) - {"majority"}:
            raise ValueError(
                f"baselines={listed(names)} need cells, but adata has populations. Pass the "
                "AnnData of cells."
            )
        cells = Cells(None, study.table.index, False, study.table)
        return [BASELINES[name](cells) for name in names]
    if "composition" in names:
        require("cell_type_key", cell_type_key, study.cells.obs.columns, "adata.obs")
    moments = population_moments(study.cells)
    return [
        BASELINES[name](study.cells, moments=moments, cell_type_key=cell_type_key, seed=seed)
        for name in names
    ]


class _Problem(NamedTuple):
    """One label: the populations that have it, and how predictions are made and scored."""

    label: str
    populations: np.ndarray
    names: pd.Index
    y: np.ndarray
    donors: np.ndarray
    classes: list[str] | None
    score: object


def _problem(study: _Study, label: str, task: str) -> _Problem:
    column = study.table[label]
    known = np.flatnonzero(column.notna())
    values = column.iloc[known]
    numeric = pd.api.types.is_numeric_dtype(values.dtype) and values.nunique() > 10
    regression = task == "regression" or (task == "auto" and numeric)
    if values.nunique() < 2:
        raise ValueError(f"labels_key={label!r} has one value only; there is nothing to predict.")
    if regression:
        y, classes, score = values.to_numpy(dtype=np.float64), None, regression_scores
    else:
        categories = pd.Categorical(values).remove_unused_categories()
        y, classes = categories.codes.astype(np.int64), [str(c) for c in categories.categories]
        score = classification_scores
    return _Problem(label, known, study.table.index[known], y, study.donors[known], classes, score)


def _splits(problem: _Problem, n_splits: int | str, n_repeats: int, seed: int):
    """Yield for each repeat its folds: pairs of positions among the labelled populations."""
    if n_splits == "leave-one-out":
        yield list(LeaveOneGroupOut().split(problem.y, problem.y, problem.donors))
        return
    n_donors = len(np.unique(problem.donors))
    fewest = n_donors
    if problem.classes is not None:
        fewest = min(
            len(np.unique(problem.donors[problem.y == c])) for c in range(len(problem.classes))
        )
    if not 2 <= n_splits <= fewest:
        raise ValueError(
            f"n_splits={n_splits} must be from 2 to {fewest}, the number of donors of the rarest "
            f"class of {problem.label!r}; or use n_splits='leave-one-out'."
        )
    for repeat in range(n_repeats):
        fold: BaseCrossValidator = (
            GroupKFold(n_splits, shuffle=True, random_state=seed + repeat)
            if problem.classes is None
            else StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed + repeat)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield list(fold.split(problem.y, problem.y, problem.donors))


def _held_out(
    problem: _Problem, representation: Representation, splits: list, progress: bool
) -> np.ndarray:
    """Return held-out predictions of every repeat, ``(n_repeats, n, n_classes)`` or ``(R, n)``."""
    shape = (len(splits), len(problem.y))
    held_out = np.zeros(shape if problem.classes is None else (*shape, len(problem.classes)))
    jobs = [(r, *fold) for r, folds in enumerate(splits) for fold in folds]
    for repeat, train, test in track(jobs, "Training in folds", disable=not progress):
        features = representation.features(problem.populations[train])[problem.populations]
        predictor = make_pipeline(
            *representation.steps, StandardScaler(), _predictor(problem, representation)
        )
        predictor.fit(features[train], problem.y[train])
        if problem.classes is None:
            held_out[repeat, test] = predictor.predict(features[test])
        else:
            seen = predictor.classes_
            held_out[repeat, test[:, None], seen] = predictor.predict_proba(features[test])
    return held_out


def _predictor(problem: _Problem, representation: Representation):
    if representation.name == "majority":
        if problem.classes is None:
            return DummyRegressor()
        # One class for all folds: where it changes with the fold, the held-out class frequencies
        # leak into pooled predictions and the AUC of a constant is no longer one half.
        return DummyClassifier(strategy="constant", constant=np.bincount(problem.y).argmax())
    if problem.classes is None:
        return RidgeCV(np.logspace(-2, 4, 13))
    return LogisticRegression(max_iter=5_000)


def _prediction_table(
    problem: _Problem, representation: Representation, held_out: np.ndarray
) -> pd.DataFrame:
    mean = held_out.mean(0)
    table = pd.DataFrame(
        {
            "label": problem.label,
            "representation": representation.name,
            "setting": representation.setting,
            "population": np.asarray(problem.names, dtype=object),
        }
    )
    if problem.classes is None:
        return table.assign(
            truth=problem.y.astype(str), prediction=mean.astype(str), probability=np.nan
        )
    classes = np.array(problem.classes, dtype=object)
    return table.assign(
        truth=classes[problem.y],
        prediction=classes[mean.argmax(1)],
        probability=mean[np.arange(len(mean)), problem.y],
    )
