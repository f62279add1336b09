"""Reading for many clients at once: how much a request may read, on which thread, and of what lies at the path now."""
