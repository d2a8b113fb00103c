"""Settings of the autoencoders of an intrinsic dimension, checked before anything is trained."""

from __future__ import annotations

import inspect

from .._errors import require_counts, require_positive, unknown
from ..module import DPAModule
from ..nn import seeded
from ..train import fit_dpa

# Small networks: a population of a hundred cells cannot teach a large one.
DPA_DEFAULTS = {
    "n_latent": 10,
    "n_hidden": 32,
    "n_noise": 16,
    "n_layers": 2,
    "n_steps": 600,
    "batch_size": 32,
    "levels_per_step": 3,
    "lr": 5e-3,
    "held_out": 0.3,
    "n_subsamples": 4,
    "n_nulls": 4,
}
_MIN_HELD_OUT = 3  # cells, of which an interval can be made


def dpa_settings(dpa_kwargs: dict | None) -> dict:
    """Return the settings of the autoencoders, checked, with defaults."""
    given = dict(dpa_kwargs or {})
    of_fit = set(inspect.signature(fit_dpa).parameters)
    allowed = sorted({*DPA_DEFAULTS, *of_fit} - {"sets", "seed", "enable_progress_bar"})
    for name in given:
        if name not in allowed:
            raise ValueError(unknown("dpa_kwargs", name, allowed, "the arguments"))
    settings = {**DPA_DEFAULTS, **given}
    counts = ("n_latent", "n_hidden", "n_layers", "n_noise", "n_steps", "batch_size", "n_starts")
    counts += ("n_draws", "n_subsamples", "n_nulls")
    try:
        require_counts(**{name: settings[name] for name in counts if name in settings})
        require_positive(lr=settings["lr"])
        of_module = set(inspect.signature(DPAModule).parameters) & set(settings)
        with seeded(0):  # the caller's random numbers stay as they are
            DPAModule(2, **{name: settings[name] for name in of_module})
    except (TypeError, ValueError) as error:
        raise type(error)(f"dpa_kwargs: {error}") from error
    if settings["n_subsamples"] < 2 or settings["n_nulls"] < 2:
        raise ValueError(
            "dpa_kwargs: n_subsamples and n_nulls must be 2 or more, to know a spread."
        )
    return settings


def require_held_out(held_out: float, n_cells: int) -> None:
    """Raise unless half of the cells can be split into cells to train on and to score."""
    scored = round(held_out * (n_cells // 2)) if 0 < held_out < 1 else 0
    if not _MIN_HELD_OUT <= scored <= n_cells // 2 - 2:
        raise ValueError(
            f"dpa_kwargs: held_out={held_out!r} scores {scored} of the {n_cells // 2} cells of a "
            f"subsample; it must be {_MIN_HELD_OUT} or more, and leave two to train on."
        )
