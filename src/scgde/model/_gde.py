from __future__ import annotations

import json
import warnings
from typing import ClassVar

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from .._errors import listed, require, require_counts, require_type
from .._scvi import X_KEY, AnnDataManager, as_new, field_of, release, setup_arguments, state_of
from ..data import (
    BATCH_KEY,
    POPULATION_KEY,
    SIZE_FACTOR_KEY,
    LabelSets,
    ModalCellsField,
    PopulationIndex,
    RowSource,
    SetDataset,
    SetPrior,
    as_keys,
    as_set_prior,
    label_key,
    row_source,
)
from ..generators import GENERATORS
from ..module import GDEModule
from ..nn import seeded
from ._influence import InfluenceMixin
from ._limits import LimitsMixin
from ._populations import PopulationMixin
from ._query import QueryMixin
from ._regions import RegionsMixin
from ._sampling import SamplingMixin
from ._saving import SavingMixin
from ._sets import SetsMixin
from ._setup import SetupMixin
from ._summarize import SummaryMixin
from ._training import TrainingMixin
from ._training_cells import TrainingCellsMixin


class GDE(
    SetupMixin,
    TrainingMixin,
    TrainingCellsMixin,
    PopulationMixin,
    InfluenceMixin,
    RegionsMixin,
    SummaryMixin,
    SetsMixin,
    SamplingMixin,
    LimitsMixin,
    QueryMixin,
    SavingMixin,
):
    """Generative distribution embedding of populations of cells (arXiv 2505.18150).

    A set encoder maps the cells of a population to one vector; a conditional generator resamples
    the population from it. Trained together, without labels, they are an autoencoder of
    distributions.

    Parameters
    ----------
    adata
        AnnData or MuData that went through :meth:`setup_anndata` or :meth:`setup_mudata`.
    encoder, generator
        Names in ``scgde.encoders.ENCODERS`` and ``scgde.generators.GENERATORS``.
    n_latent
        Coordinates of an embedding.
    n_hidden
        Width of hidden layers.
    encoder_kwargs, generator_kwargs
        Further options of the two, such as ``{"likelihood": "nb"}``.
    label_head
        Train a classifier of the labels on the embedding jointly, on the populations that have
        them (GDE paper, Sec. 6.2); gives :meth:`predict_labels`.
    sets
        How training sets are drawn (GDE paper, Sec. 3): a name in ``scgde.data.SET_PRIORS``, a dict
        of a name and arguments, or a prior. ``"label"``, the default: every population is a set.
        ``{"name": "kernel", "key": "time", "bandwidth": 0.5}``: cells near a value
        (:class:`~scgde.data.KernelSets`). ``"noisy_label"``: cells by the likelihood of a noisy
        label (:class:`~scgde.data.NoisyLabelSets`). ``"mixture"``: mixtures of populations
        (:class:`~scgde.data.MixtureSets`). See :meth:`get_set_embedding`.
    fusion
        Of several modalities (:meth:`setup_mudata`). ``"concatenate"``: one encoder reads the
        features of all, each modality normalised by itself, and which of them a cell has.
        ``"separate"``: one encoder for each, whose embeddings of the modalities that a population
        has are averaged (:class:`~scgde.encoders.ModalEncoder`).
    modality_dropout
        Of several modalities: probability that in a training step a population is generated from
        an embedding without one of those it has, so that populations which lack one are learned.
        Above zero, embeddings without a modality are drawn to those with it as well.
    seed
        Seed of the initial weights, and of training and sampling unless they are given another.
    registry
        Used by ``load``.

    Raises
    ------
    ValueError
        If options contradict each other, or the cells are not what the generator takes.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.load("schulteschrepping2020")
    >>> scgde.model.GDE.setup_anndata(adata, population_key="donor", labels_key="severity")
    >>> model = scgde.model.GDE(adata, n_latent=8, n_hidden=32)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> model.get_population_embedding().shape
    (15, 8)
    """

    _module_class: ClassVar[type[GDEModule]] = GDEModule

    def __init__(
        self,
        adata: AnnData | MuData | None = None,
        encoder: str = "resnet_gnn",
        generator: str = "cvae",
        n_latent: int = 64,
        n_hidden: int = 128,
        encoder_kwargs: dict | None = None,
        generator_kwargs: dict | None = None,
        label_head: bool = False,
        sets: str | dict | SetPrior | None = None,
        fusion: str = "concatenate",
        modality_dropout: float = 0.2,
        seed: int = 0,
        registry: dict | None = None,
    ):
        if adata is not None:
            require_type("adata", adata, (AnnData, MuData), "Set it up first, then pass it.")
        require_counts(n_latent=n_latent, n_hidden=n_hidden)
        super().__init__(adata, registry)
        self.seed_, self.n_latent_, self.steps_done_ = seed, n_latent, 0
        self.training_runs_: list[dict] = []
        self.trained_populations_: list[str] = []
        self.set_prior = as_set_prior(sets)
        sets = self.set_prior.to_dict()  # what is kept with the model
        cells = state_of(self.registry_, X_KEY)
        keys = as_keys(self.setup_arguments.get("labels_key"))
        if label_head and not keys:
            raise ValueError(
                "label_head=True needs labels: call setup_anndata with labels_key first."
            )
        if label_head and not isinstance(self.set_prior, LabelSets):
            raise ValueError(
                f"label_head=True classifies labelled populations, but sets={sets['name']!r} draws "
                "sets that are none. Leave one of the two out; "
                "scgde.tl.classify_populations predicts labels from the embeddings of any model."
            )
        self.label_keys_with_heads = keys if label_head else []
        for key in self.label_keys_with_heads:
            values = self._classes(key)
            if pd.api.types.is_numeric_dtype(values.dtype) and len(values) > 10:
                raise ValueError(
                    f"labels_key={key!r} is a number with {len(values)} values; a label head "
                    "predicts classes. Bin it (pd.cut), or leave label_head out and regress it "
                    "with scgde.tl.classify_populations."
                )
        if "states" in cells:
            _require_one_kind(cells, generator, generator_kwargs or {})
        options = GENERATORS.get(generator).resolve(generator_kwargs or {}, cells["is_counts"])
        # Weights come from the model's own seed; the caller's random state stays as it was.
        with seeded(seed):
            self.module = self._module_class(
                cells["n_features"],
                encoder,
                generator,
                n_latent,
                n_hidden,
                encoder_kwargs,
                options,
                n_batch=max(len(self.batch_categories), 1),
                n_classes=[len(self._classes(key)) for key in self.label_keys_with_heads],
                modality_sizes=[int(size) for size in cells.get("sizes", ())],
                fusion=fusion,
                modality_dropout=modality_dropout,
                **self._module_options(),
            )
        if self.module.generator.space == "counts":
            self._require_counts(cells)
        elif cells["is_counts"] and cells["n_features"] > 100 and generator != "cvae":
            warnings.warn(
                f"generator={generator!r} models real values in up to some fifty dimensions; the "
                f"cells are counts of {cells['n_features']} genes. Set up principal components "
                "(use_rep='X_pca'; sample(..., to_genes=True) returns genes), or use 'cvae'.",
                UserWarning,
                stacklevel=2,
            )
        self._model_summary_string = (
            f"GDE of {cells['n_features']} features: encoder {encoder}, generator {generator} "
            f"{options or ''}, n_latent {n_latent}, n_hidden {n_hidden}"
        )
        self.init_params_ = self._get_init_params(locals())

    @property
    def setup_arguments(self) -> dict:
        """The arguments with which the data was set up."""
        return setup_arguments(self.registry_)

    @property
    def batch_key(self) -> str | None:
        """The obs column of the batch, if one was set up."""
        return self.setup_arguments["batch_key"]

    @property
    def batch_categories(self) -> list[str]:
        """The batches of the training data."""
        state = state_of(self.registry_, BATCH_KEY)
        return [] if state is None else list(state["categories"])

    @property
    def modality_names(self) -> list[str]:
        """The modalities of the model; none where it is of one matrix."""
        return list(state_of(self.registry_, X_KEY).get("modalities", ()))

    def get_feature_names(self, modality: str | None = None) -> pd.Index:
        """Return the names of the features that cells must have, in order.

        Parameters
        ----------
        modality
            Of a model of several modalities: the one whose features are returned, by their own
            names. By default those of all, one modality after another.

        Raises
        ------
        KeyError
            If the model has no such modality.
        ValueError
            If the model is of one matrix.
        """
        state = state_of(self.registry_, X_KEY)
        if modality is None:
            return pd.Index(state["names"])
        if not self.modality_names:
            raise ValueError(f"modality={modality!r}: the model is of one matrix. Leave it out.")
        require("modality", modality, self.modality_names, "the modalities of the model")
        return pd.Index(state["states"][self.modality_names.index(modality)]["names"])

    def get_parameters(self) -> dict:
        """Return what the model was set up with, in a form that ``.uns`` can keep."""
        setup, init = self.setup_arguments, self.init_params_["non_kwargs"]
        return {
            "population_key": self.population_keys,
            "layer": _as_text(setup["layer"]),
            "use_rep": _as_text(setup["use_rep"]),
            "donor_key": setup.get("donor_key") or "",
            "label_head_keys": list(self.label_keys_with_heads),
            "is_counts": self.module.generator.space == "counts",
            "encoder": init["encoder"],
            "generator": init["generator"],
            "n_latent": init["n_latent"],
            "sets": json.dumps(self.set_prior.to_dict()),
            "seed": init["seed"],
            "n_steps": self.steps_done_,
        }

    def refit(self, adata: AnnData, enable_progress_bar: bool = False) -> GDE:
        """Return a new model of the same design, trained in the same way (all runs) on other cells.

        This is how an evaluation trains inside a fold: nothing of the cells left out is known.

        Parameters
        ----------
        adata
            Cells to train on; set up here, as the model's own data was.
        enable_progress_bar
            Show the progress of training.
        """
        cls = type(self)
        setup = cls.setup_anndata if isinstance(adata, AnnData) else cls.setup_mudata
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "adata.X is not counts")  # was said once
            setup(as_new(adata), **self.setup_arguments)
        model = cls(adata, **self.init_params_["non_kwargs"])
        for arguments in self.training_runs_ or [{}]:
            model.train(**{**arguments, "enable_progress_bar": enable_progress_bar})
        return model

    def release(self) -> None:
        """Let go of the data: scvi-tools keeps every registered AnnData until this is called."""
        release(self)

    def _module_options(self) -> dict:
        """Return further arguments of the module, for models that have some."""
        return {}

    def _classes(self, key: str) -> np.ndarray:
        return state_of(self.registry_, label_key(key))["values"]

    def _require_counts(self, cells: dict) -> None:
        if not cells["fits_counts"]:
            raise ValueError(
                "generator_kwargs['likelihood'] is a count likelihood, but the cells are not "
                "counts: values are negative or not whole. Set up the layer that holds raw counts "
                "(setup_anndata(adata, ..., layer='counts')), or use likelihood='normal'."
            )
        if cells["n_empty_cells"] and self.module.generator.uses_library:
            where, adata, then = "", "adata", ""
            if self.modality_names:
                empty = [
                    name
                    for name, state in zip(cells["modalities"], cells["states"], strict=True)
                    if state["n_empty_cells"]
                ]
                where = f" in the modality {listed(empty)}"
                adata, then = f"mdata.mod[{empty[0]!r}]", ", update the MuData (mdata.update())"
            raise ValueError(
                f"{cells['n_empty_cells']} cells have no counts at all{where}; a count likelihood "
                f"cannot use them. Remove them with sc.pp.filter_cells({adata}, min_counts=1)"
                f"{then} and set up again."
            )

    def _validate_anndata(self, adata: AnnData | MuData | None = None, copy_if_view: bool = True):
        if adata is None and self.adata is None:
            raise ValueError(
                "The model has no data attached: pass adata, or load the model with adata=..."
            )
        if adata is not None:
            require_type("adata", adata, (AnnData, MuData), "Pass the cells themselves.")
        return super()._validate_anndata(adata, copy_if_view)

    def _validated_manager(self, adata: AnnData | MuData | None = None) -> AnnDataManager:
        return self.get_anndata_manager(self._validate_anndata(adata), required=True)

    def _dataset(self, adata: AnnData | MuData | None = None) -> SetDataset:
        """Return the sets of a registered AnnData."""
        manager = self._validated_manager(adata)
        names = pd.Index(state_of(manager.registry, POPULATION_KEY)["names"])

        index = PopulationIndex(self._column(manager, POPULATION_KEY), names)
        if (index.sizes == 0).any():
            raise ValueError(
                f"Populations without cells: {listed(names[index.sizes == 0], 5)}. The data was "
                "filtered after it was set up; call setup_anndata again."
            )
        labels = [
            self._column(manager, label_key(key))
            for key in as_keys(self.setup_arguments.get("labels_key"))
        ]
        if self.module.generator.space == "counts":
            self._require_counts(state_of(manager.registry, X_KEY))
        return SetDataset(
            self._source(manager),
            index,
            batch=self._column(manager, BATCH_KEY),
            labels=np.stack(labels, 1) if labels else None,
            is_sized=self.module.generator.uses_library,
            size_factor=self._column(manager, SIZE_FACTOR_KEY),
        )

    @staticmethod
    def _source(manager: AnnDataManager) -> RowSource:
        """Return the cells of registered data."""
        field = field_of(manager, X_KEY)
        if isinstance(field, ModalCellsField):
            return field.source(manager.adata, state_of(manager.registry, X_KEY))
        return row_source(manager.get_from_registry(X_KEY))

    @staticmethod
    def _column(manager: AnnDataManager, key: str) -> np.ndarray | None:
        """Return what is registered of each cell; None for what was not set up."""
        if state_of(manager.registry, key) is None:
            return None
        return np.asarray(manager.get_from_registry(key)).ravel()

    def __repr__(self) -> str:
        trained = f"trained for {self.steps_done_} steps" if self.is_trained_ else "not trained"
        return f"{self._model_summary_string}; {trained}"


def _require_one_kind(cells: dict, generator: str, options: dict) -> None:
    """Raise if the CVAE is to choose a likelihood for counts and real values at once."""
    kinds = [state["is_counts"] for state in cells["states"]]
    automatic = generator == "cvae" and options.get("likelihood", "auto") == "auto"
    if automatic and len(set(kinds)) > 1:
        counts, real = (
            [name for name, kind in zip(cells["modalities"], kinds, strict=True) if kind is wanted]
            for wanted in (True, False)
        )
        raise ValueError(
            f"Modalities {listed(counts)} are counts, but {listed(real)} are not. Set up raw "
            "counts of all (layer={...} by modality), or log-normalised values of all; or model "
            "them as they are with generator_kwargs={'likelihood': 'normal'}."
        )


def _as_text(value: str | dict | None) -> str:
    """Return a setup argument in a form that ``.uns`` can keep."""
    return json.dumps(dict(value)) if isinstance(value, dict) else value or ""
