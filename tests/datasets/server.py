"""A small web server that can misbehave, and a registry whose entry it serves."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import scgde
from scgde.datasets import _catalogue

CONTENT = bytes(range(256)) * 16_000  # 4 MB: larger than a read
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``content`` at any path.

    ``cuts`` are numbers of bytes of the body after which the next answers end; ``ranges``
    says whether parts may be asked for; ``statuses`` are sent instead of the file, where not None.
    ``requests`` has each request's headers, ``sent`` the bytes of each answer's body.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.ranges = CONTENT, '"one"', True
        self.last_modified, self.length_known, self.delay = None, True, 0.0
        self.cuts, self.statuses, self.requests, self.sent = [], [], [], []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        if server.statuses and (status := server.statuses.pop(0)):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body, start = server.content, 0
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        same = condition in (None, server.etag, server.last_modified)
        if wanted and server.ranges and same:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if server.length_known:
            self.send_header("Content-Length", str(len(body) - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.last_modified:
            self.send_header("Last-Modified", server.last_modified)
        self.end_headers()
        threading.Event().wait(server.delay)
        cut = server.cuts.pop(0) if server.cuts else None
        part = body[start:] if cut is None else body[start : start + cut]
        server.sent.append(len(part))
        self.wfile.write(part)

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def running():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def registry(folder, urls, **of_file):
    """Write a registry with one set, ``tiny``, and return its folder."""
    lines = [f"{key} = {value!r}" for key, value in of_file.items()]
    text = "\n".join(f'{key} = "x"' for key in ("title", "licence", "citation", "organism"))
    folder.mkdir(exist_ok=True)
    (folder / "tiny.toml").write_text(
        f'{text}\nmodality = "x"\norigin = "x"\ncaveats = ""\nreader = "table"\n'
        f'tasks = ["features"]\n[[files]]\nname = "file.bin"\nurls = {urls!r}\n' + "\n".join(lines)
    )
    return folder


def use_registry(folder, monkeypatch):
    """Make a folder the registry."""
    monkeypatch.setattr(_catalogue, "registry_folder", lambda: folder)
    _catalogue.entries.cache_clear()


def fetch(place: Path) -> Path:
    (path,) = scgde.datasets.fetch("tiny", cache_dir=place.parents[1], enable_progress_bar=False)
    return path
