"""The exporter `parquet` of rondo: closed buckets as Parquet files, by day and instance."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("rondo-exporter-parquet")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
