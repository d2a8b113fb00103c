"""The derivative of an embedding by the weights of its cells: how much each cell counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..data import Cells
from ..nn import weighted_mean
from ._base import Encoder
from ._jacobians import Jacobians


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

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.ResNetGNNEncoder(3, 4, n_hidden=8)
    >>> psi = scgde.encoders.influence(encoder, x, w)
    >>> psi.shape, bool((psi.mean(1).abs() < 1e-4).all())
    (torch.Size([2, 5, 4]), True)
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
    """Return matrix ``(n_latent, h)`` and intercept of a read-out of pooled vectors ``(B, h)``.

    Parameters
    ----------
    readout
        The linear read-out of an encoder.
    pooled
        Pooled vectors ``(B, h)``, whose type and device count.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> matrix, intercept = scgde.encoders.linear_map(torch.nn.Linear(8, 4), torch.zeros(2, 8))
    >>> matrix.shape, intercept.shape
    (torch.Size([4, 8]), torch.Size([4]))
    """
    offset = readout(torch.zeros_like(pooled[0]))
    axes = torch.eye(pooled.shape[-1], dtype=pooled.dtype, device=pooled.device)
    return (readout(axes) - offset).t(), offset


def sensitivities(readout: Tensor, jacobians: Jacobians) -> list[Tensor]:
    r"""Return the total derivative of the embedding by every layer's pooled vector.

    .. math:: A_K = R, \quad A_l = \sum_{k > l} A_k J_{kl}

    Parameters
    ----------
    readout
        ``R (n_latent, h)``.
    jacobians
        As from :func:`mean_jacobians`.

    Returns
    -------
    ``(B or 1, n_latent, h)`` for every layer.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.ResNetGNNEncoder(3, 4, n_hidden=8)
    >>> chunks = [(encoder.embed(x), w)]
    >>> states, pools = encoder.layers(*chunks[0])
    >>> jacobians = scgde.encoders.mean_jacobians(encoder, lambda size=None: chunks, pools)
    >>> matrix, _ = scgde.encoders.linear_map(encoder.readout, pools[-1])
    >>> slopes = scgde.encoders.sensitivities(matrix, jacobians)
    >>> [tuple(slope.shape) for slope in slopes]
    [(2, 4, 8), (2, 4, 8), (1, 4, 8)]
    """
    last = max((later for later, _ in jacobians), default=0)
    found = {last: readout[None]}
    for layer in reversed(range(last)):
        found[layer] = sum(found[k] @ jacobians[k, layer] for k in range(layer + 1, last + 1))
    return [found[layer] for layer in range(last + 1)]


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

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)
    >>> encoder = scgde.encoders.ResNetGNNEncoder(3, 4, n_hidden=8)
    >>> chunks = [(encoder.embed(x), w)]
    >>> states, pools = encoder.layers(*chunks[0])
    >>> jacobians = scgde.encoders.mean_jacobians(encoder, lambda size=None: chunks, pools)
    >>> matrix, _ = scgde.encoders.linear_map(encoder.readout, pools[-1])
    >>> slopes = scgde.encoders.sensitivities(matrix, jacobians)
    >>> psi = scgde.encoders.pooled_influence(states, pools, slopes)
    >>> torch.allclose(psi, scgde.encoders.influence(encoder, x, w), atol=1e-4)
    True
    """
    return sum(
        (h - p[:, None]) @ a.transpose(1, 2)
        for h, p, a in zip(states, pools, sensitivity, strict=True)
    )
