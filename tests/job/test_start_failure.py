"""A command that cannot be begun: the status that shells have for it, what is wrong and the mend, on one line."""

import os
import platform
import stat
import struct
import subprocess
import sys

import pytest

from rondo_job.start.failure import explain, find

SCRIPT = "echo it ran\n"


def elf(machine, loader=""):
    """The head of a program of 64 bits, which asks for a loader."""
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    table = struct.pack("<IIQQQQQQ", 3, 4, 64 + 56, 0, 0, len(loader) + 1, len(loader) + 1, 1)
    return head + table + loader.encode() + b"\0"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory, and a PATH of one directory in it with a few programs."""
    monkeypatch.chdir(tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "tic", "python3"):
        (programs / name).symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(programs))
    return tmp_path


def failed(name):
    """Have a child become it, as a job does, and give what is said of its failure."""
    with pytest.raises(OSError) as raised:
        subprocess.run([name], check=False)
    return explain(raised.value, name, os.get_exec_path())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gti", "gti: command not found; nearest: git"),  # not tic, which is as near but by its letters
        ("pythn3", "pythn3: command not found; nearest: python3"),
        ("make test", "make test: command not found; the line is one word here: leave out the quotes around it, or "),
        ("CI=1", "CI=1: command not found; to set a variable write env CI=1 COMMAND"),
        ("export", "export: command not found; it is a word of a shell: write sh -c 'export ...'"),
        ("build", "build: command not found; it is not in PATH, but here: write ./build"),
        ("", "'': command not found; its name is empty: is a variable not set?"),
        ("entirely-else", "entirely-else: command not found; nothing like it is in PATH, {place}/programs"),
        ("./buildx", "./buildx: no such file; nearest: ./build"),
        ("./else", "./else: no such file; nothing like it is in {place}"),
        ("a/b/c", "a/b/c: no such file; there is no directory a in {place}"),
        ("z" * 100_000, f"{'z' * 80}...: command not found; nothing like it is in PATH, {{place}}/programs"),
        ("./" + "z" * 100_000, f"./{'z' * 78}...: no such file; nothing like it is in {{place}}"),
        ("with\x1b[2J", "with\\x1b[2J: command not found; nothing like it is in PATH, {place}/programs"),
    ],
)
def test_what_is_not_there_is_named_with_what_was_meant(place, name, words):
    """127, and the nearest name there is, or what makes it no command."""
    (place / "build").write_text(SCRIPT)
    status, why = explain(FileNotFoundError(2, "No such file or directory"), name, os.get_exec_path())
    assert status == 127
    assert why.startswith(words.format(place=place))


@pytest.mark.parametrize(
    ("content", "mode", "status", "words"),
    [
        (b"#!/no/such/python\n", 0o755, 127, "its interpreter /no/such/python is not there; mend its line 1, or install it"),
        (b"#!/bin/sh\r\necho\r\n", 0o755, 127, "its line 1, #!/bin/sh, ends in a carriage return; dos2unix mends that"),
        (b"#!/bin/sh\necho\n", 0o644, 126, "not executable, its mode is 0644; chmod +x job"),
        (b"#!/etc/passwd\n", 0o755, 126, "its interpreter /etc/passwd is not executable; mend its line 1"),
        (b"no\0program\n", 0o755, 126, "Exec format error"),
        (elf(8), 0o755, 126, f"Exec format error; it is a program for e_machine 8, and this machine is {platform.machine()}"),
        (None, 0o755, 126, "a directory; name a program in it"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_says_what_is_wrong_with_it(place, content, mode, status, words):
    """Its mode, its first line, its processor: 126 where it is there, 127 where what it needs is not, as shells have it."""
    job = place / "job"
    if content is None:
        job.mkdir()
    else:
        job.write_bytes(content)
    job.chmod(mode)
    assert failed("./job") == (status, f"./job: {words}")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the program is one for x86_64")
def test_a_program_of_another_c_library_names_the_loader(place):
    """What the kernel says of it, that no such file is there, is true of its loader alone."""
    (place / "job").write_bytes(elf(62, "/lib/ld-none.so.1"))
    (place / "job").chmod(0o755)
    status, why = failed("./job")
    assert status == 127
    assert why.startswith(
        "./job: its loader /lib/ld-none.so.1 is not there; it was made for x86_64 and another C library"
    )


def test_a_link_to_nothing_is_told_as_that(place):
    """The file that is missing is not the one that was named."""
    (place / "job").symlink_to("/no/such/target")
    assert failed("./job") == (127, "./job: a link to /no/such/target, which is not there; mend the link")


def test_a_directory_that_may_not_be_searched_is_named(place, monkeypatch):
    """What lies in it cannot be seen, and is not said to be missing."""
    (place / "closed").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: path != place / "closed")
    status, why = explain(PermissionError(13, "Permission denied"), f"{place}/closed/job", [])
    assert (status, why.split(" ", 1)[1][:40]) == (126, f"user {os.getuid()} may not search {place}"[:40])
    assert f"may not search {place}/closed; run it as another user" in why


def test_of_programs_in_path_the_first_that_may_be_run_is_meant(place):
    """As execvp(3) has it: one that may not be run is passed over, and named where there is no other."""
    early, late = place / "early", place / "programs"
    early.mkdir()
    (early / "tool").write_text(SCRIPT)
    assert find("tool", [str(early), str(late)]) == early / "tool"
    (late / "tool").write_text(SCRIPT)
    (late / "tool").chmod(stat.S_IRWXU)
    assert find("tool", [str(early), str(late)]) == late / "tool"
    status, why = explain(PermissionError(13, "Permission denied"), "tool", [str(early)])
    assert (status, why) == (126, f"tool: {early}/tool: not executable, its mode is 0644; chmod +x {early}/tool")
