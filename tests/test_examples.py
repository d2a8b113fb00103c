"""The examples in docstrings, README and docs run."""

from __future__ import annotations

import doctest
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import scgde

MODULES = [
    m.name
    for m in pkgutil.walk_packages(scgde.__path__, "scgde.")
    if not m.name.endswith("__main__")
]
PAGES = [
    Path(__file__).parents[1] / p for p in ("README.md", "docs/choices.md", "docs/contributing.md")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    space = {}
    for block in blocks:
        # The same code with a moment's training: what is shown, not how good it is.
        exec(block.replace("model.train()", "model.train(max_steps=3)"), space)
