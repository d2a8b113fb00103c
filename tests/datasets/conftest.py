from __future__ import annotations

import pytest

from scgde.datasets import _catalogue, _download

from .server import registry, running, use_registry


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(_download, "sleep", lambda seconds: None)
    with running() as server:
        yield server


@pytest.fixture
def tiny(tmp_path, monkeypatch, server):
    """Return a function that makes ``tiny`` a set of the server, and the place of its file."""

    def make(*urls, **of_file):
        use_registry(
            registry(tmp_path / "registry", list(urls or [server.url]), **of_file), monkeypatch
        )
        return tmp_path / "cache" / "tiny" / "file.bin"

    yield make
    monkeypatch.undo()
    _catalogue.entries.cache_clear()
