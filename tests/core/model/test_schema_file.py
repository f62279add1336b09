"""Schemas in TOML: each key, each mistake with its line, and a file that reads back."""

import pytest

from rondo_core.errors import SchemaError, StoreError
from rondo_core.model.schema import DEFAULT_TIERS, Schema, Tier
from rondo_core.model.schema_file import read_schemas, write_schemas

HEAD = '[[schema]]\nname = "g"\nkind = "gauge"\n'
WHOLE = (
    HEAD
    + """max_series = 16
match = "a{b=c}"
tiers = [["1s", "10m"], {interval = "10s", retention = "6h", statistics = ["min"]}]

[[schema]]
name = "s"
kind = "summary"
sketch = true
"""
)


@pytest.fixture
def read(tmp_path):
    """Read a text as a file of schemas."""

    def reads(text):
        (tmp_path / "schemas.toml").write_text(text)
        return read_schemas(tmp_path / "schemas.toml")

    return reads


def test_a_file_says_all_that_a_schema_has(read):
    """What is left out is as it is in Python."""
    assert read(WHOLE) == (
        Schema("g", "gauge", 16, (Tier("1s", "10m"), Tier("10s", "6h", ("min",))), "a{b=c}"),
        Schema("s", "summary", tiers=DEFAULT_TIERS, sketch=True),
    )
    assert read(HEAD + "sketch = false\n") == (Schema("g", "gauge"),)


