from __future__ import annotations

import signal
import threading
import warnings
from copy import deepcopy

import lightning.pytorch as lightning
import pandas as pd
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch.utils.data import DataLoader

from .._logging import quiet
from .._scvi import Trainer, parse_device_args
from ..nn import seeded
from ._plan import SetTrainingPlan


class BestWeights(EarlyStopping):
    """Stop when the validation loss no longer falls, and go back to the best weights.

    Parameters
    ----------
    patience
        Epochs without a lower validation loss after which training stops.

    Examples
    --------
    >>> import scgde
    >>> scgde.train.BestWeights(patience=5).patience
    5
    """

    def __init__(self, patience: int):
        super().__init__(monitor="validation_loss", patience=patience, mode="min")
        self._best: dict | None = None
        self._lowest = float("inf")

    def on_validation_end(self, trainer: lightning.Trainer, plan: SetTrainingPlan) -> None:
        """Keep the weights if they are the best so far."""
        value = float(trainer.callback_metrics["validation_loss"])
        if value < self._lowest:
            self._lowest, self._best = value, deepcopy(plan.module.state_dict())
        super().on_validation_end(trainer, plan)

    def restore(self, plan: SetTrainingPlan) -> None:
        """Go back to the best weights."""
        if self._best is not None:
            plan.module.load_state_dict(self._best)


def auto_precision(accelerator: str) -> str:
    """Return mixed precision where the device computes in bfloat16, else full precision.

    Parameters
    ----------
    accelerator
        As in scvi-tools.

    Examples
    --------
    >>> import scgde
    >>> scgde.train.auto_precision("cpu")
    '32-true'
    """
    on_gpu = accelerator in ("gpu", "cuda") and torch.cuda.is_available()
    native = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if native else "32-true"


def fit(
    plan: SetTrainingPlan,
    train_loader: DataLoader,
    validation_loader: DataLoader | None,
    *,
    accelerator: str = "auto",
    devices: int | str | list[int] = "auto",
    precision: str = "auto",
    patience: int | None = None,
    seed: int = 0,
    **trainer_kwargs: object,
) -> tuple[dict[str, pd.DataFrame], int, bool]:
    """Run the plan; the plan's module holds what was learned even if training is interrupted.

    Parameters
    ----------
    plan, train_loader, validation_loader
        What is trained on what.
    accelerator, devices
        As in scvi-tools.
    precision
        A Lightning precision; ``"auto"`` is bfloat16 mixed precision where the device has it.
    patience
        Epochs without a lower validation loss after which training stops; None for no early stop.
    seed
        Seed of all randomness in training; the global state is put back afterwards.
    **trainer_kwargs
        Passed to the trainer.

    Returns
    -------
    History (a DataFrame for each logged quantity), steps done, and whether Ctrl-C ended it.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> index = scgde.data.PopulationIndex(np.repeat([0, 1, 2], 10), pd.Index(list("abc")))
    >>> rows = scgde.data.row_source(np.random.default_rng(0).normal(size=(30, 3)))
    >>> sampler = scgde.data.SetSampler(index, 2, 5, n_steps=2)
    >>> loader = scgde.data.set_loader(scgde.data.SetDataset(rows, index), sampler)
    >>> module = scgde.module.GDEModule(3, n_latent=4, n_hidden=8)
    >>> plan = scgde.train.SetTrainingPlan(module, n_steps=2)
    >>> history, n_steps, interrupted = scgde.train.fit(
    ...     plan, loader, None, max_epochs=1, enable_progress_bar=False, logger=False,
    ...     enable_checkpointing=False, enable_model_summary=False,
    ... )
    >>> n_steps, interrupted
    (2, False)
    """
    accelerator, devices, device = parse_device_args(accelerator, devices, return_device="torch")
    callbacks = [*trainer_kwargs.pop("callbacks", [])]
    best = None if patience is None else BestWeights(patience)
    if best is not None:
        callbacks.append(best)
    defaults = {
        "benchmark": False,
        "check_val_every_n_epoch": 1 if validation_loader is not None else None,
        "use_distributed_sampler": False,  # the set sampler draws for each rank by itself
    }
    with quiet("lightning.pytorch"):
        trainer = Trainer(
            accelerator=accelerator,
            devices=devices,
            precision=auto_precision(accelerator) if precision == "auto" else precision,
            callbacks=callbacks,
            **{**defaults, **trainer_kwargs},
        )
    # Lightning answers Ctrl-C by ignoring the signal from then on and leaving the interpreter.
    main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main_thread else None
    interrupted = False
    plan.module.train()  # Lightning keeps the mode that it finds
    if device.type == "cuda":
        torch.cuda.init()  # its generator is seeded below
    with seeded(seed), quiet("lightning.pytorch"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You defined a `validation_step` but have no")
        warnings.filterwarnings("ignore", ".*LeafSpec")  # a matter between Lightning and torch
        try:
            trainer.fit(plan, train_loader, validation_loader)
        except (KeyboardInterrupt, SystemExit):
            interrupted = True
        finally:
            if main_thread:
                signal.signal(signal.SIGINT, handler)
    plan.use_average()
    if best is not None:
        best.restore(plan)
    plan.module.eval().to(device)  # Lightning leaves it on the CPU
    return getattr(trainer.logger, "history", {}), trainer.global_step, interrupted
