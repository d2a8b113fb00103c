from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.stats import t as student_t

from .._errors import require_counts
from ._score import MAX_VALUES, ScoreMixin

_MAX_RESULT = 1 << 30


class CurvatureMixin(ScoreMixin):
    """The derivative of the score: curvature of the log density, and whether there is one."""

    def get_hessian(
        self,
        adata: AnnData | None = None,
        *,
        x: np.ndarray | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        enable_progress_bar: bool = True,
    ) -> np.ndarray:
        """Return the Hessian of the log density, ``(dr/dx - I) / s^2``, at cells or points.

        Parameters
        ----------
        adata, x
            As in :meth:`get_reconstruction`.
        indices
            Rows of the data (or of ``x``) wanted; all by default.
        enable_progress_bar
            Show progress where there is more than one step of it.

        Returns
        -------
        ``(n, d, d)``, one over squared units of the data. The field need not be a gradient, so it
        need not be symmetric: :meth:`get_antisymmetry` says how far from it.

        Raises
        ------
        ValueError
            If the result would take more than 4 GiB.
        """
        points, _ = self._points(adata, x, indices)
        n, d = points.shape
        if n * d * d > _MAX_RESULT:
            raise ValueError(
                f"Hessians of {n} points in {d} dimensions take {4 * n * d * d / 2**30:.0f} GiB: "
                f"ask for at most {_MAX_RESULT // d**2} at a time with indices=, or set the model "
                "up on principal components (use_rep='X_pca')."
            )
        self._warn_if_far(points)
        return self._hessians(points, enable_progress_bar)

    def _hessians(self, points: np.ndarray, enable_progress_bar: bool) -> np.ndarray:
        d = points.shape[1]
        width = max(d, self.module.network[0].out_features)
        return self._in_batches(
            self.module.hessian, points, max(1, MAX_VALUES // (d * width)), enable_progress_bar
        )

    def get_antisymmetry(
        self,
        adata: AnnData | None = None,
        n_cells: int = 500,
        n_triangles: int = 500,
        *,
        seed: int | None = None,
        enable_progress_bar: bool = True,
    ) -> pd.DataFrame:
        r"""Return how far the field is from the gradient of any log density.

        A network that reconstructs is not made to have a symmetric Jacobian; at the optimum of
        Alain & Bengio (2014) it has one. Where it has not, differences of energy depend on the
        path. (The reconstruction error does not help: it is not an energy.)

        Parameters
        ----------
        adata
            As in :meth:`get_score`.
        n_cells
            Cells, drawn at random, at which Jacobians are taken.
        n_triangles
            Triangles of three cells drawn at random, along which the score is integrated. Those
            with two corners at one place (copies of a cell) enclose nothing and are left out;
            ``n`` says how many remain.
        seed
            Seed of both draws; by default the model's.
        enable_progress_bar
            Show progress where there is more than one step of it.

        Returns
        -------
        DataFrame, quantities x (``estimate``, ``low``, ``high``, ``n``): a mean with its 95 % t
        interval over cells or triangles. All are 0 for a gradient field.

        ``reconstruction``
            :math:`|J - J^T|_F / |J + J^T|_F` of J = dr/dx. In it is the identity, which is
            symmetric, so it falls with s whatever the field.
        ``score``
            The same of the score's own derivative, :math:`(J - I) / s^2`: about 1 for a matrix of
            independent entries.
        ``triangle``
            :math:`|a + b + c| / (|a| + |b| + |c|)`, where a, b and c are the differences of log
            density along the sides of a triangle. Triangles between distant cells cross empty
            space, so it is the sternest of the three.

        Raises
        ------
        ValueError
            If the cells have one feature only, where every field is a gradient, or are fewer than
            three.
        """
        require_counts(n_cells=n_cells, n_triangles=n_triangles)
        self._require_trained()
        adata, d = self._validate_anndata(adata), self.module.n_features
        n = adata.n_obs
        if d < 2 or n < 3:
            raise ValueError(
                f"The data has {d} features and {n} cells; whether a field is a gradient can be "
                "asked of two features and three cells on."
            )
        rng = np.random.default_rng(self.seed_ if seed is None else seed)
        few = rng.choice(n, min(n_cells, n), replace=False)
        triangles = np.stack([rng.choice(n, 3, replace=False) for _ in range(n_triangles)])
        rows = np.unique(np.concatenate([few, triangles.ravel()]))
        cells = self._cells(adata, rows)
        hessian = self._hessians(cells[np.searchsorted(rows, few)], enable_progress_bar)
        jacobian = np.eye(d) + self.sigma_data**2 * hessian
        corners = cells[np.searchsorted(rows, triangles)]
        apart = [(corners[:, i - 1] != corners[:, i]).any(1) for i in range(3)]
        corners = corners[np.logical_and.reduce(apart)]
        quantities = {
            "reconstruction": _antisymmetry(jacobian),
            "score": _antisymmetry(hessian),
            "triangle": self._around(corners) if len(corners) else np.empty(0),
        }
        return pd.DataFrame(
            [_with_interval(values) for values in quantities.values()],
            index=pd.Index(quantities, name="quantity"),
        )

    def _around(self, corners: np.ndarray) -> np.ndarray:
        """Return |a + b + c| / (|a| + |b| + |c|) of triangles ``(n, 3, d)``."""
        with warnings.catch_warnings():
            # Triangles of random cells do leave the data; that is what they are for.
            warnings.simplefilter("ignore", UserWarning)
            sides = np.stack(
                [self.energy_difference(corners[:, i - 1], corners[:, i]) for i in range(3)]
            )
        return np.abs(sides.sum(0)) / np.abs(sides).sum(0)


def _antisymmetry(matrices: np.ndarray) -> np.ndarray:
    """Return |J - J^T|_F / |J + J^T|_F of matrices ``(n, d, d)``."""
    transposed = matrices.swapaxes(1, 2)
    apart, together = (
        np.linalg.norm(m, axis=(1, 2)) for m in (matrices - transposed, matrices + transposed)
    )
    return apart / together


def _with_interval(values: np.ndarray) -> dict[str, float]:
    """Return the mean with its 95 % t interval, not below zero, and how many there are."""
    n = len(values)
    mean = values.mean() if n else np.nan
    margin = student_t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return {
        "estimate": mean,
        "low": max(mean - margin, 0.0) if n > 1 else np.nan,
        "high": mean + margin,
        "n": n,
    }
