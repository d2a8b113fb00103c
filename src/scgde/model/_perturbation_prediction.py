from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from sklearn.linear_model import RidgeCV

from .._errors import listed, unknown
from .._scvi import BaseModelClass
from ..data import SEPARATOR
from ..stats import CombinationRegression


@dataclass(frozen=True)
class PerturbationPrediction:
    """What a model says of perturbations; one row a perturbation (and covariate).

    Attributes
    ----------
    table
        ``perturbation``, ``covariate`` (``""`` where none was set up) and ``n_seen``: how many of
        the perturbation's ``n_parts`` were in the training data, alone or in combinations.
    embedding
        Populations x ``n_latent``.
    embedding_shift
        The same, from the control of the covariate; exactly zero for the control.
    mean_shift
        Populations x features: shift of mean ``log(1 + 10^4 x / total)`` from the control, of
        counts; of the features themselves otherwise. Exactly zero for the control.
    cells
        Generated cells; None where none were asked for.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.perturbed_populations(6, 2, 20)
    >>> scgde.model.PerturbationGDE.setup_anndata(adata, "perturbation", control="control")
    >>> model = scgde.model.PerturbationGDE(adata, features="gene_features", n_latent=8)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> prediction = model.predict("target_00+target_05", n_cells=10)
    >>> prediction.embedding_shift.shape, prediction.cells.n_obs
    ((1, 8), 10)
    """

    table: pd.DataFrame
    embedding: pd.DataFrame
    embedding_shift: pd.DataFrame
    mean_shift: pd.DataFrame
    cells: AnnData | None

    def __repr__(self) -> str:
        cells = "" if self.cells is None else f", {self.cells.n_obs} cells"
        return f"PerturbationPrediction of {len(self.table)} populations{cells}"


class Effects(NamedTuple):
    """What predicts: weights, the shifts ``(n, L)`` that they weigh, what reads means off those.

    ``read_out`` is ``(L, d)``; ``start`` has the control's embedding ``(L,)`` of each covariate.
    """

    regression: CombinationRegression
    features: dict[str, np.ndarray]
    shifts: np.ndarray
    read_out: np.ndarray
    start: dict[str, np.ndarray]


