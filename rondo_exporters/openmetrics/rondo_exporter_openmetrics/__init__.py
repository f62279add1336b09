"""The exporter `prometheus` of rondo: remote-write 1.0 to Prometheus, VictoriaMetrics, Mimir and their kin."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("rondo-exporter-openmetrics")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
