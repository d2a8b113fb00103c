"""How far apart two paths are, and the path that a latent follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from .._errors import require_counts
from ..stats import arc_length

_TOLERANCE = 1e-3  # of the spacing of two values


class PathDistances(NamedTuple):
    """Distances between two paths, in the units of their points.

    Attributes
    ----------
    chamfer
        Mean of the two mean distances from a point of one path to the nearest of the other.
    hausdorff
        The largest such distance.
    p95
        The larger of the two 95th percentiles of such distances.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> line = np.column_stack([np.linspace(0, 1, 50), np.zeros(50)])
    >>> distances = scgde.metrics.path_distances(line, line + [0, 0.5])
    >>> round(distances.chamfer, 3), round(distances.hausdorff, 3)
    (0.5, 0.5)
    """

    chamfer: float
    hausdorff: float
    p95: float


def path_distances(path: np.ndarray, reference: np.ndarray) -> PathDistances:
    """Return how far two paths lie apart, whatever the order of their points.

    Parameters
    ----------
    path, reference
        Points ``(n, d)`` and ``(m, d)``, dense enough that each nearest point is near.

    Returns
    -------
    ``chamfer``
        Mean of the two mean distances to the nearest point of the other path.
    ``hausdorff``
        The larger of the two largest.
    ``p95``
        The larger of the two 95th percentiles: the Hausdorff distance without its worst points.

    (arXiv 2502.11583, Table 2.)

    Raises
    ------
    ValueError
        If a path is no matrix of finite points, or they differ in dimension.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 1, 101)
    >>> path_distances(np.column_stack([x, 0 * x]), np.column_stack([x, 0 * x + 2]))
    PathDistances(chamfer=2.0, hausdorff=2.0, p95=2.0)
    """
    path, reference = _path("path", path), _path("reference", reference)
    if path.shape[1] != reference.shape[1]:
        raise ValueError(
            f"path has {path.shape[1]} dimensions and reference {reference.shape[1]}; they must be "
            "the same."
        )
    nearest = [
        NearestNeighbors(n_neighbors=1).fit(other).kneighbors(points)[0][:, 0]
        for points, other in ((path, reference), (reference, path))
    ]
    return PathDistances(
        float(np.mean([d.mean() for d in nearest])),
        float(max(d.max() for d in nearest)),
        float(max(np.quantile(d, 0.95) for d in nearest)),
    )


def best_component(latent: np.ndarray, path: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the latent that runs most linearly along a path, and every latent's R2.

    Parameters
    ----------
    latent
        Of the path's points, ``(n, K)``.
    path
        ``(n, d)``, in order.

    Returns
    -------
    The latent's number, and ``(K,)`` squared correlations with arc length (arXiv 2502.11583, Sec.
    4.2: it looks at the true path, so report the first latent too, which does not).

    Raises
    ------
    ValueError
        If the two have different numbers of points.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> path = np.column_stack([np.linspace(0, 1, 50), np.zeros(50)])
    >>> latent = np.column_stack([np.sin(9 * path[:, 0]), path[:, 0]])
    >>> component, r2 = scgde.metrics.best_component(latent, path)
    >>> component, r2.round(2).tolist()
    (1, [0.0, 1.0])
    """
    latent, path = np.asarray(latent, dtype=float), _path("path", path)
    if latent.ndim != 2 or len(latent) != len(path):
        raise ValueError(
            f"latent has the shape {latent.shape} and path {len(path)} points; give the latent of "
            "each point, (n, K)."
        )
    along = arc_length(path)
    along = (along - along.mean()) / along.std()
    centred = latent - latent.mean(0)
    spread = np.maximum(latent.std(0), 1e-300)
    r2 = (along @ (centred / spread) / len(path)) ** 2
    return int(r2.argmax()), r2


def latent_path(
    encode: Callable[[Tensor], Tensor],
    start: np.ndarray,
    end: np.ndarray,
    component: int = 0,
    *,
    n_points: int = 250,
    max_steps: int = 20,
) -> np.ndarray:
    r"""March from one point across the level sets of a latent, to that of another.

    For each of ``n_points`` values :math:`z^*` of the latent from the start's to the end's, from
    where the last stopped: :math:`x \leftarrow x - (z(x) - z^*)\, g / (2 |g|^2)` with the gradient
    :math:`g` of the latent, a damped Newton step (arXiv 2502.11583, Sec. 4.2).

    Parameters
    ----------
    encode
        ``(n, d) -> (n, K)``, with gradients: ``model.DPA.encode``, or any torch function.
    start, end
        Points ``(d,)``. The end only says at which value to stop: the path need not reach it.
    component
        Number of the latent.
    n_points
        Values of the latent.
    max_steps
        Newton steps for each value; fewer where z is within a thousandth of the spacing.

    Returns
    -------
    The path, ``(n_points, d)``.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, both ends have one value of the latent, its gradient vanishes
        on the way or it left what is finite.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> start, end = np.zeros(2), np.array([1.0, 1.0])
    >>> path = scgde.metrics.latent_path(lambda x: x[:, :1], start, end, n_points=5)
    >>> path[-1].round(2).tolist()
    [1.0, 0.0]
    """
    require_counts(n_points=n_points, max_steps=max_steps)
    ends = np.stack([np.asarray(start, dtype=np.float32), np.asarray(end, dtype=np.float32)])
    with torch.no_grad():
        z = encode(torch.as_tensor(ends))
    if not 0 <= component < z.shape[1]:
        raise ValueError(f"component={component} is none of the {z.shape[1]} latents.")
    first, last = z[:, component].double().tolist()
    if not abs(last - first) > 0:
        raise ValueError(
            f"Latent {component} is {first:g} at the start and at the end: there is no way between."
        )
    spacing = abs(last - first) / max(n_points - 1, 1)
    x, found = torch.as_tensor(ends[:1]), []
    for value in np.linspace(first, last, n_points):
        for _ in range(max_steps):
            x = x.detach().requires_grad_()
            z = encode(x)[0, component]
            miss = float(z.detach()) - value
            if abs(miss) < _TOLERANCE * spacing:
                break
            (slope,) = torch.autograd.grad(z, x)
            steepness = float(slope.square().sum())
            if not 0 < steepness < np.inf:
                raise ValueError(
                    f"The gradient of latent {component} is {steepness**0.5:g} at "
                    f"{x.detach().numpy()[0].tolist()}: the path ends there."
                )
            x = x.detach() - miss * slope / (2 * steepness)
        found.append(x.detach().numpy()[0].copy())
    return np.stack(found).astype(float)


def _path(argument: str, points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or not len(points):
        raise ValueError(f"{argument} has the shape {points.shape}; it must be points, (n, d).")
    if not np.isfinite(points).all():
        raise ValueError(f"{argument} has values that are NaN or infinite.")
    return points
