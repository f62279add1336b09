"""The exporter `grafana` of rondo: marks and notes, as annotations, to Grafana's HTTP API."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("rondo-exporter-grafana")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
