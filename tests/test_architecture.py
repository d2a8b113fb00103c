"""Data flows down the house and never back up; importing it is light; names are documented."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import scgde

SOURCE = Path(scgde.__file__).parent
LAYERS = [
    "data",
    "nn",
    "distances",
    "stats",
    "encoders",
    "generators",
    "module",
    "train",
    "model",
    "metrics",
    "tl",
    "pl",
    "datasets",
]


def imported_packages(path: Path) -> set[str]:
    """Return the scgde packages that a file imports, wherever in the file."""
    depth = len(path.relative_to(SOURCE).parents) - 1
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level > depth:
            found |= {node.module.split(".")[0]} if node.module else {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scgde."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("scgde.")}
    return found & set(LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_down(layer):
    files = list((SOURCE / layer).rglob("*.py"))
    assert files
    for file in files:
        above = [p for p in imported_packages(file) if LAYERS.index(p) > LAYERS.index(layer)]
        assert not above, f"{file.name} of {layer} imports {above}"


def test_scvi_is_touched_in_one_file():
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            )
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if any(name.split(".")[0] == "scvi" for name in names):
                assert file.name == "_scvi.py", file


def test_files_are_short():
    for file in SOURCE.rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 400, file


def test_import_is_light():
    script = (
        "import sys, time; t = time.perf_counter(); import scgde; "
        "t = time.perf_counter() - t; "
        "heavy = {'torch', 'anndata', 'scvi', 'pandas', 'lightning'} & set(sys.modules); "
        "assert not heavy, heavy; assert t < 0.5, t; assert 'model' in dir(scgde); scgde.model.GDE"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_mixins_do_not_hide_one_another():
    mixins = [c for c in scgde.model.GDE.__mro__[1:] if c.__module__.startswith("scgde.model.")]
    own = [{n for n, f in vars(c).items() if inspect.isfunction(f)} for c in mixins]
    for i, names in enumerate(own):
        for j in range(i + 1, len(own)):
            if not issubclass(mixins[i], mixins[j]):
                assert not names & own[j], (mixins[i], mixins[j])


def public_objects():
    for name in LAYERS:
        module = import_module(f"scgde.{name}")
        for attribute in module.__all__:
            thing = getattr(module, attribute)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield pytest.param(thing, id=f"{name}.{attribute}")


@pytest.mark.parametrize("thing", public_objects())
def test_public_names_are_documented_and_typed(thing):
    assert inspect.getdoc(thing), thing
    functions = [thing] if inspect.isfunction(thing) else []
    if inspect.isclass(thing):
        functions = [
            f
            for n, f in vars(thing).items()
            if inspect.isfunction(f) and not n.startswith("_") and f.__module__ == thing.__module__
        ]
    for function in functions:
        assert inspect.getdoc(function), function
        assert "return" in function.__annotations__ or function.__name__ == "load", function


def test_every_registered_class_is_exported():
    for registry, package in (
        (scgde.encoders.ENCODERS, scgde.encoders),
        (scgde.generators.GENERATORS, scgde.generators),
    ):
        for name in registry.names():
            cls = registry.get(name)
            if cls.__module__.startswith("scgde."):
                assert cls.__name__ in package.__all__
