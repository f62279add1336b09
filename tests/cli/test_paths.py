"""Every path that a command or a config takes, and everything that may lie there instead."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

from rondo_core import Store
from rondo_core.model import write_schemas
from rondo_core.model.schema import DEFAULT_SCHEMAS

PROGRAM = Path(__file__).with_name("paths_process.py")
KINDS = ("file", "empty", "dir", "barred", "in_barred", "barred_file", "in_foreign", "dangling", "loop", "below_file")
KINDS += ("not_utf8", "no_utf8_new", "long", "fifo", "socket", "endless", "nothing")


def as_anyone() -> None:
    """Take from a child, before it runs a command, the power over files that root has and others have not."""
    if not os.geteuid():
        import ctypes

        for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, out of the bounding set
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def foreign(path: Path, mode: int) -> Path:
    """Make a file or a directory someone else's."""
    if os.geteuid():
        path.chmod(mode & 0o7 and 0o500)
    else:
        os.chown(path, 65534, 65534)
        path.chmod(mode)
    return path


def lay(place: Path, kind: str) -> str:
    """Lay something of that kind into a new directory, and give its path."""
    place.mkdir()
    path = place / "x"
    match kind:
        case "file":
            path.write_text("x\n")
        case "empty":
            path.touch()
        case "dir":
            path.mkdir()
        case "barred":
            path.mkdir()
            foreign(path, 0o700)
        case "in_barred":
            path.mkdir()
            return str(foreign(path, 0o700) / "y")
        case "barred_file":
            path.write_text("x\n")
            foreign(path, 0o600)
        case "in_foreign":
            path.mkdir()
            return str(foreign(path, 0o755) / "y")
        case "dangling":
            path.symlink_to("nowhere")
        case "loop":
            path.symlink_to(path)
        case "below_file":
            path.touch()
            return str(path / "y")
        case "not_utf8" | "no_utf8_new":
            path = Path(os.fsdecode(os.fsencode(place) + b"/\xff\xfe"))
            if kind == "not_utf8":
                path.mkdir()
        case "long":
            return str(place / ("n" * 300))
        case "fifo":
            os.mkfifo(path)
        case "socket":
            import socket

            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(os.path.relpath(path))
        case "endless":
            return "/dev/zero"
        case "nothing":
            return ""
    return str(path)


