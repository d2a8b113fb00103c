from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .._errors import require_counts
from ..data import CellBatches, CellReader, MemoryRows
from ..module import DPAModule
from ..nn import moments, seeded
from ._fit import fit
from ._plan import SetTrainingPlan

_STEPS_PER_EPOCH = 100
_N_TO_CHOOSE = 2_000  # training cells by which one of several starts is chosen
_ROWS_AT_ONCE = 200_000  # rows of the decoder that an evaluation holds at once


@dataclass(frozen=True)
class DPAFit:
    """Distributional principal autoencoders of several sets of cells, and their held-out scores.

    Attributes
    ----------
    module
        The autoencoders; member ``e`` is of ``sets[members[e]]``.
    members
        The set of every member, ``(E,)``.
    rows
        For each set, the cells that were held out (all of them, with ``cross_fit``), ascending.
    losses
        For each set, the energy score of these cells at every level, ``(n, K + 1)``, in the
        data's units (to the power ``beta``), averaged over the decoder's draws. With
        ``standardize="feature"`` these, residuals and variance are of standardised cells.
    residuals
        Likewise ``|x - E[decoder | z_1..k]|^2``: unbiased, so single values may be below zero.
    variance
        For each set, the total variance of the cells, ``(n_sets,)``.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    >>> fit = scgde.train.fit_dpa(
    ...     [x], n_latent=2, n_hidden=8, n_noise=4, n_steps=2, enable_progress_bar=False
    ... )
    >>> len(fit.rows[0]), fit.residuals[0].shape
    (8, (8, 3))
    """

    module: DPAModule
    members: np.ndarray
    rows: list[np.ndarray]
    losses: list[np.ndarray]
    residuals: list[np.ndarray]
    variance: np.ndarray


