from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ._errors import unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes by name, so that a model is built from plain words and saved as such.

    Parameters
    ----------
    kind
        What the classes are, for error messages: ``"encoder"``.

    Examples
    --------
    >>> from scgde.encoders import ENCODERS
    >>> "resnet_gnn" in ENCODERS.names()
    True
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Return a class decorator that files the class under ``name``.

        Raises
        ------
        ValueError
            If another class already has the name.
        """

        def file(cls: type[T]) -> type[T]:
            present = self._classes.get(name)
            if present is not None and present.__qualname__ != cls.__qualname__:
                raise ValueError(
                    f"The {self.kind} name {name!r} belongs to {present.__qualname__}; "
                    "choose another name."
                )
            self._classes[name] = cls
            return cls

        return file

    def get(self, name: str) -> type[T]:
        """Return the class registered as ``name``.

        Raises
        ------
        ValueError
            If there is none; the message lists close matches.
        """
        if name not in self._classes:
            raise ValueError(unknown(self.kind, name, self.names(), f"the registered {self.kind}s"))
        return self._classes[name]

    def names(self) -> list[str]:
        """Return all registered names, sorted."""
        return sorted(self._classes)
