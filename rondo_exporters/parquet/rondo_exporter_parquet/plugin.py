"""The plugin `parquet`: its hooks and its config; pyarrow is imported when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rondo_core import Option, hookimpl
from rondo_core.errors import UsageError
from rondo_core.storage import check_directory

if TYPE_CHECKING:
    from rondo_exporter_parquet.lake import Lake
    from rondo_exporter_parquet.objects import ObjectLake
    from rondo_exporter_parquet.tools import LakeTools

UNITS = ("us", "ns")
OPTIONS = [
    Option("directory", help="where the files go, or s3://BUCKET/PREFIX; made where it is missing", required=True),
    Option("instance", help="whose samples they are: one for each store, or for an agent", required=True),
    Option("rows_per_file", "integer", "how many rows a file has at most; small ones are joined", default=100_000),
    Option("timestamps", help="unit of the times: us, which every engine reads, or ns", default="us", choices=UNITS),
    Option("compression", help="of the files", default="zstd", choices=("zstd", "snappy", "gzip", "none")),
]


@hookimpl
def rondo_options_define() -> list[Option]:
    """Name every key of the config."""
    return OPTIONS


@hookimpl
def rondo_options_check(config: Mapping[str, Any]) -> None:
    """Look at the directory and the numbers. Raises: UsageError."""
    if config["rows_per_file"] < 1:
        raise UsageError(f"rows_per_file: {config['rows_per_file']}: at least 1")
    if not config["instance"]:
        raise UsageError("instance: empty; name whose samples they are")
    try:
        config["directory"].encode()
    except UnicodeEncodeError:  # Arrow takes no other path
        raise UsageError(f"directory: {config['directory']}: its name is not UTF-8; choose another") from None
    if "://" not in config["directory"]:
        check_directory("directory", config["directory"])


@hookimpl
def rondo_exporter_open(config: Mapping[str, Any]) -> Lake | ObjectLake:
    """Make the directory, and take the instance's part of it; or open the object store.

    Raises: UsageError: the directory cannot be used, or another process writes this instance's files.
    """
    rondo_options_check(config)
    where, settings = config["directory"], [config[name] for name in ("rows_per_file", "compression", "timestamps")]
    if "://" in where:
        from rondo_exporter_parquet.objects import ObjectLake
        from rondo_exporter_parquet.place import open_place

        return ObjectLake(open_place(where), config["instance"], *settings)
    from rondo_exporter_parquet.lake import Lake

    return Lake(Path(where), config["instance"], *settings)


@hookimpl
def rondo_lake_open(location: str) -> LakeTools:
    """Open the lake that lies at a path or in an object store."""
    from rondo_exporter_parquet.tools import LakeTools

    return LakeTools(location)
