from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from rich.progress import track

from .._errors import require_counts
from ..data import group_cells
from ..metrics import (
    PerturbationSplit,
    ShiftPrediction,
    perturbation_baselines,
    perturbation_report,
    perturbation_summary,
)
from ..model import PerturbationGDE
from ._perturbation_cells import predicted_and_control_cells, require_free_columns
from ._perturbation_screen import Screen, read_screen
from ._perturbation_splits import perturbation_splits, require_training

METHOD = "gde"


def predict_perturbations(
    adata: AnnData,
    model: PerturbationGDE,
    *,
    n_splits: int = 5,
    test_size: float = 0.2,
    held_out: list[str] | list[list[str]] | None = None,
    hold_out_combinations: bool = False,
    baselines: bool = True,
    n_cells: int = 200,
    n_top: int = 20,
    min_cells: int = 10,
    max_cells: int = 500,
    seed: int = 0,
    key_added: str = "gde_perturbation",
    return_cells: bool = False,
    enable_progress_bar: bool = True,
) -> pd.DataFrame | tuple[pd.DataFrame, AnnData]:
    """Predict perturbations that were held out, and score that beside baselines and a ceiling.

    In each split all cells of some perturbations are removed, in every covariate; then the model is
    trained anew, predicts them, and every baseline is fitted to the same remaining cells.

    Parameters
    ----------
    adata
        The cells that the model was set up on, with counts or real values; in memory or backed.
    model
        A trained perturbation model (:class:`~scgde.model.PerturbationGDE`); its design and its
        training are repeated, its weights are not used. Any object with the same ``refit``,
        ``predict``, ``parts``, ``features``, ``get_feature_names``, ``get_parameters``,
        ``release``, ``perturbation_key``, ``control`` and ``covariate_key`` will do.
    n_splits, test_size
        Number of splits, and the share of perturbations held out in each: one fold of K, the
        nearest whole number to ``1 / test_size``, so that 0.3 holds out a third and 0.4 a half.
        Every perturbation is held out once before any is twice: 5 splits of a fifth hold out each
        once. A model is trained for each split, for as long as the one given was.
    held_out
        The perturbations to hold out, or a list of them for each split, in place of random ones;
        ``n_splits`` and ``test_size`` are then not used.
    hold_out_combinations
        Remove also all combinations that contain a component of what is held out. By default they
        stay, and ``n_seen`` of the report says how many components were seen (Roohani et al. 2024,
        GEARS: 0, 1 or 2 of 2).
    baselines
        Score the baselines of :func:`~scgde.metrics.perturbation_baselines` too.
    n_cells
        Cells to generate of each held-out population; 0 for none, and no variance ratio.
    n_top
        Number of top differential genes.
    min_cells
        Populations of fewer cells are not scored, and not used by baselines.
    max_cells
        Cells of each side in energy distances; two at least.
    seed
        Seed of splits, generated cells, halves and bootstrap.
    key_added
        Where to write.
    return_cells
        Return the generated cells too, with the control cells: with ``adata`` what cell-eval and
        the like compare.
    enable_progress_bar
        Show progress over splits.

    Returns
    -------
    The summary (:func:`~scgde.metrics.perturbation_summary`, with differences to ``"gde"``); with
    ``return_cells`` also an AnnData in the units of ``adata`` (counts or real values) of generated
    cells of the held-out perturbations and all control cells, with the perturbation and covariate
    columns of ``adata``, ``"is_predicted"`` and ``"split"``. Written to ``.uns[key_added]``:

    ``summary``
        That table.
    ``report``
        Every score of :func:`~scgde.metrics.perturbation_report`, with ``split``.
    ``predictions``
        Of held-out populations: ``table`` (``population``, ``perturbation``, ``covariate``,
        ``split``, ``n_cells``), ``predicted`` and ``observed`` shifts, arrays of its rows x
        ``genes``.
    ``params``
        How it was done; ``test_size`` is 0 where ``held_out`` was given.

    Raises
    ------
    KeyError, TypeError, ValueError
        If ``adata`` does not fit the model, the model is of another kind, a perturbation cannot be
        held out, too few can, or nothing with features is left to learn from.
    RuntimeError
        If the model is not trained, so that there is no training to repeat.

    Notes
    -----
    All scores are of ``log(1 + 10^4 x / total)`` for counts. The control mean is known to every
    method and enters every shift: its noise is shared by what is predicted and what is observed.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.perturbed_populations(6, 2, 20)
    >>> scgde.model.PerturbationGDE.setup_anndata(adata, "perturbation", control="control")
    >>> model = scgde.model.PerturbationGDE(adata, features="gene_features", n_latent=8)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> table = scgde.tl.predict_perturbations(
    ...     adata, model, held_out=["target_00", "target_01"], enable_progress_bar=False
    ... )
    >>> table["method"].unique().tolist()
    ['gde', 'no_change', 'training_mean', 'matching_mean', 'ridge', 'kriging', 'data_ceiling']
    """
    require_counts(min_cells=min_cells, n_top=n_top, max_cells=max_cells)
    if n_cells != 0:
        require_counts(n_cells=n_cells)
    if n_cells == 1:
        raise ValueError("n_cells=1 has no variance: generate two cells at least, or none (0).")
    if min_cells < 4:
        raise ValueError(f"min_cells={min_cells!r} must be at least 4: cells are cut in halves.")
    if return_cells and n_cells == 0:
        raise ValueError("return_cells=True needs cells: n_cells must be above 0.")
    if max_cells < 2:
        raise ValueError(f"max_cells={max_cells!r} must be at least 2: it pairs cells of a side.")
    screen = read_screen(adata, model)
    if return_cells:
        require_free_columns(screen)
    splits = perturbation_splits(
        screen, model.features.index, n_splits, test_size, held_out, min_cells, seed
    )
    removals = [screen.same(names, hold_out_combinations) for names in splits]
    for removed in removals:
        require_training(screen, model.features.index, removed)
    reports, predictions, cells = [], [], []
    folds = list(zip(splits, removals, strict=True))
    for number, (names, removed) in enumerate(
        track(folds, "Holding out perturbations", disable=not enable_progress_bar)
    ):
        split = screen.split(names, removed, min_cells)
        methods, features, generated = _predict(
            model, screen, split, removed, n_cells, seed + number
        )
        if baselines:
            methods |= perturbation_baselines(split, features)
        report = perturbation_report(
            split, methods, n_top=n_top, max_cells=max_cells, seed=seed + number
        )
        reports.append(report.assign(split=number))
        predictions.append(_kept(screen, split, methods[METHOD], number))
        cells.append(generated)
    report = pd.concat(reports, ignore_index=True)
    summary = perturbation_summary(report, reference=METHOD, seed=seed)
    adata.uns[key_added] = {
        "summary": summary,
        "report": report.set_index(report.index.astype(str)),
        "predictions": _joined(predictions, screen),
        "params": {
            "perturbation_key": model.perturbation_key,
            "covariate_key": model.covariate_key or "",
            "control": model.control,
            "n_splits": len(splits),
            "test_size": test_size if held_out is None else 0.0,
            "given_splits": held_out is not None,
            "hold_out_combinations": hold_out_combinations,
            "n_cells": n_cells,
            "n_top": n_top,
            "min_cells": min_cells,
            "max_cells": max_cells,
            "seed": seed,
            "interval": "95 %, bootstrap over perturbations",
        },
    }
    if not return_cells:
        return summary
    return summary, predicted_and_control_cells(screen, cells)


