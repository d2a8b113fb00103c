"""The derivative of an embedding by the weights of its cells: how much each cell counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..data import Cells
from ..nn import weighted_mean
from ._base import Encoder, PooledEncoder


def influence(encoder: Encoder, x: Cells, w: Tensor) -> Tensor:
    r"""Return the empirical influence of every cell on its set's embedding, by autograd.

    .. math:: \psi_i = \frac{d}{d\epsilon}\, z\big((1 - \epsilon) w + \epsilon \delta_i\big)
        \Big|_{\epsilon = 0} = \frac{\partial z}{\partial w_i}
        - \sum_j w_j \frac{\partial z}{\partial w_j}

    (Hampel 1974; Efron 1982, the infinitesimal jackknife). One backward pass a coordinate; pooled
    encoders have :func:`pooled_influence`, which gives the same from one pass forward.

    Parameters
    ----------
    encoder
        Any encoder whose output has a derivative by the weights.
    x, w
        Cells ``(B, m, n_input)`` and weights ``(B, m)`` that sum to one in each row.

    Returns
    -------
    ``(B, m, n_latent)``. Under the weights its mean is zero.
    """
    with torch.enable_grad():
        w = w.detach().clone().requires_grad_()
        z = encoder(x, w).sum(0)
        gradients = [
            torch.autograd.grad(coordinate, w, retain_graph=i + 1 < len(z))[0]
            for i, coordinate in enumerate(z)
        ]
    by_weight = torch.stack(gradients, -1)
    return by_weight - weighted_mean(by_weight, w.detach())[:, None]


def linear_map(readout: nn.Module, pooled: Tensor) -> tuple[Tensor, Tensor]:
    """Return matrix ``(n_latent, h)`` and intercept of a read-out of pooled vectors ``(B, h)``."""
    offset = readout(torch.zeros_like(pooled[0]))
    axes = torch.eye(pooled.shape[-1], dtype=pooled.dtype, device=pooled.device)
    return (readout(axes) - offset).t(), offset


class Tape:
    r"""Cells' updates, recorded so that they can be differentiated by the pooled vectors.

    The hidden states of layer k are a function of the cell and of the pooled vectors
    :math:`p_0, \dots, p_{k-1}`; so is their mean over the cells recorded, which stand for all.

    Parameters
    ----------
    encoder
        A pooled encoder.
    chunks
        Pieces ``(x: (B, c, n_input), w: (B, c))`` of the cells, or of a sample of them, whose
        weights sum to one over all pieces. Time is best with some 64 cells a piece.
    pools
        Pooled vector ``(B, h)`` of every layer.
    """

    def __init__(
        self,
        encoder: PooledEncoder,
        chunks: Iterable[tuple[Cells, Tensor]],
        pools: Sequence[Tensor],
    ):
        self.widths = [p.shape[-1] for p in pools]
        self.leaves = [p.detach().clone().requires_grad_() for p in pools[:-1]]
        self.n_sets = len(pools[-1])
        self.parts: list[list[Tensor]] = []
        for x, w in chunks if self.leaves else ():
            with torch.no_grad():
                h, extra = encoder.embed(x)
            means = []
            with torch.enable_grad():
                for block, leaf in enumerate(self.leaves):
                    h = encoder.update(block, h, leaf, extra)
                    means.append(weighted_mean(h, w))
            self.parts.append(means)

    def pull(self, layer: int, cotangents: dict[int, Tensor]) -> Tensor:
        """Return the derivative of linear functions of later pooled vectors by an earlier one.

        Parameters
        ----------
        layer
            The pooled vector by which to differentiate, the others held fixed.
        cotangents
            For each later layer that counts, the linear functions ``(B, n, h)``.

        Returns
        -------
        ``(B, n, h)``.
        """
        rows = [c.transpose(0, 1) for c in cotangents.values()]
        total = torch.zeros(*rows[0].shape[:2], self.widths[layer], device=rows[0].device)
        for means in self.parts:
            (gradient,) = torch.autograd.grad(
                [means[k - 1] for k in cotangents],
                self.leaves[layer],
                rows,
                retain_graph=True,
                is_grads_batched=True,
                allow_unused=True,
            )
            total = total if gradient is None else total + gradient
        return total.transpose(0, 1)

    def sensitivities(self, readout: Tensor) -> list[Tensor]:
        r"""Return the total derivative of the embedding by every layer's pooled vector.

        .. math:: A_K = R, \quad A_l = \sum_{k > l} A_k J_{kl}, \quad
            J_{kl} = \sum_j w_j \frac{\partial h^k_j}{\partial p_l}

        Parameters
        ----------
        readout
            ``R (n_latent, h)``.

        Returns
        -------
        ``(B, n_latent, h)`` for every layer.
        """
        last = len(self.leaves)
        found = {last: readout.expand(self.n_sets, -1, -1)}
        for layer in reversed(range(last)):
            found[layer] = self.pull(layer, dict(found))
        return [found[layer] for layer in range(last + 1)]

    def jacobians(self) -> dict[tuple[int, int], Tensor]:
        """Return the mean Jacobians ``J_kl (B, h_k, h_l)`` themselves, by ``(k, l)``, l < k."""
        found = {}
        for later in range(1, len(self.widths)):
            axes = torch.eye(self.widths[later], device=self.leaves[0].device)
            for layer in range(later):
                found[later, layer] = self.pull(layer, {later: axes.expand(self.n_sets, -1, -1)})
        return found


def pooled_influence(
    states: Sequence[Tensor], pools: Sequence[Tensor], sensitivity: Sequence[Tensor]
) -> Tensor:
    r"""Return cells' influence from their hidden states, with no backward pass over the cells.

    .. math:: \psi_i = \sum_k A_k (h^k_i - p_k)

    Parameters
    ----------
    states
        Hidden states ``(B, m, h)`` of every layer.
    pools
        Pooled vectors ``(B, h)``, of the whole population.
    sensitivity
        As from :meth:`Tape.sensitivities`.

    Returns
    -------
    ``(B, m, n_latent)``.
    """
    return sum(
        (h - p[:, None]) @ a.transpose(1, 2)
        for h, p, a in zip(states, pools, sensitivity, strict=True)
    )
