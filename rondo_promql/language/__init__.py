"""The language: a query's text, by promql-parser, into nodes that the evaluation reads."""
