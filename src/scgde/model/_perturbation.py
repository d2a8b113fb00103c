from __future__ import annotations

import warnings
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .._errors import listed, require_choice
from .._scvi import X_KEY, state_of
from ..data import (
    POPULATION_KEY,
    SetDataset,
    Sets,
    population_moments,
    row_source,
    text_categories,
)
from ..module import PerturbationModule
from ._gde import GDE
from ._perturbation_features import as_plain, coexpression_features, given_features
from ._perturbation_prediction import Effects, PredictMixin, control_of
from ._perturbation_setup import PerturbationSetupMixin


class PerturbationGDE(PerturbationSetupMixin, PredictMixin, GDE):
    """Embeddings of perturbed populations, and of perturbations that were never done.

    GDE paper, Sec. 6.4. Populations are perturbations (in each cell line or condition). Beside the
    generator the model learns shifts of embeddings from the control's, from the control's embedding
    and features of what is perturbed (:class:`~scgde.module.PerturbationModule`), so that
    embeddings of perturbations with like features lie alike. A perturbation that was not done is
    then predicted by kriging from those that were (:class:`~scgde.stats.CombinationRegression`);
    its cells are drawn by the generator. No perturbation is no shift: exactly zero.

    Parameters
    ----------
    adata
        AnnData that went through :meth:`setup_anndata`.
    features
        Features of what is perturbed, genes x features (GenePT-like vectors of a gene's text, or
        annotations): a DataFrame, the key of one in ``.uns``, or a dict of a vector each. By
        default genes' co-expression in the control cells, which is known of measured genes only.
    separator
        What separates the parts of a combination in its name; None where there are none.
    missing_features
        What to do about perturbations in the data whose parts have no features. ``"error"`` lists
        them. ``"skip"`` embeds them, but learns nothing from them about other perturbations.
    shift_weight
        Weight of the shifts' errors beside the generator's loss per feature.
    encoder, generator, n_latent, n_hidden, encoder_kwargs, generator_kwargs, seed, registry
        As of :class:`GDE`.

    Raises
    ------
    KeyError
        If perturbations have parts without features; the message lists them.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.perturbed_populations(n_targets=6, n_pairs=2, n_cells=20)
    >>> scgde.model.PerturbationGDE.setup_anndata(adata, "perturbation", control="control")
    >>> model = scgde.model.PerturbationGDE(adata, features="gene_features", n_latent=8)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> model.predict("target_00+target_05", n_cells=10).cells.n_obs
    10
    """

    _module_class: ClassVar[type[PerturbationModule]] = PerturbationModule

    def __init__(
        self,
        adata: AnnData | None = None,
        features: pd.DataFrame | str | dict | None = None,
        separator: str | None = "+",
        missing_features: Literal["error", "skip"] = "error",
        shift_weight: float = 1.0,
        encoder: str = "resnet_gnn",
        generator: str = "cvae",
        n_latent: int = 64,
        n_hidden: int = 128,
        encoder_kwargs: dict | None = None,
        generator_kwargs: dict | None = None,
        seed: int = 0,
        registry: dict | None = None,
    ):
        require_choice("missing_features", missing_features, ("error", "skip"))
        if isinstance(features, dict) and set(features) != {"values", "names", "columns"}:
            features = pd.DataFrame.from_dict(features, orient="index")
        self._given, self._on_missing, self.separator = features, missing_features, separator
        self._shift_weight = shift_weight
        super().__init__(
            adata,
            encoder,
            generator,
            n_latent,
            n_hidden,
            encoder_kwargs,
            generator_kwargs,
            seed=seed,
            registry=registry,
        )
        self.effects_: dict = {}
        self._fitted: Effects | None = None
        self._model_summary_string = f"Perturbation{self._model_summary_string}"
        features = as_plain(self.features)  # what is kept with the model
        self.init_params_ = self._get_init_params(locals())

    def _module_options(self) -> dict:
        self.features = self._settled_features()
        return {
            "n_perturbation_features": self.features.shape[1] + 1,  # and a constant
            "shift_weight": self._shift_weight,
        }

    def _settled_features(self) -> pd.DataFrame:
        if self.adata is not None:
            _require_one_control(self.get_perturbation_table(), self.control)
        if self._given is not None:
            features = given_features(self._given, self.adata)
        else:
            table = self.get_perturbation_table()
            codes = np.asarray(self.adata_manager.get_from_registry(POPULATION_KEY)).ravel()
            cells = state_of(self.registry_, X_KEY)
            features = coexpression_features(
                row_source(self.adata_manager.get_from_registry(X_KEY)),
                np.where(np.isin(codes, np.unique(control_of(table))), codes, -1),
                pd.Index(cells["names"]),
                cells["is_counts"],
                seed=self.seed_,
            )
        # What was settled when the model was made stays so when it is loaded or made again.
        if not isinstance(self._given, dict):
            self._require_features(features)
        return features

    def _require_features(self, features: pd.DataFrame) -> None:
        """Raise, or warn, if perturbations of the training data have parts without features."""
        names = self.get_perturbation_table()["perturbation"].unique()
        lacking = {a for name in names for a in self.parts(name) if a not in features.index}
        if not lacking:
            return
        what = (
            f"No features for {len(lacking)} of the things perturbed: {listed(sorted(lacking))}. "
            + (
                "By default features are the co-expression of measured genes, and these are not "
                "measured (or do not vary in control cells). Pass features, a DataFrame of genes "
                "x features"
                if self._given is None
                else _how_they_are_named(lacking, features)
            )
        )
        n_known = sum(all(a not in lacking for a in self.parts(n)) for n in names if self.parts(n))
        if self._on_missing == "error" or n_known == 0:
            raise KeyError(
                f"{what}; or remove their cells"
                + (
                    ", or pass missing_features='skip' to learn nothing from these perturbations "
                    "about others."
                    if n_known
                    else "."
                )
            )
        warnings.warn(f"{what}. Nothing is learned from them about others.", stacklevel=5)

    def parts(self, perturbation: str) -> list[str]:
        """Return the parts of a combination, controls left out: of ``"A+B"`` A and B.

        Parameters
        ----------
        perturbation
            Its name in the data.
        """
        if perturbation == self.control:  # whatever is in its name
            return []
        parts = perturbation.split(self.separator) if self.separator else [perturbation]
        return [part for part in parts if part != self.control]

    def get_perturbation_table(self, adata: AnnData | None = None) -> pd.DataFrame:
        """Return one row a population: ``perturbation``, ``covariate``, ``n_parts``, ``n_cells``.

        Parameters
        ----------
        adata
            As in :meth:`get_population_embedding`.
        """
        manager = self._validated_manager(adata)
        obs = (self.adata if adata is None else adata).obs
        names = pd.Index(state_of(manager.registry, POPULATION_KEY)["names"], name="population")
        codes = np.asarray(manager.get_from_registry(POPULATION_KEY)).ravel()
        known = np.flatnonzero(codes >= 0)
        first = known[np.unique(codes[known], return_index=True)[1]]
        columns = {
            name: np.asarray(text_categories(obs[key]), dtype=object)[first]
            for name, key in zip(("perturbation", "covariate"), self.population_keys, strict=False)
        }
        table = pd.DataFrame({"covariate": "", **columns}, index=names)
        table["n_parts"] = [len(self.parts(name)) for name in table["perturbation"]]
        table["n_cells"] = np.bincount(codes[known], minlength=len(names))
        return table[["perturbation", "covariate", "n_parts", "n_cells"]]

    @property
    def population_keys(self) -> list[str]:
        """The obs columns whose combinations are populations."""
        return [k for k in (self.perturbation_key, self.covariate_key) if k is not None]

    @property
    def perturbation_key(self) -> str:
        """The obs column of the perturbation."""
        return self.setup_arguments["perturbation_key"]

    @property
    def covariate_key(self) -> str | None:
        """The obs column of the cell line or condition, if one was set up."""
        return self.setup_arguments["covariate_key"]

    @property
    def control(self) -> str:
        """The perturbation that is none."""
        return str(self.setup_arguments["control"])

    def train(self, *args: object, **kwargs: object) -> None:
        """Train the model.

        Every population has its control in the same batch. Context and target are the same draw
        (``draw="same"``), as published: on each of three screens the loss of held-out cells was
        lower than with disjoint draws (one seed). What is held out for validation is a share of
        each population's cells; to hold perturbations out, remove their cells before
        :meth:`setup_anndata`, as :func:`scgde.tl.predict_perturbations` does. The shifts of means
        that are learned are of all cells, so their validation loss is a little low.

        Parameters
        ----------
        *args, **kwargs
            As of :meth:`GDE.train`.

        Raises
        ------
        ValueError
            If ``validation`` is not ``"cell"``.
        """
        kwargs.setdefault("draw", "same")
        if kwargs.setdefault("validation", "cell") != "cell":
            raise ValueError(
                f"validation={kwargs['validation']!r}: this model holds out cells of each "
                "perturbation (validation='cell'). To hold perturbations out, remove their cells "
                "before setup_anndata; scgde.tl.predict_perturbations does, and scores them."
            )
        table = self.get_perturbation_table()
        means = self._means()
        self.module.set_targets(**self._targets(table, means))
        steps = self.steps_done_
        try:
            super().train(*args, **kwargs)
        finally:
            if self.steps_done_ > steps:
                embedding = self.get_population_embedding(enable_progress_bar=False)
                self._fitted = None
                self.effects_ = {
                    "table": table,
                    "embedding": embedding,
                    "mean": pd.DataFrame(means, embedding.index, self.get_feature_names()),
                    "batches": self._batches(table),
                }

    def _batches(self, table: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return the number of training cells of each batch, by covariate."""
        dataset = self._dataset()
        if dataset.batch is None:
            return {}
        counts = np.zeros((len(table), len(self.batch_categories)), dtype=np.int64)
        used = dataset.index.codes >= 0
        np.add.at(counts, (dataset.index.codes[used], dataset.batch[used]), 1)
        return {c: counts[table["covariate"] == c].sum(0) for c in table["covariate"].unique()}

    def _means(self) -> np.ndarray:
        dataset = self._dataset()
        is_counts = self.module.generator.space == "counts"
        return population_moments(dataset.source, dataset.index, is_counts)[0]

    def _targets(self, table: pd.DataFrame, means: np.ndarray) -> dict[str, torch.Tensor]:
        """Return what the module is told of each population."""
        known = self._has_features(table)
        parts = [self.parts(name) for name in table["perturbation"]]
        used = self.features.loc[sorted({a for i in np.flatnonzero(known) for a in parts[i]})]
        # One scale for all features, so that their own weights stay; and a constant, the effect
        # that parts have on average.
        values = (used - used.mean()) / (np.sqrt(used.var(ddof=0).mean()) or 1.0)
        values.insert(0, "constant", 1.0)
        features = np.zeros((len(table), max(map(len, parts)), values.shape[1]), dtype=np.float32)
        for i in np.flatnonzero(known):
            features[i, : len(parts[i])] = values.loc[parts[i]]
        control = control_of(table)
        return {
            "features": torch.from_numpy(features),
            "control": torch.from_numpy(control),
            "known": torch.from_numpy(known),
            "mean_shift": torch.from_numpy((means - means[control]).astype(np.float32)),
        }

    def _has_features(self, table: pd.DataFrame) -> np.ndarray:
        """Return which populations are perturbed and have features of all their parts, ``(P,)``."""
        known = set(self.features.index)
        parts = map(self.parts, table["perturbation"])
        return np.array([bool(p) and known.issuperset(p) for p in parts])

    def _sets(self, dataset: SetDataset, adata: AnnData) -> Sets:
        """Return the populations, each with its control in every batch."""
        sets = super()._sets(dataset, adata)
        sets.companion = control_of(self.get_perturbation_table(adata))
        return sets


def _require_one_control(table: pd.DataFrame, control: str) -> None:
    """Raise if the parts of another perturbation are all controls."""
    same = table.loc[(table["n_parts"] == 0) & (table["perturbation"] != control), "perturbation"]
    if len(same):
        raise ValueError(
            f"{listed(same.unique())} are combinations of control={control!r} with itself. Rename "
            "these cells to the control, or remove them."
        )


def _how_they_are_named(lacking: set[str], features: pd.DataFrame) -> str:
    """Return what to do about parts that are no rows of the features."""
    if lacking & set(features.columns):
        return "They are columns of features, which has a row for each: pass features.T"
    if {name.upper() for name in lacking} & set(features.index.str.upper()):
        return "Rows of features are spelt in another case; spell them as in the data"
    return f"Rows of features are {listed(features.index, 3)}. Add theirs, spelt as in the data"
