"""What strangers wrote is shown as text on whatever terminal looks at it; data stays data."""

import contextlib
import csv
import io
import json
import logging
import os
import pty
import re
import socket
import subprocess
import sys
import threading

import pytest

from rondo_cli.main import run
from rondo_cli.printing import GuestText
from rondo_core import ManualClock, Store
from rondo_core.errors import RondoError, one_line, printable

NASTY = (
    "\x1b]0;title\x07\x1b[2J", "a\rb", "a\x9b2Jb", "a\u202eb", "a\u2066b\u2069", "x\nrun 9    pid 1, forged", "\x7f\x00\x85",
    "a\u2028run 9", "\u200f\u061c", "\ttab", "\U000e0001tag", "\ufeffmark",
)  # fmt: skip
SAFE = "naïve 数据 👍 ½"
UNSAFE = re.compile(
    "[\x00-\x08\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\U000e0001]"
)


def test_an_error_is_said_also_where_no_thread_can_be_started(monkeypatch, capsys, tmp_path):
    """As under a limit of memory or of threads, which may be the error."""

    def none(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    assert run(["info", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == f"rondo: {tmp_path / 'none'}: no such store; check the path\n"
    assert run(["info"]) == 2
    assert "Missing argument" in capsys.readouterr().err


def on_terminal(*arguments, input=None):
    """What a command writes to a terminal, both of its streams, and how it ends."""
    outer, inner = pty.openpty()
    plain = {**os.environ, "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "250", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "rondo_cli", *map(str, arguments)]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=inner, stderr=inner, env=plain)
    os.close(inner)
    parts = []
    with contextlib.suppress(OSError):  # the terminal's other side is closed: the end
        while part := os.read(outer, 65536):
            parts.append(part)
    os.close(outer)
    return b"".join(parts).decode(errors="replace").replace("\r\n", "\n"), child.wait(30)


def check(said, what):
    found = UNSAFE.findall(said)
    assert not found, (what, sorted(set(found)))
    for line in said.split("\n"):
        assert not line.startswith("run 9"), (what, line)


@pytest.fixture
def nasty(tmp_path):
    """A directory of two stores in which every text that anyone may give is a nasty one."""
    directory = tmp_path / "dir\x1b[31m\u202e"
    for each in ("one\x1b[2J", "two\nrun 9"):
        clock = ManualClock()
        store = Store(directory / each, writer="\x1b]0;title\x07\x1b[2J\nrun 9", clock=clock)
        for text in (*NASTY, SAFE):
            store.gauge("g", a=text, help=text, unit=text).set(1.0)
        store.tick()
        store.close(ended="\x1b]0;title\x07\nrun 9")
        (directory / each / "cursor_\x1b[2J.json").write_text("{")
    return directory


def test_no_command_lets_a_strangers_text_steer_the_terminal(nasty):
    """Neither names, labels, help, units, writers and ends, nor paths, nor what an error quotes; also in file names."""
    one = nasty / "one\x1b[2J"
    schemas = nasty / "schemas\x1b[2J.toml"
    schemas.write_text('[[schema]]\nname = "\\u001b[2J"\nkind = "gauge"\n')
    config = nasty / "rondo\x1b[2J.toml"
    config.write_text('[store]\npath = "x\\u001b[2J\\nrun 9"\n["a\\u001b[2J"]\n')
    good = nasty / "good.toml"
    good.write_text(f"[exporters.csv]\npath = {json.dumps(str(nasty / 'sent'))}\n")
    torn = nasty / "torn\x1b]0;x\x07"
    torn.mkdir()
    (torn / "meta").write_bytes(b"\x1b[2J" * 40)
    commands = [
        ("query", one, "g"), ("query", nasty, "g"), ("query", one, "g", "--coverage"), ("query", one, "g", "--format", "plot"),
        ("query", one, "g", "--format", "json"), ("query", one, "no\x1b[2J\nrun 9"), ("query", one, 'g{a="\x1b[2J"}'),
        ("query", one, "g", "--range", "\x1b[2J\nrun 9"), ("query", one, "g", "--fn", "\x1b[2J\nrun 9"),
        ("query", one, "g", "--format", "\x1b[2J\nrun 9"), ("query", one, "g", "--tier", "\x1b[2J\nrun 9"),
        ("info", one), ("info", nasty), ("info", torn), ("info", nasty / "none\x1b[2J\nrun 9"), ("check", one), ("check", torn),
        ("check", one, "--format", "json"), ("plan", one), ("plan", schemas), ("plan", torn), ("repair", torn, nasty / "new\x1b[2J"),
        ("repair", one, nasty / "new\x1b[2J\nrun 9"), ("migrate", one, "--schema", schemas), ("config", "check", "--config", config),
        ("export-status", one), ("export-status", nasty), ("plugins", "--store", nasty), ("plugins", "--show", "\x1b[2J\nrun 9"),
        ("export", one, "--to", "\x1b[2J\nrun 9"), ("export", one, "--to", "csv", "--path", nasty / "none\x1b[2J" / "x"),
        ("agent", nasty, "--once", "--config", config), ("agent", nasty, "--once", "--config", good), ("serve", torn, "--port", "0"), ("serve", one, "--host", "\x1b[2J"),
        ("vmm", "--kernel", torn / "meta", "--no-metrics"), ("vmm", "--initrd", "\x1b[2J\nrun 9", "--no-metrics"),
        ("watch", "firecracker", "--metrics", nasty / "none\x1b[2J\nrun 9", "--store", nasty / "w"),
        ("\x1b[2J\nrun 9",), ("query", "--\x1b[2J\nrun 9"), ("query", one, "g", "\x1b[2J\nrun 9"),
    ]  # fmt: skip
    shown = {}
    for command in commands:
        said, status = on_terminal(*command)
        assert said, command
        assert "a bug in rondo" not in said, (command, said)
        assert status in {0, 1, 2}, (command, said)
        check(said, command)
        shown[command] = said
    assert SAFE in shown["query", one, "g"]
    assert "\\x1b]0;title\\x07\\x1b[2J" in shown["info", one]
    assert "x\\nrun 9    pid 1, forged" in shown["info", one]


def test_a_receivers_answer_is_a_line_of_text(tmp_path):
    """What a server says goes into the log, the summary and the cursor's error, and steers nothing there."""
    with Store(tmp_path / "s") as store:
        store.gauge("g").set(1.0)
    body = "\x1b]0;title\x07\nrun 9 \u202eforged".encode()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        client.recv(65536)
                        head = b"HTTP/1.1 400 \x1b[2J\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
                        client.sendall(head + body)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        said, status = on_terminal("export", tmp_path / "s", "--to", "prometheus", "--url", url)
        check(said, "export")
        assert status in {0, 1}
        check(on_terminal("export-status", tmp_path / "s")[0], "export-status")
        server.shutdown(socket.SHUT_RDWR)
        thread.join(30)


@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_data_is_given_as_it_is(tmp_path, where):
    """CSV has every label as it was given and JSON as JSON writes it, wherever it goes: two series stay two."""
    values = [
        "red",
        "\x1b[31mred",
        "\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m",
        'quote " and, comma',
        "line\nbreak",
        SAFE,
    ]
    with Store(tmp_path / "s", clock=ManualClock()) as store:
        names = []
        for value in values:
            gauge = store.gauge("g", a=value)
            gauge.set(1.0)
            names.append(str(gauge.series))

    def ask(form):
        arguments = ("query", tmp_path / "s", "g", "--format", form)
        if where == "terminal":
            return on_terminal(*arguments)[0]
        command = [sys.executable, "-m", "rondo_cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, check=True).stdout.decode()

    rows = list(csv.reader(io.StringIO(ask("csv"), newline="")))
    assert [row[0] for row in rows[1:]] == names
    assert [each["labels"]["a"] for each in json.loads(ask("json"))] == values


def test_a_locale_without_the_characters_gets_escapes(tmp_path):
    """Words never fail for want of a character; data is UTF-8."""
    with Store(tmp_path / "s") as store:
        store.gauge("g", a="数据").set(1.0)
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "rondo_cli", "query", str(tmp_path / "s"), "g"]
    said = subprocess.run(command, capture_output=True, check=True, env=plain).stdout
    assert b"\\u6570\\u636e" in said
    said = subprocess.run([*command, "--format", "csv"], capture_output=True, check=True, env=plain).stdout
    assert "数据" in said.decode()


def test_what_is_printable_stays():
    """Letters of any script and pictures are text; an error is one line whatever it quotes."""
    assert printable(SAFE) == SAFE
    assert printable("a\nb\x1b\udcff") == "a\\nb\\x1b\\udcff"
    assert one_line(RondoError("a\n b\x1b[2J\u202e")) == "a b\\x1b[2J\\u202e"


def test_a_log_record_that_nobody_handles_is_a_line_of_text():
    """What is logged to standard error by default cannot forge another record."""
    code = (
        "import logging\nfrom rondo_core.errors import make_logs_printable\nmake_logs_printable()\n"
        "logging.getLogger('rondo.export').warning('%s', 'x\\x1b[2J\\nrun 9')"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert said == "x\\x1b[2J\\nrun 9\n"
    assert logging.lastResort is not None


def test_a_guests_console_on_a_terminal_is_text():
    """Where nobody types to a guest, the terminal gets its lines, and no escape; a character may come in two parts."""
    came = []
    console = GuestText(came.append)
    for data in (b"Linux\r\n\x1b[2J\x1b[31m", "数".encode()[:2], "数".encode()[2:], b"\xff\rx\n"):
        console(data)
    assert b"".join(came).decode() == "Linux\n\\x1b[2J\\x1b[31m数\\xffx\n"
