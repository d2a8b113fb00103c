"""Arguments that training passes on, checked before anything else is done."""

from __future__ import annotations

import inspect
from difflib import get_close_matches

import lightning.pytorch as lightning

from .._errors import listed, unknown
from .._scvi import Trainer
from ._plan import SetTrainingPlan

_OF_PLAN = [
    name
    for name, parameter in inspect.signature(SetTrainingPlan).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
]
_OF_TRAINER = {
    name
    for trainer in (Trainer, lightning.Trainer)
    for name in inspect.signature(trainer.__init__).parameters
} - {"self", "kwargs"}


def require_train_arguments(plan_kwargs: dict | None, trainer_kwargs: dict) -> None:
    """Raise unless the training plan and the trainer have these arguments.

    Parameters
    ----------
    plan_kwargs, trainer_kwargs
        As given to a model's ``train``.

    Raises
    ------
    TypeError
        If there is no such argument; the message says where it belongs.

    Examples
    --------
    >>> import scgde
    >>> scgde.train.require_train_arguments({"lr": 1e-3}, {"precision": "32-true"})
    """
    misplaced = [name for name in trainer_kwargs if name in _OF_PLAN]
    if misplaced:
        options = ", ".join(f"{name!r}: {trainer_kwargs[name]!r}" for name in misplaced)
        raise TypeError(
            f"{listed(misplaced)} belongs to the training plan: pass plan_kwargs={{{options}}}."
        )
    for name in plan_kwargs or {}:
        if name not in _OF_PLAN:
            raise TypeError(unknown("plan_kwargs", name, _OF_PLAN, "the options of the plan"))
    for name in trainer_kwargs:
        if name not in _OF_TRAINER:
            close = get_close_matches(name, ["early_stopping", *_OF_TRAINER], cutoff=0.5)
            hint = f"Did you mean {listed(close)}? " if close else ""
            raise TypeError(
                f"train has no argument {name!r}, nor has the Lightning trainer, to which it "
                f"passes on what it does not know. {hint}help(model.train) lists its arguments."
            )
