from __future__ import annotations

import hashlib
import math
import warnings

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import require_counts, require_type
from .._scvi import X_KEY, AnnDataManager, BaseModelClass, release, setup_arguments, state_of
from ..data import (
    POPULATION_KEY,
    CellBatches,
    CellReader,
    CellsField,
    GroupField,
    PopulationIndex,
    as_keys,
    row_source,
    split_cells,
)
from ..train import SetTrainingPlan, fit, require_train_arguments
from ._after_training import end_training
from ._saving import SavingMixin
from ._setup import refuse_view, register

STEPS_PER_EPOCH = 100
_MAX_VALIDATION_BATCHES = 20


class CellModel(SavingMixin, BaseModelClass):
    """A model of single cells rather than of populations: setup, training, saving.

    A subclass makes ``self.module`` in ``__init__``, a :class:`~scgde.module.TrainableModule` whose
    batches are ``{"x": (E, n, d)}``, and says in :meth:`_initialize` how it is prepared for its
    training cells. Counts are log-normalised before the module sees them.
    """

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        population_key: str | list[str] | None = None,
        layer: str | None = None,
        use_rep: str | None = None,
        **kwargs: object,
    ) -> None:
        """Say what in an AnnData the model works on.

        Parameters
        ----------
        adata
            Cells x genes; in memory or backed, dense or sparse; not a view.
        population_key
            Column of ``.obs`` that groups cells into populations, or several whose combinations
            do. Cells without a value are left out. By default all cells are one population.
        layer
            Layer that holds the cells; ``.X`` by default. Counts (whole numbers) are
            log-normalised: ``log(1 + 10^4 x / total)``.
        use_rep
            Key of a representation in ``.obsm`` to work on instead of genes.
        **kwargs
            Used by ``load``.

        Raises
        ------
        KeyError
            If a key is absent; the message lists close matches.
        ValueError
            If ``adata`` is a view, values are not finite, or no cell belongs to a population.
        """
        arguments = cls._get_setup_method_args(**locals())
        cls._setup(adata, population_key, layer, use_rep, [], arguments, **kwargs)

    @classmethod
    def _setup(
        cls,
        adata: AnnData,
        population_key: str | list[str] | None,
        layer: str | None,
        use_rep: str | None,
        fields: list,
        arguments: dict,
        **kwargs: object,
    ) -> None:
        """Register the cells, their populations and further fields."""
        require_type("adata", adata, AnnData, "Of a MuData pass one modality: mdata.mod['rna'].")
        refuse_view(adata, "adata")
        groups = GroupField(POPULATION_KEY, "population_key", as_keys(population_key))
        register(cls, adata, CellsField(layer, use_rep), [groups, *fields], arguments, **kwargs)

    def get_feature_names(self) -> pd.Index:
        """Return the names of the features that cells must have, in order."""
        return pd.Index(state_of(self.registry_, X_KEY)["names"])

    def train(
        self,
        max_epochs: int = 30,
        max_steps: int | None = None,
        *,
        batch_size: int = 256,
        train_size: float = 0.9,
        early_stopping: bool = False,
        early_stopping_patience: int = 10,
        accelerator: str = "auto",
        devices: int | str | list[int] = "auto",
        seed: int | None = None,
        plan_kwargs: dict | None = None,
        **trainer_kwargs: object,
    ) -> None:
        """Train the model on cells drawn at random; a share of each population's is held out.

        Ctrl-C ends training; the model keeps what it has learned and is usable.

        Parameters
        ----------
        max_epochs
            Epochs of 100 steps.
        max_steps
            Number of steps instead.
        batch_size
            Cells of a step; of each population, where each has its own network.
        train_size
            Share of each population's cells that train. Training that goes on with the same cells
            keeps the split.
        early_stopping, early_stopping_patience
            Stop after so many epochs without a lower validation loss, and keep the best weights.
            Networks that are trained together stop together.
        accelerator, devices
            As in scvi-tools.
        seed
            Seed of split, batches and noise; by default the model's. On CPU a seeded run is
            reproduced to the bit.
        plan_kwargs
            Options of :class:`~scgde.train.SetTrainingPlan`: ``lr``, ``weight_decay``,
            ``ema_decay``.
        **trainer_kwargs
            Options of the Lightning trainer: ``enable_progress_bar``, ``gradient_clip_val``, ...

        Raises
        ------
        ValueError
            If an argument is out of range, or training diverged: the weights are not finite.
        KeyboardInterrupt
            After Ctrl-C, once the model is usable.
        """
        require_train_arguments(plan_kwargs, trainer_kwargs)
        n_steps = max_epochs * STEPS_PER_EPOCH if max_steps is None else max_steps
        require_counts(max_epochs=max_epochs, max_steps=n_steps, batch_size=batch_size)
        seed = self.seed_ if seed is None else seed
        index = self._index()
        self._require_populations(index)
        if self.steps_done_ == 0:
            self.split_ = {"train_size": train_size, "by": "cell", "seed": seed}
        if self.steps_done_ and self._has_training_cells:
            training, held_out = self.train_indices, self.validation_indices
        else:
            training, held_out = split_cells(index, **self.split_)
            if self.steps_done_:
                warnings.warn(
                    "The data attached are not the cells, in the order, that the model was "
                    "trained on before: they are divided anew, and cells that are held out now may "
                    "have trained then.",
                    UserWarning,
                    stacklevel=2,
                )
        can_validate = all(len(rows) for rows in self._member_rows(index.restrict(held_out)))
        if early_stopping and not can_validate:
            raise ValueError(
                f"early_stopping=True needs held-out cells of every network, but "
                f"train_size={train_size} leaves none of at least one. Lower it, leave out "
                "populations of few cells, or stop after max_epochs."
            )
        if self.steps_done_ == 0:
            self._initialize(index.restrict(training))

        reader = self._reader()

        def loader(rows: np.ndarray, n_batches: int, fixed: bool):
            members = self._member_rows(index.restrict(rows))
            seed_ = self.split_["seed"] if fixed else seed + self.steps_done_
            return CellBatches(reader, members, batch_size, n_batches, seed_, fixed).loader()

        per_epoch = min(STEPS_PER_EPOCH, n_steps)
        n_validation = min(math.ceil(2 * len(held_out) / batch_size), _MAX_VALIDATION_BATCHES)
        history, steps, interrupted = fit(
            SetTrainingPlan(
                self.module, n_steps, self.steps_done_, **{"lr": 2e-3, **(plan_kwargs or {})}
            ),
            loader(training, per_epoch, fixed=False),
            loader(held_out, n_validation, fixed=True) if n_validation and can_validate else None,
            accelerator=accelerator,
            devices=devices,
            patience=early_stopping_patience if early_stopping else None,
            seed=seed + self.steps_done_,
            max_epochs=math.ceil(n_steps / per_epoch),
            max_steps=n_steps,
            **{"log_every_n_steps": per_epoch, **trainer_kwargs},
        )
        self.train_indices, self.validation_indices = training, held_out
        self.training_cells_ = _fingerprint(self.adata)
        self._after_fit(index.restrict(training))
        end_training(self, history, steps, n_steps, interrupted)

    def _initialize(self, index: PopulationIndex) -> None:
        """Prepare the module for its training cells."""
        raise NotImplementedError

    def _require_populations(self, index: PopulationIndex) -> None:
        """Raise if the model cannot be trained on these populations."""

    def _after_fit(self, index: PopulationIndex) -> None:
        """Finish the module after training on these cells, before it is checked."""

    @property
    def _has_training_cells(self) -> bool:
        """Whether the data attached are those trained on, so that stored row numbers hold."""
        return self.adata is not None and _fingerprint(self.adata) == self.training_cells_

    def _member_rows(self, index: PopulationIndex) -> list[np.ndarray]:
        """Return the cells of each network, as row numbers; by default there is one network."""
        return [np.sort(index.order)]

    def _reader(self, adata: AnnData | None = None) -> CellReader:
        """Return registered cells as the module sees them."""
        manager = self._validated_manager(adata)
        return CellReader(
            row_source(manager.get_from_registry(X_KEY)),
            state_of(self.registry_, X_KEY)["is_counts"],
        )

    def _validated_manager(self, adata: AnnData | None = None) -> AnnDataManager:
        return self.get_anndata_manager(self._validate_anndata(adata), required=True)

    def _index(self, adata: AnnData | None = None) -> PopulationIndex:
        """Return the populations of registered data."""
        manager = self._validated_manager(adata)
        names = pd.Index(state_of(manager.registry, POPULATION_KEY)["names"])
        return PopulationIndex(np.asarray(manager.get_from_registry(POPULATION_KEY)).ravel(), names)

    def _cells(self, adata: AnnData | None = None, rows: np.ndarray | None = None) -> np.ndarray:
        """Return cells ``(n, d)`` as the module sees them, by default all of them."""
        reader = self._reader(adata)
        return reader[np.arange(reader.source.shape[0]) if rows is None else np.asarray(rows)]

    def _validate_anndata(self, adata: AnnData | None = None, copy_if_view: bool = True):
        if adata is None and self.adata is None:
            raise ValueError(
                "The model has no data attached: pass adata, or load the model with adata=..."
            )
        if adata is not None:
            require_type(
                "adata", adata, AnnData, "Of a MuData pass one modality: mdata.mod['rna']."
            )
        return super()._validate_anndata(adata, copy_if_view)

    def _require_trained(self) -> None:
        self._check_if_trained(
            warn=False, message="The model is not trained: call model.train() first."
        )

    def release(self) -> None:
        """Let go of the data: scvi-tools keeps every registered AnnData until this is called."""
        release(self)

    @property
    def setup_arguments(self) -> dict:
        """The arguments with which the data was set up."""
        return setup_arguments(self.registry_)

    def __repr__(self) -> str:
        trained = f"trained for {self.steps_done_} steps" if self.is_trained_ else "not trained"
        return f"{self._model_summary_string}; {trained}"


def _fingerprint(adata: AnnData) -> str:
    """Return a digest of which cells there are, in which order."""
    return hashlib.sha256(pd.util.hash_pandas_object(adata.obs_names).to_numpy()).hexdigest()
