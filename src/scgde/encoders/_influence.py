"""The derivative of an embedding by the weights of its cells: how much each cell counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..data import Cells
from ..nn import weighted_mean
from ._base import Encoder, PooledEncoder

Jacobians = list[list[Tensor]]


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


def linear_map(readout: nn.Module, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return matrix ``(n_latent, width)`` and intercept of a linear read-out."""
    offset = readout(like.new_zeros(width))
    return (readout(torch.eye(width, dtype=like.dtype, device=like.device)) - offset).t(), offset


def pooled_jacobians(
    encoder: PooledEncoder, x: Cells, w: Tensor, pools: Sequence[Tensor]
) -> Jacobians:
    r"""Return how pooled vectors move the hidden states after them, on average over cells.

    .. math:: J_{kl} = \sum_j w_j \frac{\partial h^k_j}{\partial p_l}, \quad l < k,

    the pooled vectors of the other layers held fixed.

    Parameters
    ----------
    encoder
        A pooled encoder.
    x, w
        Cells ``(B, m, n_input)``, or a sample of them, and weights ``(B, m)`` that sum to one.
    pools
        Pooled vector ``(B, h)`` of every layer.

    Returns
    -------
    For each layer k after the first, in a list, ``(B, h_k, h_l)`` for every l < k.
    """
    leaves = [p.detach().clone().requires_grad_() for p in pools[: encoder.n_updates]]
    jacobians: Jacobians = []
    with torch.no_grad():
        h, extra = encoder.embed(x)
    with torch.enable_grad():
        for block, leaf in enumerate(leaves):
            h = encoder.update(block, h, leaf, extra)
            pooled = weighted_mean(h, w)
            axes = torch.eye(pooled.shape[-1], dtype=pooled.dtype, device=pooled.device)
            rows = torch.autograd.grad(
                pooled,
                leaves[: block + 1],
                axes[:, None].expand(-1, len(pooled), -1),
                retain_graph=block + 1 < len(leaves),
                is_grads_batched=True,
            )
            jacobians.append([g.transpose(0, 1) for g in rows])
    return jacobians


def sensitivities(readout: Tensor, jacobians: Jacobians) -> list[Tensor]:
    r"""Return the total derivative of the embedding by every layer's pooled vector.

    .. math:: A_K = R, \quad A_l = \sum_{k > l} A_k J_{kl}

    Parameters
    ----------
    readout
        ``R (n_latent, h)``.
    jacobians
        As from :func:`pooled_jacobians`.

    Returns
    -------
    ``(B, n_latent, h)`` for every layer.
    """
    n_layers = len(jacobians) + 1
    found: list[Tensor] = [readout[None]]
    for layer in reversed(range(n_layers - 1)):
        # found holds the layers after this one, in order.
        after = zip(found, (of[layer] for of in jacobians[layer:]), strict=True)
        found.insert(0, sum(a @ j for a, j in after))
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
        As from :func:`sensitivities`.

    Returns
    -------
    ``(B, m, n_latent)``.
    """
    return sum(
        (h - p[:, None]) @ a.transpose(1, 2)
        for h, p, a in zip(states, pools, sensitivity, strict=True)
    )
