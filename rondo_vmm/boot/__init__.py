"""Bytes of a kernel into guest memory, never an ioctl."""
