from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from ..data import Cells, Modalities, SparseCells

TARGET_SUM = 1e4
CLIP = 10.0


def log1p(x: Cells, modalities: Modalities | None = None) -> Cells:
    """Return ``log(1 + x)`` of counts ``(B, m, d)``; indicators of modalities stay.

    Parameters
    ----------
    x
        Counts ``(B, m, d)``.
    modalities
        Of cells of several modalities, whose indicators are among the columns.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> scgde.nn.log1p(torch.zeros(1, 1, 2))
    tensor([[[0., 0.]]])
    """
    if isinstance(x, SparseCells):
        logs = torch.log1p(x.values)
        return x.replace(logs) if modalities is None else modalities.on_features(x, logs)
    logs = torch.log1p(x)
    return logs if modalities is None else modalities.on_features(x, logs)


def log_normalize(
    x: Cells, library: Tensor | None = None, modalities: Modalities | None = None
) -> Cells:
    """Return ``log(1 + 10^4 x / library)`` of counts, the field's usual normalisation.

    Parameters
    ----------
    x
        Counts ``(B, m, d)``.
    library
        Size of each cell, ``(B, m)``; by default its total.
    modalities
        Of cells of several: each has its own size, ``library (B, m, M)``.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> scgde.nn.log_normalize(torch.tensor([[[1.0, 3.0]]])).round(decimals=2)
    tensor([[[7.8200, 8.9200]]])
    """
    if modalities is not None:
        library = modalities.totals(x).clamp_min(1) if library is None else library
        factor = modalities.spread(x, TARGET_SUM / library)
        scaled = x.replace(x.values * factor) if isinstance(x, SparseCells) else x * factor
        logs = log1p(scaled)
        return modalities.on_features(x, logs.values if isinstance(x, SparseCells) else logs)
    if isinstance(x, SparseCells):
        library = x.sum() if library is None else library
        return log1p(x.replace(x.values * (TARGET_SUM / library.flatten())[x.rows]))
    library = x.sum(-1) if library is None else library
    return log1p(x * (TARGET_SUM / library)[..., None])


def moments(blocks: Iterable[np.ndarray | sp.csr_matrix]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of every feature over blocks of cells, each ``(n, d)``.

    Chan's pairwise update, in double precision: exact for blocks of any sizes.

    Parameters
    ----------
    blocks
        Cells ``(n, d)``, dense or sparse.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> mean, variance = scgde.nn.moments([np.array([[0.0], [2.0]]), np.array([[4.0]])])
    >>> mean.tolist()
    [2.0]
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
    their standardised features lie on average. Of several modalities, each by itself. The moments
    are those of the training cells; they are saved with the model.

    Parameters
    ----------
    n_features
        Features of a cell.
    modalities
        Columns of cells of several modalities: the features of one that a cell lacks are 0 after
        standardising too, where they are centred their mean; indicators stay.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import scgde
    >>> standardize = scgde.nn.Standardize(3)
    >>> _ = standardize.fit([np.random.default_rng(0).normal(5, 2, (100, 3))])
    >>> bool(standardize(torch.full((1, 1, 3), 5.0)).abs().max() < 1)
    True
    """

    def __init__(self, n_features: int, modalities: Modalities | None = None):
        super().__init__()
        self.modalities = modalities
        n_columns = n_features if modalities is None else modalities.n_columns
        self.register_buffer("loc", torch.zeros(n_columns))
        self.register_buffer("scale", torch.ones(n_columns))
        self.register_buffer("middle", torch.zeros(n_columns))

    def fit(self, *parts: Iterable[np.ndarray | sp.csr_matrix]) -> tuple[Tensor, Tensor]:
        """Set the moments from blocks of cells, each ``(n, d)``.

        A feature that does not vary keeps the scale 1.

        Parameters
        ----------
        parts
            Blocks of the cells, or, of several modalities, blocks for each.

        Returns
        -------
        Mean and variance of the standardised features, each ``(d,)``.
        """
        start, of_parts = 0, []
        for blocks in parts:
            of_parts.append(self._fit_part(blocks, start))
            start += len(of_parts[-1][0])
        return tuple(torch.cat(of) for of in zip(*of_parts, strict=True))

    def _fit_part(self, blocks: Iterable, start: int) -> tuple[Tensor, Tensor]:
        centre = True

        def seen():
            nonlocal centre
            for block in blocks:
                centre = centre and not sp.issparse(block)
                yield block

        mean, var = moments(seen())
        scale = np.sqrt(var)
        scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-6)] = 1.0
        own = slice(start, start + len(mean))
        self.scale[own] = torch.from_numpy(scale)
        self.loc[own] = torch.from_numpy(mean) if centre else 0.0
        rest = np.zeros_like(mean) if centre else mean
        mean, var = (torch.from_numpy(a).float() for a in (rest / scale, var / scale**2))
        self.middle[own] = mean
        return mean, var

    def forward(self, x: Cells) -> Cells:
        """Standardise cells ``(B, m, d)``."""
        if isinstance(x, SparseCells):
            if not self.loc.any():
                return x.replace(x.values / self.scale[x.columns.long()])
            x = x.to_dense()
        z = (x - self.loc) / self.scale
        if self.modalities is None:
            return z
        return self.modalities.on_features(
            x, z * self.modalities.spread(x, self.modalities.present(x))
        )

    def inverse(self, x: Tensor) -> Tensor:
        """Return standardised cells to their own units; without indicators."""
        own = slice(x.shape[-1])
        return x * self.scale[own] + self.loc[own]


def clip(x: Cells, middle: Tensor) -> Cells:
    """Return standardised cells within ten standard deviations of their mean ``middle (d,)``.

    Parameters
    ----------
    x
        Standardised cells ``(B, m, d)``.
    middle
        Their mean, ``(d,)``.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> scgde.nn.clip(torch.tensor([[[50.0, 1.0]]]), torch.zeros(2))
    tensor([[[10.,  1.]]])
    """
    low, high = middle - CLIP, middle + CLIP
    if isinstance(x, SparseCells):
        columns = x.columns.long()
        return x.replace(x.values.clamp(low[columns], high[columns]))
    return x.clamp(low, high)
