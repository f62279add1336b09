"""Evaluation: a plan over a source, node by node, for all series and all steps of a query at once."""
