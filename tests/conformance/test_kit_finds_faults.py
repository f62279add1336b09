"""The exporter suite fails for exporters that break a promise, each in its own way."""

import contextlib
import math
import re
import sys

import numpy as np
import pytest

from rondo_core import Option, hookimpl
from rondo_core.errors import ExportError, PermanentExportError, RetryableExportError
from rondo_core.testing import ConsolidatorTests, ExporterTests, RecorderTests


class Memory:
    """A receiver in memory; `how` is what the next send is answered."""

    def __init__(self):
        self.config, self.kept, self.how = {"token": "hidden"}, {}, ""

    def samples(self):
        return [(name, ms, value) for (name, ms), value in self.kept.items()]

    def answer(self, how):
        self.how = how


class Sound:
    """An exporter with no fault, into the receiver of the test under way."""

    receiver = None

    @hookimpl
    def rondo_options_define(self):
        return [Option("token", secret=True, help="Nobody's business.")]

    @hookimpl
    def rondo_exporter_open(self):
        self.closed = False
        return self

    def send(self, batch):
        if self.closed:
            raise ExportError("closed")
        how, self.receiver.how = self.receiver.how, ""
        if how:
            raise RetryableExportError("away") if how == "unavailable" else PermanentExportError("refused")
        for part in batch.parts:
            for column, series in enumerate(part.series if "last" in part.statistics else ()):
                for stamp_ns, value in zip(part.timestamps_ns, part.statistics["last"][:, column], strict=True):
                    self.take(str(series), int(stamp_ns), float(value))

    def take(self, name, stamp_ns, value):
        if not math.isnan(value):
            self.receiver.kept[name, stamp_ns // 10**6] = value

    def close(self):
        self.closed = True


class Forgets(Sound):
    """Acknowledges what it does not deliver."""

    def take(self, name, stamp_ns, value):
        if stamp_ns // 10**9 % 5:
            super().take(name, stamp_ns, value)


class Invents(Sound):
    """Makes a zero of what is absent."""

    def take(self, name, stamp_ns, value):
        super().take(name, stamp_ns, 0.0 if math.isnan(value) else value)


class Rounds(Sound):
    """Keeps half of a value's bits."""

    def take(self, name, stamp_ns, value):
        with np.errstate(over="ignore", under="ignore"):
            super().take(name, stamp_ns, float(np.float32(value)))


class Swallows(Sound):
    """Takes a receiver that is away for one that has it."""

    def send(self, batch):
        with contextlib.suppress(RetryableExportError):
            super().send(batch)


class Tells(Sound):
    """Shows what is nobody's business."""

    def __repr__(self):
        return f"Tells({self.receiver.config})"


class NeverCloses(Sound):
    """Goes on after it was closed."""

    def close(self):
        pass


def run_test(exporter_class, test, *arguments, **named):
    receiver, plugin = Memory(), exporter_class()
    plugin.receiver = receiver

    class Suite(ExporterTests):
        name = "mine"

    Suite.plugin = plugin
    getattr(Suite(), test)(receiver, *arguments, **named)


FOUND = [
    (Forgets, "test_every_sample_arrives", ()),
    (Invents, "test_what_is_absent_is_not_sent", ()),
    (Rounds, "test_values_arrive_to_the_bit", (0.1,)),
    (Swallows, "test_not_now_is_a_retryable_error", ()),
    (Tells, "test_secrets_are_not_shown", ()),
    (NeverCloses, "test_closed_is_closed", ()),
]


@pytest.mark.parametrize(("fault", "test", "arguments"), FOUND, ids=lambda each: getattr(each, "__name__", None))
def test_a_fault_is_found(fault, test, arguments):
    """The test that is there for it fails, and passes for an exporter without it."""
    run_test(Sound, test, *arguments)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_test(fault, test, *arguments)


@pytest.mark.parametrize(
    ("fault", "test", "arguments", "said"),
    [
        (Forgets, "test_every_sample_arrives", (), r"assert \{.*\} == \{"),
        (Invents, "test_what_is_absent_is_not_sent", (), r"assert \{.*0\.0.*\} == \{"),
        (Rounds, "test_values_arrive_to_the_bit", (0.1,), r"0\.1000000014.*!=.*0\.1\)"),
        (Tells, "test_secrets_are_not_shown", (), r"assert not \['hidden'\]"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_a_fault_is_told_with_what_came_and_what_was_wanted(fault, test, arguments, said):
    """Also where the suite's authors wrote no message: pytest rewrites the suites' assertions as a test's own."""
    with pytest.raises(AssertionError) as raised:
        run_test(fault, test, *arguments)
    assert re.search(said, str(raised.value), re.DOTALL), str(raised.value)


def test_every_suite_tells_what_it_found():
    """In a plugin author's own project, by one import: of recorders and consolidators as of exporters."""
    for suite in (ExporterTests, RecorderTests, ConsolidatorTests):
        module = sys.modules[suite.__module__]
        assert "@pytest_ar" in vars(module), f"{module.__name__}: its assertions tell no values"


@pytest.mark.parametrize("fault", [Forgets, Swallows])
def test_a_fault_is_found_through_the_runner(fault, tmp_path):
    """A whole store sent by it is not whole."""
    test = {Forgets: "test_a_whole_store_arrives", Swallows: "test_a_receiver_that_is_away_is_asked_again"}[fault]
    run_test(Sound, test, tmp_path=tmp_path / "sound")
    with pytest.raises(AssertionError):
        run_test(fault, test, tmp_path=tmp_path / "faulty")


def test_an_exporter_without_fault_passes_all_of_it():
    """So the suite asks for nothing that cannot be done; close during send included."""
    for test in ("test_an_empty_batch_and_the_end_of_a_run_are_taken", "test_close_during_send_ends_both"):
        run_test(Sound, test)
