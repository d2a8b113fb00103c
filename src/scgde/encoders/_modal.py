from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ..data import Cells, Modalities, dense
from ._base import Encoder


class ModalEncoder(Encoder):
    r"""One encoder for each modality, whose embeddings are averaged: late fusion.

    .. math:: z = \frac{\sum_j \pi_j z_j}{\sum_j \pi_j}, \quad \pi_j = \sum_i w_i a_{ij}

    where :math:`a_{ij}` says whether cell i has modality j, and :math:`z_j` embeds modality j of
    the cells under the weights :math:`w_i a_{ij} / \pi_j`. A population whose cells have all
    modalities gets the plain average, as in MultiVI (Ashuach et al. 2023); one that lacks some gets
    that of the others; and the embedding changes continuously with the share of cells.

    Parameters
    ----------
    encoders
        One for each modality, M of them.
    modalities
        Columns of cells.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> modalities = scgde.data.Modalities((2, 1))
    >>> encoder = scgde.encoders.ModalEncoder(
    ...     [scgde.encoders.MeanEncoder(n, 4) for n in modalities.sizes], modalities
    ... )
    >>> x, w = torch.randn(2, 5, 5), torch.full((2, 5), 1 / 5)
    >>> x[..., 3:] = 1.0  # indicators: every cell has both
    >>> encoder(x, w).shape
    torch.Size([2, 4])
    """

    def __init__(self, encoders: Sequence[Encoder], modalities: Modalities):
        super().__init__()
        self.each, self.modalities = nn.ModuleList(encoders), modalities
        # Of the class for others; of this one they depend on the encoders.
        self.accepts_sparse = True
        self.streams = all(encoder.streams for encoder in encoders)
        self.differentiable = all(encoder.differentiable for encoder in encoders)

    def initialize(self, x: Tensor) -> None:
        """Fit each encoder to the training cells ``x (n, d + M)`` that have its modality."""
        has = self.modalities.present(x) > 0
        for j, (encoder, part) in enumerate(zip(self.each, self.modalities.split(x), strict=True)):
            if has[:, j].any():
                encoder.initialize(part[has[:, j]])

    def forward(self, x: Cells, w: Tensor) -> Tensor:
        """Embed sets of cells ``(B, m, d + M)``."""
        share = self.shares(x, w)
        codes = [encoder(*self.part(j, x, w, share)) for j, encoder in enumerate(self.each)]
        return self.fuse(codes, share)

    def stream(self, chunks: Callable[[], Iterable[tuple[Cells, Tensor]]]) -> Tensor:
        """Embed sets too large for memory; one pass more than the encoders of all modalities take.

        Parameters
        ----------
        chunks
            As in :meth:`PooledEncoder.stream`.
        """
        # Pieces come as they are cut already, whatever size is asked for.
        parts, share = self.parts(lambda size: chunks(), 0)
        codes = [
            encoder.stream(lambda part=part: part(0))
            for encoder, part in zip(self.each, parts, strict=True)
        ]
        return self.fuse(codes, share)

    def shares(self, x: Cells, w: Tensor) -> Tensor:
        """Return the weight of the cells of a set that have each modality, ``(B, M)``."""
        return (w[..., None] * self.modalities.present(x).to(w)).sum(1)

    def part(self, j: int, x: Cells, w: Tensor, share: Tensor) -> tuple[Cells, Tensor]:
        """Return modality ``j`` of cells as its encoder sees them, and their weights under it.

        ``share (B, M)`` is that of the whole sets. Of sets without the modality the weights stay
        ``w``, for an encoder has to get some; what comes of it has no weight in the average.
        """
        x, has = self.modalities.split(x)[j], self.modalities.present(x)[..., j].to(w)
        known = share[:, j, None] > 0
        own = torch.where(known, w * has / torch.where(known, share[:, j, None], 1.0), w)
        return (x if self.each[j].accepts_sparse else dense(x)), own

    def parts(
        self, pieces: Callable[[int], Iterable[tuple[Cells, Tensor]]], size: int
    ) -> tuple[list[Callable[[int], Iterator[tuple[Cells, Tensor]]]], Tensor]:
        """Return sets that come in pieces modality by modality, and shares ``(B, M)``."""
        share = sum(self.shares(x, w) for x, w in pieces(size))

        def of(j: int) -> Callable[[int], Iterator[tuple[Cells, Tensor]]]:
            return lambda size: (self.part(j, x, w, share) for x, w in pieces(size))

        return [of(j) for j in range(len(self.each))], share

    @staticmethod
    def fuse(codes: Sequence[Tensor], share: Tensor) -> Tensor:
        """Return the average of embeddings, each ``(B, n_latent)``, by ``share (B, M)``."""
        weight = (share / share.sum(-1, keepdim=True)).to(codes[0].dtype)[..., None]
        # Zero times a code that is not finite would not be zero.
        return torch.where(weight > 0, weight * torch.stack(codes, 1), 0.0).sum(1)
