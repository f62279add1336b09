"""Prometheus's HTTP API over a store: what Grafana, promtool and a Prometheus that reads remotely ask."""
