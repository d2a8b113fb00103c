"""The notebooks of ``tutorials/`` hold what a run of theirs gave, and still run."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import scgde

NOTEBOOKS = sorted((Path(__file__).parents[1] / "tutorials").glob("*.ipynb"))
FULL_SCALE = "## At the paper's full scale"
# A folder of some machine, and not part of an address or of a longer path.
MACHINE_PATH = re.compile(
    r"(?<![\w.:/~-])/(?:home|root|Users|tmp|work|mnt|opt|srv|usr|var|private)/\w|[A-Z]:\\\w"
)


def read(path: Path) -> list[dict]:
    """Return the cells of a notebook, each with its source as one text."""
    cells = json.loads(path.read_text())["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells]


def code(path: Path) -> list[dict]:
    return [cell for cell in read(path) if cell["cell_type"] == "code"]


def outputs(path: Path) -> list[dict]:
    return [output for cell in code(path) for output in cell["outputs"]]


def texts(output: dict) -> list[str]:
    """Return what an output says; not its images, whose code may spell anything."""
    data = {**output.get("data", {}), "stream": output.get("text", "")}
    return ["".join(value) for kind, value in data.items() if not kind.startswith("image/")]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> Path:
    return request.param


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_all_of_it_was_run_in_order(notebook):
    counts = [cell["execution_count"] for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert sum("image/png" in output.get("data", {}) for output in outputs(notebook)) >= 2


def test_outputs_are_clean(notebook):
    for output in outputs(notebook):
        assert output["output_type"] != "error", output["ename"]
        assert output.get("name") != "stderr", output["text"]
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
        for text in texts(output):
            assert "Warning" not in text
            assert "\r" not in text, "a progress bar"


def test_no_path_of_a_machine(notebook):
    said = [cell["source"] for cell in read(notebook)]
    said += [text for output in outputs(notebook) for text in texts(output)]
    found = [match.group() for text in said for match in MACHINE_PATH.finditer(text)]
    assert not found


@pytest.mark.parametrize(
    "text", ["/home/me/x.py:3: note", "in '/tmp/a'", "(/mnt/lab/x)", "C:\\Users\\me", "\n/opt/venv"]
)
def test_a_path_of_a_machine_is_seen(text):
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize(
    "text", ["https://site.org/home/x", "../docs/gde.md", "cells/tmp/x", "and/or", "~/work/x"]
)
def test_what_is_no_path_of_a_machine(text):
    assert not MACHINE_PATH.search(text)


def test_it_is_small(notebook):
    assert notebook.stat().st_size < 1_000_000


def test_title_and_text(notebook):
    cells = read(notebook)
    assert cells[0]["cell_type"] == "markdown"
    assert re.match(r"# \S", cells[0]["source"])
    markdown = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
    assert sum(text.startswith("# ") for text in markdown) == 1


def test_full_scale_names_what_there_is(notebook):
    section = [c["source"] for c in read(notebook) if FULL_SCALE in c["source"]]
    assert len(section) == 1, f"one section {FULL_SCALE!r}"
    blocks = re.findall(r"```python\n(.*?)```", section[0], re.DOTALL)
    assert blocks
    known = scgde.datasets.list().index
    for block in blocks:
        for call in (n for n in ast.walk(ast.parse(block)) if isinstance(n, ast.Call)):
            if ast.unparse(call.func) == "scgde.datasets.load":
                assert ast.literal_eval(call.args[0]) in known
    names = re.findall(r"\bscgde((?:\.[A-Za-z_]\w*)+)", "\n".join(blocks))
    for name in names:
        thing = scgde
        for part in name.split(".")[1:]:
            thing = getattr(thing, part)


def test_links_to_files_lead_somewhere(notebook):
    for cell in read(notebook):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", cell["source"]):
            assert (notebook.parent / target).exists(), target


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_it_runs(notebook, tmp_path):
    reason = "`make tutorials` installs what runs notebooks"
    nbformat = pytest.importorskip("nbformat", reason=reason)
    nbclient = pytest.importorskip("nbclient", reason=reason)
    fresh = nbformat.read(notebook, as_version=4)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # A cell that raises ends the test: CellExecutionError shows it.
    nbclient.NotebookClient(fresh, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [cell.execution_count for cell in fresh.cells if cell.cell_type == "code"] == [
        cell["execution_count"] for cell in code(notebook)
    ]
