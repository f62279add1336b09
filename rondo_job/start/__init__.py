"""The start of a job: what its streams are, the process that relays them, and the process that becomes it."""