class PredictMixin(BaseModelClass):
    """``predict``: perturbations that were never done, from those that were."""

    def predict(
        self,
        perturbations: str | list[str],
        covariates: str | list[str] | None = None,
        n_cells: int = 0,
        *,
        seed: int | None = None,
        enable_progress_bar: bool = True,
        **sampler_kwargs: object,
    ) -> PerturbationPrediction:
        """Predict perturbations, whether or not they were ever done.

        A perturbation that is in the training data is predicted from the others and itself, as its
        effect was measured with error; its own embedding is in :meth:`get_population_embedding`.

        Parameters
        ----------
        perturbations
            Names; combinations as ``"A+B"``, the control by its name.
        covariates
            Cell lines or conditions to predict each in; by default all of the training data.
        n_cells
            Cells to generate of each; none by default.
        seed, enable_progress_bar, **sampler_kwargs
            As in :meth:`sample`.

        Returns
        -------
        :class:`PerturbationPrediction`.

        Raises
        ------
        KeyError
            If a part of a perturbation has no features, or a covariate is unknown; the message
            lists them.
        TypeError
            If ``perturbations`` is an AnnData.
        RuntimeError
            If the model is not trained.
        """
        table = self._wanted(perturbations, covariates)
        contexts = table["covariate"].to_numpy()
        parts = [self.parts(name) for name in table["perturbation"]]
        self._fitted = self._fitted or self._fit_effects()
        weights = self._fitted.regression.weights(parts, contexts, self._fitted.features)
        shift = weights @ self._fitted.shifts
        mean_shift = shift @ self._fitted.read_out
        z = np.stack([self._fitted.start[c] for c in contexts]) + shift
        trained = {a for name in self.effects_["table"]["perturbation"] for a in self.parts(name)}
        table["n_parts"] = [len(p) for p in parts]
        table["n_seen"] = [sum(a in trained for a in p) for p in parts]
        embedding = self._table(z.astype(np.float32), table.index)
        return PerturbationPrediction(
            table,
            embedding,
            self._table(shift, table.index),
            pd.DataFrame(mean_shift, table.index, self.effects_["mean"].columns),
            self._predicted_cells(
                embedding, table, n_cells, seed, enable_progress_bar, sampler_kwargs
            ),
        )

    def _fit_effects(self) -> Effects:
        """Fit what predicts to the perturbations of the training data."""
        table = self.effects_["table"]
        seen, control = self._has_features(table), control_of(table)
        learned = self.effects_["embedding"].to_numpy(dtype=float)
        means = self.effects_["mean"].to_numpy(dtype=float)
        shifts, mean_shifts = ((x - x[control])[seen] for x in (learned, means))
        features = dict(zip(self.features.index, self.features.to_numpy(), strict=True))
        # How far features are to be trusted is judged by means, as embeddings were trained to
        # follow the features.
        regression = CombinationRegression().fit(
            [self.parts(name) for name in table["perturbation"][seen]],
            table["covariate"][seen].to_numpy(),
            features,
            mean_shifts,
        )
        read_out = RidgeCV(np.logspace(-4, 4, 17), fit_intercept=False).fit(shifts, mean_shifts)
        start = {c: learned[i] for i, c in zip(control, table["covariate"], strict=True)}
        return Effects(regression, features, shifts, read_out.coef_.T, start)

    def _wanted(
        self, perturbations: str | list[str], covariates: str | list[str] | None
    ) -> pd.DataFrame:
        """Return one row for each population to predict, or raise."""
        if not self.effects_:
            raise RuntimeError("The model has not learned any effects yet: call train() first.")
        if isinstance(perturbations, AnnData):
            raise TypeError(
                "perturbations must be names, such as 'A' or ['A', 'A+B'], got AnnData. Cells that "
                "there are are embedded by get_population_embedding(adata)."
            )
        names = [
            str(p) for p in ([perturbations] if np.ndim(perturbations) == 0 else perturbations)
        ]
        levels = list(self.effects_["table"]["covariate"].unique())
        given = levels if covariates is None else covariates
        given = [str(c) for c in ([given] if np.ndim(given) == 0 else given)]
        if not names or not given:
            raise ValueError("perturbations and covariates must name something; one is empty.")
        for argument, values in (("perturbations", names), ("covariates", given)):
            twice = pd.Index(values)[pd.Index(values).duplicated()]
            if len(twice):
                raise ValueError(f"{argument} has {listed(twice.unique())} more than once.")
        if covariates is not None and levels == [""]:
            raise ValueError(
                f"covariates={covariates!r}: no covariate_key was set up. Leave it out."
            )
        for covariate in given:
            if covariate not in levels:
                raise KeyError(unknown("covariates", covariate, levels, "the training data"))
        lacking = sorted(
            {a for name in names for a in self.parts(name)}.difference(self.features.index)
        )
        if lacking:
            hint = unknown("perturbations", lacking[0], self.features.index, "the features")
            raise KeyError(
                f"No features for {listed(lacking)}, so nothing can be predicted of them. {hint}"
            )
        table = pd.DataFrame(
            [(name, covariate) for name in names for covariate in given],
            columns=["perturbation", "covariate"],
        )
        index = table["perturbation"]
        if self.covariate_key is not None:
            index = index + SEPARATOR + table["covariate"]
        return table.set_index(pd.Index(index, name="population"))

    def _predicted_cells(
        self,
        embedding: pd.DataFrame,
        table: pd.DataFrame,
        n_cells: int,
        seed: int | None,
        enable_progress_bar: bool,
        sampler_kwargs: dict,
    ) -> AnnData | None:
        """Draw cells, in the batches of the covariate's training cells as often as those occur."""
        if n_cells == 0:
            return None
        of = self.effects_["batches"]
        batches = [np.repeat(np.arange(len(of[c])), of[c]) for c in table["covariate"] if of]
        batches = batches or None
        cells = self._sample(
            embedding, batches, n_cells, seed, False, enable_progress_bar, sampler_kwargs
        )
        of = table.loc[cells.obs["population"].astype(str)]
        for column, key in zip(("perturbation", "covariate"), self.population_keys, strict=False):
            cells.obs[key] = pd.Categorical(of[column].to_numpy())
        return cells


def control_of(table: pd.DataFrame) -> np.ndarray:
    """Return the number of each population's control, ``(P,)``.

    Raises
    ------
    ValueError
        If a covariate has none.
    """
    is_control = np.flatnonzero((table["n_parts"] == 0).to_numpy())
    of = dict(zip(table["covariate"].iloc[is_control], is_control, strict=True))
    lacking = [c for c in table["covariate"].unique() if c not in of]
    if lacking:
        where = f" for {listed(lacking)}" if lacking != [""] else ""
        raise ValueError(
            f"The data has no control cells{where}, from which shifts are learned. Train on data "
            "that has them."
        )
    return table["covariate"].map(of).to_numpy(dtype=np.int64)
