from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch for a while; on leaving, every generator is as it was.

    Parameters
    ----------
    seed
        Seed of the CPU's generator, and of every GPU's where CUDA is in use already.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> with scgde.nn.seeded(0):
    ...     first = torch.rand(1)
    >>> with scgde.nn.seeded(0):
    ...     torch.equal(first, torch.rand(1))
    True
    """
    seed = int(seed)  # torch takes no integer of numpy
    # torch.manual_seed would also reseed GPUs that are not in use yet, and would not undo that.
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        yield
