"""Files of a life: bounded, and read as whole as they were written whatever interrupted that."""

import errno
import json
import os
import shlex
import tempfile
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rondo_core.errors import CorruptStoreError, StoreError, StoreNotFoundError, UsageError
from rondo_job import Child, Evidence, GroupLevel, Host, Life, LifeEnd, LifeStart, Usage
from rondo_job.facts import decode_end, decode_start, encode
from rondo_job.files import names
from rondo_job.files.children import FIRST, ChildrenWriter, read_children
from rondo_job.files.inbox import MAX_INBOX_BYTES, Entry, Inbox, pairs_of, parse_entry, post, read_unread
from rondo_job.files.tail import TailWriter, read_tail

EVIDENCE = Evidence(5, (GroupLevel("/a/b", True, 100, 1, 2, 3, 4), GroupLevel("/")), 7, ("x: y",))
HOST = Host("h", "6.18", "b-0", 4, 1 << 30)
START = LifeStart(
    "n",
    ("sh", "-c", "é"),
    "/w",
    1,
    2,
    0,
    3,
    "cgroup1",
    "why",
    10**9,
    "0.1",
    HOST,
    EVIDENCE,
    9,
    1.5,
    None,
    {"CPU": (1, -1)},
    {"CI": "1"},
    {"stdout": "pipe"},
)
END = LifeEnd(9, 256 * 3, "wait", True, (), Usage(1.0, 2.0, None, 1, 2, 3, 4, 5, 6), 1.5, 7, (4, 5), EVIDENCE)


def test_facts_are_read_as_they_were_written():
    """All of them; those of a newer rondo are passed over."""
    assert decode_start(encode(START)) == START
    assert decode_end(encode(END)) == END
    newer = encode(END).replace(b'"seen_by"', b'"newer": {"a": [1]}, "seen_by"')
    assert decode_end(newer) == END


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"status": ', b"\xff", b'"x"'])
def test_facts_that_do_not_read_are_said_to_be_damaged(tmp_path, data):
    """One typed error, which names the file."""
    (tmp_path / "life.start").write_bytes(data)
    with pytest.raises(CorruptStoreError, match=r"life\.start"):
        Life(tmp_path)
    with pytest.raises(StoreNotFoundError):
        Life(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ["n"]), ("name", None), ("pid", "1"), ("pid", True), ("started_ns", 1 << 70), ("host", None),
        ("command", "sh"), ("command", [1]), ("rlimits", {"CPU": 5}), ("rlimits", {"CPU": [1]}), ("environment", {"CI": 1}),
        ("timeout_s", "1"), ("before", {"taken_ns": 1, "levels": [{"path": 3}]}), ("output", []), ("cpu_limit", {}),
    ],
)  # fmt: skip
def test_a_fact_of_another_type_is_damage(name, value):
    """What reads facts may rely on their types, whatever lies in the file."""
    plain = {**json.loads(encode(START)), name: value}
    with pytest.raises(ValueError, match="is expected"):
        decode_start(json.dumps(plain).encode())


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=300), max_size=12))
def test_a_tail_is_the_last_of_what_has_passed(tmp_path_factory, chunks):
    """Whatever the chunks are."""
    path = tmp_path_factory.getbasetemp() / "tail"
    tail = TailWriter(path, 256)
    for chunk in chunks:
        tail.put(chunk)
    whole = b"".join(chunks)
    assert read_tail(path) == (whole[-256:], len(whole))


def test_a_tail_for_which_there_is_no_room_is_none(tmp_path, monkeypatch):
    """A full disk, or a kill while it is made, leaves a life that reads: one without that tail."""
    path = tmp_path / "tail"
    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            TailWriter(path)
    assert not path.exists()
    for data in (b"", bytes(4096)):
        path.write_bytes(data)
        assert read_tail(path) == (b"", 0)


def test_an_end_needs_no_room_that_is_not_there(tmp_path, monkeypatch):
    """Its room is made at the start, so that it is written on a disk that is full by then."""
    names.keep_room(tmp_path)
    room = (tmp_path / names.ROOM).stat()
    assert room.st_size >= 16 << 10

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)  # of any file that is made anew
    names.write_end(tmp_path, b"{}")
    assert [(each.name, each.stat().st_ino, each.read_text()) for each in tmp_path.iterdir()] == [
        (names.END, room.st_ino, "{}")
    ]


