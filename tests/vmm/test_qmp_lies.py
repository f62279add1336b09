"""A peer that is no QEMU, and says what it likes: a line says so, and nothing of it is left behind."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rondo_cli.main import run

pytest.importorskip("qemu.qmp")
GREETING = (
    b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}\r\n'
)
LONG = 1 << 20


def answers(connection: socket.socket, answer: Callable[[int], bytes]) -> None:
    """Greet, and answer each request as told, by its number."""
    connection.sendall(GREETING)
    decoder, text, n_requests = json.JSONDecoder(), "", 0
    while data := connection.recv(1 << 16):
        text += data.decode()
        while text := text.lstrip():
            try:
                request, end = decoder.raw_decode(text)
            except ValueError:
                break
            text = text[end:]
            head = b'{"id": %s, "return": ' % json.dumps(request.get("id")).encode()
            connection.sendall(head + (answer(n_requests) if n_requests else b"{}") + b"}\r\n")
            n_requests += 1


PEERS: dict[str, Callable[[socket.socket], Any]] = {
    "a list": lambda each: each.sendall(b"[1, 2, 3]\r\n"),
    "a number": lambda each: each.sendall(b'{"QMP": 5}\r\n'),
    "a line without an end": lambda each: each.sendall(b'{"QMP": "' + b"x" * LONG),
    "an event before the greeting": lambda each: each.sendall(b'{"event": "SHUTDOWN"}\r\n' + GREETING),
    "answers of other types": lambda each: answers(each, lambda _: b'[null, {"a": []}, -1, "x"]'),
    "tables for lists": lambda each: answers(each, lambda _: b'{"pid": "x", "status": 5}'),
    "numbers for lists": lambda each: answers(each, lambda _: b"7"),
    "an answer without an end": lambda each: answers(each, lambda _: b'"' + b"y" * LONG + b'"'),
}


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_that_is_no_qemu_is_said_to_be_none(
    tmp_path: Path, peer: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever comes through the socket ends in status 1 and one line, without a store."""
    monkeypatch.chdir(tmp_path)  # a socket's path is to be short

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            try:
                PEERS[peer](connection)
                connection.recv(1)
            except OSError:
                pass  # it has heard enough

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("qmp")
        listening.listen()
        serving = threading.Thread(target=serve)
        serving.start()
        assert run(["watch", "qemu", "--qmp", "qmp", "--store", "s.rondo"]) == 1
        serving.join()
    said = capfd.readouterr().err
    assert said.startswith("rondo: qmp: ")
    assert said.count("\n") == 1
    assert "a bug in rondo" not in said
    assert not (tmp_path / "s.rondo").exists()
