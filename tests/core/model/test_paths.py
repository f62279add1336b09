"""Small files that someone names are read whole, or not at all."""

import errno
import os
import threading
from pathlib import Path

import pytest

from rondo_core.errors import SchemaError, StoreError, UsageError
from rondo_core.model import paths


@pytest.mark.parametrize(("pieces", "limit"), [((1, 1, 8, 8), 17), ((17, 1), 17), ((3, 5), 7), ((18,), 17)])
def test_a_file_that_comes_in_pieces_is_refused_by_what_they_are_together(tmp_path, monkeypatch, pieces, limit):
    """Whatever the size of each: as a pipe gives them, or a file that grows while it is read."""
    (tmp_path / "named").write_bytes(b"")
    whole = [bytes([number]) * size for number, size in enumerate(pieces)]
    for allowed in (limit, limit + 1):
        coming = [*whole, b""]
        monkeypatch.setattr(os, "read", lambda _descriptor, size, coming=coming: piece(coming, size))
        if allowed < sum(pieces):
            with pytest.raises(OSError, match=f"more than {allowed} bytes"):
                paths.read_named(tmp_path / "named", allowed)
        else:
            assert paths.read_named(tmp_path / "named", allowed) == b"".join(whole)


def piece(coming, size):
    """Give the next piece, no more than is asked for; the rest is the next one."""
    first = coming.pop(0)
    if len(first) > size:
        coming.insert(0, first[size:])
    return first[:size]


def test_stores_lie_where_the_environment_says(monkeypatch):
    """RONDO_DIR before all; else rondo's directory of the user's state, as XDG has it; an empty name is none."""
    monkeypatch.setenv("RONDO_DIR", "/metrics")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    monkeypatch.setenv("HOME", "/home/me")
    assert paths.state_directory() == Path("/metrics")
    monkeypatch.setenv("RONDO_DIR", "")
    assert paths.state_directory() == Path("/state/rondo")
    monkeypatch.delenv("RONDO_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", "")
    assert paths.state_directory() == Path("/home/me/.local/state/rondo")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert paths.state_directory() == Path("/home/me/.local/state/rondo")


def test_any_path_can_be_asked_about(tmp_path):
    """One that the kernel takes for none leads to nothing."""
    (tmp_path / "file").touch()
    asked = [tmp_path, tmp_path / "file", tmp_path / "none", "a\0b", "x" * 5000]
    assert [paths.is_there(each) for each in asked] == [True, True, False, False, False]
    assert [paths.is_directory(each) for each in asked] == [True, False, False, False, False]


@pytest.mark.timeout(60)
def test_a_pipe_is_read_to_its_end_where_someone_writes_it(monkeypatch):
    """What comes only later is waited for; where nobody writes, nobody waits."""
    reading, writing = os.pipe()
    waits = threading.Event()
    set_blocking = os.set_blocking

    def write():
        waits.wait()
        os.write(writing, b"late")
        os.close(writing)

    def noted(descriptor, blocking):
        set_blocking(descriptor, blocking)
        waits.set()

    monkeypatch.setattr(os, "set_blocking", noted)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert paths.read_named(f"/dev/fd/{reading}", 4) == b"late"
        writer.join()
        with pytest.raises(OSError, match="a pipe that nobody writes") as refused:
            paths.read_named(f"/dev/fd/{reading}", 4)
        assert (refused.value.errno, refused.value.filename) == (errno.ENXIO, f"/dev/fd/{reading}")
    finally:
        os.close(reading)


def test_what_cannot_be_read_whole_says_why(tmp_path):
    """Missing, a directory, longer than it may be; to the last byte that it may have, it is read."""
    with pytest.raises(FileNotFoundError):
        paths.read_named(tmp_path / "none", 9)
    with pytest.raises(IsADirectoryError):
        paths.read_named(tmp_path, 9)
    (tmp_path / "long").write_bytes(b"123456789")
    assert paths.read_named(tmp_path / "long", 9) == b"123456789"
    with pytest.raises(OSError, match="more than 8 bytes") as refused:
        paths.read_named(tmp_path / "long", 8)
    assert (refused.value.errno, refused.value.filename) == (errno.EFBIG, str(tmp_path / "long"))
    with pytest.raises(OSError, match="more than 9 bytes"):
        paths.read_named("/dev/zero", 9)
    (tmp_path / "empty").touch()
    assert paths.read_named(tmp_path / "empty", 9) == b""


def test_no_descriptor_stays_open(tmp_path, monkeypatch):
    """Whatever came of it."""
    opened, closed, open_file, close = [], [], os.open, os.close
    monkeypatch.setattr(os, "open", lambda *given: opened.append(open_file(*given)) or opened[-1])
    monkeypatch.setattr(os, "close", lambda descriptor: closed.append(descriptor) or close(descriptor))
    (tmp_path / "long").write_bytes(b"123456789")
    paths.read_named(tmp_path / "long", 9)
    with pytest.raises(OSError, match="more than 1 bytes"):
        paths.read_named(tmp_path / "long", 1)
    assert len(opened) == 2
    assert closed == opened


def test_a_secret_that_everyone_may_read_is_said_once(tmp_path, caplog):
    """With what it was given for, and the mend; one that only some may read is not."""
    (tmp_path / "token").write_bytes(b"secret")
    (tmp_path / "token").chmod(0o640)
    assert paths.read_secret("--token-file", tmp_path / "token", 9) == b"secret"
    assert caplog.messages == []
    (tmp_path / "token").chmod(0o644)
    for _ in range(2):
        assert paths.read_secret("--token-file", str(tmp_path / "token"), 9) == b"secret"
    what = "every user of this machine may read the credential in it; chmod o-r"
    assert caplog.messages == [f"--token-file: {tmp_path}/token: {what} {tmp_path}/token"]
    assert caplog.records[0].name == "rondo"
    paths.warn_where_others_read("--token-file", tmp_path / "none")
    assert len(caplog.messages) == 1


def test_a_toml_file_is_read_or_refused_in_a_line(tmp_path):
    """What cannot be read is the store's trouble, what is no TOML the user's; up to a mebibyte."""
    file = tmp_path / "x.toml"
    file.write_text('a = "ä"')
    assert paths.read_toml(file) == {"a": "ä"}
    file.write_text("a = 1" + " " * (2**20 - 5))
    assert paths.read_toml(file) == {"a": 1}
    file.write_text("a = 1" + " " * (2**20 - 4))
    with pytest.raises(StoreError, match=f"{file}: more than 1048576 bytes; check the path"):
        paths.read_toml(file)
    for given, said in [
        (b"\xff", "not TOML, which is text in UTF-8; check the path"),
        (b"a = " + b"[" * 100_000, "not TOML, which is not nested that deep; check the path"),
        (b"a =", "not TOML: Invalid value"),
    ]:
        file.write_bytes(given)
        with pytest.raises(UsageError, match=said) as refused:
            paths.read_toml(file)
        assert str(refused.value).startswith(f"{file}: not TOML")
        with pytest.raises(SchemaError):
            paths.read_toml(file, SchemaError)
