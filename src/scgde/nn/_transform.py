from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from ..data import Cells, SparseCells

TARGET_SUM = 1e4
CLIP = 10.0


def log1p(x: Cells) -> Cells:
    """Return ``log(1 + x)`` of counts ``(B, m, d)``."""
    return x.replace(torch.log1p(x.values)) if isinstance(x, SparseCells) else torch.log1p(x)


def log_normalize(x: Cells, library: Tensor | None = None) -> Cells:
    """Return ``log(1 + 10^4 x / library)`` of counts, the field's usual normalisation.

    Parameters
    ----------
    x
        Counts ``(B, m, d)``.
    library
        Size of each cell, ``(B, m)``; by default its total.
    """
    if isinstance(x, SparseCells):
        library = x.sum() if library is None else library
        return log1p(x.replace(x.values * (TARGET_SUM / library.flatten())[x.rows]))
    library = x.sum(-1) if library is None else library
    return log1p(x * (TARGET_SUM / library)[..., None])


def moments(blocks: Iterable[np.ndarray | sp.csr_matrix]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of every feature over blocks of cells, each ``(n, d)``.

    Chan's pairwise update, in double precision: exact for blocks of any sizes.
    """
    n, mean, m2 = 0, 0.0, 0.0
    for block in blocks:
        block = block.astype(np.float64)
        if sp.issparse(block):
            block_mean = np.asarray(block.mean(0)).ravel()
            square = np.asarray(block.power(2).mean(0)).ravel()
            block_m2 = (square - block_mean**2) * block.shape[0]
        else:
            block_mean = block.mean(0)
            block_m2 = ((block - block_mean) ** 2).sum(0)
        k, delta = block.shape[0], block_mean - mean
        mean = mean + delta * (k / (n + k))
        m2 = m2 + block_m2 + delta**2 * (n * k / (n + k))
        n += k
    return mean, np.maximum(m2 / n, 0.0)


class Standardize(nn.Module):
    """Scale features to unit variance, and centre them where the cells are stored dense.

    Sparse cells are scaled but not centred, so that they stay sparse; ``middle`` then is where
    their standardised features lie on average. The moments are those of the training cells; they
    are saved with the model.
    """

    def __init__(self, n_features: int):
        super().__init__()
        self.register_buffer("loc", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.register_buffer("middle", torch.zeros(n_features))

    def fit(self, blocks: Iterable[np.ndarray | sp.csr_matrix]) -> tuple[Tensor, Tensor]:
        """Set the moments from blocks of cells, each ``(n, d)``.

        A feature that does not vary keeps the scale 1.

        Returns
        -------
        Mean and variance of the standardised features, each ``(d,)``.
        """
        centre = True

        def seen():
            nonlocal centre
            for block in blocks:
                centre = centre and not sp.issparse(block)
                yield block

        mean, var = moments(seen())
        scale = np.sqrt(var)
        scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-6)] = 1.0
        self.scale.copy_(torch.from_numpy(scale))
        self.loc.copy_(torch.from_numpy(mean) if centre else torch.zeros_like(self.loc))
        rest = np.zeros_like(mean) if centre else mean
        mean, var = (torch.from_numpy(a).float() for a in (rest / scale, var / scale**2))
        self.middle.copy_(mean)
        return mean, var

    def forward(self, x: Cells) -> Cells:
        """Standardise cells ``(B, m, d)``."""
        if isinstance(x, SparseCells):
            if not self.loc.any():
                return x.replace(x.values / self.scale[x.columns.long()])
            x = x.to_dense()
        return (x - self.loc) / self.scale

    def inverse(self, x: Tensor) -> Tensor:
        """Return standardised cells to their own units."""
        return x * self.scale + self.loc


def clip(x: Cells, middle: Tensor) -> Cells:
    """Return standardised cells within ten standard deviations of their mean ``middle (d,)``."""
    low, high = middle - CLIP, middle + CLIP
    if isinstance(x, SparseCells):
        columns = x.columns.long()
        return x.replace(x.values.clamp(low[columns], high[columns]))
    return x.clamp(low, high)
