"""What a store will take, before it is made, and the schemas that people write in files."""

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, StoresReader, Tier, read_schemas
from rondo_core.errors import RangeError, SchemaError, StoreError
from rondo_core.export.drain import Drain
from rondo_core.export.runner import SETTLE_NS
from rondo_core.maintain.plan import outage_ns, plan_store
from rondo_core.model.schema import DEFAULT_SCHEMAS, check_schemas
from rondo_core.model.schema_file import write_schemas
from rondo_vmm.schemas import VMM_SCHEMAS, vmm_schemas

SHORT = (Tier("1s", "20s"), Tier("10s", "2m"))
MANY = [
    DEFAULT_SCHEMAS,
    VMM_SCHEMAS,
    [Schema("g", "gauge", 5, (("1s", "1m"), Tier("10s", "1h", ("max", "sum")))), Schema("s", "summary", 3)],
    [Schema("c", "counter", 1, (("250ms", "1m"),), "{a=b}")],
]


@pytest.mark.parametrize("schemas", MANY, ids=range(len(MANY)))
def test_a_plan_names_every_file_with_its_size(path, schemas):
    """To the byte, file by file, and what is really allocated is no less than the file's size."""
    plan = plan_store(schemas)
    Store(path, schemas).close()
    assert plan.files == {file.name: file.stat().st_size for file in path.iterdir()}
    assert plan.total_bytes == sum(file.stat().st_size for file in path.iterdir())
    assert {each.file: each.size_bytes for each in plan.tiers()}.items() <= plan.files.items()


@pytest.mark.parametrize("offset_ns", [0, 1, SETTLE_NS - 1, SETTLE_NS, 7 * 10**8])
@pytest.mark.parametrize("kind", ["counter", "gauge", "summary"])
def test_the_outage_that_is_promised_loses_nothing(path, kind, offset_ns):
    """Two exports that far apart, wherever in a bucket they fall: every sample leaves; a bucket and the delay more
    may lose one, and the loss is counted.
    """
    schemas = [Schema("all", kind, 1, SHORT)]
    start_ns = 1_700_000_000 * 10**9
    longest_ns = outage_ns(schemas[0])

    def unsent(wait_ns):
        clock = ManualClock(start_ns + offset_ns)
        store = Store(path.with_name(f"{kind}{wait_ns}"), schemas, clock=clock)
        handle = getattr(store, kind)("x")
        record = {"counter": "inc", "gauge": "set", "summary": "observe"}[kind]
        drain, positions, sent = Drain(store.view), {}, []

        def export():
            lost = 0
            while (drained := drain.next(positions, clock() - SETTLE_NS, 10_000)) is not None:
                positions.update(drained.positions)
                lost += drained.overwritten
                for part in drained.batch.parts:
                    sent.extend(part.timestamps_ns.tolist() if part.schema == "all" else [])
            return lost

        with store:
            for _ in range(30):
                getattr(handle, record)(1.0)
                store.tick()
                clock.advance(1)
            getattr(handle, record)(1.0)
            export()
            until = clock() + wait_ns
            while clock() + 10**9 <= until:
                clock.advance(1)
                getattr(handle, record)(1.0)
                store.tick()
            clock.advance((until - clock()) / 10**9)
            getattr(handle, record)(1.0)
            lost = export()
        stamps = list(range(sent[0], sent[-1] + 1, 10**9))
        return lost, len(stamps) - len(sent)

    assert unsent(longest_ns) == (0, 0)
    lost, missing = unsent(longest_ns + 10**9 + SETTLE_NS)
    assert lost > 0
    assert missing > 0


def test_a_ring_shorter_than_the_delay_of_an_export_promises_nothing():
    """A finest tier of half a second is overwritten before its buckets count as closed."""
    assert outage_ns(Schema("g", "gauge", 1, (("1ms", "500ms"),))) == 0


def test_a_store_of_a_monitor_takes_less_than_a_megabyte_and_a_half(path):
    """Room for 16 series in the three default tiers, rondo's own counts beside them: at most 1,500,000 bytes."""
    Store(path, VMM_SCHEMAS).close()
    assert sum(file.stat().st_size for file in path.iterdir()) <= 1_500_000
    with StoreReader(path) as reader:
        own = [schema for schema in reader.meta.schemas if schema.name not in {"rondo", "milestones"}]
    assert sum(schema.max_series for schema in own) == 16
    for schema in own:
        assert [str(tier) for tier in schema.tiers] == ["1s/10m", "10s/6h", "5m/7d"]


