"""The examples in docstrings, README and docs run."""

from __future__ import annotations

import doctest
import logging
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import scgde
from scgde._scvi import settings

ROOT = Path(__file__).parents[1]
MODULES = [
    m.name
    for m in pkgutil.walk_packages(scgde.__path__, "scgde.")
    if not m.name.endswith("__main__")
]
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "```python" in page.read_text()
]
FEW = {"methods": ["twonn"], "n_cells": 50, "n_nulls": 2, "n_subsamples": 8}
# The same code with a moment's work: what is shown, not how good it is.
QUICKER = {
    "model.train(": "model.train(max_steps=3, enable_progress_bar=False, ",
    "n_repeats=2": "n_repeats=1",
    "sample_mcmc(500": "sample_mcmc(20",
    'load("schulteschrepping2020")': 'load("schulteschrepping2020")[::4].copy()',
    'use_rep="X_pca", groupby="severity")': 'use_rep="X_pca", groupby="severity", **FEW)',
    "predict_perturbations(adata, model)": "predict_perturbations(adata, model, n_splits=1)",
}


@pytest.fixture(autouse=True)
def quiet():
    """Leave out scvi-tools' remarks on data that is transferred, and close figures."""
    before, settings.verbosity = settings.verbosity, logging.WARNING
    yield
    settings.verbosity = before
    plt.close("all")


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    space = {"FEW": FEW}
    for block in blocks:
        for slow, quick in QUICKER.items():
            if page.name != "dimension.md" or "load" not in slow:  # which needs all its cells
                block = block.replace(slow, quick)
        exec(block, space)
