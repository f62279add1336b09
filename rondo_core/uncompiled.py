"""Stands in for the module `cython` where it is not installed: nothing is compiled."""

compiled = False