class Walk:
    """The commands, each with a path to be put in."""

    def __init__(self, root: Path) -> None:
        self.root, self.count = root, 0
        self.good, self.stores = str(root / "good.rondo"), str(root / "stores")
        for path in (root / "good.rondo", root / "stores" / "a.rondo"):
            with Store(path) as store:
                store.gauge("g").set(1.0)
        self.schemas, self.token = str(root / "schemas.toml"), str(root / "token")
        Path(self.schemas).write_text(write_schemas(DEFAULT_SCHEMAS))
        Path(self.token).write_text("x" * 40)

    def new(self) -> str:
        self.count += 1
        return str(self.root / f"new{self.count}")

    def config(self, text: str) -> str:
        path = Path(f"{self.new()}.toml")
        path.write_text(text, errors="surrogateescape")
        return str(path)

    def commands(self) -> dict[str, Callable[[str], list[str]]]:
        good, stores, new, config, q = self.good, self.stores, self.new, self.config, json_text
        csv = '[exporters.csv]\npath = "o.csv"\n'
        once = ["agent", stores, "--once", "--config"]
        machine = ["vmm", "--no-metrics", "--machine", "soft", "--timeout", "100ms"]
        away = ["export", good, "--to", "prometheus", "--deadline", "1ms", "--url", "https://127.0.0.1:1/x", "-o"]
        bound = ["--port", "1", "--host", "192.0.2.1"]  # of no machine: it comes to an end
        return {
            "agent": lambda p: ["agent", p, "--once", "--config", config(csv)],
            "agent --config": lambda p: [*once, p],
            "agent.archive": lambda p: [*once, config(f'[agent]\nafter = "archive"\narchive = {q(p)}\n{csv}')],
            "agent csv.path": lambda p: [*once, config(f"[exporters.csv]\npath = {q(p)}\n")],
            "agent lake": lambda p: [*once, config(f'[exporters.parquet]\ninstance = "a"\ndirectory = {q(p)}\n')],
            "check": lambda p: ["check", p],
            "config check": lambda p: ["config", "check", "--config", p],
            "store.schemas": lambda p: ["config", "check", "--config", config(f"[store]\nschemas = {q(p)}\n")],
            "store.path": lambda p: ["config", "check", "--config", config(f"[store]\npath = {q(p)}\n")],
            "copy": lambda p: ["copy", p, new()],
            "copy TO": lambda p: ["copy", good, p],
            "export": lambda p: ["export", p, "--to", "csv", "-o", f"path={new()}"],
            "export path": lambda p: ["export", good, "--to", "csv", "-o", f"path={p}"],
            "export directory": lambda p: [
                "export",
                good,
                "--to",
                "parquet",
                "-o",
                "instance=x",
                "-o",
                f"directory={p}",
            ],
            "export ca_file": lambda p: [*away, f"ca_file={p}"],
            "export token": lambda p: [*away, f"bearer_token_file={p}"],
            "export --config": lambda p: ["export", good, "--config", p],
            "export-status": lambda p: ["export-status", p],
            "info": lambda p: ["info", p],
            "migrate": lambda p: ["migrate", p, "--schema", self.schemas],
            "migrate --schema": lambda p: ["migrate", good, "--schema", p],
            "plan": lambda p: ["plan", p],
            "plugin new": lambda p: ["plugin", "new", "exporter", "kafka", "--directory", p],
            "plugins --store": lambda p: ["plugins", "--store", p],
            "plugins --config": lambda p: ["plugins", "--config", p],
            "query": lambda p: ["query", p, "g"],
            "repair": lambda p: ["repair", p, new()],
            "repair NEW": lambda p: ["repair", good, p],
            "serve": lambda p: ["serve", p, *bound, "--token-file", self.token],
            "serve --token-file": lambda p: ["serve", good, "--port", "1", "--host", "0.0.0.0", "--token-file", p],
            "vmm --store": lambda p: [
                "vmm",
                "--machine",
                "soft",
                "--store",
                p,
                "--duration",
                "1",
                "--timeout",
                "100ms",
            ],
            "vmm --count": lambda p: ["vmm", "--machine", "soft", "--store", p, "--count", "2", "--timeout", "100ms"],
            "vmm --config": lambda p: [*machine, "--config", p],
            "vmm --kernel": lambda p: [*machine, "--kernel", p],
            "vmm --disk": lambda p: [*machine, "--disk", p],
            "watch qemu": lambda p: ["watch", "qemu", "--qmp", p, "--timeout", "100ms", "--store", new()],
            "watch firecracker": lambda p: [
                "watch",
                "firecracker",
                "--metrics",
                p,
                "--timeout",
                "1s",
                "--store",
                new(),
            ],
            "watch --store": lambda p: [
                "watch",
                "firecracker",
                "--metrics",
                self.schemas,
                "--timeout",
                "1s",
                "--store",
                p,
            ],
        }


def json_text(path: str) -> str:
    """Write a path as TOML does."""
    return json.dumps(path, ensure_ascii=False)


@contextmanager
def runner(root: Path):
    """Give what runs a command in one process that has no more power than anyone: its status, and what it said."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
        env=environment,
        preexec_fn=as_anyone,  # noqa: PLW1509 - no threads here
    ) as child:

        def run(arguments: list[str]) -> tuple[int, str]:
            child.stdin.write(json.dumps([os.fsencode(word).hex() for word in arguments]).encode() + b"\n")
            child.stdin.flush()
            select.select([child.stdout], [], [])
            line = child.stdout.readline()
            while line and not line.startswith(b'[{"status"'):  # what commands print
                line = child.stdout.readline()
            assert line, f"{arguments}: hangs, or ended its process with {child.wait()}"
            (told,) = json.loads(line)
            return told["status"], told["said"]

        yield run
        child.stdin.close()


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_lies_at_a_path_a_command_says_in_a_line_what_is_wrong(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No path ends a command in a traceback, keeps it waiting, or has it say more than a line; many of them do well."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # a socket's path is to be short
    walk, wrong = Walk(tmp_path), []
    with runner(tmp_path) as run:
        for number, (name, command) in enumerate(walk.commands().items()):
            status, said = run(command(lay(tmp_path / f"{kind}{number}", kind)))
            lines = said.splitlines()
            told = [line for line in lines if line.startswith("rondo: ")]
            ended = status == 0 or (status in {1, 2} and told)
            if (
                not ended
                or "a bug in rondo" in said
                or "Traceback" in said
                or "Error: " in said
                or (status and len(lines) > 4)
            ):
                wrong.append((name, status, said[:400]))
    assert not wrong, "\n".join(map(str, wrong))
