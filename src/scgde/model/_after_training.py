"""What every model does when training ends."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pandas as pd
import torch

from .._errors import listed
from .._scvi import BaseModelClass

logger = logging.getLogger(__name__)


def end_training(
    model: BaseModelClass,
    history: dict[str, pd.DataFrame],
    n_steps: int,
    planned_steps: int,
    interrupted: bool,
) -> None:
    """Record what was done; raise if it came to nothing or was interrupted.

    Raises
    ------
    ValueError
        If weights are not finite.
    KeyboardInterrupt
        If training was interrupted; the model is usable.
    """
    model.history_ = _longer(model.history_, history)
    model.steps_done_ += n_steps
    model.is_trained_ = n_steps > 0 or model.is_trained_
    require_finite(model, history)
    if interrupted:
        logger.warning(
            "Training was interrupted after %d of %d steps; the model keeps the weights it "
            "had reached and can be used, saved or trained further.",
            n_steps,
            planned_steps,
        )
        raise KeyboardInterrupt


def _longer(
    old: dict[str, pd.DataFrame] | None, new: dict[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Return a history with that of further training after it."""
    new = {k: v for k, v in new.items() if k not in ("epoch", "step")}
    if not old:
        return new
    joined = dict(old)
    for name, more in new.items():
        before = old.get(name)
        if before is not None:
            more.index = more.index + len(before)
            more.index.name = before.index.name
        joined[name] = more if before is None else pd.concat([before, more])
    return joined


def require_finite(model: BaseModelClass, history: dict[str, pd.DataFrame]) -> None:
    """Raise if the weights are not finite, warn if only the last training loss is not."""
    state = model.module.state_dict()
    wrong = [name for name, values in state.items() if not torch.isfinite(values).all()]
    if wrong:
        model.is_trained_ = False
        raise ValueError(
            f"Training diverged: {listed(wrong, 3)} of the module are NaN or infinite, and "
            "the model is of no use. Make it anew and train it with a lower rate, "
            "plan_kwargs={'lr': ...}; look for features with extreme values in the cells."
        )
    losses = history.get("train_loss")
    if losses is not None and len(losses) and not np.isfinite(float(losses.iloc[-1, 0])):
        warnings.warn(
            "The training loss of the last epoch is NaN or infinite, though the weights are "
            "finite. Look at model.history['train_loss'] before the model is used; train with "
            "a lower rate, plan_kwargs={'lr': ...}.",
            UserWarning,
            stacklevel=4,
        )
