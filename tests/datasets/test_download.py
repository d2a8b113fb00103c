"""Downloads from a server that cuts, lies, changes and disappears."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest

import scgde
from scgde.datasets import _download

from .server import CONTENT, SHA256, fetch


def files(place: Path) -> set[str]:
    return {p.name for p in place.parent.iterdir()} - {"file.bin.lock"}


def part(place: Path) -> Path:
    return place.with_name("file.bin.part")


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/file.bin"


def test_a_file_is_fetched_once(server, tiny):
    place = tiny(sha256=SHA256)
    assert fetch(place) == place
    assert place.read_bytes() == CONTENT
    assert files(place) == {"file.bin"}
    fetch(place)
    assert len(server.requests) == 1
    assert server.requests[0]["Accept-Encoding"] == "identity"


def test_a_cut_connection_goes_on_where_it_stopped(server, tiny):
    place = tiny(sha256=SHA256)
    server.cuts = [1_000_000, 500_000]
    fetch(place)
    assert place.read_bytes() == CONTENT
    assert [r.get("Range") for r in server.requests] == [None, "bytes=1000000-", "bytes=1500000-"]
    assert {r["If-Range"] for r in server.requests[1:]} == {'"one"'}
    assert sum(server.sent) == len(CONTENT)


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, tiny):
    place = tiny(sha256=SHA256)
    server.cuts = [1_000_000] + [0] * 10
    with pytest.raises(OSError, match="1,000,000 of 4,096,000 bytes") as error:
        fetch(place)
    assert "1,000,000 bytes are kept" in str(error.value)
    assert server.url in str(error.value)
    assert str(place) in str(error.value)
    assert not place.exists()
    assert part(place).stat().st_size == 1_000_000
    server.cuts, server.sent = [], []
    fetch(place)
    assert place.read_bytes() == CONTENT
    assert server.sent == [len(CONTENT) - 1_000_000]
    assert files(place) == {"file.bin"}


def test_a_server_that_knows_no_ranges_sends_all_again(server, tiny):
    place = tiny(sha256=SHA256)
    server.ranges, server.cuts = False, [1_000_000]
    fetch(place)
    assert place.read_bytes() == CONTENT
    assert server.sent == [1_000_000, len(CONTENT)]


def test_without_a_version_or_with_a_weak_one_nothing_is_joined(server, tiny):
    place = tiny()
    server.cuts = [1_000_000]
    server.etag = 'W/"one"'
    fetch(place)
    assert "Range" not in server.requests[1]
    assert place.read_bytes() == CONTENT


def test_the_date_serves_where_there_is_no_strong_tag(server, tiny):
    place = tiny()
    server.etag, server.last_modified = None, "Fri, 01 Nov 2024 00:00:00 GMT"
    server.cuts = [1_000_000]
    fetch(place)
    assert server.requests[1]["If-Range"] == server.last_modified
    assert sum(server.sent) == len(CONTENT)


def test_a_file_that_changed_in_between_is_fetched_anew(server, tiny):
    place = tiny()
    server.cuts = [1_000_000] + [0] * 10
    with pytest.raises(OSError, match="kept"):
        fetch(place)
    server.cuts, server.content, server.etag = [], CONTENT[::-1], '"two"'
    fetch(place)
    assert place.read_bytes() == CONTENT[::-1]


def test_what_is_complete_already_is_not_sent_again(server, tiny):
    """Cut after the last byte but before it was put in place: the server answers 416."""
    place = tiny(sha256=SHA256)
    place.parent.mkdir(parents=True)
    part(place).write_bytes(CONTENT)
    part(place).with_name("file.bin.part.json").write_text(
        f'{{"url": "{server.url}", "version": "\\"one\\""}}'
    )
    fetch(place)
    assert place.read_bytes() == CONTENT
    assert server.sent == []


def test_a_part_that_is_too_long_is_dropped(server, tiny):
    place = tiny(sha256=SHA256)
    place.parent.mkdir(parents=True)
    part(place).write_bytes(CONTENT + b"more")
    part(place).with_name("file.bin.part.json").write_text(
        f'{{"url": "{server.url}", "version": "\\"one\\""}}'
    )
    fetch(place)
    assert place.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_damaged_note_of_the_part_only_costs_the_part(server, tiny):
    place = tiny(sha256=SHA256)
    place.parent.mkdir(parents=True)
    part(place).write_bytes(CONTENT[:1000])
    part(place).with_name("file.bin.part.json").write_text("{")
    fetch(place)
    assert place.read_bytes() == CONTENT


def test_a_file_of_unknown_length_is_taken_as_it_comes(server, tiny):
    place = tiny(sha256=SHA256)
    server.length_known = False
    fetch(place)
    assert place.read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server, tiny):
    place = tiny(sha256="0" * 64)
    with pytest.raises(ValueError, match=SHA256) as error:
        fetch(place)
    for text in ("0" * 64, str(place), "The damaged file is removed"):
        assert text in str(error.value)
    assert files(place) == set()


def test_corrupted_on_the_way(server, tiny):
    place = tiny(sha256=SHA256)
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(ValueError, match="does not match"):
        fetch(place)
    server.content = CONTENT
    fetch(place)
    assert place.read_bytes() == CONTENT


def test_md5(server, tiny):
    place = tiny(md5=hashlib.md5(CONTENT).hexdigest())
    fetch(place)
    place.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"its md5 is .* the registry says"):
        fetch(place)


def test_the_next_mirror_is_tried(server, tiny):
    place = tiny(server.url, f"{server.url}?mirror", sha256=SHA256)
    server.statuses = [404]
    fetch(place)
    assert place.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_parts_of_two_mirrors_are_not_joined(server, tiny):
    place = tiny(server.url, f"{server.url}?mirror")
    server.cuts, server.statuses = [1_000_000], [None, 404]
    fetch(place)
    assert ["Range" in request for request in server.requests] == [False, True, False]
    assert place.read_bytes() == CONTENT


def test_a_damaged_mirror_is_passed_over(server, tiny, tmp_path):
    good = tmp_path / "good.bin"
    good.write_bytes(CONTENT)
    place = tiny(server.url, good.as_uri(), sha256=SHA256)
    server.content = b"bad"
    fetch(place)
    assert place.read_bytes() == CONTENT


def test_a_busy_server_is_asked_again_a_missing_file_is_not(server, tiny):
    place = tiny(sha256=SHA256)
    server.statuses = [503, 503]
    fetch(place)
    assert len(server.requests) == 3
    place.unlink()
    server.statuses, server.requests = [404], []
    with pytest.raises(OSError, match="the server answered 404"):
        fetch(place)
    assert len(server.requests) == 1


def test_no_network_says_what_to_fetch_and_where_to_put_it(tiny):
    first, second = closed_port(), closed_port()
    place = tiny(first, second, sha256=SHA256, size=len(CONTENT))
    with pytest.raises(OSError, match="no connection") as error:
        fetch(place)
    for text in (first, second, "4,096,000 bytes", str(place)):
        assert text in str(error.value)
    place.write_bytes(CONTENT)
    assert fetch(place) == place


def test_file_urls(tiny, tmp_path):
    source = tmp_path / "a file.bin"
    place = tiny(source.as_uri(), sha256=SHA256)
    with pytest.raises(OSError, match="cannot be read: No such file"):
        fetch(place)
    source.write_bytes(CONTENT)
    assert fetch(place).read_bytes() == CONTENT
    assert source.exists()


def test_half_a_file_is_never_seen_under_its_name(server, tiny, monkeypatch):
    """At every write, only the unfinished file is there."""
    place = tiny(sha256=SHA256)
    seen = []
    real = _download.ResumingDownloader._bar

    def watched(self, *args):
        seen.append(files(place))
        return real(self, *args)

    monkeypatch.setattr(_download.ResumingDownloader, "_bar", watched)
    server.cuts = [1_000_000, 1_000_000]
    fetch(place)
    assert len(seen) == 3
    assert not any("file.bin" in names for names in seen)
    assert place.read_bytes() == CONTENT


def test_a_bar_is_shown_if_wanted(server, tiny, capsys):
    place = tiny(sha256=SHA256)
    scgde.datasets.fetch("tiny", cache_dir=place.parents[1])
    assert "file.bin" in capsys.readouterr().out
    place.unlink()
    fetch(place)
    assert capsys.readouterr().out == ""
