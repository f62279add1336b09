"""The exporter `openmetrics` of rondo: `/metrics`, for a scraper to fetch."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("rondo-exporter-openmetrics")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
