"""The directive ``benchmark``: a table of ``benchmarks/results`` with the command that made it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
MOST_ROWS = 60


def header(path: Path) -> str:
    """Return the first comment lines of a table: command, machine, time."""
    lines = path.read_text().splitlines()
    return "\n".join(line.removeprefix("# ") for line in lines if line.startswith("#"))


def readable(value: object) -> str:
    """Return a cell of a table as text: three digits, nothing for what is missing."""
    if pd.isna(value):
        return ""
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


class Benchmark(SphinxDirective):
    """What a table says (the content), how it was made, and its rows.

    The argument is the name of the file without ``.csv``.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the nodes."""
        path = RESULTS / f"{self.arguments[0]}.csv"
        self.env.note_dependency(str(path))
        table = pd.read_csv(path, comment="#").dropna(axis=1, how="all")
        shown = table.head(MOST_ROWS)
        runs = path.with_name(f"{path.stem}_runs.csv")
        files = [f"[{f.name}](../benchmarks/results/{f.name})" for f in (path, runs) if f.exists()]
        lines = [
            *self.content,
            "",
            "```text",
            header(path),
            "```",
            "",
            f"{' and '.join(files)}{', run by run' if runs.exists() else ''}",
            "",
            f"::::{{dropdown}} The first {len(shown)} of {len(table)} rows"
            if len(shown) < len(table)
            else f"::::{{dropdown}} {len(table)} rows",
            "",
            "| " + " | ".join(table.columns) + " |",
            "|" + "---|" * table.shape[1],
            *("| " + " | ".join(map(readable, row)) + " |" for row in shown.to_numpy(object)),
            "::::",
        ]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict:
    """Register the directive."""
    app.add_directive("benchmark", Benchmark)
    return {"parallel_read_safe": True}
