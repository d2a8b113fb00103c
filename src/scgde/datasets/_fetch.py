"""Files of a data set on this machine: found, fetched, checked."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pooch
from rich import progress

from ._catalogue import PACKAGE, entry_of
from ._download import DownloadError, ResumingDownloader
from ._entry import Entry, File

CACHE_VARIABLE = "SCGDE_DATA_DIR"
_LARGE = 500_000_000  # bytes that take over two seconds to check


def cache_folder(cache_dir: str | os.PathLike | None = None) -> Path:
    """Return the folder of downloads: as given, or ``SCGDE_DATA_DIR``, or the user's cache."""
    chosen = cache_dir or os.environ.get(CACHE_VARIABLE) or pooch.os_cache("scgde")
    return Path(chosen).expanduser().absolute()


def path_of(name: str, file: File, cache_dir: str | os.PathLike | None = None) -> Path:
    """Return where a file is, or will be."""
    if file.bundled:
        return PACKAGE / "bundled" / file.name
    return cache_folder(cache_dir) / name / file.name


def fetch(
    name: str,
    *,
    cache_dir: str | os.PathLike | None = None,
    enable_progress_bar: bool = True,
) -> list[Path]:
    """Download the files of a data set, unless they are there, and check them.

    A broken download goes on where it stopped at the next call. Several processes may fetch the
    same set: one downloads, the others wait.

    Parameters
    ----------
    name
        As in :func:`scgde.datasets.list`.
    cache_dir
        Where downloads are kept, in a folder for each data set. By default the environment variable
        ``SCGDE_DATA_DIR``, else the user's cache folder.
    enable_progress_bar
        Show a bar.

    Returns
    -------
    Paths, in the order of ``info(name)["files"]``.

    Raises
    ------
    KeyError
        If there is no such data set.
    FileNotFoundError
        If a file must be got by hand; the message says from where, and where to put it.
    OSError
        If no address of a file answers; the message lists them, the size, and where to put a file
        that came another way. Also if the cache cannot be written.
    ValueError
        If a file is not the one that the registry, or the record of its first download, describes.

    Examples
    --------
    >>> import scgde
    >>> [path.name for path in scgde.datasets.fetch("valiga")]
    ['valiga_kidney_glomeruli_morphometry.h5ad']
    """
    entry = entry_of(name)
    return [_fetch(name, entry, f, cache_dir, enable_progress_bar) for f in entry.files]


def _fetch(
    name: str,
    entry: Entry,
    file: File,
    cache_dir: str | os.PathLike | None,
    enable_progress_bar: bool,
) -> Path:
    path = path_of(name, file, cache_dir)
    if file.bundled:
        _check_bundled(file, path)
    elif _exists(path):
        _check_cached(file, path, enable_progress_bar)
    elif not file.urls:
        raise FileNotFoundError(
            f"{file.name} of {name!r}{_size_text(file)} cannot be downloaded. {entry.obtain} Put "
            f"it at {path}."
        )
    else:
        with _locked(path):
            # Another process may have fetched it while this one waited.
            if path.exists():
                _check_cached(file, path, enable_progress_bar)
            else:
                _download(name, file, path, enable_progress_bar)
    return path


def _download(name: str, file: File, path: Path, enable_progress_bar: bool) -> None:
    """Fetch from the first address that has the file."""
    downloader = ResumingDownloader(
        path.with_name(f"{path.name}.part"), enable_progress_bar=enable_progress_bar
    )
    known = file.known_hash or _recorded(path)
    reasons, kind = [], DownloadError
    for url in file.urls:
        try:
            with _quiet_pooch():
                pooch.retrieve(url, known, path.name, path.parent, downloader=downloader)
        except DownloadError as error:
            reasons.append(f"  {url} ({error})")
        except ValueError as error:  # pooch: the checksum differs, and the file is removed
            reasons.append(f"  {url} ({error})")
            kind = ValueError
        else:
            if known is None:
                _record(path, enable_progress_bar)
            return
    remedy = "Try again when there is a network"
    if kind is ValueError:
        remedy = "The damaged file is removed. Try again; if it stays so, the address has another "
        remedy += "version: look for the one expected"
        if file.known_hash is None:
            remedy += f", or delete {_record_of(path)} to take what there is"
    kept = downloader.part.stat().st_size if downloader.part.exists() else 0
    kept_text = f" {kept:,} bytes are kept: a later call goes on from there." if kept else ""
    raise kind(
        f"{file.name} of {name!r}{_size_text(file)} could not be fetched from\n"
        + "\n".join(reasons)
        + f"\n{remedy}, or put the file at {path}.{kept_text}"
    )


def _check_bundled(file: File, path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(
            f"{file.name} is not part of this installation. Install scgde again, or put it at "
            f"{path}."
        )
    if (found := _digest(path, "sha256")) != file.sha256:
        raise ValueError(
            f"{path} is damaged: its sha256 is {found}, expected {file.sha256}. Install scgde "
            "again."
        )


def _check_cached(file: File, path: Path, enable_progress_bar: bool) -> None:
    """Compare a file with the registry or else with the record of its first use."""
    known = file.known_hash
    expected = known or _recorded(path)
    if expected is None:
        _record(path, enable_progress_bar)
        return
    algorithm, _, digest = expected.partition(":")
    found = _digest(path, algorithm, enable_progress_bar)
    if found == digest:
        return
    again = "call again to download it afresh" if file.urls else "put the right file there"
    remedy = (
        f"Delete it and {again}."
        if known
        else f"If you have replaced it, delete {_record_of(path)}; else delete both and {again}."
    )
    raise ValueError(
        f"{path} is damaged or another version: its {algorithm} is {found}, "
        f"{'the registry' if known else 'the record of its first use'} says {digest}. {remedy}"
    )


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _recorded(path: Path) -> str | None:
    record = _record_of(path)
    if not record.exists():
        return None
    words = record.read_text().split()
    if not words:
        raise ValueError(f"{record} is empty: delete it, and it is written anew.")
    return f"sha256:{words[0]}"


def _record(path: Path, enable_progress_bar: bool) -> None:
    """Write down the checksum of a file of which none is published, as sha256sum does."""
    record = _record_of(path)
    temporary = record.with_name(f"{record.name}.{os.getpid()}")
    digest = _digest(path, "sha256", enable_progress_bar)
    try:
        temporary.write_text(f"{digest}  {path.name}\n")
        temporary.replace(record)
    except OSError as error:
        warnings.warn(
            f"The checksum of {path} is not known and cannot be recorded ({error.strerror}): later "
            "changes of the file will not be noticed.",
            stacklevel=2,
        )


def _digest(path: Path, algorithm: str, enable_progress_bar: bool = False) -> str:
    hidden = not enable_progress_bar or path.stat().st_size < _LARGE
    with progress.open(path, "rb", description=f"Checking {path.name}", disable=hidden) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _cache_error(path, error) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file's lock: one process at a time, freed by the system if that process ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path.with_name(f"{path.name}.lock"))
        lock.acquire()
    except OSError as error:
        raise _cache_error(path, error) from error
    try:
        yield
    finally:
        lock.release()


def _cache_error(path: Path, error: OSError) -> OSError:
    return type(error)(
        f"The cache folder {path.parent} cannot be used ({error.strerror}). Pass another "
        f"cache_dir, or set the environment variable {CACHE_VARIABLE}."
    )


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Keep pooch from logging what the progress bar and our errors say."""
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _size_text(file: File) -> str:
    return "" if file.size is None else f" ({file.size:,} bytes)"
