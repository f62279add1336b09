"""/metrics over a directory: the stores that are written, whichever others lie there."""

import pytest

from rondo_core import Store
from rondo_core.errors import QueryLimitError, StoreNotFoundError
from rondo_web.reading import served_store
from rondo_web.reading.limits import LARGE, SMALL
from rondo_web.reading.served_store import ServedStore
from rondo_web.reading.workers import Workers


def test_stores_that_are_written_are_opened_and_no_dead_one(tmp_path, monkeypatch):
    """Each is told by its name; one that begins or ends later comes or goes at the next scrape."""
    for number in range(3):
        Store(tmp_path / f"dead-{number}", ()).close()
    served = ServedStore(tmp_path, Workers())
    opened = []
    whole = served_store.StoreReader
    monkeypatch.setattr(served_store, "StoreReader", lambda path: opened.append(path.name) or whole(path))

    def live(limits=SMALL):
        opened.clear()
        found = [(name, reader.path.name) for name, reader in served.live(limits)]
        assert [name for name, _ in found] == opened
        return opened.copy()

    assert live() == []
    with Store(tmp_path / "b", ()), Store(tmp_path / "a", ()):
        assert live() == ["a", "b"]
        monkeypatch.setattr(served_store, "MAX_OPENED_AT_ONCE", 1)
        with pytest.raises(QueryLimitError, match="2 stores to open; at most 1 at once"):
            live()
        assert live(LARGE) == ["a", "b"]
        (tmp_path / "b" / "meta").write_bytes(b"no meta")
        assert [name for name, _ in served.live(LARGE)] == ["a"]
    assert live() == []
    with Store(tmp_path / "dead-1", ()):
        assert live() == ["dead-1"]
    assert not served._shared.is_open()
    served.close()


def test_a_directory_without_a_store_has_nothing_to_scrape(tmp_path):
    """What was there when it was served and is gone is an error, not an empty answer."""
    with Store(tmp_path / "a", ()):
        pass
    served = ServedStore(tmp_path, Workers())
    (tmp_path / "a").rename(tmp_path.parent / "gone")
    with pytest.raises(StoreNotFoundError, match="no store here or below"):
        list(served.live(LARGE))
    served.close()
