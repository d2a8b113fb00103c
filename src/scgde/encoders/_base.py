from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from .._registry import Registry
from ..data import Cells
from ..nn import weighted_mean


class Encoder(nn.Module):
    """A set of cells, as a weighted empirical measure, to one vector.

    The contract: ``forward(x: (B, m, n_input), w: (B, m)) -> z: (B, n_latent)`` with ``w >= 0``
    summing to one in each row. The result depends on the measure ``sum_i w_i delta(x_i)`` alone:
    not on order, repetition or number of cells, nor on the other sets of the batch (so no batch
    norm). The read-out is linear: distances and straight lines in ``z`` mean something.

    Subclasses take ``(n_input, n_latent, n_hidden, **options)``.

    Attributes
    ----------
    accepts_sparse
        Whether ``forward`` takes :class:`~scgde.data.SparseCells` as well as tensors.
    streams
        Whether the embedding can be computed from pooled sums, in ``n_updates + 1`` passes over
        chunks of cells (see :class:`PooledEncoder`).
    differentiable
        Whether the embedding has a derivative by the weights that says something of its sampling
        error; medians are flat between cells, so theirs is zero.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> class First(scgde.encoders.Encoder):
    ...     def __init__(self, n_input, n_latent, n_hidden=128):
    ...         super().__init__()
    ...         self.readout = torch.nn.Linear(n_input, n_latent)
    ...     def forward(self, x, w):
    ...         return self.readout(torch.einsum("bm,bmd->bd", w, x))
    >>> First(3, 4)(torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)).shape
    torch.Size([2, 4])
    """

    accepts_sparse: ClassVar[bool] = False
    streams: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True

    def initialize(self, x: Tensor) -> None:
        """Fit what is not learned by gradient to training cells ``x (n, d)``; by default nothing.

        The cells are as the encoder sees them: log-normalised counts or standardised features.
        """
        return

    @abstractmethod
    def forward(self, x: Cells, w: Tensor) -> Tensor:
        """Embed sets ``x (B, m, n_input)`` under weights ``w (B, m)`` as ``(B, n_latent)``."""


Embedded = tuple[Tensor, Any]


class PooledEncoder(Encoder):
    """An encoder whose cells meet only through pooled vectors, by default weighted means.

    Cells are embedded one by one, see a pooled vector, are updated one by one, and so on; the last
    pooled vector is read out. A subclass gives ``embed``, ``update`` for each of ``n_updates``
    blocks, and ``readout``. The number of passes over the cells that a stream needs is
    ``n_updates + 1``.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> class Pooled(scgde.encoders.PooledEncoder):
    ...     def __init__(self, n_input, n_latent, n_hidden=128):
    ...         super().__init__()
    ...         self.cell = scgde.nn.CellLinear(n_input, n_hidden)
    ...         self.readout = torch.nn.Linear(n_hidden, n_latent)
    ...     def embed(self, x):
    ...         return self.cell(x), None
    >>> Pooled(3, 4)(torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)).shape
    torch.Size([2, 4])
    """

    accepts_sparse: ClassVar[bool] = True
    streams: ClassVar[bool] = True
    n_updates: int = 0
    readout: nn.Module
    pool: Callable[[Tensor, Tensor], Tensor] = staticmethod(weighted_mean)

    @abstractmethod
    def embed(self, x: Cells) -> Embedded:
        """Return each cell's first hidden state ``(B, m, h)``, and what later blocks need."""

    def update(self, block: int, h: Tensor, pooled: Tensor, extra: Any) -> Tensor:
        """Return the hidden states after ``block``, given the pooled vector ``(B, h)``."""
        raise NotImplementedError(f"{type(self).__name__} has no update blocks.")

    def forward(self, x: Cells, w: Tensor) -> Tensor:
        """Embed sets of cells."""
        return self.readout(self.layers(self.embed(x), w)[1][-1])

    def layers(self, cells: Embedded, w: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return hidden states ``(B, m, h)`` and pooled vectors ``(B, h)`` of every layer.

        Parameters
        ----------
        cells
            What ``embed`` returned.
        w
            Weights ``(B, m)``.
        """
        h, extra = cells
        states, pools = [h], [self.pool(h, w)]
        for block in range(self.n_updates):
            states.append(self.update(block, states[-1], pools[-1], extra))
            pools.append(self.pool(states[-1], w))
        return states, pools

    def states(self, cells: Embedded, pools: Sequence[Tensor]) -> list[Tensor]:
        """Return the hidden states ``(B, m, h)`` of cells in every layer that can be had.

        Parameters
        ----------
        cells
            What ``embed`` returned.
        pools
            Pooled vectors ``(B, h)`` of the first layers; the states of one layer more are
            returned, at most ``n_updates + 1``.
        """
        h, extra = cells
        states = [h]
        for block, pooled in enumerate(pools[: self.n_updates]):
            states.append(self.update(block, states[-1], pooled, extra))
        return states

    def stream(self, chunks: Callable[[], Iterable[tuple[Cells, Tensor]]]) -> Tensor:
        """Embed sets too large for memory, at constant memory.

        Parameters
        ----------
        chunks
            Called once a pass; gives pieces ``(x: (B, c, n_input), w: (B, c))`` whose weights sum
            to one over all pieces.

        Returns
        -------
        ``(B, n_latent)``, equal to ``forward`` on the whole up to rounding.
        """
        return self.readout(
            self.stream_pools(lambda: ((self.embed(x), w) for x, w in chunks()))[-1]
        )

    def stream_pools(
        self,
        chunks: Callable[[], Iterable[tuple[Embedded, Tensor]]],
        known: Sequence[Tensor] = (),
    ) -> list[Tensor]:
        """Return the pooled vector ``(B, h)`` of every layer.

        Parameters
        ----------
        chunks
            As in :meth:`stream`, of cells that ``embed`` has seen.
        known
            Pooled vectors of the first layers, if they are known already.
        """
        pools = list(known)
        while len(pools) <= self.n_updates:
            total: Tensor | float = 0.0
            for cells, w in chunks():
                total = total + weighted_mean(self.states(cells, pools)[-1], w)
            pools.append(total)
        return pools


class BlockEncoder(PooledEncoder):
    """A pooled encoder whose updates are :class:`~scgde.nn.MeanPooledBlock`, with or without skips.

    ``blocks`` has them; what ``embed`` returns beside the hidden states is a skip ``(B, m, h)`` or
    None for each.

    Examples
    --------
    >>> import scgde
    >>> encoder = scgde.encoders.ResNetGNNEncoder(3, 4, n_hidden=8, n_blocks=2)
    >>> isinstance(encoder, scgde.encoders.BlockEncoder), encoder.n_updates
    (True, 2)
    """

    blocks: nn.ModuleList

    def update(
        self, block: int, h: Tensor, pooled: Tensor, extra: Sequence[Tensor | None]
    ) -> Tensor:
        """Apply a block."""
        return self.blocks[block](h, pooled, extra[block])


ENCODERS: Registry[Encoder] = Registry("encoder")