def fit_dpa(
    sets: Sequence[np.ndarray],
    *,
    n_latent: int,
    n_hidden: int = 100,
    n_layers: int = 4,
    n_noise: int = 100,
    beta: float = 1.0,
    n_steps: int = 2_000,
    batch_size: int = 128,
    levels_per_step: int | None = None,
    standardize: str = "scale",
    held_out: float = 0.2,
    cross_fit: bool = False,
    n_starts: int = 1,
    n_draws: int = 8,
    lr: float = 2e-3,
    seed: int = 0,
    accelerator: str = "auto",
    devices: int | str | list[int] = "auto",
    enable_progress_bar: bool = True,
) -> DPAFit:
    """Train a distributional principal autoencoder of every set of cells, all at once.

    The networks are members of one batched ensemble, each with its own weights, standardisation
    and cells, so that a hundred cost a few times as much as one rather than a hundred times.

    Parameters
    ----------
    sets
        Cells of each set, ``(n_i, d)``; d is common.
    n_latent, n_hidden, n_layers, n_noise, beta, levels_per_step, standardize
        As in :class:`~scgde.module.DPAModule`.
    n_steps, batch_size, lr
        Training steps; cells of each set in a step; highest learning rate.
    held_out
        Share of each set that is scored rather than trained on.
    cross_fit
        Train ``round(1 / held_out)`` members for each set, each without another part, so that every
        cell is scored by a member that has not seen it.
    n_starts
        Starts of each autoencoder from other weights, of which the one with the lowest loss on its
        training cells is kept. Training can end in a fold (a parabola's first latent is then its
        height; 1 in 8 starts, where this was counted); more starts make that rare.
    n_draws
        Pairs of draws of which scores are averages.
    seed
        Seed of splits, weights, batches and draws.
    accelerator, devices
        As in scvi-tools.
    enable_progress_bar
        Show progress.

    Returns
    -------
    :class:`DPAFit`.

    Raises
    ------
    ValueError
        If a set is not a matrix of finite numbers with the columns of the others or has too few
        cells, an argument is out of range, or training diverged.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    >>> fit = scgde.train.fit_dpa(
    ...     [x], n_latent=2, n_hidden=8, n_noise=4, n_steps=2, enable_progress_bar=False
    ... )
    >>> fit.losses[0].shape
    (8, 3)
    """
    sets = _checked(sets)
    require_counts(n_steps=n_steps, batch_size=batch_size, n_starts=n_starts, n_draws=n_draws)
    if not 0 < held_out < 1:
        raise ValueError(f"held_out={held_out!r} must be above 0 and below 1.")
    rng = np.random.default_rng(seed)
    n_folds = max(round(1 / held_out), 2)
    starts = np.cumsum([0, *map(len, sets)])
    members, train_rows, test_rows = [], [], []
    for i, cells in enumerate(sets):
        order = rng.permutation(len(cells))
        if round(held_out * len(order)) > len(order) - 2:
            raise ValueError(
                f"held_out={held_out!r} leaves fewer than two of the {len(order)} cells of "
                f"sets[{i}] for training. Lower it."
            )
        folds = (
            np.array_split(order, n_folds)
            if cross_fit
            else [order[: max(round(held_out * len(order)), 1)]]
        )
        for fold in folds:
            members.append(i)
            test_rows.append(starts[i] + np.sort(fold))
            train_rows.append(starts[i] + np.setdiff1d(order, fold))
    with seeded(seed):
        module = DPAModule(
            sets[0].shape[1],
            n_latent,
            n_hidden,
            n_layers,
            n_noise,
            beta,
            n_members=len(members) * n_starts,
            levels_per_step=levels_per_step,
            standardize=standardize,
        )
    every = np.concatenate(sets)
    reader = CellReader(MemoryRows(every))
    started_rows = [own for own in train_rows for _ in range(n_starts)]
    initialize_members(module, reader, started_rows)
    per_epoch = min(_STEPS_PER_EPOCH, n_steps)
    batches = CellBatches(reader, started_rows, batch_size, per_epoch, seed=seed)
    _, _, interrupted = fit(
        SetTrainingPlan(module, n_steps, lr=lr),
        batches.loader(),
        None,
        accelerator=accelerator,
        devices=devices,
        seed=seed,
        max_steps=n_steps,
        max_epochs=-1,
        enable_progress_bar=enable_progress_bar,
        log_every_n_steps=per_epoch,
        **_QUIET,
    )
    if interrupted:
        raise KeyboardInterrupt
    with seeded(seed):
        keep_best_starts(module, reader, train_rows, n_starts, rng)
        losses, residuals = _scores(module, every, test_rows, n_draws)
    for member, values in zip(members, losses, strict=True):
        if not np.isfinite(values).all():
            raise ValueError(
                f"The autoencoder of sets[{member}] diverged: its scores are NaN or infinite. "
                f"Lower the rate, lr={lr!r}; look for cells with extreme values."
            )
    rows, by_set = [], ([], [])
    for i in range(len(sets)):
        own = np.flatnonzero(np.array(members) == i)
        found = np.concatenate([test_rows[e] for e in own])
        order = np.argsort(found)
        rows.append(found[order] - starts[i])
        for kept, of_member in zip(by_set, (losses, residuals), strict=True):
            kept.append(np.concatenate([of_member[e] for e in own])[order])
    variance = np.array([cells.var(0, dtype=np.float64).sum() for cells in sets])
    if standardize == "feature":
        first = np.searchsorted(members, np.arange(len(sets)))
        scale = module.scale[first, 0].double().cpu().numpy()
        variance = np.array(
            [(c / of).var(0, dtype=np.float64).sum() for c, of in zip(sets, scale, strict=True)]
        )
    return DPAFit(module, np.array(members), rows, *by_set, variance)


# What Lightning would say or write for a training inside an analysis.
_QUIET = {"enable_model_summary": False, "enable_checkpointing": False, "logger": False}


def initialize_members(module: DPAModule, cells: CellReader, rows: list[np.ndarray]) -> None:
    """Set each member's standardisation from its training cells ``cells[rows[e]]``.

    Parameters
    ----------
    module
        The autoencoders.
    cells
        Where cells come from.
    rows
        Training cells of each member, as row numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> module = scgde.module.DPAModule(n_features=3, n_latent=2, n_hidden=8, n_noise=4)
    >>> x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    >>> cells = scgde.data.CellReader(scgde.data.row_source(x))
    >>> scgde.train.initialize_members(module, cells, [np.arange(40)])
    """
    for member, own in enumerate(rows):
        mean, var = moments(cells[own[i : i + 4096]] for i in range(0, len(own), 4096))
        module.initialize(member, torch.from_numpy(mean).float(), torch.from_numpy(var).float())


