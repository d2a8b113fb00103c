from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from rich.progress import track
from scipy.stats import norm

from .._errors import require_choice, require_counts, require_zero_or_more
from ..stats import permutation_p_values
from ._gaussian_information import GaussianInformation
from ._infonce import InfoNCE
from ._ksg import KSG
from ._latent_information import LatentInformation
from ._pairs import Normalize, checked_pairs, normalized, require_level

Method = Literal["ksg", "latent", "infonce", "gaussian"]
_MIN_POINTS = {"ksg": 3, "latent": 30, "infonce": 30, "gaussian": 10}


class Estimator(Protocol):
    """Mutual information of pairs that it was built on; all values in bits."""

    def pointwise(self) -> np.ndarray:
        """Return a value for each pair; their mean is the estimate."""

    def shuffled(self, order: np.ndarray) -> float:
        """Return the estimate of x[i] with y[order[i]]."""

    def leave_one_out(self) -> np.ndarray:
        """Return the estimate without each pair in turn, ``(n,)``."""


@dataclass(frozen=True, eq=False)
class MutualInformation:
    """An estimate of mutual information, in bits.

    Parameters
    ----------
    bits
        The estimate. Not cut at zero: of independent sides about half of the estimates are below.
    pointwise
        Each pair's part, ``(n,)``; their mean is ``bits``.
    low, high, standard_error
        Interval and standard error over pairs; not a number where none was asked for. They know
        the spread over samples, not the bias of the estimator.
    p_value
        ``(k + 1) / (B + 1)`` of independence, k of B shuffles being as large; not a number without
        shuffles.
    null
        Estimates of the shuffled pairs, ``(B,)``.
    n
        Pairs.
    method, k, normalize, level
        As given; ``normalize`` is ``"none"`` for ``None``, ``k`` is 0 where the method has none.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 1))
    >>> result = scgde.metrics.mutual_information(x, x + rng.normal(size=(200, 1)), n_shuffles=19)
    >>> bool(result.low < result.bits < result.high), result.p_value
    (True, 0.05)
    """

    bits: float
    pointwise: np.ndarray
    low: float
    high: float
    standard_error: float
    p_value: float
    null: np.ndarray
    n: int
    method: str
    k: int
    normalize: str
    level: float

    def to_series(self) -> pd.Series:
        """Return everything but the arrays, the estimate being called ``estimate``."""
        return pd.Series(
            {
                "method": self.method,
                "k": self.k,
                "normalize": self.normalize,
                "n": self.n,
                "estimate": self.bits,
                "low": self.low,
                "high": self.high,
                "standard_error": self.standard_error,
                "p_value": self.p_value,
            }
        )

    def __repr__(self) -> str:
        text = f"{self.bits:.2f} bits"
        if np.isfinite(self.low):
            text += f" ({self.low:.2f} to {self.high:.2f}, {self.level:.0%})"
        if len(self.null):
            text += f", p = {self.p_value:.2g} against {len(self.null)} shuffles"
        neighbors = f", k={self.k}" if self.k else ""
        return (
            f"MutualInformation({text}; {self.method}{neighbors}, "
            f"normalize={self.normalize}, {self.n:,} pairs)"
        )


