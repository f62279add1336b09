"""The exporter `otlp` of rondo: OTLP/HTTP metrics, as protobuf, to collectors and backends of OpenTelemetry."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("rondo-exporter-otlp")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
