from __future__ import annotations

import torch
from torch import Tensor, nn

from ._gde import GDEModule

_EPS = 1e-6


class ShiftHead(nn.Module):
    r"""An embedding's shift from the control's embedding and the features of what was perturbed.

    .. math:: s(F, z_0) = U [ (\sum_a A f_a) \odot (1 + B z_0) ] + V \sum_{a<b} C f_a \odot C f_b

    over the parts a of a combination: pairwise interactions of features with the control's
    embedding (GDE paper, Sec. 6.4) and of parts with one another. There is no bias, so no parts
    (features all zero) give a shift of exactly zero.

    Parameters
    ----------
    n_features, n_latent, n_hidden
        Features of a part, coordinates of an embedding, width of the products.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> head = scgde.module.ShiftHead(n_features=3, n_latent=4, n_hidden=8)
    >>> features, control = torch.zeros(2, 1, 3), torch.randn(2, 4)  # no parts, no shift
    >>> head(features, control).abs().max().item()
    0.0
    """

    def __init__(self, n_features: int, n_latent: int, n_hidden: int = 64):
        super().__init__()
        self.read_features = nn.Linear(n_features, n_hidden, bias=False)
        self.read_control = nn.Linear(n_latent, n_hidden, bias=False)
        self.read_pair = nn.Linear(n_features, n_hidden, bias=False)
        self.main = nn.Linear(n_hidden, n_latent, bias=False)
        self.interaction = nn.Linear(n_hidden, n_latent, bias=False)

    def forward(self, features: Tensor, control: Tensor) -> Tensor:
        """Return shifts ``(B, n_latent)``.

        Parameters
        ----------
        features
            Of each part, ``(B, n_parts, n_features)``; zero where there are fewer parts.
        control
            Embedding of each one's control, ``(B, n_latent)``.
        """
        main = self.read_features(features.sum(1)) * (1 + self.read_control(control))
        each = self.read_pair(features)
        pairs = (each.sum(1).square() - each.square().sum(1)) / 2
        return self.main(main) + self.interaction(pairs)


class PerturbationModule(GDEModule):
    """A GDE module whose embeddings are trained to shift predictably under perturbations.

    Beside the generator's loss: the shift of a population's embedding from its control's is
    predicted from features of the perturbation, and the shift of mean expression from both, by one
    linear map. The first squared error is relative to the variance of shifts in the batch, the
    second to the mean square of the shifts of means.

    Parameters
    ----------
    n_features, encoder, generator, n_latent, *args, **options
        As of :class:`GDEModule`.
    n_perturbation_features
        Features of a part of a perturbation.
    shift_weight
        Weight of these terms beside the generator's loss per feature.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> module = scgde.module.PerturbationModule(
    ...     3, "resnet_gnn", "cvae", n_latent=4, n_hidden=8, n_perturbation_features=2
    ... )
    >>> module.encode(torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        n_features: int,
        encoder: str,
        generator: str,
        n_latent: int,
        *args: object,
        n_perturbation_features: int,
        shift_weight: float = 1.0,
        **options: object,
    ):
        super().__init__(n_features, encoder, generator, n_latent, *args, **options)
        self.shift_head = ShiftHead(n_perturbation_features, n_latent)
        self.mean_head = nn.Linear(n_latent, n_features, bias=False)
        self.shift_weight = shift_weight
        self.features = self.control = self.known = self.mean_shift = torch.empty(0)

    def set_targets(
        self, features: Tensor, control: Tensor, known: Tensor, mean_shift: Tensor
    ) -> None:
        """Say what is known of the P populations of the training data.

        Parameters
        ----------
        features
            Of their parts, ``(P, n_parts, n_perturbation_features)``; zero for no part.
        control
            Number of each one's control population, ``(P,)``.
        known
            Whether a population is a perturbed one whose parts all have features, ``(P,)``.
        mean_shift
            Of each feature from the control, ``(P, d)``.
        """
        scale = mean_shift[known].square().mean().sqrt().clamp_min(_EPS)
        self.features, self.control, self.known = features, control, known
        self.mean_shift = mean_shift / scale

    def auxiliary_losses(self, z: Tensor, batch: dict) -> dict[str, tuple[float, Tensor]]:
        """Return errors of the shifts of embeddings and of means, relative to their size."""
        losses = super().auxiliary_losses(z, batch)
        population = batch["population"].cpu()
        is_control = population[None] == self.control[population][:, None]
        used = self.known[population] & is_control.any(1)
        if not used.any():
            return losses
        population = population[used]
        control = z[is_control[used].float().argmax(1).to(z.device)]
        shift = z[used.to(z.device)] - control
        predicted = self.shift_head(self.features[population].to(z.device), control)
        # Relative to how shifts differ, or shrinking all of them would be the cheapest way; and so
        # would be a control far from all else, were what they have in common part of their size.
        varying = shift - shift.mean(0) if len(shift) > 1 else shift
        size = varying.square().mean().clamp_min(_EPS)
        target = self.mean_shift[population].to(z.device)
        of_means = (self.mean_head(s) - target for s in (shift, predicted))
        losses["shift_loss"] = (self.shift_weight, (predicted - shift).square().mean() / size)
        losses["mean_shift_loss"] = (
            self.shift_weight,
            sum(error.square().mean() for error in of_means) / 2,
        )
        return losses
