"""Links of the built pages: files and anchors must exist, addresses must be well-formed."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what a tag links to, and its own name."""
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" and value:
                self.anchors.add(value)


def broken_links(folder: Path) -> list[str]:
    """Return the links of all pages of a folder that lead nowhere, without asking a network."""
    files = [p for p in sorted(folder.rglob("*.html")) if "_static" not in p.parts]
    pages = {path.resolve(): Page(path.read_text()) for path in files}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                fine = "." in parts.netloc and " " not in link
            elif parts.scheme:
                fine = parts.scheme in ("data", "mailto", "javascript")
            else:
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                target = target / "index.html" if target.is_dir() else target
                anchors = pages[target].anchors if target in pages else None
                fine = target.exists() and (
                    not parts.fragment or anchors is None or unquote(parts.fragment) in anchors
                )
            if not fine:
                broken.append(f"{path.relative_to(folder.resolve())}: {link}")
    return broken


def check(app: Sphinx, exception: Exception | None) -> None:
    """Warn of every broken link, which fails a build that takes warnings as errors."""
    if exception is None and app.builder.name == "html":
        for link in broken_links(Path(app.outdir)):
            logger.warning("broken link in %s", link)


def setup(app: Sphinx) -> dict:
    """Check when all is written."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True}
