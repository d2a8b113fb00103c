"""What a decoder's last layer says about a cell: densities to train on, draws to sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._scvi import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from ..data import Cells, Modalities, SparseCells, dense
from ..nn import seeded, sparse_product
from ._counts import count_log_prob
from ._modal_likelihood import ModalLikelihood

_LOG_2PI = math.log(2 * math.pi)

# Dispersions have one value a gene and steep curvature far from it; stored divided by this, they
# learn so many times faster than weights do under the same optimiser.
_GAIN = 10.0

# A mean count beyond this is a network gone astray, not biology.
_LOG_LARGEST = 16.0


class NormalLikelihood(nn.Module):
    """Normal with a mean linear in the hidden state and a learned variance for each feature.

    On sparse cells the squared error is expanded, ``|x - Wh|^2 = |x|^2 - 2 (xW) h + h'W'W h``, so
    that the matrix of means, cells x genes, is never formed. That pays where there are more cells
    than hidden units, for ``W'W`` costs as much as the means of ``n_hidden`` cells.
    """

    space = "real"

    def __init__(self, n_output: int, n_hidden: int):
        super().__init__()
        self.mean = nn.Linear(n_hidden, n_output)
        self.raw_log_var = nn.Parameter(torch.zeros(n_output))

    @property
    def log_var(self) -> Tensor:
        """Log variance of each feature, ``(d,)``."""
        return (_GAIN * self.raw_log_var).clamp(-12.0, 12.0)

    def initialize(self, mean: Tensor, var: Tensor, log_library: Tensor) -> None:
        """Start at the training cells' mean and variance."""
        self.mean.bias.data.copy_(mean)
        self.raw_log_var.data.copy_(torch.log(var.clamp_min(1e-4)) / _GAIN)

    def log_prob(self, h: Tensor, x: Cells, library: Tensor | None = None) -> Tensor:
        """Return the log-density of each cell, ``(B, m)``, in nats of the standardised features."""
        log_var = self.log_var
        precision = torch.exp(-log_var)
        constant = log_var.sum() + len(log_var) * _LOG_2PI
        sparse = isinstance(x, SparseCells) and x.device.type == "cpu"
        if sparse and x.n_cells > 2 * h.shape[-1]:
            error = self._sparse_error(h.flatten(0, 1).float(), x, precision).view(h.shape[:2])
        else:
            error = (dense(x) - self.mean(h)).float().square().mul(precision).sum(-1)
        return -0.5 * (error + constant)

    def _sparse_error(self, h: Tensor, x: SparseCells, precision: Tensor) -> Tensor:
        weight, bias = self.mean.weight, self.mean.bias
        scaled = precision[:, None] * torch.cat([weight, bias[:, None]], 1)
        h1 = F.pad(h, (0, 1), value=1.0)
        gram = torch.cat([weight, bias[:, None]], 1).t() @ scaled
        squares = x.values.square() * precision[x.columns.long()]
        own = torch.zeros(x.n_cells).index_add(0, x.rows, squares)
        return own + ((h1 @ gram - 2 * sparse_product(x, scaled)) * h1).sum(-1)

    def sample(self, h: Tensor, library: None, generator: torch.Generator | None) -> Tensor:
        """Draw cells ``(B, m, d)``."""
        mean = self.mean(h)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return mean + noise * torch.exp(0.5 * self.log_var)