def test_a_table_keeps_those_who_took_most(tmp_path):
    """A full table evicts the ended with the least; who lives stays; a half-written record is left out."""
    table = ChildrenWriter(tmp_path / "c", room=3)
    for pid, cpu_s, ended in ((1, 9.0, 0), (2, 0.5, 20), (3, 5.0, 20), (4, 1.0, 20), (5, 0.1, 20)):
        table.put(pid, Child(pid, 1, f"c{pid}", pid, ended, cpu_s, 100, 0 if ended else None))
    children, evicted = read_children(tmp_path / "c")
    assert [child.pid for child in children] == [1, 3, 4]
    assert evicted == 2
    assert children[0] == Child(1, 1, "c1", 1, 0, 9.0, 100, None)
    data = bytearray((tmp_path / "c").read_bytes())
    data[FIRST + 8] ^= 1
    (tmp_path / "c").write_bytes(data)
    assert [child.pid for child in read_children(tmp_path / "c")[0]] == [3, 4]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["mark", "set"]),
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20),
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=9),
        ),
        max_size=2,
    ),
    st.integers(0, 1 << 62),
)
def test_an_entry_is_read_as_it_was_written(kind, name, facts, time_ns):
    """Quotes, spaces, signs of a shell in it, and what only Unicode takes for the end of a line, change nothing."""
    entry = Entry(kind, name, 2.5 if kind == "set" else 0.0, tuple(facts), time_ns)
    with tempfile.TemporaryDirectory() as directory:
        inbox = Inbox(Path(directory, "inbox"))
        post(Path(directory, "inbox"), entry)
        (line,) = inbox.read_new()
        inbox.close()
    assert parse_entry(line) == entry


@pytest.mark.parametrize(
    "line",
    ["", "mark", "set a", "set a x", "other a b", "mark 'x", "@5", f"@{1 << 63} mark x", "mark " + "x" * 1_000_000],
)
def test_a_line_that_is_no_entry_is_refused(line):
    """One line that says what would be."""
    with pytest.raises(UsageError, match="write mark NAME"):
        parse_entry(line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mark x now_ns=3", "now_ns is no name of a fact"),
        ("mark ''", "no name; say what happened"),
        ("set job_processes 3", "job_... and rondo_... are rondo's own; choose another"),
    ],
)
def test_what_the_recorder_could_not_take_is_refused_where_it_is_posted(tmp_path, line, words):
    """By who posts it, in words; and a line that was appended all the same is none."""
    kind, name, *rest = shlex.split(line)
    entry = Entry(kind, name, 3.0, pairs_of(rest) if kind == "mark" else ())
    Inbox(tmp_path / "inbox").close()
    for refuse in (lambda: post(tmp_path / "inbox", entry), lambda: parse_entry(line)):
        with pytest.raises(UsageError, match=words):
            refuse()
    assert not (tmp_path / "inbox").read_bytes()


def test_an_inbox_that_is_begun_anew_is_read_from_its_start(tmp_path):
    """By a shell's > in the place of >>; and a line without an end takes no more memory than there is room for."""
    inbox = Inbox(tmp_path / "inbox")
    post(tmp_path / "inbox", Entry("mark", "before"))
    assert inbox.read_new() == ["mark before"]
    (tmp_path / "inbox").write_bytes(b"mark x\n")
    assert inbox.read_new() == ["mark x"]
    with (tmp_path / "inbox").open("ab") as file:
        file.write(b"y" * (2 * MAX_INBOX_BYTES) + b"\nmark last\n")
    taken = [inbox.read_new() for _ in range(4)]
    assert max(map(len, taken[0])) <= MAX_INBOX_BYTES
    assert [lines[-1] for lines in taken if lines][-1] == "mark last"


def test_what_was_not_taken_is_left(tmp_path):
    """Taken lines are given once; others are there for whoever reads the life, also after megabytes were taken."""
    path = tmp_path / "inbox"
    inbox, seen = Inbox(path), 0
    for number in range(40):
        for _ in range(100):
            post(path, Entry("mark", "x" * 300, 0.0, (), 1))
        seen += len(inbox.read_new())
        inbox.acknowledge()
        post(path, Entry("mark", f"n{number}", 0.0, (), 2))
        assert [entry.name for entry in read_unread(path)] == [f"n{number}"]
        seen += len(inbox.read_new())
        inbox.acknowledge()
    assert seen == 40 * 101
    assert path.stat().st_blocks * 512 <= MAX_INBOX_BYTES


def test_an_inbox_that_nobody_takes_from_has_an_end(tmp_path):
    """It is refused when it is full, and by who has none."""
    path = tmp_path / "inbox"
    Inbox(path).close()
    path.write_bytes(b"mark x\n" * (MAX_INBOX_BYTES // 7))
    with pytest.raises(StoreError, match="full"):
        post(path, Entry("mark", "x"))
    with pytest.raises(StoreError, match="rondo run"):
        post(tmp_path / "none", Entry("mark", "x"))
