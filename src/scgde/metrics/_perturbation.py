from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from .._errors import listed, require_counts
from ..data import as_dense
from ._perturbation_scores import (
    cell_distance,
    discrimination_scores,
    mean_scores,
    moved_control_distance,
    shift_scores,
    variance_ratio,
    welch_t,
)
from ._perturbation_split import Matrix, PerturbationSplit, ShiftPrediction, moments

CEILING = "data_ceiling"


def perturbation_report(
    split: PerturbationSplit,
    predictions: Mapping[str, ShiftPrediction],
    *,
    ceiling: bool = True,
    n_top: int = 20,
    max_cells: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Score predictions of held-out perturbations by every metric in use, and by honest ones.

    Parameters
    ----------
    split
        What was held out, and what was known.
    predictions
        Predictions by the name of the method; :func:`perturbation_baselines` makes the baselines.
    ceiling
        Add ``"data_ceiling"``: one random half of each population's cells predicts the other. Both
        halves are noisier than all cells, so it is a low estimate, which a model may pass.
    n_top
        Number of top differential genes; at most half of all genes.
    max_cells
        Cells of each side in the energy distance, drawn at random; two at least.
    seed
        Seed of halves and draws.

    Returns
    -------
    DataFrame, a row for each method, held-out population and metric: ``method``, ``perturbation``,
    ``covariate``, ``n_components``, ``n_seen`` (components seen in training, by themselves or in a
    combination), ``metric``, ``value``, ``weight`` (in the average of
    :func:`perturbation_summary`).

    Raises
    ------
    ValueError
        If there are fewer than three genes, ``max_cells`` is below two, or a prediction has other
        genes, is not finite, or has cells of some populations only or one.

    Notes
    -----
    With s the observed and p the predicted shift against the control of the same covariate, and m
    the mean shift of all training perturbations in it:

    ``r2_shift``, ``mse_shift``
        ``1 - |s - p|^2 / |s|^2`` and ``|s - p|^2 / d``: R2 is 0 for "no change".
    ``r2_vs_training_mean``
        ``1 - |s - p|^2 / |s - m|^2``, what a prediction knows beyond what all perturbations share
        (Vinas Torne et al. 2025, Systema): 0 for the training mean. Its squared error is that of
        the shift, since m cancels.
    ``pearson_delta``, ``pearson_delta_vs_training_mean``
        Correlation over genes of s and p (Roohani et al. 2024, GEARS), and of s - m and p - m
        (Systema). The first is high for any prediction of what perturbed cells share, and the noise
        of the control mean, which is in s, m and p alike, adds to it. NaN where a shift is
        constant, as that of "no change": it counts as 0 in the summary. The second is above 0 for
        "no change" itself where most perturbations do nothing, since s - m is then about -m.
    ``pearson_delta_top20``
        The same over the ``n_top`` genes of largest Welch t of observed against control (GEARS).
    ``top_genes_overlap``
        Share of these among the ``n_top`` genes of largest predicted shift in standard deviations
        of control; ties count as drawn by chance, so that "no change" scores ``n_top / d``.
    ``centroid_accuracy``
        Share of the other held-out populations of the covariate whose observed mean is farther (L2)
        from the predicted mean than the population's own (Systema): 1 is best, 0.5 chance and what
        any fixed prediction scores.
    ``discrimination_rank``
        Share of them that are nearer in L1: 0 is best, 0.5 chance (the rank of PerturBench, Wu et
        al. 2024; one minus it is the discrimination score of the Virtual Cell Challenge, but the
        target gene is not left out). Both need two held-out populations of a covariate.
    ``energy_distance``
        Of predicted to observed cells, unbiased, so at times below 0. Methods without cells:
        control cells moved to the predicted mean.
    ``variance_ratio``
        Median over expressed genes (seen in a tenth of the observed cells) of predicted to observed
        variance; of methods with cells. 1 is right; 0.5 is a generator that paints means. A little
        low on small populations, since genes are chosen by the observed cells (cells of the same
        truth: 0.97 of 50, 0.99 of 100, 1.00 of 500; simulated counts): compare with the ceiling.
    ``r2_mean``, ``mse_mean``
        Of the mean of the predicted cells (control mean plus shift without cells) against the
        observed mean, as published (GDE paper, Sec. 6.4). This R2 is near 0.95 for "no change" and
        says nothing about perturbations: it is here to compare with papers, not to choose a model.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> cells = {name: rng.normal(i, 1, (20, 5)) for i, name in enumerate(["A", "B"])}
    >>> table = pd.DataFrame({"perturbation": ["A", "B", "C"], "covariate": ""}, list("ABC"))
    >>> known = pd.DataFrame(rng.normal(size=(1, 5)), ["C"])
    >>> split = PerturbationSplit(cells, {"": rng.normal(size=(20, 5))}, known, table)
    >>> guess = ShiftPrediction(pd.DataFrame(np.eye(2, 5), ["A", "B"]))
    >>> perturbation_report(split, {"guess": guess}, n_top=2)["method"].unique().tolist()
    ['guess', 'data_ceiling']
    """
    require_counts(n_top=n_top, max_cells=max_cells)
    if max_cells < 2:
        raise ValueError(f"max_cells={max_cells!r} must be at least 2: it pairs cells of a side.")
    if len(split.genes) < 3:
        raise ValueError(f"A report needs three genes at least; there are {len(split.genes)}.")
    n_top = min(n_top, len(split.genes) // 2)
    if not predictions and not ceiling:
        raise ValueError("predictions is empty: give at least one method, or ceiling=True.")
    if ceiling and CEILING in predictions:
        raise ValueError(f"{CEILING!r} is the name of the ceiling: give the method another.")
    tables = [
        _scored(split, method, prediction, n_top, max_cells, seed)
        for method, prediction in predictions.items()
    ]
    if ceiling:
        halved, other = split.halves(seed)
        tables.append(_scored(halved, CEILING, other, n_top, max_cells, seed))
    return pd.concat(tables, ignore_index=True)


def _scored(
    split: PerturbationSplit,
    method: str,
    prediction: ShiftPrediction,
    n_top: int,
    max_cells: int,
    seed: int,
) -> pd.DataFrame:
    shift = _checked(split, method, prediction)
    discrimination = _discrimination(split, shift)
    rows = []
    for name in shift.index:
        predicted = shift.loc[name].to_numpy()
        scores = _shift_scores(split, name, predicted, n_top)
        scores |= {k: (v, 1.0) for k, v in discrimination.get(name, {}).items()}
        scores |= _cell_scores(split, name, predicted, prediction.cells, max_cells, seed)
        parts = split.components_of(name)
        known = {
            "method": method,
            "perturbation": split.perturbation(name),
            "covariate": split.covariate(name),
            "n_components": len(parts),
            "n_seen": sum(part in split.training_components for part in parts),
        }
        rows += [
            {**known, "metric": metric, "value": float(value), "weight": float(weight)}
            for metric, (value, weight) in scores.items()
        ]
    return pd.DataFrame(rows)


def _checked(split: PerturbationSplit, method: str, prediction: ShiftPrediction) -> pd.DataFrame:
    """Return the predicted shifts of held-out populations, in the order of the observed ones."""
    shift = prediction.shift
    if not shift.columns.equals(split.genes):
        raise ValueError(
            f"The shifts of {method!r} must have the genes of training_shifts, in their order."
        )
    names = [name for name in split.observed if name in shift.index]
    shift = shift.loc[names].astype(float)
    lost = ~np.isfinite(shift.to_numpy()).all(1)
    if lost.any():
        raise ValueError(
            f"Method {method!r} predicts shifts that are NaN or infinite for "
            f"{listed(shift.index[lost], 5)}. What cannot be predicted must have no row."
        )
    if prediction.cells is not None:
        absent = [name for name in names if name not in prediction.cells]
        if absent:
            raise ValueError(f"Method {method!r} has cells, but none of {listed(absent, 5)}.")
        few = [name for name in names if prediction.cells[name].shape[0] < 2]
        if few:
            raise ValueError(f"Method {method!r} has fewer than two cells of {listed(few, 5)}.")
    return shift


def _shift_scores(split: PerturbationSplit, name: str, predicted: np.ndarray, n_top: int) -> dict:
    covariate = split.covariate(name)
    mean, variance = split.observed_moments[name]
    control_mean, control_variance = split.control_moments[covariate]
    t = welch_t(
        mean,
        variance,
        split.observed[name].shape[0],
        control_mean,
        control_variance,
        split.control[covariate].shape[0],
    )
    varies = control_variance > 0
    # A gene that controls lack is measured by the middle gene, or a trace of it would lead all.
    middle = np.sqrt(np.median(control_variance[varies])) if varies.any() else 1.0
    return shift_scores(
        mean - control_mean,
        predicted,
        split.mean_training_shifts.loc[name].to_numpy(),
        t,
        np.where(varies, np.sqrt(control_variance), middle),
        n_top,
    )


def _discrimination(split: PerturbationSplit, shift: pd.DataFrame) -> dict[str, dict[str, float]]:
    found = {}
    for held_out in split.by_covariate(split.observed).values():
        own = [name for name in held_out if name in shift.index]
        if len(held_out) < 2 or not own:
            continue
        others = [name for name in held_out if name not in shift.index]
        scores = discrimination_scores(
            split.shifts.loc[[*own, *others]].to_numpy(), shift.loc[own].to_numpy()
        )
        for i, name in enumerate(own):
            found[name] = {metric: values[i] for metric, values in scores.items()}
    return found


def _cell_scores(
    split: PerturbationSplit,
    name: str,
    predicted: np.ndarray,
    cells: Mapping[str, Matrix] | None,
    max_cells: int,
    seed: int,
) -> dict[str, tuple[float, float]]:
    covariate = split.covariate(name)
    observed = split.observed[name]
    # The same draw for every method, so that they differ in nothing but what they predict.
    rng = np.random.default_rng(seed)
    real = _sample(observed, max_cells, rng)
    control = _sample(split.control[covariate], max_cells, rng)
    mean = split.control_moments[covariate][0]
    if cells is None:
        n = split.control[covariate].shape[0]
        distance = moved_control_distance(real, control, mean, n, predicted)
        return {
            "energy_distance": (distance, 1.0),
            **mean_scores(split.observed_moments[name][0], mean + predicted),
        }
    return {
        "energy_distance": (cell_distance(real, _sample(cells[name], max_cells, rng)), 1.0),
        "variance_ratio": (variance_ratio(observed, cells[name]), 1.0),
        **mean_scores(split.observed_moments[name][0], moments(cells[name])[0]),
    }


def _sample(cells: Matrix, n: int, rng: np.random.Generator) -> np.ndarray:
    few = cells if cells.shape[0] <= n else cells[rng.choice(cells.shape[0], n, replace=False)]
    return as_dense(few)
