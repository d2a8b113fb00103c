"""What is kept, checked, and shared by processes."""

from __future__ import annotations

import multiprocessing
import os

import pytest

import scgde
from scgde.datasets import _fetch

from .server import CONTENT, SHA256, fetch


def test_an_unknown_checksum_is_recorded_and_checked_ever_after(server, tiny):
    place = tiny()
    fetch(place)
    record = place.with_name("file.bin.sha256")
    assert record.read_text() == f"{SHA256}  file.bin\n"
    fetch(place)
    place.write_bytes(CONTENT + b"!")
    with pytest.raises(ValueError, match=f"the record of its first use says {SHA256}") as error:
        fetch(place)
    assert str(record) in str(error.value)
    assert place.exists()
    record.write_text("")
    with pytest.raises(ValueError, match="is empty: delete it"):
        fetch(place)
    record.unlink()
    fetch(place)
    assert record.read_text() != f"{SHA256}  file.bin\n"
    assert len(server.requests) == 1


def test_a_second_download_is_checked_by_the_record_of_the_first(server, tiny):
    place = tiny()
    fetch(place)
    place.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(ValueError, match="does not match") as error:
        fetch(place)
    assert "file.bin.sha256 to take what there is" in str(error.value)
    server.content, server.etag = CONTENT, '"one"'
    assert fetch(place).read_bytes() == CONTENT


def test_processes_wait_for_one_another(server, tiny):
    place = tiny(sha256=SHA256)
    server.delay = 0.5
    # Forked, because a new process would take seconds to import what this one has.
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fetch, args=(place,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(server.requests) == 1
    assert place.read_bytes() == CONTENT


def test_a_killed_process_leaves_no_lock(server, tiny):
    place = tiny(sha256=SHA256)
    server.delay = 30.0
    process = multiprocessing.get_context("fork").Process(target=fetch, args=(place,))
    process.start()
    while not server.requests:
        process.join(0.05)
    process.kill()
    process.join(60)
    server.delay = 0.0
    assert not place.exists()
    fetch(place)
    assert place.read_bytes() == CONTENT


def test_a_cache_that_cannot_be_used_is_named(tiny, tmp_path):
    tiny(sha256=SHA256)
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(OSError, match="SCGDE_DATA_DIR") as error:
        scgde.datasets.fetch("tiny", cache_dir=tmp_path / "taken", enable_progress_bar=False)
    assert str(tmp_path / "taken") in str(error.value)


def test_a_cache_that_may_not_be_read_is_named(tiny, monkeypatch):
    """Made so by hand: for a superuser every folder is readable."""
    place = tiny(sha256=SHA256)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_fetch.Path, "exists", refuse)
    with pytest.raises(PermissionError, match=r"cannot be used \(Permission denied\)"):
        fetch(place)


def test_a_shared_cache_may_be_read_only(tiny, monkeypatch):
    """The file is there, its checksum is not known and the folder cannot be written."""
    place = tiny()
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_fetch.Path, "write_text", refuse)
    with pytest.warns(UserWarning, match="cannot be recorded"):
        assert fetch(place) == place


def test_the_cache_is_the_user_s_choice(tmp_path, monkeypatch):
    monkeypatch.setenv("SCGDE_DATA_DIR", str(tmp_path))
    assert _fetch.cache_folder() == tmp_path
    assert _fetch.cache_folder(tmp_path / "b") == tmp_path / "b"
    monkeypatch.delenv("SCGDE_DATA_DIR")
    assert _fetch.cache_folder().name == "scgde"
    assert os.fspath(_fetch.cache_folder("~/x")) == os.path.expanduser("~/x")
