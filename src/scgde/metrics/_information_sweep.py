from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from rich.progress import track

from ._mutual_information import mutual_information


def information_sweep(
    x: np.ndarray | pd.DataFrame,
    y: np.ndarray | pd.DataFrame,
    ks: Iterable[int] = (1, 3, 5, 10, 20),
    *,
    enable_progress_bar: bool = False,
    **kwargs,
) -> pd.DataFrame:
    """Estimate mutual information for several numbers of neighbours.

    Few neighbours: less bias, more spread. An estimate that falls steadily as k grows is biased
    towards zero at all of them.

    Parameters
    ----------
    x, y
        As in :func:`mutual_information`.
    ks
        Numbers of neighbours.
    enable_progress_bar
        Show progress.
    kwargs
        Further arguments of :func:`mutual_information`; its method must have neighbours.

    Returns
    -------
    DataFrame indexed by ``k``: ``estimate``, ``low``, ``high`` in bits.

    Raises
    ------
    TypeError, ValueError
        As :func:`mutual_information`, or if ``ks`` is empty or the method has no neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.random.default_rng(0).normal(size=(2, 200, 1))
    >>> information_sweep(x, x + y, ks=(3, 10)).shape
    (2, 3)
    """
    ks = list(ks)
    if not ks:
        raise ValueError("ks is empty; give at least one number of neighbours, as (3, 10).")
    if kwargs.get("method", "ksg") not in ("ksg", "latent"):
        raise ValueError(
            f"method={kwargs['method']!r} has no neighbours to sweep. Use 'ksg' or 'latent'."
        )
    results = [
        mutual_information(x, y, k=k, **kwargs)
        for k in track(ks, "Neighbours", disable=not enable_progress_bar)
    ]
    return pd.DataFrame(
        {
            "estimate": [r.bits for r in results],
            "low": [r.low for r in results],
            "high": [r.high for r in results],
        },
        index=pd.Index(ks, name="k"),
    )
