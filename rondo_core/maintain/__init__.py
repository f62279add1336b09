"""Work on stores that nobody writes: check, repair, migrate, plan, copy."""
