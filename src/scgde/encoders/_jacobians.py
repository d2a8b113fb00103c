"""How the pooled vectors of a population move the hidden states of its cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ..nn import BlockSlopes, MeanPooledBlock, weighted_mean
from ._base import BlockEncoder, Embedded, PooledEncoder

Jacobians = dict[tuple[int, int], Tensor]
Chunks = Callable[[int | None], Iterable[tuple[Embedded, Tensor]]]

_TAPED_CELLS = 64  # of one piece: its derivatives then stay in the processor's cache


def mean_jacobians(encoder: PooledEncoder, chunks: Chunks, pools: Sequence[Tensor]) -> Jacobians:
    r"""Return the derivative of later pooled vectors by earlier ones, one pass over the cells.

    .. math:: J_{kl} = \sum_j w_j \frac{\partial h^k_j}{\partial p_l}, \quad l < k,

    the pooled vectors of other layers held fixed. For up to two :class:`~scgde.nn.MeanPooledBlock`
    it is written out: the sum over cells of products of diagonal, fixed and rank-one matrices
    comes down to a few products of (h, m) by (m, h), about as much work as embedding the cells.
    For other encoders it is taken by autograd, a backward pass for each hidden unit.

    Parameters
    ----------
    encoder
        A pooled encoder.
    chunks
        Called with the number of cells a piece should have (None: any); gives pieces of cells that
        ``embed`` has seen, with their weights ``(B, c)``, which sum to one over all pieces.
    pools
        Pooled vector ``(B, h)`` of every layer.

    Returns
    -------
    By later and earlier layer ``(k, l)``, ``(B, h_k, h_l)``.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.ResNetGNNEncoder(3, 4, n_hidden=8)
    >>> chunks = [(encoder.embed(x), w)]
    >>> _, pools = encoder.layers(*chunks[0])
    >>> jacobians = scgde.encoders.mean_jacobians(encoder, lambda size=None: chunks, pools)
    >>> sorted(jacobians), jacobians[1, 0].shape
    ([(1, 0), (2, 0), (2, 1)], torch.Size([2, 8, 8]))
    """
    if encoder.n_updates == 0:
        return {}
    written_out = isinstance(encoder, BlockEncoder) and encoder.n_updates <= 2
    of_chunk = _written_out if written_out else _by_autograd
    size = None if written_out else max(1, _TAPED_CELLS // len(pools[0]))
    total: Jacobians = {}
    for cells, w in chunks(size):
        for key, jacobian in of_chunk(encoder, cells, w, pools).items():
            total[key] = total[key] + jacobian if key in total else jacobian
    return total


def _by_autograd(
    encoder: PooledEncoder, cells: Embedded, w: Tensor, pools: Sequence[Tensor]
) -> Jacobians:
    leaves = [p.detach().clone().requires_grad_() for p in pools[: encoder.n_updates]]
    h, extra = cells
    found: Jacobians = {}
    with torch.enable_grad():
        for block, leaf in enumerate(leaves):
            h = encoder.update(block, h, leaf, extra)
            pooled = weighted_mean(h, w)
            axes = torch.eye(pooled.shape[-1], device=pooled.device)
            rows = torch.autograd.grad(
                pooled,
                leaves[: block + 1],
                axes[:, None].expand(-1, len(pooled), -1),
                retain_graph=True,
                is_grads_batched=True,
                allow_unused=True,
            )
            for layer, row in enumerate(rows):
                if row is None:  # the block does not look at this pooled vector
                    row = torch.zeros(len(axes), *leaves[layer].shape, device=axes.device)
                found[block + 1, layer] = row.transpose(0, 1)
    return found


def _written_out(
    encoder: BlockEncoder, cells: Embedded, w: Tensor, pools: Sequence[Tensor]
) -> Jacobians:
    h, extra = cells
    slopes = []
    for block, skip, pooled in zip(encoder.blocks, extra, pools, strict=False):
        slopes.append(block.slopes(h, pooled, skip))
        h = slopes[-1].output
    found = {
        (k + 1, k): _by_own_pool(block, s, w)
        for k, (block, s) in enumerate(zip(encoder.blocks, slopes, strict=True))
    }
    if len(slopes) == 2:
        found[2, 0] = _by_pool_before(*encoder.blocks, *slopes, w)
    return found


def _by_own_pool(block: MeanPooledBlock, s: BlockSlopes, w: Tensor) -> Tensor:
    """Return the mean derivative of a block's output by its own pooled vector, ``(B, h, h)``."""
    inner = _through_norm(block, s, w * s.scale)
    return block.norm.weight[:, None] * inner @ block.pool.weight


def _through_norm(block: MeanPooledBlock, s: BlockSlopes, w: Tensor) -> Tensor:
    """Return the weighted sum of ``(I - 11'/h - nn'/h) W S`` over cells, ``(B, h, h)``."""
    weight = block.out.weight
    mean_slope = weighted_mean(s.slope, w)
    turned = (s.normal @ weight) * s.slope
    along = (s.normal * w[..., None]).transpose(1, 2) @ turned
    return _centred(weight) * mean_slope[:, None] - along / len(weight)


def _by_pool_before(
    first: MeanPooledBlock,
    second: MeanPooledBlock,
    a: BlockSlopes,
    b: BlockSlopes,
    w: Tensor,
) -> Tensor:
    """Return the mean derivative of the second block's output by the first's pooled vector.

    The path leads through the cells between the blocks; ``a`` and ``b`` are the blocks' slopes.
    """
    n_hidden, residual = len(second.out.weight), float(second.residual)
    w = w * a.scale * b.scale
    gamma = first.norm.weight
    out_a, out_b, cell = first.out.weight, second.out.weight, second.cell.weight * gamma
    turned = (a.normal @ out_a) * a.slope
    weighted = b.slope * w[..., None]
    # The sum over cells of  W_b S_b C Gamma P_a W_a S_a,  P_a being what the first norm does.
    between = (cell - cell.mean(-1, keepdim=True)) @ out_a
    inner = between * (weighted.transpose(1, 2) @ a.slope)
    inner = inner - (weighted * (a.normal @ cell.t())).transpose(1, 2) @ turned / n_hidden
    total = out_b @ inner + residual * gamma[:, None] * _through_norm(first, a, w)
    # The second norm, P_b: centring, and the direction of each cell's own normal.
    back = ((b.normal @ out_b) * b.slope) @ cell + residual * b.normal * gamma
    back = back - back.mean(-1, keepdim=True)
    back = back - a.normal * (a.normal * back).mean(-1, keepdim=True)
    own = (b.normal * w[..., None]).transpose(1, 2) @ ((back @ out_a) * a.slope)
    through = total - total.mean(1, keepdim=True) - own / n_hidden
    return second.norm.weight[:, None] * through @ first.pool.weight


def _centred(weight: Tensor) -> Tensor:
    """Return a matrix whose columns have mean zero."""
    return weight - weight.mean(0)
