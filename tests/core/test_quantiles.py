"""Quantiles of summaries as a program asks for them: where they are kept, and what is said where they are not."""

import logging

import pytest

from rondo_core import Schema, Store, Tier
from rondo_core.errors import SchemaError
from rondo_core.maintain.migrate import migrate_store

TIERS = (Tier("1s", "1m"), Tier("10s", "10m"))
PLAIN = Schema("plain", "summary", 4, TIERS)
SKETCHED = Schema("sketched", "summary", 4, TIERS, sketch=True)
MEANT = Schema("meant", "summary", 4, TIERS, match="meant_seconds", sketch=True)


@pytest.mark.parametrize("schemas", [[PLAIN, SKETCHED], [SKETCHED, PLAIN]])
def test_a_summary_with_quantiles_goes_where_they_are_kept(tmp_path, clock, schemas):
    """And one without where they are not, whichever schema is named first."""
    with Store(tmp_path / "s", schemas, clock=clock) as store:
        for value in range(1, 101):
            store.summary("a_seconds", quantiles=True).observe(value)
            store.summary("b_seconds").observe(value)
        assert store.summary("a_seconds", quantiles=True).series.schema == "sketched"
        assert store.summary("b_seconds").series.schema == "plain"
        assert store.query("a_seconds", fn="p99")[0].values == pytest.approx([99], rel=0.025)


def test_a_plain_summary_goes_to_a_sketched_schema_that_is_meant_for_it_or_alone(tmp_path, clock):
    """By its selector; or because no other takes it."""
    with Store(tmp_path / "meant", [MEANT, PLAIN], clock=clock) as store:
        assert store.summary("meant_seconds").sketched
        assert not store.summary("other_seconds").sketched
    with Store(tmp_path / "alone", [SKETCHED], clock=clock) as store:
        assert store.summary("other_seconds").sketched


def test_a_store_without_a_schema_for_quantiles_says_so_once(tmp_path, clock, caplog):
    """The summary records what it can; the line names the mend; strict raises it."""
    with Store(tmp_path / "s", [PLAIN], clock=clock) as store, caplog.at_level(logging.WARNING):
        for index in range(3):
            store.summary("a_seconds", quantiles=True, index=index % 2).observe(1.0)
        (line,) = [record.getMessage() for record in caplog.records]
        assert "a_seconds: quantiles=True" in line
        assert "sketch = true" in line
        assert "rondo migrate" in line
        assert store.query("a_seconds{index=0}", fn="count", open=True)[0].values.tolist() == [2.0]
        assert [each.name for each in store.registry if each.kind == "summary"] == ["a_seconds"] * 2
    with Store(tmp_path / "s", clock=clock, strict=True) as store:
        with pytest.raises(SchemaError, match="sketch = true"):
            store.summary("b_seconds", quantiles=True)
        assert len(store.view.series("b_seconds")) == 0


def test_a_series_stays_where_it_was_declared_first(tmp_path, clock, caplog):
    """And what is said of it names where another would go."""
    with Store(tmp_path / "s", [PLAIN, SKETCHED], clock=clock) as store, caplog.at_level(logging.WARNING):
        store.summary("a_seconds")
        assert not store.summary("a_seconds", quantiles=True).sketched
        assert "schema sketched takes one of another name" in caplog.text


def test_a_migration_keeps_quantiles_where_both_stores_have_them(tmp_path, clock):
    """A series goes from the old sketched schema to the new one, though a plain one comes first; the quantile stays."""
    with Store(tmp_path / "s", [SKETCHED], clock=clock) as store:
        for value in range(1, 101):
            store.summary("a_seconds").observe(value)
    clock.advance(60)
    migrate_store(tmp_path / "s", [PLAIN, SKETCHED], clock=clock)
    with Store(tmp_path / "s", clock=clock) as store:
        assert store.query("a_seconds", fn="p99", tier=0)[0].values == pytest.approx([99], rel=0.025)
