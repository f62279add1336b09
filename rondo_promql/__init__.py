"""PromQL over numpy arrays: an engine that knows no store, and asks whatever has `select` for its series."""
