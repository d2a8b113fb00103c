from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from .._errors import listed, require, require_counts
from ..data import as_keys
from ..stats import (
    NormalPrior,
    expected_distances,
    knn_label_p_values,
    knn_novelty,
    paired_distances,
)
from ._prior import NoPriorError, PriorMixin
from ._query_result import QueryResult

_FEWEST_HELD_OUT = 10
_MOST_NUMBERS = 10  # different numbers that are still taken as classes


class _Embedded(NamedTuple):
    """Populations with their noisy embeddings."""

    names: pd.Index
    z: np.ndarray
    noise: np.ndarray
    n_cells: np.ndarray


class QueryMixin(PriorMixin):
    """``query``: where new populations lie among known ones, without training."""

    def query(
        self,
        adata_new: AnnData | MuData,
        reference: AnnData | MuData | None = None,
        labels_key: str | None = None,
        n_neighbors: int = 5,
        alpha: float = 0.1,
        *,
        enable_progress_bar: bool = True,
    ) -> QueryResult:
        """Map new populations onto a reference: neighbours, labels, and what is unlike anything.

        Nothing is trained and no population of the reference changes. Embeddings are drawn towards
        the prior of embeddings by as much as they are noisy, and distances are those expected of
        the true embeddings (:func:`scgde.stats.expected_distances`), so that a population of few
        cells is near to none and far from none.

        Parameters
        ----------
        adata_new
            Cells of the new populations, with the features of the model.
        reference
            Known populations; by default the data attached to the model. Reference populations
            with the name of a query are left out, with a warning: nothing can be its own neighbour.
        labels_key
            Column of ``.obs`` of the reference, constant within populations. By default the first
            class of the labels set up with the model, if there is one.
        n_neighbors
            Neighbours to report, and in the scores behind p-values.
        alpha
            Share of errors allowed: of label sets without the true label, in every class, and of
            ordinary populations called novel.
        enable_progress_bar
            Show progress over populations, where it takes a while.

        Returns
        -------
        :class:`QueryResult`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the features are not the model's, the reference has fewer than three other
            populations, the label is absent, has one value or is a number with many, or an
            argument is out of range.

        Notes
        -----
        P-values are conformal (Vovk, Gammerman & Shafer 2005): each query by itself joins the
        calibration populations, scores of all of them are computed alike, and p is the rank of
        its own. They are exact where the query is exchangeable with the calibration populations:
        drawn in the same way, treated in the same way, and trained on as little. So only reference
        populations that the model was not trained on calibrate (``train_size`` leaves some out), if
        there are ten or more; those trained on then serve as neighbours. A label of n calibration
        populations can be excluded only if 1 / (n + 1) is at most ``alpha``. One p-value
        is for one query: of many ordinary ones a share ``alpha`` is called novel. Populations of
        the same donor are not exchangeable with those of others: leave the donor's out.

        The prior is that of the populations trained on (:meth:`get_embedding_prior`), which treats
        reference and queries alike; where these cannot be known it is fitted on the reference.
        Populations of one cell count with the sampling covariance that one cell of the average
        population has.
        """
        require_counts(n_neighbors=n_neighbors)
        if not 0 < alpha < 1:
            raise ValueError(f"alpha={alpha!r} must be between 0 and 1, as 0.1.")
        reference = self._validate_anndata(reference)
        adata_new = self._validate_anndata(adata_new)
        known = self._reference(reference, adata_new, enable_progress_bar)
        labels_key, codes, classes = self._label_codes(reference, labels_key, known.names)
        new = self._embedded(adata_new, enable_progress_bar)
        of_a_cell = _noise_of_a_cell(known)
        known, new = (_filled(of, of_a_cell) for of in (known, new))
        prior = self._query_prior(known, enable_progress_bar)
        z, noise = prior.denoise(known.z, known.noise)
        z_new, noise_new = prior.denoise(new.z, new.noise)
        within = expected_distances(z, noise, z, noise)
        across = expected_distances(z_new, noise_new, z, noise)
        held_out = ~known.names.isin(self.trained_populations_)
        is_held_out = held_out.sum() >= _FEWEST_HELD_OUT
        calibrates = held_out if is_held_out else np.ones_like(held_out)
        novelty = knn_novelty(within, across, calibrates, n_neighbors)
        _warn_if_too_few("novelty", calibrates.sum(), alpha, "no query can be called novel")
        labels = pd.DataFrame(index=new.names)
        if labels_key:
            found = knn_label_p_values(within, across, codes, calibrates, n_neighbors)
            labels = _label_table(found.score, found.p_value, classes, alpha, new.names)
            for name, n in zip(classes, found.n_calibration, strict=True):
                _warn_if_too_few(f"label {name!r}", n, alpha, "it is in every set")
        nearest = np.argsort(across, axis=1)[:, :n_neighbors]
        at = np.repeat(np.arange(len(across)), nearest.shape[1])
        pairs = paired_distances(
            z_new[at], noise_new[at], z[nearest.ravel()], noise[nearest.ravel()]
        )
        neighbors = pd.DataFrame(
            {
                "population": new.names[at],
                "neighbor": known.names[nearest.ravel()],
                "rank": np.tile(np.arange(1, nearest.shape[1] + 1), len(across)),
                **pairs._asdict(),
            }
        )
        return QueryResult(
            neighbors,
            labels,
            pd.DataFrame({**novelty._asdict(), "novel": novelty.p_value <= alpha}, index=new.names),
            labels_key,
            alpha,
            "held-out" if is_held_out else "training",
            int(calibrates.sum()),
        )

    def _embedded(
        self,
        adata: AnnData | MuData,
        enable_progress_bar: bool,
        populations: list[str] | None = None,
    ) -> _Embedded:
        z, noise = self.get_population_embedding(
            adata, populations, return_covariance=True, enable_progress_bar=enable_progress_bar
        )
        index = self._dataset(adata).index
        return _Embedded(
            z.index, z.to_numpy(), noise, index.sizes[index.names.get_indexer(z.index)]
        )

    def _reference(
        self, reference: AnnData | MuData, adata_new: AnnData | MuData, enable_progress_bar: bool
    ) -> _Embedded:
        """Return the reference populations other than the queries."""
        names = self._dataset(reference).index.names
        common = names.intersection(self._dataset(adata_new).index.names)
        if len(common):
            warnings.warn(
                f"{len(common)} populations of the reference have names of queries "
                f"({listed(common, 3)}) and are left out of it. If they are others, rename them.",
                UserWarning,
                stacklevel=3,
            )
        left = names.difference(common, sort=False)
        if len(left) < 3:
            raise ValueError(
                f"reference has {len(left)} populations that are not among the queries; mapping "
                "takes at least three. Pass the data that the model was trained on, or more."
            )
        return self._embedded(reference, enable_progress_bar, list(left))

    def _query_prior(self, known: _Embedded, enable_progress_bar: bool) -> NormalPrior:
        try:
            return self.get_embedding_prior(enable_progress_bar=enable_progress_bar)
        except NoPriorError:
            return NormalPrior.fit(known.z, known.noise)

    def _label_codes(
        self, reference: AnnData | MuData, labels_key: str | None, names: pd.Index
    ) -> tuple[str, np.ndarray, list[str]]:
        """Return the key of the label, each population's class (-1 for none), and the classes."""
        table = self.get_population_table(reference).loc[names]
        if labels_key is None:
            setup = as_keys(self.setup_arguments.get("labels_key"))
            keys = [key for key in setup if key in table and not _unfit(table[key])]
            if not keys:
                return "", np.full(len(names), -1), []
            labels_key = keys[0]
        require(
            "labels_key",
            labels_key,
            table.columns.drop("n_cells"),
            "the columns of the reference constant within populations",
        )
        problem = _unfit(table[labels_key])
        if problem:
            raise ValueError(f"labels_key={labels_key!r} {problem}")
        values = pd.Categorical(table[labels_key]).remove_unused_categories()
        return labels_key, values.codes.astype(int), [str(c) for c in values.categories]


