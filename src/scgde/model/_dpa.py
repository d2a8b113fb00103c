from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from .._errors import listed, require_choice, require_counts
from .._scvi import X_KEY, state_of
from ..data import (
    CONDITION_KEY,
    POPULATION_KEY,
    CellReader,
    ConditionField,
    PopulationIndex,
    row_source,
)
from ..module import DPAModule
from ..nn import moments, seeded
from ..train import initialize_members, keep_best_starts
from ._cell_model import CellModel
from ._dpa_sampling import DPASamplingMixin
from ._energy_profile import EnergyProfileMixin

NETWORKS = ("shared", "separate")


class DPA(DPASamplingMixin, EnergyProfileMixin, CellModel):
    """Distributional principal autoencoder of cells (arXiv 2404.13649).

    An encoder maps a cell to K latents; a stochastic decoder draws from the distribution of cells
    given the first k of them, for every k. Latents are ordered by how much of the distribution they
    explain, and the held-out energy score of the levels (:meth:`get_energy_profile`) says how many
    coordinates the cells need. At level 0 the decoder generates cells from noise alone.

    Parameters
    ----------
    adata
        AnnData that went through :meth:`setup_anndata`.
    n_latent
        Latents K.
    n_hidden, n_layers, n_noise
        Width and number of layers of encoder and decoder; coordinates of the noise of each layer of
        the decoder.
    beta
        Exponent of the energy score, in (0, 2]. At 2 only means are learned: what the decoder draws
        then is not distributed as the cells.
    levels_per_step
        Levels of a training step: level 0 and others drawn for each cell; None for all K + 1.
    standardize
        ``"scale"``: cells are centred and divided by one number, which keeps their geometry.
        ``"feature"``: each feature by its own standard deviation.
    networks
        ``"shared"``: one autoencoder of all cells, conditioned on the representation of
        ``setup_anndata(..., condition_rep=...)`` if there is one. ``"separate"``: one for each
        population, trained together as one batched ensemble.
    seed
        Seed of the initial weights, and of training and sampling unless they are given another.
    network_names, registry
        Used by ``load``.

    Raises
    ------
    TypeError, ValueError
        If an option is out of range, or ``networks`` and the setup contradict each other.

    Examples
    --------
    >>> import scanpy as sc, scgde
    >>> adata = scgde.datasets.load("schulteschrepping2020")
    >>> sc.pp.normalize_total(adata)
    >>> sc.pp.log1p(adata)
    >>> sc.pp.pca(adata, n_comps=10)
    >>> scgde.model.DPA.setup_anndata(adata, use_rep="X_pca", population_key="donor")
    >>> model = scgde.model.DPA(adata, n_latent=4, n_hidden=32, n_noise=8)
    >>> model.train(max_steps=20, enable_progress_bar=False)
    >>> model.get_latent_representation().shape
    (5494, 4)
    """

    def __init__(
        self,
        adata: AnnData | None = None,
        n_latent: int = 10,
        n_hidden: int = 100,
        n_layers: int = 4,
        n_noise: int = 100,
        beta: float = 1.0,
        levels_per_step: int | None = 4,
        standardize: str = "scale",
        networks: str = "shared",
        seed: int = 0,
        network_names: list[str] | None = None,
        registry: dict | None = None,
    ):
        super().__init__(adata, registry)
        self.seed_, self.steps_done_ = seed, 0
        require_choice("networks", networks, NETWORKS)
        condition = state_of(self.registry_, CONDITION_KEY)
        if condition is not None and networks == "separate":
            raise ValueError(
                "networks='separate' trains each population by itself, and has no use for the "
                "condition_rep of setup_anndata. Leave one of the two out."
            )
        self.is_separate = networks == "separate"
        if network_names is None:  # else the data attached may have other populations
            network_names = [
                str(name) for name in state_of(self.registry_, POPULATION_KEY)["names"]
            ]
        self.network_names = pd.Index(network_names)
        n_features = state_of(self.registry_, X_KEY)["n_features"]
        self._n_starts = 1  # of each network, while it trains
        self._make_module = partial(
            DPAModule,
            n_features,
            n_latent,
            n_hidden,
            n_layers,
            n_noise,
            beta,
            n_condition=0 if condition is None else condition["n_features"],
            levels_per_step=levels_per_step,
            standardize=standardize,
        )
        self._n_networks = len(network_names) if self.is_separate else 1
        with seeded(seed):
            self.module = self._make_module(n_members=self._n_networks)
        self._model_summary_string = (
            f"DPA of {n_features} features: n_latent {n_latent}, beta {beta}, networks {networks} "
            f"({len(network_names)} populations)"
        )
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        population_key: str | list[str] | None = None,
        layer: str | None = None,
        use_rep: str | None = None,
        condition_rep: str | None = None,
        **kwargs: object,
    ) -> None:
        """Say what in an AnnData the model works on.

        Parameters
        ----------
        adata, population_key, layer, use_rep, **kwargs
            As in :meth:`CellModel.setup_anndata`.
        condition_rep
            Key of a representation in ``.obsm`` that encoder and decoder are given beside a cell,
            such as ``"X_gde"``, the embedding of its population
            (:func:`scgde.tl.embed_populations`): one model of all populations, and of new ones.

        Raises
        ------
        KeyError, ValueError
            As in :meth:`CellModel.setup_anndata`.
        """
        arguments = cls._get_setup_method_args(**locals())
        fields = [] if condition_rep is None else [ConditionField(condition_rep)]
        cls._setup(adata, population_key, layer, use_rep, fields, arguments, **kwargs)

    def train(
        self,
        max_epochs: int = 30,
        max_steps: int | None = None,
        *,
        n_starts: int = 1,
        **kwargs: object,
    ) -> None:
        """Train the model on cells drawn at random; a share of each population's is held out.

        Parameters
        ----------
        max_epochs, max_steps, **kwargs
            As in :meth:`CellModel.train`.
        n_starts
            Starts of each network from other weights, trained side by side, of which the one with
            the lowest loss on training cells is kept. Training can end in a fold, where one value
            of the first latent stands for cells far apart; more starts make that rare.

        Raises
        ------
        ValueError
            If an argument is out of range, several starts are asked of a model that is trained
            already, or training diverged.
        KeyboardInterrupt
            After Ctrl-C, once the model is usable.
        """
        require_counts(n_starts=n_starts)
        if n_starts > 1:
            if self.steps_done_:
                raise ValueError(
                    f"n_starts={n_starts} is for the first training; this model is trained already "
                    "and goes on from its weights. Make a new model for other starts."
                )
            before = self.module
            with seeded(self.seed_):
                self.module = self._make_module(n_members=n_starts * self._n_networks)
            self._n_starts = n_starts
        try:
            super().train(max_epochs, max_steps, **kwargs)
        finally:
            if self._n_starts > 1:  # it failed before the best could be chosen
                self.module, self._n_starts = before, 1

    def get_latent_representation(
        self, adata: AnnData | None = None, k: int | None = None
    ) -> np.ndarray:
        """Return the first k latents of every cell, ``(n_cells, k)``; all K by default.

        Cells that belong to no population get NaN.

        Parameters
        ----------
        adata
            Cells with the model's features; by default the training data.
        k
            How many.

        Raises
        ------
        ValueError
            If k is out of range or the cells do not fit the model.
        """
        self._require_trained()
        k = self._level(k, lowest=1)
        return self._by_cell(adata, lambda networks, z, condition: z[..., :k], k)

    def encode(
        self, x: Tensor, population: str | None = None, condition: Tensor | None = None
    ) -> Tensor:
        """Return latents ``(n, K)`` of cells ``(n, d)``, with gradients with respect to the cells.

        Parameters
        ----------
        x
            Cells in the units that the model works on (counts log-normalised).
        population
            Whose network, where each has its own.
        condition
            ``(n, C)``, where the model is conditioned.

        Raises
        ------
        KeyError, ValueError
            If the population is unknown, or cells or condition do not fit the model.
        """
        self._require_trained()
        member = self._member(population)
        x = torch.as_tensor(x, dtype=torch.float32, device=self.module.device)
        if x.ndim != 2 or x.shape[1] != self.module.n_features:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; the model takes cells (n, "
                f"{self.module.n_features})."
            )
        if condition is not None:
            condition = torch.as_tensor(condition, dtype=torch.float32, device=x.device)
        n_condition = len(self.module.condition_loc)
        expected = (len(x), n_condition) if n_condition else None
        if (None if condition is None else tuple(condition.shape)) != expected:
            raise ValueError(
                f"condition has shape {None if condition is None else tuple(condition.shape)}; "
                f"for these cells this model takes {expected}."
            )
        given = None if condition is None else condition[None]
        return self.module.members([member]).encode(x[None], given)[0]

    def _level(self, k: int | None, lowest: int = 0) -> int:
        if k is None:
            return self.module.n_latent
        if isinstance(k, bool) or not isinstance(k, int | np.integer):
            raise TypeError(f"k={k!r} must be a whole number.")
        if not lowest <= k <= self.module.n_latent:
            raise ValueError(f"k={k} must be from {lowest} to {self.module.n_latent}, the latents.")
        return int(k)

    def _reader(self, adata: AnnData | None = None) -> CellReader:
        reader = super()._reader(adata)
        if len(self.module.condition_loc):
            manager = self._validated_manager(adata)
            reader.condition = row_source(manager.get_from_registry(CONDITION_KEY))
        return reader

    def _initialize(self, index: PopulationIndex) -> None:
        """Set standardisations from the training cells."""
        reader, members = self._reader(), self._member_rows(index)
        few = index.names[index.sizes < 2]
        if self.is_separate and len(few):
            raise ValueError(
                f"networks='separate' needs two training cells or more of each population; "
                f"{listed(few, 5)} have fewer. Leave them out, or use networks='shared'."
            )
        initialize_members(self.module, reader, members)
        if reader.condition is None:
            return
        mean, variance = moments(reader.condition.chunks(members[0]))
        if not np.isfinite(mean).all():
            raise ValueError(
                f"condition_rep={self.setup_arguments['condition_rep']!r} has NaN or infinite "
                "values for cells that belong to a population. Embed all populations first."
            )
        self.module.initialize_condition(
            torch.from_numpy(mean).float(), torch.from_numpy(variance).float()
        )

    def _require_populations(self, index: PopulationIndex) -> None:
        """Raise if the data has not the populations that have networks."""
        differ = self.network_names.symmetric_difference(index.names)
        if self.is_separate and len(differ):
            raise ValueError(
                f"networks='separate' has a network for each of the populations it was made for, "
                f"and trains on these. The data attached differs in {listed(differ, 5)}: attach "
                "data of the same populations, or make a new model."
            )

    def _member_rows(self, index: PopulationIndex) -> list[np.ndarray]:
        if self.is_separate:
            of_network = index.names.get_indexer(self.network_names)
            rows = [index.cells(i) for i in of_network]
        else:
            rows = super()._member_rows(index)
        return [own for own in rows for _ in range(self._n_starts)]

    def _after_fit(self, index: PopulationIndex) -> None:
        """Keep the best start of each network."""
        n_starts, self._n_starts = self._n_starts, 1
        rows = self._member_rows(index)
        self.network_sizes_ = np.array([len(own) for own in rows])
        with seeded(self.seed_):
            rng = np.random.default_rng(self.seed_)
            keep_best_starts(self.module, self._reader(), rows, n_starts, rng)
