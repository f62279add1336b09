"""`rondo plugin new`: write a package with a working plugin and its test, to start from."""

from __future__ import annotations

import json
import re
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from rondo_cli.params import PATH
from rondo_cli.printing import say
from rondo_core.errors import UsageError
from rondo_core.model import is_directory, is_there

FAMILIES = ("exporter", "recorder", "consolidator")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@click.group("plugin")
def command() -> None:
    """Begin a plugin of your own.

    \b
    rondo plugin new exporter kafka
    """


@command.command("new")
@click.argument("family", type=click.Choice(FAMILIES))
@click.argument("name")
@click.option(
    "--directory",
    type=PATH,
    default=None,
    help="Where to write it; default: a folder of the distribution's name, here.",
)
def new(family: str, name: str, directory: Path | None) -> None:
    """Write a package with a working FAMILY plugin called NAME, and a test that runs rondo's conformance suite on it.

    \b
    rondo plugin new exporter kafka
    cd rondo-exporter-kafka && pip install PATH/TO/rondo -e . pytest && pytest
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r}: not a plugin's name; lower-case letters, digits and _ only, letter first")
    project = f"rondo-{family}-{name.replace('_', '-')}"
    module = f"rondo_{family}_{name}"
    target = directory or Path(project)
    if is_there(target) and (not is_directory(target) or any(target.iterdir())):
        raise UsageError(f"{target}: is there already; choose another --directory")
    words = {"NAME": name, "FAMILY": family, "MODULE": module, "DISTRIBUTION": project, "RONDO": _checkout()}
    written = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{module}/plugin.py": f"{family}.py",
        "tests/test_conformance.py": f"{family}_test.py",
    }
    for path, template in written.items():
        _write(target / path, _filled(template, words))
    _write(target / module / "__init__.py", f'"""The rondo {family} plugin {name}."""\n')
    say(f"{target}/: a working {family}. Next: cd {target} && pip install {_checkout()} -e . pytest && pytest")


def _checkout() -> str:
    """Give what pip installs rondo from: nothing of it is on an index. Source: PEP 610, direct_url.json."""
    try:
        told = json.loads(distribution("rondo-tsdb").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        told = {}
    url = urlsplit(str(told.get("url", "")))
    return shlex.quote(unquote(url.path)) if url.scheme == "file" else "PATH/TO/rondo"


def _filled(template: str, words: dict[str, str]) -> str:
    text = (files("rondo_cli") / "templates" / f"{template}.txt").read_text("utf-8")
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; choose another --directory") from None
