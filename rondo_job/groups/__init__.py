"""Control groups: where this process lies in them, a leaf for a job, and the counters that are evidence."""
