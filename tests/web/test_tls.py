"""`rondo serve` over TLS, with a token, and in a browser: what reaches it from elsewhere, and what is said at the start."""

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.request

import pytest

from rondo_cli.main import run
from rondo_core import Store

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate with")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of localhost and its key, each in a file, and both in one."""
    place = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = [
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        place / "key.pem",
        "-out",
        place / "cert.pem",
    ]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    (place / "both.pem").write_text((place / "cert.pem").read_text() + (place / "key.pem").read_text())
    return place


@pytest.fixture
def served(path, clock):
    """A store whose writer has gone."""
    with Store(path, clock=clock) as store:
        store.gauge("level").set(1.0)
    return path


def start(*options):
    process = subprocess.Popen(
        [sys.executable, "-m", "rondo_cli", "serve", *map(str, options), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    line = next(
        (line for line in process.stderr if " serving " in line), ""
    )  # a file that others may read is named first
    if not line:
        process.communicate()
        pytest.fail("it serves nothing")
    return process, line.split(" on ")[1].strip().removesuffix("/")


def test_it_speaks_tls_and_wants_the_token(served, certificate, tmp_path):
    """A client that knows the certificate is answered; one without the token is not; who begins no TLS is let go."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    process, url = start(served, "--tls-cert", certificate / "both.pem", "--token-file", token)
    try:
        assert url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=certificate / "cert.pem")

        def ask(**headers):
            request = urllib.request.Request(f"{url}/api/v1/query", b"query=level&time=1700000000", headers)
            with urllib.request.urlopen(request, timeout=30, context=context) as response:
                return json.load(response)

        assert ask(Authorization="Bearer 0123456789abcdef")["data"]["result"][0]["value"] == [1_700_000_000, "1"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask()
        with refused.value as answer:
            told = json.load(answer)
            assert (answer.code, told["status"], told["error"][:18]) == (401, "error", "a token is needed:")
        port = int(url.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=60) as silent,
            socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        ):
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):  # the other way to be let go
                assert not plain.recv(4096).startswith(b"HTTP")
            assert silent.recv(4096) == b""  # in some seconds
        assert ask(Authorization="Bearer 0123456789abcdef")["status"] == "success"
    finally:
        process.terminate()
        rest = process.communicate(timeout=30)[1]
    assert "Traceback" not in rest


def test_a_certificate_that_is_none_is_one_line(served, certificate, tmp_path, capsys):
    """Nothing was started, and what to give instead is said."""
    key, cert = certificate / "key.pem", certificate / "cert.pem"
    for options, said in (
        (["--tls-key", key], "--tls-key: given without --tls-cert"),
        (["--tls-cert", tmp_path / "none"], "none: No such file or directory"),
        (["--tls-cert", cert], "not a certificate in PEM and the key of it"),
        (["--tls-cert", key, "--tls-key", cert], "not a certificate in PEM and the key of it"),
    ):
        assert run(["serve", str(served), *map(str, options), "--port", "0"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_open_asks_a_browser_for_the_page(served, tmp_path, monkeypatch):
    """The one that BROWSER names, with the address; where there is none the address is said."""
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >{seen}.part && mv {seen}.part {seen}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    process, url = start(served, "--open")
    try:
        while not seen.exists():  # the test's own timeout is the end
            assert process.poll() is None
        assert seen.read_text().strip() == f"{url}/"
    finally:
        process.terminate()
        process.communicate(timeout=30)
    monkeypatch.delenv("BROWSER")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    process, url = start(served, "--open")
    try:
        assert process.stderr.readline() == f"rondo: no browser here; open {url}/ in one\n"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_a_missing_package_is_one_line(served, monkeypatch, capsys):
    """All that is missing, and the one command that brings it."""
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in {"orjson", "re2"} else real(name))
    assert run(["serve", str(served)]) == 2
    assert capsys.readouterr().err == "rondo: google-re2, orjson: not installed; install the extra web of rondo-tsdb\n"