def mutual_information(
    x: np.ndarray | pd.DataFrame,
    y: np.ndarray | pd.DataFrame,
    *,
    method: Method = "ksg",
    k: int = 3,
    normalize: Normalize = "whiten",
    n_shuffles: int = 0,
    interval: Literal["jackknife"] | None = "jackknife",
    level: float = 0.95,
    seed: int = 0,
    enable_progress_bar: bool = False,
) -> MutualInformation:
    """Estimate the mutual information of paired points, in bits.

    Parameters
    ----------
    x, y
        ``(n, p)`` and ``(n, q)``; row i of x and row i of y are a pair. Of DataFrames the row names
        must agree.
    method
        ``"ksg"``: nearest neighbours (Kraskov, Stoegbauer & Grassberger 2004, eq. 8). Assumes
        nothing, and of nothing finds nothing, so its p-value is always of use; the bits are
        right in one or two coordinates a side and up to about two bits, and far too low
        beyond (of 5 bits in 64 coordinates it sees less than one).
        ``"latent"``: the same in a few coordinates found on other points, with what it misses
        on normal data added. The one to report where there are more than two coordinates:
        within 0.2 bits, with intervals that cover, up to 16 of them (64, if the relation lies in
        few directions; what is spread thinly over many it cannot find).
        ``"infonce"``: a learned critic scored on points that it has not seen; in expectation at
        most the truth, and at most ``log2(n / 5)``, so its interval is one of a lower bound.
        Sees dependence without a linear trace, and more than the others of what is neither
        normal nor in few directions; of fewer than a hundred pairs a critic learns little.
        ``"gaussian"``: canonical correlations, without bias if the pairs are jointly normal; of
        other data, clusters above all, it may tell too much as well as too little.
    k
        Neighbours of ``"ksg"`` and ``"latent"``.
    normalize
        What is done to either side first: ``"whiten"``, ``"rank"`` or ``None``. The estimate by
        neighbours is not invariant to the scale of coordinates, though mutual information is:
        ``None`` (with ``k=3``: GDE, arXiv 2505.18150, App. B.4) can give any number. Whitened, it
        does not change under invertible linear maps of a side, as long as there are five points for
        each coordinate; of more, the leading components are kept, with a warning. Constant
        coordinates are left out. The other methods whiten in any case.
    n_shuffles
        Shuffles of y against x for the p-value. All is fitted anew for each, but for the critics
        of ``"infonce"``: y is shuffled among points scored by critics of other points, in an order
        in which none has seen a later one.
    interval
        ``"jackknife"`` over pairs, each left out in turn, or none. Normalisation, latent
        directions and critics stay as they were.
    level
        Coverage of the interval.
    seed
        Seed of shuffles, groups and of whatever the method draws.
    enable_progress_bar
        Show progress of shuffles and critics.

    Returns
    -------
    :class:`MutualInformation`.

    Raises
    ------
    TypeError, ValueError
        If sides do not fit, are not finite or constant, there are too few pairs, or an option is
        unknown.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 2))
    >>> y = x + rng.normal(size=(500, 2))  # one bit in truth
    >>> mutual_information(x, y, n_shuffles=99)
    MutualInformation(1.04 bits (0.82 to 1.25, 95%), p = 0.01 against 99 shuffles; ksg, k=3,
    normalize=whiten, 500 pairs)
    """
    require_choice("method", method, _MIN_POINTS)
    require_choice("interval", str(interval), ("jackknife", "None"))
    require_counts(k=k)
    require_zero_or_more(n_shuffles=n_shuffles)
    require_level(level)
    neighbors = k if method in ("ksg", "latent") else 0
    x, y = checked_pairs(x, y, min_points=max(_MIN_POINTS[method], neighbors + 2))
    x, y = (normalized(name, side, normalize, seed) for name, side in (("x", x), ("y", y)))
    quiet = not enable_progress_bar
    estimator = _estimator(method, x, y, k, seed, quiet)
    pointwise = estimator.pointwise()
    bits = float(pointwise.mean())
    null = shuffled(estimator, len(x), n_shuffles, seed, quiet)
    error = np.nan if interval is None else jackknife_error(estimator.leave_one_out())
    half = error * norm.ppf((1 + level) / 2)
    return MutualInformation(
        bits=bits,
        pointwise=pointwise,
        low=bits - half,
        high=bits + half,
        standard_error=error,
        p_value=float(permutation_p_values(np.array([bits]), null[:, None])[0])
        if n_shuffles
        else np.nan,
        null=null,
        n=len(x),
        method=method,
        k=neighbors,
        normalize=str(normalize).lower(),
        level=level,
    )


def _estimator(
    method: Method, x: np.ndarray, y: np.ndarray, k: int, seed: int, quiet: bool
) -> Estimator:
    if method == "ksg":
        return KSG(x, y, k)
    if method == "latent":
        return LatentInformation(x, y, k, seed)
    if method == "infonce":
        return InfoNCE(x, y, seed, quiet)
    return GaussianInformation(x, y)


def shuffled(estimator: Estimator, n: int, n_shuffles: int, seed: int, quiet: bool) -> np.ndarray:
    """Return estimates of y shuffled against x, ``(n_shuffles,)``."""
    rng = np.random.default_rng([seed, 1])
    shuffles = track(range(n_shuffles), "Shuffles", disable=quiet)
    return np.array([estimator.shuffled(rng.permutation(n)) for _ in shuffles])


def jackknife_error(leave_one_out: np.ndarray) -> float:
    """Return the standard error of an estimate (Efron & Tibshirani 1993, eq. 11.5)."""
    return float(np.sqrt((len(leave_one_out) - 1) * leave_one_out.var()))
