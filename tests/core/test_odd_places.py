"""A store where there can be none: a StoreError of one line, for who writes and for who reads."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rondo_core import Store, StoreReader
from rondo_core.errors import StoreError, StoreNotFoundError
from rondo_core.read import open_reader

PLACES = ("below_file", "file", "loop", "dangling", "long", "fifo")


def lay(place: Path, kind: str) -> Path:
    """Lay something odd, and give the path of a store that cannot be."""
    path = place / "x"
    match kind:
        case "below_file":
            path.touch()
            return path / "y"
        case "file":
            path.touch()
        case "loop":
            path.symlink_to(path)
        case "dangling":
            path.symlink_to(place / "nowhere")
        case "fifo":
            os.mkfifo(path)
        case "long":
            return place / ("n" * 300)
    return path


def in_a_line(path: Path, caught: pytest.ExceptionInfo[StoreError]) -> None:
    """Check that an error names the path and the mend in a line."""
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "; " in str(caught.value)


@pytest.mark.parametrize("kind", PLACES)
def test_an_odd_place_is_a_store_error_for_who_writes_and_who_reads(tmp_path: Path, kind: str) -> None:
    """Whatever lies at the path, or keeps it from being looked at, is a StoreError, and nothing is left there."""
    path = lay(tmp_path, kind)
    before = sorted(tmp_path.iterdir())
    for opened in (Store, StoreReader, open_reader, lambda where: Store(where, create_missing=False)):
        with pytest.raises(StoreError) as caught:
            opened(path)
        in_a_line(path, caught)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR])
def test_what_the_kernel_refuses_is_a_store_error(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No permission, a read-only file system, a full disk: the reason in its words, at making and at opening."""
    path, real = tmp_path / "s", os.open
    Store(tmp_path / "there").close()

    def refused(given: object, flags: int, *arguments: object, **options: object) -> int:
        if str(given).endswith(("series", "meta")):
            raise OSError(number, os.strerror(number), str(given))
        return real(given, flags, *arguments, **options)  # type: ignore[arg-type]

    def no_directory(_path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refused)
    for opened in (Store, StoreReader):
        with pytest.raises(StoreError, match=os.strerror(number)) as caught:
            opened(tmp_path / "there")
        assert not isinstance(caught.value, StoreNotFoundError)
    monkeypatch.setattr(os, "open", real)
    monkeypatch.setattr(Path, "mkdir", no_directory)
    with pytest.raises(StoreError, match=os.strerror(number)) as caught:
        Store(path)
    in_a_line(path, caught)