class CountLikelihood(nn.Module):
    """Counts of a cell given its size; the size itself is log-normal given the hidden state.

    ``mu = library * softmax(Wh + b)``. Modelling the size makes the generator complete: cells can
    be drawn of any population, observed or not. With ``size="free"`` a cell has no size:
    ``mu = exp(Wh + b)``.

    Parameters
    ----------
    kind
        ``"poisson"``; ``"nb"``, negative binomial with a learned dispersion for each gene;
        ``"zinb"``, the same with zero inflation linear in the hidden state.
    size
        ``"observed"`` or ``"free"``.
    """

    space = "counts"

    def __init__(self, n_output: int, n_hidden: int, kind: str, size: str = "observed"):
        super().__init__()
        self.kind, self.sized = kind, size == "observed"
        self.scale = nn.Linear(n_hidden, n_output)
        if self.sized:
            self.library = nn.Linear(n_hidden, 1)
            self.library_log_sd = nn.Parameter(torch.zeros(()))
        if kind != "poisson":
            self.raw_log_theta = nn.Parameter(torch.zeros(n_output))
        if kind == "zinb":
            self.dropout = nn.Linear(n_hidden, n_output)
            nn.init.constant_(self.dropout.bias, -3.0)

    def initialize(self, mean: Tensor, var: Tensor, log_library: Tensor) -> None:
        """Start at the training cells' mean composition, dispersion by moments, and sizes."""
        if self.kind != "poisson":
            theta = mean.square() / (var - mean).clamp_min(1e-2 * mean).clamp_min(1e-6)
            self.raw_log_theta.data.copy_(theta.log().clamp(-3.0, 4.0) / _GAIN)
        self.scale.bias.data.copy_(torch.log(mean + 1e-3 * mean.mean()))
        if not self.sized:
            return
        self.library.bias.data.fill_(float(log_library[0]))
        self.library_log_sd.data.fill_(math.log(max(float(log_library[1]), 0.05)))

    def _log_theta(self) -> Tensor | None:
        return None if self.kind == "poisson" else (_GAIN * self.raw_log_theta).clamp(-8.0, 8.0)

    def _sizes(self, h: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(h.device.type, enabled=False):  # a log size needs its digits
            return self.library(h.float())[..., 0], self.library_log_sd.clamp_min(-5.0)

    def log_prob(self, h: Tensor, x: Cells, library: Tensor | None) -> Tensor:
        """Return the log-probability of each cell's counts and size, ``(B, m)``, in nats."""
        if not self.sized:
            return self._distribution(h, None).log_prob(dense(x)).sum(-1)
        mean, log_sd = self._sizes(h)
        z = (library.log() - mean) * torch.exp(-log_sd)
        of_size = -0.5 * z.square() - log_sd - 0.5 * _LOG_2PI
        if self.kind == "zinb":
            counts = self._distribution(h, library).log_prob(dense(x)).sum(-1)
        else:
            counts = count_log_prob(
                h.flatten(0, 1),
                self.scale.weight,
                self.scale.bias,
                self._log_theta(),
                library.flatten(),
                x if isinstance(x, SparseCells) else _as_sparse(x),
            ).view(h.shape[:2])
        return counts + of_size

    def _distribution(self, h: Tensor, library: Tensor | None):
        with torch.autocast(h.device.type, enabled=False):
            return self._float_distribution(h.float(), library)

    def _float_distribution(self, h: Tensor, library: Tensor | None):
        if self.sized:
            mu = library[..., None] * torch.softmax(self.scale(h), -1)
        else:
            mu = self.scale(h).clamp_max(_LOG_LARGEST).exp()
        if self.kind == "poisson":
            return Poisson(mu, validate_args=False)
        theta = self._log_theta().exp()
        if self.kind == "nb":
            return NegativeBinomial(mu=mu, theta=theta, validate_args=False)
        return ZeroInflatedNegativeBinomial(
            mu=mu, theta=theta, zi_logits=self.dropout(h), validate_args=False
        )

    def sample(
        self, h: Tensor, library: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """Draw counts ``(B, m, d)``, of cells whose sizes are drawn first unless they are given."""
        if library is None and self.sized:
            mean, log_sd = self._sizes(h)
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            library = torch.exp(mean + noise * torch.exp(log_sd))
        # The distributions draw from torch's global state: lend it the generator's next seed.
        seed = torch.randint(1 << 62, (), generator=generator, device=h.device).item()
        with seeded(seed):
            return self._distribution(h, library).sample()


def _as_sparse(x: Tensor) -> SparseCells:
    rows = x.flatten(0, 1)
    cell, column = rows.nonzero(as_tuple=True)
    indptr = F.pad(torch.bincount(cell, minlength=len(rows)).cumsum(0), (1, 0))
    return SparseCells(indptr, column, rows[cell, column], tuple(x.shape))


LIKELIHOODS = ("normal", "poisson", "nb", "zinb")
SIZES = ("observed", "free")


def likelihood(
    kind: str,
    n_output: int,
    n_hidden: int,
    size: str = "observed",
    modalities: Modalities | None = None,
) -> NormalLikelihood | CountLikelihood | ModalLikelihood:
    """Return the likelihood called ``kind``, one of ``LIKELIHOODS``; one for each modality."""
    if modalities is not None:
        each = [likelihood(kind, n, n_hidden, size) for n in modalities.sizes]
        return ModalLikelihood(each, modalities)
    if kind == "normal":
        return NormalLikelihood(n_output, n_hidden)
    return CountLikelihood(n_output, n_hidden, kind, size)
