"""Encoders that the first latent of a DPA is compared with: plain, stacked over seeds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from scgde.nn import StackedLinear, seeded

Encode = Callable[[Tensor], Tensor]


class Encoders(NamedTuple):
    """Encoders ``(n, d) -> (n, K)`` of several seeds; ``kl``: nats per cell and seed, or NaN."""

    encode: list[Encode]
    kl: np.ndarray


class Mlp(nn.Module):
    """Networks of E members, ``(E, n, n_in) -> (E, n, n_out)``."""

    def __init__(self, n_members: int, n_in: int, n_out: int, n_hidden: int, n_layers: int = 4):
        super().__init__()
        widths = [n_in, *[n_hidden] * (n_layers - 1), n_out]
        self.layers = nn.ModuleList(StackedLinear(n_members, a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = nn.functional.silu(layer(x))
        return self.layers[-1](x)


# Weights of: squared error (sum over features, per cell), KL (sum over latents, per cell), total
# correlation. "as published" averages the squared error over features and sums the KL.
_VAES = {
    "VAE": (1.0, 1.0, 0.0),
    "beta-VAE (4)": (1.0, 4.0, 0.0),
    "beta-TCVAE (4)": (1.0, 1.0, 3.0),
    "VAE, as published": (None, 1.0, 0.0),
    "beta-VAE (4), as published": (None, 4.0, 0.0),
}
BASELINES = ("PCA", "random encoder", "AE", "nested AE", *_VAES)


def fit_baseline(
    kind: str,
    x: np.ndarray,
    *,
    n_members: int,
    n_latent: int = 2,
    n_hidden: int = 100,
    n_steps: int = 3_000,
    batch_size: int = 128,
    lr: float = 2e-3,
    seed: int = 0,
) -> Encoders:
    """Train encoders of one kind on ``x (n, d)``, each member on another 80 % of the cells."""
    nothing = np.full(n_members, np.nan)
    if kind == "PCA":
        return Encoders([_linear(PCA(n_latent).fit(x))] * n_members, nothing)
    d = x.shape[1]
    is_vae = kind in _VAES
    # As the DPA: centred, and divided by one number.
    loc, scale = torch.from_numpy(x.mean(0)), float(np.sqrt(x.var(0).mean()))
    with seeded(seed):
        encoder = Mlp(n_members, d, n_latent * (1 + is_vae), n_hidden)
        decoder = Mlp(n_members, n_latent, d, n_hidden)
    encode = [_member(encoder, e, n_members, n_latent, loc, scale) for e in range(n_members)]
    if kind == "random encoder":
        return Encoders(encode, nothing)
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(len(x))[: int(0.8 * len(x))] for _ in range(n_members)])
    data = (torch.from_numpy(x) - loc) / scale
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=n_steps)
    kls = []
    with seeded(seed):
        for step in range(n_steps):
            picks = rng.integers(rows.shape[1], size=(n_members, batch_size))
            batch = data[torch.from_numpy(np.take_along_axis(rows, picks, 1))]
            if is_vae:
                loss, kl = _vae_loss(kind, encoder, decoder, batch, n_latent, rows.shape[1])
                if step >= n_steps - 100:
                    kls.append(kl.numpy())
            else:
                loss = _ae_loss(encoder, decoder, batch, nested=kind == "nested AE")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return Encoders(encode, np.mean(kls, 0) if is_vae else nothing)


def _ae_loss(encoder: Mlp, decoder: Mlp, x: Tensor, nested: bool) -> Tensor:
    """Squared error; nested: summed over levels k = 1..K, of the decoder of the first k latents."""
    z = encoder(x)
    n_latent = z.shape[-1]
    total = 0.0
    for k in range(1 if nested else n_latent, n_latent + 1):
        kept = z * (torch.arange(n_latent) < k)
        total = total + (decoder(kept) - x).square().sum(-1).mean(1).sum()
    return total


def _vae_loss(
    kind: str, encoder: Mlp, decoder: Mlp, x: Tensor, n_latent: int, n_cells: int
) -> tuple[Tensor, Tensor]:
    """Return the loss, summed over members, and each one's KL in nats per cell."""
    on_error, on_kl, on_correlation = _VAES[kind]
    mean, log_var = encoder(x).split(n_latent, -1)
    log_var = log_var.clamp(-12, 6)
    z = mean + torch.randn_like(mean) * (log_var / 2).exp()
    squares = (decoder(z) - x).square()
    error = squares.mean(-1) if on_error is None else on_error * squares.sum(-1)
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
    loss = (error + on_kl * kl).mean(1).sum()
    if on_correlation:
        loss = loss + on_correlation * _total_correlation(z, mean, log_var, n_cells).sum()
    return loss, kl.mean(1).detach()


def _total_correlation(z: Tensor, mean: Tensor, log_var: Tensor, n_cells: int) -> Tensor:
    """Estimate it by minibatch weights (Chen et al., arXiv 1802.04942, Eq. S4), ``(E,)``."""
    squared = (z[:, :, None] - mean[:, None]).square() / log_var[:, None].exp()
    log_q = -0.5 * (squared + log_var[:, None] + np.log(2 * np.pi))  # (E, B, B, K)
    weight = np.log(z.shape[1] * n_cells)
    joint = log_q.sum(-1).logsumexp(2) - weight
    single = (log_q.logsumexp(2) - weight).sum(-1)
    return (joint - single).mean(1)


def _linear(pca: PCA) -> Encode:
    axes = torch.from_numpy(pca.components_.T.astype(np.float32))
    center = torch.from_numpy(pca.mean_.astype(np.float32))
    return lambda x: (x - center) @ axes


def _member(
    encoder: Mlp, member: int, n_members: int, n_latent: int, loc: Tensor, scale: float
) -> Encode:
    def encode(x: Tensor) -> Tensor:
        every = ((x - loc) / scale).expand(n_members, -1, -1)
        return encoder(every)[member, :, :n_latent]

    return encode
