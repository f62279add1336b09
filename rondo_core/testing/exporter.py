"""The conformance suite of exporters: what the runner relies on, and what it promises its users through them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

import pytest

from rondo_core.errors import AnswerLostError, ExportError, PermanentExportError, RetryableExportError, UsageError
from rondo_core.export.batch import Batch
from rondo_core.export.drain import Drain
from rondo_core.export.outcome import Outcome
from rondo_core.export.runner import Runner
from rondo_core.hookspecs import Exporter
from rondo_core.plugins.manager import Plugins
from rondo_core.read.store_reader import StoreReader
from rondo_core.testing.stores import START_NS, fill_store, make_part

NAN = float("nan")
DEADLINE_S = 30.0
TEXTS = ("plain", 'quoted "so"', "back\\slash", "two\nlines", "tab\there", "a,b=c;{d}", "ünïcode 日本", " padded ")
Samples = dict[str, list[tuple[int, float]]]


class Receiver(Protocol):
    """The far side of the exporter, as its author's test provides it; it reads what arrived with code of its own.

    Attributes: config: the plugin's table, so that what is sent arrives here.
    """

    config: Mapping[str, Any]

    def samples(self) -> Iterable[tuple[str, int, float]]:
        """Give every sample of counters and gauges that arrived, in any order.

        Each is: the series as rondo writes it, `name{key="value"}`, labels sorted; milliseconds since the epoch; value.
        """

    def answer(self, how: str) -> None:
        """Treat the next request so, then as before: "unavailable" (not now), "refuse" (never), "lose" (no answer)."""


class ExporterTests:
    """Subclass it, name the plugin, and give it a fixture `receiver`.

    Attributes:
        plugin: the module or object with the hooks.
        name: what the plugin is called.
        faults: what the receiver can be told to answer; a file knows none, and one on the network may know "lose" too.
        keeps_all: False for an exporter that shows the newest sample only.
    """

    plugin: ClassVar[Any]
    name: ClassVar[str]
    faults: ClassVar[tuple[str, ...]] = ("unavailable", "refuse")
    keeps_all: ClassVar[bool] = True

    def before_close(self, receiver: Receiver, exporter: Any) -> None:
        """Let a receiver that asks, such as a scraper, look now; override it where the exporter shows and sends not."""

    # -- options

    def test_its_options_are_declared(self) -> None:
        """Each has a name of its own and a line of help, so that `rondo plugins` can show them."""
        options = self._plugins({}).options(self.name)
        assert options is not None, "implement rondo_options_define"
        names = [option.name for option in options]
        assert len(set(names)) == len(names)
        assert all(option.help for option in options)

    def test_an_unknown_key_is_refused(self, receiver: Receiver) -> None:
        """A misspelt key is an error that names it, not a setting that is silently not there."""
        with pytest.raises(UsageError, match="no_such_key"):
            self._open({**receiver.config, "no_such_key": "1"})

    def test_secrets_are_not_shown(self, receiver: Receiver) -> None:
        """The exporter's repr holds no value of an option that is marked secret; of a URL, neither user nor query."""
        options = self._plugins({}).options(self.name) or []
        exporter = self._open(receiver.config)
        shown = repr(exporter)
        exporter.close()
        for option in options:
            if option.secret and option.name in receiver.config:
                assert not [secret for secret in _secrets(receiver.config[option.name]) if secret in shown]

    # -- what arrives

    def test_every_sample_arrives(self, receiver: Receiver) -> None:
        """Counters and gauges, value for value, at the first millisecond of their bucket."""
        batch = Batch(
            (
                make_part("counter", [("requests_total", {"code": "200"})], [[1], [2], [2]]),
                make_part("gauge", ["level", ("level", {"side": "left"})], [[0.5, -1], [0.25, 1e9], [0.1, 7]]),
            )
        )
        self._send(receiver, batch)
        self._compare(receiver, batch)

    def test_what_is_absent_is_not_sent(self, receiver: Receiver) -> None:
        """NaN means that there was no sample; nothing is made up in its place."""
        batch = Batch((make_part("gauge", ["one", "two", "never"], [[1, NAN, NAN], [NAN, 2, NAN], [3, NAN, NAN]]),))
        self._send(receiver, batch)
        self._compare(receiver, batch)

    @pytest.mark.parametrize(
        "value", [0.0, -1.0, 0.1, 2.0**53, 1.7e308, 5e-324, float("inf"), float("-inf"), 123456789.123456789]
    )
    def test_values_arrive_to_the_bit(self, receiver: Receiver, value: float) -> None:
        """No rounding on the way, and infinities are values."""
        batch = Batch((make_part("gauge", ["level"], [[value]]),))
        self._send(receiver, batch)
        self._compare(receiver, batch)

    @pytest.mark.parametrize("text", TEXTS)
    def test_label_values_arrive_whole(self, receiver: Receiver, text: str) -> None:
        """Whatever text a label holds."""
        batch = Batch((make_part("gauge", [("level", {"text": text, "z": "1"})], [[1.0]]),))
        self._send(receiver, batch)
        self._compare(receiver, batch)

    def test_a_batch_sent_again_changes_nothing(self, receiver: Receiver) -> None:
        """After a crash the last batch is sent a second time, from a new process: its samples are there once."""
        batch = Batch((make_part("gauge", ["level"], [[1.0], [2.0], [3.0]]),))
        self._send(receiver, batch)
        self._send(receiver, batch)
        arrived = self._arrived(receiver)
        for name, samples in self._expected(batch).items():
            assert sorted(set(arrived[name])) == samples
        if self.faults == ():
            self._compare(receiver, batch)

    def test_an_empty_batch_and_the_end_of_a_run_are_taken(self, receiver: Receiver) -> None:
        """A batch may hold no sample; the last of a run names the series that have ended."""
        part = make_part("gauge", ["level"], [[1.0]])
        self._send(receiver, Batch(()), Batch((part,)), Batch((), part.series, START_NS))
        if self.keeps_all:
            assert (START_NS // 10**6, 1.0) in self._arrived(receiver)["level"]

    # -- through the runner

    def test_a_whole_store_arrives(self, receiver: Receiver, tmp_path: Path) -> None:
        """Batch by batch, every counter's and gauge's sample, once; a second export sends nothing."""
        left = fill_store(tmp_path / "s")
        outcome = self._export(receiver, tmp_path / "s", 20)
        assert (outcome.error, outcome.refused_samples, outcome.overwritten_buckets) == ("", 0, 0)
        self._compare_store(receiver, left)
        assert self._export(receiver, tmp_path / "s", 20).samples == 0
        self._compare_store(receiver, left)

    def test_a_process_killed_after_sending_loses_and_doubles_nothing(self, receiver: Receiver, tmp_path: Path) -> None:
        """The first batch arrived and its cursor was never saved: the next process sends it again, then the rest."""
        left = fill_store(tmp_path / "s")
        with StoreReader(tmp_path / "s") as reader:
            drained = Drain(reader).next({}, 1 << 62, 20)
            assert drained is not None
            self._send(receiver, drained.batch)
        assert self._export(receiver, tmp_path / "s", 20).error == ""
        arrived = self._arrived(receiver)
        for name, samples in left.items():
            kept = samples if self.keeps_all else samples[-1:]
            found = arrived.get(name, [])
            once = found if self.faults == () else sorted(set(found))
            assert once == [(ns // 10**6, value) for ns, value in kept]

    def test_a_receiver_that_is_away_is_asked_again(self, receiver: Receiver, tmp_path: Path) -> None:
        """Nothing is lost when it does not answer for a while."""
        self._needs("unavailable")
        left = fill_store(tmp_path / "s", 5)
        receiver.answer("unavailable")
        outcome = self._export(receiver, tmp_path / "s", 1000)
        assert outcome.failures >= 1
        assert not outcome.stopped
        self._compare_store(receiver, left)

    # -- what went wrong

    def test_not_now_is_a_retryable_error(self, receiver: Receiver) -> None:
        """The runner then waits and sends the same batch once more."""
        self._needs("unavailable")
        exporter = self._open(receiver.config)
        batch = Batch((make_part("gauge", ["level"], [[1.0]]),))
        receiver.answer("unavailable")
        with pytest.raises(RetryableExportError):
            exporter.send(batch)
        exporter.send(batch)
        self.before_close(receiver, exporter)
        exporter.close()
        self._compare(receiver, batch)

    def test_never_is_a_permanent_error(self, receiver: Receiver) -> None:
        """The runner then splits the batch to find what is refused."""
        self._needs("refuse")
        exporter = self._open(receiver.config)
        receiver.answer("refuse")
        with pytest.raises(PermanentExportError):
            exporter.send(Batch((make_part("gauge", ["level"], [[1.0]]),)))
        exporter.close()

    def test_a_lost_answer_is_told_apart(self, receiver: Receiver) -> None:
        """Only then the receiver may have what it was sent; an answer, whatever it says, leaves no doubt."""
        self._needs("lose")
        exporter = self._open(receiver.config)
        batch = Batch((make_part("gauge", ["level"], [[1.0]]),))
        for how in ("lose", "unavailable", "refuse"):
            receiver.answer(how)
            with pytest.raises(ExportError) as caught:
                exporter.send(batch)
            assert isinstance(caught.value, AnswerLostError) == (how == "lose"), how
        exporter.close()

    def test_closed_is_closed(self, receiver: Receiver) -> None:
        """Closing twice is closing once; what is sent afterwards is an ExportError and not lost silently."""
        exporter = self._open(receiver.config)
        exporter.close()
        exporter.close()
        with pytest.raises(ExportError):
            exporter.send(Batch((make_part("gauge", ["level"], [[1.0]]),)))

    def test_close_during_send_ends_both(self, receiver: Receiver) -> None:
        """A send under way is finished or fails with an ExportError; neither thread waits for ever."""
        exporter = self._open(receiver.config)
        raised: list[BaseException] = []
        sending = threading.Event()

        def send() -> None:
            try:
                for second in range(50):
                    exporter.send(Batch((make_part("gauge", ["level"], [[1.0]], START_NS + second * 10**9),)))
                    sending.set()
            except ExportError:
                pass
            except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
                raised.append(error)
            finally:
                sending.set()

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        assert sending.wait(DEADLINE_S)
        exporter.close()
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "send still runs after close"
        assert raised == []

    # -- how it is done

    def _plugins(self, config: Mapping[str, Any]) -> Plugins:
        plugins = Plugins(config={self.name: config})
        plugins.register(self.plugin, self.name)
        return plugins

    def _open(self, config: Mapping[str, Any]) -> Exporter:
        exporter: Exporter = self._plugins(config).open("rondo_exporter_open", self.name)
        return exporter

    def _send(self, receiver: Receiver, *batches: Batch) -> None:
        exporter = self._open(receiver.config)
        for batch in batches:
            assert not exporter.send(batch), "it says that it left some out"
        self.before_close(receiver, exporter)
        exporter.close()

    def _export(self, receiver: Receiver, store: Path, max_samples: int) -> Outcome:
        with StoreReader(store) as reader:
            ended_run = reader.runs()[-1].number
            exporter = self._open(receiver.config)
            runner = Runner(reader, exporter, self.name, max_samples=max_samples)
            runner.send_now(0 if not self.keeps_all else ended_run, DEADLINE_S)
            self.before_close(receiver, exporter)
            exporter.close()
            runner.release()
            return runner.outcome

    def _needs(self, fault: str) -> None:
        if fault not in self.faults:
            pytest.skip(f"{self.name}: its receiver cannot answer {fault!r}")

    def _arrived(self, receiver: Receiver) -> Samples:
        found: Samples = {}
        for name, stamp_ms, value in receiver.samples():
            found.setdefault(name, []).append((stamp_ms, value))
        return {name: sorted(samples) for name, samples in found.items()}

    def _expected(self, batch: Batch) -> Samples:
        expected: Samples = {}
        for part in batch.parts:
            for column, series in enumerate(part.series):
                rows = zip(part.timestamps_ns.tolist(), part.statistics["last"][:, column].tolist(), strict=True)
                samples = [(stamp_ns // 10**6, value) for stamp_ns, value in rows if value == value]  # noqa: PLR0124 - NaN
                if samples:
                    expected[str(series)] = samples if self.keeps_all else samples[-1:]
        return expected

    def _compare(self, receiver: Receiver, batch: Batch) -> None:
        assert self._arrived(receiver) == self._expected(batch)

    def _compare_store(self, receiver: Receiver, left: Samples) -> None:
        arrived = self._arrived(receiver)
        for name, samples in left.items():
            kept = samples if self.keeps_all else samples[-1:]
            assert arrived.get(name) == [(stamp_ns // 10**6, value) for stamp_ns, value in kept]


def _secrets(value: Any) -> list[str]:
    """Give what of a secret option's value must not be shown: a table's values, a URL's credentials and query, or all.

    Where a URL leads to may be said, so that messages can name the receiver.
    """
    if isinstance(value, Mapping):
        return [secret for each in value.values() for secret in _secrets(each)]
    parts = urlsplit(str(value))
    if not (parts.scheme and parts.netloc):
        return [str(value)]
    return [each for each in (parts.username, parts.password, parts.query) if each]
