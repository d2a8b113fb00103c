from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from rich.progress import track

T = TypeVar("T")

_CELLS_IN_TWO_SECONDS = 20_000


def tracked(jobs: list[T], title: str, sizes: np.ndarray, enabled: bool) -> Iterable[T]:
    """Iterate over jobs, with a progress bar if they have cells enough to take a while."""
    return track(jobs, title, disable=not enabled or sizes.sum() < _CELLS_IN_TWO_SECONDS)