@pytest.mark.parametrize("vcpus", [1, 2, 8])
def test_a_monitors_store_has_room_for_what_each_cpu_declares(path, vcpus):
    """Every CPU's exits by reason and its two durations fit, and the monitor's gauges."""
    from rondo_vmm.hookspecs import EXIT_REASONS

    with Store(path, vmm_schemas(vcpus)) as store:
        for cpu in range(vcpus):
            for reason in EXIT_REASONS:
                store.counter("vcpu_exits_total", reason=reason, vcpu=cpu).inc()
            store.summary("vcpu_run_duration_ns", vcpu=cpu).observe(1)
            store.summary("vcpu_exit_duration_ns", vcpu=cpu).observe(1)
        for name in ("vmm_uptime_seconds", "vmm_rss_bytes", "vmm_open_fds"):
            store.gauge(name).set(1)


def test_rondos_own_schema_can_be_given(path, clock):
    """A schema of that name and purpose takes the place of the default one; one of another purpose is refused."""
    with Store(path, VMM_SCHEMAS, clock=clock) as store:
        gauge = store.gauge("g")
        gauge.set(1.0)
        gauge.set(1.0, clock() - 10**13)
        clock.advance(1)
        store.tick()
        assert store.query("rondo_samples_refused_total{reason=late}")[0].values.tolist() == [1.0]
    with pytest.raises(SchemaError, match="taken by rondo's own"):
        check_schemas([Schema("rondo", "counter", 4)])


@pytest.mark.parametrize("schemas", MANY, ids=range(len(MANY)))
def test_schemas_survive_being_written_to_a_file(tmp_path, schemas):
    """What is written is read as the same schemas."""
    file = tmp_path / "schemas.toml"
    file.write_text(write_schemas(schemas))
    assert read_schemas(file) == tuple(schemas)


def test_a_file_may_be_short(tmp_path):
    """Name and kind are enough; tiers may be pairs or tables."""
    file = tmp_path / "schemas.toml"
    file.write_text(
        '[[schema]]\nname = "c"\nkind = "counter"\n[[schema]]\nname = "g"\nkind = "gauge"\nmax_series = 4\n'
        'tiers = [["1s", "1m"], {interval = "10s", retention = "1h", statistics = ["max"]}]\n'
    )
    assert read_schemas(file) == (
        Schema("c", "counter"),
        Schema("g", "gauge", 4, (Tier("1s", "1m"), Tier("10s", "1h", ("max",)))),
    )


