from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from .._errors import listed, require, require_choice, require_counts
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
from ..train import initialize_members
from ._cell_model import CellModel
from ._dpa_passes import PassesMixin
from ._energy_profile import EnergyProfileMixin

NETWORKS = ("shared", "separate")


class DPA(PassesMixin, EnergyProfileMixin, CellModel):
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
        with seeded(seed):
            self.module = DPAModule(
                n_features,
                n_latent,
                n_hidden,
                n_layers,
                n_noise,
                beta,
                n_members=len(network_names) if self.is_separate else 1,
                n_condition=0 if condition is None else condition["n_features"],
                levels_per_step=levels_per_step,
                standardize=standardize,
            )
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
        return self._by_cell(adata, lambda z, condition: z[..., :k], k)

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
        n_condition = len(self.module.condition_loc)
        if (0 if condition is None else condition.shape[-1]) != n_condition:
            raise ValueError(
                f"condition must have {n_condition} columns for this model, got "
                f"{None if condition is None else tuple(condition.shape)}."
            )
        given = None if condition is None else condition[None]
        return self.module.encode(x.expand(self.module.n_members, -1, -1), given)[member]

    def reconstruct(
        self,
        k: int | None = None,
        adata: AnnData | None = None,
        *,
        draw: bool = False,
        n_draws: int = 25,
        seed: int | None = None,
    ) -> AnnData:
        """Return cells as their first k latents tell them.

        Parameters
        ----------
        k
            Level, from 0 to K, the default.
        adata
            Cells with the model's features; by default the training data.
        draw
            Return one draw from the distribution of cells given the latents, not its mean.
        n_draws
            Draws that a mean is of.
        seed
            Seed of the draws; by default the model's.

        Returns
        -------
        AnnData of the same cells, ``.X`` in the units that the model works on (counts
        log-normalised). NaN for cells that belong to no population.

        Raises
        ------
        ValueError
            If k is out of range or the cells do not fit the model.
        """
        self._require_trained()
        require_counts(n_draws=n_draws)
        k = self._level(k)
        if draw:
            self._warn_of_beta()
            n_draws = 1
        generator = self._generator(seed)

        def mean(z: Tensor, condition: Tensor | None) -> Tensor:
            draws = (self.module.decode(z, k, condition, generator) for _ in range(n_draws))
            return sum(draws) / n_draws

        adata = self._validate_anndata(adata)
        x = self._by_cell(adata, mean, self.module.n_features)
        return self._as_adata(x, adata.obs.filter(regex="^(?!_scvi)"))

    def sample(
        self,
        n_cells: int = 1_000,
        k: int = 0,
        populations: str | list[str] | None = None,
        *,
        seed: int | None = None,
    ) -> AnnData:
        """Draw new cells.

        Parameters
        ----------
        n_cells
            How many; of each population, if populations are named.
        k
            At level 0 cells are drawn from noise alone. At k they share their first k latents with
            training cells drawn at random.
        populations
            Whose cells are drawn; by default all, mixed in the proportions of the training cells.
            Matters where each has its own network or the model is conditioned, or for ``k`` above
            0.
        seed
            Seed of the draws; by default the model's.

        Returns
        -------
        AnnData of cells in the units that the model works on (counts log-normalised);
        ``.obs["population"]`` names the population.

        Raises
        ------
        KeyError, ValueError
            If a population is unknown or k is out of range.
        """
        self._require_trained()
        require_counts(n_cells=n_cells)
        k = self._level(k)
        self._warn_of_beta()
        index = self._index()
        if populations is not None and k == 0 and not self._knows_populations:
            raise ValueError(
                f"populations={populations!r}: this model has one network for all cells and knows "
                "no populations, so at k=0 it cannot draw the cells of one. Use "
                "networks='separate' or setup_anndata(..., condition_rep=...), or k above 0."
            )
        rng = np.random.default_rng(self.seed_ if seed is None else seed)
        if populations is None:
            templates = rng.choice(index.order, n_cells)
        else:
            names = [populations] if isinstance(populations, str) else list(populations)
            for name in names:
                require("populations", name, index.names, "the populations of the model")
            codes = index.names.get_indexer(names)
            templates = np.concatenate([rng.choice(index.cells(i), n_cells) for i in codes])
        generator = self._generator(seed)
        # Templates lend their latents, their network and their condition.
        x = self._by_cell(
            None,
            lambda z, condition: self.module.decode(z, k, condition, generator),
            self.module.n_features,
            templates,
        )
        names = np.asarray(index.names)[index.codes[templates]]
        return self._as_adata(x, pd.DataFrame({"population": pd.Categorical(names)}))

    def _level(self, k: int | None, lowest: int = 0) -> int:
        if k is None:
            return self.module.n_latent
        if isinstance(k, bool) or not isinstance(k, int | np.integer):
            raise TypeError(f"k={k!r} must be a whole number.")
        if not lowest <= k <= self.module.n_latent:
            raise ValueError(f"k={k} must be from {lowest} to {self.module.n_latent}, the latents.")
        return int(k)

    @property
    def _knows_populations(self) -> bool:
        return self.is_separate or len(self.module.condition_loc) > 0

    def _warn_of_beta(self) -> None:
        if self.module.beta == 2:
            warnings.warn(
                "beta=2: the energy score then compares means only, and what the decoder draws is "
                "not distributed as the cells. Train with beta=1 to sample.",
                UserWarning,
                stacklevel=3,
            )

    def _generator(self, seed: int | None) -> torch.Generator:
        generator = torch.Generator(self.module.device)
        return generator.manual_seed(self.seed_ if seed is None else seed)

    def _as_adata(self, x: np.ndarray, obs: pd.DataFrame) -> AnnData:
        obs.index = obs.index.astype(str)
        return AnnData(x, obs=obs, var=pd.DataFrame(index=self.get_feature_names().astype(str)))

    def _reader(self, adata: AnnData | None = None) -> CellReader:
        reader = super()._reader(adata)
        if len(self.module.condition_loc):
            manager = self._validated_manager(adata)
            reader.condition = row_source(manager.get_from_registry(CONDITION_KEY))
        return reader

    def _initialize(self, index: PopulationIndex) -> None:
        """Set standardisations from the training cells."""
        if self.is_separate and list(index.names) != list(self.network_names):
            raise ValueError(
                "The data attached has other populations than the model has networks. Make a new "
                "model of it."
            )
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

    def _member_rows(self, index: PopulationIndex) -> list[np.ndarray]:
        if not self.is_separate:
            return super()._member_rows(index)
        return [index.cells(i) for i in range(len(index))]
