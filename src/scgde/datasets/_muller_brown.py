"""The Muller-Brown potential and a Langevin trajectory on it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from anndata import AnnData
from rich.progress import track

from .._errors import require_counts

_SCALE, _OFFSET = 0.15, 146.7
_A = (-200.0, -100.0, -170.0, 15.0)
_XX = (-1.0, -1.0, -6.5, 0.7)
_XY = (0.0, 0.0, 11.0, 0.6)
_YY = (-10.0, -10.0, -6.5, 0.7)
_X0 = (1.0, 0.0, -0.5, -1.0)
_Y0 = (0.0, 0.5, 1.5, 1.0)
_TERMS = tuple(zip(_A, _XX, _XY, _YY, _X0, _Y0, strict=True))

# Found by Newton's method from the published starting points, to 12 digits.
MULLER_BROWN_MINIMA = np.array(
    [
        [-0.558223634633024, 1.441725841804669],
        [-0.050010822998206, 0.466694104871972],
        [0.623499404930877, 0.028037758528686],
    ]
)

_FRICTION, _KT, _DT = 10.0, 2.5, 0.005
_WALLS, _WALL_STIFFNESS = (-1.3, 1.0), 1000.0


def muller_brown_potential(x: np.ndarray) -> np.ndarray:
    r"""Return the scaled Muller-Brown potential :math:`U` of points ``(n, 2)``, ``(n,)``.

    :math:`0.15\,(146.7 + \sum_i A_i \exp(a_i \Delta x^2 + b_i \Delta x \Delta y + c_i \Delta
    y^2))`: three minima and two saddles; the deepest minimum is at 0 (Muller & Brown, Theor. Chim.
    Acta 53, 1979, with the scale of Bonati et al., arXiv 2002.06562).

    Parameters
    ----------
    x
        Points ``(n, 2)``.

    Raises
    ------
    ValueError
        If ``x`` is not of two columns.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> minimum = np.array([[-0.558, 1.442]])  # the deepest
    >>> abs(scgde.datasets.muller_brown_potential(minimum).round(1)).item()
    0.0
    """
    x = _points(x)
    return _SCALE * (_OFFSET + sum(value for value, _, _ in _each_term(x)))


def muller_brown_gradient(x: np.ndarray) -> np.ndarray:
    """Return the gradient of :func:`muller_brown_potential`, ``(n, 2)``.

    The score of the Boltzmann distribution is ``-gradient / kT``.

    Parameters
    ----------
    x
        Points ``(n, 2)``.

    Raises
    ------
    ValueError
        If ``x`` is not of two columns.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> minimum = np.array([[-0.558, 1.442]])
    >>> bool(abs(scgde.datasets.muller_brown_gradient(minimum)).max() < 0.5)
    True
    """
    x = _points(x)
    return _SCALE * sum(
        value[:, None] * np.column_stack([by_x, by_y]) for value, by_x, by_y in _each_term(x)
    )


def muller_brown(
    n_steps: int = 1_000_000,
    every: int = 200,
    seed: int = 0,
    *,
    enable_progress_bar: bool = True,
) -> AnnData:
    r"""Simulate a particle in the Muller-Brown potential, as minimum-energy paths are tested on.

    One chain of underdamped Langevin dynamics of unit mass from the deepest minimum: friction 10,
    kT 2.5, time step 0.005, integrated by BAOAB (Leimkuhler & Matthews, 2013); harmonic walls of
    stiffness 1,000 at x = -1.3 and x = 1 (protocol of arXiv 2502.11583). A million steps take a few
    seconds.

    Parameters
    ----------
    n_steps
        Steps of the chain.
    every
        Steps between two frames that are kept.
    seed
        Seed of the noise.
    enable_progress_bar
        Show progress.

    Returns
    -------
    AnnData of ``n_steps // every + 1`` frames x two coordinates. ``.obs``: "time", "energy".
    ``.uns["truth"]``: "minima" ``(3, 2)``, in the order of the path, "friction", "kT", "dt",
    "walls".

    Raises
    ------
    TypeError, ValueError
        If a number is no whole number above zero, or ``every`` is above ``n_steps``.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.muller_brown(2_000, enable_progress_bar=False)
    >>> adata.shape
    (11, 2)
    """
    require_counts(n_steps=n_steps, every=every)
    if every > n_steps:
        raise ValueError(f"every={every} is above n_steps={n_steps}: no frame would be kept.")
    rng = np.random.default_rng(seed)
    frames = np.empty((n_steps // every + 1, 2))
    frames[0] = position = MULLER_BROWN_MINIMA[0]
    state = (*position, *rng.normal(scale=math.sqrt(_KT), size=2), *_force(*position))
    quiet = not enable_progress_bar or n_steps < 500_000
    for i in track(range(1, len(frames)), "Langevin", disable=quiet):
        state = _steps(state, rng.normal(size=(every, 2)).tolist())
        frames[i] = state[:2]
    energy = muller_brown_potential(frames)
    time = np.arange(len(frames)) * every * _DT
    return AnnData(
        frames.astype(np.float32),
        obs=pd.DataFrame(
            {"time": time, "energy": energy}, index=pd.RangeIndex(len(frames)).astype(str)
        ),
        var=pd.DataFrame(index=["x", "y"]),
        uns={
            "truth": {
                "minima": MULLER_BROWN_MINIMA.copy(),
                "friction": _FRICTION,
                "kT": _KT,
                "dt": _DT,
                "walls": np.array(_WALLS),
            }
        },
    )


def _steps(state: tuple[float, ...], noise: list[list[float]]) -> tuple[float, ...]:
    """Take one BAOAB step for each pair of standard normal numbers.

    Single floats and not arrays: one chain has nothing to vectorise over.
    """
    x, y, vx, vy, fx, fy = state
    half, keep = _DT / 2, math.exp(-_FRICTION * _DT)
    spread = math.sqrt(_KT * (1 - keep * keep))
    for noise_x, noise_y in noise:
        vx, vy = vx + half * fx, vy + half * fy
        x, y = x + half * vx, y + half * vy
        vx, vy = keep * vx + spread * noise_x, keep * vy + spread * noise_y
        x, y = x + half * vx, y + half * vy
        fx, fy = _force(x, y)
        vx, vy = vx + half * fx, vy + half * fy
    return x, y, vx, vy, fx, fy


def _force(x: float, y: float) -> tuple[float, float]:
    """Return minus the gradient of the potential, and the walls' push."""
    fx = fy = 0.0
    for height, xx, xy, yy, x0, y0 in _TERMS:
        dx, dy = x - x0, y - y0
        value = _SCALE * height * math.exp(xx * dx * dx + xy * dx * dy + yy * dy * dy)
        fx -= value * (2 * xx * dx + xy * dy)
        fy -= value * (xy * dx + 2 * yy * dy)
    fx -= _WALL_STIFFNESS * (min(x - _WALLS[0], 0.0) + max(x - _WALLS[1], 0.0))
    return fx, fy


def _each_term(x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return for each term its value and the two derivatives of its exponent, ``(n,)`` each."""
    found = []
    for height, xx, xy, yy, x0, y0 in _TERMS:
        dx, dy = x[:, 0] - x0, x[:, 1] - y0
        value = height * np.exp(xx * dx**2 + xy * dx * dy + yy * dy**2)
        found.append((value, 2 * xx * dx + xy * dy, xy * dx + 2 * yy * dy))
    return found


def _points(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=float)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"x has the shape {x.shape}; it must be points of the plane, (n, 2).")
    return x
