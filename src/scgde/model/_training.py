from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import torch

from .._errors import listed, require_positive
from .._scvi import BaseModelClass
from ..data import (
    DONOR_KEY,
    ModalRows,
    SetDataset,
    Sets,
    dense,
    set_loader,
    split_cells,
    total_counts,
)
from ..nn import moments
from ..train import SetTrainingPlan, fit, require_train_arguments
from ._after_training import end_training

STEPS_PER_EPOCH = 100
_MAX_CELLS_FOR_MOMENTS = 50_000
_N_CELLS_FOR_ENCODER = 2_000


class TrainingMixin(BaseModelClass):
    """``train``: sets drawn anew at every step, whole populations held out."""

    def train(
        self,
        max_epochs: int = 20,
        max_steps: int | None = None,
        *,
        populations_per_batch: int = 16,
        cells_per_population: int = 100,
        draw: str = "disjoint",
        train_size: float = 0.9,
        validation: str | None = None,
        early_stopping: bool = False,
        early_stopping_patience: int = 5,
        accelerator: str = "auto",
        devices: int | str | list[int] = "auto",
        seed: int | None = None,
        plan_kwargs: dict | None = None,
        **trainer_kwargs: object,
    ) -> None:
        """Train the model.

        Every step draws populations, or other sets of the model's set prior, and cells of each,
        anew; so an epoch is not a pass over the data but a unit of reporting, 100 steps. Ctrl-C
        ends training; the model keeps what it has learned and is usable.

        Parameters
        ----------
        max_epochs
            Epochs of 100 steps.
        max_steps
            Number of steps instead.
        populations_per_batch, cells_per_population
            Size of a step.
        draw
            ``"disjoint"``: the generator explains cells that the encoder did not see, except of
            populations of fewer than four cells, and of weighted sets of fewer than twenty
            effective ones. ``"same"``: both get the same cells, as published.
        train_size
            Share of the units that train; the rest gives the validation loss. Training that goes on
            keeps the split of the first training, so that nothing held out has ever been seen.
        validation
            What is held out: whole ``"population"``, whole ``"donor"`` (the default where a donor
            key is set up) or a share of each population's ``"cell"`` (the default where there is
            one population). Validation sets are drawn from these cells alone, training sets from
            the others alone.
        early_stopping, early_stopping_patience
            Stop after so many epochs without a lower validation loss, and keep the best weights.
        accelerator, devices
            As in scvi-tools.
        seed
            Seed of splits, draws and noise; by default the model's. On CPU a seeded run is
            reproduced to the bit.
        plan_kwargs
            Options of :class:`~scgde.train.SetTrainingPlan`: ``lr``, ``weight_decay``,
            ``ema_decay``, ``label_weight``.
        **trainer_kwargs
            Options of the Lightning trainer: ``precision``, ``gradient_clip_val``,
            ``enable_progress_bar``, ...

        Raises
        ------
        ValueError
            If there is one population only and it is the set, the set prior does not fit the data,
            or an argument is out of range; or if training diverged: the weights are not finite.
        KeyboardInterrupt
            After Ctrl-C, once the model is usable.
        """
        arguments = {k: v for k, v in locals().items() if k not in ("self", "trainer_kwargs")}
        # Kept with the model, so plain values only: no callbacks or loggers.
        arguments |= {k: v for k, v in trainer_kwargs.items() if _is_plain(v)}
        require_train_arguments(plan_kwargs, trainer_kwargs)
        require_positive(
            max_epochs=max_epochs,
            populations_per_batch=populations_per_batch,
            cells_per_population=cells_per_population,
        )
        n_steps = max_steps if max_steps is not None else max_epochs * STEPS_PER_EPOCH
        require_positive(max_steps=n_steps)
        seed = self.seed_ if seed is None else seed
        dataset = self._dataset()
        sets = self._sets(dataset, self.adata)
        if self.label_keys_with_heads and (dataset.labels < 0).all():
            raise ValueError("label_head=True, but no population has a label: check labels_key.")
        donors = self._column(self.adata_manager, DONOR_KEY)
        if validation is None:
            is_one = (sets.index.sizes > 0).sum() < 2
            validation = "cell" if is_one else "population" if donors is None else "donor"
        if self.steps_done_ == 0:
            self.split_ = {"train_size": train_size, "by": validation, "seed": seed}
        training, held_out = split_cells(sets.index, donors=donors, **self.split_)
        training_sets, held_out_sets = sets.restrict(training), sets.restrict(held_out)
        training_sets.require_trainable()
        n_held_out = held_out_sets.n_sets(cells_per_population)
        if early_stopping and (plan_kwargs or {}).get("ema_decay") is not None:
            raise ValueError(
                "early_stopping=True goes back to the best weights, plan_kwargs['ema_decay'] "
                "replaces them by their average: choose one."
            )
        if early_stopping and n_held_out == 0:
            raise ValueError(
                f"early_stopping=True needs held-out data, but train_size={train_size} leaves "
                "none. Lower train_size, or stop after max_epochs."
            )
        if self.steps_done_ == 0:
            self._initialize(dataset, training, seed)

        def loader(sets: Sets, n_steps: int, fixed: bool):
            sampler = sets.sampler(
                populations_per_batch=populations_per_batch,
                cells_per_population=cells_per_population,
                n_steps=n_steps,
                draw=draw,
                # Training that goes on must not draw the same sets again; validation should.
                seed=self.split_["seed"] if fixed else seed + self.steps_done_,
                fixed=fixed,
            )
            return set_loader(dataset, sampler)

        plan = SetTrainingPlan(self.module, n_steps, self.steps_done_, **plan_kwargs or {})
        per_epoch = min(STEPS_PER_EPOCH, n_steps)
        # A validation set of fixed draws: each population about twice, if that is not too long.
        n_validation = math.ceil(2 * n_held_out / min(populations_per_batch, max(n_held_out, 1)))
        history, steps, interrupted = fit(
            plan,
            loader(training_sets, per_epoch, fixed=False),
            loader(held_out_sets, min(n_validation, 50), fixed=True) if n_held_out else None,
            accelerator=accelerator,
            devices=devices,
            patience=early_stopping_patience if early_stopping else None,
            seed=seed + self.steps_done_,
            max_epochs=math.ceil(n_steps / per_epoch),
            max_steps=n_steps,
            **{"gradient_clip_val": 10.0, "log_every_n_steps": per_epoch, **trainer_kwargs},
        )
        self.train_indices, self.validation_indices = training, held_out
        trained = np.unique(sets.index.codes[training])
        self.trained_populations_ = [str(name) for name in sets.index.names[trained]]
        self._remember_cells(sets.index, training)
        self.training_runs_.append(arguments)
        end_training(self, history, steps, n_steps, interrupted)

    @torch.no_grad()
    def _initialize(self, dataset: SetDataset, rows: np.ndarray, seed: int) -> None:
        """Give scales and intercepts their values from (a sample of) the training cells."""
        rng = np.random.default_rng(seed)
        self._require_modalities(dataset, rows)
        if len(rows) > _MAX_CELLS_FOR_MOMENTS:
            rows = np.sort(_sampled(dataset, rows, _MAX_CELLS_FOR_MOMENTS, rng))
        module, parts = self.module, dataset.parts(rows)
        if module.standardize is not None:
            mean, var = module.standardize.fit(*(part.source.chunks(own) for part, own in parts))
            log_library = torch.zeros(2).expand(len(parts), -1)
        else:
            found = zip(*(self._count_moments(part, own) for part, own in parts), strict=True)
            mean, var, log_library = (torch.cat(of) for of in found)
        if module.modalities is None or not module.generator.accepts_modalities:
            log_library = log_library[0]
        module.generator.initialize(mean, var, log_library)
        some = _sampled(dataset, rows, _N_CELLS_FOR_ENCODER, rng)[None]
        x, _, library = self._to_device(dataset, some, torch.empty(0))
        module.encoder.initialize(dense(module.view(x, library))[0])

    def _require_modalities(self, dataset: SetDataset, rows: np.ndarray) -> None:
        """Raise if no training cell has a modality, or has all where the generator needs it."""
        if self.module.modalities is None:
            return
        present = dataset.source.present[rows]
        names = self.modality_names
        lost = [name for name, has in zip(names, present.any(0), strict=True) if not has]
        if lost:
            raise ValueError(
                f"No training cell has the modality {listed(lost)}. Leave it out of modalities, or "
                "hold fewer populations out (train_size)."
            )
        if not self.module.generator.accepts_modalities and not present.all(1).any():
            generator = self.init_params_["non_kwargs"]["generator"]
            raise ValueError(
                f"generator={generator!r} learns from cells that have all of {listed(names)}, and "
                "there is none. Use 'cvae', which takes any."
            )

    def _count_moments(
        self, dataset: SetDataset, rows: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return mean and variance of counts, ``(d,)`` each, and of log sizes, ``(1, 2)``."""
        module, log_library = self.module, torch.zeros(2)
        blocks = dataset.source.chunks(rows)
        if module.generator.uses_library:
            # Sizes first, then the moments of counts scaled to the mean size.
            size, total = self._sizes(dataset, rows)
            shift = (total.log() - size.log()).mean()
            module.library_scale.fill_(shift.exp())
            log_size = size.log() + shift
            log_library = torch.stack([log_size.mean(), log_size.std(correction=0)])
            factor = (log_size.exp().mean() / log_size.exp()).numpy()
            blocks = (
                sp.diags(factor[start : start + len_]) @ block
                for start, len_, block in _enumerated(blocks)
            )
        mean, var = (torch.from_numpy(np.asarray(m)).float() for m in moments(blocks))
        return mean, var, log_library[None]

    @staticmethod
    def _sizes(dataset: SetDataset, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each cell's size and its total count."""
        sizes, totals = [], []
        for start in range(0, len(rows), 4096):
            piece = rows[start : start + 4096, None]
            x = dataset.cells(piece)
            sizes.append(dataset.library(piece, x)[:, 0])
            totals.append(total_counts(x)[:, 0].clamp_min(1.0))
        return torch.cat(sizes), torch.cat(totals)


def _sampled(
    dataset: SetDataset, rows: np.ndarray, n_cells: int, rng: np.random.Generator
) -> np.ndarray:
    """Return some cells of ``rows``, and more of each of M modalities that few of them have.

    There are ``n_cells``, or all that there are; then of each modality ``n_cells / M``, or all.
    """
    some = rng.choice(rows, min(len(rows), n_cells), replace=False)
    if not isinstance(dataset.source, ModalRows):
        return some
    for present in dataset.source.present.T:
        others = np.setdiff1d(rows[present[rows]], some)
        wanted = n_cells // len(dataset.source.sources) - present[some].sum()
        more = rng.choice(others, np.clip(wanted, 0, len(others)), replace=False)
        some = np.concatenate([some, more])
    return some


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)


def _enumerated(blocks: Iterator) -> Iterator[tuple[int, int, object]]:
    start = 0
    for block in blocks:
        yield start, block.shape[0], block
        start += block.shape[0]
