"""What is public is documented: arguments, results, errors, an example, references that hold.

The examples themselves run in ``test_examples.py``.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

import scgde

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NAMESPACES = [name for name in scgde.__all__ if name != "__version__"]
SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}$", re.MULTILINE)


def public_objects() -> list:
    """Return the functions and classes that the namespaces export."""
    found = []
    for namespace in NAMESPACES:
        module = import_module(f"scgde.{namespace}")
        for name in module.__all__:
            thing = getattr(module, name)
            # scvi-tools makes, and documents, the MuData fields from those of AnnData.
            is_ours = getattr(thing, "__module__", "").startswith("scgde.")
            if is_ours and (inspect.isclass(thing) or inspect.isfunction(thing)):
                found.append(pytest.param(thing, id=f"{namespace}.{name}"))
    return found


def model_methods() -> list:
    """Return the public methods of models and of what they return, inherited ones of scgde too."""
    found = {}
    for name in scgde.model.__all__:
        for attribute, value in inspect.getmembers(getattr(scgde.model, name)):
            function = getattr(value, "__func__", value)
            if (
                inspect.isfunction(function)
                and not attribute.startswith("_")
                and function.__module__.startswith("scgde.")
            ):
                found[function.__qualname__] = pytest.param(function, id=function.__qualname__)
    return list(found.values())


def sections(thing: object) -> dict[str, str]:
    """Return the sections of a docstring by title; what comes first is ``""``."""
    pieces = SECTION.split(inspect.getdoc(thing) or "")
    return {"": pieces[0], **dict(zip(pieces[1::2], pieces[2::2], strict=True))}


def described(thing: object) -> set[str]:
    """Return the names that the sections on parameters and attributes describe."""
    text = sections(thing)
    lines = [
        line
        for title in ("Parameters", "Other Parameters", "Attributes")
        for line in text.get(title, "").splitlines()
        if re.match(r"[\w*]", line)
    ]
    return {name.strip(" *") for line in lines for name in line.split(" :")[0].split(",")}


def arguments(thing: object) -> set[str]:
    """Return the arguments of a function, or those that make an object of a class.

    ``*args`` and ``**kwargs`` are passed on to what describes them.
    """
    if inspect.isclass(thing):
        own = vars(thing).get("__init__")
        if (
            not isinstance(own, FunctionType)
            and not is_dataclass(thing)
            and "_fields" not in vars(thing)
        ):
            return set()
        if issubclass(thing, tuple):
            return set(thing._fields)
    parameters = inspect.signature(thing).parameters.values()
    return {
        p.name
        for p in parameters
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in ("self", "cls")
    }


def own_nodes(function: FunctionType) -> list[ast.AST]:
    """Return the nodes of a function's body, without those of functions within."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    found, waiting = [], list(tree.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def returns(function: FunctionType) -> bool:
    """Return whether a function gives anything back."""
    return any(isinstance(n, ast.Return | ast.Yield) and n.value for n in own_nodes(function))


def raises(function: FunctionType) -> bool:
    """Return whether a function refuses anything itself or through the checks of ``_errors``."""
    return any(
        isinstance(node, ast.Raise)
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id.startswith("require")
        )
        for node in own_nodes(function)
    )


@pytest.mark.parametrize("thing", public_objects() + model_methods())
def test_summary_and_arguments(thing):
    summary = (inspect.getdoc(thing) or "").splitlines()
    assert summary, "no docstring"
    assert summary[0].endswith("."), summary[0]
    missing = arguments(thing) - described(thing)
    assert not missing, f"arguments without a description: {sorted(missing)}"


@pytest.mark.parametrize("thing", public_objects() + model_methods())
def test_results_and_errors(thing):
    function = vars(thing).get("__init__") if inspect.isclass(thing) else thing
    if not isinstance(function, FunctionType) or "<string>" in function.__code__.co_filename:
        return  # what a dataclass or a NamedTuple makes itself neither returns nor raises
    text = sections(thing)
    if returns(function) and function.__name__ != "__init__":
        says = "Returns" in text or "Yields" in text or text[""].startswith("Return")
        assert says, "what is returned is not described"
    if raises(function):
        assert "Raises" in text or text[""].startswith("Raise"), "errors are not described"


@pytest.mark.parametrize("thing", public_objects())
def test_there_is_an_example(thing):
    assert ">>> " in inspect.getdoc(thing)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_references_lead_somewhere(namespace):
    package = import_module(f"scgde.{namespace}")
    lost = []
    for file in sorted(Path(package.__file__).parent.glob("*.py")):
        module = (
            package if file.stem == "__init__" else import_module(f"{package.__name__}.{file.stem}")
        )
        targets = re.findall(r":(?:class|func|meth|mod|attr):`~?([\w.]+)`", file.read_text())
        lost += [f"{file.name}: {t}" for t in targets if not leads_somewhere(t, module, package)]
    assert not lost


def leads_somewhere(target: str, module: object, package: object) -> bool:
    """Return whether a reference names anything: of scgde, of its file or of the file's classes."""
    first, *rest = target.split(".")
    if first != "scgde" and first in sys.modules:
        return True  # another project's; its pages would need a network
    classes = [c for c in {**vars(package), **vars(module)}.values() if inspect.isclass(c)]
    for start in (scgde if first == "scgde" else module, package, *classes):
        thing = start
        for part in rest if first == "scgde" else [first, *rest]:
            thing = getattr(thing, part, None)
        if thing is not None:
            return True
    return False


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS.glob("*.md")], ids=lambda p: p.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    files = [link.split("#")[0] for link in links if "://" not in link]
    lost = [file for file in files if file and not (page.parent / file).exists()]
    assert not lost


def test_every_table_is_explained():
    explained = re.findall(r"```{benchmark} (\w+)\n", (DOCS / "benchmarks.md").read_text())
    results = ROOT / "benchmarks" / "results"
    tables = {p.stem for p in results.glob("*.csv") if not p.stem.endswith("_runs")}
    assert sorted(explained) == sorted(tables)


def test_every_page_is_reached():
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    reached = set(re.findall(r"^(?:.*<)?(\w+)>?$", (DOCS / "index.md").read_text(), re.MULTILINE))
    assert pages <= reached
