from __future__ import annotations

import numpy as np
from anndata import AnnData
from mudata import MuData

from .._errors import listed
from .._scvi import BaseModelClass
from ..stats import NormalPrior, leave_one_out_distances


class NoPriorError(ValueError):
    """Too little is known of the training populations for a prior of embeddings."""


class PriorMixin(BaseModelClass):
    """``get_embedding_prior``: how true embeddings are distributed over populations.

    Attributes
    ----------
    embedding_prior_
        What :meth:`get_embedding_prior` found of the training populations, as plain values, which
        are saved with the model: ``mean``, ``cov``, ``n``, ``distances`` (of each from a prior
        fitted without it) and ``n_steps`` of training when it was found. Empty before.
    """

    embedding_prior_: dict = {}  # noqa: RUF012  replaced, never changed

    def get_embedding_prior(
        self, adata: AnnData | MuData | None = None, enable_progress_bar: bool = True
    ) -> NormalPrior:
        """Return the distribution of true embeddings over populations, as one normal.

        Fitted with the sampling covariance of every embedding, so that the noise of small
        populations does not widen it (:meth:`scgde.stats.NormalPrior.fit`).

        Parameters
        ----------
        adata
            Populations to fit it on, all of them. By default the populations that were trained on;
            they are embedded once, and what is found is kept with the model until it trains again,
            in saved models too. They are told by their names: attached data that has other cells
            under all of these names passes for them.
        enable_progress_bar
            Show progress over populations, where it takes a while.

        Returns
        -------
        :class:`~scgde.stats.NormalPrior`, in units of the embedding.

        Raises
        ------
        ValueError
            If the training populations are neither attached nor known from before, or there are
            fewer than three of two or more cells.
        """
        self._check_if_trained(warn=True)
        if adata is not None:
            return self._fit_prior(adata, None, enable_progress_bar)[0]
        kept = self.embedding_prior_
        if not kept or kept["n_steps"] != self.steps_done_:
            prior, distances = self._fit_prior(
                self._training_data(), self.trained_populations_, enable_progress_bar
            )
            self.embedding_prior_ = kept = {
                "mean": prior.mean,
                "cov": prior.cov,
                "n": prior.n,
                "distances": distances,
                "n_steps": self.steps_done_,
            }
        return NormalPrior(kept["mean"], kept["cov"], kept["n"])

    def _training_data(self) -> AnnData | MuData:
        """Return the attached data if it has the populations that were trained on."""
        remedy = (
            "Load the model with its training data (load(..., adata=...)), or call "
            "model.get_embedding_prior() once before saving it."
        )
        if not self.trained_populations_:
            raise NoPriorError("There are no training populations: call model.train() first.")
        lack = "no data is attached"
        if self.adata is not None:
            names = self._dataset().index.names
            lost = [name for name in self.trained_populations_ if name not in names]
            if not lost:
                return self.adata
            lack = f"the data attached lacks {listed(lost, 3)}"
        raise NoPriorError(f"The training populations are not known: {lack}. {remedy}")

    def _fit_prior(
        self, adata: AnnData | MuData, populations: list[str] | None, enable_progress_bar: bool
    ) -> tuple[NormalPrior, np.ndarray]:
        """Return the prior, and how far each population is from one fitted without it."""
        z, noise = self.get_population_embedding(
            adata,
            populations,
            return_covariance=True,
            enable_progress_bar=enable_progress_bar,
        )
        known = np.isfinite(noise).all((1, 2))  # of a single cell no spread can be known
        if known.sum() < 3:
            raise NoPriorError(
                f"A prior of embeddings needs three populations of two or more cells; there are "
                f"{known.sum()}."
            )
        z, noise = z.to_numpy()[known], noise[known]
        prior = NormalPrior.fit(z, noise)
        return prior, leave_one_out_distances(z, noise, prior)
