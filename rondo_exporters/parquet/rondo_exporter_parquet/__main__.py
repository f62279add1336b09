"""`python -m rondo_exporter_parquet LAKE`: write files of layout version 1 anew, of every instance."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import unquote

from rondo_core.errors import RondoError
from rondo_exporter_parquet.lake import Lake
from rondo_exporter_parquet.plugin import OPTIONS

DEFAULTS = {option.name: option.default for option in OPTIONS}


def main(arguments: list[str]) -> int:
    """Say of each instance how many files were written anew; 1: one of them is being written, or cannot be read."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m rondo_exporter_parquet LAKE\n")
        return 2
    directory, status = Path(arguments[0]), 0
    parts = {path.name.removeprefix("instance=") for path in directory.glob("day=*/instance=*")}
    for instance in sorted(map(unquote, parts)):
        try:
            lake = Lake(directory, instance, DEFAULTS["rows_per_file"], DEFAULTS["compression"], DEFAULTS["timestamps"])
            try:
                print(f"{instance}: {lake.upgrade_layout()} files")  # noqa: T201 - what a command says
            finally:
                lake.close()
        except RondoError as error:
            sys.stderr.write(f"{instance}: {error}\n")
            status = error.exit_status
    if not parts:
        print(f"{directory}: no files of layout version 1")  # noqa: T201 - what a command says
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
