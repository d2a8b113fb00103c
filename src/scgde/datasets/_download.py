"""Downloads that go on where they stopped."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
import urllib3
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_CHUNK = 1 << 20
_MAX_PAUSE = 30.0
_RETRIED = (408, 425, 429, 500, 502, 503, 504)


class DownloadError(OSError):
    """A file that could not be had; what arrived of it is kept beside its place."""


class _InterruptedError(Exception):
    """The connection ended early: worth another try."""


_CONNECTION_ERRORS = (
    _InterruptedError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
)


class ResumingDownloader:
    """Download a file, going on from what an earlier try left; a downloader for pooch.

    What arrives is kept in ``part`` until it is complete. A later request asks for the rest
    (``Range``) on condition that the server still has the same version (``If-Range``, RFC 9110,
    Secs. 13.1.5 and 14.2); a server that knows neither sends all again.

    Parameters
    ----------
    part
        Where the unfinished file lies, with a small note of its version beside it.
    n_attempts
        Failures in a row, each without a new byte, after which the address is given up; two, if it
        cannot be reached and nothing has arrived before: there is probably no network.
    pause
        Seconds before a second attempt; doubled for every further one.
    timeout
        Seconds to connect and between two arrivals.
    enable_progress_bar
        Show a bar.
    """

    def __init__(
        self,
        part: Path,
        *,
        n_attempts: int = 5,
        pause: float = 1.0,
        timeout: tuple[float, float] = (15.0, 60.0),
        enable_progress_bar: bool = True,
    ):
        self.part, self.note = part, part.with_name(f"{part.name}.json")
        self.n_attempts, self.pause, self.timeout = n_attempts, pause, timeout
        self.enable_progress_bar = enable_progress_bar

    def __call__(self, url: str, output_file: str, pooch: object = None) -> None:
        """Download ``url`` to ``output_file``.

        Raises
        ------
        DownloadError
            If it cannot be had; ``part`` keeps what arrived.
        """
        if urlsplit(url).scheme == "file":
            self._copy(url)
        else:
            self._download(url)
        os.replace(self.part, output_file)
        self.note.unlink(missing_ok=True)

    def _copy(self, url: str) -> None:
        source = Path(url2pathname(urlsplit(url).path))
        try:
            file = source.open("rb")
        except OSError as error:
            raise DownloadError(f"{source} cannot be read: {error.strerror}") from error
        with (
            file,
            self.part.open("wb") as part,
            self._bar(source.stat().st_size) as advance,
        ):
            while chunk := file.read(_CHUNK):
                part.write(chunk)
                advance(len(chunk))

    def _download(self, url: str) -> None:
        failures, furthest = 0, self._size()
        while True:
            try:
                self._request(url)
                return
            except _CONNECTION_ERRORS as error:
                status = getattr(getattr(error, "response", None), "status_code", None)
                failures = 0 if self._size() > furthest else failures + 1
                furthest = max(furthest, self._size())
                limit = self.n_attempts if status or furthest else 2
                if failures >= limit or (status and status not in _RETRIED):
                    raise DownloadError(_reason(error, status)) from error
                sleep(min(self.pause * 2**failures, _MAX_PAUSE))

    def _request(self, url: str) -> None:
        """Make one request and write what comes; return only if the file is complete."""
        have, version = self._size(), self._version(url)
        # Without a version the server may hold another file by now: start over.
        have = have if version else 0
        # Compressed files are to arrive as they are, not unpacked on the way.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": version}
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                if response.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                    return
                self._forget()
                raise _InterruptedError("what was there did not fit the server's file")
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                have = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                self._forget()
                raise _InterruptedError("the server sent another part than was asked for")
            self._write_note(url, response.headers)
            length = response.headers.get("Content-Length")
            total = None if length is None else have + int(length)
            with self._bar(total, have) as advance, self.part.open("ab" if have else "wb") as part:
                try:
                    while chunk := response.raw.read(_CHUNK, decode_content=False):
                        part.write(chunk)
                        advance(len(chunk))
                except urllib3.exceptions.ProtocolError as error:
                    part.flush()
                    raise _InterruptedError(self._ended(total)) from error
        if total is not None and self._size() != total:
            raise _InterruptedError(self._ended(total))

    def _ended(self, total: int | None) -> str:
        of_total = "" if total is None else f" of {total:,}"
        return f"the connection ended after {self._size():,}{of_total} bytes"

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _version(self, url: str) -> str | None:
        """Return what the server called the version of the unfinished file."""
        try:
            note = json.loads(self.note.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return note.get("version") if note.get("url") == url else None

    def _write_note(self, url: str, headers: dict[str, str]) -> None:
        # A weak ETag does not promise the same bytes (RFC 9110, Sec. 8.8.1).
        tag = headers.get("ETag", "W/")
        version = headers.get("Last-Modified") if tag.startswith("W/") else tag
        self.note.write_text(json.dumps({"url": url, "version": version}))

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    @contextmanager
    def _bar(self, total: int | None, done: int = 0):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, disable=not self.enable_progress_bar) as progress:
            task = progress.add_task(self.part.stem, total=total, completed=done)
            yield lambda n: progress.advance(task, n)


def _reason(error: Exception, status: int | None) -> str:
    if status:
        return f"the server answered {status} {error.response.reason}"
    if isinstance(error, requests.Timeout | urllib3.exceptions.ReadTimeoutError):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error)
