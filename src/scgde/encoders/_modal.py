from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..data import Cells, Modalities, SparseCells, dense
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
    """

    def __init__(self, encoders: Sequence[Encoder], modalities: Modalities):
        super().__init__()
        self.each, self.modalities = nn.ModuleList(encoders), modalities
        # Of the class for others; of this one they depend on the encoders.
        self.accepts_sparse = True
        self.differentiable = all(encoder.differentiable for encoder in encoders)

    def initialize(self, x: Tensor) -> None:
        """Fit each encoder to those of the training cells ``x (n, d + M)`` that have its modality."""
        has = self.modalities.present(x) > 0
        for j, (encoder, part) in enumerate(zip(self.each, self.modalities.split(x), strict=True)):
            encoder.initialize(part[has[:, j]])

    def forward(self, x: Cells, w: Tensor) -> Tensor:
        """Embed sets of cells ``(B, m, d + M)``."""
        weights, share = self.weigh(x, w)
        codes = [
            encoder(self.seen(encoder, part), own)
            for encoder, part, own in zip(self.each, self.modalities.split(x), weights, strict=True)
        ]
        return self.fuse(codes, share)

    def weigh(self, x: Cells, w: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return weights ``(B, m)`` under each modality, and the sets' shares of each, ``(B, M)``.

        Weights of a modality that no cell of a set has are ``w``; its share is 0.
        """
        own = w[..., None] * self.modalities.present(x).to(w)
        share = own.sum(1)
        has = share > 0
        weights = torch.where(
            has[:, None], own / torch.where(has, share, 1.0)[:, None], w[..., None]
        )
        return list(weights.unbind(-1)), share

    @staticmethod
    def seen(encoder: Encoder, part: Cells) -> Cells:
        """Return the cells of one modality in a form that its encoder takes."""
        return part if encoder.accepts_sparse or not isinstance(part, SparseCells) else dense(part)

    @staticmethod
    def fuse(codes: Sequence[Tensor], share: Tensor) -> Tensor:
        """Return the average of embeddings, each ``(B, n_latent)``, by ``share (B, M)``."""
        weight = share / share.sum(-1, keepdim=True)
        return torch.einsum("bj,bjl->bl", weight.to(codes[0].dtype), torch.stack(codes, 1))
