"""The documentation site: ``make docs`` builds it, without a network."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "scgde"
author = "The scgde developers"
copyright = f"2026, {author}"
release = installed_version("scgde")
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "benchmark_table",
    "link_checks",
    "tutorials",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_extensions", "**.ipynb_checkpoints"]

# The notebooks hold their outputs: `make tutorials` runs them.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

# Pages list what `__all__` does, so a new public name appears by itself.
autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

# References to names of scgde must lead somewhere; other projects' pages would need a network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!scgde\.).*"),
    (r"py:(class|obj|data)", r".*\._.*"),
]

html_theme = "sphinx_book_theme"
html_title = f"scgde {release}"
html_static_path = ["_static"]
html_css_files = ["scgde.css"]
html_copy_source = False
html_theme_options = {
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "use_download_button": False,  # pages' sources are not copied
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
