"""The life of any process, recorded from outside: what it took, and how it ended."""
