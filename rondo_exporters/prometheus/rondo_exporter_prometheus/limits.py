"""What receivers of remote-write take, as their documentation has it, and what an operator has set instead.

A limit that is 0 is none. These are defaults; whoever runs the receiver may have set others, which `limits` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from rondo_core.errors import UsageError
from rondo_core.units import parse_duration_ns, parse_size_bytes

_HOUR_NS, _DAY_NS = 3600 * 10**9, 86400 * 10**9
_MIB = 1 << 20


@attrs.frozen(kw_only=True)
class Limits:
    """What one receiver takes.

    Attributes:
        labels: of a series, its name among them.
        name_bytes, value_bytes: of a label's name, and of its value or the metric's name.
        window_ns: how far behind the newest sample that it has of anyone an older one may be.
        ahead_ns: how far ahead of its clock.
        message_bytes: of a request, before it is compressed.
        series: of all senders together, within an hour or two.
        samples_per_s: of all senders together.
        infinite: whether it stores an infinite value.
        silent: it answers 2xx to what breaks the limits of labels and times, and stores it not, or cut.
    """

    labels: int = 0
    name_bytes: int = 0
    value_bytes: int = 0
    window_ns: int = 0
    ahead_ns: int = 0
    message_bytes: int = 0
    series: int = 0
    samples_per_s: int = 0
    infinite: bool = True
    silent: bool = False


# Source: Mimir, "Configure out-of-order samples ingestion": a new series goes back one hour from the newest sample of
# the head, with blocks of two hours, which is Prometheus's TSDB; Thanos Receive and Cortex hold the same.
_TSDB = Limits(window_ns=_HOUR_NS)
# Source: Cortex, "Configuration file": limits_config, and max_recv_msg_size of distributor_config.
_CORTEX = attrs.evolve(
    _TSDB,
    labels=30,
    name_bytes=1024,
    value_bytes=2048,
    ahead_ns=600 * 10**9,
    message_bytes=100 * _MIB,
    series=5_000_000,
    samples_per_s=25_000,
)
RECEIVERS: Mapping[str, Limits] = {
    "prometheus": _TSDB,
    # Source: Thanos, "Receive": tsdb.out-of-order.time-window and tsdb.too-far-in-future.time-window are 0.
    "thanos": _TSDB,
    "cortex": _CORTEX,
    # Source: Mimir, "Configuration parameters": limits; max_recv_msg_size of the distributor.
    "mimir": attrs.evolve(_CORTEX, series=150_000, samples_per_s=10_000),
    # Source: Grafana Cloud, "Label handling and limits" (a longer value is cut, a hash at its end; how many labels
    # varies) and "Understand usage limits".
    "grafana-cloud": attrs.evolve(_CORTEX, series=150_000, samples_per_s=10_000),
    # Source: VictoriaMetrics, -help. Of more labels the older releases drop some, the newer (40) the series; of longer
    # values the older cut them (at 16 KiB), the newer drop the series. A month is -retentionPeriod.
    "victoriametrics": Limits(
        labels=30,
        name_bytes=256,
        value_bytes=4096,
        window_ns=31 * _DAY_NS,
        ahead_ns=2 * _DAY_NS,
        message_bytes=32 * _MIB,
        silent=True,
    ),
    # Source: InfluxDB 1.x, "Configuration": max-series-per-database, max-body-size; "Prometheus endpoints support": NaN
    # and infinite values are dropped.
    "influxdb": Limits(message_bytes=25_000_000, series=1_000_000, infinite=False, silent=True),
}
# What `limits` may say, and how it is read.
_KEYS: Mapping[str, tuple[str, Any]] = {
    "labels": ("labels", int),
    "name_bytes": ("name_bytes", parse_size_bytes),
    "value_bytes": ("value_bytes", parse_size_bytes),
    "window": ("window_ns", parse_duration_ns),
    "ahead": ("ahead_ns", parse_duration_ns),
    "message_bytes": ("message_bytes", parse_size_bytes),
    "series": ("series", int),
    "samples_per_s": ("samples_per_s", int),
}


def read_limits(config: Mapping[str, Any]) -> Limits | None:
    """Give what is known of the receiver of a config table: its defaults, and what `limits` says in place of some.

    Returns: None where neither a receiver nor limits are named.
    Raises: UsageError: names the limit, what is wrong and what is allowed.
    """
    given: Mapping[str, str] = config.get("limits", {})
    receiver = config.get("receiver")
    if not (receiver or given):
        return None
    found: dict[str, Any] = {}
    for key, text in given.items():
        if key not in _KEYS:
            raise UsageError(f"limits: {key}: no such limit; choose from {', '.join(_KEYS)}")
        name, read = _KEYS[key]
        try:
            found[name] = 0 if text == "0" else read(text)
        except ValueError as error:
            said = error if isinstance(error, UsageError) else f"{text!r}: not a number; write 40, or 0 for none"
            raise UsageError(f"limits: {key}: {said}") from None
        if found[name] < 0:
            raise UsageError(f"limits: {key}: {text!r}: below 0; write 0 for none")
    return attrs.evolve(RECEIVERS[receiver] if receiver else Limits(), **found)
