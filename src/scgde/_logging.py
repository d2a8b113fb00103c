"""Libraries' notices, silenced where they speak of what a user did not ask about."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(prefix: str) -> Iterator[None]:
    """Silence notices (not warnings) of the loggers whose names start with ``prefix``."""
    loggers = [
        logger
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and name.startswith(prefix)
    ]
    levels = [logger.level for logger in loggers]
    effective = [logger.getEffectiveLevel() for logger in loggers]
    for logger, level in zip(loggers, effective, strict=True):
        logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
