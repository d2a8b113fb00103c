"""Sets of cells that lack modalities, in training."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data import Cells, Modalities


def drop_modalities(
    x: Cells, w: Tensor, modalities: Modalities, rate: float
) -> tuple[Cells, Tensor]:
    """Take one modality away from some sets, so that embeddings without it are trained for.

    Parameters
    ----------
    x, w
        Cells ``(B, m, d + M)`` and weights ``(B, m)``.
    modalities
        Their columns.
    rate
        Probability that a set which has several modalities loses one of them, each as likely.

    Returns
    -------
    Cells and weights; a cell that is left with nothing has the weight 0.
    """
    present = modalities.present(x)
    has = (w[..., None] * present).sum(1) > 0
    score = torch.rand(has.shape, device=has.device).masked_fill(~has, -1.0)
    loses = (torch.rand(len(w), device=w.device) < rate) & (has.sum(1) > 1)
    kept = torch.ones_like(has)
    kept[loses, score.argmax(1)[loses]] = False
    left = w * (present * kept[:, None]).any(-1)
    return modalities.keep(x, kept), left / left.sum(1, keepdim=True)


def complete_cells(x: Cells, w: Tensor, modalities: Modalities) -> tuple[Cells, Tensor, Tensor]:
    """Return the features of cells, with the weight of those that lack a modality set to 0.

    Parameters
    ----------
    x, w, modalities
        As in :func:`drop_modalities`.

    Returns
    -------
    Features ``(B, m, d)``, weights ``(B, m)`` that sum to one where a set has complete cells, and
    which sets have, ``(B,)``.
    """
    left = w * (modalities.present(x) > 0).all(-1)
    total = left.sum(1, keepdim=True)
    return modalities.features(x), left / total.clamp_min(1e-12), total[:, 0] > 0
