from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from .._registry import Registry
from ..data import Cells


class Generator(nn.Module):
    """A conditional generator: resamples a population's cells from its embedding.

    The contract: ``loss(x: (B, m, d), w: (B, m), z: (B, n_latent), **covariates) -> (B,)``, not
    reduced over sets, and ``sample(z, n_cells, *, generator, **covariates) -> (B, n_cells, d)`` for
    any number of cells, reproducible from the torch generator. ``z`` is projected once for each
    set and broadcast, never copied to cells.

    Covariates, by keyword: ``library (B, m)``, the size of each cell; ``batch (B, m)``, its batch,
    -1 for unknown. A generator ignores those it has no use for. ``sample`` may take further options
    by keyword (steps, guidance), which ``GDE.sample`` passes on.

    Subclasses take ``(n_output, n_latent, n_hidden, *, n_batch, **options)``.

    Attributes
    ----------
    accepts_sparse
        Whether ``loss`` takes :class:`~scgde.data.SparseCells` as well as tensors.
    accepts_modalities
        Whether ``__init__`` takes ``modalities`` (:class:`~scgde.data.Modalities`, or None); then
        ``loss`` gets cells with the columns that these describe, which may lack some. Of cells of
        several modalities other generators get the features, of the cells that have all.
    space
        ``"counts"``: the generator models raw counts. ``"real"``: it models standardised features.
    uses_library
        Whether counts are modelled relative to the size of their cell, and encoded so.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> class Points(scgde.generators.Generator):
    ...     def __init__(self, n_output, n_latent, n_hidden=128, *, n_batch=1):
    ...         super().__init__()
    ...         self.mean = torch.nn.Linear(n_latent, n_output)
    ...     def loss(self, x, w, z, **covariates):
    ...         return torch.einsum("bm,bmd->b", w, (x - self.mean(z)[:, None]) ** 2)
    ...     def sample(self, z, n_cells, *, generator=None, **covariates):
    ...         return self.mean(z)[:, None].expand(-1, n_cells, -1)
    >>> Points(3, 4).sample(torch.randn(2, 4), 7).shape
    torch.Size([2, 7, 3])
    """

    accepts_sparse: ClassVar[bool] = False
    accepts_modalities: ClassVar[bool] = False
    space: Literal["counts", "real"] = "real"
    uses_library: bool = False

    @classmethod
    def resolve(cls, options: dict, is_counts: bool) -> dict:
        """Return the options with choices that depend on the data made; by default unchanged."""
        return options

    def initialize(self, mean: Tensor, var: Tensor, log_library: Tensor) -> None:
        """Start from simple statistics of the training cells; by default does nothing.

        Parameters
        ----------
        mean, var
            Of every feature, each ``(d,)``; of counts, after scaling every cell to the mean size.
        log_library
            Mean and standard deviation of the cells' log size, ``(2,)``.
        """
        return

    def on_step(self, step: int) -> None:
        """Hear the number of training steps done; by default does nothing."""
        return

    @abstractmethod
    def loss(self, x: Cells, w: Tensor, z: Tensor, **covariates: Tensor | None) -> Tensor:
        """Return the loss of each set, ``(B,)``."""

    @abstractmethod
    def sample(
        self,
        z: Tensor,
        n_cells: int,
        *,
        generator: torch.Generator | None = None,
        **covariates: Tensor | None,
    ) -> Tensor:
        """Draw ``n_cells`` cells of every population, ``(B, n_cells, d)``."""


GENERATORS: Registry[Generator] = Registry("generator")
