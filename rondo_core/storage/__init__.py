"""Bytes on the disk: files, journals, slabs, the registry, the record of runs; no policy."""
