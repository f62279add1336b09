"""Virtio devices behind the memory-mapped transport, version 2; section numbers are those of virtio 1.2."""
