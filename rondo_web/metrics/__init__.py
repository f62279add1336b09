"""The pages below /metrics."""
