"""What a type checker makes of what the folders of rondo_core offer: read by mypy in `make check`, and never run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, assert_type

import numpy as np

from rondo_core import Batch, Option, Part, Plugins, RondoError, StoreReader, StoresReader, Tier, hookimpl, hookspec
from rondo_core.clock import NS_PER_S, Clock, boot_ns, wall_ns
from rondo_core.errors import UnknownSeriesError, meant, one_line, printable
from rondo_core.export import (
    AgentStatus,
    Connection,
    EndedReader,
    EventRequest,
    Exporters,
    Forecast,
    HttpResponse,
    Newest,
    NewestSample,
    Outcome,
    ReceiverSettings,
    Refusal,
    Runner,
    Status,
    check_exporters,
    check_one_credential,
    check_runner_table,
    cursor_names,
    cursor_path,
    dry_run,
    dump,
    export_status,
    exposition,
    fold_dead,
    http,
    is_dump,
    load_cursor,
    newest_of,
    open_dry_run,
    open_dump,
    open_runner,
    protobuf,
    read_endpoint,
    read_external_labels,
    read_store_state,
    runner_options,
)
from rondo_core.hookspecs import DryRun, Exporter
from rondo_core.maintain import (
    Edit,
    StorePlan,
    TierChange,
    check_config,
    copy_store,
    outage_ns,
    plan_store,
    remove_series,
    rename_series,
    repair_store,
)
from rondo_core.model import (
    DEFAULT_SCHEMAS,
    DEFAULT_TIERS,
    META_FILE,
    OVERFLOW,
    OWN_SERIES,
    REGISTRY_FILE,
    RUNS_FILE,
    SELF_MATCH,
    SELF_SCHEMA,
    SELF_SCHEMAS,
    Kind,
    Labels,
    Schema,
    Selector,
    Series,
    canonical_labels,
    check_metric_name,
    check_schemas,
    format_series,
    is_directory,
    is_there,
    layout,
    overridden,
    parse_range,
    parse_selector,
    prometheus,
    read_named,
    read_secret,
    sketch,
    state_directory,
    store_name,
    with_room,
    write_schemas,
)
from rondo_core.plugins import (
    EXPORTERS,
    FILE_NAME,
    RECORDERS,
    RUNNER_OPTIONS,
    Config,
    PluginInfo,
    declared_options,
    divided,
    entrypoints,
    list_plugins,
    open_recorders,
    read_options,
    recorders_asked,
)
from rondo_core.read import (
    ALL_STORES,
    LABEL,
    MAX_BUCKET_SCALE,
    BucketTotals,
    Budget,
    Cells,
    Choice,
    DirectoryScan,
    NewestStores,
    QueryResult,
    RememberedReads,
    StoreChoice,
    StoreSource,
    StoresSource,
    buckets_of,
    find_stores,
    holds_stores,
    open_reader,
    open_source,
    scan_directory,
    still_counted,
    store_labels,
    why_unmatched,
)
from rondo_core.record import cython_shadow, handles, load_fold, prefer_compiled
from rondo_core.retention import Bound, Listed, Pruned, list_stores, look_at_store, prune
from rondo_core.signals import stopped_by_signals
from rondo_core.storage import (
    UNFINISHED,
    Ended,
    Event,
    Folder,
    Meta,
    Registry,
    Run,
    Survival,
    boot_id,
    check_directory,
    create_own,
    how_ended,
    in_short,
    is_abandoned,
    last_values,
    outcome,
    own_paths,
    read_dump,
    read_ended,
    read_meta,
    read_runs,
    replace_file,
    size_bytes,
    survival,
    sync_directory,
    writer_pid,
)
from rondo_core.testing import (
    START_NS,
    ConsolidatorTests,
    ExporterTests,
    HttpReceiver,
    Receiver,
    RecorderTests,
    StoreAssertions,
    TemporaryStore,
    fill_store,
    make_part,
    read_batches,
)
from rondo_core.units import (
    format_duration,
    format_instant,
    format_size,
    parse_duration_ns,
    parse_instant_ns,
    parse_size_bytes,
    seconds,
)


def models(path: Path, kind: Kind, labels: Labels, series: Series) -> None:
    """Names, labels, schemas, ranges."""
    assert_type(series.kind, Kind)
    assert_type(series.labels, Labels)
    assert_type(canonical_labels({"a": 1}), Labels)
    assert_type(overridden(labels, {"a": "b"}), Labels)
    assert_type(format_series(check_metric_name("a"), labels), str)
    assert_type([tier.slot_count for tier in DEFAULT_TIERS], list[int])
    assert_type(check_schemas(DEFAULT_SCHEMAS), tuple[Schema, ...])
    assert_type(with_room([*DEFAULT_SCHEMAS, *SELF_SCHEMAS], 2), tuple[Schema, ...])
    assert_type(write_schemas(DEFAULT_SCHEMAS), str)
    assert_type(OVERFLOW, tuple[str, str])
    assert_type([META_FILE, RUNS_FILE, SELF_MATCH, SELF_SCHEMA], list[str])
    assert_type(parse_range("15m").last_ns, int | None)
    assert_type(parse_selector("a{b=c}"), Selector)
    assert_type(state_directory(), Path)
    assert_type([is_there(path), is_directory(path), parse_selector("a").matches(series)], list[bool])
    assert_type(read_named(path, OWN_SERIES), bytes)
    load_fold()
    prefer_compiled("directory")
    assert_type(read_secret("--token-file", path, 9), bytes)
    assert_type(
        [layout, prometheus, sketch, handles, cython_shadow, entrypoints, exposition, http, protobuf], list[ModuleType]
    )
    assert_type(Schema("a", kind).ratio(1), int)
    assert_type([each.size_bytes() for each in SELF_SCHEMAS], list[int])
    assert_type(Tier("1s", "1m").retention_ns, int)


def fares(status: AgentStatus) -> None:
    """How an agent fares."""
    assert_type(status.health().well, bool)
    assert_type([series for series, _ in status.metrics()], list[Series])


def stores(path: Path) -> None:
    """What lies on the disk, and who wrote it."""
    assert_type(read_meta(path).schemas, tuple[Schema, ...])
    assert_type(read_runs(path), list[Run])
    assert_type(Event(1, "note", "x").facts, dict[str, str])
    assert_type(in_short(read_dump(Folder(path))), str)
    assert_type(boot_id(), str)
    assert_type(is_abandoned(path), bool)
    assert_type(size_bytes(DEFAULT_SCHEMAS), int)
    assert_type(store_name(path, path.parent, LABEL), str)
    assert_type(read_meta(path), Meta)
    assert_type(create_own(own_paths(path), SELF_SCHEMAS, (), 0, ()), Path)
    assert_type([survival(run) for run in read_runs(path)], list[Survival])
    assert_type([how_ended(run, None) + outcome(run, 1) for run in read_runs(path)], list[str])
    with Folder(path) as folder:
        replace_file("x", folder / UNFINISHED, b"")
        read_store_state(folder)
    sync_directory(path)
    assert_type(Registry(path / REGISTRY_FILE, DEFAULT_SCHEMAS, writable=False).counts, dict[str, int])
    assert_type(last_values(path), list[tuple[Series, float, int]])
    assert_type(writer_pid(path), int | None)
    check_directory("path", path)


def reads(path: Path) -> Iterator[Path]:
    """Directories of stores, and what a reading may cost."""
    reader = open_reader(path)
    assert_type(reader, StoreReader | StoresReader)
    assert_type(open_source(path), StoreSource | StoresSource)
    assert_type(holds_stores(path), bool)
    assert_type(reader.query("g", range="2h..1h"), QueryResult)
    assert_type(scan_directory(path), DirectoryScan)
    assert_type(scan_directory(path).stores, list[Path])
    assert_type(LABEL, str)
    assert_type(store_labels("a", StoreReader(path)), dict[str, str])
    assert_type(Budget(1, 1, 1).max_points, int)
    assert_type(still_counted([path]), list[Path])
    assert_type(NewestStores().choose(ALL_STORES, [path]), list[Path])
    assert_type(StoreChoice(last=5, job="train").last, int)
    assert_type(RememberedReads(open_source(path)).why_empty(), list[str])
    assert_type(why_unmatched(open_source(path), []), UnknownSeriesError | None)
    zeroes = np.zeros(1, np.int64)
    cells = Cells(MAX_BUCKET_SCALE, zeroes.astype(np.float64), 0, np.zeros((1, 0)))
    totals = BucketTotals({}, zeroes, cells.running(), zeroes == 0, -1, zeroes)
    assert_type([labels for labels, *_ in buckets_of([totals], Choice([]))], list[Any])
    yield from find_stores(path)


def maintains(path: Path, config: Config) -> None:
    """Work on stores that nobody writes."""
    assert_type(copy_store(path, "to").live, bool)
    assert_type(remove_series(path, "a"), Edit)
    assert_type(rename_series(path, "a", "b", dry_run=True).unsent, dict[str, int])
    assert_type(repair_store(path, "new").left, list[str])
    assert_type(plan_store(DEFAULT_SCHEMAS), StorePlan)
    assert_type(outage_ns(DEFAULT_SCHEMAS[0]), int)
    assert_type(check_config(config)[1], list[str])
    assert_type(TierChange("a", Tier("1s", "1m"), 1).kept, int)


def bounds(path: Path) -> None:
    """A directory within its bound."""
    assert_type(prune(path, Bound(keep_last=1)), Pruned)
    assert_type(list_stores(path), tuple[list[Listed], list[str]])
    assert_type(list_stores(path)[0][0].folded, Ended | None)
    assert_type(look_at_store(path), Listed)
    assert_type(read_ended(Folder(path)), Ended | None)


def exports(path: Path, exporters: Exporters, found: NewestSample, config: Mapping[str, Mapping[str, Any]]) -> None:
    """Exporters beside a store, held stores, cursors, connections."""
    assert_type(exporters.close(1), dict[str, Outcome])
    assert_type(check_runner_table("exporters.x", {}), dict[str, Any])
    assert_type(cursor_names(path), list[str])
    assert_type(load_cursor(path, "x").positions, dict[str, int])
    assert_type(fold_dead(path), bool)
    assert_type(runner_options("x", {}), tuple[dict[str, Any], dict[str, Any]])
    check_exporters({})
    assert_type(read_endpoint("url", {}, "http://a")[1:], tuple[str, str])
    check_one_credential("url", "", {}, "token", ())
    assert_type(read_external_labels({}), Labels)
    with StoreReader(path) as reader:
        assert_type(open_runner(reader, "x", {}), Runner)
        assert_type(is_dump("csv", {}), bool)
        assert_type(open_dump("csv", {}), Exporter)
        assert_type(dump(reader, "csv", {}, ended=True), Outcome)
        looking = open_dry_run("csv", {})
        assert_type(looking, DryRun)
        assert_type(dry_run(reader, "csv", {}, looking, ended_run=1), Outcome)
        assert_type(looking.forecast(), Forecast)
        assert_type(looking.forecast().refusals, tuple[Refusal, ...])
        assert_type([each[1] for each in newest_of(reader)], list[int])
    with EndedReader(path, 1) as ended:
        assert_type(ended.series(), list[Series])
    str(cursor_path(path, "x"))
    assert_type([each.overwritten_events for each in export_status(path)], list[int])
    assert_type(Status, type[Status])
    assert_type(EventRequest, type[EventRequest])
    assert_type(Newest, type[Newest])
    assert_type(found[0], Series)


def connects(connection: Connection, answer: HttpResponse, settings: ReceiverSettings) -> None:
    """What exporters by HTTP share."""
    assert_type(answer.status, int)
    assert_type(answer.headers, Mapping[str, str])
    assert_type(settings.authorization(), dict[str, str])
    connection.close()


def plugs(config: Mapping[str, Mapping[str, Any]]) -> None:
    """Plugins, their options, and how they are found."""
    assert_type([EXPORTERS, RECORDERS, FILE_NAME], list[str])
    assert_type([option.name for option in RUNNER_OPTIONS], list[str])
    assert_type(list_plugins(), list[PluginInfo])
    assert_type(declared_options(EXPORTERS, "csv"), list[Option] | None)
    assert_type(divided({}, RUNNER_OPTIONS), tuple[dict[str, Any], dict[str, Any]])
    assert_type(open_recorders(config), Plugins)
    assert_type(read_options("x", RUNNER_OPTIONS, {}), dict[str, Any])
    assert_type(recorders_asked(config), dict[str, dict[str, Any]])

    @hookspec
    def rondo_some_bind(declare: int) -> str | None:
        """Say something."""

    @hookimpl
    def rondo_recorder_bind(declare: int) -> str:
        return str(declare)

    assert_type(rondo_recorder_bind(1), str)
    assert_type(rondo_some_bind(1), str | None)


def words(clock: Clock, error: RondoError) -> None:
    """Times, sizes, and the words of errors."""
    assert_type([clock(), wall_ns(), boot_ns(), NS_PER_S, parse_duration_ns("1s"), parse_instant_ns("0")], list[int])
    assert_type(seconds("interval", "5s"), float)
    assert_type(parse_size_bytes("1MiB"), int)
    assert_type([format_duration(1), format_size(1), format_instant(1)], list[str])
    assert_type([printable("a"), meant("a", ["b"]), one_line(error)], list[str])
    assert_type(error.exit_status, int)
    with stopped_by_signals(lambda number: None) as numbers:
        assert_type(numbers, list[int])


class TestExporter(ExporterTests):
    """The suites are subclassed."""


def tests_programs() -> None:
    """A store for one test, and what is said of one that is open."""
    with TemporaryStore() as store:
        assert_type(store.advance(1), None)
        assert_type(store.value("a_total", b=1), float | None)
        assert_type(StoreAssertions(store).assert_value("a_total", 1.0, {"b": "1"}), None)


class TestRecorder(RecorderTests):
    """The suites are subclassed."""


class TestConsolidator(ConsolidatorTests):
    """The suites are subclassed."""


def tests(path: Path, receiver: Receiver) -> None:
    """What plugin authors test with."""
    assert_type(fill_store(path), dict[str, list[tuple[int, float]]])
    assert_type(len(read_batches(path)[0].parts), int)
    assert_type(make_part("gauge", ["a"], [[1.0]], START_NS), Part)
    assert_type(HttpReceiver("/v1").url, str)


def batches(batch: Batch) -> int:
    """What is sent."""
    return batch.n_samples
