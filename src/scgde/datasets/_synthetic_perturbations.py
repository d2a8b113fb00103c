from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .._errors import require_counts, require_positive


def perturbed_populations(
    n_targets: int = 20,
    n_pairs: int = 5,
    n_cells: int = 60,
    *,
    n_features: int = 40,
    n_gene_features: int = 4,
    covariates: tuple[str, ...] = (),
    effect_size: float = 0.7,
    mean_total: float = 500.0,
    seed: int = 0,
) -> AnnData:
    """Draw counts of perturbed cells whose effects follow from features of the targets.

    The log expression of a target's cells is shifted from the control's by a linear map of the
    target's features, that of a pair by the sum of both; in each covariate the control is another.
    Counts are negative binomial with inverse dispersion 4, totals log-normal.

    Parameters
    ----------
    n_targets, n_pairs
        Single perturbations, and pairs of them.
    n_cells
        Cells of each, and four times as many of each control.
    n_features, n_gene_features
        Genes measured, and features of a target.
    covariates
        Names of cell lines or conditions; none by default.
    effect_size
        Standard deviation of the shift of log expression, over genes.
    mean_total
        Median total count of a cell.
    seed
        Seed of everything.

    Returns
    -------
    AnnData of counts (CSR). ``.obs``: "perturbation" ("control", "target_00",
    "target_00+target_01", ...) and, with covariates, "covariate". ``.uns["gene_features"]``:
    DataFrame of targets x features. ``.uns["log_shift"]``: DataFrame of perturbations x genes, the
    true shift of log expression. It is known up to a constant per perturbation: shares of a cell's
    total are renormalised, so that adding the same to every gene changes no count.

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number above zero, or another argument is out of range.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.perturbed_populations(6, 2, 10)
    >>> adata.obs["perturbation"].nunique()
    9
    """
    require_counts(
        n_targets=n_targets, n_cells=n_cells, n_features=n_features, n_gene_features=n_gene_features
    )
    require_positive(effect_size=effect_size, mean_total=mean_total)
    most = n_targets * (n_targets - 1) // 2
    if not 0 <= n_pairs <= most:
        raise ValueError(f"n_pairs={n_pairs!r} must be from 0 to {most}, the pairs of n_targets.")
    rng = np.random.default_rng(seed)
    targets = [f"target_{i:02}" for i in range(n_targets)]
    genes = pd.Index([f"gene_{i:02}" for i in range(n_features)])
    features = rng.standard_normal((n_targets, n_gene_features))
    slope = rng.standard_normal((n_gene_features, n_features)) / np.sqrt(n_gene_features)
    single = effect_size * features @ slope
    first, second = np.triu_indices(n_targets, 1)
    pairs = np.sort(rng.choice(most, n_pairs, replace=False))
    names = [*targets, *(f"{targets[first[i]]}+{targets[second[i]]}" for i in pairs)]
    shifts = np.concatenate([single, single[first[pairs]] + single[second[pairs]]])
    base = {c: rng.normal(0, 1, n_features) for c in covariates or ("",)}
    blocks, obs = [], []
    for covariate, log_mean in base.items():
        for name, shift in zip(["control", *names], [np.zeros(n_features), *shifts], strict=True):
            n = 4 * n_cells if name == "control" else n_cells
            share = np.exp(log_mean + shift)
            total = mean_total * rng.lognormal(0, 0.3, (n, 1))
            mean = total * share / share.sum()
            blocks.append(rng.poisson(mean * rng.gamma(4.0, 0.25, mean.shape)))
            obs += [(name, covariate)] * n
    frame = pd.DataFrame(obs, columns=["perturbation", "covariate"], dtype="category")
    frame.index = frame.index.astype(str)
    return AnnData(
        sparse.csr_matrix(np.concatenate(blocks).astype(np.float32)),
        obs=frame if covariates else frame[["perturbation"]],
        var=pd.DataFrame(index=genes),
        uns={
            "gene_features": pd.DataFrame(
                features, targets, [f"feature_{i}" for i in range(n_gene_features)]
            ),
            "log_shift": pd.DataFrame(shifts, names, genes),
        },
    )
