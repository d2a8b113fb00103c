"""The notebooks of ``tutorials/`` as pages, whichever there are."""

from __future__ import annotations

import shutil
from pathlib import Path

from sphinx.application import Sphinx


def copy_notebooks(app: Sphinx) -> None:
    """Put the notebooks where Sphinx looks for pages; their links must lead there, too."""
    target = Path(app.srcdir) / "tutorials"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for notebook in sorted((Path(app.srcdir).parent / "tutorials").glob("*.ipynb")):
        text = notebook.read_text().replace("](../docs/", "](../")
        (target / notebook.name).write_text(text)


def setup(app: Sphinx) -> dict:
    """Copy before Sphinx looks for pages."""
    app.connect("builder-inited", copy_notebooks)
    return {"parallel_read_safe": True}