def _predict(
    model: PerturbationGDE,
    screen: Screen,
    split: PerturbationSplit,
    removed: list[str],
    n_cells: int,
    seed: int,
) -> tuple[dict[str, ShiftPrediction], pd.DataFrame, AnnData | None]:
    """Return what a model knows that never saw the removed perturbations, and its features."""
    keep = np.ones(screen.adata.n_obs, dtype=bool)
    keep[screen.rows_of(removed)] = False
    training = screen.adata[keep]
    fitted = model.refit(training.to_memory() if screen.adata.isbacked else training.copy())
    try:
        names = list(dict.fromkeys(split.perturbation(name) for name in split.observed))
        found = fitted.predict(names, n_cells=n_cells, seed=seed, enable_progress_bar=False)
        features = fitted.features
    finally:
        fitted.release()
    shift = found.mean_shift.loc[list(split.observed)]
    if not n_cells:
        return {METHOD: ShiftPrediction(shift)}, features, None
    codes, populations = group_cells(found.cells.obs, screen.keys)
    cells = {}
    for name in split.observed:
        own = found.cells.X[codes == populations.get_loc(name)]
        cells[name] = screen.normalized(own)
    return {METHOD: ShiftPrediction(shift, cells)}, features, found.cells


def _kept(screen: Screen, split: PerturbationSplit, of: ShiftPrediction, number: int) -> tuple:
    table = screen.table.loc[list(split.observed)].rename_axis("population").reset_index()
    return table.assign(split=number), of.shift.to_numpy(), split.shifts.to_numpy()


def _joined(predictions: list[tuple], screen: Screen) -> dict:
    tables, predicted, observed = zip(*predictions, strict=True)
    table = pd.concat(tables, ignore_index=True)
    return {
        # Genes are no columns of a table: HDF5 holds some thousands of columns at most.
        "table": table.set_index(table.index.astype(str)),
        "predicted": np.concatenate(predicted).astype(np.float32),
        "observed": np.concatenate(observed).astype(np.float32),
        "genes": screen.means.columns.to_numpy(dtype=object),
    }
