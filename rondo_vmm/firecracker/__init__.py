"""Firecracker's metrics stream, recorded while the machine runs or replayed from a file."""