HEAD = '[[schema]]\nname = "g"\nkind = "gauge"\n'


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no schema in it; write one [[schema]] table"),
        ("schema = 3", "no schema in it"),
        ("schema = [3]", "[[schema]] 1: 3 is not a table"),
        ("x", "not TOML: Expected '='"),
        ("[[schemas]]", "no key 'schemas'; did you mean schema? it has schema"),
        ('[[schema]]\nkind = "gauge"', "[[schema]] 1: name is missing"),
        ('[[schema]]\nname = "g"', "[[schema]] 1 (g): kind is missing"),
        ('[[schema]]\nname = "g"\nkind = "histogram"', "[[schema]] 1 (g): kind 'histogram'; choose counter, gauge"),
        ('[[schema]]\nname = "G"\nkind = "gauge"', "[[schema]] 1 (G): lower-case letters"),
        (HEAD + "max_serie = 3", "[[schema]] 1 (g): no key 'max_serie'; did you mean max_series? it has name, kind"),
        (HEAD + 'max_series = "3"', "max_series = '3'; write a whole number"),
        (HEAD + "max_series = true", "max_series = True; write a whole number"),
        (HEAD + "max_series = 0", "[[schema]] 1 (g): max_series 0; from 1"),
        (HEAD + "match = 1", "match = 1; write a text in quotes"),
        (HEAD + "tiers = 1", "tiers = 1; write a list"),
        (HEAD + "tiers = []", "[[schema]] 1 (g): no tier"),
        (HEAD + 'tiers = [["1s"]]', 'tier 0: 1 values; write ["interval", "retention"]'),
        (HEAD + "tiers = [[1, 2]]", "tier 0: interval = 1; write a duration in quotes"),
        (HEAD + 'tiers = ["1s/10m"]', "tier 0: '1s/10m'; write"),
        (HEAD + 'tiers = [["1 parsec", "10m"]]', "tier 0: '1 parsec': not a duration"),
        (HEAD + 'tiers = [["1s", "10m"], ["7s", "1h"]]', "tier 1: tier 7s/1h: the retention must be a whole number"),
        (HEAD + 'tiers = [["2s", "10m"], ["5s", "1h"]]', "(g): tier 5s/1h does not fold from 2s/10m"),
        (HEAD + 'tiers = [{interval = "1s"}]', "tier 0: retention is missing"),
        (HEAD + 'tiers = [{interval = "1s", keep = "10m"}]', "tier 0: no key 'keep'; it has interval, retention"),
        (HEAD + 'tiers = [["1s", "10m"], {interval = "10s", retention = "6h", statistics = ["avg"]}]', "statistic 'avg'"),
        (HEAD + 'tiers = [{interval = "1s", retention = "6h", statistics = 1}]', "statistics 1; write a list"),
        (HEAD + HEAD, "schema 'g': the name is taken"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_one_line(tmp_path, text, what):
    """File, table, what is wrong and the mend."""
    file = tmp_path / "schemas.toml"
    file.write_text(text)
    with pytest.raises(SchemaError) as caught:
        read_schemas(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path):
    """One line, whatever is at the path."""
    with pytest.raises(StoreError, match=r"nowhere\.toml: No such file"):
        read_schemas(tmp_path / "nowhere.toml")
    with pytest.raises(StoreError, match="Is a directory"):
        read_schemas(tmp_path)


def holed(path):
    """A gauge that was set in 9, 5 and 1 seconds of three windows of ten."""
    clock = ManualClock(1_700_000_000 * 10**9)
    with Store(path, [Schema("g", "gauge", 2, (("1s", "20s"), ("10s", "10m")))], clock=clock) as store:
        gauges = store.gauge("g"), store.gauge("h")
        for second in range(60):
            for gauge, seconds in zip(gauges, ((9, 5, 1, 10, 10, 10), (10, 10, 10, 0, 3, 10)), strict=True):
                if second % 10 < seconds[second // 10]:
                    gauge.set(second)
            store.tick()
            clock.advance(1)


@pytest.mark.parametrize(
    ("xff", "kept"), [(0.0, [9, 5, 1, 10]), (0.1, [9, 5, 1, 10]), (0.5, [9, 5, 10]), (0.51, [9, 10]), (1.0, [10])]
)
def test_points_with_too_little_coverage_can_be_left_out(path, xff, kept):
    """A coarse point counts as covered by its share of finest buckets, its bounds included; a finest point always."""
    holed(path)
    with StoreReader(path) as reader:
        data = reader.query("g", xff=xff)[0]
        coarse = data.interval_ns == 10**10
        assert data.coverage[coarse].tolist() == kept
        assert (data.values[~coarse]).tolist() == list(range(40, 60))
        assert data.buckets.tolist() == [10] * len(kept) + [1] * 20
        assert data.covered.tolist() == [count / 10 for count in kept] + [1.0] * 20
        assert len(reader.query("h", tier=1, xff=xff)[0]) == (5 if xff <= 0.3 else 4)
        assert [len(each) for each in reader.query("{}", tier=1, xff=xff)][:2] == [
            len(reader.query(name, tier=1, xff=xff)[0]) for name in "gh"
        ]
    with StoresReader(path.parent) as readers:
        assert readers.query("g", xff=xff)[0].coverage.tolist() == data.coverage.tolist()
    with Store(path, clock=ManualClock(1_700_000_060 * 10**9)) as store:
        assert store.query("g", xff=xff)[0].coverage.tolist() == data.coverage.tolist()


@pytest.mark.parametrize("xff", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_share_is_from_nothing_to_all(path, xff):
    """Anything else is refused."""
    holed(path)
    with StoreReader(path) as reader, pytest.raises(RangeError, match="a share of the buckets; from 0 to 1"):
        reader.query("g", xff=xff)