def _noise_of_a_cell(known: _Embedded) -> np.ndarray:
    """Return the sampling covariance ``(L, L)`` that one cell of the average population has."""
    seen = np.isfinite(known.noise).all((1, 2))
    if not seen.any():
        raise ValueError(
            "All populations of the reference have one cell, which says nothing of their spread. "
            "Choose a coarser population_key."
        )
    return (known.noise[seen] * known.n_cells[seen, None, None]).mean(0)


def _filled(of: _Embedded, of_a_cell: np.ndarray) -> _Embedded:
    """Give populations of one cell, whose covariance is NaN, the average one."""
    alone = ~np.isfinite(of.noise).all((1, 2))
    return of._replace(noise=np.where(alone[:, None, None], of_a_cell, of.noise))


def _unfit(values: pd.Series) -> str:
    """Return in words why a column cannot be a label, or nothing."""
    n = values.nunique()
    if n < 2:
        return f"has {n} value in the reference; a label needs two."
    if pd.api.types.is_numeric_dtype(values.dtype) and n > _MOST_NUMBERS:
        return (
            f"is a number with {n} values; sets are of classes. Bin it (pd.cut), or regress it "
            "with scgde.tl.classify_populations."
        )
    return ""


def _label_table(
    score: np.ndarray, p_value: np.ndarray, classes: list[str], alpha: float, names: pd.Index
) -> pd.DataFrame:
    inside = p_value > alpha
    named = np.array(classes, dtype=object)
    return pd.DataFrame(
        {
            "predicted": named[score.argmin(1)],
            "set": [", ".join(named[row]) for row in inside],
            **{f"p_value: {c}": p for c, p in zip(classes, p_value.T, strict=True)},
            **{f"in_set: {c}": row for c, row in zip(classes, inside.T, strict=True)},
        },
        index=names,
    )


def _warn_if_too_few(what: str, n: int, alpha: float, consequence: str) -> None:
    if 1 / (n + 1) > alpha:
        warnings.warn(
            f"{what}: with {n} calibration populations and alpha={alpha:g}, {consequence}; that "
            f"takes {int(np.ceil(1 / alpha)) - 1}. Hold more out of training (train_size), add "
            "populations to the reference, or raise alpha.",
            UserWarning,
            stacklevel=3,
        )
