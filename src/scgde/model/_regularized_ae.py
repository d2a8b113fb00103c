from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from rich.progress import track

from .._errors import require_choice, require_counts, require_positive, require_zero_or_more
from .._scvi import X_KEY, state_of
from ..data import PopulationIndex
from ..module import RegularizedAEModule
from ..nn import seeded
from ._curvature import CurvatureMixin
from ._mcmc import langevin, metropolis_hastings

METHODS = ("metropolis_hastings", "langevin")
INITS = ("data", "normal")
_N_REFERENCE = 2_000
_MAX_CELLS_FOR_MOMENTS = 50_000


class RegularizedAE(CurvatureMixin):
    """Denoising or contractive autoencoder of cells: the score of their density.

    Alain & Bengio 2014 (arXiv 1211.4246): what a regularized autoencoder adds to a point is the
    gradient of the log density there, times s^2. So it gives arrows towards denser cells
    (:func:`scgde.tl.score_field`), ridges (:func:`scgde.tl.density_ridges`), differences of energy
    and samples. A density of some tens of dimensions can be learned: of genes, set up principal
    components.

    Parameters
    ----------
    adata
        AnnData that went through :meth:`setup_anndata`. Of counts the model sees log-normalised
        ones, otherwise the values as they are.
    n_hidden, n_layers
        Width and number of hidden layers.
    sigma
        s, the standard deviation of the noise, in units of the root of the features' mean variance:
        the noise is the same in all directions, so all features have one scale. ``sigma_data`` is
        the same in the data's units. A smaller s smooths less and is harder to learn.
    regularization
        ``"denoising"``, or ``"contractive"``, which takes several times as long
        (:class:`~scgde.module.RegularizedAEModule`).
    seed
        Seed of the initial weights, and of training and sampling unless they are given another.
    registry
        Used by ``load``.

    Raises
    ------
    ValueError
        If ``sigma`` is not above zero, or the regularization is unknown.

    Examples
    --------
    >>> import numpy as np, scgde
    >>> from anndata import AnnData
    >>> adata = AnnData(np.random.default_rng(0).normal(size=(500, 2)).astype("float32"))
    >>> scgde.model.RegularizedAE.setup_anndata(adata)
    >>> model = scgde.model.RegularizedAE(adata, n_hidden=16)
    >>> model.train(max_steps=20, enable_progress_bar=False)
    >>> model.get_score().shape, model.get_hessian(indices=[0, 1]).shape
    ((500, 2), (2, 2, 2))
    """

    def __init__(
        self,
        adata: AnnData | None = None,
        n_hidden: int = 128,
        n_layers: int = 2,
        sigma: float = 0.2,
        regularization: Literal["denoising", "contractive"] = "denoising",
        seed: int = 0,
        registry: dict | None = None,
    ):
        super().__init__(adata, registry)
        n_features = state_of(self.registry_, X_KEY)["n_features"]
        self.seed_, self.steps_done_ = seed, 0
        self.reference_cells_: np.ndarray | None = None
        with seeded(seed):
            self.module = RegularizedAEModule(n_features, n_hidden, n_layers, sigma, regularization)
        self._model_summary_string = (
            f"RegularizedAE of {n_features} features: {regularization}, sigma {sigma}, "
            f"{n_layers} layers of {n_hidden}"
        )
        self.init_params_ = self._get_init_params(locals())

    def _initialize(self, index: PopulationIndex) -> None:
        """Set the module's scales, and keep some training cells to know what is far from them."""
        rng = np.random.default_rng(self.seed_)
        rows = rng.permutation(self._member_rows(index)[0])[:_MAX_CELLS_FOR_MOMENTS]
        cells = self._cells(rows=rows)
        self.module.initialize(cells)
        self.reference_cells_ = cells[:_N_REFERENCE].copy()

    def sample_mcmc(
        self,
        n_samples: int = 1_000,
        method: Literal["metropolis_hastings", "langevin"] = "metropolis_hastings",
        n_steps: int = 500,
        burn_in: int = 100,
        step_size: float | None = None,
        *,
        init: Literal["data", "normal"] | np.ndarray = "data",
        n_path: int = 10,
        seed: int | None = None,
        enable_progress_bar: bool = True,
    ) -> AnnData:
        """Draw cells from the model's density, each the end of its own Markov chain.

        Alain & Bengio 2014, Sec. 4. The density is that of the cells smoothed with noise of
        ``sigma_data``.

        Parameters
        ----------
        n_samples
            Chains, run side by side; each gives one cell.
        method
            ``"metropolis_hastings"``: normal proposals, same in all directions; the log ratio is
            the score's line integral. ``"langevin"``: a step up the score and noise, without
            correction; for more than some ten dimensions, where proposals are hardly accepted.
        n_steps
            Steps after the burn-in. Chains must go far enough to forget where they started: compare
            with ``init="normal"``.
        burn_in
            Steps before these; Metropolis-Hastings tunes its step size in them.
        step_size
            Of Metropolis-Hastings the standard deviation of a proposal, in the data's units; by
            default tuned until three in ten are accepted. Of Langevin dynamics h in
            x + (h / 2) score + sqrt(h) noise; by default ``sigma_data ** 2 / 4``, which inflates
            a variance v by a factor of 1 / (1 - h / 4v), at most 1.07.
        init
            Where chains start. ``"data"``: training cells drawn at random (of 2,000 that the model
            keeps). ``"normal"``: a normal distribution with their mean and covariance, so that a
            good sample is the chains' own merit. Or points ``(n_samples, n_features)``.
        n_path
            Intervals of each line integral.
        seed
            Seed of the draw; by default the model's.
        enable_progress_bar
            Show progress.

        Returns
        -------
        AnnData of samples x features, in the units in which the model sees cells (of counts
        log-normalised ones). ``.obs["acceptance_rate"]`` is each chain's share of accepted moves
        after the burn-in, ``.obs["far"]`` whether the sample is far from all training cells;
        ``.uns["mcmc"]`` has ``method``, ``acceptance_rate`` (1 of Langevin dynamics, which rejects
        nothing), ``step_size``, ``n_steps``, ``burn_in`` and ``seed``.

        Raises
        ------
        ValueError
            If the method or init is unknown, a number is out of range, or chains leave for
            infinity.
        """
        require_choice("method", method, METHODS)
        require_counts(n_samples=n_samples, n_steps=n_steps, n_path=n_path)
        require_zero_or_more(burn_in=burn_in)
        if step_size is not None:
            require_positive(step_size=step_size)
        self._require_trained()
        seed = int(self.seed_ if seed is None else seed)  # torch takes no numpy integer
        device, score = self.module.device, self.module.score
        x = torch.from_numpy(self._starts(n_samples, init, seed)).to(device)
        generator = torch.Generator(device).manual_seed(seed)
        tune = step_size is None
        moves = torch.zeros(n_samples, device=device)
        if method == "langevin":
            step_size = self.sigma_data**2 / 4 if tune else step_size
            chain = (
                (points, 1.0, step_size)
                for points in langevin(score, x, step_size, burn_in + n_steps, generator)
            )
        else:
            scale, d = float(self.module.scale), self.module.n_features
            step_size = 2.38 * scale / d**0.5 if tune else step_size
            chain = metropolis_hastings(
                score, x, step_size, burn_in, n_steps, n_path, generator, tune
            )
        steps = track(chain, "Sampling", burn_in + n_steps, disable=not enable_progress_bar)
        with torch.no_grad():
            for step, (points, accepted, step_size) in enumerate(steps):  # noqa: B007
                if step >= burn_in:
                    moves += accepted
        samples = points.cpu().numpy()
        if not np.isfinite(samples).all():
            raise ValueError(
                f"Chains left for infinity with step_size={step_size:.3g}: take a smaller one."
            )
        rate = (moves / n_steps).cpu().numpy()
        result = AnnData(
            samples,
            obs=pd.DataFrame(
                {"acceptance_rate": rate, "far": self._far(samples)},
                index=[f"sample_{i}" for i in range(n_samples)],
            ),
            var=pd.DataFrame(index=self.get_feature_names()),
        )
        result.uns["mcmc"] = {
            "method": method,
            "acceptance_rate": float(rate.mean()),
            "step_size": float(step_size),
            "n_steps": n_steps,
            "burn_in": burn_in,
            "seed": seed,
        }
        return result

    def _starts(self, n: int, init: str | np.ndarray, seed: int) -> np.ndarray:
        """Return where chains start, ``(n, d)``."""
        if not isinstance(init, str):
            points = self._checked("init", init)
            if len(points) != n:
                raise ValueError(f"init has {len(points)} points; n_samples={n} chains start.")
            return points
        require_choice("init", init, INITS)
        rng, cells = np.random.default_rng(seed), self.reference_cells_
        if init == "data":
            return cells[rng.integers(len(cells), size=n)]
        covariance = np.cov(cells, rowvar=False).reshape(cells.shape[1], -1)
        points = rng.multivariate_normal(cells.mean(0), covariance, n, method="svd")
        return points.astype(np.float32)
