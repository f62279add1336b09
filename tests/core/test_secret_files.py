"""A file that holds a credential, and that every user of the machine may read, is named in a line."""

import pytest

from rondo_core.export.http import read_token
from rondo_core.model import paths
from rondo_core.plugins import read_config
from rondo_web.http.access import read_token as read_server_token

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch):
    monkeypatch.setattr(paths, "_told", set())


def config(exporter):
    return f'[exporters.prometheus]\nurl = "http://127.0.0.1:9"\n{exporter}\n'


SECRET = {
    "token": (TOKEN, lambda path: read_token(str(path))),
    "server token": (TOKEN, read_server_token),
    "password": (config('password = "hunter2"'), read_config),
    "header": (config('headers = {Authorization = "hunter2"}'), read_config),
}
NOT_SECRET = {
    "variable": config('bearer_token = "${TOKEN}"'),
    "file": config('bearer_token_file = "/run/token"'),
    "none": config("tier = 1"),
    "empty": config('password = ""'),
}


@pytest.mark.parametrize("kind", SECRET)
@pytest.mark.parametrize(("mode", "lines"), [(0o600, 0), (0o640, 0), (0o604, 1), (0o644, 1)])
def test_a_file_that_every_user_may_read_is_named_once(tmp_path, caplog, kind, mode, lines):
    """With its option and the mend, and nothing that is in it; it is used all the same. A group is the owner's business."""
    content, read = SECRET[kind]
    path = tmp_path / "a\nfile"
    path.write_text(content)
    path.chmod(mode)
    for _ in range(2):
        read(path)
    assert len(caplog.messages) == lines
    for line in caplog.messages:
        assert "every user of this machine may read the credential in it; chmod o-r " in line
        assert "\n" not in line
        assert TOKEN not in line
        assert "hunter2" not in line


@pytest.mark.parametrize("kind", NOT_SECRET)
def test_a_config_that_only_names_where_a_credential_is_may_be_read_by_all(tmp_path, caplog, kind):
    """An environment variable, or a file of its own."""
    path = tmp_path / "rondo.toml"
    path.write_text(NOT_SECRET[kind])
    path.chmod(0o644)
    read_config(path)
    assert caplog.messages == []
