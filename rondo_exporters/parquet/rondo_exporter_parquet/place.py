"""Where a lake lies: a directory, or a prefix of an object store; files appear whole, and their names are relative."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from rondo_core.errors import ExportError, StoreNotFoundError, UsageError, one_line
from rondo_core.storage import replace_file, sync_directory

REMOTE = re.compile(r"([a-z][a-z0-9+.-]+)://")
# An object store that has not answered after so many seconds is asked again by the client, so many times in all.
REQUEST_TIMEOUT_S, MAX_ATTEMPTS = 30.0, 3
_S3_OPTIONS = {"endpoint", "region", "scheme", "timeout", "attempts", "anonymous"}


@attrs.frozen
class Place:
    """A lake's file system and its root. Threads may share it.

    Attributes: `location`, as it was given; `fs`; `root`: of the lake in it; `directory`: of a lake on this machine.
    """

    location: str
    fs: Any
    root: str
    directory: Path | None = None

    def names(self, folder: str = "", *, recursive: bool = True) -> list[str]:
        """Give the Parquet files below a folder, sorted; what is hidden or unfinished is none of them."""
        sizes = self.sizes(folder, recursive=recursive)
        return sorted(sizes)

    def sizes(self, folder: str = "", *, recursive: bool = True) -> dict[str, int]:
        """Give the same with their sizes in bytes."""
        return {
            each.path[len(self.root) + 1 :]: each.size
            for each in self._listed(folder, recursive=recursive)
            if each.is_file and each.base_name.endswith(".parquet") and not each.base_name.startswith(".")
        }

    def folders(self, folder: str = "") -> list[str]:
        """Give the names of what lies in a folder and is one."""
        return sorted(each.base_name for each in self._listed(folder) if not each.is_file)

    def _listed(self, folder: str, *, recursive: bool = False) -> list[Any]:
        """Give what lies in a folder, maybe nothing. Raises: UsageError: its bucket is not there; OSError."""
        selector = pafs.FileSelector(self.full(folder), allow_not_found=True, recursive=recursive)
        with self.reached():
            found: list[Any] = self.fs.get_file_info(selector)
            bucket = self.root.partition("/")[0]
            if not found and not folder and self.directory is None and bucket:
                with contextlib.suppress(OSError):  # who may see a prefix only may not ask for it
                    if self.fs.get_file_info(bucket).type == pafs.FileType.NotFound:
                        raise UsageError(f"{self.location}: there is no {bucket}; check the name, or make it")
        return found

    def full(self, name: str) -> str:
        """Give a file's path in the file system."""
        return f"{self.root}/{name}" if name else self.root

    @contextlib.contextmanager
    def parquet(self, name: str) -> Iterator[pq.ParquetFile]:
        """Open a file. Raises: ExportError: it is no whole Parquet file; FileNotFoundError: it is gone."""
        with self.reached(), self.fs.open_input_file(self.full(name)) as file:
            try:
                opened = pq.ParquetFile(file)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise ExportError(f"{name}: not a whole Parquet file ({one_line(error)[:120]}); move it away") from None
            yield opened

    def put(self, name: str, write: Callable[[Any], object]) -> int:
        """Write a file, which is there whole or not at all, in the place of one of that name; give its size in bytes.

        Raises: OSError: it is not known to be there; an object store may have it all the same.
        """
        if self.directory is not None:
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file("parquet", path, write, mode=0o666)
            for above in path.parents[1 : len(Path(name).parts)]:  # which may be new
                sync_directory(above)
            return path.stat().st_size
        buffer = io.BytesIO()
        write(buffer)
        # A stream that an error closes would make a file of what had come: what is written at once is there or is not.
        with self.reached(), self.fs.open_output_stream(self.full(name)) as stream:
            stream.write(buffer.getbuffer())
        return buffer.tell()

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone is."""
        with self.reached():
            try:
                self.fs.delete_file(self.full(name))
            except FileNotFoundError:
                return

    def remove_folder(self, name: str) -> None:
        """Remove a folder and all below it."""
        with self.reached(), contextlib.suppress(FileNotFoundError):
            self.fs.delete_dir(self.full(name))

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Let an error of a file system be one line, with the lake's name before it."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno and self.directory is not None:
                raise
            what = " ".join(str(error).split())[:300]
            raise OSError(f"{self.location}: {what}") from None


def open_place(location: str | os.PathLike[str], *, must_exist: bool = False) -> Place:
    """Find where a lake lies: a path, s3://BUCKET/PREFIX, or what pyarrow or fsspec has a file system for.

    Args: `must_exist`: a directory that is not there is an error.
    Raises: UsageError: no such file system, or an option that it does not have; StoreNotFoundError: no such directory.
    """
    text = os.fspath(location)
    found = REMOTE.match(text)
    if found is None or found[1] == "file":
        directory = Path(os.path.abspath(text.removeprefix("file://")))  # noqa: PTH100 - no link is followed
        if must_exist and not directory.is_dir():
            raise StoreNotFoundError(f"{text}: no lake there; check the path")
        return Place(text, pafs.LocalFileSystem(), str(directory), directory)
    shown = re.sub(r"://[^/@]*@", "://", text).partition("?")[0]
    if found[1] == "s3":
        fs, root = _s3(text, shown)
    else:
        fs, root = _other(text, found[1], shown)
    return Place(shown, fs, root.rstrip("/"))


def _s3(text: str, shown: str) -> tuple[Any, str]:
    """Open S3, or what speaks it: s3://BUCKET/PREFIX?endpoint=HOST:PORT&region=...&scheme=http."""
    parts = urlsplit(text)
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    unknown = sorted(options.keys() - _S3_OPTIONS)
    if unknown or not parts.hostname or parts.username:
        what = f"{unknown[0]}: no option" if unknown else "no bucket" if not parts.hostname else "credentials in a URL"
        mend = (
            "credentials are those of AWS's environment or files"
            if parts.username
            else "s3://BUCKET/PREFIX?endpoint=HOST:PORT"
        )
        raise UsageError(f"{shown}: {what}; {mend}")
    try:
        timeout_s, attempts = (
            float(options.get("timeout", REQUEST_TIMEOUT_S)),
            int(options.get("attempts", MAX_ATTEMPTS)),
        )
    except ValueError:
        raise UsageError(f"{shown}: timeout and attempts are numbers; timeout=30&attempts=3") from None
    fs = pafs.S3FileSystem(
        endpoint_override=options.get("endpoint"),
        region=options.get("region"),
        scheme=options.get("scheme", "https"),
        anonymous=options.get("anonymous") == "true",
        request_timeout=timeout_s,
        connect_timeout=min(timeout_s, 10.0),
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=attempts),
        check_directory_existence_before_creation=True,
    )
    return fs, parts.netloc + parts.path


def _other(text: str, scheme: str, shown: str) -> tuple[Any, str]:
    if scheme in {"gs", "gcs"} and "retry_limit_seconds" not in text:  # a quarter of an hour by default
        text += f"{'&' if '?' in text else '?'}retry_limit_seconds={REQUEST_TIMEOUT_S:g}"
    try:
        return pafs.FileSystem.from_uri(text)  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    try:
        import fsspec  # type: ignore[import-not-found,unused-ignore]

        fs, root = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as error:
        what = f"{shown}: neither pyarrow nor fsspec opens {scheme}:// ({one_line(error)[:100]})"
        raise UsageError(f"{what}; install what fsspec needs for it") from None
    return pafs.PyFileSystem(pafs.FSSpecHandler(fs)), root
