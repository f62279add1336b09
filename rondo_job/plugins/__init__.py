"""The recorders of a job, found by entry point like anyone's."""