@torch.no_grad()
def keep_best_starts(
    module: DPAModule,
    cells: CellReader,
    rows: list[np.ndarray],
    n_starts: int,
    rng: np.random.Generator,
) -> None:
    """Keep, of ``n_starts`` members in a row for each of ``rows``, the best on those cells.

    Parameters
    ----------
    module
        The autoencoders, ``n_starts`` for each of ``rows``; afterwards one for each.
    cells
        Where cells come from.
    rows
        Cells to judge by, as row numbers.
    n_starts
        Members to choose among.
    rng
        Random generator, which draws the cells where there are many.

    Examples
    --------
    >>> import numpy as np
    >>> import scgde
    >>> x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    >>> cells = scgde.data.CellReader(scgde.data.row_source(x))
    >>> module = scgde.module.DPAModule(3, n_latent=2, n_hidden=8, n_noise=4, n_members=2)
    >>> rng = np.random.default_rng(0)
    >>> scgde.train.keep_best_starts(module, cells, [np.arange(40)], 2, rng)
    >>> module.n_members
    1
    """
    if n_starts == 1:
        return
    n = min(max(map(len, rows)), _N_TO_CHOOSE)
    some = np.stack([np.resize(rng.permutation(own), n) for own in rows])
    batch = cells.batch(np.repeat(some, n_starts, 0))
    batch = {name: values.to(module.device) for name, values in batch.items()}
    losses, _ = level_scores(module, batch["x"], 2, batch.get("condition"))
    loss = losses[..., 1:].mean((1, 2))  # level 0, the noisiest, does not know the encoder
    loss = np.nan_to_num(loss, nan=np.inf).reshape(-1, n_starts)  # NaN: it diverged
    best = loss.argmin(1) + n_starts * np.arange(len(rows))
    module.keep(torch.from_numpy(best).to(module.device))


@torch.no_grad()
def level_scores(
    module: DPAModule, x: torch.Tensor, n_draws: int, condition: torch.Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return energy scores and residuals of cells ``(E, n, d)`` by level, in the data's units.

    Each ``(E, n, K + 1)``, averaged over ``n_draws`` pairs of draws. Residuals are those of
    :meth:`DPAModule.level_losses`; where every feature has its own scale, both are in
    standardised units.

    Parameters
    ----------
    module
        The autoencoders, E of them.
    x
        Cells of each, ``(E, n, d)``.
    n_draws
        Pairs of draws to average over.
    condition
        What networks are conditioned on, ``(E, n, C)``.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> module = scgde.module.DPAModule(n_features=3, n_latent=2, n_hidden=8, n_noise=4)
    >>> losses, residuals = scgde.train.level_scores(module, torch.randn(1, 10, 3), n_draws=2)
    >>> losses.shape, residuals.shape
    ((1, 10, 3), (1, 10, 3))
    """
    squared = (
        torch.ones_like(module.unit)
        if module.standardize == "feature"
        else (module.scale[..., :1] ** 2)
    )
    size = max(_ROWS_AT_ONCE // (2 * (module.n_latent + 1) * len(x)), 1)
    parts = []
    for start in range(0, x.shape[1], size):
        own = slice(start, start + size)
        given = None if condition is None else condition[:, own]
        standardized, total = module.standardized(x[:, own]), [0.0, 0.0]
        for _ in range(n_draws):
            losses, residuals = module.level_losses(standardized, given, with_residuals=True)
            total = [total[0] + losses / n_draws, total[1] + residuals / n_draws]
        parts.append([(total[0] * module.unit).cpu(), (total[1] * squared).cpu()])
    return tuple(torch.cat(of, 1).numpy() for of in zip(*parts, strict=True))


def _scores(
    module: DPAModule, cells: np.ndarray, rows: list[np.ndarray], n_draws: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the scores and residuals of each member's cells, ``(n_e, K + 1)`` each."""
    longest = max(map(len, rows))
    # Members with fewer cells repeat some; what these score is cut off again.
    padded = np.stack([np.resize(own, longest) for own in rows])
    x = torch.from_numpy(cells[padded]).to(module.device)
    losses, residuals = level_scores(module, x, n_draws)
    return tuple(
        [values[e, : len(own)].astype(np.float64) for e, own in enumerate(rows)]
        for values in (losses, residuals)
    )


def _checked(sets: Sequence[np.ndarray]) -> list[np.ndarray]:
    if not len(sets):
        raise ValueError("sets is empty: give the cells (n, d) of at least one population.")
    sets = [np.ascontiguousarray(cells, dtype=np.float32) for cells in sets]
    for i, cells in enumerate(sets):
        if cells.ndim != 2 or cells.shape[1] != sets[0].shape[-1]:
            raise ValueError(
                f"sets[{i}] has shape {cells.shape}; cells are a matrix (n, d), with as many "
                f"columns as the first set ({sets[0].shape[-1]})."
            )
        if len(cells) < 5:
            raise ValueError(
                f"sets[{i}] has {len(cells)} cells; a part of at least 5 is held out to score the "
                "autoencoder. Leave it out."
            )
        if not np.isfinite(cells).all():
            raise ValueError(
                f"sets[{i}] has NaN or infinite values. Remove these cells, or impute them."
            )
    return sets
