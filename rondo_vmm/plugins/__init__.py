"""The recorders of the monitor, found by entry point like anyone's."""
