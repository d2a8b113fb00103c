"""Messages for a user's mistakes: what was given, what is there, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral
from os import PathLike

from anndata import AnnData


def listed(names: Iterable, limit: int = 10) -> str:
    """Return names as readable text, cut after ``limit`` of them."""
    names = [repr(str(name)) for name in names]
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def unknown(argument: str, value: object, options: Iterable, where: str) -> str:
    """Return the text for a value that is not among the options, with close matches first."""
    options = [str(option) for option in options]
    close = difflib.get_close_matches(str(value), options, n=3, cutoff=0.5)
    text = f"{argument}={value!r} is not in {where}."
    if close:
        return f"{text} Did you mean {listed(close)}?"
    return f"{text} It has {listed(options)}." if options else f"{text} It is empty."


def require(argument: str, value: object, options: Iterable, where: str) -> None:
    """Raise a ``KeyError`` unless ``value`` is one of the options."""
    options = list(options)
    if value not in options:
        raise KeyError(unknown(argument, value, options, where))


def require_choice(argument: str, value: object, options: Iterable[str]) -> None:
    """Raise a ``ValueError`` unless ``value`` is one of the allowed words."""
    options = list(options)
    if value not in options:
        raise ValueError(unknown(argument, value, options, "the choices"))


def require_type(argument: str, value: object, kinds: type | tuple[type, ...], remedy: str) -> None:
    """Raise a ``TypeError`` unless ``value`` is of a kind, with the remedy for what is not."""
    if isinstance(value, kinds):
        return
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    wanted = " or ".join(("an " if k.__name__[0] in "AEIOU" else "a ") + k.__name__ for k in kinds)
    if isinstance(value, str | PathLike) and AnnData in kinds:
        remedy = f"Read the file first: anndata.read_h5ad({str(value)!r})."
    raise TypeError(f"{argument} must be {wanted}, got {type(value).__name__}. {remedy}")


def require_counts(**values: int) -> None:
    """Raise an error for every keyword whose value is not a whole number above zero."""
    for argument, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"{argument}={value!r} must be a whole number.")
    require_positive(**values)


def require_positive(**values: float) -> None:
    """Raise a ``ValueError`` for every keyword whose value is not above zero."""
    for argument, value in values.items():
        if not value > 0:
            raise ValueError(f"{argument}={value!r} must be above zero.")


def require_zero_or_more(**values: int) -> None:
    """Raise an error for every keyword whose value is not a whole number, zero or above."""
    for argument, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"{argument}={value!r} must be a whole number.")
        if value < 0:
            raise ValueError(f"{argument}={value!r} must be 0 or more.")
