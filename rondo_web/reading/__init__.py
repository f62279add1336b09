"""Reading for many clients at once."""
