"""QEMU as a machine, started here or by someone else, driven and recorded through its monitor protocol (QMP)."""
