from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._errors import require_choice
from ..data import Cells, Modalities
from ..nn import MLP, CellLinear, clip, log1p, log_normalize
from ._base import GENERATORS, Generator
from ._likelihoods import LIKELIHOODS, SIZES
from ._likelihoods import likelihood as make_likelihood
from ._networks import Condition


@GENERATORS.register("cvae")
class CVAE(Generator):
    r"""Conditional variational autoencoder over cells.

    .. math:: u \sim N(0, I), \quad x \sim p(x \mid u, z)

    trained on the evidence lower bound of each cell: the log-likelihood summed over genes minus the
    Kullback-Leibler divergence summed over latent dimensions (GDE paper, App. B.3; there both are
    averaged over their own dimension, which weighs the divergence some fifty times too much). A
    sample is a draw from the likelihood, not its mean, so variances hold up.

    Parameters
    ----------
    n_output, n_latent, n_hidden
        Features of a cell, coordinates of an embedding, width of hidden layers.
    n_batch
        Number of batches; a batch has an additive effect on the hidden layer at both ends.
    likelihood
        ``"normal"`` (learned variance), ``"poisson"``, ``"nb"`` or ``"zinb"``. A model's
        ``"auto"`` is nb on counts and normal otherwise.
    size
        Of counts. ``"observed"``: a cell's expected total is its observed one, itself modelled as
        log-normal. ``"free"``: counts are modelled as they are, where totals mean nothing special.
    n_cell_latent
        Dimensions of the cell's own latent ``u``.
    n_layers
        Hidden layers after the first, in inference network and decoder.
    modalities
        Of cells of several modalities, their columns: the likelihood is then a product over those
        that the cell has.
    n_steps_kl_warmup
        Training steps over which the divergence's weight rises from 0 to 1.

    Raises
    ------
    ValueError
        If there is no such likelihood or size.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> x, w, z = torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5), torch.randn(2, 4)
    >>> generator = scgde.generators.CVAE(n_output=3, n_latent=4, n_hidden=8)
    >>> generator.loss(x, w, z).shape, generator.sample(z, 7, generator=torch.Generator()).shape
    (torch.Size([2]), torch.Size([2, 7, 3]))
    """

    accepts_sparse = True
    accepts_modalities = True

    def __init__(
        self,
        n_output: int,
        n_latent: int,
        n_hidden: int = 128,
        *,
        n_batch: int = 1,
        modalities: Modalities | None = None,
        likelihood: str = "normal",
        size: str = "observed",
        n_cell_latent: int = 16,
        n_layers: int = 1,
        n_steps_kl_warmup: int = 400,
    ):
        super().__init__()
        require_choice("likelihood", likelihood, LIKELIHOODS)
        require_choice("size", size, SIZES)
        self.n_cell_latent, self.n_steps_kl_warmup = n_cell_latent, n_steps_kl_warmup
        self.kl_weight = 1.0
        self.modalities = modalities
        n_input = n_output if modalities is None else modalities.n_columns
        self.read_cells = CellLinear(n_input, n_hidden)
        self.infer = MLP(n_hidden, n_hidden, 2 * n_cell_latent, n_layers)
        self.read_latent = nn.Linear(n_cell_latent, n_hidden)
        self.decode = MLP(n_hidden, n_hidden, n_hidden, n_layers - 1)
        # Both ends read the population's embedding and the batch through one map each.
        self.condition = Condition(n_latent, n_batch, 2 * n_hidden)
        self.register_buffer("middle", torch.zeros(n_input))
        self.likelihood = make_likelihood(likelihood, n_output, n_hidden, size, modalities)
        self.space = self.likelihood.space
        self.uses_library = self.space == "counts" and size == "observed"

    @classmethod
    def resolve(cls, options: dict, is_counts: bool) -> dict:
        """Settle ``likelihood="auto"``: nb on counts, normal otherwise."""
        chosen = options.get("likelihood", "auto")
        require_choice("likelihood", chosen, ("auto", *LIKELIHOODS))
        if chosen == "auto":
            chosen = "nb" if is_counts else "normal"
        return {**options, "likelihood": chosen}

    def initialize(self, mean: Tensor, var: Tensor, log_library: Tensor) -> None:
        """Start the likelihood at the training cells' moments."""
        self.middle[: len(mean)] = mean
        self.likelihood.initialize(mean, var, log_library)

    def on_step(self, step: int) -> None:
        """Raise the weight of the divergence."""
        self.kl_weight = min(1.0, step / max(self.n_steps_kl_warmup, 1))

    def loss(
        self,
        x: Cells,
        w: Tensor,
        z: Tensor,
        *,
        library: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        """Return the negative evidence lower bound per cell of each set, ``(B,)``, in nats."""
        if self.space == "real":
            seen = clip(x, self.middle)
        else:
            of = self.modalities
            seen = log_normalize(x, library, of) if self.uses_library else log1p(x, of)
        to_infer, to_decode = self.condition(z, batch).chunk(2, -1)
        mean, log_var = self.infer(F.silu(self.read_cells(seen) + to_infer)).float().chunk(2, -1)
        log_var = log_var.clamp(-10.0, 10.0)
        u = mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)
        divergence = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(-1)
        log_prob = self.likelihood.log_prob(self._hidden(u, to_decode), x, library)
        kl_weight = self.kl_weight if self.training else 1.0
        return (w * (kl_weight * divergence - log_prob)).sum(-1)

    @torch.no_grad()
    def sample(
        self,
        z: Tensor,
        n_cells: int,
        *,
        generator: torch.Generator | None = None,
        library: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        """Draw cells ``(B, n_cells, d)``: latents from the prior, cells from the likelihood."""
        u = torch.randn(len(z), n_cells, self.n_cell_latent, generator=generator, device=z.device)
        h = self._hidden(u, self.condition(z, batch).chunk(2, -1)[1])
        return self.likelihood.sample(h, library, generator)

    def _hidden(self, u: Tensor, condition: Tensor) -> Tensor:
        return F.silu(self.decode(F.silu(self.read_latent(u) + condition)))
