"""Operators of PromQL: aggregations, arithmetic, comparisons and set operators over vectors."""
