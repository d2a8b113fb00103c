from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from ._modalities import Modalities
from ._rows import Rows, RowSource


class ModalRows(RowSource):
    """Cells of several modalities, in the columns that :class:`Modalities` describes.

    The modalities may have their cells in different orders, and cells may lack some.

    Parameters
    ----------
    sources
        Cells of each modality, M of them; None for one that no cell has.
    places
        Row of every cell in each source, ``(n_cells, M)``; -1 where the cell lacks the modality.
    modalities
        Columns of each.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> rna, prot = (scgde.data.row_source(np.ones((2, size))) for size in (3, 1))
    >>> places = np.array([[0, 0], [1, -1]])  # the second cell lacks protein
    >>> rows = scgde.data.ModalRows([rna, prot], places, scgde.data.Modalities((3, 1)))
    >>> rows[np.array([1])].tolist()
    [[1.0, 1.0, 1.0, 0.0, 1.0, 0.0]]
    """

    def __init__(
        self, sources: Sequence[RowSource | None], places: np.ndarray, modalities: Modalities
    ):
        self.sources, self.places, self.modalities = list(sources), places, modalities
        self.shape = (len(places), modalities.n_columns)

    @property
    def present(self) -> np.ndarray:
        """Which modalities every cell has, ``(n_cells, M)``."""
        return self.places >= 0

    def __getitem__(self, rows: np.ndarray) -> Rows:
        places = self.places[rows]
        blocks = [
            None if source is None or (place < 0).all() else _block(source, place)
            for source, place in zip(self.sources, places.T, strict=True)
        ]
        is_sparse = any(sp.issparse(block) for block in blocks)
        empty = sp.csr_matrix if is_sparse else np.zeros
        blocks = [
            empty((len(rows), size), dtype=np.float32) if block is None else block
            for block, size in zip(blocks, self.modalities.sizes, strict=True)
        ]
        indicators = (places >= 0).astype(np.float32)
        if is_sparse:
            return sp.hstack([sp.csr_matrix(block) for block in [*blocks, indicators]], "csr")
        return np.concatenate([*blocks, indicators], 1)

    def parts(self, rows: np.ndarray) -> list[tuple[RowSource, np.ndarray]]:
        """Return each modality by itself, and where it has those of the cells that have it."""
        return [
            (source, place[place >= 0])
            for source, place in zip(self.sources, self.places[rows].T, strict=True)
        ]


def _block(source: RowSource, places: np.ndarray) -> Rows:
    """Return the cells at ``places (n,)`` of a source; zeros where the place is -1."""
    has = places >= 0
    block = source[places[has]]
    if has.all():
        return block
    if not sp.issparse(block):
        whole = np.zeros((len(places), block.shape[1]), dtype=np.float32)
        whole[has] = block
        return whole
    stored = np.zeros(len(places) + 1, dtype=block.indptr.dtype)
    stored[1:][has] = np.diff(block.indptr)
    return sp.csr_matrix(
        (block.data, block.indices, stored.cumsum()), (len(places), block.shape[1])
    )