def test_what_is_written_is_the_file_that_a_person_would_write():
    """Defaults left out, durations as people write them, and those that cannot be so in nanoseconds."""
    schemas = (
        Schema("g", "gauge", 16, (Tier("1s", "10m"), Tier("10s", "6h", ("min",))), 'a{b="c"}'),
        Schema("s", "summary", 1, (Tier(3_661_001_000_000, 7_322_002_000_000),), sketch=True),
    )
    assert write_schemas(schemas) == (
        '[[schema]]\nname = "g"\nkind = "gauge"\nmax_series = 16\nmatch = "a{b=\\"c\\"}"\ntiers = [\n'
        '  {interval = "1s", retention = "10m"},\n'
        '  {interval = "10s", retention = "6h", statistics = ["min", "coverage"]},\n]\n'
        '\n[[schema]]\nname = "s"\nkind = "summary"\nmax_series = 1\nsketch = true\ntiers = [\n'
        '  {interval = "3661001000000ns", retention = "7322002000000ns"},\n]\n'
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": no schema in it; write one [[schema]] table for each"),
        ("schema = 5", ": no schema in it; write one [[schema]] table for each"),
        ("schema = []", ": no schema in it; write one [[schema]] table for each"),
        ("x = [", ": not TOML: ..."),
        ("shcema = 5", ": no key 'shcema'; did you mean schema? it has schema"),
        ("schema = [5]", ": [[schema]] 1: 5 is not a table; write [[schema]] above its keys"),
        ('[[schema]]\nkind = "gauge"', ': [[schema]] 1: name is missing; write name = "..."'),
        ('[[schema]]\nname = "g"', ': [[schema]] 1 (g): kind is missing; write kind = "..."'),
        ('[[schema]]\nname = 5\nkind = "gauge"', ": [[schema]] 1: name = 5; write a text in quotes"),
        ('[[schema]]\nname = "g"\nkind = true', ": [[schema]] 1 (g): kind = True; write a text in quotes"),
        (HEAD + "match = 5", ": [[schema]] 1 (g): match = 5; write a text in quotes"),
        (HEAD + 'max_series = "5"', ": [[schema]] 1 (g): max_series = '5'; write a whole number"),
        (HEAD + "max_series = true", ": [[schema]] 1 (g): max_series = True; write a whole number"),
        (HEAD + "max_series = 0", ": [[schema]] 1 (g): max_series 0; from 1 to 1000000"),
        (
            HEAD + 'tiers = "1s"',
            ': [[schema]] 1 (g): tiers = \'1s\'; write a list such as [["1s", "10m"], ["10s", "6h"]]',
        ),
        (HEAD + "sketch = 1", ": [[schema]] 1 (g): sketch = 1; write true or false, without quotes"),
        (HEAD + "sketch = true", ": [[schema]] 1 (g): a gauge has no sketch; only summaries do"),
        (
            HEAD + "tires = []",
            ": [[schema]] 1 (g): no key 'tires'; did you mean tiers? it has name, kind, max_series, tiers, match, sketch, peaks, reserve",
        ),
        (HEAD + "tiers = []", ": [[schema]] 1 (g): no tier; give at least one"),
        (HEAD + 'tiers = [["1s"]]', ': [[schema]] 1 (g): tier 0: 1 values; write ["interval", "retention"]'),
        (
            HEAD + 'tiers = [["1s", "2m"], ["1s", "2m", "x"]]',
            ': [[schema]] 1 (g): tier 1: 3 values; write ["interval", "retention"]',
        ),
        (
            HEAD + "tiers = [5]",
            ': [[schema]] 1 (g): tier 0: 5; write ["1s", "10m"] or {interval = "1s", retention = "10m"}',
        ),
        (
            HEAD + 'tiers = [{interval = "1s"}]',
            ': [[schema]] 1 (g): tier 0: retention is missing; write retention = "10s"',
        ),
        (
            HEAD + 'tiers = [{retention = "1s"}]',
            ': [[schema]] 1 (g): tier 0: interval is missing; write interval = "10s"',
        ),
        (
            HEAD + 'tiers = [[1, "2m"]]',
            ': [[schema]] 1 (g): tier 0: interval = 1; write a duration in quotes, such as "10s"',
        ),
        (
            HEAD + 'tiers = [["1s", 5]]',
            ': [[schema]] 1 (g): tier 0: retention = 5; write a duration in quotes, such as "10s"',
        ),
        (
            HEAD + 'tiers = [{interval = "1s", retention = "2m", keep = 1}]',
            ": [[schema]] 1 (g): tier 0: no key 'keep'; it has interval, retention, statistics",
        ),
        (
            HEAD + 'tiers = [["1s", "2m"], {interval = "10s", retention = "1h", statistics = "min"}]',
            ': [[schema]] 1 (g): tier 1: statistics \'min\'; write a list such as ["min", "max", "sum"]',
        ),
        (
            HEAD + 'tiers = [["1s", "2m"], {interval = "10s", retention = "1h", statistics = [5]}]',
            ': [[schema]] 1 (g): tier 1: statistics [5]; write a list such as ["min", "max", "sum"]',
        ),
        (
            HEAD + 'tiers = [["soon", "2m"]]',
            ": [[schema]] 1 (g): tier 0: 'soon': not a duration; write 90s, 15m, 1h30m or 7d",
        ),
        (
            HEAD + 'tiers = [["2s", "3s"]]',
            ": [[schema]] 1 (g): tier 0: tier 2s/3s: the retention must be a whole number of intervals",
        ),
        (HEAD + HEAD, ": schema 'g': the name is taken; choose another"),
        (
            HEAD + HEAD.replace('"gauge"', '"x"').replace('"g"', '"h"'),
            ": [[schema]] 2 (h): kind 'x'; choose counter, gauge, summary",
        ),
    ],
)
def test_a_mistake_is_named_by_file_table_and_key(read, tmp_path, text, said):
    """In one line, with the mend."""
    with pytest.raises(SchemaError) as caught:
        read(text)
    told = str(caught.value).removeprefix(f"{tmp_path}/schemas.toml")
    assert told.startswith(said[:-3]) if said.endswith(": ...") else told == said
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_or_not_there_is_said(tmp_path):
    """And to check the path."""
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(SchemaError, match="x: not TOML, which is text in UTF-8; check the path"):
        read_schemas(tmp_path / "x")
    with pytest.raises(StoreError, match="y: No such file or directory; check the path"):
        read_schemas(str(tmp_path / "y"))
