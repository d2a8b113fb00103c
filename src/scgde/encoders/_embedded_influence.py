"""Embeddings of sets and the influence of their cells, piece by piece where sets are large."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ..data import Cells
from ._base import Embedded, Encoder, PooledEncoder
from ._influence import influence, linear_map, pooled_influence, sensitivities
from ._jacobians import mean_jacobians
from ._modal import ModalEncoder

# Called with a number of cells; gives pieces (x: (B, c, n_input), w: (B, c)) of about so many, in
# order, whose weights sum to one over all pieces.
Pieces = Callable[[int], Iterable[tuple[Cells, Tensor]]]
Influences = Iterator[tuple[slice, Tensor]]


@torch.no_grad()
def embedded_influence(
    encoder: Encoder, pieces: Pieces, n_cells: int, max_cells: int, chunk: int
) -> tuple[Tensor, Influences]:
    """Return embeddings ``(B, L)``, and cells' influence ``(B, c, L)`` by pieces of columns.

    Parameters
    ----------
    encoder
        Any encoder whose embedding has a derivative by the weights.
    pieces
        The sets' cells as the encoder sees them.
    n_cells
        Cells of a set, padding included.
    max_cells
        Most cells held at once, where the encoder streams.
    chunk
        Cells of a piece of a larger set.

    Returns
    -------
    Embeddings, and pairs of columns (a slice) and the influence of their cells.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.ResNetGNNEncoder(3, 4, n_hidden=8)
    >>> z, pieces = scgde.encoders.embedded_influence(
    ...     encoder, lambda size: [(x, w)], n_cells=5, max_cells=100, chunk=5
    ... )
    >>> z.shape, [influence.shape for _, influence in pieces]
    (torch.Size([2, 4]), [torch.Size([2, 5, 4])])
    """
    if not encoder.streams:
        ((x, w),) = pieces(n_cells)
        return encoder(x, w), iter([(slice(None), influence(encoder, x, w))])
    if isinstance(encoder, ModalEncoder):
        return _of_modalities(encoder, pieces, n_cells, max_cells, chunk)
    return _of_pools(encoder, pieces, n_cells, max_cells, chunk)


def _of_pools(
    encoder: PooledEncoder, pieces: Pieces, n_cells: int, max_cells: int, chunk: int
) -> tuple[Tensor, Influences]:
    def first_states(size: int) -> Iterator[tuple[Embedded, Tensor]]:
        return ((encoder.embed(x), w) for x, w in pieces(size))

    held: list[tuple[Embedded, Tensor]] = []
    states: list[Tensor] = []
    if n_cells <= max_cells:
        held = list(first_states(n_cells))
        states, pools = encoder.layers(*held[0])

    def chunks(size: int | None = None) -> Iterable[tuple[Embedded, Tensor]]:
        return held if held and size is None else first_states(size or chunk)

    if not held:
        pools = encoder.stream_pools(chunks)
    readout, _ = linear_map(encoder.readout, pools[-1])
    sensitivity = sensitivities(readout, mean_jacobians(encoder, chunks, pools))

    @torch.no_grad()
    def influences() -> Influences:
        if states:
            yield slice(None), pooled_influence(states, pools, sensitivity)
            return
        start = 0
        for cells, w in chunks():
            piece = slice(start, start + w.shape[1])
            of_piece = encoder.states(cells, pools)
            yield piece, pooled_influence(of_piece, pools, sensitivity)
            start = piece.stop

    return encoder.readout(pools[-1]), influences()


def _of_modalities(
    encoder: ModalEncoder, pieces: Pieces, n_cells: int, max_cells: int, chunk: int
) -> tuple[Tensor, Influences]:
    r"""Differentiate the average of embeddings, the shares of the modalities included.

    .. math:: \psi_i = \frac{1}{\sum_j \pi_j} \sum_j a_{ij} (\psi_{ij} + z_j - z)
    """
    parts, share = encoder.parts(pieces, chunk)
    found = [
        embedded_influence(own, part, n_cells, max_cells, chunk)
        for own, part in zip(encoder.each, parts, strict=True)
    ]
    codes = [z for z, _ in found]
    z = encoder.fuse(codes, share)

    @torch.no_grad()
    def influences() -> Influences:
        size = n_cells if n_cells <= max_cells else chunk
        whole = share.sum(-1)[:, None, None]
        for (x, _), *each in zip(pieces(size), *(own for _, own in found), strict=True):
            has = encoder.modalities.present(x)
            total = sum(
                has[..., [j]] * (psi + (code - z)[:, None])
                for j, ((_, psi), code) in enumerate(zip(each, codes, strict=True))
            )
            yield each[0][0], total / whole

    return z, influences()
