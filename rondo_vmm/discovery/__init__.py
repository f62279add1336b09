"""Monitors found by their sockets below a directory, each machine recorded for as long as it lives."""
