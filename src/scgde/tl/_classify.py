from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import listed, require, require_choice
from .._logging import quiet
from ..data import as_keys, require_label
from ..metrics import scores_with_intervals
from ..model import GDE
from ..stats import completed_noise
from ._cross_validation import (
    held_out_predictions,
    label_problem,
    prediction_table,
    splits_of,
)
from ._populations import Populations, embedded_populations, sampling_noise
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
    baselines: str | Iterable[str] | None = None,
    task: Literal["auto", "classification", "regression"] = "auto",
    errors_in_variables: bool = False,
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
    errors_in_variables
        Add ``"gde_weighted"``: the same embedding in a model that knows each one's sampling
        covariance (:class:`~scgde.stats.NoisyLogisticRegression`,
        :class:`~scgde.stats.NoisyRidge`), so that a population of few cells weighs less and is
        predicted with less confidence. The covariance of a population of one cell, which has
        none of its own, is pooled from all the others, held-out ones included (no label is used).
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
    population, averaged over repeats (text where numbers stand beside classes); ``params``.
    ``roc_auc`` and ``spearman`` rank populations of different folds by what is predicted beyond
    the training set's frequencies or mean, which without signal run against what is held out; so
    does, much less, what is left (docs, "What scores say").

    Raises
    ------
    KeyError, ValueError
        If a key or the covariance is absent, a label has one value, there are fewer donors of a
        class than folds, or the embedding was itself trained on the label (use
        ``setting="inductive"``).

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> adata = scgde.datasets.normal_populations(12, 40)
    >>> adata.obs["group"] = np.where(adata.obs["mean"] > 2.5, "high", "low")
    >>> scgde.model.GDE.setup_anndata(adata, "population")
    >>> model = scgde.model.GDE(adata, n_latent=4, n_hidden=16)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.embed_populations(adata, model)
    >>> scores = scgde.tl.classify_populations(adata, "group", n_splits=2, n_repeats=2)
    >>> scores["representation"].unique().tolist()
    ['gde', 'majority', 'mean_sd', 'pseudobulk_pca', 'kernel_mean']
    """
    require_choice("setting", setting, ("transductive", "inductive", "both"))
    require_choice("task", task, ("auto", "classification", "regression"))
    if setting != "transductive" and model is None:
        raise ValueError(f"setting={setting!r} trains a model in each fold: pass model=.")
    # Where models are trained in each fold no embedding is needed.
    trained = model if setting == "inductive" else None
    study = embedded_populations(adata, embedding_key, donor_key, trained)
    own = _own_representations(adata, study, embedding_key, setting, model, errors_in_variables)
    references = _baselines(study, baselines, cell_type_key, seed)
    tables, predictions = [], []
    for label in as_keys(labels_key):
        require_label("labels_key", label, study.table)
        if setting != "inductive" and label in study.params["label_head_keys"]:
            raise ValueError(
                f"labels_key={label!r}: the embedding was trained on this label, held-out "
                "populations included. Use setting='inductive', which trains in each fold, or "
                "embed with a model without label_head."
            )
        problem = label_problem(study.table, study.donors, label, task)
        for representation in (*own, *references):
            retrains = representation in own and representation.setting == "inductive"
            splits = list(
                splits_of(problem, n_splits, n_repeats_inductive if retrains else n_repeats, seed)
            )
            held_out = held_out_predictions(
                problem, representation, splits, retrains and enable_progress_bar
            )
            scores = scores_with_intervals(
                problem.y, held_out, problem.score, problem.donors, seed=seed
            )
            scores = scores.rename_axis("metric").reset_index()
            scores.insert(0, "setting", representation.setting)
            scores.insert(0, "representation", representation.name)
            scores.insert(0, "label", label)
            tables.append(scores.assign(n_populations=len(problem.y)))
            predictions.append(prediction_table(problem, representation, held_out))
    table = pd.concat(tables, ignore_index=True)
    table.index = table.index.astype(str)
    # A column of a file is of one kind: numbers beside classes become text.
    if len({of["truth"].dtype.kind for of in predictions}) > 1:
        predictions = [of.astype({"truth": str, "prediction": str}) for of in predictions]
    adata.uns[key_added] = {
        "scores": table,
        "predictions": pd.concat(predictions).set_axis(
            [str(i) for i in range(sum(map(len, predictions)))]
        ),
        "params": {
            "embedding_key": embedding_key,
            "setting": setting,
            "errors_in_variables": errors_in_variables,
            "n_splits": str(n_splits),
            "n_repeats": n_repeats,
            "n_repeats_inductive": n_repeats_inductive,
            "seed": seed,
            "interval": "95 %, bootstrap over donors and repeats",
        },
    }
    return table


def _own_representations(
    adata: AnnData,
    study: Populations,
    embedding_key: str,
    setting: Setting,
    model: GDE | None,
    weighted: bool,
) -> list[Representation]:
    own = []
    if setting in ("transductive", "both"):
        fixed = study.embedding.to_numpy()
        own.append(Representation("gde", "transductive", lambda train: fixed))
        if weighted:
            noise = sampling_noise(study, embedding_key)
            own.append(
                Representation(
                    "gde_weighted", "transductive", lambda train: fixed, noise=lambda train: noise
                )
            )
    if setting in ("inductive", "both"):
        if study.cells is None:
            raise ValueError("setting='inductive' trains models: pass the AnnData of cells.")
        folds = _Folds(adata, study, model, weighted)
        own.append(Representation("gde", "inductive", lambda train: folds[train][0]))
        if weighted:
            own.append(
                Representation(
                    "gde_weighted",
                    "inductive",
                    lambda train: folds[train][0],
                    noise=lambda train: folds[train][1],
                )
            )
    return own


class _Folds:
    """Embeddings ``(P, L)`` by models that saw the training populations only, with covariances.

    Each is kept: the weighted and the unweighted classifier ask for the same.
    """

    def __init__(self, adata: AnnData, study: Populations, model: GDE, covariance: bool):
        self.adata, self.study, self.model, self.covariance = adata, study, model, covariance
        self._kept: dict[bytes, tuple[np.ndarray, np.ndarray | None]] = {}

    def __getitem__(self, train: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        key = np.sort(train).tobytes()
        if key not in self._kept:
            self._kept[key] = self._embed(train)
        return self._kept[key]

    def _embed(self, train: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        cells = self.adata[np.isin(self.study.cells.index.codes, train)]
        fold = self.model.refit(cells.to_memory() if self.adata.isbacked else cells.copy())
        try:
            with quiet("scvi"):
                found = fold.get_population_embedding(
                    self.adata, return_covariance=self.covariance, enable_progress_bar=False
                )
        finally:
            fold.release()
        if not self.covariance:
            return found.to_numpy(), None
        embedding, covariance = found
        noise = completed_noise(covariance, self.study.cells.index.sizes)
        return embedding.to_numpy(), noise.astype(np.float32)


def _baselines(
    study: Populations, names: Iterable[str] | None, cell_type_key: str | None, seed: int
) -> list[Representation]:
    if names is None:
        names = list(BASELINES) if study.cells is not None else ["majority"]
        names = [n for n in names if n != "composition" or cell_type_key is not None]
    names = as_keys(names)
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
        if cell_type_key is None:
            raise ValueError("baselines='composition' counts cell types: pass cell_type_key.")
        require("cell_type_key", cell_type_key, study.cells.obs.columns, "adata.obs")
    moments = population_moments(study.cells)
    return [
        BASELINES[name](study.cells, moments=moments, cell_type_key=cell_type_key, seed=seed)
        for name in names
    ]
