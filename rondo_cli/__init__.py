"""The command `rondo`: parse, call, print; no rule of the domain."""
