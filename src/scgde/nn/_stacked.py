from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """Linear layers of several networks of one shape, as one batched product.

    Member ``e`` maps ``x[e]`` by its own weight and bias, so a step of all of them costs few calls
    however many there are.

    Parameters
    ----------
    n_members
        Networks E.
    n_in, n_out
        Inputs and outputs of each.
    bias
        Whether there is one.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> scgde.nn.StackedLinear(n_members=4, n_in=3, n_out=2)(torch.ones(4, 10, 3)).shape
    torch.Size([4, 10, 2])
    """

    def __init__(self, n_members: int, n_in: int, n_out: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_members, n_in, n_out))
        bound = 1 / math.sqrt(n_in)
        nn.init.uniform_(self.weight, -bound, bound)
        self.bias = None
        if bias:
            self.bias = nn.Parameter(torch.empty(n_members, 1, n_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x (E, n, n_in)`` to ``(E, n, n_out)``."""
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)
