"""What all tests share: a clock that stands still, a store path, and markers that skip by name."""

import importlib.util
import os
import shutil

import pytest

from rondo_core import ManualClock, Schema, Store, Tier

START_NS = 1_700_000_000 * 10**9
SMALL_TIERS = (Tier("1s", "60s"), Tier("10s", "10m"), Tier("1m", "1h"))


def pytest_collection_modifyitems(items):
    reasons = {
        "kvm": None if os.access("/dev/kvm", os.R_OK | os.W_OK) else "no usable /dev/kvm",
        "emulator": None if importlib.util.find_spec("unicorn") else "the package unicorn is not installed",
        "prometheus": None if shutil.which("prometheus") else "no Prometheus server; install the package prometheus",
        "binutils": None if shutil.which("as") else "no assembler; install the package binutils",
    }
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def clock():
    return ManualClock(START_NS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.rondo"


@pytest.fixture
def small_schemas():
    return [
        Schema("counters", "counter", 8, SMALL_TIERS),
        Schema("gauges", "gauge", 8, SMALL_TIERS),
        Schema("summaries", "summary", 8, SMALL_TIERS),
    ]


@pytest.fixture
def store(path, clock, small_schemas):
    with Store(path, small_schemas, clock=clock) as opened:
        yield opened
