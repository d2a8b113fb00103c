"""Linear read-out, softmax and count likelihood in one differentiable step."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data import SparseCells

_EPS = 1e-8

# Values of cells x genes worked on at once. On CPU: few enough that buffers stay in cache and are
# reused by the allocator (fresh pages cost more than the arithmetic), enough for a fast product.
_CPU_CHUNK = 1 << 21
_GPU_CHUNK = 1 << 27


class _CountLogProb(torch.autograd.Function):
    """Log-probability of counts whose mean is ``library * softmax(h W' + b)``.

    Two facts make it fast. A zero count needs neither the log-gamma functions nor ``log mu``, so
    those are taken at the stored counts only. And the matrices of cells x genes are worked through
    in chunks that stay in cache; of all of them only the mean is kept for the backward pass.
    With ``log_theta`` None the counts are Poisson. ``dtype`` is that of the three dense products;
    all else is float32.
    """

    @staticmethod
    def forward(ctx, h, weight, bias, log_theta, library, x: SparseCells, dtype) -> Tensor:
        means = []
        log_prob = torch.empty(h.shape[0], device=h.device)
        theta = None if log_theta is None else log_theta.exp()
        work = None
        for rows, stored, at, v in _chunks(x):
            mu = _product(h[rows], weight.t(), dtype).add_(bias)
            torch.softmax(mu, -1, out=mu).mul_(library[rows, None])
            means.append(mu)
            per_value = v * _take(mu, at).clamp_min(_EPS).log() - torch.lgamma(v + 1)
            if theta is None:
                dense = -library[rows]
            else:
                work = torch.empty_like(mu) if work is None else work
                log_t = torch.add(mu, theta, out=work[: len(mu)]).log_()
                dense = (theta * log_theta).sum() - log_t @ theta
                columns = x.columns[stored]
                per_value += (
                    torch.lgamma(v + _take(theta, columns))
                    - _take(torch.lgamma(theta), columns)
                    - v * _take(log_t, at)
                )
            log_prob[rows] = dense.index_add(0, x.rows[stored] - rows.start, per_value)
        ctx.save_for_backward(h, weight, log_theta, library)
        ctx.x, ctx.means, ctx.dtype = x, means, dtype
        return log_prob

    @staticmethod
    def backward(ctx, grad: Tensor):
        h, weight, log_theta, library = ctx.saved_tensors
        x = ctx.x
        grad_h, grad_weight = torch.empty_like(h), torch.zeros_like(weight)
        grad_bias = torch.zeros(weight.shape[0], device=h.device)
        grad_theta = None if log_theta is None else torch.zeros_like(log_theta)
        theta = None if log_theta is None else log_theta.exp()
        slope_work, work = torch.empty_like(ctx.means[0]), torch.empty_like(ctx.means[0])
        for (rows, stored, at, v), mu in zip(_chunks(x), ctx.means, strict=True):
            g = grad[rows, None]
            # slope = mu * d log p / d mu, the gradient before the softmax's own.
            slope, ratio = slope_work[: len(mu)], work[: len(mu)]
            if theta is None:
                torch.neg(mu, out=slope)
                at_values = v
            else:
                t = torch.add(mu, theta, out=slope)
                torch.div(mu, t, out=ratio)
                columns = x.columns[stored]
                theta_v = _take(theta, columns)
                per_value = torch.digamma(v + theta_v) - _take(torch.digamma(theta), columns)
                per_value -= v / _take(t, at)
                grad_theta.index_add_(0, columns, _take(grad, x.rows[stored]) * per_value)
                grad_theta += log_theta * g.sum()
                grad_theta += g[:, 0] @ ratio - g[:, 0] @ t.log_()
                at_values = v * (1 - _take(ratio, at))
                torch.mul(ratio, -theta, out=slope)
            slope.view(-1).index_add_(0, at, at_values)
            slope.addcmul_(mu, slope.sum(-1, keepdim=True) / library[rows, None], value=-1)
            # The upstream gradient scales rows, so it can wait until after the products.
            torch.mul(_product(slope, weight, ctx.dtype), g, out=grad_h[rows])
            grad_weight += _product(slope.t(), g * h[rows], ctx.dtype)
            grad_bias += g[:, 0] @ slope
        if grad_theta is not None:
            grad_theta *= theta
        return grad_h, grad_weight, grad_bias, grad_theta, None, None, None


def _product(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    return a @ b if dtype == torch.float32 else (a.to(dtype) @ b.to(dtype)).float()


def _take(matrix: Tensor, at: Tensor) -> Tensor:
    return matrix.view(-1).index_select(0, at)


def _chunks(x: SparseCells):
    """Iterate over ``(rows, stored values, their place in the chunk, values)``."""
    n, d = x.n_cells, x.shape[2]
    size = max(1, min(n, (_CPU_CHUNK if x.device.type == "cpu" else _GPU_CHUNK) // d))
    starts = list(range(0, n, size))
    bounds = x.indptr[torch.tensor([*starts, n], device=x.device)].tolist()
    for i, start in enumerate(starts):
        stored = slice(bounds[i], bounds[i + 1])
        at = (x.rows[stored] - start) * d + x.columns[stored]
        yield slice(start, min(start + size, n)), stored, at, x.values[stored]


def count_log_prob(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    log_theta: Tensor | None,
    library: Tensor,
    x: SparseCells,
) -> Tensor:
    """Return the log-probability of each cell's counts, summed over genes.

    Parameters
    ----------
    h
        Hidden states ``(n_cells, n_hidden)``.
    weight, bias
        Read-out to genes, ``(d, n_hidden)`` and ``(d,)``.
    log_theta
        Log inverse dispersion of each gene, ``(d,)``: negative binomial with variance
        ``mu + mu^2 / theta``. None: Poisson.
    library
        Size of each cell, ``(n_cells,)``: its expected total.
    x
        Counts.

    Returns
    -------
    ``(n_cells,)``, in nats.
    """
    device = h.device.type
    mixed = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if mixed else torch.float32
    with torch.autocast(device, enabled=False):
        return _CountLogProb.apply(h.float(), weight, bias, log_theta, library.float(), x, dtype)
